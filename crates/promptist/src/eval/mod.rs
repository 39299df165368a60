//! Whether learned adaptation beats what people write: systems x prompt sets x measures.
//!
//! ```text
//! config -> systems, inputs -> rewrites -> measures -> rows -> summary -> report -> markdown
//! ```
//!
//! Start at [`run::Evaluation::run`]. It has the systems ([`systems`]) adapt the sets ([`inputs`]), has every rewrite
//! measured ([`measures`], [`judges`], the image reward and text rewards of [`crate::reward`]), and keeps what is costly
//! in a [`journal`], so that a run that was killed goes on. What comes out are [`rows`]; [`summary`] computes the
//! [`report`] from them and from nothing else. [`replay`] makes a row again.
//!
//! Measures are pure functions, tested beside their code: [`additions`], [`flaws`], [`diversity`] and [`vendi`],
//! [`fit`], [`likelihood`] and [`ngram`], [`categories`], [`content`], [`leakage`], [`text`]. [`card`] holds a model to what is asked of the
//! default one. [`precision`] stands apart: it compares the engine's approximations with f32.

pub mod additions;
pub mod artist_names;
pub mod card;
pub mod categories;
pub mod config;
pub mod content;
pub mod diversity;
pub mod fit;
pub mod flaws;
pub mod images;
pub mod inputs;
pub mod journal;
pub mod judges;
pub mod leakage;
pub mod likelihood;
pub mod markdown;
pub mod measures;
pub mod ngram;
pub mod page;
pub mod precision;
pub mod replay;
pub mod report;
pub mod rows;
pub mod run;
pub mod sources;
pub mod stage;
pub mod summary;
pub mod systems;
pub mod table;
pub mod text;
pub mod vendi;
