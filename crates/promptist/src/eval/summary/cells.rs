//! What was found of one system on one set by one measure.

use rayon::prelude::*;

use super::{Summary, View, set_level};
use crate::eval::report::{Cell, Distribution, Level, Measure, MeasureFamily};
use crate::eval::rows::EvalRow;

/// Parts of a histogram.
const BINS: usize = 20;

/// The cells of all views, by set, measure and system.
pub fn cells(summary: &Summary) -> Vec<Cell> {
    let of_view = |view| summary.measures.iter().map(move |measure| (view, measure));
    let tasks: Vec<(&View, &Measure)> = summary.views.iter().flat_map(of_view).collect();
    tasks.par_iter().flat_map_iter(|(view, measure)| of_measure(summary, view, measure)).collect()
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
            .map(|&system| view.values(system, &measure.key, |_| true).values().to_vec())
            .collect();
        for (cell, distribution) in cells.iter_mut().zip(distributions(&values)) {
            cell.distribution = distribution;
        }
    }
    cells
}

fn of_rows(summary: &Summary, view: &View, measure: &Measure, system: usize) -> Cell {
    let rows: Vec<&EvalRow> = view.rows[system].iter().flatten().copied().collect();
    let sample = view.values(system, &measure.key, |_| true);
    let values = sample.values();
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
        interval: sample.mean(summary, measure),
        by_model: if has_several { (0..num_models).map(of_model).collect() } else { Vec::new() },
        distribution: None,
    }
}

fn of_set(summary: &Summary, view: &View, measure: &Measure, system: usize) -> Cell {
    let rows = view.rows_of(system, |_| true).count();
    let whole: Vec<(&EvalRow, usize)> = view.rows_of(system, |row| row.missing.is_none()).collect();
    let found = set_level::measured(&measure.key, &whole);
    // A system that adds nothing to any input says nothing twice, and nothing once.
    let n = if found.is_empty() { 0 } else { whole.len() };
    Cell {
        set: view.report.name.clone(),
        measure: measure.key.clone(),
        system: summary.systems[system].to_owned(),
        n,
        missing: rows - whole.len(),
        undefined: whole.len() - n,
        interval: set_level::mean(&found).and_then(|found| set_level::interval(&found, n)),
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
