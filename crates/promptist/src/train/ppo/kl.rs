//! The charge for leaving the reference, and what steers its weight.

use serde::{Deserialize, Serialize};

/// Rewards of a response's tokens: `−coefficient · (log π − log π_ref)` each, and the response's score
/// at its last token.
///
/// The score is added there. The released code overwrites the last token's charge with it
/// (`score_replaces_kl`), so that the end token is free.
///
/// # Shapes
/// `logprobs` and `reference_logprobs`: one number a token, in nats.
///
/// # Panics
/// If they are not as many.
///
/// # Source
/// `make_experience` in the released `ppo_orchestrator.py`.
pub fn rewards(
    logprobs: &[f64],
    reference_logprobs: &[f64],
    score: f64,
    coefficient: f64,
    score_replaces_kl: bool,
) -> Vec<f64> {
    assert_eq!(logprobs.len(), reference_logprobs.len(), "a reference for each token");
    let charge = |(own, reference): (&f64, &f64)| -coefficient * (own - reference);
    let mut rewards: Vec<f64> = logprobs.iter().zip(reference_logprobs).map(charge).collect();
    if let Some(last) = rewards.last_mut() {
        *last = if score_replaces_kl { score } else { *last + score };
    }
    rewards
}

/// `Σ (log π − log π_ref)` of a response: an estimate, from this one draw, of the KL divergence from
/// the reference, in nats.
pub fn of_response(logprobs: &[f64], reference_logprobs: &[f64]) -> f64 {
    logprobs.iter().zip(reference_logprobs).map(|(own, reference)| own - reference).sum()
}

/// The weight of the charge, fixed or steered (Ziegler et al. 2019).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Controller {
    /// The weight now.
    pub coefficient: f64,
}

impl Controller {
    /// Moves the weight towards where the KL divergence is `target`, in nats a response, by at most
    /// 20 % in `horizon` responses; `responses` of them were just seen to have `kl` on average.
    pub fn update(&mut self, kl: f64, responses: usize, target: f64, horizon: f64) {
        let error = (kl / target - 1.0).clamp(-0.2, 0.2);
        self.coefficient *= 1.0 + error * responses as f64 / horizon;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_is_added_to_the_last_tokens_charge() {
        let (own, reference) = ([-1.0, -2.0, -0.5], [-1.5, -1.0, -1.5]);
        let close = |found: &[f64], expected: &[f64]| {
            found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12)
        };
        assert!(close(&rewards(&own, &reference, 3.0, 0.2, false), &[-0.1, 0.2, 2.8]));
        assert!(close(&rewards(&own, &reference, 3.0, 0.2, true), &[-0.1, 0.2, 3.0]));
        assert!((of_response(&own, &reference) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn a_controller_moves_towards_its_target_and_never_fast() {
        let mut controller = Controller { coefficient: 0.2 };
        controller.update(4.0, 1000, 4.0, 10_000.0);
        assert_eq!(controller.coefficient, 0.2);
        controller.update(400.0, 1000, 4.0, 10_000.0);
        assert!((controller.coefficient - 0.2 * 1.02).abs() < 1e-12);
        controller.update(0.0, 1000, 4.0, 10_000.0);
        assert!((controller.coefficient - 0.2 * 1.02 * 0.98).abs() < 1e-12);
    }
}
