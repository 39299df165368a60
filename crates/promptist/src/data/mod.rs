//! From engineered prompts to training pairs.
//!
//! ```text
//! targets -> normalize -> safety, junk -> near_duplicates -> main_content -> sources -> train / validation / test
//! ```
//!
//! Text only: no tensors and no tokenizer here. Encoding and padding of pairs belong to training.

pub mod artists;
pub(crate) mod lexicon;
pub mod main_content;
pub mod normalize;
