//! Where a text may be cut so that its tokens are those of the pieces: before a space after an ordinary
//! character, for tokenizers whose words never reach across such a place.
//!
//! It holds for CLIP's, T5's, GPT-2's and Qwen2's pipelines: normalisers that look at one character and its
//! combining marks, word patterns in which a space is nothing or the start of a word, models that see one word
//! at a time. Any other tokenizer counts whole texts: slower, and as exact.

use serde_json::Value;
use tokenizers::Tokenizer;

/// Qwen2's words.
pub(super) const QWEN2_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// CLIP's words, as transformers 5.23 writes them and as older `tokenizer.json` files do. No word of either
/// has a space in it.
const CLIP_WORDS: [&str; 2] = [
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
];

/// Where the pieces of a text start, the first one's 0 left out.
pub(super) fn starts(text: &str) -> impl Iterator<Item = usize> {
    let spaces = text.bytes().enumerate().filter(|&(_, byte)| byte == b' ');
    spaces.map(|(at, _)| at).filter(|&at| text[..at].chars().next_back().is_some_and(is_ordinary))
}

/// Whether a character is one that no normaliser turns into a space, and that is not drawn into one grapheme
/// with what follows: T5's normaliser maps whole graphemes, and Arabic and Indic scripts have signs that take
/// even a following space into theirs. Texts in other scripts have fewer pieces, and longer ones.
fn is_ordinary(c: char) -> bool {
    match c {
        '!'..='~' => true,
        // Latin, Greek, Cyrillic without the combining marks; kana, Chinese, Hangul.
        '\u{c0}'..='\u{2af}' | '\u{386}'..='\u{481}' | '\u{48a}'..='\u{52f}' => c.is_alphanumeric(),
        '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}' => true,
        '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' => true,
        _ => false,
    }
}

/// Whether a tokenizer's counts of pieces add up.
pub(super) fn count_apart(tokenizer: &Tokenizer) -> bool {
    // An added token that takes the white space around it, or has some in it, reaches across.
    let local_tokens = tokenizer
        .get_added_tokens_decoder()
        .values()
        .all(|token| !token.lstrip && !token.rstrip && !token.content.contains(char::is_whitespace));
    let normalizer = tokenizer.get_normalizer().map(serde_json::to_value);
    let words = tokenizer.get_pre_tokenizer().map(serde_json::to_value);
    local_tokens
        && normalizer.is_none_or(|value| value.is_ok_and(|value| is_local(&value)))
        && words.is_some_and(|value| value.is_ok_and(|value| breaks_at_spaces(&value)))
}

/// Whether a normaliser changes what stands before a place the same way whatever stands after it, and the
/// other way round.
fn is_local(normalizer: &Value) -> bool {
    match kind(normalizer) {
        "NFC" | "NFKC" | "NFD" | "NFKD" | "Lowercase" | "Precompiled" => true,
        // At the end: the last piece is normalised anew until it is settled, and a settled one ends in no space.
        "Strip" => normalizer["strip_left"] == false,
        "Replace" => {
            let pattern = normalizer["pattern"]["Regex"].as_str().unwrap_or_default();
            matches!((pattern, normalizer["content"].as_str()), (r"\s+", Some(" ")) | (" {2,}", Some("▁")))
        }
        "Sequence" => list(normalizer, "normalizers").iter().all(is_local),
        _ => false,
    }
}

fn breaks_at_spaces(words: &Value) -> bool {
    if kind(words) != "Sequence" {
        return is_metaspace(words) || (is_byte_level(words) && words["use_regex"] == true);
    }
    match list(words, "pretokenizers") {
        [only] => breaks_at_spaces(only),
        [first, second] if kind(first) == "WhitespaceSplit" => is_metaspace(second),
        [first, second] if kind(first) == "Split" && is_byte_level(second) => {
            let pattern = first["pattern"]["Regex"].as_str().unwrap_or_default();
            match (first["behavior"].as_str(), first["invert"].as_bool()) {
                (Some("Removed"), Some(true)) => CLIP_WORDS.contains(&pattern),
                (Some("Isolated"), Some(false)) => pattern == QWEN2_WORDS && second["use_regex"] == false,
                _ => false,
            }
        }
        _ => false,
    }
}

/// A piece starts with a space, so with `▁`: there is nothing to prepend, whatever the scheme.
fn is_metaspace(words: &Value) -> bool {
    kind(words) == "Metaspace" && words["split"] == true
}

fn is_byte_level(words: &Value) -> bool {
    kind(words) == "ByteLevel" && words["add_prefix_space"] == false
}

fn kind(value: &Value) -> &str {
    value["type"].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}
