//! What each system added to each set: the commonest phrases and artists, and how rewrites were broken.

use std::collections::{BTreeMap, HashSet};

use rayon::prelude::*;

use super::set_level::phrase_keys;
use super::{Summary, View};
use crate::eval::report::AdditionsReport;
use crate::eval::rows::RewriteRow;
use crate::eval::text::commonest;

const MOST_PHRASES: usize = 20;
const MOST_ARTISTS: usize = 10;
const MOST_UNKNOWN_WORDS: usize = 40;

/// By set and system.
pub fn additions(summary: &Summary) -> Vec<AdditionsReport> {
    let of_view = |view| (0..summary.systems.len()).map(move |system| (view, system));
    let tasks: Vec<(&View, usize)> = summary.views.iter().flat_map(of_view).collect();
    let tasks = tasks.par_iter().filter(|(view, system)| view.covers(*system));
    tasks.map(|(view, system)| of_system(summary, view, *system)).collect()
}

fn of_system(summary: &Summary, view: &View, system: usize) -> AdditionsReport {
    let rows = view.rows[system].iter().flatten();
    let rewrites: Vec<&RewriteRow> = rows.flat_map(|row| &row.rewrites).collect();
    let keys: Vec<Vec<String>> = rewrites.iter().map(|rewrite| phrase_keys(rewrite)).collect();
    let num_models = rewrites.iter().map(|rewrite| rewrite.model + 1).max().unwrap_or(0);
    let distinct = |model: usize| {
        let of_model = rewrites.iter().zip(&keys).filter(|(rewrite, _)| rewrite.model == model);
        of_model.flat_map(|(_, keys)| keys).collect::<HashSet<_>>().len()
    };
    let mut flaws = BTreeMap::new();
    for flaw in rewrites.iter().filter_map(|rewrite| rewrite.flaw.clone()) {
        *flaws.entry(flaw).or_default() += 1;
    }
    let mut seen = HashSet::new();
    let unknown = rewrites.iter().flat_map(|rewrite| &rewrite.unknown_words);
    let artists = rewrites.iter().map(|rewrite| rewrite.artists.iter().chain(&rewrite.listed_artists));
    AdditionsReport {
        set: view.report.name.clone(),
        system: summary.systems[system].to_owned(),
        rewrites: rewrites.len(),
        distinct_phrases: (0..num_models).map(distinct).collect(),
        commonest_phrases: commonest(keys.iter().map(|keys| keys.iter()), rewrites.len(), MOST_PHRASES),
        commonest_artists: commonest(artists, rewrites.len(), MOST_ARTISTS),
        flaws,
        unknown_words: unknown.filter(|word| seen.insert(*word)).take(MOST_UNKNOWN_WORDS).cloned().collect(),
    }
}
