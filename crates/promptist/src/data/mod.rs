//! Text in and out: from engineered prompts to training pairs, and what both are measured by.
//!
//! ```text
//! targets -> normalize -> safety -> near_duplicates -> main_content -> sources -> train / validation / test
//! ```
//!
//! Text only: no tensors and no tokenizer here. Encoding and padding of pairs belong to training.

pub mod artists;
pub mod degenerate;
pub(crate) mod lexicon;
pub mod lines;
pub mod main_content;
pub mod near_duplicates;
pub mod normalize;
pub mod pairs;
pub mod pairs_report;
mod paraphrase;
pub mod plain_text;
#[cfg(feature = "http")]
pub mod rephrase_http;
pub mod safety;
pub mod sources;
