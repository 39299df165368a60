//! What `promptist score` is told: who makes the images and who judges them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config_file::{ConfigFile, move_to_data_folder};
use crate::error::{Error, Result};
use crate::generator::ImageSettings;
use crate::generator::http::HttpSettings;

/// Who makes the images, how, and who judges them. Defaults are the released code's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardConfig {
    /// A folder or Hub id of Stable Diffusion, or kind+URL of servers, as after `generate --generator`.
    pub generator: String,
    /// The CLIP model: a folder or Hub id.
    #[serde(default = "default_clip")]
    pub clip: String,
    /// The aesthetic head for that CLIP model.
    pub aesthetic: PathBuf,
    /// A second judge that no reward is made of: a folder or Hub id of PickScore.
    #[serde(default)]
    pub pick_score: Option<String>,
    /// P: images of each prompt. The released code makes 2, the paper 3.
    #[serde(default = "default_images_per_prompt")]
    pub images_per_prompt: usize,
    /// Image j of every prompt has `seed + j`.
    #[serde(default)]
    pub seed: u64,
    /// How images are made.
    #[serde(default)]
    pub images: ImageSettings,
    /// Where they are kept.
    #[serde(default)]
    pub cache: CacheConfig,
    /// How servers are asked, if the generator is any.
    #[serde(default)]
    pub servers: HttpSettings,
}

/// Where images and features are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// A folder; if absent, the user's cache folder.
    pub folder: Option<PathBuf>,
    /// What it may grow to, in GiB. Those read longest ago go first.
    pub max_gib: f64,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { folder: None, max_gib: 20.0 }
    }
}

impl CacheConfig {
    /// The bound in bytes.
    pub fn max_bytes(&self) -> u64 {
        (self.max_gib * f64::from(1 << 30)) as u64
    }
}

impl RewardConfig {
    /// Reads what lies in `../shared/data` from another folder.
    #[must_use]
    pub fn with_data_folder(mut self, folder: &Path) -> Self {
        move_to_data_folder([&mut self.aesthetic], folder);
        self
    }
}

impl ConfigFile for RewardConfig {
    fn check(&self) -> Result<()> {
        if self.images_per_prompt == 0 || self.images_per_prompt > 100 {
            return Err(Error::config("images_per_prompt", "must be from 1 to 100"));
        }
        if self.seed.checked_add(self.images_per_prompt as u64).is_none() {
            return Err(Error::config("seed", "seed + images_per_prompt leaves 64 bits"));
        }
        if self.generator.trim().is_empty() {
            return Err(Error::config("generator", "is empty"));
        }
        if !(self.cache.max_gib > 0.0 && self.cache.max_gib.is_finite()) {
            return Err(Error::config("cache.max_gib", "must be a number above 0"));
        }
        self.images.check()
    }
}

fn default_clip() -> String {
    "openai/clip-vit-large-patch14".to_owned()
}

fn default_images_per_prompt() -> usize {
    2
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn three_lines_are_enough() {
        let config = RewardConfig::from_toml("generator = \"sd\"\naesthetic = \"head.pth\"").unwrap();
        assert_eq!(config.images_per_prompt, 2);
        assert_eq!(config.images.num_inference_steps, 20);
        assert_eq!(RewardConfig::from_toml(&config.to_toml().unwrap()).unwrap(), config);
    }

    #[test]
    fn the_example_holds_the_defaults() {
        let config = RewardConfig::from_toml(include_str!("../../../../../configs/score.toml")).unwrap();
        assert_eq!(config.images, ImageSettings::default());
        assert_eq!(config.cache, CacheConfig::default());
        assert_eq!(config.servers, HttpSettings::default());
        assert_eq!((config.clip, config.images_per_prompt, config.seed), (default_clip(), 2, 0));
    }

    #[test]
    fn the_paper_s_example_takes_the_paper_s_number_of_images_and_a_second_judge() {
        let config =
            RewardConfig::from_toml(include_str!("../../../../../configs/score-paper.toml")).unwrap();
        assert_eq!((config.images_per_prompt, &config.images), (3, &ImageSettings::default()));
        assert!(config.pick_score.is_some());
        let moved = config.with_data_folder(Path::new("/data"));
        assert!(moved.aesthetic.starts_with("/data/heads"), "{}", moved.aesthetic.display());
    }

    #[test]
    fn impossible_settings_are_named() {
        let base = "generator = \"sd\"\naesthetic = \"head.pth\"\n";
        for (line, named) in [
            ("images_per_prompt = 0", "images_per_prompt"),
            ("[images]\nwidth = 500", "width"),
            ("[cache]\nmax_gib = 0.0", "cache.max_gib"),
            ("[servers]\ntries = 3", "tries"),
            ("seeds = 3", "seeds"),
        ] {
            let error = RewardConfig::from_toml(&format!("{base}{line}")).unwrap_err().to_string();
            assert!(error.contains(named), "{line}: {error}");
        }
    }
}
