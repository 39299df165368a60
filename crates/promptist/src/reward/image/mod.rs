//! The reward through images: how much more beautiful those of an adapted prompt are, less how far they leave
//! the user's intent.
//!
//! Start at [`ImageReward::score`]. [`Score`] is the formula, on numbers; [`cache`] is why nothing is made twice.

pub mod cache;
pub mod config;
pub mod gallery;
pub mod picture;

mod image_reward;
mod relevance;
mod score;
mod term;

pub use config::RewardConfig;
pub use image_reward::{ImageReward, PairScore, Summary};
pub use relevance::{KNEE, relevance};
pub use score::{ImageScores, Noise, Score};
pub use term::{ImageMeasure, ImageTerm};
