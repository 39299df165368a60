//! Who is asked, how often, and when that is enough.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::HttpRewardSettings;
use super::answer::{self, PairScore};
use crate::error::{Error, Result};
use crate::generator::Cancel;
use crate::http::Auth;
use crate::http::backoff::{Backoff, Jitter};
use crate::http::client::{Client, MAX_JSON_BYTES};
use crate::http::failure::{Failure, FailureKind};
use crate::http::in_order::in_order;
use crate::http::watch::Watch;
use crate::reward::{Pair, Reward};
use crate::template;

/// One or more reward servers.
pub struct HttpReward {
    settings: HttpRewardSettings,
    clients: Vec<Client>,
    backoff: Backoff,
    jitter: Jitter,
    /// Over all calls of [`Reward::score`].
    failed_in_a_row: AtomicU32,
}

/// The body of a call.
#[derive(Serialize)]
struct Question {
    query: Vec<String>,
    prompts: Vec<String>,
    labels: Vec<String>,
}

impl HttpReward {
    /// Servers, which are not asked yet.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is impossible.
    pub fn new(settings: &HttpRewardSettings, auth: &Auth) -> Result<Self> {
        settings.check()?;
        let clients = settings.addresses()?.into_iter().map(|address| {
            Client::new(&address.url, address.credentials.as_ref(), auth, settings.system_proxy)
        });
        Ok(Self {
            clients: clients.collect(),
            backoff: Backoff { first_secs: settings.backoff_secs, longest_secs: settings.max_backoff_secs },
            jitter: Jitter::default(),
            failed_in_a_row: AtomicU32::new(0),
            settings: settings.clone(),
        })
    }

    /// The pairs of each call: evenly many, a call for each server at least, as far as the pairs go.
    fn parts(&self, num_pairs: usize) -> Vec<Range<usize>> {
        let num_parts = num_pairs.div_ceil(self.settings.max_batch).max(self.clients.len()).min(num_pairs);
        (0..num_parts).map(|idx| idx * num_pairs / num_parts..(idx + 1) * num_pairs / num_parts).collect()
    }

    /// The scores of one part: asked of the servers in turn, `first` first, until one answers well.
    fn score_part(&self, pairs: &[Pair], first: usize, cancel: &Cancel) -> Result<Vec<PairScore>> {
        let question = Question::of(pairs);
        let give_up = Duration::from_secs_f64(self.settings.give_up_secs);
        let began = Instant::now();
        let mut tries = 0;
        let mut rounds = 0;
        let mut refused = vec![false; self.clients.len()];
        loop {
            let mut asked_for = Duration::ZERO;
            for idx in (0..self.clients.len()).map(|turn| (first + turn) % self.clients.len()) {
                if refused[idx] {
                    continue;
                }
                cancel.check()?;
                let failure = match self.attempt(&self.clients[idx], &question, pairs.len(), cancel) {
                    Ok(scores) => {
                        self.failed_in_a_row.store(0, Ordering::Relaxed);
                        return Ok(scores);
                    }
                    Err(failure) => failure,
                };
                let url = self.clients[idx].base();
                tracing::warn!(url, reason = failure.reason, "gave no rewards");
                let is_over = match failure.kind {
                    FailureKind::Cancelled => return Err(Error::Interrupted),
                    FailureKind::Away { retry_after } => {
                        asked_for = asked_for.max(retry_after.unwrap_or_default());
                        began.elapsed() >= give_up
                    }
                    FailureKind::Passing => {
                        tries += 1;
                        tries >= self.settings.max_tries
                    }
                    FailureKind::ThisServer => {
                        refused[idx] = true;
                        refused.iter().all(|&refused| refused)
                    }
                    FailureKind::Anywhere => true,
                };
                if is_over {
                    return self.failed(pairs.len(), url, &failure.reason);
                }
            }
            let wait = self.backoff.after(rounds, self.jitter.next()).max(asked_for.min(give_up));
            rounds += 1;
            // One second more than it sleeps: the deadline is not what ends it.
            let watch = Watch::new(wait + Duration::from_secs(1), cancel);
            watch.sleep(wait).map_err(|_| Error::Interrupted)?;
        }
    }

    fn attempt(
        &self,
        client: &Client,
        question: &Question,
        count: usize,
        cancel: &Cancel,
    ) -> Result<Vec<PairScore>, Failure> {
        let watch = Watch::new(Duration::from_secs_f64(self.settings.timeout_secs), cancel);
        let body = client.post_answer("", question, MAX_JSON_BYTES, &watch)?.checked()?;
        answer::rewards(&body, count).map_err(Failure::passing)
    }

    /// What becomes of a part that nobody scores.
    fn failed(&self, count: usize, url: &str, reason: &str) -> Result<Vec<PairScore>> {
        let failed = self.failed_in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failed >= self.settings.max_failed_batches {
            let reason = format!("{failed} batches in a row got no rewards, the last: {reason}");
            return Err(Error::Http { url: url.to_owned(), reason });
        }
        Ok(vec![Err(format!("{url}: {reason}")); count])
    }
}

impl Reward for HttpReward {
    /// # Errors
    /// [`Error::Interrupted`] if `cancel` was raised; [`Error::Http`] if as many batches in a row as the settings
    /// allow got no rewards.
    fn score(&self, pairs: &[Pair], cancel: &Cancel) -> Result<Vec<Result<f64, String>>> {
        cancel.check()?;
        let parts = self.parts(pairs.len());
        let is_over = AtomicBool::new(false);
        // Each server's thread takes the parts that are its own.
        let work = |server: usize| -> Result<Vec<(usize, Vec<PairScore>)>> {
            let mut scored = Vec::new();
            for part in parts.iter().skip(server).step_by(self.clients.len()) {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                let scores = self
                    .score_part(&pairs[part.clone()], server, cancel)
                    .inspect_err(|_| is_over.store(true, Ordering::Relaxed))?;
                scored.push((part.start, scores));
            }
            Ok(scored)
        };
        in_order(self.clients.len().min(parts.len()), work)
    }
}

impl Question {
    fn of(pairs: &[Pair]) -> Self {
        let prompts: Vec<String> = pairs.iter().map(|pair| template::prompt(&pair.user_input)).collect();
        let answers = pairs.iter().map(|pair| template::answer(&pair.adapted_prompt));
        Self {
            query: prompts.iter().zip(answers).map(|(prompt, answer)| format!("{prompt}{answer}")).collect(),
            prompts,
            labels: pairs.iter().map(|pair| pair.user_input.clone()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_even_and_of_all_pairs() {
        let reward = |urls: usize, max_batch: usize| {
            let urls = vec!["http://a:1".to_owned(); urls];
            let settings = HttpRewardSettings { urls, max_batch, ..Default::default() };
            HttpReward::new(&settings, &Auth::None).expect("possible")
        };
        assert_eq!(reward(1, 8).parts(8), vec![0..8; 1]);
        assert_eq!(reward(3, 8).parts(8), [0..2, 2..5, 5..8]);
        assert_eq!(reward(3, 8).parts(2), [0..1, 1..2]);
        assert_eq!(reward(1, 4).parts(9), [0..3, 3..6, 6..9]);
        assert!(reward(2, 4).parts(0).is_empty());
    }
}
