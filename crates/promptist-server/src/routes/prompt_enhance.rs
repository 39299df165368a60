//! SD.Next's `POST /sdapi/v1/prompt-enhance`.
//!
//! Fields that steer a chat model (`model`, `system_prompt`, `thinking`, `prefill`, ...) are accepted and have
//! nothing to steer. `nsfw` does not turn our filter off: it tidies too. A seed of 0 or below is drawn, as
//! SD.Next does, and the answer says which it was.
//!
//! Source: `ReqPromptEnhance` in SD.Next's `modules/api/models.py`, `post_prompt_enhance` in
//! `modules/api/process.py`.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::State;
use serde_json::{Value, json};

use super::openai::request::fit;
use crate::app::App;
use crate::body::JsonBytes;
use crate::error::ApiError;
use crate::json::Json;
use crate::wire::{Fields, check_inputs, object, settings, take};

/// `{"prompt", "seed"}`.
pub(crate) async fn prompt_enhance(
    State(app): State<Arc<App>>,
    JsonBytes(body): JsonBytes,
) -> Result<Json, ApiError> {
    let mut fields = object(&body)?;
    let prompt: String =
        take(&mut fields, "prompt")?.ok_or_else(|| ApiError::invalid("prompt", "Field required"))?;
    check_inputs("prompt", std::slice::from_ref(&prompt), &app.config)?;
    let kind: Option<String> = take(&mut fields, "type")?;
    if kind.as_deref().is_some_and(|kind| kind != "text") {
        return Err(ApiError::invalid("type", "only `text` can be enhanced here"));
    }
    let (prefix, suffix): (Option<String>, Option<String>) =
        (take(&mut fields, "prefix")?, take(&mut fields, "suffix")?);
    let seed = match take::<i64>(&mut fields, "seed")? {
        Some(seed @ 1..) => seed as u64,
        _ => drawn_seed(),
    };
    let mut request = settings(ours(&mut fields, seed)?, &app.config)?;
    let adapted = app
        .in_time(async {
            let permit = app.engine.permit()?;
            fit(&mut request, std::slice::from_ref(&prompt), &app.prompter)?;
            let settings = app.settings(request).await?;
            app.engine.adapt(permit, prompt, &settings, 0, None).get().await
        })
        .await?;
    let text = adapted.outputs.into_iter().next().map(|output| output.text).unwrap_or_default();
    let parts = [prefix.as_deref(), Some(text.as_str()), suffix.as_deref()];
    let parts: Vec<&str> =
        parts.into_iter().flatten().map(str::trim).filter(|part| !part.is_empty()).collect();
    Ok(Json(json!({"prompt": parts.join(" "), "seed": seed})))
}

/// The settings among SD.Next's fields, under our names.
fn ours(fields: &mut Fields, seed: u64) -> Result<Fields, ApiError> {
    let mut ours = Fields::new();
    ours.insert("seed".to_owned(), seed.into());
    let temperature: Option<f64> = take(fields, "temperature")?;
    let do_sample: Option<bool> = take(fields, "do_sample")?;
    let (temperature, do_sample) = match temperature {
        // Zero is their word for no sampling, and divides by nothing in ours.
        Some(0.0) => (None, Some(false)),
        Some(temperature) => (Some(temperature), do_sample.or(Some(true))),
        None => (None, do_sample),
    };
    ours.extend(temperature.map(|temperature| ("temperature".to_owned(), temperature.into())));
    ours.extend(do_sample.map(|do_sample| ("do_sample".to_owned(), do_sample.into())));
    for (theirs, our_name) in [
        ("max_tokens", "max_new_tokens"),
        ("min_tokens", "min_new_tokens"),
        ("repetition_penalty", "repetition_penalty"),
        ("top_k", "top_k"),
        ("top_p", "top_p"),
    ] {
        match fields.remove(theirs) {
            None | Some(Value::Null) => {}
            Some(value) => _ = ours.insert(our_name.to_owned(), value),
        }
    }
    Ok(ours)
}

/// A seed of 31 bits, which every client can hold.
fn drawn_seed() -> u64 {
    RandomState::new().hash_one(SystemTime::now()) >> 33 | 1
}
