//! A page whose files are inside the program.

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};

/// A file of a page; [`page_files!`](crate::page_files) makes a list of them.
#[derive(Clone, Copy, Debug)]
pub struct PageFile {
    /// By which it is asked for.
    pub name: &'static str,
    /// For `Content-Type`.
    pub content_type: &'static str,
    /// Its bytes.
    pub content: &'static [u8],
}

/// The files of a folder, each with its type: `page_files!("../page/": "index.html" "text/html")`. The folder's path
/// is as in [`include_bytes!`], and ends with `/`.
#[macro_export]
macro_rules! page_files {
    ($folder:literal: $($name:literal $content_type:literal),* $(,)?) => {
        &[$($crate::PageFile {
            name: $name,
            content_type: $content_type,
            content: include_bytes!(concat!($folder, $name)),
        }),*]
    };
}

/// The answer that is one of `files`, under a content security policy; none if no file has this name. Nothing but
/// the list is ever served, whatever is asked for.
pub fn page_file(files: &[PageFile], name: &str, policy: &'static str) -> Option<Response> {
    let file = files.iter().find(|file| file.name == name)?;
    let headers: [(HeaderName, HeaderValue); 3] = [
        (CONTENT_TYPE, HeaderValue::from_static(file.content_type)),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy)),
        // A newer server has a newer page.
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    Some((headers, file.content).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: &[PageFile] = page_files!("./": "lib.rs" "text/plain");

    #[test]
    fn only_the_list_is_served() {
        let response = page_file(FILES, "lib.rs", "default-src 'none'").expect("it is in the list");
        assert_eq!(response.headers()[CONTENT_TYPE], "text/plain");
        assert_eq!(response.headers()[CONTENT_SECURITY_POLICY], "default-src 'none'");
        for name in ["", "page.rs", "../Cargo.toml", "lib.rs/", "LIB.RS"] {
            assert!(page_file(FILES, name, "default-src 'none'").is_none(), "{name}");
        }
    }
}
