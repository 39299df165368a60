//! `configs/reward.toml`: what a text reward is fitted on, and how. Paths are relative to the working directory.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config_file::{ConfigFile, move_to_data_folder};
use crate::error::{Error, Result};
use crate::reward::text::Family;

/// A fit of a text reward.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardFitConfig {
    /// Seeds the choice of examples, how they are spoilt, initial weights and their order.
    #[serde(default = "one")]
    pub seed: u64,
    /// What kind of model scores.
    pub family: Family,
    /// Which half of the targets is fitted on. Halves share no target and no plain text.
    pub half: Half,
    /// A prompter: the trunk of the family `trunk`, and of both families what writes the answers that are no
    /// person's. `mini`, a folder, a Hub id.
    #[serde(default = "mini")]
    pub model: String,
    /// What examples are made of.
    pub data: DataConfig,
    /// What is told apart from what people wrote, and how much of it.
    #[serde(default)]
    pub contrast: ContrastConfig,
    /// The head of the family `trunk`.
    #[serde(default)]
    pub trunk: HeadConfig,
    /// The family `ngrams`.
    #[serde(default)]
    pub ngrams: NgramsConfig,
    /// `ratings/agiqa3k.csv`: what people thought of pictures.
    pub ratings: Option<PathBuf>,
    /// Resamples of the bootstrap.
    #[serde(default = "two_thousand")]
    pub resamples: usize,
}

/// A half of the targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Half {
    /// For the reward that training is paid.
    A,
    /// For the reward that guards it.
    B,
}

/// Texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Pairs of `promptist data pairs --keep-exact` to fit on.
    pub train: PathBuf,
    /// Pairs of other targets, for the calibration.
    pub validation: PathBuf,
    /// Pairs of yet other targets, for the report.
    pub test: PathBuf,
    /// Plain text: what people typed without modifiers, captions. `.txt`, or `.jsonl` with the field `text`.
    pub plain: Vec<PathBuf>,
    /// Files whose lines, and what nearly repeats them, are left out of everything.
    #[serde(default)]
    pub exclude: Vec<PathBuf>,
    /// Targets that are fitted on; all of the half if absent.
    pub max_targets: Option<usize>,
}

/// Answers beside those of people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContrastConfig {
    /// Spoilt answers a target, of kinds drawn at random.
    pub per_target: usize,
    /// How likely the model's own answers are drawn, beside 1 of every other kind; 0 leaves them out. A third of
    /// them is sampled as it explores, a third as users get them, a third is its likeliest.
    pub model_weight: f64,
}

impl Default for ContrastConfig {
    fn default() -> Self {
        Self { per_target: 4, model_weight: 6.0 }
    }
}

/// The head on the trunk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeadConfig {
    /// Units of its one hidden layer.
    pub hidden: usize,
    /// Passes over the examples.
    pub epochs: usize,
    /// Examples an update.
    pub batch_size: usize,
    /// Adam's step width, decaying linearly.
    pub learning_rate: f64,
    /// Decoupled.
    pub weight_decay: f64,
}

impl Default for HeadConfig {
    fn default() -> Self {
        Self { hidden: 32, epochs: 10, batch_size: 64, learning_rate: 2e-3, weight_decay: 0.1 }
    }
}

/// The linear model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NgramsConfig {
    /// Passes over the examples.
    pub epochs: usize,
    /// AdaGrad's step width.
    pub learning_rate: f64,
    /// Weight of the sum of squares.
    pub l2: f64,
}

impl Default for NgramsConfig {
    fn default() -> Self {
        Self { epochs: 8, learning_rate: 0.05, l2: 1e-3 }
    }
}

impl RewardFitConfig {
    /// The config with `folder` in the place of `../shared/data`.
    pub fn with_data_folder(mut self, folder: &Path) -> Self {
        let data = &mut self.data;
        let mut paths = vec![&mut data.train, &mut data.validation, &mut data.test];
        paths.extend(data.plain.iter_mut().chain(&mut data.exclude).chain(&mut self.ratings));
        move_to_data_folder(paths, folder);
        self
    }
}

impl ConfigFile for RewardFitConfig {
    fn check(&self) -> Result<()> {
        let rule = |key: &str, holds: bool, reason: &str| match holds {
            true => Ok(()),
            false => Err(Error::config(key, reason)),
        };
        rule("data.plain", !self.data.plain.is_empty(), "give at least one file")?;
        rule("data.max_targets", self.data.max_targets.is_none_or(|max| max >= 100), "must be at least 100")?;
        rule("contrast.per_target", (1..=20).contains(&self.contrast.per_target), "must be in 1..=20")?;
        let weight = self.contrast.model_weight;
        rule("contrast.model_weight", weight.is_finite() && weight >= 0.0, "must be a number from 0 up")?;
        rule("trunk.hidden", (1..=1024).contains(&self.trunk.hidden), "must be in 1..=1024")?;
        rule("trunk.batch_size", self.trunk.batch_size >= 1, "must be at least 1")?;
        rule("resamples", self.resamples >= 1, "must be at least 1")?;
        for (key, value) in [
            ("trunk.learning_rate", self.trunk.learning_rate),
            ("ngrams.learning_rate", self.ngrams.learning_rate),
        ] {
            rule(key, value.is_finite() && value > 0.0, "must be above 0")?;
        }
        for (key, value) in [("trunk.weight_decay", self.trunk.weight_decay), ("ngrams.l2", self.ngrams.l2)] {
            rule(key, value.is_finite() && value >= 0.0, "must be a number from 0 up")?;
        }
        Ok(())
    }
}

fn one() -> u64 {
    1
}

fn two_thousand() -> usize {
    2000
}

fn mini() -> String {
    crate::model_source::MINI.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_configs_fit_two_families_on_two_halves() {
        let read = |text| RewardFitConfig::from_toml(text).expect("a good file");
        let paid = read(include_str!("../../../../../configs/reward.toml"));
        let held_out = read(include_str!("../../../../../configs/reward-heldout.toml"));
        assert_eq!((paid.family, paid.half), (Family::Trunk, Half::A));
        assert_eq!((held_out.family, held_out.half), (Family::Ngrams, Half::B));
        assert_ne!(paid.seed, held_out.seed);
        let written = paid.to_toml().expect("plain values");
        assert_eq!(RewardFitConfig::from_toml(&written).expect("own output"), paid);
        let moved = paid.with_data_folder(Path::new("/data"));
        assert_eq!(moved.ratings.as_deref(), Some(Path::new("/data/ratings/agiqa3k.csv")));
    }

    #[test]
    fn unknown_keys_and_impossible_values_are_named() {
        let good = include_str!("../../../../../configs/reward.toml");
        for (from, to, key) in [
            ("seed =", "sed =", "sed"),
            ("per_target = 4", "per_target = 0", "contrast.per_target"),
            ("hidden = 32", "hidden = 0", "trunk.hidden"),
            ("half = \"a\"", "half = \"c\"", "half"),
        ] {
            assert!(good.contains(from), "{from}");
            let error = RewardFitConfig::from_toml(&good.replacen(from, to, 1)).expect_err(key).to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
