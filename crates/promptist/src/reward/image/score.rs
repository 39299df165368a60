//! The reward of one pair from the scores of its images: pure arithmetic.

use serde::Serialize;

use super::relevance::relevance;
use crate::error::{Error, Result};

/// What one pair's images were found to be.
#[derive(Debug, Clone, Copy)]
pub struct ImageScores<'a> {
    /// Of each image of the adapted prompt, with the user's input.
    pub clip_cosine: &'a [f32],
    /// Of each image of the adapted prompt.
    pub aesthetic: &'a [f32],
    /// Of each image of the user's input.
    pub aesthetic_baseline: &'a [f32],
    /// How the two sets of images belong together.
    pub noise: Noise,
}

/// Whether images of two prompts start from the same noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noise {
    /// Image j of both prompts has the same seed, so that what luck does to both drops out of differences.
    Paired,
    /// The generator takes no seeds.
    Independent,
}

/// The reward of a pair and its parts: `score = aesthetic_gain + relevance`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Score {
    /// `mean over j of [A(y_j) − mean A(x) + relevance(x, y_j)]`.
    pub score: f32,
    /// Of `score`, over images; none for fewer than two.
    pub standard_error: Option<f32>,
    /// `mean over j of min(20 · max(cos(x, y_j), 0) − 5.6, 0)`.
    pub relevance: f32,
    /// `mean A(y) − mean A(x)`.
    pub aesthetic_gain: f32,
}

impl Score {
    /// Adds up the reward.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is no image or a number of one set has no partner; [`Error::NotFinite`].
    ///
    /// # Source
    /// Hao et al. 2023, section 2.2; `get_score_batched` in the released `ppo_prompter.py`.
    pub fn of(images: ImageScores<'_>) -> Result<Self> {
        let ImageScores { clip_cosine, aesthetic, aesthetic_baseline, noise } = images;
        let count = aesthetic.len();
        let is_paired = noise == Noise::Paired;
        if count == 0
            || clip_cosine.len() != count
            || aesthetic_baseline.is_empty()
            || (is_paired && aesthetic_baseline.len() != count)
        {
            return Err(Error::Shape(format!(
                "scores of {count} images, cosines of {}, baseline of {}",
                clip_cosine.len(),
                aesthetic_baseline.len()
            )));
        }
        let relevances: Vec<f64> = clip_cosine.iter().map(|&cosine| f64::from(relevance(cosine))).collect();
        let gained: Vec<f64> =
            aesthetic.iter().zip(&relevances).map(|(&aesthetic, r)| f64::from(aesthetic) + r).collect();
        let baseline: Vec<f64> = aesthetic_baseline.iter().copied().map(f64::from).collect();
        let score = mean(&gained) - mean(&baseline);
        if !score.is_finite() {
            return Err(Error::NotFinite(format!("the reward of aesthetic scores {aesthetic:?}")));
        }
        let variance = if is_paired {
            let differences: Vec<f64> = gained.iter().zip(&baseline).map(|(y, x)| y - x).collect();
            variance_of_mean(&differences)
        } else {
            variance_of_mean(&gained).zip(variance_of_mean(&baseline)).map(|(y, x)| y + x)
        };
        let relevance = mean(&relevances);
        Ok(Self {
            score: score as f32,
            standard_error: variance.map(|variance| variance.sqrt() as f32),
            relevance: relevance as f32,
            aesthetic_gain: (score - relevance) as f32,
        })
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Unbiased; none for fewer than two values.
fn variance_of_mean(values: &[f64]) -> Option<f64> {
    let (count, mean) = (values.len() as f64, mean(values));
    (values.len() > 1)
        .then(|| values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0) / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(clip_cosine: &[f32], aesthetic: &[f32], baseline: &[f32], noise: Noise) -> Result<Score> {
        Score::of(ImageScores { clip_cosine, aesthetic, aesthetic_baseline: baseline, noise })
    }

    #[test]
    fn the_released_formula() {
        // Computed with its lines in Python, in f64:
        //   mean(a - mean(abar) + (0 if c > 0.28 else 20 * max(c, 0) - 5.6) for a, c in zip(aesthetic, cosine))
        for (cosine, aesthetic, baseline, expected) in [
            (&[0.3_f32, 0.25][..], &[6.1_f32, 5.9][..], &[5.0_f32, 5.4][..], 0.5),
            (&[-0.2, 0.0], &[5.0, 5.0], &[5.0, 5.0], -5.6),
            (&[0.28, 0.2801], &[4.5, 5.5], &[5.25, 5.75], -0.5),
            (&[0.31], &[7.0], &[5.5], 1.5),
        ] {
            let found = score(cosine, aesthetic, baseline, Noise::Paired).expect("a score");
            assert!((found.score - expected).abs() < 1e-6, "{found:?} for {expected}");
            assert!((found.aesthetic_gain + found.relevance - found.score).abs() < 1e-6, "{found:?}");
        }
    }

    #[test]
    fn paired_noise_drops_out_of_the_error() {
        let (cosine, aesthetic, baseline) = ([0.3, 0.3], [6.0, 4.0], [5.0, 3.0]);
        let paired = score(&cosine, &aesthetic, &baseline, Noise::Paired).expect("a score");
        assert_eq!(paired.standard_error, Some(0.0));
        let independent = score(&cosine, &aesthetic, &baseline, Noise::Independent).expect("a score");
        // Each mean has a variance of 2 / 2.
        assert!((independent.standard_error.expect("two images") - 2.0_f32.sqrt()).abs() < 1e-6);
        assert_eq!(paired.score, independent.score);
        assert_eq!(score(&[0.3], &[6.0], &[5.0], Noise::Paired).expect("a score").standard_error, None);
    }

    #[test]
    fn what_does_not_fit_together_is_an_error() {
        assert!(matches!(score(&[], &[], &[], Noise::Paired), Err(Error::Shape(_))));
        assert!(matches!(score(&[0.3], &[5.0], &[5.0, 5.0], Noise::Paired), Err(Error::Shape(_))));
        assert!(matches!(score(&[0.3], &[5.0, 6.0], &[5.0, 6.0], Noise::Paired), Err(Error::Shape(_))));
        assert!(matches!(score(&[0.3], &[f32::NAN], &[5.0], Noise::Paired), Err(Error::NotFinite(_))));
    }
}
