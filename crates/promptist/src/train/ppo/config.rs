//! `configs/ppo.toml`: what a reinforcement-learning run is told.
//!
//! Defaults are the released algorithm's with its faults mended (design section 8); `[compat]` brings
//! single faults back, to be measured.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config_file::{ConfigFile, move_to_data_folder};
use crate::decoding::RawDecodingSettings;
use crate::engine::Precision;
use crate::error::{Error, Result};
use crate::reward::TermConfig;
use crate::template::Keep;
use crate::train::trainable::Trainable;

/// What stands beside the terms' means under `reward/` and `validation/` in metrics.
const RESERVED_NAMES: [&str; 12] = [
    "mean",
    "standard_error",
    "reward",
    "dropped",
    "first_failure",
    "kl",
    "length",
    "kept",
    "degenerate",
    "artist_share",
    "distinct_1",
    "distinct_2",
];

/// A run of PPO.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PpoConfig {
    /// Where training starts, and the reference that it is held to: a folder or a Hub id of an SFT model.
    pub model: String,
    /// Seeds the order of prompts, what is drawn in exploration, and the value head.
    #[serde(default = "one")]
    pub seed: u64,
    /// Rounds: each explores, scores, and updates. The paper's 12,000 updates are 3,000 rounds of 4.
    #[serde(default = "three_thousand")]
    pub rounds: u64,
    /// What becomes of the user's words; the model's own choice if absent.
    pub keep: Option<Keep>,
    /// What to explore on.
    pub prompts: PromptsConfig,
    /// How to explore.
    #[serde(default)]
    pub exploration: ExplorationConfig,
    /// How to learn from it.
    #[serde(default)]
    pub ppo: UpdateConfig,
    /// The charge for leaving the reference.
    #[serde(default)]
    pub kl: KlConfig,
    /// The optimiser, of policy and value network alike.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// What is paid for: a weighted sum.
    pub reward: Vec<TermConfig>,
    /// What is watched and never trained on. The first decides which checkpoint is best.
    #[serde(default)]
    pub held_out: Vec<TermConfig>,
    /// When to look, and when to stop.
    #[serde(default)]
    pub evaluation: EvaluationConfig,
    /// Rounds between checkpoints. A round that was not saved is explored again after a crash.
    #[serde(default = "one")]
    pub checkpoint_every: u64,
    /// Newest checkpoints kept, at least the latest; the best is kept beside them.
    #[serde(default = "one_usize")]
    pub keep_checkpoints: usize,
    /// Faults of the released code, one by one.
    #[serde(default)]
    pub compat: CompatConfig,
}

/// Users' prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptsConfig {
    /// Prompts of a round. The released 256.
    #[serde(default = "round_size")]
    pub round_size: usize,
    /// Prompts held out of the sources, in their shares, to evaluate on.
    #[serde(default = "validation_size")]
    pub validation: usize,
    /// Longer prompts, in tokens with the template, are left out and counted.
    #[serde(default = "max_tokens")]
    pub max_tokens: usize,
    /// Where prompts come from.
    pub sources: Vec<PromptSource>,
}

/// A file of users' prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptSource {
    /// `.txt`, a prompt a line, or `.jsonl`.
    pub path: PathBuf,
    /// The field of a `.jsonl`.
    #[serde(default = "text")]
    pub field: String,
    /// Its share of a round, relative to the others'.
    #[serde(default = "one_f64")]
    pub share: f64,
}

/// How answers are found that are then learned from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExplorationConfig {
    /// The search.
    pub method: ExplorationMethod,
    /// Prompts explored together, and of one length limit. The released 8.
    pub chunk_size: usize,
    /// A chunk's longest answer is drawn from this range, ends included: long rewrites make worse
    /// images. The released 15 to 75.
    pub max_new_tokens: (usize, usize),
    /// Tokens before which no answer ends: as many as users' settings ask for. The released 0.
    pub min_new_tokens: usize,
    /// Guidance towards the input while exploring; 1, the released, is the policy itself. See
    /// [`crate::decoding::Guided`].
    pub guidance_scale: f32,
    /// Of diverse beams, also their groups. The released 8 (its large config: 16).
    pub num_beams: usize,
    /// Of diverse beams.
    pub diversity_penalty: f64,
    /// Of diverse beams.
    pub length_penalty: f64,
    /// Of sampling.
    pub temperature: f64,
    /// Of sampling; 0 for all.
    pub top_k: usize,
    /// Of sampling.
    pub top_p: f64,
    /// Tokens that never come.
    pub suppress_tokens: Vec<u32>,
    /// What the decoder computes in, on a CPU. The ratio's log-probabilities are the training model's
    /// in any case.
    pub precision: Precision,
}

/// A way to explore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExplorationMethod {
    /// Diverse beam search, one of its answers at random: the released algorithm.
    DiverseBeams,
    /// One answer drawn from the policy itself.
    Sampling,
}

/// How a round is learned from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateConfig {
    /// γ of the advantages.
    pub gamma: f64,
    /// λ of the advantages.
    pub lambda: f64,
    /// ε of the policy's ratio.
    pub cliprange: f64,
    /// ε of the value.
    pub cliprange_value: f64,
    /// Weight of the value loss, which is half a square.
    pub value_coefficient: f64,
    /// Passes over a round.
    pub epochs: usize,
    /// Updates of a pass, each over an equal part of the round. The released 1.
    pub minibatches: usize,
    /// Tokens, padding included, in one forward pass. Changes memory and speed, not the result.
    pub micro_batch_tokens: usize,
    /// Blocks of the policy that train, from the top, beside embeddings and final norm; all if absent.
    /// The released code trains 2.
    pub trainable_layers: Option<usize>,
    /// Whether the value head sits on the policy's trunk instead of a network of its own.
    pub shared_trunk: bool,
    /// Rounds at the start in which only the value network learns. Ours: a random head misleads the
    /// first updates. The released 0.
    pub value_warmup_rounds: u64,
}

/// The KL charge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KlConfig {
    /// Its weight, or with `adaptive` its first.
    pub coefficient: f64,
    /// Whether the weight is steered so that the KL to the reference becomes `target`.
    pub adaptive: bool,
    /// Nats a response.
    pub target: f64,
    /// Responses in which the weight may move by 20 %.
    pub horizon: f64,
}

/// AdamW.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// Constant, as the released code's.
    pub learning_rate: f64,
    /// The value network's, if another.
    pub value_learning_rate: Option<f64>,
    /// Decay rates of the moments.
    pub adam_betas: (f64, f64),
    /// Added to the root of the second moment.
    pub adam_eps: f64,
    /// Decoupled, on matrices only.
    pub weight_decay: f64,
    /// The gradients' global norm, policy's and value network's apart; `inf`, the released code's, does
    /// not clip.
    pub max_grad_norm: f64,
}

/// When to measure on the validation prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluationConfig {
    /// Rounds between evaluations; there is one before the first round and one after the last.
    pub every: u64,
    /// Whether the guard stops the run: see [`super::guard`].
    pub stop: bool,
    /// How the prompts are adapted, over the model's own settings: as users get it.
    pub decoding: RawDecodingSettings,
    /// Guidance, over the model's own.
    pub guidance_scale: Option<f32>,
}

/// Faults of the released code (facts 3.7), each off by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompatConfig {
    /// Q4: the value loss reads the value after a token, where returns and old values are those before.
    pub value_after_token: bool,
    /// Q5: the adaptive weight follows the KL to the round's own policy, after every update.
    pub kl_to_old_policy: bool,
    /// Q6: the reference is the SFT model's upper blocks on the policy's own trunk; goes with
    /// `trainable_layers`.
    pub reference_on_policy_trunk: bool,
    /// Q7: the score replaces the end token's KL charge.
    pub score_replaces_kl: bool,
    /// Q9: decay 0.01 of every parameter and eps 1e-8, whatever `[optimizer]` says.
    pub default_adamw: bool,
    /// Q10: advantages are whitened with the padding's zeros among them.
    pub whiten_padding: bool,
}

impl Default for ExplorationConfig {
    fn default() -> Self {
        Self {
            method: ExplorationMethod::DiverseBeams,
            chunk_size: 8,
            max_new_tokens: (15, 75),
            min_new_tokens: 0,
            guidance_scale: 1.0,
            num_beams: 8,
            diversity_penalty: 1.0,
            length_penalty: 1.0,
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            suppress_tokens: Vec::new(),
            precision: Precision::F32,
        }
    }
}

impl Default for UpdateConfig {
    fn default() -> Self {
        Self {
            gamma: 1.0,
            lambda: 0.95,
            cliprange: 0.2,
            cliprange_value: 0.2,
            value_coefficient: 2.3,
            epochs: 4,
            minibatches: 1,
            micro_batch_tokens: 4096,
            trainable_layers: None,
            shared_trunk: false,
            value_warmup_rounds: 0,
        }
    }
}

impl Default for KlConfig {
    fn default() -> Self {
        Self { coefficient: 0.2, adaptive: false, target: 6.0, horizon: 10_000.0 }
    }
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            learning_rate: 5e-5,
            value_learning_rate: None,
            adam_betas: (0.9, 0.95),
            adam_eps: 1e-6,
            weight_decay: 1e-6,
            max_grad_norm: f64::INFINITY,
        }
    }
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self { every: 10, stop: true, decoding: RawDecodingSettings::default(), guidance_scale: None }
    }
}

impl PpoConfig {
    /// The config with `folder` in the place of `../shared/data`.
    pub fn with_data_folder(mut self, folder: &Path) -> Self {
        move_to_data_folder(self.prompts.sources.iter_mut().map(|source| &mut source.path), folder);
        self
    }
}

impl UpdateConfig {
    /// Which of the policy's parameters train.
    pub fn trainable(&self) -> Trainable {
        self.trainable_layers.map_or(Trainable::All, Trainable::LastLayers)
    }
}

fn one() -> u64 {
    1
}

fn one_usize() -> usize {
    1
}

fn one_f64() -> f64 {
    1.0
}

fn three_thousand() -> u64 {
    3000
}

fn round_size() -> usize {
    256
}

fn validation_size() -> usize {
    128
}

fn max_tokens() -> usize {
    256
}

fn text() -> String {
    "text".to_owned()
}

impl ConfigFile for PpoConfig {
    fn check(&self) -> Result<()> {
        let rule = |key: &str, holds: bool, reason: &str| match holds {
            true => Ok(()),
            false => Err(Error::config(key, reason)),
        };
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let at_least_1 = [
            ("rounds", self.rounds),
            ("checkpoint_every", self.checkpoint_every),
            ("evaluation.every", self.evaluation.every),
            ("prompts.round_size", self.prompts.round_size as u64),
            ("exploration.chunk_size", self.exploration.chunk_size as u64),
            ("exploration.num_beams", self.exploration.num_beams as u64),
            ("ppo.epochs", self.ppo.epochs as u64),
            ("ppo.minibatches", self.ppo.minibatches as u64),
            ("ppo.micro_batch_tokens", self.ppo.micro_batch_tokens as u64),
        ];
        for (key, value) in at_least_1 {
            rule(key, value >= 1, "must be at least 1")?;
        }
        rule("prompts.sources", !self.prompts.sources.is_empty(), "needs a file")?;
        for source in &self.prompts.sources {
            rule("prompts.sources.share", positive(source.share), "must be above 0")?;
        }
        let (least, most) = self.exploration.max_new_tokens;
        rule("exploration.max_new_tokens", 1 <= least && least <= most, "must be a range [least, most]")?;
        rule(
            "exploration.min_new_tokens",
            self.exploration.min_new_tokens <= least,
            "must be at most the least of `exploration.max_new_tokens`",
        )?;
        rule(
            "exploration.diversity_penalty",
            self.exploration.num_beams == 1 || positive(self.exploration.diversity_penalty),
            "must be above 0, else all groups find the same answer",
        )?;
        rule("exploration.temperature", positive(self.exploration.temperature), "must be above 0")?;
        let ppo = &self.ppo;
        rule("ppo.gamma", (0.0..=1.0).contains(&ppo.gamma), "must be from 0 to 1")?;
        rule("ppo.lambda", (0.0..=1.0).contains(&ppo.lambda), "must be from 0 to 1")?;
        rule("ppo.cliprange", (0.0..1.0).contains(&ppo.cliprange), "must be in [0, 1)")?;
        rule("ppo.cliprange_value", ppo.cliprange_value >= 0.0, "must not be negative")?;
        rule("ppo.value_coefficient", positive(ppo.value_coefficient), "must be above 0")?;
        rule(
            "ppo.minibatches",
            ppo.minibatches <= self.prompts.round_size,
            "must be at most `prompts.round_size`",
        )?;
        rule("kl.coefficient", self.kl.coefficient >= 0.0, "must not be negative")?;
        rule("kl.target", positive(self.kl.target), "must be above 0")?;
        rule("kl.horizon", positive(self.kl.horizon), "must be above 0")?;
        self.optimizer.check()?;
        rule("reward", !self.reward.is_empty(), "needs a term")?;
        TermConfig::check_all(&self.reward, "reward")?;
        TermConfig::check_all(&self.held_out, "held_out")?;
        if let Some(term) = self.reward.iter().find(|term| RESERVED_NAMES.contains(&term.name.as_str())) {
            let reason = "is what metrics call something else; choose another name";
            return Err(Error::config(format!("reward.{}", term.name), reason));
        }
        let trained_on = |held_out: &TermConfig| {
            self.reward.iter().any(|term| {
                TermConfig { weight: 1.0, name: held_out.name.clone(), ..term.clone() }
                    == TermConfig { weight: 1.0, ..held_out.clone() }
            })
        };
        if let Some(term) = self.held_out.iter().find(|term| trained_on(term)) {
            return Err(Error::config(format!("held_out.{}", term.name), "is trained on: it guards nothing"));
        }
        rule(
            "held_out",
            self.held_out.is_empty() || self.prompts.validation >= 2,
            "needs `prompts.validation` of 2 or more",
        )?;
        rule(
            "compat.value_after_token",
            !self.compat.value_after_token || !self.ppo.shared_trunk,
            "goes with a value network of its own",
        )?;
        rule(
            "compat.reference_on_policy_trunk",
            !self.compat.reference_on_policy_trunk || self.ppo.trainable_layers.is_some(),
            "goes with `ppo.trainable_layers`",
        )
    }
}

impl OptimizerConfig {
    fn check(&self) -> Result<()> {
        let refuse = |key: &str, rule: &str| Err(Error::config(format!("optimizer.{key}"), rule));
        let is_rate = |rate: f64| rate > 0.0 && rate.is_finite();
        let is_share = |share: f64| (0.0..1.0).contains(&share);
        if !is_rate(self.learning_rate) || !self.value_learning_rate.is_none_or(is_rate) {
            return refuse("learning_rate", "must be above 0");
        }
        if !is_share(self.adam_betas.0) || !is_share(self.adam_betas.1) {
            return refuse("adam_betas", "must be in [0, 1)");
        }
        if !is_rate(self.adam_eps) {
            return refuse("adam_eps", "must be above 0");
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return refuse("weight_decay", "must not be negative");
        }
        if self.max_grad_norm.is_nan() || self.max_grad_norm <= 0.0 {
            return refuse("max_grad_norm", "must be above 0; `inf` does not clip");
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LEAST: &str = "model = 'm'\n[prompts]\n[[prompts.sources]]\npath = 'p.txt'\n\
                         [[reward]]\nname = 'words'\nkind = 'retention'\n";

    #[test]
    fn the_example_holds_the_defaults() {
        let example = PpoConfig::from_toml(include_str!("../../../../../configs/ppo.toml")).unwrap();
        let least = PpoConfig::from_toml(LEAST).unwrap();
        assert_eq!(example.exploration, ExplorationConfig::default());
        assert_eq!(example.ppo, UpdateConfig::default());
        assert_eq!(example.kl, KlConfig::default());
        assert_eq!(example.optimizer, OptimizerConfig::default());
        assert_eq!(example.evaluation, EvaluationConfig::default());
        assert_eq!(example.compat, CompatConfig::default());
        let rest = |config: &PpoConfig| {
            let prompts = &config.prompts;
            let sizes = (prompts.round_size, prompts.validation, prompts.max_tokens);
            (config.seed, config.rounds, config.checkpoint_every, config.keep_checkpoints, sizes)
        };
        assert_eq!(rest(&example), rest(&least));
        for config in [example, least] {
            assert_eq!(PpoConfig::from_toml(&config.to_toml().unwrap()).unwrap(), config);
        }
    }

    #[test]
    fn impossible_settings_are_named() {
        for (line, named) in [
            ("[exploration]\nmax_new_tokens = [9, 3]", "exploration.max_new_tokens"),
            ("[exploration]\nmin_new_tokens = 16", "exploration.min_new_tokens"),
            ("[exploration]\ndiversity_penalty = 0.0", "exploration.diversity_penalty"),
            ("[ppo]\nlambda = 1.5", "ppo.lambda"),
            ("[ppo]\nminibatches = 999", "ppo.minibatches"),
            ("[kl]\ncoefficient = -1.0", "kl.coefficient"),
            ("[optimizer]\nlearning_rate = 0.0", "optimizer.learning_rate"),
            ("[compat]\nvalue_after_token = true\n[ppo]\nshared_trunk = true", "compat.value_after_token"),
            ("[compat]\nreference_on_policy_trunk = true", "compat.reference_on_policy_trunk"),
            ("[[reward]]\nname = 'words'\nkind = 'degenerate'", "reward.words"),
            ("[[reward]]\nname = 'length'\nkind = 'degenerate'", "reward.length"),
            ("[[reward]]\nname = 'image'\nkind = 'image'", "reward.image.config"),
            ("[[reward]]\nname = 'other'\nkind = 'degenerate'\nmodel = 'm'", "reward.other.model"),
            ("[[held_out]]\nname = 'kept_too'\nkind = 'retention'", "held_out.kept_too"),
            ("[compat]\nq4 = true", "q4"),
        ] {
            let error = PpoConfig::from_toml(&format!("{LEAST}{line}")).unwrap_err().to_string();
            assert!(error.contains(named), "{line}: {error}");
        }
    }
}
