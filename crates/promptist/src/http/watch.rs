//! Waiting that ends at a deadline, or when the work is called off, whichever is first.

use std::thread;
use std::time::{Duration, Instant};

use super::failure::{Failure, FailureKind};
use crate::generator::Cancel;

/// How long anything here waits without looking whether the work is called off.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(50);

const FIRST_POLL: Duration = Duration::from_millis(50);
const SLOWEST_POLL: Duration = Duration::from_secs(1);
/// How many questions after a job may fail in a row before the job counts as lost.
const MAX_BROKEN_POLLS: u32 = 3;

/// Until when, and unless what.
pub(crate) struct Watch<'a> {
    pub deadline: Instant,
    pub cancel: &'a Cancel,
}

impl<'a> Watch<'a> {
    pub fn new(timeout: Duration, cancel: &'a Cancel) -> Self {
        Self { deadline: Instant::now() + timeout, cancel }
    }

    /// The time that is left.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// A failure if there is no more waiting.
    pub fn check(&self) -> Result<(), Failure> {
        if self.cancel.is_raised() {
            return Err(Failure::cancelled());
        }
        if self.remaining().is_zero() {
            return Err(Failure::passing("timed out"));
        }
        Ok(())
    }

    /// Sleeps, at most that long.
    pub fn sleep(&self, duration: Duration) -> Result<(), Failure> {
        let until = (Instant::now() + duration).min(self.deadline);
        loop {
            self.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(LOOK_EVERY));
        }
    }

    /// Asks after a job that a server has taken until it is done, ever more slowly. A question that fails
    /// is asked again: the job may still be there.
    pub fn poll<T>(&self, mut ask: impl FnMut() -> Result<JobState<T>, Failure>) -> Result<T, Failure> {
        let mut wait = FIRST_POLL;
        let mut broken = 0;
        loop {
            self.sleep(wait)?;
            wait = (wait * 3 / 2).min(SLOWEST_POLL);
            match ask() {
                Ok(JobState::Waiting) => broken = 0,
                Ok(JobState::Done(answer)) => return Ok(answer),
                Ok(JobState::Failed(reason)) => return Err(Failure::passing(reason)),
                Err(failure) => {
                    broken += 1;
                    let is_passing = matches!(failure.kind, FailureKind::Away { .. } | FailureKind::Passing);
                    if !is_passing || broken == MAX_BROKEN_POLLS {
                        return Err(failure.after_acceptance());
                    }
                }
            }
        }
    }
}

/// What a server says of a job.
pub(crate) enum JobState<T> {
    Waiting,
    Done(T),
    /// Why; the job is over.
    Failed(String),
}
