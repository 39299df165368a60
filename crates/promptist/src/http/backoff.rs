//! How long to leave a server alone that failed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Waits that double.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Backoff {
    pub first_secs: f64,
    pub longest_secs: f64,
}

impl Backoff {
    /// The wait after that many failures before this one: from a half to the whole of what doubles each
    /// time. `jitter` from 0 to 1 spreads the returns of those who failed together.
    pub fn after(self, failures_before: u32, jitter: f64) -> Duration {
        let doubled = self.first_secs * 2_f64.powi(failures_before.min(30) as i32);
        Duration::from_secs_f64(doubled.min(self.longest_secs) * (0.5 + 0.5 * jitter))
    }
}

/// Numbers from 0 to 1 by which waits are spread. splitmix64, of a seed that differs from run to run.
pub(crate) struct Jitter(AtomicU64);

impl Default for Jitter {
    fn default() -> Self {
        use std::hash::{BuildHasher, RandomState};
        Self(AtomicU64::new(RandomState::new().hash_one(std::process::id())))
    }
}

impl Jitter {
    /// The same waits in every run.
    pub fn seeded(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub fn next(&self) -> f64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut bits = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let backoff = Backoff { first_secs: 1.0, longest_secs: 5.0 };
        let waits: Vec<f64> = (0..5).map(|n| backoff.after(n, 1.0).as_secs_f64()).collect();
        assert_eq!(waits, [1.0, 2.0, 4.0, 5.0, 5.0]);
        assert_eq!(backoff.after(0, 0.0), Duration::from_secs_f64(0.5));
        assert_eq!(backoff.after(u32::MAX, 0.0), Duration::from_secs_f64(2.5));
    }
}
