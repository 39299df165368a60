//! Shares: intervals of a binomial proportion and the exact test of one.
//!
//! A share has no use for a bootstrap: resamples of 300 successes are 300 successes. Wilson's interval holds the true
//! share about as often as it says on average over shares; Clopper and Pearson's at least as often for every share.

use super::distributions::{beta_quantile, ln_choose, normal_quantile};
use super::interval::{CONFIDENCE, Interval};

/// Probabilities closer than this, relatively, are the same: outcomes on both sides of the mean may tie.
const SAME_PROBABILITY: f64 = 1e-7;

/// Wilson's score interval of a share; `None` without trials or with more successes than trials.
///
/// # Source
/// Wilson 1927; `statsmodels.stats.proportion.proportion_confint(method="wilson")`.
pub fn wilson(successes: usize, n: usize) -> Option<Interval> {
    wilson_mean(successes as f64, n)
}

/// Wilson's interval of the mean of `n` values between 0 and 1 that add up to `sum`, such as answers of which a tie is
/// worth one half; `None` if there can be no such values.
///
/// The variance of values between 0 and 1 is at most that of ones and zeros of the same mean: where many values are
/// fractions the interval is wider than it need be, and it is never narrow.
pub fn wilson_mean(sum: f64, n: usize) -> Option<Interval> {
    let trials = n as f64;
    if n == 0 || !(0.0..=trials).contains(&sum) {
        return None;
    }
    let share = sum / trials;
    let z2 = normal_quantile(0.5 + CONFIDENCE / 2.0).powi(2);
    let middle = (share + z2 / (2.0 * trials)) / (1.0 + z2 / trials);
    let half = (z2 * (share * (1.0 - share) + z2 / (4.0 * trials)) / trials).sqrt() / (1.0 + z2 / trials);
    // At the ends the bounds are the ends, but for rounding.
    let low = if sum == 0.0 { 0.0 } else { middle - half };
    let high = if sum == trials { 1.0 } else { middle + half };
    Some(Interval { n, mean: share, low, high })
}

/// Clopper and Pearson's interval of a share; `None` without trials or with more successes than trials.
///
/// # Source
/// Clopper and Pearson 1934; `statsmodels.stats.proportion.proportion_confint(method="beta")`.
pub fn clopper_pearson(successes: usize, n: usize) -> Option<Interval> {
    let share = share(successes, n)?;
    let tail = (1.0 - CONFIDENCE) / 2.0;
    let (k, failures) = (successes as f64, (n - successes) as f64);
    let low = if successes == 0 { 0.0 } else { beta_quantile(tail, k, failures + 1.0) };
    let high = if successes == n { 1.0 } else { beta_quantile(1.0 - tail, k + 1.0, failures) };
    Some(Interval { n, mean: share, low, high })
}

/// The two-sided p-value of `successes` of `n` at a chance of `p` each: the chance of all outcomes that are no likelier.
/// For a sign test, `p` is one half and ties are left out of `n`. 1 without trials; NaN if `p` is no probability or
/// there are more successes than trials.
///
/// # Source
/// `scipy.stats.binomtest`.
pub fn binomial_test(successes: usize, n: usize, p: f64) -> f64 {
    if !(0.0..=1.0).contains(&p) || successes > n {
        return f64::NAN;
    }
    let probability = |k: usize| match p {
        0.0 => f64::from(u8::from(k == 0)),
        1.0 => f64::from(u8::from(k == n)),
        _ => (ln_choose(n, k) + k as f64 * p.ln() + (n - k) as f64 * (-p).ln_1p()).exp(),
    };
    let most = probability(successes) * (1.0 + SAME_PROBABILITY);
    (0..=n).map(probability).filter(|&one| one <= most).sum::<f64>().min(1.0)
}

fn share(successes: usize, n: usize) -> Option<f64> {
    (n > 0 && successes <= n).then(|| successes as f64 / n as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn degenerate_shares() {
        assert_eq!(wilson(0, 0), None);
        assert_eq!(clopper_pearson(3, 2), None);
        let none = wilson(0, 10).expect("trials");
        assert_eq!((none.mean, none.low), (0.0, 0.0));
        assert!((none.high - 0.277_5).abs() < 1e-4, "{none:?}");
        assert_eq!((wilson_mean(-0.5, 2), wilson_mean(2.5, 2), wilson_mean(f64::NAN, 2)), (None, None, None));
        assert_eq!(wilson_mean(2.5, 5).map(|share| share.mean), Some(0.5));
        let all = clopper_pearson(10, 10).expect("trials");
        // 0.025^(1/10).
        assert!((all.low - 0.025_f64.powf(0.1)).abs() < 1e-12, "{all:?}");
        assert_eq!((all.mean, all.high), (1.0, 1.0));
    }

    #[test]
    fn tests_by_hand() {
        let check = |successes, n, p, expected: f64| {
            let found = binomial_test(successes, n, p);
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        };
        check(5, 5, 0.5, 2.0 / 32.0);
        check(3, 6, 0.5, 1.0);
        check(0, 0, 0.5, 1.0);
        check(0, 4, 0.0, 1.0);
        check(1, 4, 0.0, 0.0);
        check(4, 4, 1.0, 1.0);
        assert!(binomial_test(1, 2, 1.5).is_nan() && binomial_test(3, 2, 0.5).is_nan());
    }

    proptest! {
        #[test]
        fn intervals_hold_their_share_and_mirror(n in 1_usize..400, part in 0.0..=1.0_f64) {
            let successes = (part * n as f64) as usize;
            for interval in [wilson, clopper_pearson] {
                let one = interval(successes, n).expect("trials");
                let mirror = interval(n - successes, n).expect("trials");
                prop_assert!(0.0 <= one.low && one.low <= one.mean && one.mean <= one.high && one.high <= 1.0);
                prop_assert!((one.low - (1.0 - mirror.high)).abs() < 1e-12);
            }
        }
    }
}
