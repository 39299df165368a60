//! What is measured: [`catalogue`] says of each measure what it is, the other files measure.
//!
//! ```text
//! text       of an input and a rewrite alone
//! commonness of a rewrite among all of its set
//! distinct   of all rewrites of a set together
//! ```
//!
//! Costly measures of rows (images, rewards, candidates, fit) come from the run's journals.

pub mod catalogue;
pub mod commonness;
pub mod distinct;
pub mod kept;
pub mod text;
