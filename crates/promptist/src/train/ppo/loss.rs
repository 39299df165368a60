//! The clipped losses of PPO (Schulman et al. 2017), token by token, with their gradients.
//!
//! Where a maximum is a tie, the gradient is half of each branch's, as PyTorch's `max` of two tensors
//! has it: at ratio 1, where every first epoch starts, both branches are equal and so are their
//! gradients, so nothing depends on it there.

/// A token's loss and its gradient with respect to the quantity that is learned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenLoss {
    /// The loss.
    pub value: f64,
    /// d value / d log π, or d value / d V.
    pub grad: f64,
    /// Whether the clipped branch is the larger: the token then pushes no further.
    pub is_clipped: bool,
}

/// `max(−A·ρ, −A·clamp(ρ, 1 − ε, 1 + ε))` with ρ = exp(log π − log π_old).
///
/// # Source
/// `loss` in the released `accelerate_ppo_model.py`.
pub fn policy(logprob: f64, old_logprob: f64, advantage: f64, cliprange: f64) -> TokenLoss {
    let ratio = (logprob - old_logprob).exp();
    let clamped = ratio.clamp(1.0 - cliprange, 1.0 + cliprange);
    let (free, clipped) = (-advantage * ratio, -advantage * clamped);
    // dρ/d log π = ρ; a clamped ratio has no gradient outside its range, and at the bounds all of it.
    let inside = ratio >= 1.0 - cliprange && ratio <= 1.0 + cliprange;
    let clipped_grad = if inside { -advantage * ratio } else { 0.0 };
    larger((free, -advantage * ratio), (clipped, clipped_grad))
}

/// `½ max((V − R)², (clamp(V, V_old − ε, V_old + ε) − R)²)`.
///
/// # Source
/// As [`policy`].
pub fn value(value: f64, old_value: f64, target: f64, cliprange: f64) -> TokenLoss {
    let clamped = value.clamp(old_value - cliprange, old_value + cliprange);
    let (free, clipped) = (value - target, clamped - target);
    let inside = (old_value - cliprange..=old_value + cliprange).contains(&value);
    let clipped_grad = if inside { clipped } else { 0.0 };
    larger((0.5 * free * free, free), (0.5 * clipped * clipped, clipped_grad))
}

fn larger(free: (f64, f64), clipped: (f64, f64)) -> TokenLoss {
    match free.0.total_cmp(&clipped.0) {
        std::cmp::Ordering::Greater => TokenLoss { value: free.0, grad: free.1, is_clipped: false },
        std::cmp::Ordering::Less => TokenLoss { value: clipped.0, grad: clipped.1, is_clipped: true },
        std::cmp::Ordering::Equal => {
            TokenLoss { value: free.0, grad: 0.5 * (free.1 + clipped.1), is_clipped: false }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_good_token_is_pushed_up_to_the_clip_and_a_bad_one_down_to_it() {
        let at = |ratio: f64, advantage: f64| policy(f64::ln(ratio), 0.0, advantage, 0.2);
        assert_eq!(at(1.0, 2.0), TokenLoss { value: -2.0, grad: -2.0, is_clipped: false });
        assert_eq!((at(1.5, 2.0).grad, at(1.5, 2.0).is_clipped), (0.0, true));
        assert!((at(1.5, 2.0).value + 2.4).abs() < 1e-12);
        assert_eq!((at(0.5, -2.0).grad, at(0.5, -2.0).is_clipped), (0.0, true));
        // The other way there is no bound: mistakes are always mended.
        assert!((at(0.5, 2.0).grad + 1.0).abs() < 1e-12);
        assert!((at(1.5, -2.0).grad - 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_value_moves_at_most_by_the_clip() {
        assert_eq!(value(1.0, 1.0, 3.0, 0.2), TokenLoss { value: 2.0, grad: -2.0, is_clipped: false });
        assert_eq!((value(2.0, 1.0, 3.0, 0.2).grad, value(2.0, 1.0, 3.0, 0.2).is_clipped), (0.0, true));
        let away = value(0.0, 1.0, 3.0, 0.2);
        assert_eq!((away.value, away.grad, away.is_clipped), (4.5, -3.0, false));
    }

    proptest! {
        #[test]
        fn gradients_are_the_slopes(
            logprob in -3.0..0.0f64, old in -3.0..0.0f64, advantage in -3.0..3.0f64, v in -3.0..3.0f64,
            old_v in -3.0..3.0f64, target in -3.0..3.0f64,
        ) {
            const H: f64 = 1e-6;
            for loss in [
                &(|at: f64| policy(at, old, advantage, 0.2)) as &dyn Fn(f64) -> TokenLoss,
                &|at| value(at - logprob + v, old_v, target, 0.2),
            ] {
                let (below, here, above) = (loss(logprob - H), loss(logprob), loss(logprob + H));
                // Not across a kink.
                if below.is_clipped == above.is_clipped && (below.grad - above.grad).abs() < 1e-3 {
                    let slope = (above.value - below.value) / (2.0 * H);
                    prop_assert!((slope - here.grad).abs() < 1e-4 * (1.0 + slope.abs()), "{slope} {here:?}");
                }
            }
        }
    }
}
