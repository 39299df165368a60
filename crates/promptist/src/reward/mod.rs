//! The reward of an adapted prompt: how much more beautiful its images are, less how far they leave the
//! user's intent.
//!
//! ```text
//! score   input and adapted -> generator, each -> images -> clip -> relevance + aesthetic gain -> score
//! ```
//!
//! Start at [`ImageReward::score`]. [`Score`] is the formula, on numbers; [`cache`] is why nothing is made twice.

pub mod cache;
pub mod config;
pub mod gallery;

mod image_reward;
mod relevance;
mod score;

pub use config::RewardConfig;
pub use image_reward::{ImageReward, Pair, PairScore, Summary};
pub use relevance::{KNEE, relevance};
pub use score::{ImageScores, Noise, Score};
