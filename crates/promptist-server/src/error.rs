//! What a client is told when it gets no answer: `{"error": {"message", "type", "param"}}`.
//!
//! A client's own mistakes are told as they are. Of the server's it learns nothing but that there was one;
//! the log has the rest, under the request's id.

use std::time::Duration;

use axum::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use promptist::Error;
use serde_json::json;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// 400: the body is no JSON object.
    Malformed(String),
    /// 422: a field is unknown, impossible or too much.
    Invalid { param: Option<String>, message: String },
    /// 401.
    Unauthorized,
    /// 404.
    NoRoute,
    /// 405.
    NoMethod,
    /// 408: the body did not come.
    SlowBody,
    /// 413: the limit in bytes.
    TooLarge(usize),
    /// 415: the body is not called JSON.
    NotJson,
    /// 429: as much is accepted as can be.
    Full(Duration),
    /// 503: the server is stopping.
    Stopping,
    /// 504: the limit on a request's time.
    Deadline(Duration),
    /// 500: what the log is told.
    Internal(String),
}

/// What the log is told of a response.
#[derive(Debug, Clone)]
pub(crate) struct Cause(pub(crate) String);

impl ApiError {
    pub(crate) fn invalid(param: &str, message: impl Into<String>) -> Self {
        Self::Invalid { param: Some(param.to_owned()), message: message.into() }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Invalid { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::NoMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Full(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::Deadline(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Unauthorized => "authentication_error",
            Self::NoRoute => "not_found_error",
            Self::Full(_) => "overloaded_error",
            Self::Stopping => "unavailable_error",
            Self::Deadline(_) | Self::SlowBody => "timeout_error",
            Self::Internal(_) => "server_error",
            _ => "invalid_request_error",
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Malformed(reason) => format!("the body is no JSON object: {reason}"),
            Self::Invalid { message, .. } => message.clone(),
            Self::Unauthorized => "the request needs `Authorization: Bearer` and the server's token".into(),
            Self::NoRoute => "there is nothing at this path".into(),
            Self::NoMethod => "this path has another method".into(),
            Self::SlowBody => "the body did not come in time".into(),
            Self::TooLarge(limit) => format!("the body is larger than {limit} bytes"),
            Self::NotJson => "the body must be `Content-Type: application/json`".into(),
            Self::Full(_) => "as many inputs are waiting as may; try again later".into(),
            Self::Stopping => "the server is stopping".into(),
            Self::Deadline(limit) => format!("there was no answer within {} s", limit.as_secs_f32()),
            Self::Internal(_) => "something went wrong in the server".into(),
        }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let invalid = |param: &str, error: Error| Self::invalid(param, error.to_string());
        match error {
            Error::Config { ref key, .. } => invalid(&key.clone(), error),
            Error::EmptyPrompt | Error::PromptTooLong { .. } | Error::Tokenizer(_) => {
                invalid("user_input", error)
            }
            Error::Rules(_) => Self::Invalid { param: None, message: error.to_string() },
            error => Self::Internal(error.to_string()),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let param = match &self {
            Self::Invalid { param, .. } => param.as_deref(),
            _ => None,
        };
        let body = json!({"error": {"message": self.message(), "type": self.kind(), "param": param}});
        let mut response = (self.status(), Json(body)).into_response();
        match self {
            Self::Unauthorized => {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Full(wait) => {
                let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            Self::Internal(cause) => _ = response.extensions_mut().insert(Cause(cause)),
            _ => {}
        }
        response
    }
}
