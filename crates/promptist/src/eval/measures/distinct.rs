//! How much of what a system adds to a set is said once: distinct n-grams over n-grams, with jackknife intervals.
//!
//! A bootstrap draws rows twice, and what stands twice is no longer distinct: its intervals would lie below the
//! number that they are about. The jackknife leaves rows out one at a time instead.
//!
//! # Source
//! Li et al. 2016, "A Diversity-Promoting Objective Function for Neural Conversation Models" (distinct-n); Efron and
//! Tibshirani 1993, "An Introduction to the Bootstrap", chapter 11 (the jackknife's standard error).

use std::collections::HashMap;
use std::hash::Hash;

use crate::statistics::Interval;

/// The 97.5th percentile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// A number of rows together, and the same without each target: without each row, where each has a target of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct LeftOut {
    /// Of all rows.
    pub whole: f64,
    /// Of all but those of target i.
    pub without: Vec<f64>,
}

/// Distinct n-grams over n-grams of rows of items; `None` if there are none. N-grams do not cross rows. `targets` are the
/// rows', from 0 on.
pub fn distinct<T: Hash + Eq>(rows: &[Vec<T>], targets: &[usize], n: usize) -> Option<LeftOut> {
    // Of each n-gram: the target where it stands, if in one alone.
    let mut found: HashMap<&[T], Option<usize>> = HashMap::new();
    let num_targets = targets.iter().max().map_or(0, |last| last + 1);
    let mut sizes = vec![0_usize; num_targets];
    for (items, &target) in rows.iter().zip(targets) {
        sizes[target] += (items.len() + 1).saturating_sub(n);
        for ngram in items.windows(n) {
            let only = |home: &mut Option<usize>| *home = home.filter(|&home| home == target);
            found.entry(ngram).and_modify(only).or_insert(Some(target));
        }
    }
    let mut own = vec![0_usize; num_targets];
    found.values().flatten().for_each(|&target| own[target] += 1);
    let all: usize = sizes.iter().sum();
    let share = |distinct: usize, all: usize| distinct as f64 / all.max(1) as f64;
    let without = own.iter().zip(&sizes).map(|(own, size)| share(found.len() - own, all - size));
    (all > 0).then(|| LeftOut { whole: share(found.len(), all), without: without.collect() })
}

impl LeftOut {
    /// The mean of several numbers of the same rows: of the models of a system.
    pub fn mean(of: &[Self]) -> Option<Self> {
        let count = of.len() as f64;
        let first = of.first()?;
        let without =
            (0..first.without.len()).map(|row| of.iter().map(|each| each.without[row]).sum::<f64>() / count);
        Some(Self {
            whole: of.iter().map(|each| each.whole).sum::<f64>() / count,
            without: without.collect(),
        })
    }

    /// This less `other`, of the same inputs.
    pub fn minus(&self, other: &Self) -> Self {
        let without = self.without.iter().zip(&other.without).map(|(a, b)| a - b).collect();
        Self { whole: self.whole - other.whole, without }
    }

    /// The number with its 95 % interval, `whole ± 1.96 se` with `se² = (n − 1) / n · Σ (without − mean)²`; `None` of
    /// fewer than two targets.
    pub fn interval(&self) -> Option<Interval> {
        let n = self.without.len();
        if n < 2 {
            return None;
        }
        let mean = self.without.iter().sum::<f64>() / n as f64;
        let squares: f64 = self.without.iter().map(|value| (value - mean).powi(2)).sum();
        let error = (squares * (n - 1) as f64 / n as f64).sqrt();
        Some(Interval { n, mean: self.whole, low: self.whole - Z * error, high: self.whole + Z * error })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::eval::text;

    proptest! {
        #[test]
        fn what_is_left_is_what_it_would_be_without_the_target(
            rows in prop::collection::vec((prop::collection::vec(0_u8..6, 0..7), 0_usize..4), 1..7),
            n in 1_usize..4,
        ) {
            let (rows, targets): (Vec<Vec<u8>>, Vec<usize>) = rows.into_iter().unzip();
            let named: Vec<Vec<String>> =
                rows.iter().map(|row| row.iter().map(u8::to_string).collect()).collect();
            let found = distinct(&rows, &targets, n);
            prop_assume!(found.is_some());
            let found = found.expect("n-grams");
            prop_assert_eq!(found.whole, text::distinct(&named, n));
            for (target, without) in found.without.iter().enumerate() {
                let others = named.iter().zip(&targets).filter(|(_, of)| **of != target);
                let others: Vec<Vec<String>> = others.map(|(row, _)| row.clone()).collect();
                prop_assert_eq!(*without, text::distinct(&others, n));
            }
        }
    }

    #[test]
    fn the_interval_of_a_mean_is_the_usual_one() {
        let values = [1.0, 0.0, 0.0, 1.0, 1.0_f64];
        let n = values.len() as f64;
        let sum: f64 = values.iter().sum();
        let without = values.iter().map(|value| (sum - value) / (n - 1.0)).collect();
        let interval = LeftOut { whole: sum / n, without }.interval().expect("five rows");
        // The standard error of a mean: sqrt(0.3 / 5).
        assert_eq!((interval.n, interval.mean), (5, 0.6));
        assert!((interval.high - (0.6 + Z * (0.3_f64 / 5.0).sqrt())).abs() < 1e-12, "{interval:?}");
        let one = distinct(&[vec![1, 2]], &[0], 1).expect("items");
        assert_eq!((one.whole, one.interval()), (1.0, None));
        assert_eq!(distinct(&[vec![1], vec![]], &[0, 1], 2), None);
    }

    #[test]
    fn differences_are_paired() {
        let a = LeftOut { whole: 3.0, without: vec![2.0, 1.0] };
        let b = LeftOut { whole: 1.0, without: vec![0.5, 1.0] };
        assert_eq!(a.minus(&b), LeftOut { whole: 2.0, without: vec![1.5, 0.0] });
        assert_eq!(LeftOut::mean(&[a, b]), Some(LeftOut { whole: 2.0, without: vec![1.25, 1.0] }));
    }
}
