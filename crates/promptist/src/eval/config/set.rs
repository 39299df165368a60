//! `[[sets]]`: prompts to adapt.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A prompt set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetConfig {
    /// What reports call it.
    pub name: String,
    /// `.txt`, an input a line, or `.jsonl`: see [`read`](crate::eval::inputs::read).
    pub path: PathBuf,
    /// Whether it is like what the systems were trained on; sets of one domain are pooled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<Domain>,
    /// The first inputs only, for a quick look; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// How a set stands to what systems were trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Domain {
    /// Like it.
    In,
    /// Unlike it.
    Out,
}

impl SetConfig {
    pub(super) fn check(&self) -> Result<()> {
        // Pools are listed beside sets.
        if ["all", "in-domain", "out-of-domain"].contains(&self.name.as_str()) {
            return Err(Error::config(
                "sets.name",
                format!("`{}` is what a pool of sets is called", self.name),
            ));
        }
        match self.limit {
            Some(0) => Err(Error::config(format!("sets.{}.limit", self.name), "must be at least 1")),
            _ => Ok(()),
        }
    }
}
