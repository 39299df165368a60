//! What an adapted prompt is worth.
//!
//! ```text
//! score   input and adapted -> generator, each -> images -> clip -> relevance + aesthetic gain -> score
//! train   input and adapted -> each term of a weighted sum -> one number for a sample
//! ```
//!
//! [`image`] is the paper's reward, [`text`] what serves where there are no images, [`http`] whatever servers
//! give; [`Retention`] and [`Degeneracy`] keep them honest. [`Reward`] is what training pays for: any term, or a
//! [`WeightedSum`] of them; a plain function is one.

pub mod http;
pub mod image;
pub mod text;

mod degenerate;
mod phrase;
mod retention;
mod term_config;
mod weighted_sum;

pub use degenerate::Degeneracy;
pub use image::{
    ImageMeasure, ImageReward, ImageScores, ImageTerm, KNEE, Noise, PairScore, RewardConfig, Score, Summary,
    relevance,
};
pub use phrase::EndsWith;
pub use retention::Retention;
pub use term_config::{TermConfig, TermKind};
pub use text::TextReward;
pub use weighted_sum::{Term, TermScores, WeightedSum};

use serde::Serialize;

use crate::error::Result;
use crate::generator::Cancel;

/// What a user typed and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// x.
    pub user_input: String,
    /// y. If empty, the user's input is drawn in its place.
    pub adapted_prompt: String,
}

/// Anything that says what adapted prompts are worth.
///
/// The score of a pair is a function of the pair: not of the pairs beside it, of their order or of the time.
/// Training resumes bit for bit only if that holds.
pub trait Reward: Send + Sync {
    /// Scores of `pairs`, in their order. A pair that cannot be scored (its image failed, its server is gone
    /// for good) carries the reason; training drops it and counts it.
    ///
    /// # Errors
    /// [`Error::Interrupted`](crate::Error::Interrupted) if `cancel` was raised; whatever makes it pointless to go on.
    fn score(&self, pairs: &[Pair], cancel: &Cancel) -> Result<Vec<Result<f64, String>>>;
}

/// A plain function of the pair.
impl<F: Fn(&Pair) -> f64 + Send + Sync> Reward for F {
    fn score(&self, pairs: &[Pair], cancel: &Cancel) -> Result<Vec<Result<f64, String>>> {
        cancel.check()?;
        Ok(pairs.iter().map(|pair| Ok(self(pair))).collect())
    }
}
