//! `POST /v1/completions`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use serde_json::Value;

use super::answer::{Kind, answer};
use super::request::common;
use crate::app::App;
use crate::body::JsonBytes;
use crate::envelope::RequestId;
use crate::error::ApiError;
use crate::wire::{check_inputs, object};

/// Adapts the prompt, or each of a list. The text of a choice is the whole adapted prompt.
pub(crate) async fn completions(
    State(app): State<Arc<App>>,
    Extension(id): Extension<RequestId>,
    JsonBytes(body): JsonBytes,
) -> Result<Response, ApiError> {
    let mut fields = object(&body)?;
    let user_inputs = prompts(fields.remove("prompt"))?;
    check_inputs("prompt", &user_inputs, &app.config)?;
    let common = common(fields, &app.config)?;
    answer(app, Kind::Completion, &id, user_inputs, common).await
}

fn prompts(prompt: Option<Value>) -> Result<Vec<String>, ApiError> {
    let invalid =
        || ApiError::invalid("prompt", "`prompt` must be a text or a list of texts; tokens are not read");
    match prompt {
        Some(Value::String(text)) => Ok(vec![text]),
        Some(Value::Array(list)) if !list.is_empty() => {
            list.into_iter().map(|text| text.as_str().map(str::to_owned).ok_or_else(invalid)).collect()
        }
        _ => Err(invalid()),
    }
}
