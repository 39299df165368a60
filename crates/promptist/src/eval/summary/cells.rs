//! What was found of one system on one set by one measure.

use rayon::prelude::*;

use super::{Summary, View, set_level};
use crate::eval::report::{Cell, Distribution, Level, Measure, MeasureFamily, Unit};
use crate::eval::rows::EvalRow;
use crate::statistics::{Interval, bootstrap_mean, paired_shares, wilson_mean};

/// Parts of a histogram.
const BINS: usize = 20;

/// The cells of all views, by set, measure and system.
pub fn cells(summary: &Summary) -> Vec<Cell> {
    let of_view = |view| summary.measures.iter().map(move |measure| (view, measure));
    let tasks: Vec<(&View, &Measure)> = summary.views.iter().flat_map(of_view).collect();
    tasks.par_iter().flat_map_iter(|(view, measure)| of_measure(summary, view, measure)).collect()
}

/// Fewer values than this that are not the common one are too few to resample: it is not known yet what they may be.
const FEW: usize = 20;

/// The mean of a measure's values with its interval: Wilson's of a share of yes and no, and of shares that are all or
/// nothing but for a few; of anything else, by bootstrap.
pub(super) fn mean(summary: &Summary, measure: &Measure, values: &[f64]) -> Option<Interval> {
    if measure.unit == Unit::Share {
        let is_yes_or_no = values.iter().all(|&value| value == 0.0 || value == 1.0);
        if is_yes_or_no || few_are_not(values, 0.0) || few_are_not(values, 1.0) {
            return wilson_mean(values.iter().sum(), values.len());
        }
    }
    bootstrap_mean(values, summary.config.resamples, summary.config.seed)
}

/// The mean of the differences of pairs with its interval: of yes and no, and of shares of which few differ, Agresti and
/// Min's; of anything else, by bootstrap.
pub(super) fn mean_difference(summary: &Summary, measure: &Measure, differences: &[f64]) -> Option<Interval> {
    if measure.unit == Unit::Share {
        let is_yes_or_no = differences.iter().all(|&difference| [-1.0, 0.0, 1.0].contains(&difference));
        if is_yes_or_no || few_are_not(differences, 0.0) {
            return paired_shares(differences);
        }
    }
    bootstrap_mean(differences, summary.config.resamples, summary.config.seed)
}

/// Whether nearly all values are `common`: the others are less than half, and few.
fn few_are_not(values: &[f64], common: f64) -> bool {
    let others = values.iter().filter(|&&value| value != common).count();
    others < FEW && 2 * others < values.len()
}

fn of_measure(summary: &Summary, view: &View, measure: &Measure) -> Vec<Cell> {
    let systems: Vec<usize> = (0..summary.systems.len()).filter(|&system| view.covers(system)).collect();
    let mut cells: Vec<Cell> = match measure.level {
        Level::Set => systems.iter().map(|&system| of_set(summary, view, measure, system)).collect(),
        Level::Row => systems.iter().map(|&system| of_rows(summary, view, measure, system)).collect(),
    };
    if measure.level == Level::Row {
        let values: Vec<Vec<f64>> = systems
            .iter()
            .map(|&system| view.values(system, &measure.key).into_iter().flatten().collect())
            .collect();
        for (cell, distribution) in cells.iter_mut().zip(distributions(&values)) {
            cell.distribution = distribution;
        }
    }
    cells
}

fn of_rows(summary: &Summary, view: &View, measure: &Measure, system: usize) -> Cell {
    let rows: Vec<&EvalRow> = view.rows[system].iter().flatten().copied().collect();
    let values: Vec<f64> = rows.iter().filter_map(|row| row.value(&measure.key)).collect();
    let missing = rows.iter().filter(|row| lacks(row, measure)).count();
    let num_models = rows.iter().map(|row| row.rewrites.len()).max().unwrap_or(0);
    let of_model = |model: usize| {
        let values = rows.iter().filter(|row| row.value(&measure.key).is_some());
        let values: Vec<f64> =
            values.filter_map(|row| row.rewrites.get(model)?.values.get(&measure.key).copied()).collect();
        values.iter().sum::<f64>() / values.len() as f64
    };
    let has_several = num_models > 1 && !values.is_empty();
    Cell {
        set: view.report.name.clone(),
        measure: measure.key.clone(),
        system: summary.systems[system].to_owned(),
        n: values.len(),
        missing,
        undefined: rows.len() - missing - values.len(),
        interval: mean(summary, measure, &values),
        by_model: if has_several { (0..num_models).map(of_model).collect() } else { Vec::new() },
        distribution: None,
    }
}

fn of_set(summary: &Summary, view: &View, measure: &Measure, system: usize) -> Cell {
    let rows: Vec<&EvalRow> = view.rows[system].iter().flatten().copied().collect();
    let whole: Vec<&EvalRow> = rows.iter().copied().filter(|row| row.missing.is_none()).collect();
    let found = set_level::measured(&measure.key, &whole);
    // A system that adds nothing to any input says nothing twice, and nothing once.
    let n = if found.is_empty() { 0 } else { whole.len() };
    Cell {
        set: view.report.name.clone(),
        measure: measure.key.clone(),
        system: summary.systems[system].to_owned(),
        n,
        missing: rows.len() - whole.len(),
        undefined: whole.len() - n,
        interval: set_level::mean(&found).and_then(|found| found.interval()),
        by_model: if found.len() > 1 { found.iter().map(|found| found.whole).collect() } else { Vec::new() },
        distribution: None,
    }
}

/// Whether a row ought to have a value and has none because something failed.
pub(super) fn lacks(row: &EvalRow, measure: &Measure) -> bool {
    let failed = |key: &str| row.rewrites.iter().any(|rewrite| rewrite.failures.contains_key(key));
    row.missing.is_some()
        || failed(&measure.key)
        || (measure.family == MeasureFamily::Image && failed("images"))
}

/// Distributions of several systems' values over one range; none if all values are 0 or 1.
fn distributions(values: &[Vec<f64>]) -> Vec<Option<Distribution>> {
    let all = || values.iter().flatten().copied();
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let is_binary = all().all(|value| value == 0.0 || value == 1.0);
    let of = |values: &Vec<f64>| {
        if values.is_empty() || is_binary {
            return None;
        }
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let mut counts = vec![0; BINS];
        for value in &sorted {
            let share = if high > low { (value - low) / (high - low) } else { 0.0 };
            counts[((share * BINS as f64) as usize).min(BINS - 1)] += 1;
        }
        let deciles = (0..=10).map(|tenth| percentile(&sorted, f64::from(tenth) / 10.0)).collect();
        Some(Distribution { deciles, low, high, counts })
    };
    values.iter().map(of).collect()
}

/// Between the values beside it, as numpy's default.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let (below, rest) = (position.floor() as usize, position.fract());
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + rest * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn systems_of_a_set_share_a_histogram_s_range() {
        let found = distributions(&[vec![0.0, 1.0, 2.0], vec![10.0], vec![]]);
        let first = found[0].as_ref().expect("values");
        assert_eq!((first.low, first.high, first.counts.iter().sum::<usize>()), (0.0, 10.0, 3));
        assert_eq!((first.counts[0], first.counts[2], first.counts[4]), (1, 1, 1));
        assert_eq!((first.deciles[0], first.deciles[5], first.deciles[10]), (0.0, 1.0, 2.0));
        assert_eq!(found[1].as_ref().expect("a value").counts[BINS - 1], 1);
        assert_eq!(found[2], None);
        assert_eq!(distributions(&[vec![0.0, 1.0]]), [None]);
        let alike = distributions(&[vec![3.0, 3.0]]);
        assert_eq!(alike[0].as_ref().expect("values").counts[0], 2);
    }
}
