//! The way to the reward: a thread and a short queue of its own, for images take minutes and prompts
//! milliseconds.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use promptist::generator::Cancel;
use promptist::reward::{Pair, TermScores, WeightedSum};
use tokio::sync::{Semaphore, oneshot};

use crate::error::ApiError;

/// Batches that are accepted and not scored.
const MAX_PENDING: usize = 8;

type Scores = promptist::Result<Vec<Result<TermScores, String>>>;

/// Hands batches to the thread that scores.
pub(crate) struct RewardQueue {
    names: Vec<String>,
    batches: SyncSender<Batch>,
    pending: Arc<Semaphore>,
    retry_after: Duration,
}

struct Batch {
    pairs: Vec<Pair>,
    cancelled: Arc<AtomicBool>,
    scores: oneshot::Sender<Scores>,
    _permit: tokio::sync::OwnedSemaphorePermit,
}

/// Calls a batch off when whoever waits for it is gone.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl RewardQueue {
    /// Starts the thread, which ends with the queue.
    pub(crate) fn start(reward: WeightedSum, retry_after: Duration) -> io::Result<Self> {
        let (batches, received) = sync_channel::<Batch>(MAX_PENDING);
        let names = reward.names().map(str::to_owned).collect();
        std::thread::Builder::new().name("reward".to_owned()).spawn(move || {
            for Batch { pairs, cancelled, scores, _permit } in received {
                if !cancelled.load(Ordering::Relaxed) {
                    // Nobody minds if nobody waits any more.
                    let _ = scores.send(reward.score(&pairs, &Cancel::following(cancelled)));
                }
            }
        })?;
        Ok(Self { names, batches, pending: Arc::new(Semaphore::new(MAX_PENDING)), retry_after })
    }

    /// Scores of a batch. Dropping the wait calls it off.
    pub(crate) async fn score(&self, pairs: Vec<Pair>) -> Result<Vec<Result<TermScores, String>>, ApiError> {
        let full = || ApiError::Full(self.retry_after);
        let permit = Arc::clone(&self.pending).try_acquire_owned().map_err(|_| full())?;
        let cancelled = Arc::new(AtomicBool::new(false));
        let _cancel = CancelOnDrop(Arc::clone(&cancelled));
        let (scores, answer) = oneshot::channel();
        self.batches.try_send(Batch { pairs, cancelled, scores, _permit: permit }).map_err(|error| {
            match error {
                TrySendError::Full(_) => full(),
                TrySendError::Disconnected(_) => ApiError::Internal("the reward is gone".to_owned()),
            }
        })?;
        let scores = answer.await.map_err(|_| ApiError::Internal("the reward dropped a batch".to_owned()))?;
        scores.map_err(|error| ApiError::Internal(error.to_string()))
    }

    /// What the reward's terms are called.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Until nothing is pending.
    pub(crate) async fn idle(&self) {
        let _ = self.pending.acquire_many(MAX_PENDING as u32).await;
    }
}
