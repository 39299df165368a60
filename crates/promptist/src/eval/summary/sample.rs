//! Values of inputs, and what is said of their mean.

use std::collections::HashMap;

use super::Summary;
use crate::eval::report::{Measure, Unit};
use crate::statistics::{Interval, bootstrap_mean, mean, paired_few, sign_flip_test, wilson_mean};

/// Fewer values than this that are not the common one are too few to resample: it is not known yet what they may be.
const FEW: usize = 20;

/// Values of a measure, or differences of such, by input. Inputs that were made of one target say less together than as many
/// of targets of their own: intervals and tests take targets as independent, not inputs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    values: Vec<f64>,
    /// Of each value.
    targets: Vec<usize>,
}

impl FromIterator<(f64, usize)> for Sample {
    fn from_iter<I: IntoIterator<Item = (f64, usize)>>(values: I) -> Self {
        let (values, targets) = values.into_iter().unzip();
        Self { values, targets }
    }
}

impl Sample {
    /// The values.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The mean of a measure's values with its interval: Wilson's of a share of yes and no, and of shares that are all or
    /// nothing but for a few; of anything else, by bootstrap.
    pub fn mean(&self, summary: &Summary, measure: &Measure) -> Option<Interval> {
        let values = &self.values;
        let is_yes_or_no = || values.iter().all(|&value| value == 0.0 || value == 1.0);
        if measure.unit == Unit::Share
            && (is_yes_or_no() || few_are_not(values, 0.0) || few_are_not(values, 1.0))
        {
            // As if each target said one thing: its inputs may say several.
            let targets = self.by_target().len();
            return self.named(wilson_mean(mean(values)? * targets as f64, targets));
        }
        self.bootstrapped(summary)
    }

    /// The mean of differences of pairs with its interval: of yes and no, and of values of which few differ, Agresti and
    /// Min's; of anything else, by bootstrap.
    pub fn mean_difference(&self, summary: &Summary, measure: &Measure) -> Option<Interval> {
        let differences = &self.values;
        let is_share = measure.unit == Unit::Share;
        let is_flag = || differences.iter().all(|difference| [-1.0, 0.0, 1.0].contains(difference));
        if (is_share && is_flag()) || few_are_not(differences, 0.0) {
            let largest = differences.iter().fold(0.0_f64, |most, difference| most.max(difference.abs()));
            // Of shares it is known how much they may differ, though none does.
            let size = if is_share && largest == 0.0 { 1.0 } else { largest };
            let found = paired_few(&self.spread(), size);
            let within =
                |found: Interval| Interval { low: found.low.max(-1.0), high: found.high.min(1.0), ..found };
            return self.named(if is_share { found.map(within) } else { found });
        }
        self.bootstrapped(summary)
    }

    /// The p-value of differences whose mean is 0, by random signs: of a target's inputs together.
    pub fn sign_flip_test(&self, permutations: usize, seed: u64) -> Option<f64> {
        sign_flip_test(&self.by_target(), permutations, seed)
    }

    fn bootstrapped(&self, summary: &Summary) -> Option<Interval> {
        self.named(bootstrap_mean(&self.spread(), summary.config.resamples, summary.config.seed))
    }

    /// An interval of targets, as one of inputs: what is counted are inputs.
    fn named(&self, found: Option<Interval>) -> Option<Interval> {
        let (found, mean) = (found?, mean(&self.values)?);
        let (low, high) = (found.low.min(mean), found.high.max(mean));
        Some(Interval { n: self.values.len(), mean, low, high })
    }

    /// The sum of each target's values, in the order of their first; the values, if each has a target of its own.
    fn by_target(&self) -> Vec<f64> {
        sums_by(&self.values, &dense(&self.targets))
    }

    /// One number a target, whose mean is the values' and whose spread is that of the targets: the mean, and what the
    /// target's values add up to around it, as if all targets had as many. Of targets with one value each, the values.
    ///
    /// # Source
    /// The linearised variance of a mean of clusters: Cochran 1977, "Sampling Techniques", section 9A.
    fn spread(&self) -> Vec<f64> {
        let Some(mean) = mean(&self.values) else { return Vec::new() };
        let centred: Vec<f64> = self.values.iter().map(|value| value - mean).collect();
        let sums = sums_by(&centred, &dense(&self.targets));
        if sums.len() == self.values.len() {
            return self.values.clone();
        }
        let scale = sums.len() as f64 / self.values.len() as f64;
        sums.iter().map(|sum| mean + sum * scale).collect()
    }
}

/// Targets numbered from 0 on, in the order of their first.
pub fn dense(targets: &[usize]) -> Vec<usize> {
    let mut numbers: HashMap<usize, usize> = HashMap::new();
    let number = |target: &usize| {
        let next = numbers.len();
        *numbers.entry(*target).or_insert(next)
    };
    targets.iter().map(number).collect()
}

/// What the values of each target, numbered from 0 on, add up to.
fn sums_by(values: &[f64], targets: &[usize]) -> Vec<f64> {
    let mut sums = vec![0.0; targets.iter().max().map_or(0, |last| last + 1)];
    values.iter().zip(targets).for_each(|(value, &target)| sums[target] += value);
    sums
}

/// Whether nearly all values are `common`: the others are less than half, and few.
fn few_are_not(values: &[f64], common: f64) -> bool {
    let others = values.iter().filter(|&&value| value != common).count();
    others < FEW && 2 * others < values.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(values: &[f64], per_target: usize) -> Sample {
        values.iter().enumerate().map(|(idx, &value)| (value, idx / per_target)).collect()
    }

    #[test]
    fn a_few_of_many_are_few() {
        let mut values = vec![1.0; 100];
        assert!(few_are_not(&values, 1.0) && !few_are_not(&values, 0.0));
        values[..FEW - 1].fill(0.5);
        assert!(few_are_not(&values, 1.0));
        values[FEW] = 0.0;
        assert!(!few_are_not(&values, 1.0));
        assert!(!few_are_not(&[1.0, 0.5], 1.0), "one of two is half");
        assert!(!few_are_not(&[], 1.0));
    }

    #[test]
    fn what_is_said_four_times_is_said_once() {
        // Ten targets, and each of them four times.
        let once: Vec<f64> = (0..10).map(|i| f64::from(i * i % 7) - 1.0).collect();
        let four_times: Vec<f64> = once.iter().flat_map(|&value| [value; 4]).collect();
        let (once, repeated) = (sample(&once, 1), sample(&four_times, 4));
        assert_eq!(repeated.values().len(), 40);
        for (a, b) in once.spread().iter().zip(repeated.spread()) {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
        assert_eq!(once.sign_flip_test(100, 1), repeated.sign_flip_test(100, 1));
        assert_ne!(repeated.sign_flip_test(100, 1), sample(&four_times, 1).sign_flip_test(100, 1));
    }

    #[test]
    fn targets_of_unequal_sizes_keep_the_mean() {
        let mixed: Sample = [(1.0, 0), (2.0, 0), (6.0, 0), (4.0, 1), (0.0, 2)].into_iter().collect();
        let spread = mixed.spread();
        assert_eq!(spread.len(), 3);
        assert!((spread.iter().sum::<f64>() / 3.0 - 13.0 / 5.0).abs() < 1e-12, "{spread:?}");
        assert_eq!(mixed.by_target(), [9.0, 4.0, 0.0]);
        assert!(Sample::default().spread().is_empty());
        assert_eq!(dense(&[7, 3, 7, 9]), [0, 1, 0, 2]);
    }
}
