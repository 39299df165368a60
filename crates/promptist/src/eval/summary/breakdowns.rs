//! Measures by the input's length and category.

use rayon::prelude::*;

use super::{Summary, View};
use crate::eval::report::{Breakdown, BreakdownBy, Level, Measure, MeasureFamily, SetKind};
use crate::eval::rows::EvalRow;

/// The paper's buckets of the input's tokens (appendix E): `10-20` has inputs of 10 to 19.
pub const LENGTHS: [&str; 5] = ["0-10", "10-20", "20-30", "30-40", "40+"];

/// Most categories of a set that are looked at, the commonest.
const MOST_CATEGORIES: usize = 30;

/// The bucket of a number of tokens.
pub fn length_of(tokens: usize) -> &'static str {
    LENGTHS[(tokens / 10).min(LENGTHS.len() - 1)]
}

/// Primary measures, images and proxies, by part of each set and pool.
pub fn breakdowns(summary: &Summary) -> Vec<Breakdown> {
    let is_asked = |measure: &&Measure| {
        let family = matches!(measure.family, MeasureFamily::Image | MeasureFamily::Proxy);
        measure.level == Level::Row && (measure.is_primary || family)
    };
    let views = summary.views.iter().filter(|view| view.report.kind != SetKind::SourceKind);
    let tasks: Vec<(&View, &Measure)> = views
        .flat_map(|view| summary.measures.iter().filter(is_asked).map(move |measure| (view, measure)))
        .collect();
    tasks.par_iter().flat_map_iter(|(view, measure)| of_measure(summary, view, measure)).collect()
}

fn of_measure(summary: &Summary, view: &View, measure: &Measure) -> Vec<Breakdown> {
    let lengths = view.report.lengths.iter().filter(|length| length.n > 0);
    let categories = view.report.categories.iter().take(MOST_CATEGORIES);
    let parts = lengths
        .map(|length| (BreakdownBy::Length, length.name.as_str()))
        .chain(categories.map(|category| (BreakdownBy::Category, category.name.as_str())));
    let systems: Vec<usize> = (0..summary.systems.len()).filter(|&system| view.covers(system)).collect();
    let baseline = summary.baseline();
    let mut all = Vec::new();
    for (by, part) in parts {
        let is_in = |row: &EvalRow| match by {
            BreakdownBy::Length => length_of(row.input_tokens) == part,
            BreakdownBy::Category => row.category.as_deref() == Some(part),
        };
        for &system in &systems {
            let sample = view.values(system, &measure.key, is_in);
            let differences = || view.differences((system, baseline), &measure.key, is_in);
            let is_compared = system != baseline && view.covers(baseline);
            all.push(Breakdown {
                set: view.report.name.clone(),
                measure: measure.key.clone(),
                system: summary.systems[system].to_owned(),
                by,
                part: part.to_owned(),
                n: sample.values().len(),
                interval: sample.mean(summary, measure),
                difference: is_compared.then(|| differences().mean_difference(summary, measure)).flatten(),
            });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_the_paper_s() {
        let found: Vec<&str> = [0, 9, 10, 39, 40, 500].map(length_of).to_vec();
        assert_eq!(found, ["0-10", "0-10", "10-20", "30-40", "40+", "40+"]);
    }
}
