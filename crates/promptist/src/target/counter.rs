//! The tokens of a text that grows: each hypothesis of a search holds one.
//!
//! The tokens before the last [piece](super::pieces) are settled, whatever follows; only the last piece is
//! counted anew, and mostly from memory. What comes out is what [`Target::count`] says of the whole text.

use std::sync::Arc;

use super::Target;
use crate::clip::tokenizer::MAX_TEXT_BYTES;
use crate::error::Result;

/// A text's tokens so far. Cheap to clone and to ask.
///
/// A text that [`Target::count`] refuses, for its length or because the vocabulary lacks a character, has
/// [`usize::MAX`] tokens: it is over every budget.
#[derive(Debug, Clone)]
pub struct Counter {
    target: Arc<Target>,
    /// One for each encoder that reads the prompt.
    texts: Arc<[Text]>,
    num_bytes: usize,
    tokens: usize,
}

/// A text to one encoder.
#[derive(Debug)]
struct Text {
    /// Tokens that nothing can change; none if a piece was refused.
    settled: Option<usize>,
    /// What follows them.
    last: String,
}

impl Counter {
    pub(super) fn new(target: Arc<Target>, text: &str) -> Result<Self> {
        let texts = target.readers().map(|_| Text { settled: Some(0), last: String::new() }).collect();
        let counter = Self { target, texts, num_bytes: 0, tokens: 0 }.with(text);
        if counter.tokens == usize::MAX {
            // Says what is wrong with the text.
            counter.target.count(text)?;
        }
        Ok(counter)
    }

    /// Tokens of the text so far.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The text with `addition` at its end, which must be whole characters.
    pub fn with(&self, addition: &str) -> Self {
        let num_bytes = self.num_bytes + addition.len();
        if num_bytes > MAX_TEXT_BYTES {
            return Self { tokens: usize::MAX, num_bytes, ..self.clone() };
        }
        let mut tokens = Some(0);
        let texts = self.target.readers().zip(self.texts.iter()).map(|(encoder, text)| {
            let mut last = [&text.last, addition].concat();
            let (start, settled) = encoder.settled(&last);
            let settled = sum(text.settled, settled);
            last.drain(..start);
            tokens = larger(tokens, sum(settled, encoder.remembered_count(&last)));
            Text { settled, last }
        });
        let texts = texts.collect();
        Self { target: Arc::clone(&self.target), texts, num_bytes, tokens: tokens.unwrap_or(usize::MAX) }
    }

    /// Tokens of the text with `addition` at its end: `with(addition).tokens()`, without the text.
    pub fn tokens_with(&self, addition: &str) -> usize {
        if self.num_bytes + addition.len() > MAX_TEXT_BYTES {
            return usize::MAX;
        }
        let mut tokens = Some(0);
        for (encoder, text) in self.target.readers().zip(self.texts.iter()) {
            let last = [&text.last, addition].concat();
            let (start, settled) = encoder.settled(&last);
            let count = sum(sum(text.settled, settled), encoder.remembered_count(&last[start..]));
            tokens = larger(tokens, count);
        }
        tokens.unwrap_or(usize::MAX)
    }

    #[cfg(test)]
    pub(super) fn longest_unsettled(&self) -> usize {
        self.texts.iter().map(|text| text.last.len()).max().unwrap_or(0)
    }
}

/// Both, or nothing.
fn sum(a: Option<usize>, b: Option<usize>) -> Option<usize> {
    Some(a? + b?)
}

/// The larger of both, or nothing.
fn larger(a: Option<usize>, b: Option<usize>) -> Option<usize> {
    Some(a?.max(b?))
}
