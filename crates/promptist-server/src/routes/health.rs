//! For whoever watches the server.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use crate::app::App;
use crate::error::ApiError;

/// The format that `prometheus-client` writes.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The process is there.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// It answers prompts.
pub(crate) async fn readyz(State(app): State<Arc<App>>) -> Result<&'static str, ApiError> {
    match (app.is_ready(), app.engine.is_stopping()) {
        (true, _) => Ok("ready\n"),
        (false, true) => Err(ApiError::Stopping),
        (false, false) => Err(ApiError::NotReady),
    }
}

/// What it has done.
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, OPEN_METRICS)], app.metrics.text(app.engine.num_pending()))
}
