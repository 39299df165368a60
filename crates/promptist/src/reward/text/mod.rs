//! A reward for when no image model is at hand: is this what somebody who knows image models would write for
//! this input?
//!
//! It is a proxy. It never sees a picture; [`crate::train::reward`] fits it on what people wrote, against what
//! they would not, and its card says how it goes with what people think of pictures.
//!
//! ```text
//! pair -> additions -> trunk + head, or hashed words -> log-odds -> calibrated -> 4 · tanh(log-odds / 4)
//! ```
//!
//! The score is about the pair, so nothing is subtracted for x: an unchanged input is among what it is fitted
//! against and lies at the bottom of the range whatever the input is. Whether the user's words are still there is
//! not asked here: see [`Retention`](super::Retention).

pub mod additions;
pub mod folder;
pub mod mlp;
pub mod ngrams;
pub mod trunk;

use serde::{Deserialize, Serialize};

use self::additions::AddedText;
use self::mlp::Mlp;
use self::ngrams::Linear;
use self::trunk::Trunk;
use super::{Pair, Reward};
use crate::error::Result;
use crate::generator::Cancel;

/// Scores lie within this on either side of 0: beyond log-odds of four there is nothing to be had.
pub const LIMIT: f64 = 4.0;

/// Pairs scored between two looks at the cancel flag.
const CHUNK: usize = 64;

/// A fitted text reward.
pub struct TextReward {
    pub(crate) scorer: Scorer,
    pub(crate) calibration: Calibration,
    pub(crate) info: RewardInfo,
}

/// The kind of model that scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// A small network on the hidden states and likelihoods of a frozen prompter.
    Trunk,
    /// A linear model on hashed words.
    Ngrams,
}

/// What `reward.json` says beside how to score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardInfo {
    /// The kind of model.
    pub family: Family,
    /// What it was fitted on: `a` or `b`.
    pub half: String,
    /// The seed that it was fitted with.
    pub seed: u64,
    /// SHA-256 of the weights that the trunk was copied from; none without a trunk.
    pub trunk_sha256: Option<String>,
    /// What the trunk was called; none without a trunk.
    pub trunk_name: Option<String>,
}

/// `a · z + b`: what makes log-odds of a model's number (Platt 1999).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Slope.
    pub a: f64,
    /// Offset.
    pub b: f64,
}

/// A fitted model.
pub(crate) enum Scorer {
    Trunk { trunk: Box<Trunk>, head: Mlp },
    Ngrams(Linear),
}

impl Scorer {
    /// The model's number for each pair, before calibration.
    pub(crate) fn raw(&self, added: &[AddedText]) -> Result<Vec<f64>> {
        match self {
            Self::Trunk { trunk, head } => {
                Ok(trunk.features(added)?.iter().map(|features| head.forward(features)).collect())
            }
            Self::Ngrams(linear) => {
                Ok(added.iter().map(|added| linear.forward(&ngrams::features(added))).collect())
            }
        }
    }
}

impl TextReward {
    /// Calibrated log-odds that a pair is a person's, where as many are as are not.
    ///
    /// # Errors
    /// [`Error::Tokenizer`](crate::Error::Tokenizer), [`Error::NotFinite`](crate::Error::NotFinite).
    pub fn log_odds(&self, pairs: &[Pair]) -> Result<Vec<f64>> {
        let added: Vec<AddedText> = pairs.iter().map(AddedText::of).collect();
        let raw = self.scorer.raw(&added)?;
        Ok(raw.into_iter().map(|z| self.calibration.a * z + self.calibration.b).collect())
    }

    /// What it is and was fitted on.
    pub fn info(&self) -> &RewardInfo {
        &self.info
    }
}

/// Scores in `(-LIMIT, LIMIT)`.
impl Reward for TextReward {
    fn score(&self, pairs: &[Pair], cancel: &Cancel) -> Result<Vec<Result<f64, String>>> {
        let mut scores = Vec::with_capacity(pairs.len());
        for pairs in pairs.chunks(CHUNK) {
            cancel.check()?;
            scores.extend(self.log_odds(pairs)?.into_iter().map(|log_odds| Ok(bounded(log_odds))));
        }
        Ok(scores)
    }
}

/// `4 · tanh(log-odds / 4)`: the log-odds about 0, never beyond [`LIMIT`].
pub fn bounded(log_odds: f64) -> f64 {
    LIMIT * (log_odds / LIMIT).tanh()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_log_odds_about_zero_and_bounded_far_out() {
        assert!((bounded(0.1) - 0.1).abs() < 1e-4);
        assert!(bounded(50.0) <= LIMIT && bounded(-50.0) >= -LIMIT);
        assert!(bounded(3.0) < bounded(4.0));
    }
}
