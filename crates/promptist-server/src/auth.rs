//! Who may ask.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use subtle::ConstantTimeEq;

use crate::app::App;
use crate::config::Token;
use crate::error::ApiError;

/// What says no more than that the server is there.
const OPEN_PATHS: [&str; 2] = ["/healthz", "/readyz"];

/// Lets a request through that brings the server's token, if there is one.
pub(crate) async fn authorized(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if let Some(token) = &app.config.token
        && !OPEN_PATHS.contains(&request.uri().path())
        && !brings(&request, token)
    {
        return Err(ApiError::Unauthorized);
    }
    Ok(next.run(request).await)
}

/// Compares in a time that depends on nothing but the lengths.
fn brings(request: &Request, token: &Token) -> bool {
    let Some(value) = request.headers().get(AUTHORIZATION) else { return false };
    // The scheme's name has no case (RFC 9110, 11.1).
    match value.as_bytes().split_at_checked("bearer ".len()) {
        Some((scheme, found)) if scheme.eq_ignore_ascii_case(b"bearer ") => {
            found.trim_ascii().ct_eq(token.0.as_bytes()).into()
        }
        _ => false,
    }
}
