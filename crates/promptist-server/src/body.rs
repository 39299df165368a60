//! A request's body: called JSON, within the limit, and here in time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::BodyExt;

use crate::app::App;
use crate::error::ApiError;

/// How much of a body that is too large is read on, so that its sender reads our answer.
const DRAIN_BYTES: usize = 8 << 20;

/// And for how long.
const DRAIN_TIME: Duration = Duration::from_millis(500);

/// The bytes of a body that is said to be JSON.
///
/// Anything else is refused, forms above all: browsers send those to any server without asking it first,
/// so a page of another origin could make its visitors' servers work.
pub(crate) struct JsonBytes(pub(crate) Vec<u8>);

impl FromRequest<Arc<App>> for JsonBytes {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let limit = app.config.max_body_bytes;
        if !is_json(request.headers()) {
            return Err(ApiError::NotJson);
        }
        let announced =
            request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if announced.is_some_and(|bytes: u64| bytes > (limit + DRAIN_BYTES) as u64) {
            return Err(ApiError::TooLarge(limit));
        }
        let read = read(request.into_body(), limit);
        tokio::time::timeout(app.config.body_timeout, read).await.unwrap_or(Err(ApiError::SlowBody))
    }
}

async fn read(mut body: Body, limit: usize) -> Result<JsonBytes, ApiError> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        // An error is a client that broke off: it will not read this.
        let frame = frame.map_err(|error| ApiError::Malformed(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            // What is left, for a while: a client that is cut off as it sends may never see why.
            let _ = tokio::time::timeout(DRAIN_TIME, drain(body, DRAIN_BYTES)).await;
            return Err(ApiError::TooLarge(limit));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(JsonBytes(bytes))
}

/// Reads up to `most` bytes and forgets them.
async fn drain(mut body: Body, most: usize) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, |data| data.len());
        if read > most {
            return;
        }
    }
}

/// `application/json` and types that end in `+json`, whatever parameters follow.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(value)) = headers.get(CONTENT_TYPE).map(|value| value.to_str()) else { return false };
    let kind = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_is_json() {
        let cases = [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/vnd.api+json", true),
            ("application/x-www-form-urlencoded", false),
            ("text/plain", false),
            ("text/json", false),
            ("", false),
        ];
        for (kind, expected) in cases {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().expect("a header"))]);
            assert_eq!(is_json(&headers), expected, "{kind}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
