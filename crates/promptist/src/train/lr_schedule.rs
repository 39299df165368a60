//! Learning rate by step: linear warm-up, then constant, linear or cosine to 0.

use serde::{Deserialize, Serialize};

/// What the learning rate does after its warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LrSchedule {
    /// Stays.
    Constant,
    /// Falls in a line, to 0 after the last step.
    Linear,
    /// Falls along half a cosine, to 0 after the last step.
    Cosine,
}

impl LrSchedule {
    /// The share of the highest learning rate at step `step` (from 0) of `steps`.
    ///
    /// As transformers' `get_{constant,linear,cosine}_schedule_with_warmup`: step 0 of a warm-up has
    /// rate 0.
    pub fn factor(self, step: u64, warmup_steps: u64, steps: u64) -> f64 {
        if step < warmup_steps {
            return step as f64 / warmup_steps as f64;
        }
        let rest = steps.saturating_sub(warmup_steps).max(1) as f64;
        let done = ((step - warmup_steps) as f64 / rest).min(1.0);
        match self {
            Self::Constant => 1.0,
            Self::Linear => 1.0 - done,
            Self::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warms_up_and_decays() {
        let linear = |step| LrSchedule::Linear.factor(step, 2, 6);
        assert_eq!([0, 1, 2, 4, 6].map(linear), [0.0, 0.5, 1.0, 0.5, 0.0]);
        let cosine = |step| LrSchedule::Cosine.factor(step, 0, 4);
        assert!((cosine(2) - 0.5).abs() < 1e-12 && cosine(0) == 1.0 && cosine(4) < 1e-12);
        assert_eq!(LrSchedule::Constant.factor(9, 3, 5), 1.0);
    }
}
