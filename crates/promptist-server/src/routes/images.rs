//! `POST /v1/images`: the user's input and an adapted prompt as pictures, from the same noise.
//!
//! `{"user_input", "prompt", "seed"}` -> events `progress` with `{"which", "done", "of"}`, `image` with
//! `{"which", "src", "scores"}`, then `done` or `error`. `which` is `user_input` or `prompt`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream;
use serde_json::json;

use crate::app::App;
use crate::body::JsonBytes;
use crate::error::{ApiError, Dialect};
use crate::image_queue::{Told, Wanted};
use crate::sse;
use crate::wire::{check_inputs, object, take};

/// A stream of progress, two images, and the end.
pub(crate) async fn images(
    State(app): State<Arc<App>>,
    JsonBytes(body): JsonBytes,
) -> Result<Response, ApiError> {
    let Some(images) = &app.images else { return Err(ApiError::NoRoute) };
    let mut fields = object(&body)?;
    let mut text = |name: &str| -> Result<String, ApiError> {
        let text: String = take(&mut fields, name)?
            .ok_or_else(|| ApiError::invalid(name, format!("`{name}` is missing")))?;
        check_inputs(name, std::slice::from_ref(&text), &app.config)?;
        match text.trim().is_empty() {
            true => Err(ApiError::invalid(name, format!("`{name}` is empty"))),
            false => Ok(text),
        }
    };
    let (user_input, prompt) = (text("user_input")?, text("prompt")?);
    let seed = take(&mut fields, "seed")?.unwrap_or(0);
    if app.engine.is_stopping() {
        return Err(ApiError::Stopping);
    }
    let telling = images.draw(Wanted { user_input, prompt, seed })?;
    Ok(sse::response(stream::unfold(telling, |mut telling| async move {
        let told = telling.next().await?;
        Some((event(told), telling))
    })))
}

fn event(told: Told) -> String {
    match told {
        Told::Progress { which, done, of } => {
            sse::named("progress", &json!({"which": which, "done": done, "of": of}).to_string())
        }
        Told::Image { which, png, scores } => {
            let src = format!("data:image/png;base64,{}", STANDARD.encode(png));
            sse::named("image", &json!({"which": which, "src": src, "scores": scores}).to_string())
        }
        Told::Over(Ok(())) => sse::named("done", "{}"),
        Told::Over(Err(error)) => {
            if let Some(cause) = error.cause() {
                tracing::error!(cause, "an image could not be made");
            }
            sse::named("error", &error.body(Dialect::Ours).to_string())
        }
    }
}
