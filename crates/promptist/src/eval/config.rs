//! `configs/eval-mini.toml`: what is measured, on what. Paths are relative to the working directory.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config_file::{ConfigFile, move_to_data_folder};
use crate::decoding::RawDecodingSettings;
use crate::error::{Error, Result};

/// An evaluation. Parts that are absent are not measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalConfig {
    /// What is measured: `mini`, a folder, a Hub id.
    pub model: String,
    /// Seeds random others, bootstrap and the choice of samples.
    #[serde(default = "one")]
    pub seed: u64,
    /// Inputs decoded together. Changes speed and memory, not the answers.
    #[serde(default = "sixteen")]
    pub batch_size: usize,
    /// Outputs printed in the report, not picked.
    #[serde(default = "twenty")]
    pub samples: usize,
    /// Artists' names, one a line; where the file is missing, the embedded list alone is used.
    pub artists: Option<PathBuf>,
    /// Over the model's own settings.
    #[serde(default)]
    pub decoding: RawDecodingSettings,
    /// Prompts to adapt.
    pub sets: Vec<SetConfig>,
    /// Whether additions fit their inputs.
    pub fit: Option<FitConfig>,
    /// Whether several answers to one input differ.
    pub diversity: Option<DiversityConfig>,
    /// Whether additions depend on what is asked for.
    pub categories: Option<CategoriesConfig>,
    /// Bits per byte of held-out prompts.
    pub likelihood: Option<LikelihoodConfig>,
}

/// A prompt set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetConfig {
    /// What reports call it.
    pub name: String,
    /// `.txt`, an input a line, or `.jsonl` with the field `user_input`.
    pub path: PathBuf,
    /// The first inputs only, for a quick look; all if absent.
    pub limit: Option<usize>,
}

/// See [`super::fit`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FitConfig {
    /// Resamples of the bootstrap.
    #[serde(default = "ten_thousand")]
    pub resamples: usize,
}

/// See [`super::diversity`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiversityConfig {
    /// Groups of diverse beam search, and candidates of an input.
    #[serde(default = "eight")]
    pub groups: usize,
    /// What a group pays for a token that an earlier one chose.
    #[serde(default = "one_f64")]
    pub diversity_penalty: f64,
    /// The first inputs of each set only; all if absent.
    pub limit: Option<usize>,
}

/// See [`super::categories`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CategoriesConfig {
    /// Inputs that ask for landscapes, one a line.
    pub landscape: PathBuf,
    /// Inputs that ask for portraits, one a line.
    pub portrait: PathBuf,
}

/// See [`super::likelihood`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LikelihoodConfig {
    /// Held-out pairs: `.jsonl` with `x` and `y`.
    pub targets: PathBuf,
    /// The model before supervised fine-tuning: a folder or a Hub id.
    pub before_sft: Option<String>,
    /// The text that the language model was trained on, `.txt` or `.jsonl` with the field `text`:
    /// for the 5-gram model, and for words that occur nowhere in it.
    #[serde(default)]
    pub ngram_text: Vec<PathBuf>,
    /// The first pairs only; all if absent.
    pub limit: Option<usize>,
}

impl EvalConfig {
    /// The config with `folder` in the place of `../shared/data`.
    pub fn with_data_folder(mut self, folder: &Path) -> Self {
        let mut paths: Vec<&mut PathBuf> = self.sets.iter_mut().map(|set| &mut set.path).collect();
        paths.extend(&mut self.artists);
        if let Some(categories) = &mut self.categories {
            paths.extend([&mut categories.landscape, &mut categories.portrait]);
        }
        if let Some(likelihood) = &mut self.likelihood {
            paths.push(&mut likelihood.targets);
            paths.extend(&mut likelihood.ngram_text);
        }
        move_to_data_folder(paths, folder);
        self
    }
}

impl ConfigFile for EvalConfig {
    fn check(&self) -> Result<()> {
        let rule = |key: &str, holds: bool, reason: &str| match holds {
            true => Ok(()),
            false => Err(Error::config(key, reason)),
        };
        rule("batch_size", self.batch_size >= 1, "must be at least 1")?;
        rule("sets", !self.sets.is_empty(), "give at least one")?;
        for (idx, set) in self.sets.iter().enumerate() {
            let is_new = self.sets[..idx].iter().all(|other| other.name != set.name);
            rule("sets.name", is_new && !set.name.is_empty(), "must differ and not be empty")?;
            rule("sets.limit", set.limit != Some(0), "must be at least 1")?;
        }
        if let Some(fit) = &self.fit {
            rule("fit.resamples", fit.resamples >= 1, "must be at least 1")?;
        }
        if let Some(diversity) = &self.diversity {
            rule("diversity.groups", diversity.groups >= 2, "must be at least 2")?;
            rule("diversity.limit", diversity.limit != Some(0), "must be at least 1")?;
        }
        Ok(())
    }
}

fn one() -> u64 {
    1
}

fn one_f64() -> f64 {
    1.0
}

fn eight() -> usize {
    8
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

    const MINI: &str = include_str!("../../../../configs/eval-mini.toml");

    #[test]
    fn the_committed_config_measures_everything_on_the_three_sets() {
        let config = EvalConfig::from_toml(MINI).expect("a good file");
        let names: Vec<&str> = config.sets.iter().map(|set| set.name.as_str()).collect();
        assert_eq!(names, ["coco300", "lexica300", "parti"]);
        assert!(config.sets.iter().all(|set| set.limit.is_none()));
        assert_eq!((config.samples, config.diversity.as_ref().map(|d| d.groups)), (20, Some(8)));
        assert!(config.fit.is_some() && config.categories.is_some() && config.likelihood.is_some());
        let written = config.to_toml().expect("plain values");
        assert_eq!(EvalConfig::from_toml(&written).expect("own output"), config);
    }

    #[test]
    fn a_data_folder_moves_what_lies_in_it() {
        let config = EvalConfig::from_toml(MINI).expect("a good file");
        let landscape = config.categories.clone().map(|c| c.landscape);
        let config = config.with_data_folder(Path::new("/data"));
        assert_eq!(config.sets[0].path, Path::new("/data/eval/coco300.txt"));
        assert_eq!(config.categories.map(|c| c.landscape), landscape);
    }

    #[test]
    fn unknown_keys_and_impossible_values_are_named() {
        let sets = "[[sets]]\nname = \"a\"\npath = \"a.txt\"\n";
        for (text, key) in [
            (format!("model = \"mini\"\nmodle = 1\n{sets}"), "modle"),
            (format!("model = \"mini\"\nbatch_size = 0\n{sets}"), "batch_size"),
            (format!("model = \"mini\"\n{sets}{sets}"), "sets.name"),
            (format!("model = \"mini\"\n{sets}limit = 0\n"), "sets.limit"),
            (format!("model = \"mini\"\n[decoding]\nnum_beam = 3\n{sets}"), "num_beam"),
            (format!("model = \"mini\"\n{sets}[diversity]\ngroups = 1\n"), "diversity.groups"),
        ] {
            let error = EvalConfig::from_toml(&text).expect_err(key).to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
