//! Names that a prompt calls things by: `<lora:name:0.8>`, `embedding:name`, `__name__`.

use std::ops::Range;

use super::lexer::MAX_AHEAD;
use super::{SpanKind, numbers, protect};

/// Tags that SwarmUI writes without a colon.
const BARE_TAGS: [&str; 8] =
    ["base", "break", "image", "mporiginal", "refiner", "trigger", "video", "videoswap"];

/// Tags that are an embedding.
const EMBEDDING_TAGS: [&str; 3] = ["embed", "embedding", "ti"];

/// Tags of SwarmUI in whose place words come.
const WORD_TAGS: [&str; 15] = [
    "alt",
    "alternate",
    "fromto",
    "macro",
    "mpprompt",
    "p",
    "preset",
    "random",
    "repeat",
    "setmacro",
    "setvar",
    "trigger",
    "var",
    "wc",
    "wildcard",
];

/// Whether words come in place of the tag.
pub(super) fn stands_for_words(tag: &str) -> bool {
    WORD_TAGS.contains(&tag_name(tag).to_ascii_lowercase().as_str())
}

fn tag_name(tag: &str) -> &str {
    let name = tag.trim_start_matches('<');
    &name[..name.bytes().take_while(|byte| is_tag_name(*byte)).count()]
}

fn is_tag_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

pub(super) fn tag_kind(tag: &str) -> SpanKind {
    let name = tag_name(tag).to_ascii_lowercase();
    let is_bare = tag.len() == name.len() + 2;
    if EMBEDDING_TAGS.contains(&name.as_str()) || (is_bare && !BARE_TAGS.contains(&name.as_str())) {
        SpanKind::Embedding
    } else {
        SpanKind::Tag
    }
}

/// The outermost `<name:...>`, `<name[...]...>` and `<name>`.
pub(super) fn tags(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut open = Vec::new();
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'<' if bytes.get(at + 1).is_some_and(u8::is_ascii_alphabetic) => {
                let name =
                    bytes[at + 1..].iter().take(MAX_AHEAD).take_while(|byte| is_tag_name(**byte)).count();
                match bytes.get(at + 1 + name) {
                    Some(b':' | b'[') => open.push(at),
                    Some(b'>') if name > 1 => {
                        found.push(at..at + name + 2);
                        at += 1; // this end is not that of a tag around it
                    }
                    _ => {}
                }
                at += name;
            }
            // An arrow is no end.
            b'>' if !matches!(bytes[at.saturating_sub(1)], b'-' | b'=') => {
                if let Some(start) = open.pop() {
                    found.push(start..at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
    protect::unite(found)
}

/// The end of `embedding:name` or `embedding:name:1.1`, from the colon. The number of `(embedding:name:1.1)` is the
/// bracket's.
pub(super) fn embedding_end(text: &str, colon: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes.get(colon) != Some(&b':') {
        return None;
    }
    let is_name = |byte: &u8| !byte.is_ascii_whitespace() && !b",:;()[]{}<>|\"".contains(byte);
    let name = bytes[colon + 1..].iter().take_while(|byte| is_name(byte)).count();
    let end = colon + 1 + text[colon + 1..colon + 1 + name].trim_end_matches(['.', '!', '?']).len();
    if end == colon + 1 {
        return None;
    }
    let weight =
        bytes[end..].iter().skip(1).take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    let is_weight = bytes.get(end) == Some(&b':')
        && numbers::is_plain(&text[end + 1..end + 1 + weight])
        && bytes.get(end + 1 + weight) != Some(&b')');
    Some(if is_weight { end + 1 + text[end + 1..end + 1 + weight].trim_end_matches('.').len() } else { end })
}

/// The end of `__name__` with two or more underscores on each side; `__name(key=value)__` too.
pub(super) fn wildcard_end(text: &str, start: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let underscores =
        |from: usize| bytes[from..].iter().take(MAX_AHEAD).take_while(|byte| **byte == b'_').count();
    let mark = underscores(start);
    let name = start + mark;
    if mark < 2 || bytes.get(name)? == &b' ' {
        return None;
    }
    // `__a__s` ends before the s, `__a__b__` at its end.
    let mut end = None;
    let mut depth = 0_usize;
    let mut at = name;
    while at < bytes.len().min(start + MAX_AHEAD) {
        match bytes[at] {
            b'_' if depth == 0 => {
                let run = underscores(at);
                let is_mark = run > 1 && bytes[at - 1] != b' ';
                if is_mark && run >= 2 * mark {
                    return Some(at + mark); // the next one begins here
                }
                if is_mark && !bytes.get(at + run).is_some_and(u8::is_ascii_alphanumeric) {
                    return Some(at + run);
                }
                end = end.or(is_mark.then_some(at + run));
                at += run;
                continue;
            }
            b'(' => depth += 1,
            b')' if depth > 0 => depth -= 1,
            b'\n' => return end,
            _ if depth > 0 => {}
            byte if byte.is_ascii_alphanumeric() || !byte.is_ascii() => {}
            b' ' if end.is_none() => {}
            b'-' | b'/' | b'*' | b'?' | b'.' | b'~' | b'@' | b'&' | b'+' | b'\\' => {}
            _ => return end,
        }
        at += 1;
    }
    end
}
