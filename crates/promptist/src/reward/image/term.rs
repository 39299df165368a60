//! The image reward as terms of what training pays and watches. Several terms share one [`ImageReward`], and
//! with it every image.

use std::sync::Arc;

use super::image_reward::{ImageReward, PairScore};
use crate::error::{Error, Result};
use crate::generator::Cancel;
use crate::progress::NoProgress;
use crate::reward::{Pair, Reward};

/// What of a pair's images counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageMeasure {
    /// The paper's reward.
    Score,
    /// `mean PickScore(y) − mean PickScore(x)`, both asked about the user's input: how much more people would
    /// choose the images. For guards: no reward is to be made of it.
    PickScoreGain,
}

/// One measure of a shared image reward.
pub struct ImageTerm {
    images: Arc<ImageReward>,
    measure: ImageMeasure,
}

impl ImageTerm {
    /// # Errors
    /// [`Error::Config`] if the measure needs a judge that `images` lacks.
    pub fn new(images: Arc<ImageReward>, measure: ImageMeasure) -> Result<Self> {
        if measure == ImageMeasure::PickScoreGain && !images.has_pick_score() {
            return Err(Error::config("pick_score", "is needed for PickScore as a held-out reward"));
        }
        Ok(Self { images, measure })
    }
}

impl ImageMeasure {
    fn of(self, score: &PairScore) -> Result<f64, String> {
        match self {
            Self::Score => Ok(f64::from(score.score.score)),
            Self::PickScoreGain => {
                let both = score.pick_score.as_deref().zip(score.pick_score_baseline.as_deref());
                let (y, x) = both.ok_or_else(|| "no PickScore".to_owned())?;
                Ok(mean(y) - mean(x))
            }
        }
    }
}

impl Reward for ImageTerm {
    /// # Errors
    /// As [`ImageReward::score`].
    fn score(&self, pairs: &[Pair], cancel: &Cancel) -> Result<Vec<Result<f64, String>>> {
        measured(&self.images, self.measure, pairs, cancel)
    }
}

/// The paper's reward, alone.
impl Reward for ImageReward {
    /// # Errors
    /// As [`ImageReward::score`].
    fn score(&self, pairs: &[Pair], cancel: &Cancel) -> Result<Vec<Result<f64, String>>> {
        measured(self, ImageMeasure::Score, pairs, cancel)
    }
}

fn measured(
    images: &ImageReward,
    measure: ImageMeasure,
    pairs: &[Pair],
    cancel: &Cancel,
) -> Result<Vec<Result<f64, String>>> {
    let mut scores = vec![Err("was not scored".to_owned()); pairs.len()];
    images.score(pairs, &NoProgress, cancel, |pair_idx, score| {
        scores[pair_idx] = score.and_then(|score| measure.of(&score));
        Ok(())
    })?;
    Ok(scores)
}

fn mean(values: &[f32]) -> f64 {
    values.iter().copied().map(f64::from).sum::<f64>() / values.len() as f64
}
