//! Measures that only all rewrites of a set together have.

use super::sample::dense;
use crate::eval::measures::commonness::commonness;
use crate::eval::measures::distinct::{LeftOut, distinct};
use crate::eval::measures::text::folded;
use crate::eval::rows::{EvalRow, RewriteRow};
use crate::statistics::Interval;

/// A measure of rows, each with its target, by each of the system's models; none if one of them adds nothing. Rows must have
/// a rewrite of every model.
pub fn measured(key: &str, rows: &[(&EvalRow, usize)]) -> Vec<LeftOut> {
    let (rows, targets): (Vec<&EvalRow>, Vec<usize>) = rows.iter().copied().unzip();
    let targets = dense(&targets);
    let num_models = rows.iter().map(|row| row.rewrites.len()).min().unwrap_or(0);
    let of_model = |model: usize| {
        let rewrites: Vec<&RewriteRow> = rows.iter().map(|row| &row.rewrites[model]).collect();
        let words = || rewrites.iter().map(|of| folded(&of.added_text)).collect::<Vec<_>>();
        let phrases = || rewrites.iter().map(|of| phrase_keys(of)).collect::<Vec<_>>();
        match key {
            "distinct_1" => distinct(&words(), &targets, 1),
            "distinct_2" => distinct(&words(), &targets, 2),
            "commonness" => commonness(&phrases(), &targets),
            _ => distinct(&phrases(), &targets, 1),
        }
    };
    (0..num_models).map(of_model).collect::<Option<_>>().unwrap_or_default()
}

/// The mean over models; none of no model or no row.
pub fn mean(of: &[LeftOut]) -> Option<LeftOut> {
    LeftOut::mean(of).filter(|mean| !mean.without.is_empty())
}

/// The interval of a number of `n` rows.
pub fn interval(of: &LeftOut, n: usize) -> Option<Interval> {
    of.interval().map(|found| Interval { n, ..found })
}

/// The added phrases of a rewrite, folded: what makes two phrases the same.
pub fn phrase_keys(rewrite: &RewriteRow) -> Vec<String> {
    rewrite.added_phrases.iter().map(|phrase| folded(phrase).join(" ")).collect()
}
