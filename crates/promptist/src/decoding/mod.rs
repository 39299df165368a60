//! Decoding: from a prompt's ids to answers, best first.
//!
//! Everything here knows a language model only as [`LanguageModel`]: fill a cache with prompts,
//! advance it by one token a row, reorder its rows. The same searches therefore run over the model
//! on the tensor library and over any engine that can do those three things.

use crate::error::Result;

/// Next-token scores of several rows.
#[derive(Debug, Clone)]
pub struct Logits {
    /// Vocabulary size.
    pub vocab_size: usize,
    /// `[rows, vocab_size]`, row-major, f32, before softmax.
    pub data: Vec<f32>,
}

impl Logits {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.data.len() / self.vocab_size
    }

    /// The logits of row `row_idx`: `[vocab_size]`.
    pub fn row(&self, row_idx: usize) -> &[f32] {
        &self.data[row_idx * self.vocab_size..][..self.vocab_size]
    }
}

/// A causal language model as the searches see it.
pub trait LanguageModel {
    /// Keys and values of the rows decoded so far.
    type Cache;

    /// Size of the vocabulary.
    fn vocab_size(&self) -> usize;

    /// Longest sequence, prompt and answer together.
    fn n_positions(&self) -> usize;

    /// Reads whole prompts of unequal length, one row each; none may be empty.
    ///
    /// Returns a cache with a row per prompt, in order, and the logits that follow each prompt's
    /// last token. `max_new_tokens` is how many [`step`](Self::step)s may follow at most.
    fn prefill(&self, prompts: &[Vec<u32>], max_new_tokens: usize)
    -> Result<(Self::Cache, Logits)>;

    /// Appends `token_ids[i]` to row i of the cache, for every row, and returns the logits that follow.
    fn step(&self, cache: &mut Self::Cache, token_ids: &[u32]) -> Result<Logits>;

    /// Makes row i of the cache what row `rows[i]` was: repeats, permutes and drops rows.
    fn reorder(&self, cache: &mut Self::Cache, rows: &[usize]) -> Result<()>;
}
