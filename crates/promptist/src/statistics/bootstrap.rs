//! Seeded bootstrap intervals: of a mean, of any statistic, of several statistics at once.
//!
//! Resampling is here, reading the ends off the resamples in [`bounds`], and why which kind in the module's
//! [coverage table](super#coverage).

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::binomial::wilson;
use super::bounds;
use super::interval::Interval;
use super::mean::mean;

/// The mean of `values` and its studentised bootstrap interval over `resamples` resamples; `None` if there are no
/// values or one is not finite. For paired data the values are the pairs' differences.
///
/// Values that are one of two numbers make the mean a share, whose interval is [`wilson`]'s between the two. Where
/// resamples of equal values are so common that the studentised interval has no end (nearly all values are equal, or
/// there are a few of them), it is the percentile interval. Of equal values, or a single one, the interval has no width,
/// whatever the truth: ask [`wilson`] itself where the other number is known.
pub fn bootstrap_mean(values: &[f64], resamples: usize, seed: u64) -> Option<Interval> {
    let n = values.len();
    if values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mean = mean(values)?;
    let standard_error = standard_error(values, mean);
    if resamples == 0 || standard_error == 0.0 {
        return Some(Interval { n, mean, low: mean, high: mean });
    }
    if let Some((low, high)) = share_of_two(values) {
        return Some(Interval { n, mean, low, high });
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let centred: Vec<f64> = values.iter().map(|value| value - mean).collect();
    let (mut means, mut ratios): (Vec<f64>, Vec<f64>) = (0..resamples)
        .map(|_| {
            let (offset, error) = resampled_offset(&centred, &mut rng);
            (mean + offset, if offset == 0.0 { 0.0 } else { offset / error })
        })
        .unzip();
    means.sort_by(f64::total_cmp);
    ratios.sort_by(f64::total_cmp);
    let (low, high) =
        bounds::studentised(&ratios, mean, standard_error).unwrap_or_else(|| bounds::percentile(&means));
    Some(Interval { n, mean, low, high })
}

/// The BCa interval of a statistic of `n` items over `resamples` resamples of their indices, around its value on all of
/// them; `None` if there is no such value. Resamples without one are left out: where they are common, the interval is of
/// the cases in which there is one.
///
/// `statistic` is also asked for all items but one, n times. Where that has no value, or the correction none, it is the
/// percentile interval.
pub fn bootstrap(
    n: usize,
    resamples: usize,
    seed: u64,
    statistic: impl Fn(&[usize]) -> Option<f64>,
) -> Option<Interval> {
    let each = bootstrap_each(n, resamples, seed, |chosen| statistic(chosen).map(|value| vec![value]))?;
    each.first().copied()
}

/// [`bootstrap`] of several statistics on the same resamples.
pub fn bootstrap_each(
    n: usize,
    resamples: usize,
    seed: u64,
    statistics: impl Fn(&[usize]) -> Option<Vec<f64>>,
) -> Option<Vec<Interval>> {
    intervals(n, resamples, seed, 1.0, statistics)
}

/// [`bootstrap_each`], but `None` if more than this share of the resamples has no value.
pub(super) fn intervals(
    n: usize,
    resamples: usize,
    seed: u64,
    most_without: f64,
    statistics: impl Fn(&[usize]) -> Option<Vec<f64>>,
) -> Option<Vec<Interval>> {
    let all: Vec<usize> = (0..n).collect();
    let estimates = statistics(&all)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let resampled: Vec<Vec<f64>> =
        (0..resamples).filter_map(|_| statistics(&draw(n, &mut rng).collect::<Vec<_>>())).collect();
    if (resamples - resampled.len()) as f64 > most_without * resamples as f64 {
        return None;
    }
    let without =
        |left_out: usize| statistics(&all.iter().copied().filter(|&idx| idx != left_out).collect::<Vec<_>>());
    let left_out: Option<Vec<Vec<f64>>> = all.iter().map(|&idx| without(idx)).collect();
    let interval = |(idx, &mean): (usize, &f64)| {
        let column = |rows: &[Vec<f64>]| rows.iter().map(|row| row[idx]).collect::<Vec<f64>>();
        let mut sorted = column(&resampled);
        if sorted.is_empty() {
            return Interval { n, mean, low: mean, high: mean };
        }
        sorted.sort_by(f64::total_cmp);
        let corrected = left_out.as_ref().and_then(|rows| bounds::bca(&sorted, mean, &column(rows)));
        let (low, high) = corrected.unwrap_or_else(|| bounds::percentile(&sorted));
        Interval { n, mean, low, high }
    };
    Some(estimates.iter().enumerate().map(interval).collect())
}

/// The ends of the mean's interval if all values are one of two numbers, and one of them more than once: two values
/// that differ may be any two.
fn share_of_two(values: &[f64]) -> Option<(f64, f64)> {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if values.len() < 3 || values.iter().any(|&value| value != least && value != most) {
        return None;
    }
    let share = wilson(values.iter().filter(|&&value| value == most).count(), values.len())?;
    let between = |share: f64| least + share * (most - least);
    Some((between(share.low), between(share.high)))
}

/// `n` indices below `n`, each drawn from all of them.
fn draw(n: usize, rng: &mut impl Rng) -> impl Iterator<Item = usize> {
    (0..n).map(move |_| rng.random_range(0..n))
}

/// The mean of a resample of values whose mean is 0, and its standard error; exactly 0 if the resampled values are equal.
/// One pass: the squares of centred values are added up without loss.
fn resampled_offset(centred: &[f64], rng: &mut impl Rng) -> (f64, f64) {
    /// What rounding leaves of the squares of equal values, of their sum.
    const ROUNDING: f64 = 1e-12;
    let (mut sum, mut squares) = (0.0, 0.0);
    for idx in draw(centred.len(), rng) {
        let value = centred[idx];
        sum += value;
        squares += value * value;
    }
    let n = centred.len() as f64;
    let around_mean = squares - sum * sum / n;
    let error = if around_mean > ROUNDING * squares { (around_mean / (n - 1.0) / n).sqrt() } else { 0.0 };
    (sum / n, error)
}

/// The standard error of values' mean; exactly 0 if they are equal.
fn standard_error(values: &[f64], mean: f64) -> f64 {
    let n = values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    if squares == 0.0 { 0.0 } else { (squares / (n - 1.0) / n).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::spearman;

    #[test]
    fn the_interval_of_a_mean_is_about_two_standard_errors_wide() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 2)).collect();
        let interval = bootstrap_mean(&values, 4000, 7).expect("values");
        assert_eq!((interval.n, interval.mean), (400, 0.5));
        // The standard error is 0.5 / sqrt(400) = 0.025.
        assert!((interval.low - (0.5 - 1.96 * 0.025)).abs() < 0.004, "{interval:?}");
        assert!((interval.high - (0.5 + 1.96 * 0.025)).abs() < 0.004, "{interval:?}");
        assert_eq!(bootstrap_mean(&values, 4000, 7), Some(interval));
    }

    #[test]
    fn degenerate_values() {
        assert_eq!(bootstrap_mean(&[], 100, 1), None);
        assert_eq!(bootstrap_mean(&[1.0, f64::NAN], 100, 1), None);
        let check = |values: &[f64], expected: f64| {
            let found = bootstrap_mean(values, 100, 1).expect("values");
            assert_eq!((found.low, found.mean, found.high), (expected, expected, expected));
        };
        check(&[2.0], 2.0);
        // The sum of ten tenths is not 1.
        check(&[0.1; 10], 0.1);
        // A resample in nine is of equal values: no studentised interval.
        let found = bootstrap_mean(&[0.0, 1.0, 3.0], 1000, 1).expect("values");
        assert_eq!((found.low, found.high), (0.0, 3.0));
        let found = bootstrap_mean(&[1.0, 4.0], 1000, 1).expect("values");
        assert_eq!((found.low, found.high), (1.0, 4.0));
        assert_eq!(bootstrap_mean(&[0.0, 1.0], 0, 1).map(|found| (found.low, found.high)), Some((0.5, 0.5)));
    }

    #[test]
    fn one_of_two_numbers_is_a_share() {
        let flags: Vec<f64> = (0..50).map(|i| f64::from(u8::from(i < 3))).collect();
        let (found, share) =
            (bootstrap_mean(&flags, 100, 1).expect("values"), wilson(3, 50).expect("trials"));
        assert!((found.mean - share.mean).abs() < 1e-15);
        assert_eq!((found.n, found.low, found.high), (50, share.low, share.high));
        let scaled: Vec<f64> = flags.iter().map(|flag| 2.0 - 4.0 * flag).collect();
        let found = bootstrap_mean(&scaled, 100, 1).expect("values");
        assert!((found.low - (2.0 - 4.0 * share.high)).abs() < 1e-12);
        assert!((found.high - (2.0 - 4.0 * share.low)).abs() < 1e-12);
    }

    #[test]
    fn resamples_without_a_value_are_left_out() {
        assert_eq!(bootstrap(3, 10, 1, |_| None), None);
        assert_eq!(bootstrap(0, 10, 1, |chosen| chosen.first().map(|&idx| idx as f64)), None);
        let (a, b) = ([1.0, 2.0, 3.0], [1.0, 3.0, 2.0]);
        let of = |chosen: &[usize]| {
            let (a, b): (Vec<f64>, Vec<f64>) = chosen.iter().map(|&idx| (a[idx], b[idx])).unzip();
            spearman(&a, &b).map(|correlation| vec![correlation])
        };
        // All three are the same item, so constant, in a resample of nine.
        let found = intervals(3, 2000, 1, 0.2, of).expect("few are constant");
        assert!(found[0].low < found[0].mean && found[0].mean < found[0].high, "{found:?}");
        assert_eq!(intervals(3, 2000, 1, 0.05, of), None);
    }

    #[test]
    fn statistics_together_are_statistics_apart() {
        let values: Vec<f64> = (0..30).map(|i| f64::from(i * i % 17)).collect();
        let mean = |rows: &[usize]| rows.iter().map(|&row| values[row]).sum::<f64>() / rows.len() as f64;
        let most = |rows: &[usize]| rows.iter().map(|&row| values[row]).fold(0.0, f64::max);
        let both = bootstrap_each(30, 300, 5, |rows| Some(vec![mean(rows), most(rows)])).expect("values");
        assert_eq!(Some(both[0]), bootstrap(30, 300, 5, |rows| Some(mean(rows))));
        assert_eq!(Some(both[1]), bootstrap(30, 300, 5, |rows| Some(most(rows))));
        assert_eq!(both[1].high, 16.0);
    }
}
