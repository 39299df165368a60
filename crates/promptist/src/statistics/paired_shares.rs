//! The mean of paired differences of shares, where few pairs differ.
//!
//! Resamples of 300 pairs of which one differs know neither that a pair may differ the other way nor that more may: their
//! interval leaves out 0, or is a point. What may be is known of shares: a difference is between -1 and 1.

use super::distributions::normal_quantile;
use super::interval::{CONFIDENCE, Interval};

/// Agresti and Min's interval of the mean of paired differences of flags: Wald's, after half a pair was added to each of
/// the four ways that two flags can fall. `None` without values, or if one is not between -1 and 1.
///
/// Differences may be fractions, as those of means of several flags: then squares stand for counts.
///
/// # Source
/// Agresti and Min 2005, "Simple improved confidence intervals for comparing matched proportions"; R's
/// `PropCIs::diffpropci.mp`.
pub fn paired_shares(differences: &[f64]) -> Option<Interval> {
    if differences.is_empty() || !differences.iter().all(|difference| (-1.0..=1.0).contains(difference)) {
        return None;
    }
    let found = paired_few(differences, 1.0)?;
    Some(Interval { low: found.low.max(-1.0), high: found.high.min(1.0), ..found })
}

/// The same of differences of any size of which few are not 0: what is added is half a pair that differs by `size` one way,
/// and half a pair that does so the other way. `None` without values, or if one is not finite.
///
/// A pair that is seen to differ says how much pairs may differ: the largest difference is a size to take.
pub fn paired_few(differences: &[f64], size: f64) -> Option<Interval> {
    if differences.is_empty() || !differences.iter().all(|difference| difference.is_finite()) {
        return None;
    }
    let (n, sum) = (differences.len() as f64, differences.iter().sum::<f64>());
    let squares: f64 = differences.iter().map(|difference| difference * difference).sum();
    let middle = sum / (n + 2.0);
    let variance = (squares + size * size) / (n + 2.0) - middle * middle;
    let half = normal_quantile(0.5 + CONFIDENCE / 2.0) * (variance.max(0.0) / (n + 2.0)).sqrt();
    Some(Interval { n: differences.len(), mean: sum / n, low: middle - half, high: middle + half })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_not_seen_is_not_ruled_out() {
        assert_eq!(paired_shares(&[]), None);
        assert_eq!(paired_shares(&[0.0, 1.5]), None);
        assert_eq!(paired_shares(&[f64::NAN]), None);
        let none = paired_shares(&[0.0; 298]).expect("values");
        // 1.96 · √(1 / 300 / 300).
        assert!((none.high - 1.959_964 / 300.0).abs() < 1e-8 && none.low == -none.high, "{none:?}");
        // One pair of 300 says nothing of the direction.
        let mut one = vec![0.0; 299];
        one.push(1.0);
        let one = paired_shares(&one).expect("values");
        assert!(one.low < 0.0 && one.high > 2.0 / 300.0, "{one:?}");
        let all = paired_shares(&[1.0; 5]).expect("values");
        assert!(all.high == 1.0 && all.low > 0.0, "{all:?}");
        assert_eq!((paired_few(&[], 1.0), paired_few(&[f64::NAN], 1.0)), (None, None));
        let none = paired_few(&[0.0; 9], 0.0).expect("values");
        assert_eq!((none.low, none.high), (0.0, 0.0));
        // 19 of 300 lost a twentieth each: half a whole pair more would hide it.
        let small: Vec<f64> = (0..300).map(|i| if i < 19 { -0.05 } else { 0.0 }).collect();
        assert!(paired_few(&small, 0.05).is_some_and(|few| few.high < 0.0));
        assert!(paired_few(&small, 1.0).is_some_and(|few| few.high > 0.0));
    }

    proptest! {
        #[test]
        fn the_mean_is_inside_and_signs_mirror(
            quarters in prop::collection::vec(-4_i32..=4, 1..60),
        ) {
            let of = |sign: f64| {
                let values: Vec<f64> = quarters.iter().map(|&q| sign * f64::from(q) / 4.0).collect();
                paired_shares(&values).expect("values")
            };
            let (one, mirror) = (of(1.0), of(-1.0));
            prop_assert!(one.low <= one.mean && one.mean <= one.high, "{:?}", one);
            prop_assert!((one.low + mirror.high).abs() < 1e-12);
        }
    }
}
