//! What a prompter added: the part of an output that its input lacks, as text and as phrases.

use std::collections::HashSet;

use serde::Serialize;

use crate::data::degenerate::content_words;
use crate::data::lexicon::words;
use crate::data::main_content;

/// What an output adds to its input.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Additions {
    /// The added text, without the punctuation that joins it to the input.
    pub text: String,
    /// The added phrases, each once, in order.
    pub phrases: Vec<Phrase>,
}

/// One added phrase.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Phrase {
    /// As the output spells it.
    pub text: String,
    /// Its words, lower case and without accents: what makes two phrases the same.
    #[serde(skip)]
    pub key: String,
}

impl Additions {
    /// What `output` adds to `user_input`.
    ///
    /// Where the output opens with the input, the rest of it. Elsewhere its phrases, without those
    /// half of whose content words are the input's: they tell the subject again. Phrases whose words
    /// stand in the input in a row are nobody's addition.
    pub fn of(user_input: &str, output: &str) -> Self {
        let text = match rest_after(user_input.trim(), output.trim()) {
            Some(rest) => rest.to_owned(),
            None => new_phrases(user_input, output).join(", "),
        };
        let own = spaced_words(user_input);
        let mut seen = HashSet::new();
        let phrases = main_content::phrases(&text)
            .into_iter()
            .filter_map(|phrase| {
                let key = key(phrase);
                let is_new = !key.is_empty() && !own.contains(&format!(" {key} "));
                (is_new && seen.insert(key.clone())).then(|| Phrase { text: phrase.to_owned(), key })
            })
            .collect();
        Self { text, phrases }
    }

    /// The phrases' keys.
    pub fn keys(&self) -> HashSet<&str> {
        self.phrases.iter().map(|phrase| phrase.key.as_str()).collect()
    }
}

/// What follows the input in an output that opens with it, byte for byte and at a word's end.
fn rest_after<'a>(user_input: &str, output: &'a str) -> Option<&'a str> {
    let rest = output.strip_prefix(user_input)?;
    let rest_of_a_word = |c: char| c.is_alphanumeric() || c == '\'';
    if rest.starts_with(rest_of_a_word) && user_input.ends_with(rest_of_a_word) {
        return None;
    }
    Some(rest.trim_start_matches(|c: char| c.is_whitespace() || ",.;:!?".contains(c)))
}

fn new_phrases<'a>(user_input: &str, output: &'a str) -> Vec<&'a str> {
    let own: HashSet<String> = content_words(user_input).into_iter().collect();
    main_content::phrases(output)
        .into_iter()
        .filter(|phrase| {
            let content = content_words(phrase);
            let held = content.iter().filter(|word| own.contains(*word)).count();
            content.is_empty() || 2 * held < content.len()
        })
        .collect()
}

fn key(phrase: &str) -> String {
    let folded: Vec<String> = words(phrase).into_iter().map(|word| word.folded).collect();
    folded.join(" ")
}

/// The words of a text with a space on either side of each.
fn spaced_words(text: &str) -> String {
    format!(" {} ", key(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(user_input: &str, output: &str, text: &str, phrases: &[&str]) {
        let additions = Additions::of(user_input, output);
        let found: Vec<&str> = additions.phrases.iter().map(|p| p.text.as_str()).collect();
        assert_eq!((additions.text.as_str(), found.as_slice()), (text, phrases));
    }

    #[test]
    fn what_follows_the_input_is_added() {
        check("a cat", "a cat, 8k, oil painting", "8k, oil painting", &["8k", "oil painting"]);
        check("a cat.", "a cat. 8k", "8k", &["8k"]);
        check(" a cat ", "a cat", "", &[]);
        // An open bracket of the input does not swallow the commas after it.
        check("a cat (on", "a cat (on, 8k, hd", "8k, hd", &["8k", "hd"]);
    }

    #[test]
    fn a_phrase_counts_once_and_not_if_the_input_has_it() {
        check(
            "a cat, oil painting",
            "a cat, oil painting, 8k, Oil Painting, 8K",
            "8k, Oil Painting, 8K",
            &["8k"],
        );
        check("a cat in fog", "a cat in fog, cat in fog, fog light", "cat in fog, fog light", &["fog light"]);
    }

    #[test]
    fn a_subject_told_again_is_no_addition() {
        check(
            "a cat on a mat",
            "The cat sits on the mat, 8k, sharp focus",
            "8k, sharp focus",
            &["8k", "sharp focus"],
        );
        check("cat", "cats, 8k", "8k", &["8k"]);
    }
}
