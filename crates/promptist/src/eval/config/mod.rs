//! `configs/eval.toml`: which systems are measured, on what, by what. Paths are relative to the working directory.
//!
//! `system` is who adapts, `set` what they are given, `measure` what is asked of the results.

mod measure;
mod set;
mod system;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::measure::{
    CategoriesConfig, DiversityConfig, FitConfig, ImagesConfig, JudgesConfig, LeakageConfig, LikelihoodConfig,
};
pub use self::set::{Domain, SetConfig};
pub use self::system::{OpenAiSettings, SystemConfig, SystemKind};
use crate::config_file::{ConfigFile, move_to_data_folder};
use crate::error::{Error, Result};
use crate::reward::{TermConfig, TermKind};

/// An evaluation: systems x sets x measures. Measures whose table is absent are not made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalConfig {
    /// Seeds bootstrap, permutations, random other inputs and the choice of samples.
    #[serde(default = "one")]
    pub seed: u64,
    /// Inputs adapted together. Changes speed and memory, not the answers.
    #[serde(default = "sixteen")]
    pub batch_size: usize,
    /// Inputs printed with all their answers, not picked.
    #[serde(default = "twenty")]
    pub samples: usize,
    /// Resamples of the bootstrap.
    #[serde(default = "ten_thousand")]
    pub resamples: usize,
    /// Random signs of the permutation test.
    #[serde(default = "ten_thousand")]
    pub permutations: usize,
    /// The system that the others are held against; the first of kind `input` if absent, else the first.
    pub baseline: Option<String>,
    /// Whose tokens a prompt's length is counted in: see [`Target::open`](crate::target::Target::open).
    #[serde(default = "stable_diffusion")]
    pub target: String,
    /// Artists' names, one a line; where the file is missing, the embedded list alone is used.
    pub artists: Option<PathBuf>,
    /// Who adapts.
    pub systems: Vec<SystemConfig>,
    /// Prompts to adapt.
    pub sets: Vec<SetConfig>,
    /// The reward through images, its parts, and PickScore.
    pub images: Option<ImagesConfig>,
    /// Rewards that read text and see no picture: proxies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reward: Vec<TermConfig>,
    /// Judges of another family than the rewards.
    pub judges: Option<JudgesConfig>,
    /// Whether the sets were trained on.
    pub leakage: Option<LeakageConfig>,
    /// Whether additions fit their inputs. Of systems with a model.
    pub fit: Option<FitConfig>,
    /// Whether several answers to one input differ. Of systems with a model.
    pub diversity: Option<DiversityConfig>,
    /// Whether additions depend on what is asked for. Of systems with a model.
    pub categories: Option<CategoriesConfig>,
    /// Bits per byte of held-out prompts. Of systems with a model.
    pub likelihood: Option<LikelihoodConfig>,
}

impl EvalConfig {
    /// The system that the others are held against.
    pub fn baseline(&self) -> &str {
        let given = self.baseline.as_deref();
        let as_it_is = || self.systems.iter().find(|system| system.kind == SystemKind::Input);
        let other = || as_it_is().or(self.systems.first()).map(|system| system.name.as_str());
        given.or_else(other).unwrap_or_default()
    }

    /// The config with `folder` in the place of `../shared/data`.
    pub fn with_data_folder(mut self, folder: &Path) -> Self {
        let mut paths: Vec<&mut PathBuf> = self.sets.iter_mut().map(|set| &mut set.path).collect();
        paths.extend(&mut self.artists);
        paths.extend(self.systems.iter_mut().filter_map(|system| system.path.as_mut()));
        if let Some(judges) = &mut self.judges {
            paths.extend(judges.human_text.iter_mut().chain(&mut judges.ratings));
        }
        if let Some(leakage) = &mut self.leakage {
            paths.extend(&mut leakage.training);
        }
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
        for (key, count) in [
            ("batch_size", self.batch_size),
            ("resamples", self.resamples),
            ("permutations", self.permutations),
        ] {
            rule(key, count >= 1, "must be at least 1")?;
        }
        rule("systems", !self.systems.is_empty(), "give at least one")?;
        rule("sets", !self.sets.is_empty(), "give at least one")?;
        unique("systems.name", self.systems.iter().map(|system| system.name.as_str()))?;
        unique("sets.name", self.sets.iter().map(|set| set.name.as_str()))?;
        self.systems.iter().try_for_each(SystemConfig::check)?;
        self.sets.iter().try_for_each(SetConfig::check)?;
        if let Some(baseline) = &self.baseline {
            let is_known = self.systems.iter().any(|system| system.name == *baseline);
            rule("baseline", is_known, "names no system")?;
        }
        TermConfig::check_all(&self.reward, "reward")?;
        for term in &self.reward {
            let sees_images = matches!(term.kind, TermKind::Image | TermKind::PickScore);
            let reason = "images are measured by [images]: proxies and images share no table";
            rule(&format!("reward.{}.kind", term.name), !sees_images, reason)?;
        }
        if let Some(leakage) = &self.leakage {
            rule("leakage.training", !leakage.training.is_empty(), "give at least one file")?;
        }
        if let Some(diversity) = &self.diversity {
            rule("diversity.groups", diversity.groups >= 2, "must be at least 2")?;
            rule("diversity.limit", diversity.limit != Some(0), "must be at least 1")?;
        }
        let needs_model = [
            ("fit", self.fit.is_some()),
            ("diversity", self.diversity.is_some()),
            ("categories", self.categories.is_some()),
            ("likelihood", self.likelihood.is_some()),
        ];
        let has_model = self.systems.iter().any(|system| system.kind == SystemKind::Model);
        for (key, is_there) in needs_model {
            rule(key, !is_there || has_model, "needs a system of kind `model`")?;
        }
        Ok(())
    }
}

/// Names are parts of file names and of row ids, so they are plain words and differ.
fn unique<'a>(key: &str, names: impl Iterator<Item = &'a str>) -> Result<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    let mut seen = Vec::new();
    for name in names {
        if name.is_empty() || !name.chars().all(is_plain) {
            return Err(Error::config(key, format!("must be letters, digits, _ and -, is {name:?}")));
        }
        // Some file systems do not tell cases apart.
        let folded = name.to_ascii_lowercase();
        if seen.contains(&folded) {
            return Err(Error::config(key, format!("`{name}` stands twice")));
        }
        seen.push(folded);
    }
    Ok(())
}

fn stable_diffusion() -> String {
    "sd15".to_owned()
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
mod tests;
