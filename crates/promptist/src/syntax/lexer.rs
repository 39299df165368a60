//! A prompt's leaves, and the marks that [`super::brackets`] makes something of.
//!
//! One pass from left to right. A leaf that is found is skipped whole, so that nothing is looked for inside a tag,
//! a quotation, a flag or what the user's regexes found. Every search ahead is bounded or remembered.

use std::ops::Range;

use super::{SpanKind, flags, names, numbers, quotes, suffixes};

/// How far a name, or what stands between escaped brackets, may reach, in bytes.
pub(super) const MAX_AHEAD: usize = 200;

/// Keywords that cut a prompt in parts, beside `AND`.
const BREAKS: [&str; 5] = ["BREAK", "ADDBASE", "ADDCOL", "ADDCOMM", "ADDROW"];

/// `AND`, and what the extension "neutral prompt" makes of it.
const ANDS: [&str; 3] = ["AND", "AND_PERP", "AND_SALT"];

/// A bracket. An escaped one opens and closes like another, so that what it encloses stays one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bracket {
    Round,
    Square,
    Curly,
    EscapedRound,
    EscapedSquare,
    EscapedCurly,
}

impl Bracket {
    pub(super) const COUNT: usize = 6;

    pub(super) fn is_escaped(self) -> bool {
        matches!(self, Self::EscapedRound | Self::EscapedSquare | Self::EscapedCurly)
    }

    fn of(byte: u8, is_escaped: bool) -> Option<TokenKind> {
        let bracket = match (byte, is_escaped) {
            (b'(' | b')', false) => Self::Round,
            (b'[' | b']', false) => Self::Square,
            (b'{' | b'}', false) => Self::Curly,
            (b'(' | b')', true) => Self::EscapedRound,
            (b'[' | b']', true) => Self::EscapedSquare,
            (b'{' | b'}', true) => Self::EscapedCurly,
            _ => return None,
        };
        let opens = matches!(byte, b'(' | b'[' | b'{');
        Some(if opens { TokenKind::Open(bracket) } else { TokenKind::Close(bracket) })
    }
}

/// What a token is before brackets are paired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// Settled.
    Leaf(SpanKind),
    Open(Bracket),
    Close(Bracket),
    Colon,
    Bar,
    /// `$$`.
    Dollars,
    /// Weighs what stands before it: `++`, `1.2` after a bracket.
    Suffix,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) range: Range<usize>,
}

pub(super) struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    /// What the user's regexes found, in order.
    customs: &'a [Range<usize>],
    /// The outermost pairs of angle brackets, in order.
    tags: Vec<Range<usize>>,
    finder: Finder<'a>,
    tokens: Vec<Token>,
    pos: usize,
    /// Where the text begins that is no token yet.
    pending: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str, customs: &'a [Range<usize>]) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            customs,
            tags: names::tags(text),
            finder: Finder::new(text),
            tokens: Vec::new(),
            pos: 0,
            pending: 0,
        }
    }

    /// The tokens, which cover the text.
    pub(super) fn run(mut self) -> Vec<Token> {
        while self.pos < self.text.len() {
            self.step();
        }
        self.flush(self.text.len());
        self.tokens
    }

    fn step(&mut self) {
        let pos = self.pos;
        let custom = self.next_custom(pos);
        if custom.start == pos && !custom.is_empty() {
            return self.token(TokenKind::Leaf(SpanKind::Custom), pos, custom.end);
        }
        if let Some((kind, end)) = self.leaf(pos)
            && self.fits(end)
        {
            return self.token(TokenKind::Leaf(kind), pos, end);
        }
        match self.bytes[pos] {
            byte if byte.is_ascii_alphabetic() => self.word(custom.start),
            b'3' if is_face(self.text, pos) => self.pos += 1,
            byte if byte.is_ascii_digit() && self.begins_word(pos) => {
                let end = numbers::end(self.text, pos).min(custom.start);
                self.token(TokenKind::Leaf(SpanKind::Number), pos, end);
            }
            b'.' if self.begins_fraction(pos) => {
                let end = numbers::end(self.text, pos + 1).min(custom.start);
                self.token(TokenKind::Leaf(SpanKind::Number), pos, end);
            }
            b'\\' => self.escape(),
            b'(' | b'[' | b'{' | b')' | b']' | b'}' => self.bracket(),
            b':' => self.token(TokenKind::Colon, pos, pos + 1),
            b'|' => self.token(TokenKind::Bar, pos, pos + 1),
            b'$' if self.text[pos..].starts_with("$$") && self.fits(pos + 2) => {
                self.token(TokenKind::Dollars, pos, pos + 2);
            }
            b'$' if self.text[pos..].starts_with("${") && self.fits(pos + 2) => {
                self.token(TokenKind::Open(Bracket::Curly), pos, pos + 2);
            }
            _ => self.pos += next_char(self.text, pos).map_or(1, char::len_utf8),
        }
    }

    /// A leaf that is told by its first character, and where it ends.
    fn leaf(&mut self, pos: usize) -> Option<(SpanKind, usize)> {
        match self.bytes[pos] {
            b'<' => {
                let tag = self.tag(pos)?;
                Some((names::tag_kind(&self.text[tag.clone()]), tag.end))
            }
            b'_' if self.begins_word(pos) || self.ends_wildcard(pos) => {
                Some((SpanKind::Wildcard, names::wildcard_end(self.text, pos)?))
            }
            b'"' | b'\'' | 0xC2 | 0xE2 | 0xE3 => {
                if let Some(end) = quotes::end(self.text, pos, &mut self.finder) {
                    return Some((SpanKind::Quoted, end));
                }
                let end = flags::end(self.text, pos, |at| self.tag(at).is_some())?;
                Some((SpanKind::Flag, end))
            }
            b'-' => Some((SpanKind::Flag, flags::end(self.text, pos, |at| self.tag(at).is_some())?)),
            _ => None,
        }
    }

    /// A run of ASCII letters, digits and underscores, with inner hyphens, apostrophes and decimal points.
    fn word(&mut self, limit: usize) {
        let start = self.pos;
        let mut end = start;
        while end < limit {
            let next = self.bytes.get(end + 1);
            let is_inner = |byte| match byte {
                b'-' | b'\'' => next.is_some_and(u8::is_ascii_alphabetic),
                b'.' => self.bytes[end - 1].is_ascii_digit() && next.is_some_and(u8::is_ascii_digit), // "v1.5"
                _ => false,
            };
            match self.bytes[end] {
                byte if byte.is_ascii_alphanumeric() || byte == b'_' || is_inner(byte) => end += 1,
                _ => break,
            }
        }
        let word = &self.text[start..end];
        let is_whole = self.begins_word(start)
            && !next_char(self.text, end).is_some_and(char::is_alphanumeric)
            && !prev_char(self.text, start).is_some_and(char::is_alphanumeric);
        if is_whole && ANDS.contains(&word) && !self.is_shouted(start, end) {
            return self.token(TokenKind::Leaf(SpanKind::And), start, end);
        }
        if is_whole && BREAKS.contains(&word) && !self.is_shouted(start, end) {
            return self.token(TokenKind::Leaf(SpanKind::Break), start, end);
        }
        if is_whole
            && word.eq_ignore_ascii_case("embedding")
            && let Some(end) = names::embedding_end(self.text, end).filter(|end| self.fits(*end))
        {
            return self.token(TokenKind::Leaf(SpanKind::Embedding), start, end);
        }
        if is_whole && word.eq_ignore_ascii_case("f") && self.bytes[end..].starts_with(b"/") {
            let digit = end + 1;
            if self.bytes.get(digit).is_some_and(u8::is_ascii_digit) {
                let end = numbers::end(self.text, digit).min(limit);
                return self.token(TokenKind::Leaf(SpanKind::Number), start, end);
            }
        }
        self.pos = end;
        if is_whole
            && let Some(signs) = suffixes::after_word(self.text, word, end).filter(|end| self.fits(*end))
        {
            self.token(TokenKind::Leaf(SpanKind::Text), start, end);
            self.token(TokenKind::Suffix, end, signs);
        }
    }

    /// A backslash and what it escapes.
    fn escape(&mut self) {
        let (start, end) = (self.pos, self.pos + 2);
        let Some(byte) = self.bytes.get(start + 1).copied().filter(|_| self.fits(end)) else {
            self.pos += 1;
            return;
        };
        match Bracket::of(byte, true) {
            Some(kind) => self.token(kind, start, end),
            None if b"\\<>|:\"".contains(&byte) => self.token(TokenKind::Leaf(SpanKind::Escape), start, end),
            None => self.pos += 1,
        }
    }

    fn bracket(&mut self) {
        let pos = self.pos;
        if is_mouth(self.text, pos) {
            self.pos += 1;
            return;
        }
        let Some(kind) = Bracket::of(self.bytes[pos], false) else { return };
        self.token(kind, pos, pos + 1);
        if kind == TokenKind::Close(Bracket::Round)
            && let Some(end) = suffixes::after_bracket(self.text, pos + 1)
            // What closes nothing has no weight, and a custom span in it must not become text with it.
            && self.next_custom(pos + 1).start >= end
        {
            self.token(TokenKind::Suffix, pos + 1, end);
        }
    }

    /// Whether the words on both sides are in capitals too: then a keyword is shouted.
    fn is_shouted(&self, start: usize, end: usize) -> bool {
        let is_in_capitals = |word: &str| {
            word.len() > 1
                && word.bytes().all(|byte| byte.is_ascii_uppercase())
                && !ANDS.contains(&word)
                && !BREAKS.contains(&word)
        };
        let before = self.text[..start].trim_end_matches(' ');
        let after = self.text[end..].trim_start_matches(' ');
        let last = before.bytes().rev().take(MAX_AHEAD).take_while(u8::is_ascii_alphanumeric).count();
        let first = after.bytes().take(MAX_AHEAD).take_while(u8::is_ascii_alphanumeric).count();
        is_in_capitals(&before[before.len() - last..]) && is_in_capitals(&after[..first])
    }

    /// The tag that begins at `at`.
    fn tag(&self, at: usize) -> Option<Range<usize>> {
        let idx = self.tags.binary_search_by_key(&at, |tag| tag.start).ok()?;
        Some(self.tags[idx].clone())
    }

    /// The custom span that begins at `from` or next after it; an empty one at the end if there is none.
    fn next_custom(&self, from: usize) -> Range<usize> {
        let idx = self.customs.partition_point(|custom| custom.start < from);
        self.customs.get(idx).cloned().unwrap_or(self.text.len()..self.text.len())
    }

    /// Whether something may end at `end`: not in the middle of a custom span.
    fn fits(&self, end: usize) -> bool {
        let idx = self.customs.partition_point(|custom| custom.start < end);
        idx == 0 || self.customs[idx - 1].end <= end
    }

    fn begins_word(&self, at: usize) -> bool {
        at == 0 || !(self.bytes[at - 1].is_ascii_alphanumeric() || self.bytes[at - 1] == b'_')
    }

    fn ends_wildcard(&self, at: usize) -> bool {
        let last = self.tokens.last().filter(|token| token.kind == TokenKind::Leaf(SpanKind::Wildcard));
        last.is_some_and(|token| token.range.end == at)
    }

    /// Whether a number begins with the point at `at`.
    fn begins_fraction(&self, at: usize) -> bool {
        self.bytes.get(at + 1).is_some_and(u8::is_ascii_digit)
            && self.begins_word(at)
            && (at == 0 || !matches!(self.bytes[at - 1], b'.' | b')'))
            && self.next_custom(at + 1).start > at + 1
    }

    /// Adds a token, and before it the text that was pending.
    fn token(&mut self, kind: TokenKind, start: usize, end: usize) {
        self.flush(start);
        if start < end {
            self.tokens.push(Token { kind, range: start..end });
        }
        (self.pos, self.pending) = (end, end);
    }

    fn flush(&mut self, to: usize) {
        if self.pending < to {
            self.tokens.push(Token { kind: TokenKind::Leaf(SpanKind::Text), range: self.pending..to });
        }
    }
}

/// Finds the next occurrence of a few strings, asked for at rising positions, in one pass over the text for each.
pub(super) struct Finder<'a> {
    text: &'a str,
    /// Of each string asked for: from where it was looked for, and where it was found.
    found: Vec<(&'static str, usize, Option<usize>)>,
}

impl<'a> Finder<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, found: Vec::new() }
    }

    pub(super) fn next(&mut self, what: &'static str, from: usize) -> Option<usize> {
        let find = || self.text[from..].find(what).map(|at| from + at);
        match self.found.iter_mut().find(|(known, ..)| *known == what) {
            Some((_, asked, found)) => {
                // What was found from an earlier position holds until it is passed.
                if from < *asked || found.is_some_and(|found| found < from) {
                    (*asked, *found) = (from, find());
                }
                *found
            }
            None => {
                let found = find();
                self.found.push((what, from, found));
                found
            }
        }
    }
}

pub(super) fn next_char(text: &str, at: usize) -> Option<char> {
    text[at..].chars().next()
}

pub(super) fn prev_char(text: &str, at: usize) -> Option<char> {
    text[..at].chars().next_back()
}

/// Whether a face may begin after this character.
fn begins_face(before: Option<char>) -> bool {
    before.is_none_or(|c| c.is_whitespace() || ",.!?([{|<>".contains(c))
}

/// Whether a face may end before this character.
fn ends_face(after: Option<char>) -> bool {
    after.is_none_or(|c| c.is_whitespace() || ",;.!?)]}|:".contains(c))
}

/// Whether the bracket at `at` is the mouth of a face and opens nothing: `:(`, `;-[`, `(:`.
fn is_mouth(text: &str, at: usize) -> bool {
    let eyes = text[..at].strip_suffix('-').unwrap_or(&text[..at]);
    let face = eyes.strip_suffix([':', ';', '=']);
    let looks_right = face.is_some_and(|before| begins_face(before.chars().next_back()))
        && ends_face(next_char(text, at + 1));
    let looks_left = begins_face(prev_char(text, at))
        && text[at + 1..].starts_with([':', ';', '='])
        && next_char(text, at + 2).is_none_or(char::is_whitespace);
    matches!(text.as_bytes()[at], b'(' | b'[' | b'{') && (looks_right || looks_left)
}

/// Whether the 3 at `at` is the mouth of a cat, `:3`, or the end of a heart, `<3`.
fn is_face(text: &str, at: usize) -> bool {
    let face = text[..at].strip_suffix([':', ';', '=', '<']);
    face.is_some_and(|before| begins_face(before.chars().next_back())) && ends_face(next_char(text, at + 1))
}
