//! Streams in OpenAI's shape: chunks, the counts if they are wanted, `[DONE]`.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::response::Response;
use futures_util::stream;
use promptist::prompter::{AdaptSettings, Adapted};
use promptist::template::Keep;
use serde_json::{Value, json};

use super::answer::{Head, Kind, finish_reason, outputs, usage};
use crate::app::App;
use crate::error::{ApiError, Dialect};
use crate::growing::{Growing, Seen, grows};
use crate::sse;

/// Whether what is decoded is what will be answered, so that it may be sent before the end: nothing can take
/// a phrase back.
pub(super) fn is_certain(settings: &AdaptSettings) -> bool {
    let has_rules = !settings.ban.is_empty()
        || !settings.must_include.is_empty()
        || settings.target.is_some()
        || settings.budget.is_some();
    // Kept words of other kinds may have flags behind the answer, which is where the text grows.
    let is_whole = settings.strength >= 1.0 && settings.keep == Keep::Exact;
    grows(settings) && is_whole && !settings.filter && !settings.no_artists && !has_rules
}

/// The stream of texts that are there.
pub(super) fn at_once(head: &Head, adapted: &[Adapted], usage: Option<Value>) -> Response {
    let mut chunks = Chunks { head, has_usage: usage.is_some(), events: VecDeque::new() };
    for (idx, output) in outputs(adapted).enumerate() {
        chunks.open(idx);
        // A phrase a chunk.
        for phrase in output.text.split_inclusive(',') {
            chunks.text(idx, phrase);
        }
        chunks.close(idx, finish_reason(output));
    }
    chunks.done(usage);
    sse::response(stream::iter(chunks.events))
}

/// The stream of a text that grows.
pub(super) async fn live(
    app: Arc<App>,
    head: Head,
    user_inputs: Vec<String>,
    settings: Arc<AdaptSettings>,
    include_usage: bool,
) -> Result<Response, ApiError> {
    let user_input = user_inputs.into_iter().next().unwrap_or_default();
    let mut growing = Growing::start(&app, user_input, &settings)?;
    // An input that cannot be adapted is told so by the status.
    let first = match growing.next().await {
        Some(Seen::Done(Err(error))) => return Err(error),
        first => first,
    };
    let mut opening = Chunks { head: &head, has_usage: include_usage, events: VecDeque::new() };
    opening.open(0);
    let events = opening.events;
    let live = Live { app, head, settings, include_usage, growing, seen: first, sent: String::new(), events };
    Ok(sse::response(stream::unfold(live, |mut live| async move {
        let event = live.next().await?;
        Some((event, live))
    })))
}

/// A stream on its way.
struct Live {
    app: Arc<App>,
    head: Head,
    settings: Arc<AdaptSettings>,
    include_usage: bool,
    growing: Growing,
    /// What was seen and not looked at.
    seen: Option<Seen>,
    /// The text that the client has.
    sent: String,
    events: VecDeque<String>,
}

impl Live {
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let seen = match self.seen.take() {
                Some(seen) => seen,
                None => self.growing.next().await?,
            };
            let mut chunks =
                Chunks { head: &self.head, has_usage: self.include_usage, events: VecDeque::new() };
            match seen {
                Seen::Text(text) => {
                    // What a text ends with may still be trimmed, or be half of a character.
                    let text = text.trim_end_matches([' ', ',', char::REPLACEMENT_CHARACTER]);
                    if let Some(new) = text.strip_prefix(&self.sent) {
                        chunks.text(0, new);
                        self.sent = text.to_owned();
                    }
                }
                Seen::Done(adapted) => match self.rest(adapted) {
                    Ok((rest, finish_reason, usage)) => {
                        chunks.text(0, &rest);
                        chunks.close(0, finish_reason);
                        chunks.done(usage);
                    }
                    Err(error) => {
                        if let Some(cause) = error.cause() {
                            tracing::error!(cause, "in a stream");
                        }
                        chunks.events.push_back(sse::json(&error.body(Dialect::OpenAi)));
                    }
                },
            }
            let events = chunks.events;
            self.events = events;
        }
    }

    /// What is left to send, and the last words.
    fn rest(
        &self,
        adapted: Result<Adapted, ApiError>,
    ) -> Result<(String, &'static str, Option<Value>), ApiError> {
        let adapted = adapted?;
        let usage = match self.include_usage {
            true => Some(usage(&self.app, std::slice::from_ref(&adapted), &self.settings)?),
            false => None,
        };
        let output = adapted.outputs.first().ok_or_else(|| ApiError::Internal("no output".to_owned()))?;
        match output.text.strip_prefix(&self.sent) {
            Some(rest) => Ok((rest.to_owned(), finish_reason(output), usage)),
            None => Err(ApiError::Internal(format!("`{}` was sent of `{}`", self.sent, output.text))),
        }
    }
}

/// Writes chunks.
struct Chunks<'a> {
    head: &'a Head,
    /// Whether a last chunk has the counts; the others say null then.
    has_usage: bool,
    events: VecDeque<String>,
}

impl Chunks<'_> {
    /// Begins a choice.
    fn open(&mut self, idx: usize) {
        if self.head.kind == Kind::Chat {
            self.push(json!({
                "index": idx,
                "delta": {"role": "assistant", "content": "", "refusal": null},
                "logprobs": null,
                "finish_reason": null,
            }));
        }
    }

    /// Adds to a choice's text.
    fn text(&mut self, idx: usize, text: &str) {
        if text.is_empty() {
            return;
        }
        self.push(match self.head.kind {
            Kind::Chat => {
                json!({"index": idx, "delta": {"content": text}, "logprobs": null, "finish_reason": null})
            }
            Kind::Completion => {
                json!({"index": idx, "text": text, "logprobs": null, "finish_reason": null})
            }
        });
    }

    /// Ends a choice.
    fn close(&mut self, idx: usize, finish_reason: &str) {
        self.push(match self.head.kind {
            Kind::Chat => {
                json!({"index": idx, "delta": {}, "logprobs": null, "finish_reason": finish_reason})
            }
            Kind::Completion => {
                json!({"index": idx, "text": "", "logprobs": null, "finish_reason": finish_reason})
            }
        });
    }

    /// Ends the stream.
    fn done(&mut self, usage: Option<Value>) {
        if let Some(usage) = usage {
            self.events.push_back(sse::json(&self.head.object(true, Vec::new(), Some(usage))));
        }
        self.events.push_back(sse::data_only("[DONE]"));
    }

    fn push(&mut self, choice: Value) {
        let usage = self.has_usage.then_some(Value::Null);
        self.events.push_back(sse::json(&self.head.object(true, vec![choice], usage)));
    }
}
