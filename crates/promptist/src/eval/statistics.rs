//! Seeded statistics: bootstrap intervals of means, random others.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// A mean with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Values.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// 2.5th percentile of the resampled means.
    pub low: f64,
    /// 97.5th percentile of the resampled means.
    pub high: f64,
}

/// The mean of `values` and its percentile bootstrap interval over `resamples` resamples; `None` if
/// there are no values. For paired data the values are the pairs' differences.
pub fn bootstrap_mean(values: &[f64], resamples: usize, seed: u64) -> Option<Interval> {
    let n = values.len();
    if n == 0 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n as f64;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut means: Vec<f64> = (0..resamples)
        .map(|_| (0..n).map(|_| values[rng.random_range(0..n)]).sum::<f64>() / n as f64)
        .collect();
    means.sort_by(f64::total_cmp);
    let percentile = |p: f64| match means.len() {
        0 => mean,
        len => linear_percentile(&means, p * (len - 1) as f64),
    };
    Some(Interval { n, mean, low: percentile(0.025), high: percentile(0.975) })
}

/// The percentile interval of a statistic of `n` items over `resamples` resamples of their indices, around its
/// value on all of them; `None` if there is no such value. Resamples without one are left out.
pub fn bootstrap(
    n: usize,
    resamples: usize,
    seed: u64,
    statistic: impl Fn(&[usize]) -> Option<f64>,
) -> Option<Interval> {
    let mean = statistic(&(0..n).collect::<Vec<_>>())?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut values: Vec<f64> = (0..resamples)
        .filter_map(|_| statistic(&(0..n).map(|_| rng.random_range(0..n)).collect::<Vec<_>>()))
        .collect();
    values.sort_by(f64::total_cmp);
    let percentile = |p: f64| match values.len() {
        0 => mean,
        len => linear_percentile(&values, p * (len - 1) as f64),
    };
    Some(Interval { n, mean, low: percentile(0.025), high: percentile(0.975) })
}

/// Spearman's rank correlation, ties at their mean rank; `None` where either side is constant.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    pearson(&ranks(a), &ranks(b))
}

/// Pearson's correlation; `None` where either side is constant.
pub fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    let n = a.len().min(b.len()) as f64;
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        ab += (a - mean_a) * (b - mean_b);
        aa += (a - mean_a) * (a - mean_a);
        bb += (b - mean_b) * (b - mean_b);
    }
    (aa > 0.0 && bb > 0.0).then(|| ab / (aa * bb).sqrt())
}

/// Ranks from 1, equal values at the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = first as f64 + (tied.len() + 1) as f64 / 2.0;
        tied.iter().for_each(|&idx| ranks[idx] = rank);
        first += tied.len();
    }
    ranks
}

/// A random other for each of `n`: a cyclic permutation (Sattolo), so that nobody gets themselves.
/// Empty for fewer than two, where there is no other.
pub fn random_others(n: usize, rng: &mut impl Rng) -> Vec<usize> {
    if n < 2 {
        return Vec::new();
    }
    let mut others: Vec<usize> = (0..n).collect();
    for last in (1..n).rev() {
        others.swap(last, rng.random_range(0..last));
    }
    others
}

/// The value at a position between two ranks.
fn linear_percentile(sorted: &[f64], position: f64) -> f64 {
    let (below, share) = (position.floor() as usize, position.fract());
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + share * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
    fn few_values_have_an_interval_too() {
        assert_eq!(bootstrap_mean(&[], 100, 1), None);
        let one = bootstrap_mean(&[2.0], 100, 1).expect("a value");
        assert_eq!((one.low, one.mean, one.high), (2.0, 2.0, 2.0));
    }

    #[test]
    fn rank_correlation_sees_order_alone() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[1.0, 10.0, 100.0]), Some(1.0));
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[9.0, 4.0, 1.0]), Some(-1.0));
        assert_eq!(spearman(&[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0]), None);
        // By hand: ranks 1 2 3 4 and 2 1 4 3, 1 - 6 · 4 / (4 · 15).
        let found = spearman(&[1.0, 2.0, 3.0, 4.0], &[20.0, 10.0, 40.0, 30.0]).expect("not constant");
        assert!((found - 0.6).abs() < 1e-12);
    }

    #[test]
    fn a_statistic_that_is_a_mean_has_the_mean_s_interval() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 2)).collect();
        let mean =
            |rows: &[usize]| Some(rows.iter().map(|&row| values[row]).sum::<f64>() / rows.len() as f64);
        let found = bootstrap(400, 2000, 7, mean).expect("values");
        assert_eq!(found, bootstrap_mean(&values, 2000, 7).expect("values"));
        assert_eq!(bootstrap(3, 10, 1, |_| None), None);
    }

    proptest! {
        #[test]
        fn nobody_is_their_own_other(n in 0usize..50, seed: u64) {
            let others = random_others(n, &mut ChaCha8Rng::seed_from_u64(seed));
            prop_assert!(others.iter().enumerate().all(|(me, &other)| me != other));
            let mut sorted = others.clone();
            sorted.sort_unstable();
            let everyone: Vec<usize> = if n < 2 { vec![] } else { (0..n).collect() };
            prop_assert_eq!(sorted, everyone);
        }
    }
}
