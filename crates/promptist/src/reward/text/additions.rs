//! What a text reward looks at: the words that an adapted prompt adds, beside the input they are added to.

use crate::data::degenerate::content_words;
use crate::data::lexicon::words;
use crate::data::main_content;
use crate::eval::additions::Additions;
use crate::reward::Pair;

/// A pair, taken apart once for every family of models.
#[derive(Debug, Clone, PartialEq)]
pub struct AddedText {
    /// What the user typed.
    pub user_input: String,
    /// What the adapted prompt adds to it, as text; empty if nothing.
    pub text: String,
    /// The added phrases, each the folded words that it consists of, repeated ones as often as they stand.
    pub phrases: Vec<Vec<String>>,
    /// The content words of the input.
    pub input_words: Vec<String>,
}

impl AddedText {
    /// Takes a pair apart. In an adapted prompt that does not open with the input, what its phrases add.
    pub fn of(pair: &Pair) -> Self {
        let text = match pair.adapted_prompt.trim() {
            // An empty rewrite stands for the input.
            "" => String::new(),
            adapted_prompt => Additions::of(&pair.user_input, adapted_prompt).text,
        };
        let phrases = main_content::phrases(&text)
            .into_iter()
            .map(|phrase| words(phrase).into_iter().map(|word| word.folded).collect::<Vec<_>>())
            .filter(|words| !words.is_empty())
            .collect();
        Self {
            phrases,
            input_words: content_words(&pair.user_input),
            user_input: pair.user_input.trim().to_owned(),
            text,
        }
    }

    /// All added words, in order.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.phrases.iter().flatten().map(String::as_str)
    }

    /// Numbers of the additions as a whole, each about 0 to 3: see [`SURFACE`].
    pub fn surface(&self) -> [f64; SURFACE.len()] {
        let num_words = self.words().count();
        let distinct_words = distinct(self.words());
        let num_phrases = self.phrases.len();
        let distinct_phrases = distinct(self.phrases.iter());
        let of_input = self.words().filter(|word| self.input_words.iter().any(|own| own == word)).count();
        let longest = self.phrases.iter().map(Vec::len).max().unwrap_or(0);
        let share = |part: usize, all: usize| if all == 0 { 0.0 } else { part as f64 / all as f64 };
        [
            (1.0 + num_words as f64).ln(),
            (1.0 + num_phrases as f64).ln(),
            share(num_words, num_phrases).min(12.0) / 4.0,
            (1.0 + longest as f64).ln(),
            share(num_words - distinct_words, num_words),
            share(num_phrases - distinct_phrases, num_phrases),
            share(of_input, num_words),
            f64::from(u8::from(num_words == 0)),
        ]
    }
}

/// What [`AddedText::surface`] counts.
pub const SURFACE: [&str; 8] = [
    "log(1 + words)",
    "log(1 + phrases)",
    "words a phrase / 4",
    "log(1 + words of the longest phrase)",
    "share of repeated words",
    "share of repeated phrases",
    "share of the input's words among the added",
    "nothing added",
];

fn distinct<T: std::hash::Hash + Eq>(items: impl Iterator<Item = T>) -> usize {
    items.collect::<std::collections::HashSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(user_input: &str, adapted_prompt: &str) -> AddedText {
        AddedText::of(&Pair { user_input: user_input.to_owned(), adapted_prompt: adapted_prompt.to_owned() })
    }

    #[test]
    fn repeated_phrases_are_counted_as_often_as_they_stand() {
        let added = added("a red cat", "a red cat, 8k, sharp focus, 8k");
        assert_eq!(added.text, "8k, sharp focus, 8k");
        assert_eq!(added.phrases.len(), 3);
        let surface = added.surface();
        assert_eq!(surface[4], 0.25);
        assert!((surface[5] - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(surface[7], 0.0);
    }

    #[test]
    fn an_unchanged_or_empty_prompt_adds_nothing() {
        for adapted_prompt in ["a cat", " a cat ", "", "a cat,"] {
            let added = added("a cat", adapted_prompt);
            assert_eq!(added.text, "", "{adapted_prompt}");
            assert_eq!(added.surface()[7], 1.0);
        }
    }
}
