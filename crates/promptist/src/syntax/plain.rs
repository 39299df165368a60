//! What a language model sees of a prompt.

use super::{SpanKind, Syntax};

impl Syntax<'_> {
    /// The prompt in plain words. A prompt without syntax comes back byte for byte.
    ///
    /// Weights give the words inside them; editing the later words, or the earlier if there are none later;
    /// alternations and dynamic prompts the first option that says something; a wildcard the last part of its path
    /// (`__animal/big_cats__`: "big cats"); `BREAK` and `AND` a comma; escapes the character. Tags, embeddings,
    /// flags, definitions of variables and what the user's regexes found are gone. What that leaves of white space
    /// and commas is tidied; it may leave nothing at all.
    pub fn plain(&self) -> String {
        if !self.has_syntax() {
            return self.source.to_owned();
        }
        let mut plain = Plain { out: String::with_capacity(self.source.len()), ..Plain::default() };
        let mut before = "";
        for (span, hidden) in self.spans.iter().zip(&self.hidden) {
            let text = &self.source[span.range.clone()];
            let touches = before.ends_with([')', ']', '}']) && text.starts_with(['(', '[', '{']);
            if touches || (before.starts_with("__") && span.kind == SpanKind::Wildcard) {
                plain.gap();
            }
            before = if span.kind.is_words() { "" } else { text };
            if *hidden {
                continue;
            }
            match span.kind {
                SpanKind::Text => plain.words(text),
                SpanKind::Number | SpanKind::Quoted => plain.exact(text),
                SpanKind::Wildcard => plain.words(&wildcard_words(text)),
                SpanKind::Escape => plain.exact(text.strip_prefix('\\').unwrap_or(text)),
                SpanKind::Break => plain.comma(),
                SpanKind::And if text.starts_with('A') => plain.comma(),
                SpanKind::Tag | SpanKind::Embedding | SpanKind::Flag | SpanKind::Custom => plain.gap(),
                SpanKind::Weight
                | SpanKind::Editing
                | SpanKind::Alternation
                | SpanKind::Dynamic
                | SpanKind::And => {}
            }
        }
        plain.out
    }
}

/// The last part of a wildcard's path that has a name, as words.
fn wildcard_words(wildcard: &str) -> String {
    let name = wildcard.trim_matches('_');
    let path = name.split('(').next().unwrap_or_default();
    let is_name = |part: &&str| part.chars().any(char::is_alphanumeric);
    let part = path.rsplit(['/', '\\']).find(is_name).unwrap_or_default();
    let words: Vec<&str> =
        part.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// Text whose white space and commas wait until it is known what follows them.
#[derive(Default)]
struct Plain {
    out: String,
    has_comma: bool,
    has_space: bool,
    /// Something was taken out here.
    has_gap: bool,
}

impl Plain {
    fn words(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                ',' => {
                    self.has_space &= self.has_comma;
                    self.has_comma = true;
                }
                c if c.is_whitespace() => self.has_space = true,
                c => {
                    // A full stop goes to the word before the gap.
                    if self.has_gap && ".;:!?".contains(c) {
                        (self.has_comma, self.has_space) = (false, false);
                    }
                    self.settle();
                    self.out.push(c);
                }
            }
        }
    }

    fn exact(&mut self, text: &str) {
        self.settle();
        self.out.push_str(text);
    }

    fn gap(&mut self) {
        (self.has_space, self.has_gap) = (true, true);
    }

    fn comma(&mut self) {
        (self.has_comma, self.has_space) = (true, true);
    }

    /// Writes what waits; nothing at the beginning.
    fn settle(&mut self) {
        if !self.out.is_empty() {
            self.out.push_str(match (self.has_comma, self.has_space) {
                (true, true) => ", ",
                (true, false) => ",",
                (false, true) => " ",
                (false, false) => "",
            });
        }
        (self.has_comma, self.has_space, self.has_gap) = (false, false, false);
    }
}
