//! `configs/compare.toml`: a prompter before and after a training, on what, and who judges. Paths are relative to
//! the working directory.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config_file::{ConfigFile, move_to_data_folder};
use crate::decoding::RawDecodingSettings;
use crate::error::{Error, Result};
use crate::eval::config::{EvalConfig, SetConfig};
use crate::reward::TermConfig;
use crate::train::reward::config::Half;

/// A comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompareConfig {
    /// The prompter before: `mini`, a folder, a Hub id.
    pub before: String,
    /// The prompters after: one for each seed of the training.
    pub after: Vec<String>,
    /// Seeds the bootstrap and the choice of samples.
    #[serde(default = "one")]
    pub seed: u64,
    /// Inputs decoded together. Changes speed and memory, not the answers.
    #[serde(default = "sixteen")]
    pub batch_size: usize,
    /// Inputs whose answers are printed, before and after side by side, not picked.
    #[serde(default = "twenty")]
    pub samples: usize,
    /// Resamples of the bootstrap.
    #[serde(default = "ten_thousand")]
    pub resamples: usize,
    /// Artists' names, one a line; where the file is missing, the embedded list alone is used.
    pub artists: Option<PathBuf>,
    /// Over the models' own settings.
    #[serde(default)]
    pub decoding: RawDecodingSettings,
    /// Prompts to adapt.
    pub sets: Vec<SetConfig>,
    /// Rewards, those trained on and those held out.
    #[serde(default)]
    pub reward: Vec<TermConfig>,
    /// Judges of another family than the rewards.
    #[serde(default)]
    pub judges: JudgesConfig,
}

/// Judges that no reward is made of.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JudgesConfig {
    /// Engineered prompts that people wrote, for an n-gram model: `.txt`, or `.jsonl` with the field `text`.
    pub human_text: Vec<PathBuf>,
    /// The half of them that it reads, as `train reward` halves them; all if absent.
    pub half: Option<Half>,
    /// `ratings/agiqa3k.csv`, for the regression on words.
    pub ratings: Option<PathBuf>,
}

impl CompareConfig {
    /// Whether the text of a config asks for a comparison and not for an evaluation.
    pub fn is_asked_for_by(text: &str) -> bool {
        text.parse::<toml::Table>().is_ok_and(|table| table.contains_key("before"))
    }

    /// The config with `folder` in the place of `../shared/data`.
    pub fn with_data_folder(mut self, folder: &Path) -> Self {
        let sets = self.sets.iter_mut().map(|set| &mut set.path);
        let judges = self.judges.human_text.iter_mut().chain(&mut self.judges.ratings);
        move_to_data_folder(sets.chain(&mut self.artists).chain(judges), folder);
        self
    }

    /// The evaluation of one of the models.
    pub fn evaluation(&self, model: &str) -> EvalConfig {
        EvalConfig {
            model: model.to_owned(),
            seed: self.seed,
            batch_size: self.batch_size,
            samples: self.samples,
            artists: self.artists.clone(),
            decoding: self.decoding.clone(),
            sets: self.sets.clone(),
            fit: None,
            diversity: None,
            categories: None,
            likelihood: None,
        }
    }
}

impl ConfigFile for CompareConfig {
    fn check(&self) -> Result<()> {
        self.evaluation(&self.before).check()?;
        let rule = |key: &str, holds: bool, reason: &str| match holds {
            true => Ok(()),
            false => Err(Error::config(key, reason)),
        };
        rule("after", !self.after.is_empty(), "give at least one model")?;
        rule("resamples", self.resamples >= 1, "must be at least 1")?;
        TermConfig::check_all(&self.reward, "reward")
    }
}

fn one() -> u64 {
    1
}

fn sixteen() -> usize {
    16
}

fn twenty() -> usize {
    20
}

fn ten_thousand() -> usize {
    10_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMITTED: &str = include_str!("../../../../../configs/compare.toml");

    #[test]
    fn the_committed_config_judges_in_and_out_of_domain() {
        assert!(CompareConfig::is_asked_for_by(COMMITTED));
        assert!(!CompareConfig::is_asked_for_by(include_str!("../../../../../configs/eval-mini.toml")));
        let config = CompareConfig::from_toml(COMMITTED).expect("a good file");
        assert_eq!((config.after.len(), config.reward.len()), (3, 2));
        assert!(config.judges.ratings.is_some() && !config.judges.human_text.is_empty());
        let written = config.to_toml().expect("plain values");
        assert_eq!(CompareConfig::from_toml(&written).expect("own output"), config);
        let moved = config.with_data_folder(Path::new("/data"));
        assert_eq!(moved.judges.ratings.as_deref(), Some(Path::new("/data/ratings/agiqa3k.csv")));
    }

    #[test]
    fn impossible_values_are_named() {
        for (from, to, key) in [
            ("seed = 1", "sed = 1", "sed"),
            ("resamples = 10000", "resamples = 0", "resamples"),
            ("after = [", "after = []\nlater = [", "later"),
            ("name = \"held_out\"", "name = \"text\"", "reward.text"),
        ] {
            assert!(COMMITTED.contains(from), "{from}");
            let error =
                CompareConfig::from_toml(&COMMITTED.replacen(from, to, 1)).expect_err(key).to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
