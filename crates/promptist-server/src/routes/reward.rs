//! OpenRLHF's `POST /get_reward`: the configured reward, for trainers of others.
//!
//! `{"query": [...], "prompts": [...], "labels": [...]}` -> `{"rewards": [...], "scores": [...],
//! "extra_logs": {TERM: [...]}}`. `query` is the prompt with the answer behind it. What the user typed is the prompt
//! without our template, or the label where there are no prompts. A batch is scored whole or not at all: the
//! trainer asks again.
//!
//! Source: `openrlhf/cli/serve_rm.py`, `_fetch_rewards_via_http` in `openrlhf/utils/agent.py`.

use std::sync::Arc;

use axum::extract::State;
use promptist::reward::{Pair, TermScores};
use promptist::template;
use serde_json::{Value, json};

use crate::app::App;
use crate::body::JsonBytes;
use crate::error::ApiError;
use crate::json::Json;
use crate::wire::{object, take};

/// Scores of all pairs.
pub(crate) async fn get_reward(
    State(app): State<Arc<App>>,
    JsonBytes(body): JsonBytes,
) -> Result<Json, ApiError> {
    let Some(reward) = &app.reward else { return Err(ApiError::NoRoute) };
    let mut fields = object(&body)?;
    let queries: Vec<String> =
        take(&mut fields, "query")?.ok_or_else(|| ApiError::invalid("query", "`query` is missing"))?;
    let prompts: Option<Vec<String>> = take(&mut fields, "prompts")?;
    let pairs = match prompts {
        Some(prompts) => pairs(&queries, &prompts, "prompts", pair_of_prompt)?,
        None => {
            let labels: Vec<String> = take(&mut fields, "labels")?
                .ok_or_else(|| ApiError::invalid("prompts", "`prompts` is missing"))?;
            pairs(&queries, &labels, "labels", pair_of_label)?
        }
    };
    if app.engine.is_stopping() {
        return Err(ApiError::Stopping);
    }
    let scores: Result<Vec<TermScores>, String> = reward.score(pairs).await?.into_iter().collect();
    let scores = scores.map_err(|reason| ApiError::Internal(format!("no score: {reason}")))?;
    let rewards: Vec<f64> = scores.iter().map(|scores| scores.total).collect();
    let terms = reward.names().iter().enumerate().map(|(idx, name)| {
        let term: Vec<f64> = scores.iter().map(|scores| scores.terms[idx]).collect();
        (name.clone(), json!(term))
    });
    let extra_logs = Value::Object(terms.collect());
    Ok(Json(json!({"rewards": rewards, "scores": rewards, "extra_logs": extra_logs})))
}

fn pairs(
    queries: &[String],
    others: &[String],
    param: &str,
    pair: fn(&str, &str) -> Pair,
) -> Result<Vec<Pair>, ApiError> {
    if queries.len() != others.len() {
        let reason = format!("{} of `query`, but {} of `{param}`", queries.len(), others.len());
        return Err(ApiError::invalid(param, reason));
    }
    Ok(queries.iter().zip(others).map(|(query, other)| pair(query, other)).collect())
}

/// `a cat Rephrase: a cat, 8k` and `a cat Rephrase:`.
fn pair_of_prompt(query: &str, prompt: &str) -> Pair {
    let adapted_prompt = query.strip_prefix(prompt).unwrap_or(query).trim().to_owned();
    Pair { user_input: user_input(prompt).to_owned(), adapted_prompt }
}

/// `a cat Rephrase: a cat, 8k` and `a cat`.
fn pair_of_label(query: &str, label: &str) -> Pair {
    pair_of_prompt(query, &template::prompt(label.trim()))
}

/// What the user typed, of a prompt with or without the template.
fn user_input(prompt: &str) -> &str {
    let suffix = template::prompt("");
    prompt.trim().strip_suffix(suffix.trim()).unwrap_or(prompt).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_taken_apart() {
        let pair = Pair { user_input: "a cat".to_owned(), adapted_prompt: "a cat, 8k".to_owned() };
        assert_eq!(pair_of_prompt("a cat Rephrase: a cat, 8k", "a cat Rephrase:"), pair);
        assert_eq!(
            pair_of_prompt("a cat: a cat, 8k", "a cat:"),
            Pair { user_input: "a cat:".into(), ..pair.clone() }
        );
        assert_eq!(pair_of_label("a cat Rephrase: a cat, 8k", "a cat"), pair);
        // A trainer of others may send the answer alone.
        assert_eq!(pair_of_prompt("a cat, 8k", "a cat Rephrase:"), pair);
    }
}
