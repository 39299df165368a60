//! Promptist turns what people type into the prompts that text-to-image models answer best.
//!
//! The system of "Optimizing Prompts for Text-to-Image Generation" (Hao et al., NeurIPS 2023).

pub mod error;
pub mod data;
pub mod template;
pub mod decoding;

pub use error::{Error, Result};
