//! Generalised advantage estimation (Schulman et al. 2016), over one response.

/// Advantages of a response's tokens.
///
/// δ_t = r_t + γ V_{t+1} − V_t and A_t = δ_t + γ λ A_{t+1}, with V and A 0 after the last token: the
/// episode ends there.
///
/// # Shapes
/// `rewards` and `values`: one number a token, `values[t]` at the state before token t.
///
/// # Panics
/// If they are not as many.
///
/// # Source
/// `get_advantages` in the released `accelerate_ppo_model.py`.
pub fn advantages(rewards: &[f64], values: &[f64], gamma: f64, lambda: f64) -> Vec<f64> {
    assert_eq!(rewards.len(), values.len(), "a value for each reward");
    let mut advantages = vec![0.0; rewards.len()];
    let (mut next_value, mut next_advantage) = (0.0, 0.0);
    for t in (0..rewards.len()).rev() {
        let delta = rewards[t] + gamma * next_value - values[t];
        advantages[t] = delta + gamma * lambda * next_advantage;
        (next_value, next_advantage) = (values[t], advantages[t]);
    }
    advantages
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn three_tokens_by_hand() {
        // δ = (0 + 0.9·2 − 1, 1 + 0.9·3 − 2, 2 − 3) = (0.8, 1.7, −1); γλ = 0.45.
        let found = advantages(&[0.0, 1.0, 2.0], &[1.0, 2.0, 3.0], 0.9, 0.5);
        for (found, expected) in found.iter().zip([0.8 + 0.45 * 1.25, 1.25, -1.0]) {
            assert!((found - expected).abs() < 1e-12);
        }
        assert!(advantages(&[], &[], 1.0, 0.95).is_empty());
    }

    proptest! {
        #[test]
        fn with_lambda_1_an_advantage_is_the_return_less_the_value(
            tokens in prop::collection::vec((-5.0..5.0f64, -5.0..5.0f64), 1..40), gamma in 0.0..1.0f64,
        ) {
            let (rewards, values): (Vec<f64>, Vec<f64>) = tokens.into_iter().unzip();
            let advantages = advantages(&rewards, &values, gamma, 1.0);
            let mut discounted = 0.0;
            for t in (0..rewards.len()).rev() {
                discounted = rewards[t] + gamma * discounted;
                prop_assert!((advantages[t] - (discounted - values[t])).abs() < 1e-9);
            }
        }

        #[test]
        fn with_lambda_0_an_advantage_is_the_temporal_difference(
            tokens in prop::collection::vec((-5.0..5.0f64, -5.0..5.0f64), 1..40), gamma in 0.0..1.0f64,
        ) {
            let (rewards, values): (Vec<f64>, Vec<f64>) = tokens.into_iter().unzip();
            let advantages = advantages(&rewards, &values, gamma, 0.0);
            for t in 0..rewards.len() {
                let next = values.get(t + 1).copied().unwrap_or(0.0);
                prop_assert!((advantages[t] - (rewards[t] + gamma * next - values[t])).abs() < 1e-12);
            }
        }
    }
}
