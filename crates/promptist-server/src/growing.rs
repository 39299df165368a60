//! An answer that is watched as it grows.

use std::sync::Arc;
use std::time::Duration;

use promptist::prompter::{AdaptSettings, Adapted};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::app::App;
use crate::engine::Answer;
use crate::error::ApiError;

/// What can be seen of an answer.
pub(crate) enum Seen {
    /// The whole text so far.
    Text(String),
    /// Its end: nothing comes after it.
    Done(Result<Adapted, ApiError>),
}

/// An answer on its way. Dropping it cancels the input.
pub(crate) struct Growing {
    answer: Option<Answer<Adapted>>,
    text: watch::Receiver<String>,
    deadline: Instant,
    limit: Duration,
}

/// Whether one text grows token by token under these settings.
pub(crate) fn grows(settings: &AdaptSettings) -> bool {
    let decoding = &settings.decoding;
    let is_one =
        decoding.num_return_sequences == 1 && settings.seeds.len() <= 1 && settings.min_distance.is_none();
    is_one && (decoding.do_sample || decoding.num_beams == 1)
}

impl Growing {
    /// Has an input adapted and watched.
    ///
    /// # Errors
    /// [`ApiError::Full`] and [`ApiError::Stopping`].
    pub(crate) fn start(
        app: &App,
        user_input: String,
        settings: &Arc<AdaptSettings>,
    ) -> Result<Self, ApiError> {
        let permit = app.engine.permit()?;
        let (sender, text) = watch::channel(String::new());
        let answer = app.engine.adapt(permit, user_input, settings, 0, Some(sender));
        let limit = app.config.deadline;
        Ok(Self { answer: Some(answer), text, deadline: Instant::now() + limit, limit })
    }

    /// What comes next; none after the end. Texts that nobody looked at in time are skipped.
    pub(crate) async fn next(&mut self) -> Option<Seen> {
        let answer = self.answer.as_mut()?;
        let seen = tokio::select! {
            biased;
            result = answer.wait() => Seen::Done(result),
            Ok(()) = self.text.changed() => Seen::Text(self.text.borrow_and_update().clone()),
            () = sleep_until(self.deadline) => Seen::Done(Err(ApiError::Deadline(self.limit))),
        };
        if let Seen::Done(_) = seen {
            self.answer = None;
        }
        Some(seen)
    }
}
