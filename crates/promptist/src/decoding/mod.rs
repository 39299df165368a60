//! Decoding: from a prompt's ids to answers, best first.
//!
//! Everything here knows a language model only as [`LanguageModel`]: append tokens to the rows of a
//! cache, answer what is asked about the logits that follow, reorder the rows. The same searches
//! therefore run over the model on the tensor library and over any engine that can do those things.
//!
//! [`generate`] is the entry for prompts that are all there, [`BatchLoop`] for requests that come and
//! go. Each search is a file: `beam`, `diverse_beam`, `sample` (greedy too); `search` is what they have
//! in common; `batch_loop` leads many of them through one model; `query` is what they ask of it;
//! [`teacher_forcing`] asks about texts that are given instead of searching; `logits` and `warpers` change scores on the way;
//! `guide` is how rules about what the tokens spell take part.

mod batch_loop;
mod beam;
mod candidates;
mod diverse_beam;
mod early_stopping;
mod guide;
mod guided;
mod hypotheses;
mod log_softmax;
mod logits;
mod query;
mod random;
mod raw_settings;
mod ruled_beams;
mod sample;
mod search;
mod settings;
pub mod teacher_forcing;
mod warpers;

pub use batch_loop::{BatchLoop, Finished, Request, RequestId};
pub use early_stopping::EarlyStopping;
pub use guide::{Allowed, Guide};
pub use guided::Guided;
pub use hypotheses::{Finish, Hypothesis};
pub use log_softmax::Normalizer;
pub use query::{Answer, Answers, Queries, Query, TokenLogit};
pub use random::sample_key;
pub use raw_settings::RawDecodingSettings;
pub use settings::{DecodingSettings, LengthNormalization};

use crate::error::{Error, Result};

/// Answers to each prompt, best first: `num_return_sequences` of them, at least one, fewer only where a
/// beam search runs out of tokens that may come.
///
/// `sample_keys` has a [`sample_key`] per prompt; only sampling looks at it. An answer depends on its
/// prompt, its key and the settings, not on the other prompts.
///
/// # Errors
/// - [`Error::Config`] if the settings are impossible, alone or with the model's vocabulary
/// - [`Error::EmptyPrompt`], [`Error::PromptTooLong`]: nothing is cut silently
/// - [`Error::Shape`] if `sample_keys` are not as many as prompts, or a prompt's id is none of the
///   model's
/// - [`Error::NotFinite`] if the model's logits are not numbers
pub fn generate<M: LanguageModel>(
    model: &M,
    prompts: &[Vec<u32>],
    settings: &DecodingSettings,
    sample_keys: &[u64],
) -> Result<Vec<Vec<Hypothesis>>> {
    settings.validate()?;
    settings.validate_vocabulary(model.vocab_size())?;
    if settings.do_sample && sample_keys.len() != prompts.len() {
        return Err(Error::Shape(format!("{} sample keys for {} prompts", sample_keys.len(), prompts.len())));
    }
    let request = |(idx, prompt): (usize, &Vec<u32>)| Request {
        prompt: prompt.clone(),
        settings: settings.clone(),
        sample_key: sample_keys.get(idx).copied().unwrap_or(0),
        guide: None,
    };
    generate_each(model, prompts.iter().enumerate().map(request))
}

/// Answers to each request, in their order; all are decoded together.
///
/// # Errors
/// Those of [`generate`]; the first that is met ends it all. [`BatchLoop`] ends only the request.
pub fn generate_each<M: LanguageModel>(
    model: &M,
    requests: impl IntoIterator<Item = Request>,
) -> Result<Vec<Vec<Hypothesis>>> {
    let mut batch = BatchLoop::new(model, usize::MAX);
    let ids: Vec<RequestId> =
        requests.into_iter().map(|request| batch.add(request)).collect::<Result<_>>()?;
    let mut answers = vec![Vec::new(); ids.len()];
    while !batch.is_idle() {
        for finished in batch.step() {
            // Later requests have greater ids.
            if let Ok(idx) = ids.binary_search(&finished.id) {
                answers[idx] = finished.answers?;
            }
        }
    }
    Ok(answers)
}

/// A causal language model as the searches see it.
///
/// It may know nothing of a row but what was asked: a search has no other way to the logits.
pub trait LanguageModel {
    /// Keys and values of the rows decoded so far.
    type Cache;

    /// Size of the vocabulary.
    fn vocab_size(&self) -> usize;

    /// Longest sequence, prompt and answer together.
    fn n_positions(&self) -> usize;

    /// A cache without rows.
    fn new_cache(&self) -> Self::Cache;

    /// Appends `token_ids[i]` to row i of the cache, for every row, and answers `queries` about the
    /// logits that follow each row's last token.
    ///
    /// A row that is there gets exactly one token. There may be more `token_ids` than rows: each
    /// further one is a prompt, not empty, and begins a row of its own. So reading prompts, going on,
    /// and joining those that go on are one thing, and one pass over the weights.
    ///
    /// `queries` are as many as `token_ids`; `answers`, which are cleared first, will be. Logits that
    /// are not numbers are no error here but in the answer's normalizer, so that they end one
    /// search and not those beside it.
    ///
    /// # Errors
    /// - [`Error::Shape`] if a row gets no token, or more than one, or has no position left
    /// - [`Error::EmptyPrompt`], [`Error::PromptTooLong`] for a new row
    ///
    /// The cache is good for nothing after an error.
    fn append(
        &self,
        cache: &mut Self::Cache,
        token_ids: &[&[u32]],
        queries: &Queries,
        answers: &mut Answers,
    ) -> Result<()>;

    /// Makes row i of the cache what row `rows[i]` was: repeats, permutes and drops rows.
    fn reorder(&self, cache: &mut Self::Cache, rows: &[usize]) -> Result<()>;
}

impl<M: LanguageModel> LanguageModel for &M {
    type Cache = M::Cache;

    fn vocab_size(&self) -> usize {
        (**self).vocab_size()
    }

    fn n_positions(&self) -> usize {
        (**self).n_positions()
    }

    fn new_cache(&self) -> M::Cache {
        (**self).new_cache()
    }

    fn append(
        &self,
        cache: &mut M::Cache,
        token_ids: &[&[u32]],
        queries: &Queries,
        answers: &mut Answers,
    ) -> Result<()> {
        (**self).append(cache, token_ids, queries, answers)
    }

    fn reorder(&self, cache: &mut M::Cache, rows: &[usize]) -> Result<()> {
        (**self).reorder(cache, rows)
    }
}

/// Checks what [`append`](LanguageModel::append) is given before a cache is changed: `row_lens` are the
/// tokens of the rows that are there.
///
/// # Errors
/// Those of `append`.
pub(crate) fn check_append<M: LanguageModel>(
    model: &M,
    row_lens: impl ExactSizeIterator<Item = usize>,
    token_ids: &[&[u32]],
) -> Result<()> {
    let num_rows = row_lens.len();
    if token_ids.len() < num_rows || token_ids[..num_rows].iter().any(|ids| ids.len() != 1) {
        let reason =
            format!("{} entries of tokens for {num_rows} rows, or not one token each", token_ids.len());
        return Err(Error::Shape(reason));
    }
    let (n_positions, vocab_size) = (model.n_positions(), model.vocab_size());
    if row_lens.into_iter().any(|len| len >= n_positions) {
        return Err(Error::Shape(format!("a context of {n_positions} positions is full")));
    }
    for prompt in &token_ids[num_rows..] {
        if prompt.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        if prompt.len() > n_positions {
            let prompt_tokens = prompt.len();
            return Err(Error::PromptTooLong { prompt_tokens, max_new_tokens: 0, n_positions });
        }
    }
    match token_ids.iter().copied().flatten().find(|&&id| id as usize >= vocab_size) {
        Some(id) => Err(Error::Tokenizer(format!("token id {id} is not below vocab_size = {vocab_size}"))),
        None => Ok(()),
    }
}
