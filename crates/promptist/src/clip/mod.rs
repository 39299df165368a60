//! CLIP: how well a picture fits a text, and the features that aesthetic heads score.

pub mod config;
mod encoder;
pub mod text;
pub mod tokenizer;
