//! Log-softmax over a row of logits: the hot loop of every search after the model itself.
//!
//! Lanes have a fixed width and are combined in a fixed order, and the exponential is our own
//! polynomial, so that the loops vectorise and give the same bits on every platform.

use crate::error::{Error, Result};
pub(super) use crate::simd::exp::exp;

const LANES: usize = 16;
/// Values summed in f32 before the sum goes on in f64.
const BLOCK: usize = 1024;

/// What turns a row's logits into log-probabilities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalizer {
    /// The row's largest logit.
    pub max: f32,
    /// `log Σ exp(logit - max)` over the vocabulary.
    pub log_sum: f32,
}

impl Normalizer {
    /// The normalizer of a row of logits: `[V]`. `-inf` is allowed (a token that cannot come) as long
    /// as not all are; see [`checked`](Self::checked).
    pub fn of(logits: &[f32]) -> Self {
        let max = max(logits);
        Self { max, log_sum: sum_exp(logits, max).ln() as f32 }
    }

    /// Itself, if it comes of numbers.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if the row holds NaN or `inf`, or nothing but `-inf`.
    pub fn checked(self) -> Result<Self> {
        match self.max.is_finite() && self.log_sum.is_finite() {
            true => Ok(self),
            false => Err(Error::NotFinite("the logits of a row".to_owned())),
        }
    }

    /// `logit - max - log Σ exp(logit - max)`, in f32 and in this order, as torch does: two roundings
    /// relative to the distance from the maximum, whatever the size of the logits.
    ///
    /// Never decreasing in `logit`, so a bound on logits bounds log-probabilities.
    pub fn log_prob(self, logit: f32) -> f32 {
        (logit - self.max) - self.log_sum
    }
}

/// The largest value, NaN passed over; `-inf` of nothing.
pub(super) fn max(values: &[f32]) -> f32 {
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = greater(*lane, value);
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |max, &value| greater(max, value))
}

/// `Σ exp(value - max)`; NaN if a value is NaN.
fn sum_exp(values: &[f32], max: f32) -> f64 {
    let mut sum = 0.0;
    for block in values.chunks(BLOCK) {
        let (chunks, rest) = block.as_chunks::<LANES>();
        let mut lanes = [0.0_f32; LANES];
        for chunk in chunks {
            for (lane, &value) in lanes.iter_mut().zip(chunk) {
                *lane += exp(value - max);
            }
        }
        sum += lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>();
        sum += rest.iter().map(|&value| f64::from(exp(value - max))).sum::<f64>();
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        for step in 0..=870_000 {
            let x = -(step as f32) * 1e-4;
            let exact = f64::from(x).exp();
            let relative = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(relative <= 2.0 * f64::from(f32::EPSILON), "e^{x}: {} for {exact}", exp(x));
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 2e-38);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn rows_that_are_not_numbers_are_errors() {
        for row in [vec![0.0, f32::NAN], vec![f32::INFINITY, 1.0], vec![f32::NEG_INFINITY; 3], vec![]] {
            assert!(matches!(Normalizer::of(&row).checked(), Err(Error::NotFinite(_))), "{row:?}");
        }
        let normalizer = Normalizer::of(&[f32::NEG_INFINITY, 5.0]).checked().expect("one token can come");
        assert_eq!(normalizer.log_prob(5.0), 0.0);
        assert_eq!(normalizer.log_prob(f32::NEG_INFINITY), f32::NEG_INFINITY);
    }

    proptest! {
        #[test]
        fn log_probabilities_equal_those_in_f64(
            logits in prop::collection::vec(-200.0_f32..200.0, 1..3000),
        ) {
            let normalizer = Normalizer::of(&logits).checked().expect("finite");
            let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = logits.iter().map(|&x| (f64::from(x) - f64::from(max)).exp()).sum();
            for &x in &logits {
                let exact = f64::from(x) - f64::from(max) - sum.ln();
                let got = f64::from(normalizer.log_prob(x));
                prop_assert!((got - exact).abs() <= 1e-6 * exact.abs().max(1.0), "{got} for {exact}");
            }
        }

        #[test]
        fn max_is_the_largest(values in prop::collection::vec(-1e9_f32..1e9, 0..100)) {
            prop_assert_eq!(max(&values), values.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}
