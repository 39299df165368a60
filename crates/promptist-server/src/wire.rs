//! The bodies of `POST /v1/adapt` and `POST /v1/rescore`.
//!
//! One flat object: `user_input` (a text) or `user_inputs` (a list), and beside it the settings by the
//! names that `adapt --json` prints them under, those of the search and ours alike. `n` is short for
//! `num_return_sequences`. What is absent is the model's choice; `filter` is on unless it is put off. Any
//! other field is an error.

use std::sync::LazyLock;

use promptist::decoding::RawDecodingSettings;
use promptist::prompter::AdaptRequest;
use promptist::target::Family;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::config::ServerConfig;
use crate::error::ApiError;

/// The fields of a body.
pub(crate) type Fields = Map<String, Value>;

/// A request to adapt that is within the server's limits.
#[derive(Debug)]
pub(crate) struct AdaptBody {
    pub(crate) user_inputs: Vec<String>,
    /// Whether there is a list of answers, or one answer.
    pub(crate) is_list: bool,
    /// Whether the text is wanted as it grows.
    pub(crate) stream: bool,
    pub(crate) request: AdaptRequest,
}

/// A request for scores that is within the server's limits.
#[derive(Debug)]
pub(crate) struct RescoreBody {
    pub(crate) user_input: String,
    /// Whole answers, as the phrases that each adds.
    pub(crate) additions: Vec<Vec<String>>,
    pub(crate) request: AdaptRequest,
}

impl AdaptBody {
    /// # Errors
    /// [`ApiError::Malformed`]; [`ApiError::Invalid`] naming the field.
    pub(crate) fn parse(body: &[u8], config: &ServerConfig) -> Result<Self, ApiError> {
        let mut fields = object(body)?;
        let (user_inputs, is_list) = match (fields.remove("user_input"), fields.remove("user_inputs")) {
            (Some(_), Some(_)) => {
                return Err(ApiError::invalid("user_inputs", "`user_input` or `user_inputs`, not both"));
            }
            (Some(one), None) => (vec![field("user_input", one)?], false),
            (None, Some(list)) => (field("user_inputs", list)?, true),
            (None, None) => return Err(ApiError::invalid("user_input", "`user_input` is missing")),
        };
        check_inputs(if is_list { "user_inputs" } else { "user_input" }, &user_inputs, config)?;
        let stream = fields.remove("stream").map_or(Ok(false), |stream| field("stream", stream))?;
        if stream && is_list {
            return Err(ApiError::invalid("stream", "only one `user_input` can be streamed"));
        }
        Ok(Self { user_inputs, is_list, stream, request: settings(fields, config)? })
    }
}

impl RescoreBody {
    /// # Errors
    /// As [`AdaptBody::parse`].
    pub(crate) fn parse(body: &[u8], config: &ServerConfig) -> Result<Self, ApiError> {
        let mut fields = object(body)?;
        let mut required = |name: &str| {
            fields.remove(name).ok_or_else(|| ApiError::invalid(name, format!("`{name}` is missing")))
        };
        let user_input: String = field("user_input", required("user_input")?)?;
        let additions: Vec<Vec<String>> = field("additions", required("additions")?)?;
        check_inputs("user_input", std::slice::from_ref(&user_input), config)?;
        check("additions", additions.len(), config.max_list)?;
        for addition in &additions {
            check_bytes("additions", addition.iter().map(String::len).sum(), config)?;
        }
        Ok(Self { user_input, additions, request: settings(fields, config)? })
    }
}

/// The object that a body is.
pub(crate) fn object(body: &[u8]) -> Result<Fields, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::Malformed(error.to_string()))
}

/// Whether inputs are few and short enough.
pub(crate) fn check_inputs(
    param: &str,
    user_inputs: &[String],
    config: &ServerConfig,
) -> Result<(), ApiError> {
    check(param, user_inputs.len(), config.max_inputs)?;
    user_inputs.iter().try_for_each(|user_input| check_bytes(param, user_input.len(), config))
}

/// Whether a field of this name is one of the settings.
pub(crate) fn is_setting(name: &str) -> bool {
    OF_SEARCH.contains_key(name) || OURS.contains_key(name)
}

/// The settings that a request's remaining fields make.
pub(crate) fn settings(mut fields: Fields, config: &ServerConfig) -> Result<AdaptRequest, ApiError> {
    if let Some(n) = fields.remove("n")
        && fields.insert("num_return_sequences".to_owned(), n).is_some()
    {
        return Err(ApiError::invalid("n", "`n` is `num_return_sequences`: give one of them"));
    }
    let (mut search, mut ours) = (Map::new(), OURS.clone());
    for (name, value) in fields {
        if let Value::Array(list) = &value {
            check(&name, list.len(), config.max_list)?;
        }
        if OF_SEARCH.contains_key(&name) {
            field::<RawDecodingSettings>(&name, one(&name, &value))?;
            search.insert(name, value);
        } else if OURS.contains_key(&name) {
            field::<AdaptRequest>(&name, one(&name, &value))?;
            ours.insert(name, value);
        } else {
            return Err(ApiError::invalid(&name, format!("unknown field `{name}`")));
        }
    }
    ours.insert("decoding".to_owned(), Value::Object(search));
    let request: AdaptRequest = field("settings", Value::Object(ours))?;
    check("seeds", request.seeds.len(), config.max_answers)?;
    let num_return_sequences = request.decoding.num_return_sequences;
    check("num_return_sequences", num_return_sequences.unwrap_or(1), config.max_answers)?;
    // The library opens folders too: those of the server are none of a client's business.
    if let Some(target) = &request.target
        && !Family::NAMED.iter().any(|family| family.name() == target)
    {
        return Err(ApiError::invalid("target", format!("`{target}` is no family of image models")));
    }
    Ok(request)
}

/// The settings of the search, as they are if nothing is said.
static OF_SEARCH: LazyLock<Fields> = LazyLock::new(|| fields_of(&RawDecodingSettings::default()));

/// The others.
static OURS: LazyLock<Fields> = LazyLock::new(|| {
    let mut ours = fields_of(&AdaptRequest { filter: true, ..AdaptRequest::default() });
    ours.remove("decoding");
    ours
});

fn fields_of(defaults: &impl serde::Serialize) -> Fields {
    match serde_json::to_value(defaults) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// The object with that one field: read alone, it is what an error is about.
fn one(name: &str, value: &Value) -> Value {
    Value::Object(Map::from_iter([(name.to_owned(), value.clone())]))
}

/// A field's value.
pub(crate) fn field<T: DeserializeOwned>(name: &str, value: Value) -> Result<T, ApiError> {
    serde_json::from_value(value).map_err(|error| ApiError::invalid(name, format!("`{name}`: {error}")))
}

/// A field's value; none if it is absent or null.
pub(crate) fn take<T: DeserializeOwned>(fields: &mut Fields, name: &str) -> Result<Option<T>, ApiError> {
    fields.remove(name).map_or(Ok(None), |value| field(name, value))
}

fn check(name: &str, found: usize, limit: usize) -> Result<(), ApiError> {
    match found <= limit {
        true => Ok(()),
        false => Err(ApiError::invalid(name, format!("`{name}`: {found}, and at most {limit} are allowed"))),
    }
}

fn check_bytes(name: &str, found: usize, config: &ServerConfig) -> Result<(), ApiError> {
    let limit = config.max_input_bytes;
    match found <= limit {
        true => Ok(()),
        false => {
            Err(ApiError::invalid(name, format!("`{name}`: {found} bytes, and at most {limit} are read")))
        }
    }
}

#[cfg(test)]
mod tests {
    use promptist::template::Keep;

    use super::*;

    fn parse(body: &str) -> Result<AdaptBody, ApiError> {
        AdaptBody::parse(body.as_bytes(), &ServerConfig::default())
    }

    #[test]
    fn settings_stand_beside_the_input() {
        let body = parse(
            r#"{"user_inputs": ["a cat", "a dog"], "n": 2, "num_beams": 4, "keep": "words",
                "ban": ["@artists"], "eos_token_id": 3, "filter": false, "temperature": null}"#,
        )
        .expect("a good body");
        assert_eq!((body.user_inputs.len(), body.is_list), (2, true));
        let decoding = &body.request.decoding;
        assert_eq!((decoding.num_return_sequences, decoding.num_beams), (Some(2), Some(4)));
        assert_eq!((body.request.keep, body.request.ban.len()), (Some(Keep::Words), 1));
        assert!(!body.request.filter);

        let body = parse(r#"{"user_input": "a cat"}"#).expect("a good body");
        assert!(!body.is_list && body.request.filter);
        assert_eq!(body.request, AdaptRequest { filter: true, ..AdaptRequest::default() });
    }

    #[test]
    fn an_error_names_the_field() {
        for (param, body) in [
            ("user_input", r"{}"),
            ("user_input", r#"{"user_input": 3}"#),
            ("user_inputs", r#"{"user_inputs": "a"}"#),
            ("user_inputs", r#"{"user_input": "a", "user_inputs": []}"#),
            ("num_beam", r#"{"user_input": "a", "num_beam": 3}"#),
            ("decoding", r#"{"user_input": "a", "decoding": {}}"#),
            ("num_beams", r#"{"user_input": "a", "num_beams": -1}"#),
            ("keep", r#"{"user_input": "a", "keep": "all"}"#),
            ("n", r#"{"user_input": "a", "n": 1, "num_return_sequences": 1}"#),
            ("num_return_sequences", r#"{"user_input": "a", "n": 33}"#),
            ("target", r#"{"user_input": "a", "target": "/etc"}"#),
            ("target", r#"{"user_input": "a", "target": "sd3=/etc"}"#),
            ("stream", r#"{"user_inputs": ["a"], "stream": true}"#),
            ("stream", r#"{"user_input": "a", "stream": 1}"#),
        ] {
            let error = parse(body).expect_err(body);
            let ApiError::Invalid { param: Some(found), .. } = &error else { panic!("{body}: {error:?}") };
            assert_eq!(found, param, "{body}");
        }
        for body in ["", "{", "[]", "\u{0}", r#"{"user_input": "a"} x"#] {
            assert!(matches!(parse(body), Err(ApiError::Malformed(_))), "{body}");
        }
    }
}
