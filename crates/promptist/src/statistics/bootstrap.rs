//! Seeded bootstrap intervals: of a mean, of any statistic, of several statistics at once.
//!
//! Resampling is here, reading the ends off the resamples in [`bounds`], and why which kind in the module's
//! [coverage table](super#coverage).

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::bounds;
use super::interval::Interval;

/// Most of the resamples that may have no value of a statistic, as strengths of a system that won everything there.
const MOST_WITHOUT_VALUE: f64 = 0.05;

/// The mean of `values` and its studentised bootstrap interval over `resamples` resamples; `None` if there are no
/// values or one is not finite. For paired data the values are the pairs' differences.
///
/// Where resamples of equal values are so common that the studentised interval has no end (few values, or nearly all of
/// them equal), it is the percentile interval. Of equal values, or a single one, the interval has no width, whatever the
/// truth: for shares, [`wilson`](super::wilson) knows better.
pub fn bootstrap_mean(values: &[f64], resamples: usize, seed: u64) -> Option<Interval> {
    let n = values.len();
    if n == 0 || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let (mean, standard_error) = mean_and_error(values.iter().copied(), n);
    if resamples == 0 || standard_error == 0.0 {
        return Some(Interval { n, mean, low: mean, high: mean });
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut means, mut ratios): (Vec<f64>, Vec<f64>) = (0..resamples)
        .map(|_| {
            let chosen: Vec<f64> = draw(n, &mut rng).map(|idx| values[idx]).collect();
            let (resampled, error) = mean_and_error(chosen.into_iter(), n);
            let ratio = if resampled == mean { 0.0 } else { (resampled - mean) / error };
            (resampled, ratio)
        })
        .unzip();
    means.sort_by(f64::total_cmp);
    ratios.sort_by(f64::total_cmp);
    let (low, high) =
        bounds::studentised(&ratios, mean, standard_error).unwrap_or_else(|| bounds::percentile(&means));
    Some(Interval { n, mean, low, high })
}

/// The BCa interval of a statistic of `n` items over `resamples` resamples of their indices, around its value on all of
/// them; `None` if there is no such value, or if more than one resample in twenty has none (fewer are left out).
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
    let all: Vec<usize> = (0..n).collect();
    let estimates = statistics(&all)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let resampled: Vec<Vec<f64>> =
        (0..resamples).filter_map(|_| statistics(&draw(n, &mut rng).collect::<Vec<_>>())).collect();
    if (resampled.len() as f64) < (1.0 - MOST_WITHOUT_VALUE) * resamples as f64 {
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

/// `n` indices below `n`, each drawn from all of them.
fn draw(n: usize, rng: &mut impl Rng) -> impl Iterator<Item = usize> {
    (0..n).map(move |_| rng.random_range(0..n))
}

/// The mean of `n` values and its standard error; exactly 0 if they are equal, where the mean is theirs.
fn mean_and_error(values: impl Iterator<Item = f64> + Clone, n: usize) -> (f64, f64) {
    let mut others = values.clone();
    let first = others.next().unwrap_or(f64::NAN);
    if others.all(|value| value == first) {
        return (first, 0.0);
    }
    let mean = values.clone().sum::<f64>() / n as f64;
    let squares: f64 = values.map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (n - 1) as f64 / n as f64).sqrt())
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
        // A resample in four is all zeros or all ones: no studentised interval.
        let found = bootstrap_mean(&[0.0, 1.0, 1.0], 1000, 1).expect("values");
        assert_eq!((found.low, found.high), (0.0, 1.0));
        assert_eq!(bootstrap_mean(&[0.0, 1.0], 0, 1).map(|found| (found.low, found.high)), Some((0.5, 0.5)));
    }

    #[test]
    fn resamples_without_a_value_are_left_out_until_there_are_too_many() {
        assert_eq!(bootstrap(3, 10, 1, |_| None), None);
        assert_eq!(bootstrap(0, 10, 1, |chosen| chosen.first().map(|&idx| idx as f64)), None);
        // Without the last item there is no value: one resample in three of three, hardly one of 300.
        let has_last = |n: usize| {
            move |chosen: &[usize]| (n < 300 || chosen.contains(&(n - 1))).then_some(chosen[0] as f64)
        };
        assert!(bootstrap(200, 100, 1, has_last(200)).is_some());
        let (a, b) = ([1.0, 2.0, 3.0], [1.0, 3.0, 2.0]);
        let of = |chosen: &[usize]| {
            let (a, b): (Vec<f64>, Vec<f64>) = chosen.iter().map(|&idx| (a[idx], b[idx])).unzip();
            spearman(&a, &b)
        };
        assert_eq!(bootstrap(3, 1000, 1, of), None);
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
