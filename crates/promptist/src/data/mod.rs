//! Text in and out.
pub mod lines;
