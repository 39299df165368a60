//! The tables that switch measures on.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::train::reward::config::Half;

/// Measures through images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImagesConfig {
    /// Who makes and who judges them: a config of `promptist score`, whose cache is shared.
    pub config: PathBuf,
    /// Whether the images are kept in the run's folder too, as links where the file system can. Without, rows
    /// point into the cache.
    #[serde(default = "yes")]
    pub keep: bool,
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

/// Whether the inputs stand in what was trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeakageConfig {
    /// What the systems were trained on: `.txt`, or `.jsonl` with the field `text`, or with `x` and `y`.
    pub training: Vec<PathBuf>,
}

/// See [`fit`](crate::eval::fit).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FitConfig {}

/// See [`diversity`](crate::eval::diversity).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiversityConfig {
    /// Groups of diverse beam search, and candidates of an input.
    #[serde(default = "eight")]
    pub groups: usize,
    /// What a group pays for a token that an earlier one chose.
    #[serde(default = "one")]
    pub diversity_penalty: f64,
    /// The first inputs of each set only; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// See [`categories`](crate::eval::categories).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CategoriesConfig {
    /// Inputs that ask for landscapes, one a line.
    pub landscape: PathBuf,
    /// Inputs that ask for portraits, one a line.
    pub portrait: PathBuf,
}

/// See [`likelihood`](crate::eval::likelihood).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LikelihoodConfig {
    /// Held-out pairs: `.jsonl` with `x` and `y`.
    pub targets: PathBuf,
    /// The model before supervised fine-tuning: a folder or a Hub id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_sft: Option<String>,
    /// The text that the language model was trained on, `.txt` or `.jsonl` with the field `text`:
    /// for the 5-gram model, and for words that occur nowhere in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ngram_text: Vec<PathBuf>,
    /// The first pairs only; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

fn yes() -> bool {
    true
}

fn one() -> f64 {
    1.0
}

fn eight() -> usize {
    8
}
