//! Many prompts through one model: which rows of the cache belong to which search.
//!
//! A prompt is read once, as one row. A search then asks for as many rows as it has hypotheses to
//! continue, and a search that asks for none is over: its rows leave the batch. Searches know neither
//! the model nor each other, so no answer can depend on the batch it was made in.

use super::candidates::TopCandidates;
use super::hypotheses::Hypothesis;
use super::log_softmax::Normalizer;
use super::warpers::Choice;
use super::{LanguageModel, Logits};
use crate::error::{Error, Result};

/// The search for one prompt's answers.
pub(super) trait Search {
    /// Takes the logits that follow each of its rows (at first one: the prompt's) and puts into `next`,
    /// which is empty, the rows that it wants from now on; none if it is over.
    fn advance(&mut self, rows: Rows<'_>, scratch: &mut Scratch, next: &mut Vec<Extension>) -> Result<()>;

    /// The answers, best first.
    fn into_hypotheses(self) -> Vec<Hypothesis>;
}

/// One of the search's rows and the token to append to it. A row may be extended several times.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extension {
    pub(super) row: usize,
    pub(super) token_id: u32,
}

/// The logits of one search's rows: `[rows, V]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    data: &'a [f32],
    vocab_size: usize,
}

impl<'a> Rows<'a> {
    pub(super) fn row(self, row: usize) -> &'a [f32] {
        &self.data[row * self.vocab_size..][..self.vocab_size]
    }

    pub(super) fn iter(self) -> impl Iterator<Item = &'a [f32]> {
        self.data.chunks_exact(self.vocab_size)
    }
}

/// Memory that outlives a step, so that no step allocates anything of the vocabulary's size.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Scores of a row under processors: `[V]`.
    pub(super) scores: Vec<f32>,
    pub(super) top: TopCandidates,
    pub(super) choices: Vec<Choice>,
}

impl Scratch {
    /// Offers every token after a beam, as [`TopCandidates::offer_row`] does, with log-probabilities
    /// that `edit` has changed.
    pub(super) fn offer_edited(
        &mut self,
        beam_idx: usize,
        (logits, normalizer): (&[f32], Normalizer),
        beam_score: f32,
        edit: impl FnOnce(&mut [f32]),
    ) {
        self.scores.clear();
        self.scores.extend(logits.iter().map(|&logit| normalizer.log_prob(logit)));
        edit(&mut self.scores);
        self.top.offer_row(beam_idx, &self.scores, Normalizer::IDENTITY, beam_score);
    }
}

/// Runs one search per prompt, made by `search` from the prompt's index, each to its own end.
pub(super) fn run<M: LanguageModel, S: Search>(
    model: &M,
    prompts: &[Vec<u32>],
    max_new_tokens: usize,
    search: impl FnMut(usize) -> S,
) -> Result<Vec<Vec<Hypothesis>>> {
    let mut searches: Vec<S> = (0..prompts.len()).map(search).collect();
    let mut scratch = Scratch::default();
    let mut next = Vec::new();
    let mut row_counts = vec![1; searches.len()];

    let (mut cache, mut logits) = model.prefill(prompts, max_new_tokens)?;
    loop {
        let num_rows: usize = row_counts.iter().sum();
        check_shape(&logits, num_rows, model.vocab_size())?;
        let (mut parents, mut token_ids) = (Vec::with_capacity(num_rows), Vec::with_capacity(num_rows));
        let mut first_row = 0;
        for (search, row_count) in searches.iter_mut().zip(&mut row_counts) {
            if *row_count == 0 {
                continue;
            }
            let vocab_size = logits.vocab_size;
            let data = &logits.data[first_row * vocab_size..][..*row_count * vocab_size];
            next.clear();
            search.advance(Rows { data, vocab_size }, &mut scratch, &mut next)?;
            parents.extend(next.iter().map(|extension| first_row + extension.row));
            token_ids.extend(next.iter().map(|extension| extension.token_id));
            first_row += *row_count;
            *row_count = next.len();
        }
        if token_ids.is_empty() {
            return Ok(searches.into_iter().map(S::into_hypotheses).collect());
        }
        // With many rows the logits are the largest thing in memory: not two of them at once.
        drop(logits);
        if !parents.iter().copied().eq(0..num_rows) {
            model.reorder(&mut cache, &parents)?;
        }
        logits = model.step(&mut cache, &token_ids)?;
    }
}

fn check_shape(logits: &Logits, num_rows: usize, vocab_size: usize) -> Result<()> {
    if logits.vocab_size == vocab_size && logits.data.len() == num_rows * vocab_size {
        return Ok(());
    }
    Err(Error::Shape(format!(
        "expected logits of {num_rows} x {vocab_size}, found {} values for a vocabulary of {}",
        logits.data.len(),
        logits.vocab_size,
    )))
}
