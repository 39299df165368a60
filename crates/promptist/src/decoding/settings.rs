//! Decoding settings as they are obeyed: complete and checked.
//!
//! The names are those of transformers' `generation_config.json`; what a setting does is told here
//! and done in the file of the search that it steers. `raw_settings` reads and merges them.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::early_stopping::EarlyStopping;
use super::hypotheses::Finish;
use crate::error::{Error, Result};

/// Settings that can be obeyed: complete and checked. Made by [`RawDecodingSettings::resolve`](super::RawDecodingSettings::resolve).
///
/// The defaults are the released demo's (8 beams, length penalty -1, 75 tokens); those of sampling
/// are transformers'.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DecodingSettings {
    /// Hypotheses kept at each step (default 8; 1 is greedy, and what `do_sample` takes).
    pub num_beams: usize,
    /// Groups of diverse beam search (default 1: plain beam search); divides `num_beams`.
    pub num_beam_groups: usize,
    /// What a group pays for each time an earlier group chose the same token at the same step.
    pub diversity_penalty: f64,
    /// A hypothesis scores `sum of log-probabilities / length ^ length_penalty` (default -1):
    /// above 0 long answers gain, below 0 they lose.
    pub length_penalty: f64,
    /// Which length that is.
    pub length_normalization: LengthNormalization,
    /// When beam search may stop.
    pub early_stopping: EarlyStopping,
    /// Longest answer, the end token counted (default 75).
    pub max_new_tokens: usize,
    /// Tokens before which no end token may come (default 0).
    pub min_new_tokens: usize,
    /// Answers returned for each prompt (default 1).
    pub num_return_sequences: usize,
    /// Draw the tokens instead of searching for the likeliest (default false).
    pub do_sample: bool,
    /// Divides the logits before drawing (default 1).
    pub temperature: f64,
    /// Draw among this many likeliest tokens (default 50; 0 for all).
    pub top_k: usize,
    /// Draw among the likeliest tokens that together have this probability (default 1).
    pub top_p: f64,
    /// Draw among the tokens at least this probable relative to the likeliest (default 0).
    pub min_p: f64,
    /// Seed of the draws (default 0).
    pub seed: u64,
    /// Divides the positive and multiplies the negative scores of tokens already there (default 1).
    pub repetition_penalty: f64,
    /// No run of this many tokens comes twice, prompt included (default 0: off).
    pub no_repeat_ngram_size: usize,
    /// Tokens that never come.
    pub suppress_tokens: Vec<u32>,
    /// Tokens that end an answer; none: it always has `max_new_tokens`.
    pub eos_token_id: Vec<u32>,
    /// What a finished group "chooses" in diverse beam search (default: the first end token).
    pub pad_token_id: Option<u32>,
}

impl DecodingSettings {
    /// Checks every rule that needs no model. [`RawDecodingSettings::resolve`](super::RawDecodingSettings::resolve) has done so; fields
    /// changed since then are the caller's, so [`generate`](super::generate) does it again.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key and the rule that it breaks.
    pub fn validate(&self) -> Result<()> {
        let rule = |key: &str, holds: bool, reason: String| match holds {
            true => Ok(()),
            false => Err(Error::config(key, reason)),
        };
        let at_least_1 =
            |key: &str, value: usize| rule(key, value >= 1, format!("must be at least 1, is {value}"));
        let finite =
            |key: &str, value: f64| rule(key, value.is_finite(), format!("must be finite, is {value}"));
        let positive = |key: &str, value: f64| {
            rule(key, value > 0.0 && value.is_finite(), format!("must be above 0 and finite, is {value}"))
        };
        let unit = |key: &str, value: f64| {
            rule(key, (0.0..=1.0).contains(&value), format!("must be between 0 and 1, is {value}"))
        };

        at_least_1("num_beams", self.num_beams)?;
        at_least_1("num_beam_groups", self.num_beam_groups)?;
        at_least_1("num_return_sequences", self.num_return_sequences)?;
        at_least_1("max_new_tokens", self.max_new_tokens)?;
        finite("length_penalty", self.length_penalty)?;
        positive("temperature", self.temperature)?;
        positive("repetition_penalty", self.repetition_penalty)?;
        unit("top_p", self.top_p)?;
        unit("min_p", self.min_p)?;
        let (beams, groups, penalty) = (self.num_beams, self.num_beam_groups, self.diversity_penalty);
        rule(
            "diversity_penalty",
            penalty >= 0.0 && penalty.is_finite(),
            format!("must not be negative and be finite, is {penalty}"),
        )?;
        rule(
            "num_beam_groups",
            beams.is_multiple_of(groups),
            format!("must divide `num_beams`, but {beams} beams make no {groups} equal groups"),
        )?;
        rule(
            "diversity_penalty",
            groups == 1 || penalty > 0.0,
            format!("must be above 0 with {groups} groups, else all are the same"),
        )?;
        rule(
            "diversity_penalty",
            groups > 1 || penalty == 0.0,
            "needs `num_beam_groups` above 1".to_owned(),
        )?;
        rule(
            "do_sample",
            !self.do_sample || beams == 1,
            format!("goes with 1 beam, but `num_beams` is {beams}"),
        )?;
        rule(
            "num_return_sequences",
            self.do_sample || self.num_return_sequences <= beams,
            format!("must be at most `num_beams`, but is {} with {beams}", self.num_return_sequences),
        )?;
        rule(
            "min_new_tokens",
            self.min_new_tokens <= self.max_new_tokens,
            format!("must be at most `max_new_tokens` ({}), is {}", self.max_new_tokens, self.min_new_tokens),
        )
    }

    /// The most rows of a model's cache that a search with these settings wants at once.
    pub(crate) fn num_rows(&self) -> usize {
        match self.do_sample {
            true => self.num_return_sequences,
            false => self.num_beams,
        }
    }

    /// Checks the rules that need the model's vocabulary size.
    pub(crate) fn validate_vocabulary(&self, vocab_size: usize) -> Result<()> {
        let keys = [
            ("eos_token_id", self.eos_token_id.as_slice()),
            ("pad_token_id", self.pad_token_id.as_slice()),
            ("suppress_tokens", self.suppress_tokens.as_slice()),
        ];
        for (key, ids) in keys {
            if let Some(id) = ids.iter().find(|&&id| id as usize >= vocab_size) {
                return Err(Error::config(key, format!("{id} is outside the vocabulary of {vocab_size}")));
            }
        }
        Ok(())
    }

    /// The length of an answer that its score is divided by, of `num_generated` tokens without the
    /// end token.
    pub(crate) fn hypothesis_len(&self, prompt_len: usize, num_generated: usize, finish: Finish) -> usize {
        match self.length_normalization {
            LengthNormalization::Generated => num_generated + usize::from(finish == Finish::Eos),
            LengthNormalization::Total => prompt_len + num_generated,
        }
    }

    /// Whether `token_id` ends an answer.
    pub(super) fn is_eos(&self, token_id: u32) -> bool {
        self.eos_token_id.contains(&token_id)
    }
}

/// Which length divides a hypothesis' sum of log-probabilities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LengthNormalization {
    /// The generated tokens, the end token counted: transformers 5.23.
    #[default]
    Generated,
    /// Prompt and generated tokens, the end token not counted: transformers 4.23.1, which the
    /// released demo ran. It searches as that version did (see `diverse_beam.rs`).
    Total,
}

impl FromStr for LengthNormalization {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "generated" => Ok(Self::Generated),
            "total" => Ok(Self::Total),
            _ => {
                Err(Error::config("length_normalization", format!("must be generated or total, is {text:?}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::RawDecodingSettings;
    use super::*;

    #[test]
    fn impossible_settings_name_the_key() {
        let raw = RawDecodingSettings::default;
        for (key, raw) in [
            ("num_beams", RawDecodingSettings { num_beams: Some(0), ..raw() }),
            ("num_beam_groups", RawDecodingSettings { num_beam_groups: Some(0), ..raw() }),
            (
                "num_beam_groups",
                RawDecodingSettings { num_beam_groups: Some(3), diversity_penalty: Some(1.0), ..raw() },
            ),
            ("diversity_penalty", RawDecodingSettings { num_beam_groups: Some(4), ..raw() }),
            ("diversity_penalty", RawDecodingSettings { diversity_penalty: Some(1.0), ..raw() }),
            ("diversity_penalty", RawDecodingSettings { diversity_penalty: Some(-1.0), ..raw() }),
            ("num_return_sequences", RawDecodingSettings { num_return_sequences: Some(9), ..raw() }),
            ("num_return_sequences", RawDecodingSettings { num_return_sequences: Some(0), ..raw() }),
            ("max_new_tokens", RawDecodingSettings { max_new_tokens: Some(0), ..raw() }),
            ("min_new_tokens", RawDecodingSettings { min_new_tokens: Some(76), ..raw() }),
            ("length_penalty", RawDecodingSettings { length_penalty: Some(f64::INFINITY), ..raw() }),
            ("temperature", RawDecodingSettings { temperature: Some(0.0), ..raw() }),
            ("temperature", RawDecodingSettings { temperature: Some(f64::NAN), ..raw() }),
            ("top_p", RawDecodingSettings { top_p: Some(1.1), ..raw() }),
            ("min_p", RawDecodingSettings { min_p: Some(-0.1), ..raw() }),
            ("repetition_penalty", RawDecodingSettings { repetition_penalty: Some(0.0), ..raw() }),
            ("do_sample", RawDecodingSettings { do_sample: Some(true), num_beams: Some(2), ..raw() }),
        ] {
            let error = raw.clone().resolve().expect_err(key);
            assert!(matches!(&error, Error::Config { key: found, .. } if found == key), "{raw:?}: {error}");
        }
    }

    #[test]
    fn length_normalization_is_read() {
        assert_eq!("total".parse::<LengthNormalization>().expect("a value"), LengthNormalization::Total);
        assert!("Total".parse::<LengthNormalization>().is_err());
    }
}
