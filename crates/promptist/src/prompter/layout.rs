//! Where the user's own text stands in the answer, and what the model sees of it.
//!
//! The model never sees prompt syntax: it reads plain words and writes additions. What the user typed is
//! put around them byte for byte, and [`Layout::lost_in`] checks the whole afterwards.

use crate::syntax::{Protect, Syntax, parse};
use crate::template::{self, Keep};

/// A user's input, ready for a model and for its answer.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// What was typed, white space around it aside.
    pub(super) input: String,
    /// What the model reads of it.
    pub(super) plain: String,
    /// Where the user's text is in the answer; none if the model writes all of it. The model reads words,
    /// numbers and quotations of it; never marks, tags or flags.
    pub(super) kept: Option<KeptText>,
    /// Pieces that must stand in the answer, whatever the model writes.
    protected: Vec<String>,
}

/// The user's text around what is added.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct KeptText {
    /// Opens the answer.
    pub(super) opening: String,
    /// Closes it: flags and tags that belong behind everything.
    pub(super) closing: String,
    /// The white space that parts the two where nothing is added.
    gap: String,
    /// What the model sees as the answer's beginning: the plain words without their closing
    /// punctuation, and a comma, after which it can only add a phrase.
    pub(super) for_model: String,
}

impl Layout {
    /// Lays out a trimmed input. `neutral` is what the model reads where nothing is left of it.
    ///
    /// An input with syntax is not rewritten, only added to: [`Keep::Free`] is [`Keep::Words`] for it.
    pub(super) fn new(input: &str, keep: Keep, protect: &Protect, neutral: &str) -> Self {
        let syntax = parse(input, protect);
        let plain = match syntax.has_syntax() {
            true => Some(syntax.plain().trim().to_owned()).filter(|plain| !plain.is_empty()),
            false => Some(input.to_owned()),
        };
        let plain = plain.unwrap_or_else(|| neutral.to_owned());
        let kept = match keep {
            Keep::Exact => Some(KeptText::new(input, "", &plain)),
            Keep::Free if !syntax.has_syntax() => None,
            Keep::Words | Keep::Free => Some(Self::words(&syntax, &plain)),
        };
        let protected = syntax.protected().into_iter().map(str::to_owned).collect();
        Self { input: input.to_owned(), plain, kept, protected }
    }

    /// The same input where the model's own answer lost a piece of it: the user's text, and what the
    /// answer adds.
    pub(super) fn keeping_words(&self, protect: &Protect) -> KeptText {
        Self::words(&parse(&self.input, protect), &self.plain)
    }

    /// Additions go before closing flags and tags.
    fn words(syntax: &Syntax<'_>, plain: &str) -> KeptText {
        let (opening, closing) = syntax.source().split_at(syntax.closing());
        match opening.trim().is_empty() {
            // Nothing but flags and tags: behind them is the only place.
            true => KeptText::new(syntax.source(), "", plain),
            false => {
                let (kept, trimmed) = (opening.trim_end(), closing.trim_start());
                let gap = &syntax.source()[kept.len()..syntax.source().len() - trimmed.len()];
                KeptText { gap: gap.to_owned(), ..KeptText::new(kept, trimmed, plain) }
            }
        }
    }

    /// Pieces of the user's syntax, numbers and quotations that an answer lacks, as often as they stand
    /// in the input.
    pub(super) fn lost_in(&self, answer: &str, protect: &Protect) -> Vec<String> {
        match self.protected.is_empty() {
            true => Vec::new(),
            false => parse(&self.input, protect).lost_in(answer).into_iter().map(str::to_owned).collect(),
        }
    }
}

impl KeptText {
    pub(super) fn new(opening: &str, closing: &str, plain: &str) -> Self {
        Self {
            opening: opening.to_owned(),
            closing: closing.to_owned(),
            gap: String::new(),
            for_model: format!("{},", template::kept_words(plain)),
        }
    }

    /// What parts the opening from what is added.
    pub(super) fn separator(&self) -> &'static str {
        match self.opening.ends_with([',', '.', ';', ':', '!', '?']) {
            true => " ",
            false => ", ",
        }
    }

    /// The user's text and what the model added; byte for byte what was typed if that is nothing.
    pub(super) fn with(&self, addition: &str) -> String {
        let addition = addition.trim_start_matches([',', ' ']);
        if addition.is_empty() {
            return [&self.opening, self.gap.as_str(), &self.closing].concat();
        }
        let mut text = [&self.opening, self.separator(), addition].concat();
        if !self.closing.is_empty() {
            text += " ";
            text += &self.closing;
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_words_open_the_answer_byte_for_byte() {
        let cases = [
            ("a cat", "a cat,", "a cat, 8k"),
            ("A cat sits.", "A cat sits,", "A cat sits. 8k"),
            ("why?", "why?,", "why? 8k"),
        ];
        for (input, for_model, expected) in cases {
            let kept = Layout::new(input, Keep::Exact, &Protect::default(), "x").kept.expect("kept");
            assert_eq!(kept.for_model, for_model);
            assert_eq!(kept.with(" 8k"), expected);
            assert_eq!(kept.with(""), input);
        }
    }

    #[test]
    fn the_model_reads_words_and_the_answer_has_the_syntax() {
        let cases = [
            (Keep::Exact, "a cat, (red:1.2),", "a cat, red,", "a cat, (red:1.2), 8k"),
            (Keep::Words, "a (cat:1.2) --ar 16:9", "a cat,", "a (cat:1.2), 8k --ar 16:9"),
            (Keep::Free, "a (cat:1.2), <lora:x:0.8>", "a cat,", "a (cat:1.2), 8k <lora:x:0.8>"),
            (Keep::Exact, "a cat --ar 16:9", "a cat,", "a cat --ar 16:9, 8k"),
            (Keep::Words, "<lora:x:0.8>", "an image,", "<lora:x:0.8>, 8k"),
        ];
        for (keep, input, for_model, expected) in cases {
            let layout = Layout::new(input, keep, &Protect::default(), "an image");
            let kept = layout.kept.clone().expect("kept");
            assert_eq!(kept.for_model, for_model, "{input}");
            assert_eq!(kept.with("8k"), expected);
            assert!(layout.lost_in(expected, &Protect::default()).is_empty());
        }
        assert!(Layout::new("two cats", Keep::Free, &Protect::default(), "x").kept.is_none());
    }
}
