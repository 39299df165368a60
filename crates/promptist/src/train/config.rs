//! `configs/sft.toml`: what a supervised run is told. Every default is the paper's where the paper
//! says something (facts from its appendix, Table 6), ours where it does not; each field says which.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config_file::ConfigFile;
use crate::error::{Error, Result};
use crate::gpt2::Gpt2Config;
use crate::template::Keep;
use crate::train::lr_schedule::LrSchedule;

/// A supervised fine-tuning run: an optional language-model stage on plain text, then SFT on pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SftConfig {
    /// Seeds initial weights and the order of examples.
    #[serde(default = "one")]
    pub seed: u64,
    /// Where training starts: a folder or a Hub id. Exactly one of `model` and `scratch` is given.
    pub model: Option<String>,
    /// A new model instead.
    pub scratch: Option<ScratchConfig>,
    /// Next-token prediction on plain text, before SFT.
    pub language_model: Option<LanguageModelConfig>,
    /// Fine-tuning on pairs; without it the run ends after the language-model stage.
    pub sft: Option<PairsConfig>,
    /// Newest checkpoints kept, at least the latest; the best is kept beside them. Default 1.
    #[serde(default = "one_usize")]
    pub keep_checkpoints: usize,
}

/// A model with random weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScratchConfig {
    /// Folder with the tokenizer's files.
    pub tokenizer: PathBuf,
    /// Longest sequence.
    pub n_positions: usize,
    /// Width.
    pub n_embd: usize,
    /// Blocks.
    pub n_layer: usize,
    /// Attention heads a block.
    pub n_head: usize,
}

/// The language-model stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanguageModelConfig {
    /// Text: `.txt`, a text a line, or `.jsonl` with the field `text`.
    pub text: Vec<PathBuf>,
    /// Text for the validation loss.
    pub validation: Vec<PathBuf>,
    /// Tokens in an example: texts are laid end to end, an end token after each.
    pub block_size: usize,
    /// How long and how fast.
    pub training: TrainingConfig,
}

/// The SFT stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairsConfig {
    /// Pairs, JSON Lines with `x` and `y`.
    pub train: PathBuf,
    /// Pairs for the validation loss, of other targets.
    pub validation: PathBuf,
    /// `exact` learns to add to the user's words: every `y` opens with those of `x`, and the loss
    /// counts what follows them. The paper's `free` learns the whole answer.
    #[serde(default)]
    pub keep: Keep,
    /// Tokens of the longest example; longer pairs are dropped and counted. The paper's 512.
    #[serde(default = "max_length")]
    pub max_length: usize,
    /// How long and how fast.
    #[serde(default)]
    pub training: TrainingConfig,
}

/// Optimisation of one stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingConfig {
    /// Optimiser steps. The paper's 15,000.
    pub steps: u64,
    /// Examples a step. The paper's 256.
    pub batch_size: usize,
    /// Tokens, padding included, in one forward pass: a step is accumulated over as many as it
    /// takes. Changes memory and speed, not the result. Ours.
    pub micro_batch_tokens: usize,
    /// Highest learning rate. The paper's 5e-5.
    pub learning_rate: f64,
    /// Steps of linear warm-up from 0. Ours: the paper does not say.
    pub warmup_steps: u64,
    /// What follows the warm-up. Ours: the paper does not say.
    pub lr_schedule: LrSchedule,
    /// The paper's (0.9, 0.999).
    pub adam_betas: (f64, f64),
    /// The paper's 1e-6.
    pub adam_eps: f64,
    /// Decoupled, on matrices and embeddings, not on norms and biases. The paper's 0.1.
    pub weight_decay: f64,
    /// The gradient's global norm is clipped to this. Ours: the paper does not say.
    pub max_grad_norm: f64,
    /// Steps between validations. Ours.
    pub validate_every: u64,
    /// Steps between checkpoints. Ours.
    pub checkpoint_every: u64,
    /// Examples of a validation, the first of the file; 0 is all. Ours.
    pub validation_examples: usize,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            steps: 15_000,
            batch_size: 256,
            micro_batch_tokens: 8192,
            learning_rate: 5e-5,
            warmup_steps: 500,
            lr_schedule: LrSchedule::Linear,
            adam_betas: (0.9, 0.999),
            adam_eps: 1e-6,
            weight_decay: 0.1,
            max_grad_norm: 1.0,
            validate_every: 250,
            checkpoint_every: 250,
            validation_examples: 0,
        }
    }
}

fn one() -> u64 {
    1
}

fn one_usize() -> usize {
    1
}

fn max_length() -> usize {
    512
}

impl ConfigFile for SftConfig {
    fn check(&self) -> Result<()> {
        match (&self.model, &self.scratch) {
            (None, None) => return Err(Error::config("model", "give `model` or `[scratch]`")),
            (Some(_), Some(_)) => {
                return Err(Error::config("model", "give `model` or `[scratch]`, not both"));
            }
            (Some(_), None) => {}
            (None, Some(scratch)) => scratch.gpt2(257, Some(0)).check()?,
        }
        if let Some(stage) = &self.language_model {
            if stage.block_size < 2 {
                return Err(Error::config("language_model.block_size", "must be at least 2"));
            }
            if stage.text.is_empty() || stage.validation.is_empty() {
                return Err(Error::config("language_model.text", "text and validation need files"));
            }
            stage.training.check("language_model.training")?;
        }
        if let Some(stage) = &self.sft {
            if stage.max_length < 2 {
                return Err(Error::config("sft.max_length", "must be at least 2"));
            }
            stage.training.check("sft.training")?;
        }
        if self.language_model.is_none() && self.sft.is_none() {
            return Err(Error::config("sft", "give `[sft]`, `[language_model]` or both"));
        }
        Ok(())
    }
}

impl ScratchConfig {
    /// The new model's shape.
    pub fn gpt2(&self, vocab_size: usize, eos_token_id: Option<u32>) -> Gpt2Config {
        Gpt2Config {
            vocab_size,
            n_positions: self.n_positions,
            n_embd: self.n_embd,
            n_layer: self.n_layer,
            n_head: self.n_head,
            bos_token_id: eos_token_id,
            eos_token_id,
            ..Gpt2Config::default()
        }
    }
}

impl TrainingConfig {
    fn check(&self, table: &str) -> Result<()> {
        let refuse = |key: &str, rule: &str| Err(Error::config(format!("{table}.{key}"), rule));
        let is_share = |value: f64| (0.0..1.0).contains(&value);
        if self.steps == 0 {
            return refuse("steps", "must be at least 1");
        }
        if self.batch_size == 0 {
            return refuse("batch_size", "must be at least 1");
        }
        if self.micro_batch_tokens == 0 {
            return refuse("micro_batch_tokens", "must be at least 1");
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return refuse("learning_rate", "must be positive");
        }
        if !is_share(self.adam_betas.0) || !is_share(self.adam_betas.1) {
            return refuse("adam_betas", "must be in [0, 1)");
        }
        if !(self.adam_eps > 0.0 && self.adam_eps.is_finite()) {
            return refuse("adam_eps", "must be positive");
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return refuse("weight_decay", "must not be negative");
        }
        if self.max_grad_norm.is_nan() || self.max_grad_norm <= 0.0 {
            return refuse("max_grad_norm", "must be positive; `inf` turns clipping off");
        }
        if self.validate_every == 0 {
            return refuse("validate_every", "must be at least 1");
        }
        if self.checkpoint_every == 0 {
            return refuse("checkpoint_every", "must be at least 1");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        SftConfig::from_toml(text).expect_err("impossible").to_string()
    }

    #[test]
    fn the_committed_configs_parse_and_the_papers_are_the_defaults() {
        let sft = SftConfig::from_toml(include_str!("../../../../configs/sft.toml")).expect("valid");
        let stage = sft.sft.expect("an SFT stage");
        assert_eq!(stage.training, TrainingConfig::default());
        assert_eq!((stage.max_length, stage.keep), (max_length(), Keep::Free));
        for text in [
            include_str!("../../../../models/mini/language-model.toml"),
            include_str!("../../../../models/mini/prompter.toml"),
            include_str!("../../../../models/mini/prompter-thin.toml"),
        ] {
            let config = SftConfig::from_toml(text).expect("valid");
            let again = SftConfig::from_toml(&config.to_toml().expect("has a TOML form"));
            assert_eq!(again.expect("reads what it wrote"), config);
        }
    }

    #[test]
    fn unknown_keys_and_impossible_settings_are_named() {
        let pairs = "[sft]\ntrain = \"a\"\nvalidation = \"b\"\n";
        let with = |line: &str| format!("model = \"m\"\n{pairs}[sft.training]\n{line}\n");
        assert!(refusal(&with("lr = 1.0")).contains("unknown field `lr`"));
        assert!(refusal("modle = \"m\"").contains("unknown field `modle`"));
        let cases = [
            ("steps = 0", "sft.training.steps"),
            ("batch_size = 0", "sft.training.batch_size"),
            ("learning_rate = -1.0", "sft.training.learning_rate"),
            ("adam_betas = [0.9, 1.0]", "sft.training.adam_betas"),
            ("max_grad_norm = 0.0", "sft.training.max_grad_norm"),
        ];
        for (line, key) in cases {
            assert!(refusal(&with(line)).contains(key), "{line}");
        }
        assert!(refusal(pairs).contains("give `model` or `[scratch]`"));
        assert!(refusal("model = \"m\"").contains("give `[sft]`"));
    }
}
