//! The way from a request to the model: a bounded queue before the one thread that decodes.
//!
//! A handler takes a [`Permit`] for each input before it does anything for it; there are as many as inputs
//! may be pending, and none left means 429 at once. A permit goes with its input to the thread and comes
//! back when that is answered or dropped. Whoever asked waits for a one-shot answer; dropping the wait is
//! how it cancels, and the thread looks for that before each step of the model.

mod worker;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use promptist::prompter::{AdaptSettings, Adapted, Prompter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot, watch};

use crate::config::ServerConfig;
use crate::error::ApiError;
use crate::metrics::Metrics;

/// Hands inputs to the thread that decodes.
pub(crate) struct Engine {
    work: SyncSender<Work>,
    permits: Arc<Semaphore>,
    max_pending: usize,
    retry_after: Duration,
    is_stopping: AtomicBool,
}

/// The right to have one input pending.
pub(crate) struct Permit {
    _held: OwnedSemaphorePermit,
}

/// What will come of an input. Dropping it cancels the input.
pub(crate) struct Answer<T> {
    receiver: oneshot::Receiver<promptist::Result<T>>,
}

/// One input for the thread.
enum Work {
    Adapt(Adapt),
    Rescore(Rescore),
}

struct Adapt {
    user_input: String,
    settings: Arc<AdaptSettings>,
    row: u64,
    /// Where the text goes as it grows, if someone looks.
    progress: Option<watch::Sender<String>>,
    pending: Pending<Adapted>,
}

struct Rescore {
    user_input: String,
    additions: Vec<Vec<String>>,
    settings: Arc<AdaptSettings>,
    /// Scores of the first additions.
    scores: Vec<f32>,
    pending: Pending<Vec<f32>>,
}

/// Who waits for an input, and since when.
struct Pending<T> {
    answer: oneshot::Sender<promptist::Result<T>>,
    accepted: Instant,
    _permit: Permit,
}

impl Engine {
    /// Starts the thread. It ends, once all accepted inputs are answered, when the engine is dropped.
    pub(crate) fn start(
        prompter: Arc<Prompter>,
        config: &ServerConfig,
        metrics: Arc<Metrics>,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        // Each piece of work holds a permit, so that sending never waits.
        let (work, received) = sync_channel(config.max_pending);
        let max_rows = config.max_rows;
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || worker::run(&prompter, max_rows, &received, &metrics))?;
        let engine = Self {
            work,
            permits: Arc::new(Semaphore::new(config.max_pending)),
            max_pending: config.max_pending,
            retry_after: config.retry_after,
            is_stopping: AtomicBool::new(false),
        };
        Ok((engine, thread))
    }

    /// Takes permits for `count` inputs, all or none.
    ///
    /// # Errors
    /// [`ApiError::Full`]; [`ApiError::Stopping`]; [`ApiError::Invalid`] for more than there ever are.
    pub(crate) fn permits(&self, count: usize) -> Result<Vec<Permit>, ApiError> {
        if self.is_stopping() {
            return Err(ApiError::Stopping);
        }
        if count > self.max_pending {
            let reason = format!("{count} inputs, and at most {} may be pending", self.max_pending);
            return Err(ApiError::Invalid { param: None, message: reason });
        }
        let taken =
            Arc::clone(&self.permits).try_acquire_many_owned(u32::try_from(count).unwrap_or(u32::MAX));
        let mut taken = taken.map_err(|error| match error {
            TryAcquireError::NoPermits => ApiError::Full(self.retry_after),
            TryAcquireError::Closed => ApiError::Stopping,
        })?;
        Ok(std::iter::from_fn(|| taken.split(1).map(|_held| Permit { _held })).take(count).collect())
    }

    /// Takes a permit for one input.
    ///
    /// # Errors
    /// As [`permits`](Self::permits).
    pub(crate) fn permit(&self) -> Result<Permit, ApiError> {
        self.permits(1)?.pop().ok_or(ApiError::Full(self.retry_after))
    }

    /// Has an input adapted. `row` is its number among those of its request.
    pub(crate) fn adapt(
        &self,
        permit: Permit,
        user_input: String,
        settings: &Arc<AdaptSettings>,
        row: u64,
        progress: Option<watch::Sender<String>>,
    ) -> Answer<Adapted> {
        let (pending, answer) = Pending::new(permit);
        let settings = Arc::clone(settings);
        self.send(Work::Adapt(Adapt { user_input, settings, row, progress, pending }));
        answer
    }

    /// Has answers to an input scored, each given as the phrases that it adds.
    pub(crate) fn rescore(
        &self,
        permit: Permit,
        user_input: String,
        additions: Vec<Vec<String>>,
        settings: &Arc<AdaptSettings>,
    ) -> Answer<Vec<f32>> {
        let (pending, answer) = Pending::new(permit);
        let (settings, scores) = (Arc::clone(settings), Vec::new());
        self.send(Work::Rescore(Rescore { user_input, additions, settings, scores, pending }));
        answer
    }

    /// Nothing is accepted from now on; what is accepted is answered.
    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }

    /// Inputs that are accepted and not answered.
    pub(crate) fn num_pending(&self) -> usize {
        self.max_pending - self.permits.available_permits()
    }

    /// Until nothing is pending.
    pub(crate) async fn idle(&self) {
        let all = u32::try_from(self.max_pending).unwrap_or(u32::MAX);
        // An error would be a closed semaphore; it is never closed.
        let _ = self.permits.acquire_many(all).await;
    }

    fn send(&self, work: Work) {
        // If the thread is gone the work is dropped here, and who waits for its answer learns of it.
        let _ = self.work.try_send(work);
    }
}

impl<T> Answer<T> {
    /// The answer.
    ///
    /// # Errors
    /// Those of the library; [`ApiError::Internal`] if decoding panicked.
    pub(crate) async fn get(mut self) -> Result<T, ApiError> {
        self.wait().await
    }

    /// [`get`](Self::get) for a wait that may be given up and taken up again.
    pub(crate) async fn wait(&mut self) -> Result<T, ApiError> {
        Ok(self.result().await??)
    }

    /// The answer, or why this input has none.
    pub(crate) async fn result(&mut self) -> Result<promptist::Result<T>, ApiError> {
        let result = (&mut self.receiver).await;
        result.map_err(|_| ApiError::Internal("the engine dropped an input".to_owned()))
    }
}

impl<T> Pending<T> {
    fn new(permit: Permit) -> (Self, Answer<T>) {
        let (answer, receiver) = oneshot::channel();
        (Self { answer, accepted: Instant::now(), _permit: permit }, Answer { receiver })
    }

    fn is_cancelled(&self) -> bool {
        self.answer.is_closed()
    }

    fn reply(self, result: promptist::Result<T>) {
        // Nobody minds if nobody waits any more.
        let _ = self.answer.send(result);
    }
}
