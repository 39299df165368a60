//! How good a prompter is, measured on text alone.
//!
//! ```text
//! prompt sets -> adapt -> additions -> text, fit, diversity; categories; likelihood -> report -> markdown
//! ```
//!
//! Start at [`run::Evaluation::run`]; [`compare`] sets two such evaluations side by side. One measure a file; each is a pure function of texts or of
//! log-probabilities, tested beside its code. Images and image rewards are not measured here.

pub mod additions;
pub mod artist_names;
pub mod categories;
pub mod compare;
pub mod config;
pub mod diversity;
pub mod fit;
pub mod flaws;
pub mod leakage;
pub mod likelihood;
pub mod markdown;
pub mod ngram;
pub mod precision;
pub mod report;
pub mod run;
pub mod text;
