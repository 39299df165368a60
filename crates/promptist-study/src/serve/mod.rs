//! A study over HTTP: the raters' page and what it asks for.
//!
//! ```text
//! GET  /                the page; GET /page/{file} its parts
//! GET  /api/study       texts, and whether anyone may join
//! POST /api/enrol       {"nonce"} -> {"rater": token}, where enrolment is open
//! GET  /api/rater       where the rater of the link stands, and the next questions
//! POST /api/consent     {} -> the same
//! POST /api/votes       {"question", "choice", "nonce", "revision", "millis"} -> the same
//! POST /api/withdraw    {} -> {"deleted"}
//! GET  /image/{id}/{side}/{place}   an image of a question
//! GET  /healthz
//! ```
//!
//! A link's token comes as `Authorization: Bearer`. Nothing that leaves here names a system, a rewrite or a
//! file, tells a check from a question, or depends on which system an image is of. A repeat shows what was shown before, the
//! sides changed; ids and addresses are its own.

mod error;
mod page;
mod routes;
mod server;

use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::HeaderValue;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;

use crate::config::StudyConfig;
use crate::serve::error::ApiError;
use crate::store::Store;
use crate::study::{IMAGES, Study};

pub use server::serve;

/// Bytes of a request's body: an answer has some two hundred.
const MAX_BODY_BYTES: usize = 4 << 10;
/// How long a request may take, its body included.
const DEADLINE: Duration = Duration::from_secs(30);

/// What all requests share.
#[derive(Debug)]
pub(crate) struct App {
    store: Store,
    config: StudyConfig,
    images: PathBuf,
}

impl App {
    fn new(study: Study) -> Self {
        Self { images: study.folder.join(IMAGES), store: study.store, config: study.config }
    }
}

/// The routes. Layers run from the last to the first.
fn router(app: std::sync::Arc<App>) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/page/{file}", get(page::file))
        .route("/api/study", get(routes::study))
        .route("/api/enrol", post(routes::enrol))
        .route("/api/rater", get(routes::rater))
        .route("/api/consent", post(routes::consent))
        .route("/api/votes", post(routes::votes))
        .route("/api/withdraw", post(routes::withdraw))
        .route("/image/{id}/{side}/{place}", get(routes::image))
        .route("/healthz", get(|| async { "ok" }))
        .fallback(|| async { ApiError::NotFound })
        .method_not_allowed_fallback(|| async { ApiError::NoMethod })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(CatchPanicLayer::custom(|_| ApiError::Internal("panic".to_owned()).into_response()))
        .layer(from_fn(envelope))
        .with_state(app)
}

/// A deadline, and headers of caution. No line of the log names a path: paths of images, read beside the time
/// of a vote, would say which rater saw what.
async fn envelope(request: Request, next: Next) -> Response {
    let response = tokio::time::timeout(DEADLINE, next.run(request)).await;
    let mut response = response.unwrap_or_else(|_| ApiError::Slow.into_response());
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    // The link is the rater's key: it goes nowhere else.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(nothing);
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
