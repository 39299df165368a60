//! Weights that follow what they weigh: InvokeAI's `tree++`, `(a)1.2`, `("a", "b").blend(1, 2)` and Midjourney's
//! `tree::2`.

use super::lexer::{MAX_AHEAD, next_char, prev_char};

/// Shortest word that `+` or `--` may weigh.
const MIN_WEIGHED: usize = 3;

/// The end of a run of one sign at `from`.
fn signs_end(text: &str, from: usize) -> usize {
    let bytes = &text.as_bytes()[from..];
    let signs = match bytes.first() {
        Some(sign @ (b'+' | b'-')) => bytes.iter().take_while(|byte| *byte == sign).count(),
        _ => 0,
    };
    from + signs
}

pub(super) fn ends_word(text: &str, at: usize) -> bool {
    next_char(text, at).is_none_or(|c| c.is_whitespace() || ",.;:!?)]}|\"'".contains(c))
}

/// The end of what weighs a bracket in the manner of InvokeAI: `++`, `-`, `1.2`, `.and()`, `.blend(1, 0.8)`.
pub(super) fn after_bracket(text: &str, from: usize) -> Option<usize> {
    let bytes = &text.as_bytes()[from..];
    match bytes.first()? {
        b'+' | b'-' => Some(signs_end(text, from)).filter(|end| ends_word(text, *end)),
        b'0'..=b'9' => {
            let number = bytes.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
            let number = text[from..from + number].trim_end_matches('.');
            let end = from + number.len();
            let is_weight = number.len() == 1 || number.contains('.');
            (is_weight && ends_word(text, end)).then_some(end)
        }
        b'.' => {
            let name =
                [".and(", ".blend(", ".swap("].into_iter().find(|name| text[from..].starts_with(name))?;
            let inside = bytes.iter().skip(name.len()).take(MAX_AHEAD);
            let closing = inside.take_while(|byte| !b"()\n".contains(byte)).count() + name.len();
            (bytes.get(closing) == Some(&b')')).then_some(from + closing + 1)
        }
        _ => None,
    }
}

/// The end of `::`, `::2` or `::-0.5` after a word, a bracket or a quotation.
pub(super) fn after_part(text: &str, start: usize) -> Option<usize> {
    let rest = text[start..].strip_prefix("::")?;
    let after = prev_char(text, start).is_some_and(|c| c.is_alphanumeric() || ")]}>\"”'’!?.%_".contains(c));
    let signed = rest.strip_prefix('-').unwrap_or(rest);
    let number = signed.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let number = signed[..number].trim_end_matches('.').len();
    let end = if number > 0 { text.len() - signed.len() + number } else { start + 2 };
    (after && ends_word(text, end) && !text[end..].starts_with([':', ']'])).then_some(end)
}

/// The end of `+`, `++` or `--` after a word of lower-case letters. One hyphen is none, and a short word with a plus
/// is more likely a name, a language or an age.
pub(super) fn after_word(text: &str, word: &str, from: usize) -> Option<usize> {
    let is_word = word.len() >= MIN_WEIGHED && word.bytes().all(|byte| byte.is_ascii_lowercase());
    let end = signs_end(text, from);
    let is_sure = text[from..].starts_with('+') || end > from + 1;
    (is_word && is_sure && ends_word(text, end)).then_some(end)
}
