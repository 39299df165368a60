//! One system against another on the same inputs: differences, who wins, what chance would do, corrected for how
//! often it was asked.
//!
//! Every p-value that is reported is in exactly one family and corrected within it by Holm's method:
//!
//! - `primary`: primary measures against the baseline, all of them, on all sets: the claim.
//! - `secondary:KEY`: another measure against the baseline, on all sets: each measure is its own question.
//! - `pairs:KEY`: other pairs of systems by any measure, if there are at most [`MAX_FOR_PAIRS`] systems.
//!
//! Parts of sets and pools count like sets: their numbers are printed, so they are comparisons. Holm's method holds
//! however tests depend on each other.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::{Summary, View, set_level};
use crate::eval::report::{
    Better, Comparison, Counts, Fallen, Family, Level, Measure, MeasureFamily, SetKind, Verdict,
};
use crate::eval::rows::EvalRow;
use crate::statistics::{Interval, holm};

/// Most systems of which all pairs are compared.
pub const MAX_FOR_PAIRS: usize = 6;

/// Random signs at least, for each comparison that is corrected for: with fewer, none of a large family could be found,
/// however clear it is.
const PERMUTATIONS_EACH: usize = 40;

/// A corrected p below this is significant.
pub const SIGNIFICANT: f64 = 0.05;

/// All comparisons, by set, measure and pair, and their families.
pub fn comparisons(summary: &Summary) -> (Vec<Comparison>, Vec<Family>) {
    let pairs = pairs(summary.systems.len(), summary.baseline());
    let of_view = |view| summary.measures.iter().map(move |measure| (view, measure));
    let tasks: Vec<(&View, &Measure)> = summary.views.iter().flat_map(of_view).collect();
    let covered = |view: &View| -> Vec<(usize, usize)> {
        pairs.iter().copied().filter(|(a, b)| view.covers(*a) && view.covers(*b)).collect()
    };
    let mut sizes: BTreeMap<String, usize> = BTreeMap::new();
    for (view, measure) in tasks.iter().filter(|(_, measure)| measure.level == Level::Row) {
        for (_, against) in covered(view) {
            *sizes.entry(family(measure, against == summary.baseline())).or_default() += 1;
        }
    }
    let mut all: Vec<Comparison> = tasks
        .par_iter()
        .flat_map_iter(|(view, measure)| {
            let sizes = &sizes;
            covered(view).into_iter().map(move |pair| match measure.level {
                Level::Row => {
                    let in_family = sizes[&family(measure, pair.1 == summary.baseline())];
                    let permutations = summary.config.permutations.max(PERMUTATIONS_EACH * in_family);
                    of_rows(summary, view, measure, pair, permutations)
                }
                Level::Set => of_set(summary, view, measure, pair),
            })
        })
        .collect();
    let families = correct(&mut all, summary.measures);
    (all, families)
}

/// Judges of another family that found a system worse than the baseline, over all sets.
pub fn fallen(summary: &Summary, comparisons: &[Comparison]) -> Vec<Fallen> {
    let all = summary.views.iter().find(|view| view.report.kind == SetKind::All).or(summary.views.first());
    let Some(all) = all else { return Vec::new() };
    let judges = summary.measures.iter().filter(|measure| measure.family == MeasureFamily::Judge);
    judges
        .flat_map(|measure| {
            let found = comparisons.iter().filter(|found| {
                found.set == all.report.name
                    && found.measure == measure.key
                    && found.against == summary.config.baseline()
            });
            found.filter_map(|found| {
                let difference = found.difference?;
                let is_worse = match measure.better {
                    Better::Higher => difference.high < 0.0,
                    Better::Lower => difference.low > 0.0,
                    Better::Neither => false,
                };
                let fallen =
                    || Fallen { system: found.system.clone(), measure: measure.key.clone(), difference };
                is_worse.then(fallen)
            })
        })
        .collect()
}

/// Each system against the baseline, then the other pairs if there are few systems: the later against the earlier.
fn pairs(num_systems: usize, baseline: usize) -> Vec<(usize, usize)> {
    let others = || (0..num_systems).filter(move |&system| system != baseline);
    let mut pairs: Vec<(usize, usize)> = others().map(|system| (system, baseline)).collect();
    if num_systems <= MAX_FOR_PAIRS {
        pairs.extend(others().flat_map(|b| others().filter(move |&a| a > b).map(move |a| (a, b))));
    }
    pairs
}

fn of_rows(
    summary: &Summary,
    view: &View,
    measure: &Measure,
    (system, against): (usize, usize),
    permutations: usize,
) -> Comparison {
    let sample = view.differences((system, against), &measure.key, |_| true);
    let differences = sample.values();
    let sign = if measure.better == Better::Lower { -1.0 } else { 1.0 };
    let count = |holds: &dyn Fn(f64) -> bool| differences.iter().filter(|&&of| holds(sign * of)).count();
    let counts =
        Counts { wins: count(&|of| of > 0.0), ties: count(&|of| of == 0.0), losses: count(&|of| of < 0.0) };
    Comparison {
        n: differences.len(),
        difference: sample.mean_difference(summary, measure),
        counts: Some(counts),
        p: sample.sign_flip_test(permutations, summary.config.seed),
        family: Some(family(measure, summary.systems[against] == summary.config.baseline())),
        ..empty(summary, view, measure, (system, against))
    }
}

fn of_set(
    summary: &Summary,
    view: &View,
    measure: &Measure,
    (system, against): (usize, usize),
) -> Comparison {
    let both = view.rows[system].iter().zip(&view.rows[against]).zip(&view.targets);
    let both = both.filter_map(|((a, b), &target)| {
        let is_there = |row: &&EvalRow| row.missing.is_none();
        Some(((a.filter(is_there)?, target), (b.filter(is_there)?, target)))
    });
    type Rows<'a> = Vec<(&'a EvalRow, usize)>;
    let (a, b): (Rows, Rows) = both.unzip();
    let measured = |rows: &Rows| set_level::mean(&set_level::measured(&measure.key, rows));
    let difference = measured(&a)
        .zip(measured(&b))
        .and_then(|(of_a, of_b)| set_level::interval(&of_a.minus(&of_b), a.len()));
    let is_clear = difference.is_some_and(|difference| difference.low > 0.0 || difference.high < 0.0);
    Comparison {
        n: difference.map_or(0, |difference| difference.n),
        difference,
        verdict: verdict(measure, difference, is_clear),
        ..empty(summary, view, measure, (system, against))
    }
}

fn empty(summary: &Summary, view: &View, measure: &Measure, (system, against): (usize, usize)) -> Comparison {
    Comparison {
        set: view.report.name.clone(),
        measure: measure.key.clone(),
        system: summary.systems[system].to_owned(),
        against: summary.systems[against].to_owned(),
        n: 0,
        difference: None,
        counts: None,
        p: None,
        p_adjusted: None,
        family: None,
        verdict: Verdict::Unclear,
    }
}

fn family(measure: &Measure, is_against_baseline: bool) -> String {
    match (is_against_baseline, measure.is_primary) {
        (true, true) => "primary".to_owned(),
        (true, false) => format!("secondary:{}", measure.key),
        (false, _) => format!("pairs:{}", measure.key),
    }
}

/// Corrects each family for its comparisons.
fn correct(all: &mut [Comparison], measures: &[Measure]) -> Vec<Family> {
    let mut members: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (idx, comparison) in all.iter().enumerate() {
        if let (Some(family), Some(_)) = (&comparison.family, comparison.p) {
            members.entry(family.clone()).or_default().push(idx);
        }
    }
    let measure_of = |key: &str| measures.iter().find(|measure| measure.key == key);
    let mut families = Vec::new();
    for (name, members) in members {
        let p: Vec<f64> = members.iter().filter_map(|&idx| all[idx].p).collect();
        for (&idx, p_adjusted) in members.iter().zip(holm(&p)) {
            let comparison = &mut all[idx];
            comparison.p_adjusted = Some(p_adjusted);
            if let Some(measure) = measure_of(&comparison.measure) {
                comparison.verdict = verdict(measure, comparison.difference, p_adjusted < SIGNIFICANT);
            }
        }
        let title = match name.split_once(':') {
            None => "primary measures against the baseline, on all sets".to_owned(),
            Some((kind, key)) => {
                let title = measure_of(key).map_or(key, |measure| measure.title.as_str());
                let whom = if kind == "pairs" { "between other systems" } else { "against the baseline" };
                format!("{title} {whom}, on all sets")
            }
        };
        families.push(Family { name, title, method: "holm".to_owned(), comparisons: members.len() });
    }
    families
}

fn verdict(measure: &Measure, difference: Option<Interval>, is_significant: bool) -> Verdict {
    let Some(difference) = difference.filter(|_| is_significant) else { return Verdict::Unclear };
    match (measure.better, difference.mean > 0.0) {
        (Better::Neither, _) => Verdict::Different,
        (Better::Higher, true) | (Better::Lower, false) => Verdict::Better,
        (Better::Higher, false) | (Better::Lower, true) => Verdict::Worse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_baseline_comes_first_and_each_pair_once() {
        assert_eq!(pairs(4, 1), [(0, 1), (2, 1), (3, 1), (2, 0), (3, 0), (3, 2)]);
        assert_eq!(pairs(1, 0), []);
        assert_eq!(pairs(7, 0).len(), 6);
    }
}
