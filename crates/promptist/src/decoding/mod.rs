//! Decoding: from a prompt's ids to answers, best first.
//!
//! Everything here knows a language model only as [`LanguageModel`]: fill a cache with prompts,
//! advance it by one token a row, reorder its rows. The same searches therefore run over the model
//! on the tensor library and over any engine that can do those three things.
//!
//! [`generate`] is the entry. Each search is a file: `beam`, `diverse_beam`, `sample` (greedy too);
//! `batch` leads many of them through one model; `logits` and `warpers` change scores on the way.

mod batch;
mod beam;
mod candidates;
mod diverse_beam;
mod early_stopping;
mod guided;
mod hypotheses;
mod log_softmax;
mod logits;
mod random;
mod raw_settings;
mod sample;
mod settings;
mod warpers;

pub use early_stopping::EarlyStopping;
pub use guided::Guided;
pub use hypotheses::{Finish, Hypothesis};
pub use random::sample_key;
pub use raw_settings::RawDecodingSettings;
pub use settings::{DecodingSettings, LengthNormalization};

use crate::error::{Error, Result};
use beam::BeamSearch;
use diverse_beam::DiverseBeamSearch;
use logits::LogitsProcessors;
use sample::{Chooser, SampleSearch};
use warpers::Warpers;

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
    prompts.iter().try_for_each(|prompt| check_prompt(model, prompt, settings.max_new_tokens))?;
    if settings.do_sample && sample_keys.len() != prompts.len() {
        return Err(Error::Shape(format!("{} sample keys for {} prompts", sample_keys.len(), prompts.len())));
    }
    if prompts.is_empty() {
        return Ok(Vec::new());
    }

    let processors = &LogitsProcessors::new(settings);
    let is_total = settings.length_normalization == LengthNormalization::Total;
    if settings.do_sample {
        let warpers = Warpers::new(settings);
        batch::run(model, prompts, settings.max_new_tokens, |idx| {
            let draw = Chooser::Draw { warpers: warpers.clone(), sample_key: sample_keys[idx] };
            SampleSearch::new(settings, processors, &prompts[idx], draw)
        })
    } else if settings.num_beams == 1 {
        batch::run(model, prompts, settings.max_new_tokens, |idx| {
            SampleSearch::new(settings, processors, &prompts[idx], Chooser::Greedy)
        })
    } else if settings.num_beam_groups > 1 || is_total {
        batch::run(model, prompts, settings.max_new_tokens, |idx| {
            DiverseBeamSearch::new(settings, processors, &prompts[idx])
        })
    } else {
        batch::run(model, prompts, settings.max_new_tokens, |idx| {
            BeamSearch::new(settings, processors, &prompts[idx])
        })
    }
}

fn check_prompt<M: LanguageModel>(model: &M, prompt: &[u32], max_new_tokens: usize) -> Result<()> {
    if prompt.is_empty() {
        return Err(Error::EmptyPrompt);
    }
    let (n_positions, vocab_size) = (model.n_positions(), model.vocab_size());
    if prompt.len().saturating_add(max_new_tokens) > n_positions {
        return Err(Error::PromptTooLong { prompt_tokens: prompt.len(), max_new_tokens, n_positions });
    }
    match prompt.iter().find(|&&id| id as usize >= vocab_size) {
        Some(id) => {
            Err(Error::Shape(format!("token {id} of a prompt is outside the vocabulary of {vocab_size}")))
        }
        None => Ok(()),
    }
}

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
    fn prefill(&self, prompts: &[Vec<u32>], max_new_tokens: usize) -> Result<(Self::Cache, Logits)>;

    /// Appends `token_ids[i]` to row i of the cache, for every row, and returns the logits that follow.
    fn step(&self, cache: &mut Self::Cache, token_ids: &[u32]) -> Result<Logits>;

    /// Makes row i of the cache what row `rows[i]` was: repeats, permutes and drops rows.
    fn reorder(&self, cache: &mut Self::Cache, rows: &[usize]) -> Result<()>;
}
