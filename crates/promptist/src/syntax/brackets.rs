//! Pairs the brackets and says what each pair is.
//!
//! A stack of its own, no recursion. A closing bracket takes the last opening one of its kind; those between the
//! two are text. What stands directly inside a pair (colons, bars, `$$`) decides what it is.

use std::ops::Range;

use super::lexer::{Bracket, MAX_AHEAD, Token, TokenKind};
use super::{Span, SpanKind, Syntax, numbers, protect, suffixes};

/// Longest weight or step, in bytes, white space included. What is longer is text, and is not looked at twice.
const MAX_NUMBER: usize = 48;

/// An opening bracket that waits for its closing one.
struct Frame {
    bracket: Bracket,
    token: usize,
    /// How many separators stood before it.
    separators: usize,
    shown: usize,
}

/// A colon, bar or `$$`.
struct Separator {
    kind: TokenKind,
    token: usize,
    shown: usize,
}

/// One option of an alternation or a dynamic prompt, or one side of an editing.
struct Part {
    tokens: Range<usize>,
    is_shown: bool,
}

pub(super) struct Pairing<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    frames: Vec<Frame>,
    /// Of the open frames, by bracket.
    open: [usize; Bracket::COUNT],
    /// Of the open frames, directly inside them, in order.
    separators: Vec<Separator>,
    /// Grows with every token that a model will see, unless what it stands in is hidden later: of two places in
    /// the text, something is shown between them if it differs.
    shown: usize,
    /// For each token, how many more hidden stretches it begins than end before it.
    hides: Vec<i32>,
    /// The same of pairs of brackets.
    depths: Vec<i32>,
    pieces: Vec<Range<usize>>,
}

impl<'a> Pairing<'a> {
    pub(super) fn new(text: &'a str, tokens: Vec<Token>) -> Self {
        let len = tokens.len() + 1;
        Self {
            text,
            tokens,
            frames: Vec::new(),
            open: [0; Bracket::COUNT],
            separators: Vec::new(),
            shown: 0,
            hides: vec![0; len],
            depths: vec![0; len],
            pieces: Vec::new(),
        }
    }

    pub(super) fn run(mut self) -> Syntax<'a> {
        // Where the pair began that ended with the last token.
        let mut closed = None;
        for idx in 0..self.tokens.len() {
            let kind = self.tokens[idx].kind;
            let before = closed.take();
            match kind {
                TokenKind::Leaf(kind) => self.leaf(idx, kind),
                TokenKind::Open(bracket) => self.open(idx, bracket),
                TokenKind::Close(bracket) => closed = self.close(idx, bracket),
                TokenKind::Suffix => self.suffix(idx, before),
                TokenKind::Colon | TokenKind::Bar | TokenKind::Dollars => {
                    self.separators.push(Separator { kind, token: idx, shown: self.shown });
                }
            }
        }
        while let Some(frame) = self.frames.pop() {
            self.unpaired(frame.token, frame.bracket);
        }
        self.weigh_ands();
        self.weigh_parts();
        self.finish()
    }

    fn leaf(&mut self, idx: usize, kind: SpanKind) {
        let is_shown = match kind {
            SpanKind::Text => !self.slice(idx).trim_start_matches([' ', ',', '\t', '\n', '\r']).is_empty(),
            kind => {
                matches!(kind, SpanKind::Number | SpanKind::Quoted | SpanKind::Wildcard | SpanKind::Escape)
            }
        };
        self.shown += usize::from(is_shown);
        if kind != SpanKind::Text {
            self.pieces.push(self.tokens[idx].range.clone());
        }
    }

    fn open(&mut self, token: usize, bracket: Bracket) {
        self.open[bracket as usize] += 1;
        self.frames.push(Frame { bracket, token, separators: self.separators.len(), shown: self.shown });
        // The bracket itself is seen where it is escaped; one that stays open is seen too, but is no reason to
        // choose an option.
        self.shown += usize::from(bracket.is_escaped());
    }

    /// Closes the pair that ends with token `idx`, and returns where it began.
    fn close(&mut self, idx: usize, bracket: Bracket) -> Option<usize> {
        let last = self.frames.last().map(|frame| frame.bracket);
        // An escaped bracket is a character: it never decides over a bracket that does something.
        if self.open[bracket as usize] == 0 || (bracket.is_escaped() && last != Some(bracket)) {
            self.shown += usize::from(bracket.is_escaped());
            self.unpaired(idx, bracket);
            return None;
        }
        while let Some(frame) = self.frames.pop() {
            self.open[frame.bracket as usize] -= 1;
            if frame.bracket != bracket {
                self.unpaired(frame.token, frame.bracket);
                continue;
            }
            let start = self.tokens[frame.token].range.start;
            let end = self.tokens[idx].range.end;
            if bracket.is_escaped() && end - start > MAX_AHEAD {
                self.unpaired(frame.token, bracket);
                self.unpaired(idx, bracket);
                return None;
            }
            if !self.classify(&frame, idx) {
                return None;
            }
            self.separators.truncate(frame.separators);
            // An escaped bracket is a character: what stands in it stands outside brackets.
            self.depths[frame.token] += i32::from(!bracket.is_escaped());
            self.depths[idx + 1] -= i32::from(!bracket.is_escaped());
            self.pieces.push(start..end);
            return Some(start);
        }
        None
    }

    /// Settles the pair's marks. False if it is empty, and so is text.
    fn classify(&mut self, frame: &Frame, idx: usize) -> bool {
        let inside = frame.token + 1..idx;
        let is_empty = inside.is_empty() || (inside.len() == 1 && self.slice(inside.start).trim().is_empty());
        if is_empty && !frame.bracket.is_escaped() {
            self.unpaired(frame.token, frame.bracket);
            self.unpaired(idx, frame.bracket);
            return false;
        }
        match frame.bracket {
            Bracket::Round => self.round(frame, idx),
            Bracket::Square => self.square(frame, idx),
            Bracket::Curly if self.tokens[frame.token].range.len() == 2 => self.variable(frame, idx),
            Bracket::Curly => self.curly(frame, idx),
            _ => {
                self.mark(frame.token, frame.token, SpanKind::Escape);
                self.mark(idx, idx, SpanKind::Escape);
            }
        }
        true
    }

    /// `(a)` or `(a:1.2)`.
    fn round(&mut self, frame: &Frame, idx: usize) {
        self.mark(frame.token, frame.token, SpanKind::Weight);
        let weight = self.number_before(frame, idx).filter(|colon| colon.token > frame.token + 1);
        match weight.map(|colon| (colon.token, colon.shown)) {
            Some((token, shown)) => {
                self.shown = shown;
                self.mark(token, idx, SpanKind::Weight);
            }
            None => self.mark(idx, idx, SpanKind::Weight),
        }
    }

    /// `[a|b]`, `[a:b:0.5]` or `[a]`.
    fn square(&mut self, frame: &Frame, idx: usize) {
        let number = self.number_before(frame, idx).map(|colon| (colon.token, colon.shown));
        let is_alternation = self.inside(frame).iter().any(|separator| separator.kind == TokenKind::Bar);
        let (kind, separator) = match number {
            _ if is_alternation => (SpanKind::Alternation, TokenKind::Bar),
            Some(_) => (SpanKind::Editing, TokenKind::Colon),
            None => {
                self.mark(frame.token, frame.token, SpanKind::Weight);
                return self.mark(idx, idx, SpanKind::Weight);
            }
        };
        let end = number.map_or(idx, |(token, _)| token);
        if let Some((_, shown)) = number {
            self.shown = shown;
        }
        let parts = self.parts(frame, frame.token + 1, end, separator, kind);
        self.mark(frame.token, frame.token, kind);
        self.mark(end, idx, kind);
        let chosen = match kind {
            SpanKind::Editing => parts.iter().rposition(|part| part.is_shown),
            _ => parts.iter().position(|part| part.is_shown),
        };
        self.choose(&parts, chosen);
    }

    /// `{a|b}`, `{2$$a|b}`, `{0.5::a|b}`, or `{a}`, which NovelAI reads as a weight.
    fn curly(&mut self, frame: &Frame, idx: usize) {
        let bar = self.inside(frame).iter().find(|separator| separator.kind == TokenKind::Bar);
        let bar = bar.map_or(usize::MAX, |bar| bar.token);
        // `{2$$a}` and `{2$$ and $$a}`.
        let dollars = self.inside(frame).iter().filter(|separator| separator.kind == TokenKind::Dollars);
        let prefix = dollars.take(2).map(|dollars| dollars.token).filter(|token| *token < bar).last();
        if bar == usize::MAX && prefix.is_none() {
            self.mark(frame.token, frame.token, SpanKind::Weight);
            return self.mark(idx, idx, SpanKind::Weight);
        }
        let from = prefix.map_or(frame.token + 1, |prefix| prefix + 1);
        let parts = self.parts(frame, from, idx, TokenKind::Bar, SpanKind::Dynamic);
        self.mark(frame.token, frame.token, SpanKind::Dynamic);
        if let Some(prefix) = prefix {
            self.mark(frame.token + 1, prefix, SpanKind::Dynamic);
        }
        self.mark(idx, idx, SpanKind::Dynamic);
        self.choose(&parts, parts.iter().position(|part| part.is_shown));
    }

    /// `${name=value}`, of which nothing is shown, `${name}` or `${name:default}`.
    fn variable(&mut self, frame: &Frame, idx: usize) {
        self.mark(frame.token, frame.token, SpanKind::Dynamic);
        self.mark(idx, idx, SpanKind::Dynamic);
        let start = self.tokens[frame.token].range.end;
        let inside = &self.text[start..];
        let name =
            inside.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || b"_-. ".contains(byte)).count();
        match inside.as_bytes().get(name) {
            Some(b'=') => {
                self.hide(frame.token + 1, idx);
                self.shown = frame.shown;
            }
            Some(b':') => {
                let first = self.inside(frame).first().map(|colon| colon.token);
                if let Some(colon) = first.filter(|colon| self.tokens[*colon].range.start == start + name) {
                    self.hide(frame.token + 1, colon);
                    self.mark(colon, colon, SpanKind::Dynamic);
                }
            }
            _ => {}
        }
    }

    /// The parts of tokens `from..to` between separators of one kind, which become marks.
    fn parts(&mut self, frame: &Frame, from: usize, to: usize, by: TokenKind, kind: SpanKind) -> Vec<Part> {
        let mut parts = Vec::new();
        let (mut start, mut shown) = (from, frame.shown);
        let mut marks = Vec::new();
        for separator in &self.separators[frame.separators..] {
            if separator.token < from {
                // The prefix `2$$` is no part.
                shown = separator.shown;
            } else if separator.token < to && separator.kind == by {
                parts.push(Part { tokens: start..separator.token, is_shown: separator.shown > shown });
                marks.push((separator.token, separator.token));
                (start, shown) = (separator.token + 1, separator.shown);
            } else if separator.token < to && kind == SpanKind::Dynamic {
                // `0.5::` before an option: the second of two colons with nothing but a number before them.
                let number =
                    self.text[self.tokens[start].range.start..].get(..self.before(start, separator.token));
                let twice =
                    self.tokens.get(separator.token + 1).is_some_and(|next| next.kind == TokenKind::Colon);
                if twice && number.is_some_and(numbers::is_plain) {
                    marks.push((start, separator.token + 1));
                    (start, shown) = (separator.token + 2, separator.shown);
                }
            }
        }
        parts.push(Part { tokens: start..to, is_shown: self.shown > shown });
        for (from, to) in marks {
            self.mark(from, to, kind);
        }
        parts
    }

    /// How many bytes lie between the beginning of token `start` and token `to`; 0 if they are too many for a number.
    fn before(&self, start: usize, to: usize) -> usize {
        let len = self.tokens[to].range.start.saturating_sub(self.tokens[start].range.start);
        if len > MAX_NUMBER { 0 } else { len }
    }

    /// The last colon directly inside the pair, if nothing but a number follows it.
    fn number_before(&self, frame: &Frame, idx: usize) -> Option<&Separator> {
        let last = self.inside(frame).last().filter(|separator| separator.kind == TokenKind::Colon)?;
        let range = self.tokens[last.token].range.end..self.tokens[idx].range.start;
        // Extensions take several steps: `[a:b:0.2,0.8]`.
        let is_number = |text: &str| match frame.bracket {
            Bracket::Square => text.split(',').all(numbers::is_plain),
            _ => numbers::is_plain(text),
        };
        (range.len() <= MAX_NUMBER && is_number(&self.text[range])).then_some(last)
    }

    fn inside(&self, frame: &Frame) -> &[Separator] {
        &self.separators[frame.separators..]
    }

    fn choose(&mut self, parts: &[Part], chosen: Option<usize>) {
        for (idx, part) in parts.iter().enumerate() {
            if chosen != Some(idx) {
                self.hide(part.tokens.start, part.tokens.end);
            }
        }
    }

    fn hide(&mut self, from: usize, to: usize) {
        self.hides[from] += 1;
        self.hides[to] -= 1;
    }

    /// `++` or `1.2` after token `idx - 1`.
    fn suffix(&mut self, idx: usize, closed: Option<usize>) {
        let word = idx.checked_sub(1).filter(|before| self.slice(*before).ends_with(char::is_alphanumeric));
        match closed.or(word.map(|word| self.tokens[word].range.start)) {
            Some(start) => {
                self.mark(idx, idx, SpanKind::Weight);
                self.pieces.push(start..self.tokens[idx].range.end);
            }
            None => self.tokens[idx].kind = TokenKind::Leaf(SpanKind::Text),
        }
    }

    /// `:1.2` at the end of a part between two `AND`s, outside brackets.
    fn weigh_ands(&mut self) {
        let is_and = |token: &Token| token.kind == TokenKind::Leaf(SpanKind::And);
        if !self.tokens.iter().any(is_and) {
            return;
        }
        let mut depth = 0;
        // The last tokens outside brackets: a colon, and whether nothing but a number has followed it.
        let (mut colon, mut number_end) = (None, None);
        let mut found = Vec::new();
        for idx in 0..self.tokens.len() {
            depth += self.depths[idx];
            let token = &self.tokens[idx];
            let text = &self.text[token.range.clone()];
            match token.kind {
                TokenKind::Leaf(SpanKind::And) if depth == 0 => {
                    found.extend(colon.take().zip(number_end.take()));
                }
                TokenKind::Colon if depth == 0 => (colon, number_end) = (Some(idx), None),
                TokenKind::Leaf(SpanKind::Number) if number_end.is_none() && numbers::is_plain(text) => {
                    number_end = Some(idx);
                }
                TokenKind::Leaf(SpanKind::Text) if text.trim().is_empty() => {}
                TokenKind::Leaf(SpanKind::Text)
                    if number_end.is_none() && matches!(text.trim(), "-" | "+") => {}
                TokenKind::Leaf(SpanKind::Tag | SpanKind::Flag) if number_end.is_some() => {}
                _ => (colon, number_end) = (None, None),
            }
        }
        found.extend(colon.zip(number_end));
        for (from, to) in found {
            self.pieces.push(self.tokens[from].range.start..self.tokens[to].range.end);
            self.mark(from, to, SpanKind::And);
        }
    }

    /// Midjourney's `tree::2`, outside brackets. What it weighs is the piece before it, or the word.
    fn weigh_parts(&mut self) {
        let mut depth = 0;
        let mut ends: Vec<(usize, usize)> = Vec::new();
        for idx in 0..self.tokens.len() {
            depth += self.depths[idx];
            let colon = &self.tokens[idx];
            if depth > 0 || colon.kind != TokenKind::Colon || idx == 0 {
                continue;
            }
            let start = colon.range.start;
            let Some(end) = suffixes::after_part(self.text, start) else { continue };
            let is_end = |to: &usize| self.tokens[*to].range.end == end;
            if let Some(to) = (idx + 1..self.tokens.len().min(idx + 4)).find(is_end) {
                self.mark(idx, to, SpanKind::Weight);
                ends.push((start, end));
            }
        }
        self.pieces = protect::unite(std::mem::take(&mut self.pieces));
        let mut words: Vec<Range<usize>> = Vec::new();
        for (start, end) in ends {
            match self.pieces.binary_search_by_key(&start, |piece| piece.end) {
                Ok(piece) => self.pieces[piece].end = end,
                Err(next) => {
                    let piece = next.checked_sub(1).map_or(0, |before| self.pieces[before].end);
                    let from = piece.max(words.last().map_or(0, |word| word.end));
                    let is_word = |c: char| !c.is_whitespace() && c != ',';
                    let before = self.text[from..start].trim_end_matches(is_word);
                    words.push(from + before.len()..end);
                }
            }
        }
        self.pieces.extend(words);
    }

    /// Makes one mark of the tokens `from..=to`.
    fn mark(&mut self, from: usize, to: usize, kind: SpanKind) {
        let (start, end) = (self.tokens[from].range.start, self.tokens[to].range.end);
        for token in &mut self.tokens[from..=to] {
            *token = Token { kind: TokenKind::Leaf(kind), range: end..end };
        }
        self.tokens[from].range.start = start;
    }

    /// A bracket without its other one.
    fn unpaired(&mut self, idx: usize, bracket: Bracket) {
        let kind = if bracket.is_escaped() { SpanKind::Escape } else { SpanKind::Text };
        self.tokens[idx].kind = TokenKind::Leaf(kind);
        if bracket.is_escaped() {
            self.pieces.push(self.tokens[idx].range.clone());
        }
    }

    fn slice(&self, idx: usize) -> &'a str {
        &self.text[self.tokens[idx].range.clone()]
    }

    fn finish(self) -> Syntax<'a> {
        let mut spans: Vec<Span> = Vec::new();
        let mut hidden: Vec<bool> = Vec::new();
        let mut hides = 0;
        for (token, hide) in self.tokens.into_iter().zip(self.hides) {
            hides += hide;
            let kind = match token.kind {
                TokenKind::Leaf(kind) => kind,
                _ => SpanKind::Text,
            };
            match spans.last_mut() {
                _ if token.range.is_empty() => {}
                Some(last)
                    if kind == SpanKind::Text && last.kind == kind && hidden.last() == Some(&(hides > 0)) =>
                {
                    last.range.end = token.range.end;
                }
                _ => {
                    spans.push(Span { kind, range: token.range });
                    hidden.push(hides > 0);
                }
            }
        }
        Syntax { source: self.text, spans, hidden, protected: protect::unite(self.pieces) }
    }
}
