//! From rows to a report: pure functions, so that anyone can compute every number again from `rows.jsonl`.
//!
//! ```text
//! rows -> views (sets, their source kinds, pools) -> samples -> cells, comparisons, breakdowns, additions
//! ```

mod additions;
mod breakdowns;
mod cells;
mod comparisons;
mod sample;
mod set_level;
mod views;

pub use self::additions::additions;
pub use self::breakdowns::{LENGTHS, breakdowns, length_of};
pub use self::cells::cells;
pub use self::comparisons::{comparisons, fallen};
pub use self::sample::Sample;
pub use self::set_level::phrase_keys;
pub use self::views::{EvalSet, View, views};
use super::config::EvalConfig;
use super::report::Measure;

/// What the parts of a summary look at.
pub struct Summary<'a> {
    /// Seeds and numbers of resamples.
    pub config: &'a EvalConfig,
    /// The systems' names, in order.
    pub systems: Vec<&'a str>,
    /// What was measured.
    pub measures: &'a [Measure],
    /// Sets, parts of sets, pools.
    pub views: Vec<View<'a>>,
}

impl Summary<'_> {
    /// The place of the baseline among the systems.
    fn baseline(&self) -> usize {
        let name = self.config.baseline();
        self.systems.iter().position(|system| *system == name).unwrap_or(0)
    }
}
