//! Promptist turns what people type into the prompts that text-to-image models answer best.
//!
//! The system of "Optimizing Prompts for Text-to-Image Generation" (Hao et al., NeurIPS 2023).

pub mod atomic;
pub mod checksums;
pub mod clip;
pub mod config_file;
pub mod constraints;
pub mod data;
pub mod decoding;
pub mod diffusion;
pub mod engine;
pub mod error;
pub mod eval;
pub mod generator;
pub mod gpt2;
pub mod html;
pub mod http;
pub mod hub;
mod huge_pages;
pub mod mini;
pub mod model_folder;
pub mod model_source;
pub mod nn;
pub mod output_filter;
pub mod plot;
pub mod progress;
pub mod prompter;
pub mod reward;
mod simd;
pub mod statistics;
pub mod syntax;
pub mod target;
pub mod template;
pub mod tokenizer;
pub mod train;
pub mod weights;

pub use error::{Error, Result};
