//! The body of `POST /v1/adapt`.
//!
//! One flat object: `user_input` (a text) or `user_inputs` (a list), and beside it the settings by the
//! names that `adapt --json` prints them under, those of the search and ours alike. `n` is short for
//! `num_return_sequences`. What is absent is the model's choice; `filter` is on unless it is put off. Any
//! other field is an error.

use promptist::decoding::RawDecodingSettings;
use promptist::prompter::AdaptRequest;
use promptist::target::Family;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::config::ServerConfig;
use crate::error::ApiError;

/// A request that is within the server's limits.
#[derive(Debug)]
pub(crate) struct AdaptBody {
    pub(crate) user_inputs: Vec<String>,
    /// Whether there is a list of answers, or one answer.
    pub(crate) is_list: bool,
    pub(crate) request: AdaptRequest,
}

impl AdaptBody {
    /// # Errors
    /// [`ApiError::Malformed`]; [`ApiError::Invalid`] naming the field.
    pub(crate) fn parse(body: &[u8], config: &ServerConfig) -> Result<Self, ApiError> {
        let mut fields: Map<String, Value> =
            serde_json::from_slice(body).map_err(|error| ApiError::Malformed(error.to_string()))?;
        let (user_inputs, is_list) = match (fields.remove("user_input"), fields.remove("user_inputs")) {
            (Some(_), Some(_)) => {
                return Err(ApiError::invalid("user_inputs", "`user_input` or `user_inputs`, not both"));
            }
            (Some(one), None) => (vec![field("user_input", one)?], false),
            (None, Some(list)) => (field("user_inputs", list)?, true),
            (None, None) => return Err(ApiError::invalid("user_input", "`user_input` is missing")),
        };
        check("user_inputs", user_inputs.len(), config.max_inputs)?;
        let request = settings(fields)?;
        check("seeds", request.seeds.len(), config.max_answers)?;
        let num_return_sequences = request.decoding.num_return_sequences;
        check("num_return_sequences", num_return_sequences.unwrap_or(1), config.max_answers)?;
        // The library opens folders too: those of the server are none of a client's business.
        if let Some(target) = &request.target
            && !Family::NAMED.iter().any(|family| family.name() == target)
        {
            return Err(ApiError::invalid("target", format!("`{target}` is no family of image models")));
        }
        Ok(Self { user_inputs, is_list, request })
    }
}

/// The settings that a request's remaining fields make.
fn settings(mut fields: Map<String, Value>) -> Result<AdaptRequest, ApiError> {
    if let Some(n) = fields.remove("n")
        && fields.insert("num_return_sequences".to_owned(), n).is_some()
    {
        return Err(ApiError::invalid("n", "`n` is `num_return_sequences`: give one of them"));
    }
    let of_search = known_fields(&RawDecodingSettings::default());
    let mut ours = known_fields(&AdaptRequest { filter: true, ..AdaptRequest::default() });
    ours.remove("decoding");
    let mut search = Map::new();
    for (name, value) in fields {
        let (known, taken) = match of_search.contains_key(&name) {
            true => (field::<RawDecodingSettings>(&name, one(&name, &value)).map(drop), &mut search),
            false if ours.contains_key(&name) => {
                (field::<AdaptRequest>(&name, one(&name, &value)).map(drop), &mut ours)
            }
            false => return Err(ApiError::invalid(&name, format!("unknown field `{name}`"))),
        };
        known?;
        taken.insert(name, value);
    }
    ours.insert("decoding".to_owned(), Value::Object(search));
    field("settings", Value::Object(ours))
}

/// The object with that one field: read alone, it is what an error is about.
fn one(name: &str, value: &Value) -> Value {
    Value::Object(Map::from_iter([(name.to_owned(), value.clone())]))
}

fn known_fields(defaults: &impl serde::Serialize) -> Map<String, Value> {
    match serde_json::to_value(defaults) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

fn field<T: DeserializeOwned>(name: &str, value: Value) -> Result<T, ApiError> {
    serde_json::from_value(value).map_err(|error| ApiError::invalid(name, format!("`{name}`: {error}")))
}

fn check(name: &str, found: usize, limit: usize) -> Result<(), ApiError> {
    match found <= limit {
        true => Ok(()),
        false => Err(ApiError::invalid(name, format!("`{name}`: {found}, and at most {limit} are allowed"))),
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
