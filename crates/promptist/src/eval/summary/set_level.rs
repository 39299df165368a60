//! Measures that only all rewrites of a set together have.

use crate::eval::measures::distinct::{LeftOut, distinct};
use crate::eval::measures::text::folded;
use crate::eval::rows::{EvalRow, RewriteRow};

/// A measure of rows by each of the system's models; none if one of them adds nothing. Rows must have a rewrite of every
/// model.
pub fn measured(key: &str, rows: &[&EvalRow]) -> Vec<LeftOut> {
    let num_models = rows.iter().map(|row| row.rewrites.len()).min().unwrap_or(0);
    let of_model = |model: usize| {
        let rewrites: Vec<&RewriteRow> = rows.iter().map(|row| &row.rewrites[model]).collect();
        let words = || rewrites.iter().map(|of| folded(&of.added_text)).collect::<Vec<_>>();
        match key {
            "distinct_1" => distinct(&words(), 1),
            "distinct_2" => distinct(&words(), 2),
            _ => distinct(&rewrites.iter().map(|of| phrase_keys(of)).collect::<Vec<_>>(), 1),
        }
    };
    (0..num_models).map(of_model).collect::<Option<_>>().unwrap_or_default()
}

/// The mean over models; none of no model or no row.
pub fn mean(of: &[LeftOut]) -> Option<LeftOut> {
    LeftOut::mean(of).filter(|mean| !mean.without.is_empty())
}

/// The added phrases of a rewrite, folded: what makes two phrases the same.
pub fn phrase_keys(rewrite: &RewriteRow) -> Vec<String> {
    rewrite.added_phrases.iter().map(|phrase| folded(phrase).join(" ")).collect()
}
