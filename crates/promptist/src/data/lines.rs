//! Reading text a line at a time, with the line's number in every complaint.

use std::path::Path;

use crate::error::{Error, Result};

/// The lines of a UTF-8 file, without their ends.
///
/// # Errors
/// [`Error::Io`]; [`Error::Line`] for bytes that are not UTF-8.
pub fn read(path: &Path) -> Result<Vec<String>> {
    parse(path, &std::fs::read(path).map_err(Error::io(path))?)
}

/// The lines of `bytes`, which came from `path`.
///
/// # Errors
/// [`Error::Line`] for bytes that are not UTF-8.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<String>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut lines = Vec::new();
    for (idx, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text =
            std::str::from_utf8(line).map_err(|e| Error::line(path, idx + 1, format!("not UTF-8: {e}")))?;
        lines.push(text.to_owned());
    }
    if lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    Ok(lines)
}

/// The texts of a file: a line each of a `.txt`, the string field `field` of each line of a
/// `.jsonl`.
///
/// # Errors
/// [`Error::Line`] for bytes that are not UTF-8, malformed JSON or a missing field; [`Error::File`]
/// for another extension.
pub fn read_texts(path: &Path, field: &str) -> Result<Vec<String>> {
    let lines = read(path)?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("jsonl") => (1..).zip(&lines).map(|(number, line)| text_of(path, number, line, field)).collect(),
        Some("txt") => Ok(lines),
        _ => Err(Error::file(path, "expected a .txt or a .jsonl file")),
    }
}

/// The string field `field` of a JSON object.
///
/// # Errors
/// [`Error::Line`] naming the field.
pub fn text_of(path: &Path, number: usize, line: &str, field: &str) -> Result<String> {
    let object: serde_json::Value =
        serde_json::from_str(line).map_err(|e| Error::line(path, number, e.to_string()))?;
    match object.get(field).and_then(serde_json::Value::as_str) {
        Some(text) => Ok(text.to_owned()),
        None => Err(Error::line(path, number, format!("no text in the field `{field}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_lines_are_named_by_number() {
        let path = Path::new("in.jsonl");
        assert_eq!(parse(path, b"a\r\nb\n").expect("valid"), ["a", "b"]);
        let error = parse(path, b"a\n\xff\n").expect_err("not UTF-8").to_string();
        assert!(error.starts_with("in.jsonl:2: not UTF-8"), "{error}");
        for line in ["{", "{}", r#"{"text": 1}"#, "[]"] {
            let error = text_of(path, 3, line, "text").expect_err("malformed").to_string();
            assert!(error.starts_with("in.jsonl:3: "), "{error}");
        }
    }
}
