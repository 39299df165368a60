//! From adapted prompts to OpenAI's objects.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::response::{IntoResponse, Response};
use promptist::decoding::Finish;
use promptist::prompter::{AdaptSettings, Adapted, Output};
use serde_json::{Value, json};

use super::request::{Common, fit};
use super::stream;
use crate::app::App;
use crate::envelope::RequestId;
use crate::error::ApiError;
use crate::json::Json;

/// Which of the two contracts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Chat,
    Completion,
}

/// What all objects of one response share.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    id: String,
    created: u64,
    model: String,
    fingerprint: String,
}

/// Adapts the inputs and answers, at once or as a stream.
pub(crate) async fn answer(
    app: Arc<App>,
    kind: Kind,
    id: &RequestId,
    user_inputs: Vec<String>,
    common: Common,
) -> Result<Response, ApiError> {
    let Common { mut request, stream, include_usage } = common;
    let head = Head::new(&app, kind, id);
    let permits = app.engine.permits(user_inputs.len())?;
    fit(&mut request, &user_inputs, &app.prompter)?;
    let settings = app.settings(request).await?;
    if stream && user_inputs.len() == 1 && stream::is_certain(&settings) {
        drop(permits);
        return stream::live(app, head, user_inputs, settings, include_usage).await;
    }
    let limits = Arc::clone(&app);
    let adapted = limits.in_time(async {
        let inputs = permits.into_iter().zip(user_inputs).zip(0..);
        let ask = |((permit, user_input), row)| app.engine.adapt(permit, user_input, &settings, row, None);
        let answers: Vec<_> = inputs.map(ask).collect();
        let mut adapted = Vec::with_capacity(answers.len());
        for answer in answers {
            adapted.push(answer.get().await?);
        }
        Ok(adapted)
    });
    let adapted = adapted.await?;
    let usage = usage(&app, &adapted, &settings)?;
    if stream {
        return Ok(stream::at_once(&head, &adapted, include_usage.then_some(usage)));
    }
    let choices: Vec<Value> =
        (0..).zip(outputs(&adapted)).map(|(idx, output)| head.choice(idx, output)).collect();
    Ok(Json(head.object(false, choices, Some(usage))).into_response())
}

/// All outputs, those of the first input first.
pub(super) fn outputs(adapted: &[Adapted]) -> impl Iterator<Item = &Output> {
    adapted.iter().flat_map(|adapted| &adapted.outputs)
}

/// Counts of tokens: what the model read and what it wrote.
pub(super) fn usage(app: &App, adapted: &[Adapted], settings: &AdaptSettings) -> Result<Value, ApiError> {
    let mut prompt_tokens = 0;
    for adapted in adapted {
        prompt_tokens += app.prompter.prompt_for(&adapted.user_input, settings.keep)?.len();
    }
    let completion_tokens: usize = outputs(adapted).map(|output| output.token_ids.len()).sum();
    Ok(json!({
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }))
}

/// Why a text ends, in OpenAI's words.
pub(super) fn finish_reason(output: &Output) -> &'static str {
    match output.finish {
        Finish::Eos => "stop",
        Finish::Length | Finish::Budget => "length",
    }
}

impl Head {
    fn new(app: &App, kind: Kind, id: &RequestId) -> Self {
        let prefix = if kind == Kind::Chat { "chatcmpl" } else { "cmpl" };
        let identity = app.prompter.identity();
        let fingerprint = identity.sha256.get(..12).unwrap_or_default();
        Self {
            kind,
            id: format!("{prefix}-{}", id.as_str()),
            created: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            model: identity.name.clone(),
            fingerprint: format!("fp_{fingerprint}"),
        }
    }

    /// A whole response, or a chunk of a stream.
    pub(super) fn object(&self, is_chunk: bool, choices: Vec<Value>, usage: Option<Value>) -> Value {
        let object = match (self.kind, is_chunk) {
            (Kind::Chat, false) => "chat.completion",
            (Kind::Chat, true) => "chat.completion.chunk",
            (Kind::Completion, _) => "text_completion",
        };
        let mut object = json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        });
        if let Some(usage) = usage {
            object["usage"] = usage;
        }
        object
    }

    /// A whole text.
    fn choice(&self, idx: usize, output: &Output) -> Value {
        let (text, finish_reason) = (&output.text, finish_reason(output));
        match self.kind {
            Kind::Chat => json!({
                "index": idx,
                "message": {"role": "assistant", "content": text, "refusal": null},
                "logprobs": null,
                "finish_reason": finish_reason,
            }),
            Kind::Completion => {
                json!({"index": idx, "text": text, "logprobs": null, "finish_reason": finish_reason})
            }
        }
    }
}
