//! An estimate with its 95 % interval: the one shape in which every report states a number.

use serde::{Deserialize, Serialize};

/// Share of the intervals of this library that should hold the true value.
pub const CONFIDENCE: f64 = 0.95;

/// An estimate with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Independent observations that it rests on.
    pub n: usize,
    /// The estimate: their mean, or the statistic of all of them.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Whether `value` lies in the interval, ends included.
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}
