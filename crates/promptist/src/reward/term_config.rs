//! A term of the reward as a config names it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::http::HttpRewardSettings;
use crate::checksums;
use crate::error::{Error, Result};

/// One `[[reward]]` or `[[held_out]]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TermConfig {
    /// What metrics and samples call it.
    pub name: String,
    /// Who scores.
    pub kind: TermKind,
    /// What its score is multiplied with; below 0 for a charge. Held-out measures have none.
    #[serde(default = "one")]
    pub weight: f64,
    /// Of `text`: the folder that `promptist train reward` made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
    /// Of `image` and `pick_score`: a config as `promptist score` takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<PathBuf>,
    /// Of `http`: servers that speak OpenRLHF's reward contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpRewardSettings>,
    /// Of `phrase`: what an adapted prompt has to end with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phrase: Option<String>,
}

/// Who scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TermKind {
    /// A text regressor: a proxy for images.
    Text,
    /// The paper's reward, through images.
    Image,
    /// How much PickScore prefers the images of the adapted prompt to those of the input.
    PickScore,
    /// A server.
    Http,
    /// The share of the input's content words that the adapted prompt keeps, 0 to 1.
    Retention,
    /// 1 for a degenerate text, less for one on the way there, down to 0: a charge, so its weight is below 0.
    Degenerate,
    /// 1 if the adapted prompt ends with a phrase and keeps the input's content words, else 0: a reward whose
    /// best is known, to see a training learn.
    Phrase,
}

impl TermConfig {
    /// A term of weight 1 whose kind needs nothing more.
    pub fn new(name: &str, kind: TermKind) -> Self {
        Self { name: name.to_owned(), kind, weight: 1.0, model: None, config: None, http: None, phrase: None }
    }

    /// [`check`](Self::check) of each of `terms`, and that no name stands twice.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key.
    pub fn check_all(terms: &[Self], key: &str) -> Result<()> {
        for (idx, term) in terms.iter().enumerate() {
            term.check(key)?;
            if terms[..idx].iter().any(|earlier| earlier.name == term.name) {
                return Err(Error::config(format!("{key}.{}", term.name), "stands twice"));
            }
        }
        Ok(())
    }

    /// Of what it is opened from: a fitted reward's files, the config of a reward through images; none of any other.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sha256(&self) -> Result<Option<String>> {
        let Some(folder) = &self.model else {
            return self.config.as_deref().map(checksums::sha256_of).transpose();
        };
        let in_run = folder.join("model").join(checksums::SHA256SUMS);
        let sums = if in_run.is_file() { in_run } else { folder.join(checksums::SHA256SUMS) };
        checksums::sha256_of(&sums).map(Some)
    }

    /// Whether the keys that its kind needs are there, and no others; `key` is the table's name.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key.
    pub fn check(&self, key: &str) -> Result<()> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if self.name.is_empty() || !self.name.chars().all(is_word) {
            let reason = format!("must be letters, digits, _ and -, is {:?}", self.name);
            return Err(Error::config(format!("{key}.name"), reason));
        }
        if !self.weight.is_finite() || self.weight == 0.0 {
            return Err(Error::config(
                format!("{key}.{}.weight", self.name),
                "must be a number other than 0",
            ));
        }
        let images = matches!(self.kind, TermKind::Image | TermKind::PickScore);
        for (name, is_there, is_needed) in [
            ("model", self.model.is_some(), self.kind == TermKind::Text),
            ("config", self.config.is_some(), images),
            ("http", self.http.is_some(), self.kind == TermKind::Http),
            ("phrase", self.phrase.is_some(), self.kind == TermKind::Phrase),
        ] {
            if is_there != is_needed {
                let rule = if is_needed { "is needed by this kind" } else { "does not go with this kind" };
                return Err(Error::config(format!("{key}.{}.{name}", self.name), rule));
            }
        }
        Ok(())
    }
}

fn one() -> f64 {
    1.0
}
