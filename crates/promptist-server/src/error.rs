//! What a client is told when it gets no answer.
//!
//! A client's own mistakes are told as they are. Of the server's it learns nothing but that there was one;
//! the log has the rest, under the request's id. Handlers return an [`ApiError`]; `envelope` puts it into
//! the words of the program whose contract the path keeps: see [`Dialect`].

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use promptist::Error;
use serde_json::{Value, json};

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// 400: the body is no JSON object.
    Malformed(String),
    /// 422: a field is unknown, impossible or too much.
    Invalid { param: Option<String>, message: String },
    /// 422: the input leaves no room for an answer.
    TooLong(String),
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
    /// 503: the server is not ready yet.
    NotReady,
    /// 504: the limit on a request's time.
    Deadline(Duration),
    /// 500: what the log is told.
    Internal(String),
}

/// Whose words errors take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `{"error": {"message", "type", "param"}}`.
    Ours,
    /// `{"error": {"message", "type", "param", "code"}}`, and 400 for what we call 422.
    OpenAi,
    /// FastAPI's, which SD.Next is made with: `{"detail": ...}`.
    FastApi,
    /// `{"error", "code"}`, as mold's server has it.
    Mold,
}

impl Dialect {
    /// That of a path.
    pub(crate) fn of(path: &str) -> Self {
        match path {
            "/v1/chat/completions" | "/v1/completions" => Self::OpenAi,
            "/sdapi/v1/prompt-enhance" => Self::FastApi,
            "/api/expand" => Self::Mold,
            _ => Self::Ours,
        }
    }
}

impl ApiError {
    pub(crate) fn invalid(param: &str, message: impl Into<String>) -> Self {
        Self::Invalid { param: Some(param.to_owned()), message: message.into() }
    }

    /// The status in a dialect.
    pub(crate) fn status(&self, dialect: Dialect) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Invalid { .. } | Self::TooLong(_) if dialect == Dialect::OpenAi => StatusCode::BAD_REQUEST,
            Self::Invalid { .. } | Self::TooLong(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::NoMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Full(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Stopping | Self::NotReady => StatusCode::SERVICE_UNAVAILABLE,
            Self::Deadline(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The body in a dialect.
    pub(crate) fn body(&self, dialect: Dialect) -> Value {
        // What we call the input has another name in every other contract.
        let param = self.param().filter(|&param| dialect == Dialect::Ours || param != "user_input");
        let message = self.message();
        match dialect {
            Dialect::Ours => json!({"error": {"message": message, "type": self.kind(), "param": param}}),
            Dialect::OpenAi => {
                let (kind, code) = self.openai_kind();
                json!({"error": {"message": message, "type": kind, "param": param, "code": code}})
            }
            Dialect::FastApi => match self {
                Self::Malformed(_) | Self::Invalid { .. } | Self::TooLong(_) => {
                    let place: Vec<&str> = std::iter::once("body").chain(param).collect();
                    json!({"detail": [{"type": "value_error", "loc": place, "msg": message}]})
                }
                _ => json!({"detail": message}),
            },
            Dialect::Mold => json!({"error": message, "code": self.mold_code()}),
        }
    }

    /// What the log is told beyond what the client is.
    pub(crate) fn cause(&self) -> Option<&str> {
        match self {
            Self::Internal(cause) => Some(cause),
            _ => None,
        }
    }

    fn param(&self) -> Option<&str> {
        match self {
            Self::Invalid { param, .. } => param.as_deref(),
            Self::TooLong(_) => Some("user_input"),
            _ => None,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Unauthorized => "authentication_error",
            Self::NoRoute => "not_found_error",
            Self::Full(_) => "overloaded_error",
            Self::Stopping | Self::NotReady => "unavailable_error",
            Self::Deadline(_) | Self::SlowBody => "timeout_error",
            Self::Internal(_) => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// Type and code, as OpenAI's own server names them.
    fn openai_kind(&self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Unauthorized => ("invalid_request_error", Some("invalid_api_key")),
            Self::TooLong(_) => ("invalid_request_error", Some("context_length_exceeded")),
            Self::Full(_) => ("rate_limit_error", Some("rate_limit_exceeded")),
            Self::Stopping | Self::NotReady | Self::Deadline(_) | Self::Internal(_) => ("server_error", None),
            _ => ("invalid_request_error", None),
        }
    }

    fn mold_code(&self) -> &'static str {
        match self {
            Self::Unauthorized => "UNAUTHORIZED",
            Self::NoRoute | Self::NoMethod => "NOT_FOUND",
            Self::Full(_) => "RATE_LIMITED",
            Self::Stopping | Self::NotReady => "UNAVAILABLE",
            Self::Deadline(_) => "TIMEOUT",
            Self::Internal(_) => "INTERNAL_ERROR",
            _ => "VALIDATION_ERROR",
        }
    }

    /// What the client is told.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Malformed(reason) => format!("the body is no JSON object: {reason}"),
            Self::Invalid { message, .. } | Self::TooLong(message) => message.clone(),
            Self::Unauthorized => "the request needs `Authorization: Bearer` and the server's token".into(),
            Self::NoRoute => "there is nothing at this path".into(),
            Self::NoMethod => "this path has another method".into(),
            Self::SlowBody => "the body did not come in time".into(),
            Self::TooLarge(limit) => format!("the body is larger than {limit} bytes"),
            Self::NotJson => "the body must be `Content-Type: application/json`".into(),
            Self::Full(_) => "as many inputs are waiting as may; try again later".into(),
            Self::Stopping => "the server is stopping".into(),
            Self::NotReady => "the server is not ready yet".into(),
            Self::Deadline(limit) => format!("there was no answer within {} s", limit.as_secs_f32()),
            Self::Internal(_) => "something went wrong in the server".into(),
        }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::Config { ref key, .. } => Self::invalid(&key.clone(), error.to_string()),
            Error::PromptTooLong { .. } => Self::TooLong(error.to_string()),
            Error::EmptyPrompt | Error::Tokenizer(_) => Self::invalid("user_input", error.to_string()),
            Error::Rules(_) => Self::Invalid { param: None, message: error.to_string() },
            error => Self::Internal(error.to_string()),
        }
    }
}

/// An error on its way to the `envelope`, which alone knows the dialect.
#[derive(Debug, Clone)]
pub(crate) struct Failure(pub(crate) Arc<ApiError>);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status(Dialect::Ours).into_response();
        match self {
            Self::Unauthorized => {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Full(wait) => {
                let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            _ => {}
        }
        response.extensions_mut().insert(Failure(Arc::new(self)));
        response
    }
}
