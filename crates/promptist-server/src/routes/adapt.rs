//! `POST /v1/adapt`: the objects of `promptist adapt --json`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use promptist::prompter::{AdaptSettings, Adapted};
use serde_json::json;

use crate::app::App;
use crate::body::JsonBytes;
use crate::error::{ApiError, Dialect};
use crate::growing::{Growing, Seen, grows};
use crate::sse;
use crate::wire::AdaptBody;

/// One object, a list of them, or a stream that ends in one.
pub(crate) async fn adapt(
    State(app): State<Arc<App>>,
    JsonBytes(body): JsonBytes,
) -> Result<Response, ApiError> {
    let body = AdaptBody::parse(&body, &app.config)?;
    if body.stream {
        return streamed(app, body).await;
    }
    let limits = Arc::clone(&app);
    limits.in_time(answered(&app, body)).await
}

async fn answered(app: &App, body: AdaptBody) -> Result<Response, ApiError> {
    let AdaptBody { user_inputs, is_list, request, .. } = body;
    let permits = app.engine.permits(user_inputs.len())?;
    let settings = app.settings(request).await?;
    let mut answers: Vec<_> = permits
        .into_iter()
        .zip(&user_inputs)
        .zip(0..)
        .map(|((permit, user_input), row)| app.engine.adapt(permit, user_input.clone(), &settings, row, None))
        .collect();
    let mut objects = Vec::with_capacity(answers.len());
    for (answer, user_input) in answers.iter_mut().zip(&user_inputs) {
        objects.push(match (answer.result().await?, is_list) {
            (Ok(adapted), _) => object(app, adapted, &settings)?,
            (Err(error), false) => return Err(error.into()),
            (Err(error), true) => json!({"user_input": user_input, "error": told(error)}).to_string(),
        });
    }
    let body = match is_list {
        true => format!(r#"{{"results":[{}]}}"#, objects.join(",")),
        false => objects.join(""),
    };
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// Events `progress` with the text so far, then `done` with the object, or `error`.
async fn streamed(app: Arc<App>, body: AdaptBody) -> Result<Response, ApiError> {
    let settings = app.settings(body.request).await?;
    if !grows(&settings) {
        let reason = "only one answer, sampled or greedy (num_beams 1), can be streamed";
        return Err(ApiError::invalid("stream", reason));
    }
    let Some(user_input) = body.user_inputs.into_iter().next() else {
        return Err(ApiError::invalid("user_input", "`user_input` is missing"));
    };
    let mut growing = Growing::start(&app, user_input, &settings)?;
    // An input that cannot be adapted is told so by the status, as without a stream.
    let first = match growing.next().await {
        Some(Seen::Done(Err(error))) => return Err(error),
        first => first,
    };
    let events = stream::unfold((first, growing), move |(first, mut growing)| {
        let (app, settings) = (Arc::clone(&app), Arc::clone(&settings));
        async move {
            let seen = match first {
                Some(seen) => seen,
                None => growing.next().await?,
            };
            Some((event(&app, seen, &settings), (None, growing)))
        }
    });
    Ok(sse::response(events))
}

fn event(app: &App, seen: Seen, settings: &AdaptSettings) -> String {
    let object = match seen {
        Seen::Text(text) => return sse::named("progress", &json!({"text": text}).to_string()),
        Seen::Done(adapted) => adapted.and_then(|adapted| object(app, adapted, settings)),
    };
    match object {
        Ok(object) => sse::named("done", &object),
        Err(error) => {
            if let Some(cause) = error.cause() {
                tracing::error!(cause, "in a stream");
            }
            sse::named("error", &error.body(Dialect::Ours).to_string())
        }
    }
}

/// A line of `adapt --json`, to the byte.
fn object(app: &App, adapted: Adapted, settings: &AdaptSettings) -> Result<String, ApiError> {
    let record = app.prompter.record(adapted, settings);
    serde_json::to_string(&record).map_err(|error| ApiError::Internal(error.to_string()))
}

/// What a row of a list says of its error: the message, as in `adapt --json`.
fn told(error: promptist::Error) -> String {
    let error = ApiError::from(error);
    if let Some(cause) = error.cause() {
        tracing::error!(cause, "in a list");
    }
    error.message()
}
