//! The raters' page, inside the program.

use axum::extract::Path;
use axum::response::Response;
use promptist_http::{PageFile, page_file, page_files};

use crate::serve::error::ApiError;

/// What the page may load and reach: this server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Every file in `page/`.
const FILES: &[PageFile] = page_files! { "../../page/":
    "api.js" "text/javascript; charset=utf-8",
    "app.js" "text/javascript; charset=utf-8",
    "favicon.svg" "image/svg+xml",
    "index.html" "text/html; charset=utf-8",
    "question.js" "text/javascript; charset=utf-8",
    "style.css" "text/css; charset=utf-8",
    "trouble.js" "text/javascript; charset=utf-8",
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
    page_file(FILES, name, POLICY).ok_or(ApiError::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/page");
        for entry in std::fs::read_dir(folder).expect("the page's folder") {
            let name = entry.expect("an entry").file_name().into_string().expect("a plain name");
            assert!(FILES.iter().any(|file| file.name == name), "{name} is not in FILES");
        }
    }
}
