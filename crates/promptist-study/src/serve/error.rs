//! What a rater's browser is told when it gets no answer.

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::error::Error;

/// Why there is no answer. Of the study's own trouble a browser learns nothing but that there is some; the log
/// has the rest.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// 400: the body is not what the route reads.
    Malformed(String),
    /// 401: no link, or not one of this study's.
    NoLink,
    /// 403: enrolment is not open, or over.
    Closed(&'static str),
    /// 404.
    NotFound,
    /// 405.
    NoMethod,
    /// 408: the request took too long.
    Slow,
    /// 409: another answer stands, or another question comes first.
    OutOfTurn,
    /// 410: the rater has withdrawn.
    Withdrawn,
    /// 413.
    TooLarge,
    /// 415: the body is not called JSON.
    NotJson,
    /// 500: what the log is told.
    Internal(String),
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::NoLink => StatusCode::UNAUTHORIZED,
            Self::Closed(_) => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::NoMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::OutOfTurn => StatusCode::CONFLICT,
            Self::Withdrawn => StatusCode::GONE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn message(&self) -> &str {
        match self {
            Self::Malformed(reason) => reason,
            Self::NoLink => "this is no link to the study",
            Self::Closed(reason) => reason,
            Self::NotFound => "there is nothing at this path",
            Self::NoMethod => "this path has another method",
            Self::Slow => "the request took too long",
            Self::OutOfTurn => "this question has another answer already, or is not the next one",
            Self::Withdrawn => "you have withdrawn from the study",
            Self::TooLarge => "the body is too large",
            Self::NotJson => "the body must be `Content-Type: application/json`",
            Self::Internal(_) => "something went wrong in the study's server",
        }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::Full(_) => Self::Closed("the study has all the raters that it takes"),
            error => Self::Internal(error.to_string()),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let Self::Internal(cause) = &self {
            tracing::error!(cause, "a request could not be answered");
        }
        let body = json!({"error": {"message": self.message()}}).to_string();
        (self.status(), [(CONTENT_TYPE, "application/json")], body).into_response()
    }
}
