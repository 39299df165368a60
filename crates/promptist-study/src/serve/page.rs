//! The raters' page, inside the program.

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};

use crate::serve::error::ApiError;

/// What the page may load and reach: this server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

macro_rules! files {
    ($($name:literal $kind:literal),* $(,)?) => {
        &[$(($name, $kind, include_bytes!(concat!("../../page/", $name)))),*]
    };
}

/// Name, type and content of every file in `page/`. Nothing else is served, whatever is asked for.
const FILES: &[(&str, &str, &[u8])] = files! {
    "api.js" "text/javascript; charset=utf-8",
    "app.js" "text/javascript; charset=utf-8",
    "favicon.svg" "image/svg+xml",
    "index.html" "text/html; charset=utf-8",
    "question.js" "text/javascript; charset=utf-8",
    "style.css" "text/css; charset=utf-8",
    "zoom.js" "text/javascript; charset=utf-8",
};

/// `GET /`.
pub(crate) async fn index() -> Result<Response, ApiError> {
    serve("index.html")
}

/// `GET /page/{file}`.
pub(crate) async fn file(Path(name): Path<String>) -> Result<Response, ApiError> {
    serve(&name)
}

fn serve(name: &str) -> Result<Response, ApiError> {
    let found = FILES.iter().find(|(found, ..)| *found == name);
    let &(_, kind, content) = found.ok_or(ApiError::NotFound)?;
    let headers: [(HeaderName, HeaderValue); 3] = [
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        // A newer server has a newer page.
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    Ok((headers, content).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/page");
        for entry in std::fs::read_dir(folder).expect("the page's folder") {
            let name = entry.expect("an entry").file_name().into_string().expect("a plain name");
            assert!(FILES.iter().any(|(found, ..)| *found == name), "{name} is not in FILES");
        }
    }
}
