//! What a pool knows of its servers, and which of them is next. Pure functions of the states and the time.

use std::time::{Duration, Instant};

use super::settings::HttpSettings;
use crate::http::failure::{Failure, FailureKind};

/// How many times the slowest good call a call must last for others not to wait for its end.
const OVERDUE: u32 = 4;

/// One server, as the pool sees it.
#[derive(Debug)]
pub(super) struct Health {
    /// When the call in flight began. One at a time: servers queue what comes beside it, and hold it against
    /// our timeout.
    pub busy_since: Option<Instant>,
    /// The longest that a call took that went well.
    pub slowest: Option<Duration>,
    /// It has said what it makes since it last failed.
    pub verified: bool,
    pub failures_in_a_row: u32,
    /// Since when nothing went well; none if the last call did.
    pub down_since: Option<Instant>,
    /// It is left alone until then.
    pub not_before: Instant,
    pub last_failure: Option<String>,
    /// When it was last taken, in turns of the pool.
    pub last_turn: u64,
    pub images: u64,
    pub failures: u64,
}

impl Health {
    pub fn new(now: Instant) -> Self {
        Self {
            busy_since: None,
            slowest: None,
            verified: false,
            failures_in_a_row: 0,
            down_since: None,
            not_before: now,
            last_failure: None,
            last_turn: 0,
            images: 0,
            failures: 0,
        }
    }

    pub fn succeeded(&mut self, images: usize, now: Instant) {
        let took = self.busy_since.map(|since| now.saturating_duration_since(since));
        self.slowest = self.slowest.max(took);
        self.failures_in_a_row = 0;
        self.down_since = None;
        self.images += images as u64;
    }

    /// `jitter` from 0 to 1 spreads the returns of those who failed together.
    pub fn failed(&mut self, failure: &Failure, settings: &HttpSettings, jitter: f64, now: Instant) {
        let asked = match failure.kind {
            FailureKind::Away { retry_after: Some(wait) } => wait.min(settings.give_up()),
            _ => Duration::ZERO,
        };
        let wait = settings.backoff().after(self.failures_in_a_row, jitter).max(asked);
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.failures += 1;
        self.not_before = now + wait;
        // A server that names its hour is not given up before it, the first time.
        self.down_since.get_or_insert(now + asked);
        self.last_failure = Some(failure.reason.clone());
        // It may have been started anew, with another model.
        self.verified = false;
    }

    /// Whether the call in flight takes so much longer than any before that the server may hang.
    fn is_overdue(&self, now: Instant) -> bool {
        let took = self.busy_since.map(|since| now.saturating_duration_since(since));
        took.zip(self.slowest).is_some_and(|(took, slowest)| took > slowest * OVERDUE)
    }
}

/// What a call knows of the servers.
pub(super) struct Tried {
    /// It failed there so often.
    pub failures: u32,
    /// That server will not do it.
    pub refused: bool,
}

/// Where a call goes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Take(usize),
    /// Nothing is free before that.
    Wait(Option<Instant>),
}

/// The server for a call: of those that are not set aside, one where it failed least, even if that one must be
/// waited for, unless that may be long; of several free ones, that which has rested longest.
pub(super) fn choose(health: &[Health], tried: &[Tried], now: Instant) -> Next {
    let willing = || health.iter().zip(tried).enumerate().filter(|(_, (_, tried))| !tried.refused);
    let ready = || willing().filter(|(_, (health, _))| health.not_before <= now && !health.is_overdue(now));
    let Some(least) = ready().map(|(_, (_, tried))| tried.failures).min() else {
        let set_aside = willing().map(|(_, (health, _))| health.not_before).filter(|&until| until > now);
        return Next::Wait(set_aside.min());
    };
    ready()
        .filter(|(_, (health, tried))| health.busy_since.is_none() && tried.failures == least)
        .min_by_key(|(_, (health, _))| health.last_turn)
        .map_or(Next::Wait(None), |(idx, _)| Next::Take(idx))
}

/// Whether no server has worked, nor is working, for as long as the settings allow; `asked` is when who asks began.
pub(super) fn are_gone(health: &[Health], settings: &HttpSettings, asked: Instant, now: Instant) -> bool {
    let since = health.iter().map(|health| health.down_since.filter(|_| health.busy_since.is_none()));
    let since = since.collect::<Option<Vec<_>>>().and_then(|since| since.into_iter().max());
    since.is_some_and(|since| now >= since.max(asked) + settings.give_up())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tried(failures: &[u32]) -> Vec<Tried> {
        failures.iter().map(|&failures| Tried { failures, refused: false }).collect()
    }

    fn secs(secs: f64) -> Duration {
        Duration::from_secs_f64(secs)
    }

    #[test]
    fn the_one_where_it_failed_least_then_the_one_that_rested_longest() {
        let now = Instant::now();
        let mut health: Vec<Health> = (0..3).map(|_| Health::new(now)).collect();
        health[0].last_turn = 3;
        health[1].last_turn = 1;
        health[2].last_turn = 2;
        assert_eq!(choose(&health, &tried(&[0, 0, 0]), now), Next::Take(1));
        assert_eq!(choose(&health, &tried(&[0, 1, 0]), now), Next::Take(2));
        // One that works well is waited for rather than the one that failed.
        health[0].busy_since = Some(now);
        assert_eq!(choose(&health, &tried(&[0, 1, 1]), now), Next::Wait(None));
        // Unless it seems to hang.
        health[0].slowest = Some(secs(2.0));
        assert_eq!(choose(&health, &tried(&[0, 1, 1]), now + secs(8.0)), Next::Wait(None));
        assert_eq!(choose(&health, &tried(&[0, 1, 1]), now + secs(9.0)), Next::Take(1));
        assert_eq!(choose(&health[..1], &tried(&[0]), now + secs(9.0)), Next::Wait(None));
        // One that is set aside is not.
        health[0].not_before = now + secs(9.0);
        assert_eq!(choose(&health, &tried(&[0, 2, 1]), now), Next::Take(2));
        let refused = [true, true, false].map(|refused| Tried { failures: 0, refused });
        health[2].not_before = now + secs(5.0);
        assert_eq!(choose(&health, &refused, now), Next::Wait(Some(now + secs(5.0))));
    }

    #[test]
    fn retry_after_is_honoured_and_bounded() {
        let now = Instant::now();
        let settings = HttpSettings { give_up_secs: 60.0, ..HttpSettings::default() };
        let busy = |secs| Failure {
            kind: FailureKind::Away { retry_after: Some(Duration::from_secs(secs)) },
            reason: "429".to_owned(),
            status: Some(429),
        };
        let mut health = Health::new(now);
        health.failed(&busy(20), &settings, 0.0, now);
        assert_eq!(health.not_before, now + secs(20.0));
        assert!(!are_gone(&[health], &settings, now, now + secs(79.0)));

        let mut health = Health::new(now);
        health.failed(&busy(100_000), &settings, 0.0, now);
        assert_eq!(health.not_before, now + secs(60.0));
        // Promising again does not buy more time.
        health.failed(&busy(60), &settings, 0.0, now + secs(60.0));
        assert!(are_gone(&[health], &settings, now, now + secs(120.0)));
    }

    #[test]
    fn gone_is_when_all_are_and_nobody_is_trying() {
        let now = Instant::now();
        let settings = HttpSettings { give_up_secs: 10.0, ..HttpSettings::default() };
        let mut health = vec![Health::new(now), Health::new(now)];
        health[0].failed(&Failure::passing("500"), &settings, 0.5, now);
        assert!(!are_gone(&health, &settings, now, now + secs(100.0)), "the other has not failed");
        health[1].failed(&Failure::passing("500"), &settings, 0.5, now + secs(50.0));
        assert!(!are_gone(&health, &settings, now, now + secs(59.0)));
        assert!(are_gone(&health, &settings, now, now + secs(60.0)));
        assert!(
            !are_gone(&health, &settings, now + secs(55.0), now + secs(60.0)),
            "a later call waits as long"
        );
        health[0].busy_since = Some(now);
        assert!(!are_gone(&health, &settings, now, now + secs(60.0)), "one is being tried");
        health[0].busy_since = None;
        health[0].succeeded(1, now);
        assert!(!are_gone(&health, &settings, now, now + secs(100.0)));
    }

    proptest! {
        #[test]
        fn what_is_taken_is_free_willing_and_not_set_aside(
            states in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>(), 0_u32..3, 0_u64..9), 1..6)
        ) {
            let now = Instant::now();
            let mut health = Vec::new();
            let mut tried = Vec::new();
            for &(busy, aside, refused, failures, last_turn) in &states {
                let not_before = if aside { now + secs(1.0) } else { now };
                let busy_since = busy.then_some(now);
                health.push(Health { busy_since, not_before, last_turn, ..Health::new(now) });
                tried.push(Tried { failures, refused });
            }
            match choose(&health, &tried, now) {
                Next::Take(idx) => {
                    prop_assert!(health[idx].busy_since.is_none() && health[idx].not_before <= now && !tried[idx].refused);
                }
                Next::Wait(until) => {
                    // Either someone at work is waited for, or the first to come back, or all refused.
                    let willing: Vec<_> = (0..health.len()).filter(|&idx| !tried[idx].refused).collect();
                    match until {
                        None => prop_assert!(willing.is_empty() || willing.iter().any(|&idx| health[idx].busy_since.is_some())),
                        Some(until) => prop_assert!(willing.iter().all(|&idx| health[idx].not_before >= until)),
                    }
                }
            }
        }
    }
}
