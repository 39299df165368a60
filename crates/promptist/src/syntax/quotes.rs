//! Quotations: text to be drawn. A mark that may as well be an apostrophe, a foot or an inch is none.

use super::lexer::{Finder, next_char, prev_char};

/// Longest quotation, in bytes, between marks that may be apostrophes.
const MAX_SINGLE: usize = 120;

/// Words that begin with an apostrophe. What follows them is no quotation, unless it ends with them.
const CLIPPED: [&str; 13] =
    ["bout", "cause", "cept", "em", "kay", "n", "neath", "round", "til", "till", "tis", "twas", "twere"];

/// Where the quotation that begins at `start` ends, if one does.
pub(super) fn end(text: &str, start: usize, finder: &mut Finder<'_>) -> Option<usize> {
    let mark = next_char(text, start)?;
    let inside = start + mark.len_utf8();
    let closing: &[&'static str] = match mark {
        '"' if !opens_double(text, start, inside) => return None,
        '"' => &["\""],
        '“' => &["”"],
        '„' => &["“", "”"],
        '«' => &["»"],
        '「' => &["」"],
        '『' => &["』"],
        '\'' => return single(text, start, inside, '\''),
        '‘' => return single(text, start, inside, '’'),
        _ => return None,
    };
    let found = closing.iter().filter_map(|mark| Some((finder.next(mark, inside)?, mark.len()))).min()?;
    let on_one_line = finder.next("\n", inside).is_none_or(|newline| found.0 < newline);
    (on_one_line && !text[inside..found.0].trim_start().is_empty()).then_some(found.0 + found.1)
}

/// Not the inch of `5"`, nor the end of a quotation that was not opened.
fn opens_double(text: &str, start: usize, inside: usize) -> bool {
    let (prev, next) = (prev_char(text, start), next_char(text, inside));
    match prev {
        Some(prev) if prev.is_ascii_digit() => false,
        Some(prev) if prev.is_alphanumeric() || prev == '"' => next.is_some_and(char::is_alphanumeric),
        _ => true,
    }
}

/// A quotation between marks that are apostrophes too: after white space or a bracket, up to a mark that ends a
/// word.
fn single(text: &str, start: usize, inside: usize, closing: char) -> Option<usize> {
    let opens = prev_char(text, start).is_none_or(|c| c.is_whitespace() || "([{,:;=|".contains(c))
        && next_char(text, inside).is_some_and(char::is_alphanumeric);
    if !opens {
        return None;
    }
    let mut prev = ' ';
    for (at, c) in text[inside..].char_indices().take_while(|(at, _)| *at < MAX_SINGLE) {
        if c == '\n' {
            return None;
        }
        let end = inside + at + c.len_utf8();
        if c == closing && !prev.is_whitespace() && !next_char(text, end).is_some_and(char::is_alphanumeric) {
            return (!is_clipped(&text[inside..inside + at])).then_some(end);
        }
        prev = c;
    }
    None
}

/// Whether `'90s`, `'n'`, `'til` began what looks like a quotation.
fn is_clipped(inside: &str) -> bool {
    let first = inside.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    let is_whole = first.len() == inside.len();
    let is_decade = first.len() <= 3 && first.bytes().take_while(u8::is_ascii_digit).count() == 2;
    (is_decade && !is_whole)
        || (CLIPPED.iter().any(|word| first.eq_ignore_ascii_case(word)) && (!is_whole || first.len() < 2))
}
