//! What there is to ask: the model, in OpenAI's words, and the whole interface in OpenAPI's.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde_json::json;

use crate::app::App;
use crate::json::Json;

/// `GET /v1/models`.
pub(crate) async fn models(State(app): State<Arc<App>>) -> Json {
    let created = app.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let identity = app.prompter.identity();
    Json(json!({
        "object": "list",
        "data": [{
            "id": identity.name,
            "object": "model",
            "created": created,
            "owned_by": "promptist",
            "sha256": identity.sha256,
            "precision": app.prompter.precision(),
        }],
        "generator": app.images.is_some(),
    }))
}

/// `GET /openapi.json`. Written by hand: the settings are the library's, by name, and a test compares them.
pub(crate) async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], include_str!("../../openapi.json"))
}
