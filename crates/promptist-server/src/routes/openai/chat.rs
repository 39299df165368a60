//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;

use super::answer::{Kind, answer};
use super::request::{common, last_user_message};
use crate::app::App;
use crate::body::JsonBytes;
use crate::envelope::RequestId;
use crate::error::ApiError;
use crate::wire::{check_inputs, object};

/// Adapts the last user message.
pub(crate) async fn chat(
    State(app): State<Arc<App>>,
    Extension(id): Extension<RequestId>,
    JsonBytes(body): JsonBytes,
) -> Result<Response, ApiError> {
    let mut fields = object(&body)?;
    let messages =
        fields.remove("messages").ok_or_else(|| ApiError::invalid("messages", "`messages` is missing"))?;
    let user_input = last_user_message(&messages)?;
    check_inputs("messages", std::slice::from_ref(&user_input), &app.config)?;
    let common = common(fields, &app.config)?;
    answer(app, Kind::Chat, &id, vec![user_input], common).await
}
