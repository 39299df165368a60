//! What every response gets: an id, headers of caution, its error in the right words, a line in the log and
//! in the metrics.

use std::any::Any;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::error::{ApiError, Dialect, Failure};
use crate::json::Json;

/// The header that names a request, from whoever made the name first.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// What a response that is no page may make a browser do: nothing.
const NOTHING: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// Wraps a request's handling.
pub(crate) async fn envelope(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = RequestId::of(request.headers());
    let dialect = Dialect::of(request.uri().path());
    let method = request.method().clone();
    // The route, never what was typed: labels and log lines stay few and clean.
    let path =
        request.extensions().get::<MatchedPath>().map_or("other".to_owned(), |path| path.as_str().to_owned());
    request.extensions_mut().insert(id.clone());

    let mut response = next.run(request).await;
    let failure = response.extensions_mut().remove::<Failure>();
    if let Some(Failure(error)) = &failure {
        response = in_dialect(error, dialect, response.headers());
    }
    let status = response.status();
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static(REQUEST_ID), id.0.clone());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(NOTHING);
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    // A body that was not read is in the way of the next request.
    let is_unread = matches!(status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT);
    if is_unread || app.engine.is_stopping() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }

    let took = started.elapsed();
    app.metrics.answered(&path, status.as_u16(), took);
    let id = id.as_str();
    let (status, ms) = (status.as_u16(), took.as_secs_f64() * 1e3);
    match failure.as_ref().and_then(|failure| failure.0.cause()) {
        Some(cause) => tracing::error!(id, %method, path, status, ms, cause),
        None => tracing::info!(id, %method, path, status, ms),
    }
    response
}

/// What a handler's panic becomes.
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
    ApiError::Internal(format!("panic: {}", message.unwrap_or_default())).into_response()
}

/// The response to an error, with the headers that it has already.
fn in_dialect(error: &ApiError, dialect: Dialect, headers: &HeaderMap) -> Response {
    let mut response = (error.status(dialect), Json(error.body(dialect))).into_response();
    for (name, value) in headers {
        response.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
    response
}

/// A request's name.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    /// The client's own name for its request, if it is short and plain; else a new one.
    fn of(headers: &HeaderMap) -> Self {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
        match headers.get(REQUEST_ID) {
            Some(id) if (1..=128).contains(&id.len()) && id.as_bytes().iter().all(is_plain) => {
                Self(id.clone())
            }
            _ => Self::new(),
        }
    }

    /// 64 bits that no other request of this process has, and hardly any of another.
    fn new() -> Self {
        static NAMES: OnceLock<RandomState> = OnceLock::new();
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:016x}", NAMES.get_or_init(RandomState::new).hash_one(count));
        Self(HeaderValue::from_str(&id).expect("hexadecimal digits are a header's value"))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}
