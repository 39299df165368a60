//! Several answers to one input that are a promised distance apart.
//!
//! Candidates are drawn in rounds, all of a round from one reading of the prompt, and taken best first
//! if they are far enough from those taken before. Rounds end when there are enough, or after a number
//! that does not depend on luck: then there are fewer, and the answer says so.

use std::collections::BTreeSet;

use super::answer::Output;
use super::layout::Layout;
use super::request::AdaptSettings;
use super::{Prepared, Prompter};
use crate::decoding::DecodingSettings;
use crate::error::Result;

/// An output that was taken, and the words that it adds.
pub(super) type Taken = (BTreeSet<String>, Output);

/// Rounds of candidates.
pub(super) const ROUNDS: u64 = 6;

impl Prompter {
    /// [`outputs`](Self::outputs) that are far enough apart.
    pub(super) fn variants(
        &self,
        rows: &[&Prepared],
        settings: &AdaptSettings,
        min_distance: f64,
    ) -> Result<Vec<Result<Vec<Output>>>> {
        let asked = settings.decoding.num_return_sequences;
        let mut taken: Vec<Result<Vec<_>>> = rows.iter().map(|_| Ok(Vec::new())).collect();
        for round in 0..ROUNDS {
            let is_open = |taken: &Result<Vec<_>>| matches!(taken, Ok(taken) if taken.len() < asked);
            let open: Vec<usize> = (0..rows.len()).filter(|&row| is_open(&taken[row])).collect();
            if open.is_empty() {
                break;
            }
            let open_rows: Vec<&Prepared> = open.iter().map(|&row| rows[row]).collect();
            let candidates = self.outputs(&open_rows, &of_round(settings, round), round)?;
            for (row, candidates) in open.into_iter().zip(candidates) {
                match (candidates, &mut taken[row]) {
                    (Ok(candidates), Ok(taken)) => {
                        take_apart(taken, candidates, &rows[row].layout, (min_distance, asked))
                    }
                    (Err(error), of_row) if round == 0 => *of_row = Err(error),
                    _ => {}
                }
            }
        }
        let outputs = |taken: Result<Vec<(_, Output)>>| {
            taken.map(|taken| taken.into_iter().map(|(_, output)| output).collect())
        };
        Ok(taken.into_iter().map(outputs).collect())
    }
}

/// How far apart what two texts add to an input is: 1 less the share of their words that both have, words
/// in lower case, each once. 0 for the same words, 1 for none in common.
pub fn distance(a: &BTreeSet<String>, b: &BTreeSet<String>) -> f64 {
    let all = a.union(b).count();
    match all {
        0 => 0.0,
        _ => 1.0 - a.intersection(b).count() as f64 / all as f64,
    }
}

/// The words that a text adds to an input: lower case, each once.
pub fn added_words(user_input: &str, text: &str) -> BTreeSet<String> {
    let words = |text: &str| -> Vec<String> {
        let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        words.map(str::to_lowercase).collect()
    };
    let mut own = words(user_input);
    let mut added = words(text);
    // Each word of the input accounts for one of the text's.
    added.retain(|word| match own.iter().position(|other| other == word) {
        Some(at) => {
            own.swap_remove(at);
            false
        }
        None => true,
    });
    added.into_iter().collect()
}

/// The settings of round `round`: the request's own search first, with more candidates than are asked
/// for; then drawing, for other searches have no second answer.
pub(super) fn of_round(settings: &AdaptSettings, round: u64) -> AdaptSettings {
    let asked = settings.decoding.num_return_sequences;
    let mut decoding = settings.decoding.clone();
    if decoding.do_sample || round > 0 {
        decoding = DecodingSettings {
            do_sample: true,
            num_beams: 1,
            num_beam_groups: 1,
            diversity_penalty: 0.0,
            num_return_sequences: 2 * asked,
            ..decoding
        };
    } else {
        decoding.num_return_sequences = decoding.num_beams;
    }
    AdaptSettings { decoding, ..settings.clone() }
}

/// Adds to `taken` those of `candidates`, best first, that are at least `min_distance` from all taken
/// before, until there are `count`.
pub(super) fn take_apart(
    taken: &mut Vec<Taken>,
    mut candidates: Vec<Output>,
    layout: &Layout,
    (min_distance, count): (f64, usize),
) {
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    for candidate in candidates {
        if taken.len() == count {
            return;
        }
        let words = added_words(&layout.input, &candidate.text);
        let is_apart = taken
            .iter()
            .all(|(other, output)| output.text != candidate.text && distance(other, &words) >= min_distance);
        if is_apart {
            taken.push((words, candidate));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_is_between_what_is_added() {
        let words = |text| added_words("a red cat", text);
        assert_eq!(words("a red cat, Red sky, 8k"), ["8k", "red", "sky"].map(String::from).into());
        assert_eq!(distance(&words("a red cat, 8k"), &words("a red cat, 8K")), 0.0);
        assert_eq!(distance(&words("a red cat, 8k, soft"), &words("a red cat, soft, oil")), 1.0 - 1.0 / 3.0);
        assert_eq!(distance(&words("a red cat, 8k"), &words("a red cat, oil")), 1.0);
        assert_eq!(distance(&words("a red cat"), &words("a red cat")), 0.0);
    }
}
