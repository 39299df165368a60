//! The syntax that people write into prompts: weights, tags, wildcards, flags and the rest, of A1111, Forge,
//! SD.Next, ComfyUI, InvokeAI, SwarmUI, dynamicprompts and Midjourney at once.
//!
//! [`parse`] cuts a prompt into [`Span`]s that cover it without gaps, so that what it printed is what it read.
//! [`Syntax::plain`] is what a language model may see of it, [`Syntax::protected`] what must stand in the answer
//! byte for byte, [`Syntax::lost_in`] the check afterwards. It does not evaluate anything: no wildcard is drawn,
//! no weight is applied, and it does not know which program the prompt is for.
//!
//! # What is recognised
//! Whatever is not well formed is text. So are empty brackets.
//!
//! | form | kind |
//! |---|---|
//! | `(a)` `((a))` `(a:1.2)` `[a]` `{a}`; InvokeAI's `(a)1.2` `(a)++` `(a)-` `("a", "b").blend(1, 2)` `.and()` `.swap(b)` | [`Weight`](SpanKind::Weight) |
//! | `tree+` `tree++` `tree--`: the word of three or more lower-case letters, so that `C++`, `18+` and `Disney+` are text; one `-` after a word is text | `Weight` |
//! | Midjourney's `tree::2` `tree::`, outside brackets | `Weight` |
//! | `<lora:name:0.8>`, any `<name:...>` and `<name[...]:...>`, nested too; `<break>` and SwarmUI's other bare names | [`Tag`](SpanKind::Tag) |
//! | `embedding:name` `embedding:name:1.1` `<embed:name>` `<name>` | [`Embedding`](SpanKind::Embedding) |
//! | `[a:b:0.5]` `[a:0.5]` `[a::0.5]` `[:a:3]` | [`Editing`](SpanKind::Editing) |
//! | `[a\|b]` | [`Alternation`](SpanKind::Alternation) |
//! | `BREAK`, `ADDCOL`, `ADDROW`, `ADDBASE`, `ADDCOMM` | [`Break`](SpanKind::Break) |
//! | `AND`, `AND_PERP`, `AND_SALT`; with them `a :1.2 AND b :0.5`. Between two other words in capitals neither `AND` nor `BREAK` is one: that is shouting | [`And`](SpanKind::And) |
//! | `__x__` `__x/y*__` `__x(a=b)__`, not inside a word and so not inside the name of a LoRA | [`Wildcard`](SpanKind::Wildcard) |
//! | `{a\|b}` `{2$$a\|b}` `{1-3$$ and $$a\|b}` `{0.5::a\|b}` `${x=a}` `${x}` `${x:a}` | [`Dynamic`](SpanKind::Dynamic) |
//! | a backslash before a bracket, `<`, `>`, `\|`, `:`, `"` or a backslash; `\(pokemon go\)` is one piece | [`Escape`](SpanKind::Escape) |
//! | `"a"` `“a”` `„a“` `«a»` `「a」` `『a』` on one line; `'a'` and `‘a’` where they are no apostrophes | [`Quoted`](SpanKind::Quoted) |
//! | `3` `1girl` `1970s` `35mm` `f/1.8` `16:9` `10:30` `1,000` `50%`: a word that begins with a digit | [`Number`](SpanKind::Number) |
//! | `--ar 16:9` `--tile` `--no people, cars`, with its values | [`Flag`](SpanKind::Flag) |
//! | what a regex of the user finds | [`Custom`](SpanKind::Custom) |
//!
//! Brackets nest to any depth without recursion, and time is linear in the length of the prompt (the names of
//! wildcards, embeddings without brackets and single quotations are looked for within a fixed distance).
//!
//! Inside: `lexer` finds the leaves, with `names`, `flags`, `numbers`, `quotes` and `suffixes`; `brackets` pairs the
//! brackets and says what each pair is; `plain` and `lost` read the result.

mod brackets;
mod flags;
mod lexer;
mod lost;
mod names;
mod numbers;
mod plain;
mod protect;
mod quotes;
mod suffixes;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use protect::Protect;

/// What a piece of a prompt is. Of a pair of brackets only the marks have its kind; what is inside has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpanKind {
    /// Words, white space and punctuation.
    Text,
    /// The marks of an attention weight: a bracket, `:1.2)`, `++`, `::2`.
    Weight,
    /// A whole `<name:...>`.
    Tag,
    /// A whole `embedding:name` or `<name>`.
    Embedding,
    /// The marks of prompt editing: `[`, `:`, `:0.5]`.
    Editing,
    /// The marks of an alternation: `[`, `|`, `]`.
    Alternation,
    /// `BREAK` and its like.
    Break,
    /// `AND`, and the weight of a part between two of them.
    And,
    /// A whole `__name__`.
    Wildcard,
    /// The marks of a dynamic prompt: `{`, `2$$`, `0.5::`, `|`, `}`, `${`.
    Dynamic,
    /// A backslash and what it escapes.
    Escape,
    /// A quotation with its marks.
    Quoted,
    /// A number with its unit.
    Number,
    /// A flag with its values.
    Flag,
    /// A match of one of the user's regexes.
    Custom,
}

impl SpanKind {
    /// Words that a model may read: text, numbers and quotations.
    fn is_words(self) -> bool {
        matches!(self, Self::Text | Self::Number | Self::Quoted)
    }
}

/// A piece of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Span {
    /// What it is.
    pub kind: SpanKind,
    /// Where, in bytes. Never empty.
    pub range: Range<usize>,
}

/// A prompt, cut into spans.
#[derive(Debug, Clone)]
pub struct Syntax<'a> {
    source: &'a str,
    spans: Vec<Span>,
    /// For each span: it stands in an option that was not chosen, so a model does not see it.
    hidden: Vec<bool>,
    protected: Vec<Range<usize>>,
}

/// Cuts `text` into spans. Never fails: what is not well formed is text.
pub fn parse<'a>(text: &'a str, protect: &Protect) -> Syntax<'a> {
    let customs = protect.find(text);
    let tokens = lexer::Lexer::new(text, &customs).run();
    brackets::Pairing::new(text, tokens).run()
}

impl<'a> Syntax<'a> {
    /// The prompt.
    pub fn source(&self) -> &'a str {
        self.source
    }

    /// Its spans, in order, without gaps or overlap.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Whether there is anything but text, numbers and quotations.
    pub fn has_syntax(&self) -> bool {
        self.spans.iter().any(|span| !span.kind.is_words())
    }

    /// The largest pieces that must stand in the answer byte for byte, in order: a whole `(red hat:1.2)`, a whole
    /// tag, a number, a quotation.
    pub fn protected(&self) -> Vec<&'a str> {
        self.protected.iter().map(|range| &self.source[range.clone()]).collect()
    }

    /// Where the pieces of [`Syntax::protected`] are, in bytes.
    pub fn protected_ranges(&self) -> &[Range<usize>] {
        &self.protected
    }

    /// The byte at which the closing run of flags and tags begins, or the length of the prompt. White space and
    /// commas may stand between them and after them; tags that stand for words (`<random:a, b>`) do not count.
    pub fn closing(&self) -> usize {
        let mut closing = self.source.len();
        for span in self.spans.iter().rev() {
            let text = &self.source[span.range.clone()];
            match span.kind {
                SpanKind::Flag => closing = span.range.start,
                SpanKind::Tag if !names::stands_for_words(text) => closing = span.range.start,
                SpanKind::Text if text.chars().all(|c| c.is_whitespace() || c == ',') => {}
                _ => break,
            }
        }
        closing
    }
}

/// The source, from its spans.
impl fmt::Display for Syntax<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spans.iter().try_for_each(|span| f.write_str(&self.source[span.range.clone()]))
    }
}
