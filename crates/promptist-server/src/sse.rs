//! Server-sent events.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::HeaderName;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};
use serde_json::Value;

/// An event with a name.
pub(crate) fn named(name: &str, data: &str) -> String {
    format!("event: {name}\n{}", data_only(data))
}

/// An event without one. JSON has no line breaks, so that one line is enough.
pub(crate) fn data_only(data: &str) -> String {
    format!("data: {data}\n\n")
}

/// A nameless event of JSON.
pub(crate) fn json(data: &Value) -> String {
    data_only(&data.to_string())
}

/// The response that sends these events as they come.
pub(crate) fn response(events: impl Stream<Item = String> + Send + 'static) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-cache"),
        // nginx holds events back otherwise.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(events.map(Ok::<String, Infallible>))).into_response()
}
