//! Flags in the manner of Midjourney: `--ar 16:9`, `--tile`, `--no people, cars`.

use super::lexer::{next_char, prev_char};

/// What follows the name of a flag.
enum Values {
    /// Nothing.
    None,
    /// One word.
    One,
    /// One word, if it has a digit.
    Code,
    /// All words to the next flag.
    All,
}

const WITHOUT: [&str; 19] = [
    "beta", "creative", "draft", "fast", "hd", "loop", "mp", "public", "raw", "relax", "remix", "stealth",
    "test", "testp", "tile", "turbo", "upbeta", "uplight", "video",
];

const ONE: [&str; 45] = [
    "ar",
    "aspect",
    "bs",
    "c",
    "cfg",
    "cfg-scale",
    "cfg_scale",
    "chaos",
    "cw",
    "end",
    "exp",
    "h",
    "height",
    "iw",
    "model",
    "motion",
    "negative_prompt",
    "negative-prompt",
    "ow",
    "prompt",
    "q",
    "quality",
    "r",
    "repeat",
    "s",
    "sameseed",
    "sampler",
    "sampler_name",
    "scale",
    "seed",
    "steps",
    "stop",
    "style",
    "stylize",
    "sv",
    "sw",
    "v",
    "version",
    "vibe",
    "w",
    "weird",
    "width",
    "wt",
    "start",
    "ratio",
];

const ALL: [&str; 4] = ["cref", "no", "oref", "sref"];

fn values(name: &str) -> Values {
    let is_in = |names: &[&str]| names.iter().any(|known| name.eq_ignore_ascii_case(known));
    if is_in(&WITHOUT) {
        Values::None
    } else if is_in(&ONE) {
        Values::One
    } else if is_in(&ALL) {
        Values::All
    } else {
        Values::Code
    }
}

/// Where the name of the flag at `start` lies, if one begins there: two hyphens and a letter after white space, a
/// comma or an opening bracket. An en or em dash, which a telephone makes of two hyphens, counts before a known name.
fn name(text: &str, start: usize) -> Option<(usize, usize)> {
    let opens = prev_char(text, start).is_none_or(|c| c.is_whitespace() || "([{,|".contains(c));
    let dash = ["--", "—", "–"].into_iter().find(|dash| text[start..].starts_with(dash))?;
    let from = start + dash.len();
    if !opens || !next_char(text, from).is_some_and(|c| c.is_ascii_alphabetic()) {
        return None;
    }
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let to = from + text.as_bytes()[from..].iter().take_while(|byte| is_name(byte)).count();
    let is_known = || !matches!(values(&text[from..to]), Values::Code) && next_char(text, to) != Some(',');
    (dash == "--" || is_known()).then_some((from, to))
}

/// Where the flag that begins at `start` ends, its values included, if one begins there. `is_tag` says whether a tag
/// begins at a byte: it ends the values.
pub(super) fn end(text: &str, start: usize, is_tag: impl Fn(usize) -> bool) -> Option<usize> {
    let (from, to) = name(text, start)?;
    if let Some(rest) = text[to..].strip_prefix('=') {
        return Some(word_end(text, text.len() - rest.len()));
    }
    let value = to + text[to..].bytes().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    if value == to || value == text.len() || is_flag(text, value) || is_tag(value) {
        return Some(to);
    }
    let one = word_end(text, value);
    match values(&text[from..to]) {
        Values::None => Some(to),
        Values::One => Some(one.max(to)),
        Values::Code if text[value..one].bytes().any(|byte| byte.is_ascii_digit()) => Some(one),
        Values::Code => Some(to),
        Values::All => Some(all_end(text, value, is_tag).max(to)),
    }
}

fn is_flag(text: &str, at: usize) -> bool {
    matches!(next_char(text, at), Some('-' | '—' | '–')) && name(text, at).is_some()
}

/// The end of one value: a quotation, `{a, b}`, or all to white space, without a comma at its end. A closing bracket
/// or bar that the value did not open ends it.
fn word_end(text: &str, from: usize) -> usize {
    let closing = match next_char(text, from) {
        Some('"') => Some('"'),
        Some('{') => Some('}'),
        _ => None,
    };
    if let Some(closing) = closing {
        let inside = from + 1;
        let found = text[inside..].char_indices().take(MAX_VALUE).find(|(_, c)| *c == closing || *c == '\n');
        if let Some((at, c)) = found
            && c == closing
        {
            return inside + at + 1;
        }
    }
    scan(text, from, |at| text[at..].starts_with(char::is_whitespace))
}

/// Longest value, in characters, between quotation marks or braces.
const MAX_VALUE: usize = 400;

/// The end of all values to the next flag, tag or line.
fn all_end(text: &str, from: usize, is_tag: impl Fn(usize) -> bool) -> usize {
    scan(text, from, |at| match text.as_bytes()[at] {
        b'\n' => true,
        b'<' => is_tag(at),
        b'-' | 0xE2 => is_flag(text, at),
        _ => false,
    })
}

/// Goes on to where `stops` says, or to a bracket or bar that was not opened on the way, and back over white space
/// and commas.
fn scan(text: &str, from: usize, stops: impl Fn(usize) -> bool) -> usize {
    let mut depth = 0_usize;
    let mut end = text.len();
    for (at, c) in text[from..].char_indices() {
        match c {
            _ if stops(from + at) => end = from + at,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth > 0 => depth -= 1,
            ')' | ']' | '}' => end = from + at,
            '|' if depth == 0 => end = from + at,
            _ => continue,
        }
        if end < text.len() {
            break;
        }
    }
    from + text[from..end].trim_end_matches(|c: char| c.is_whitespace() || c == ',').len()
}
