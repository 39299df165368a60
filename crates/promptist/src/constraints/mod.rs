//! What an answer may not say and what it must, at the level of text.
//!
//! ```text
//! ban entries, musts -> patterns, tables -> TextRules;  bytes of a hypothesis -> TextState -> allowed, met
//! ```
//!
//! Tokens, scores and the search are not here: they ask [`TextRules`] about bytes.
//! Start reading in `rules`; `entry` is what users write.

mod categories;
mod categorize;
mod entry;
mod fold;
mod inflections;
mod patterns;
mod phrases;
mod regexes;
mod report;
mod rules;
mod state;
#[cfg(test)]
mod tests;

pub use categories::Category;
pub use categorize::categorize;
pub use entry::Entry;
pub use rules::{Found, MAX_MUSTS, TextRules};
pub use state::TextState;
