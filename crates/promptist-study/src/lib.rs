//! Blinded pairwise human preference: whose images would people rather have?
//!
//! [`create`] makes a study of rewrites and their images, [`serve`] asks raters, [`report`] says what they
//! answered and how far that can be trusted, [`export`] gives the answers away.
//!
//! ```text
//! create    rows -> images as pixels -> pairs and checks -> tables          build, store
//! serve     link -> consent -> plan -> question, answer, question, ...      serve, store, plan
//! report    answers -> exclusions -> wins, strengths, agreement -> pages    report
//! export    answers -> CSV, JSONL, preference pairs                         export
//! ```
//!
//! Raters and their browsers learn nothing of systems, rewrites and files: what leaves the server is made in
//! `serve` alone, from what `store` keeps of it.

mod build;
mod config;
mod error;
mod export;
mod plan;
mod report;
mod serve;
mod show;
mod store;
mod study;

pub use build::{Summary, create};
pub use config::{Checks, Enrolment, Exclude, GivenCheck, Incomplete, InputFile, Raters, StudyConfig};
pub use error::{Error, Result};
pub use export::{Format, export};
pub use promptist_http::Listener;
pub use report::{Report, ReportFormat, report};
pub use serve::serve;
pub use show::show;
pub use study::Study;
