//! From OpenAI's fields to our settings.

use std::num::NonZeroUsize;

use promptist::prompter::{AdaptRequest, Prompter};
use serde_json::{Map, Value};

use crate::config::ServerConfig;
use crate::error::ApiError;
use crate::wire::{Fields, is_setting, settings, take};

/// The smallest share of the context that a prompt is taken to need: a prompt of one word under the template,
/// and the neutral prompt that guidance compares with.
const LEAST_PROMPT: usize = 24;

/// What chat and completions have in common.
pub(crate) struct Common {
    pub(crate) request: AdaptRequest,
    pub(crate) stream: bool,
    /// Whether a stream ends with the counts of tokens.
    pub(crate) include_usage: bool,
}

/// Reads the settings.
///
/// # Errors
/// [`ApiError::Invalid`] in OpenAI's names.
pub(crate) fn common(mut fields: Fields, config: &ServerConfig) -> Result<Common, ApiError> {
    let stream = take(&mut fields, "stream")?.unwrap_or(false);
    let include_usage = match fields.remove("stream_options") {
        Some(Value::Object(mut options)) => take(&mut options, "include_usage")?.unwrap_or(false),
        None | Some(Value::Null) => false,
        Some(_) => return Err(ApiError::invalid("stream_options", "`stream_options` is no object")),
    };
    // Any name will do: the server has one model.
    let _: Option<String> = take(&mut fields, "model")?;
    let max_tokens: Option<NonZeroUsize> = take(&mut fields, "max_tokens")?;
    let max_completion_tokens: Option<NonZeroUsize> = take(&mut fields, "max_completion_tokens")?;
    let temperature: Option<f64> = take(&mut fields, "temperature")?;
    let n: Option<usize> = take(&mut fields, "n")?;
    let seed: Option<i128> = take(&mut fields, "seed")?;

    let mut ours: Fields =
        fields.into_iter().filter(|(name, value)| is_setting(name) && !value.is_null()).collect();
    let mut set = |name: &str, value: Value| _ = ours.entry(name).or_insert(value);
    match temperature {
        Some(temperature) if temperature > 0.0 => {
            set("do_sample", true.into());
            set("temperature", temperature.into());
        }
        Some(0.0) => set("do_sample", false.into()),
        Some(temperature) => {
            let reason = format!("`temperature`: {temperature} is below 0");
            return Err(ApiError::invalid("temperature", reason));
        }
        None => {}
    }
    if let Some(n) = n {
        set("num_return_sequences", n.into());
    }
    if let Some(tokens) = max_completion_tokens.or(max_tokens) {
        set("max_new_tokens", tokens.get().into());
    }
    if let Some(seed) = seed {
        // OpenAI's seeds have a sign, ours do not: each has its own.
        set("seed", (seed as u64).into());
    }
    Ok(Common { request: settings(ours, config)?, stream, include_usage })
}

/// Cuts the longest answer to what the context holds beside the prompt, and the model's own least length to
/// that.
///
/// # Errors
/// [`ApiError::Invalid`] for an input that cannot be read.
pub(crate) fn fit(
    request: &mut AdaptRequest,
    user_inputs: &[String],
    prompter: &Prompter,
) -> Result<(), ApiError> {
    let Some(asked) = request.decoding.max_new_tokens else { return Ok(()) };
    let keep = request.keep.unwrap_or(prompter.default_keep());
    let mut longest = LEAST_PROMPT;
    for user_input in user_inputs {
        longest = longest.max(prompter.prompt_for(user_input, keep)?.len());
    }
    let room = prompter.config().n_positions.saturating_sub(longest);
    // An input without room for an answer is an error, which the decoder words better.
    let max_new_tokens = if room == 0 { asked } else { asked.min(room) };
    request.decoding.max_new_tokens = Some(max_new_tokens);
    if request.decoding.min_new_tokens.is_none() {
        let least = prompter.settings(&AdaptRequest::default())?.decoding.min_new_tokens;
        request.decoding.min_new_tokens = Some(least.min(max_new_tokens));
    }
    Ok(())
}

/// Who may speak in a conversation.
const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

/// The last user message of a conversation. Of the others only the role is looked at.
///
/// # Errors
/// [`ApiError::Invalid`] if there is none, or if a message has no role or one that does not exist.
pub(crate) fn last_user_message(messages: &Value) -> Result<String, ApiError> {
    let invalid = |reason: &str| Err(ApiError::invalid("messages", reason));
    let Value::Array(messages) = messages else { return invalid("`messages` is no list") };
    let role = |message: &Value| message.get("role").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(place) = messages.iter().position(|message| !ROLES.contains(&role(message).as_str())) {
        return invalid(&format!("the role of message {place} must be one of {}", ROLES.join(", ")));
    }
    let is_of_user = |message: &&Value| role(message) == "user";
    let Some(message) = messages.iter().rev().find(is_of_user) else {
        return invalid("`messages` has no message whose role is `user`");
    };
    match message.get("content") {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(parts)) => {
            let text = |part: &Map<String, Value>| match part.get("type").and_then(Value::as_str) {
                Some("text") => part.get("text").and_then(Value::as_str).map(str::to_owned),
                _ => None,
            };
            let texts: Option<Vec<String>> = parts.iter().map(|part| text(part.as_object()?)).collect();
            match texts {
                Some(texts) => Ok(texts.join("\n")),
                None => invalid("a part of the last user message is no text, and only text can be adapted"),
            }
        }
        _ => invalid("the last user message has no `content`"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(fields: Value) -> Result<Common, ApiError> {
        let Value::Object(fields) = fields else { panic!("an object") };
        common(fields, &ServerConfig::default())
    }

    #[test]
    fn fields_map_to_settings() {
        let read = read(json!({
            "temperature": 0.7, "top_p": 0.9, "n": 3, "max_tokens": 300, "seed": -1, "stop": ["x"],
            "presence_penalty": 0.1, "ban": ["cats"], "filter": null, "user": "me",
        }));
        let request = read.expect("a good request").request;
        let decoding = &request.decoding;
        assert_eq!(
            (decoding.do_sample, decoding.temperature, decoding.top_p),
            (Some(true), Some(0.7), Some(0.9))
        );
        assert_eq!((decoding.num_return_sequences, decoding.max_new_tokens), (Some(3), Some(300)));
        assert_eq!((decoding.seed, request.ban.len(), request.filter), (Some(u64::MAX), 1, true));
    }

    #[test]
    fn no_temperature_is_as_in_adapt_and_zero_does_not_sample() {
        let defaults = AdaptRequest { filter: true, ..AdaptRequest::default() };
        assert_eq!(read(json!({"model": "gpt-4o"})).expect("good").request, defaults);
        let zero = read(json!({"temperature": 0})).expect("good").request;
        assert_eq!((zero.decoding.do_sample, zero.decoding.temperature), (Some(false), None));
        for (param, fields) in [
            ("temperature", json!({"temperature": -1})),
            ("temperature", json!({"temperature": "hot"})),
            ("n", json!({"n": "two"})),
            ("model", json!({"model": 3})),
            ("max_tokens", json!({"max_tokens": 0, "max_completion_tokens": 3})),
            ("stream_options", json!({"stream_options": 3})),
            ("num_return_sequences", json!({"n": 1000})),
        ] {
            let Err(ApiError::Invalid { param: Some(found), .. }) = read(fields) else { panic!("{param}") };
            assert_eq!(found, param);
        }
    }

    #[test]
    fn the_last_user_message_counts() {
        let messages = json!([
            {"role": "system", "content": "You expand prompts."},
            {"role": "user", "content": "a dog"},
            {"role": "assistant", "content": "a dog, 8k"},
            {"role": "user", "content": [{"type": "text", "text": "a cat"}, {"type": "text", "text": "in a hat"}]},
        ]);
        assert_eq!(last_user_message(&messages).expect("a message"), "a cat\nin a hat");
        for messages in [
            json!(null),
            json!([]),
            json!([{"role": "assistant", "content": "x"}]),
            json!([{"role": "usher", "content": "x"}, {"role": "user", "content": "x"}]),
            json!([{"content": "x"}, {"role": "user", "content": "x"}]),
            json!([{"role": "user"}]),
            json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]),
            json!([3, "x", {"role": "user", "content": [3]}]),
        ] {
            assert!(last_user_message(&messages).is_err(), "{messages}");
        }
    }
}
