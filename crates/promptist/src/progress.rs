//! How long work tells how far it is. The library reports, whoever calls it draws.

/// Receives the progress of one piece of work after another.
pub trait Progress {
    /// A stage begins: `total` units of work if known (`unit` is `"B"`, `"prompts"`, ...).
    fn begin(&self, stage: &str, total: Option<u64>, unit: &str);

    /// `n` more units are done; `note` may say something worth showing, or be empty.
    fn advance(&self, n: u64, note: &str);

    /// The stage is over.
    fn end(&self);
}

/// Draws nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn begin(&self, _stage: &str, _total: Option<u64>, _unit: &str) {}
    fn advance(&self, _n: u64, _note: &str) {}
    fn end(&self) {}
}
