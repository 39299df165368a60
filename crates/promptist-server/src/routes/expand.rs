//! mold's `POST /api/expand`.
//!
//! `{"prompt", "model_family", "variations"}` -> `{"original", "expanded": [...]}`. One variation is `adapt`'s
//! answer; several are drawn, for the second best of a search hardly differs from the best. A family that
//! reads CLIP's tokens bounds the answer by what it reads; `style` and `task` steer a chat model and have
//! nothing to steer here.
//!
//! Source: `ExpandRequest` in mold's `crates/mold-core/src/types.rs`, `expand_prompt` and `ApiError` in
//! `crates/mold-server/src/routes.rs`.

use std::sync::Arc;

use axum::extract::State;
use serde_json::json;

use crate::app::App;
use crate::body::JsonBytes;
use crate::error::ApiError;
use crate::json::Json;
use crate::wire::{Fields, check_inputs, object, settings, take};

/// `MAX_VARIATIONS` in mold's `crates/mold-core/src/expand.rs`.
const MAX_VARIATIONS: usize = 10;

/// Families whose prompts CLIP reads, which needs no files.
const READ_BY_CLIP: [&str; 2] = ["sd15", "sdxl"];

/// As many prompts as variations are asked for.
pub(crate) async fn expand(
    State(app): State<Arc<App>>,
    JsonBytes(body): JsonBytes,
) -> Result<Json, ApiError> {
    let mut fields = object(&body)?;
    let prompt: String =
        take(&mut fields, "prompt")?.ok_or_else(|| ApiError::invalid("prompt", "missing field `prompt`"))?;
    check_inputs("prompt", std::slice::from_ref(&prompt), &app.config)?;
    let family: Option<String> = take(&mut fields, "model_family")?;
    let variations = take(&mut fields, "variations")?.unwrap_or(1);
    if !(1..=MAX_VARIATIONS).contains(&variations) {
        let reason = format!("variations must be between 1 and {MAX_VARIATIONS}");
        return Err(ApiError::invalid("variations", reason));
    }
    let mut ours = Fields::new();
    if variations > 1 {
        ours.insert("do_sample".to_owned(), true.into());
        ours.insert("num_return_sequences".to_owned(), variations.into());
    }
    if let Some(family) = family.filter(|family| READ_BY_CLIP.contains(&family.as_str())) {
        ours.insert("target".to_owned(), family.into());
    }
    let request = settings(ours, &app.config)?;
    let original = prompt.clone();
    let adapted = app
        .in_time(async {
            let permit = app.engine.permit()?;
            let settings = app.settings(request).await?;
            app.engine.adapt(permit, prompt, &settings, 0, None).get().await
        })
        .await?;
    let expanded: Vec<String> = adapted.outputs.into_iter().map(|output| output.text).collect();
    Ok(Json(json!({"original": original, "expanded": expanded})))
}
