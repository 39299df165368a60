//! The paired permutation test: were the two systems the same, each difference could as well have had the other sign.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Most differences other than 0 of which every choice of signs is looked at: half a million.
pub const EXACT_UP_TO: usize = 20;

/// Sums closer than this, of the sum of all magnitudes, are the same sum added in another order.
const SAME_SUM: f64 = 1e-12;

/// The two-sided p-value of a mean difference of 0 under random signs; `None` without values or if one is not
/// finite.
///
/// Exact up to [`EXACT_UP_TO`] differences other than 0, which no sign changes; beyond that `resamples` random choices
/// of signs, where p is `(k + 1) / (resamples + 1)` and never 0, so that the test stays valid. Take many more of them
/// than tests that are then corrected for each other: Holm's least p of 20 tests is `20 / (resamples + 1)`.
///
/// # Source
/// `scipy.stats.permutation_test(permutation_type="samples")` of the mean; Phipson and Smyth 2010 for the added 1.
pub fn sign_flip_test(differences: &[f64], resamples: usize, seed: u64) -> Option<f64> {
    if differences.is_empty() || differences.iter().any(|difference| !difference.is_finite()) {
        return None;
    }
    let magnitudes: Vec<f64> = differences.iter().map(|d| d.abs()).filter(|&d| d > 0.0).collect();
    let threshold = differences.iter().sum::<f64>().abs() - SAME_SUM * magnitudes.iter().sum::<f64>();
    match magnitudes.split_first() {
        None => Some(1.0),
        // The mirror image of a choice of signs is as far from 0, so the first sign may be held.
        Some((&first, rest)) if magnitudes.len() <= EXACT_UP_TO => {
            Some(count_as_far(rest, first, threshold) as f64 / (1_u64 << rest.len()) as f64)
        }
        Some(_) => {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let as_far =
                (0..resamples).filter(|_| random_signs_sum(&magnitudes, &mut rng).abs() >= threshold).count();
            Some((as_far + 1) as f64 / (resamples + 1) as f64)
        }
    }
}

/// How many choices of signs of `magnitudes`, added to `sum`, end `threshold` or more from 0.
fn count_as_far(magnitudes: &[f64], sum: f64, threshold: f64) -> u64 {
    match magnitudes.split_first() {
        None => u64::from(sum.abs() >= threshold),
        Some((&first, rest)) => {
            count_as_far(rest, sum + first, threshold) + count_as_far(rest, sum - first, threshold)
        }
    }
}

fn random_signs_sum(magnitudes: &[f64], rng: &mut impl Rng) -> f64 {
    let mut sum = 0.0;
    for chunk in magnitudes.chunks(64) {
        let signs = rng.next_u64();
        for (idx, &magnitude) in chunk.iter().enumerate() {
            sum += if signs >> idx & 1 == 1 { magnitude } else { -magnitude };
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(differences: &[f64], expected: Option<f64>) {
        assert_eq!(sign_flip_test(differences, 100, 1), expected);
    }

    #[test]
    fn small_cases_by_hand() {
        check(&[], None);
        check(&[f64::NAN, 1.0], None);
        check(&[0.0, 0.0], Some(1.0));
        check(&[3.0], Some(1.0));
        // All of one sign: 2 of 2^5 choices. Zeros change nothing.
        check(&[1.0, 2.0, 3.0, 4.0, 5.0], Some(2.0 / 32.0));
        check(&[1.0, 2.0, 0.0, 3.0, 4.0, 5.0, 0.0], Some(2.0 / 32.0));
        // |1 + 2 - 3| = 0, which every choice reaches.
        check(&[1.0, 2.0, -3.0], Some(1.0));
        // In tenths, 12 of 20: 4 or less is turned, by 15 choices of {1, 2, 3, 3, 1, 4, 6}, or 16 or more. In floats the
        // sums differ by rounding.
        check(&[0.1, 0.2, 0.3, -0.3, -0.1, 0.4, 0.6], Some(30.0 / 128.0));
    }

    #[test]
    fn random_signs_come_near_the_exact_p() {
        // 20 of one size: the sum is as far from 0 as 8 with a binomial chance.
        let ones: Vec<f64> = (0..20).map(|i| if i < 14 { 1.0 } else { -1.0 }).collect();
        let exact = sign_flip_test(&ones, 0, 1).expect("values");
        assert!((exact - 0.115_318_298_339_843_75).abs() < 1e-15, "{exact}");
        let mut one_more = ones;
        one_more.push(1e-9);
        let estimate = sign_flip_test(&one_more, 20_000, 5).expect("values");
        // The standard error is 0.0023. Half of the choices that tied with the sum fall behind the speck.
        assert!((0.07..0.13).contains(&estimate), "{estimate}");
        assert_eq!(sign_flip_test(&one_more, 20_000, 5), Some(estimate));
        assert_eq!(sign_flip_test(&vec![1.0; 100], 999, 5), Some(0.001));
    }

    proptest! {
        #[test]
        fn p_knows_neither_order_nor_direction_nor_scale(
            differences in prop::collection::vec(-8_i32..8, 1..12), scale in 0.001_f64..1000.0,
        ) {
            let p = |sign: f64, scale: f64| {
                let values: Vec<f64> = differences.iter().map(|&d| f64::from(d) * sign * scale).collect();
                sign_flip_test(&values, 0, 1)
            };
            let expected = p(1.0, 1.0);
            prop_assert_eq!(p(-1.0, 1.0), expected);
            prop_assert_eq!(p(1.0, scale), expected);
            let reversed: Vec<f64> = differences.iter().rev().map(|&d| f64::from(d)).collect();
            prop_assert_eq!(sign_flip_test(&reversed, 0, 1), expected);
        }
    }
}
