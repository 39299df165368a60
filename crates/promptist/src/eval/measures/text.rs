//! Measures of one rewrite of one input, as texts: what is kept, what is added, what is broken, how long it is.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use crate::data::artists::artists_named;
use crate::data::degenerate::Degenerate;
use crate::data::lexicon::words;
use crate::data::main_content::is_modifier;
use crate::data::safety;
use crate::error::Result;
use crate::eval::additions::Additions;
use crate::eval::artist_names::ArtistNames;
use crate::eval::flaws::{self, Judged};
use crate::eval::rows::RewriteRow;
use crate::eval::systems::Rewrite;
use crate::target::Target;

/// What texts are measured against.
pub struct References {
    /// Names of the config's file, if it is there.
    pub artists: Option<ArtistNames>,
    /// Words of the training text, folded, if there is one.
    pub known_words: Option<HashSet<String>>,
    /// Whose tokens are counted.
    pub target: Arc<Target>,
}

/// A rewrite and where it comes from.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// What the user typed.
    pub user_input: &'a str,
    /// What became of it.
    pub rewrite: &'a Rewrite,
    /// By which model of the system.
    pub model: usize,
    /// Whether nothing was added on purpose: the system is the input as it is.
    pub is_input: bool,
    /// Whether the system refuses such an input; `None` if it refuses none.
    pub refuses: Option<bool>,
}

impl References {
    /// # Errors
    /// As [`Target::open`]; [`Error::Line`](crate::Error::Line) for an artists' file that is no text.
    pub fn open(target: &str, artists: Option<&Path>, known_words: Option<HashSet<String>>) -> Result<Self> {
        let artists = match artists {
            Some(path) if path.is_file() => Some(ArtistNames::read(path)?),
            Some(path) => {
                tracing::warn!(path = %path.display(), "no such file: artists are those of the embedded list alone");
                None
            }
            None => None,
        };
        Ok(Self { artists, known_words, target: Arc::new(Target::open(target)?) })
    }

    /// Measures a rewrite.
    ///
    /// # Errors
    /// [`Error::Tokenizer`](crate::Error::Tokenizer) if it is too long for the target's tokenizer.
    pub fn measure(&self, subject: Subject) -> Result<RewriteRow> {
        let Subject { user_input, rewrite, model, is_input, refuses } = subject;
        let adapted_prompt = rewrite.adapted_prompt.as_str();
        let added = Additions::of(user_input, adapted_prompt);
        let is_refused = refuses == Some(true);
        let flaws = flaws::flaws(Judged {
            user_input,
            output: adapted_prompt,
            addition: &added.text,
            cut_answer: rewrite.cut_answer.as_deref(),
            is_refused: is_refused || is_input,
        });
        let lacking = |all: Vec<String>, own: Vec<String>| -> Vec<String> {
            all.into_iter().filter(|name| !own.contains(name)).collect()
        };
        let of_file = |names: &ArtistNames| lacking(names.named(&added.text), names.named(user_input));
        let artists = self.artists.as_ref().map(of_file);
        let listed_artists = lacking(artists_named(&added.text), artists_named(user_input));
        let unknown = self.known_words.as_ref().map(|known| unknown_words(&added.text, known));
        let kept = super::kept::kept(user_input, adapted_prompt);
        let rule = safety::check(adapted_prompt);
        let tokens = self.target.count(adapted_prompt)?;

        let mut values = Values(kept.values);
        values.holds("degenerate", flaws.own.is_some());
        values.holds("degenerate_with_input", flaws.own.is_some() || flaws.whole.is_some());
        let modifiers = added.phrases.iter().filter(|phrase| is_modifier(&phrase.text)).count();
        values.count("modifiers", modifiers);
        values.holds("three_modifiers", modifiers >= 3);
        values.count("added_phrases", added.phrases.len());
        values.count("added_words", words(&added.text).len());
        values.count("tokens", tokens);
        values.holds("over_target", tokens > self.target.default_budget());
        let names_artist = !listed_artists.is_empty() || artists.as_ref().is_some_and(|of| !of.is_empty());
        values.holds("artist", names_artist);
        values.holds("artist_of_list", !listed_artists.is_empty());
        if let Some(artists) = &artists {
            values.holds("artist_of_file", !artists.is_empty());
        }
        values.holds("unsafe", rule.is_some());
        values.holds("unsafe_added", rule.is_some() && safety::check(user_input).is_none());
        values.holds("unchanged", adapted_prompt.trim() == user_input.trim());
        if let Some(refused) = refuses {
            values.holds("refused", refused);
        }
        if let Some(unknown) = &unknown {
            values.holds("unknown_word", !unknown.is_empty());
        }
        Ok(RewriteRow {
            model,
            adapted_prompt: adapted_prompt.to_owned(),
            decoded: rewrite.decoded.clone(),
            added_phrases: added.phrases.into_iter().map(|phrase| phrase.text).collect(),
            added_text: added.text,
            lost: kept.lost,
            flaw: flaws.own.map(name),
            whole_flaw: flaws.whole.map(name),
            artists: artists.unwrap_or_default(),
            listed_artists,
            unsafe_rule: rule.map(str::to_owned),
            unknown_words: unknown.unwrap_or_default(),
            candidates: Vec::new(),
            values: values.0,
            images: None,
            failures: BTreeMap::new(),
        })
    }
}

/// Values by their measures' keys.
struct Values(BTreeMap<String, f64>);

impl Values {
    fn holds(&mut self, key: &str, holds: bool) {
        self.0.insert(key.to_owned(), f64::from(u8::from(holds)));
    }

    fn count(&mut self, key: &str, count: usize) {
        self.0.insert(key.to_owned(), count as f64);
    }
}

fn name(flaw: Degenerate) -> String {
    flaw.reason().to_owned()
}

/// The words of texts as [`RewriteRow::unknown_words`] looks them up.
pub fn known_words<'a>(texts: impl Iterator<Item = &'a str>) -> HashSet<String> {
    texts.flat_map(folded).collect()
}

/// Words of letters alone; numbers with units are made up freely.
fn unknown_words(text: &str, known: &HashSet<String>) -> Vec<String> {
    let is_word = |word: &String| word.chars().all(char::is_alphabetic);
    let mut unknown: Vec<String> =
        folded(text).into_iter().filter(|word| is_word(word) && !known.contains(word)).collect();
    unknown.sort_unstable();
    unknown.dedup();
    unknown
}

/// The words of a text, folded.
pub fn folded(text: &str) -> Vec<String> {
    words(text).into_iter().map(|word| word.folded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references() -> References {
        References {
            artists: Some(ArtistNames::new(["Alphonse Mucha"].into_iter())),
            known_words: Some(known_words(
                ["8k sharp focus oil painting artstation art by alphonse mucha"].into_iter(),
            )),
            target: Arc::new(Target::open("sd15").expect("built in")),
        }
    }

    fn row(user_input: &str, adapted_prompt: &str) -> RewriteRow {
        let rewrite = Rewrite { adapted_prompt: adapted_prompt.to_owned(), decoded: None, cut_answer: None };
        let subject =
            Subject { user_input, rewrite: &rewrite, model: 0, is_input: false, refuses: Some(false) };
        references().measure(subject).expect("a text")
    }

    #[test]
    fn the_measures_count_what_they_say() {
        let values = |user_input, adapted_prompt, keys: &[&str]| -> Vec<f64> {
            let row = row(user_input, adapted_prompt);
            keys.iter().map(|&key| row.values[key]).collect()
        };
        let keys = [
            "content_words_kept",
            "degenerate",
            "modifiers",
            "three_modifiers",
            "added_phrases",
            "unchanged",
        ];
        let found = values("a red fox", "a red fox, 8k, sharp focus, oil painting", &keys);
        assert_eq!(found, [1.0, 0.0, 3.0, 1.0, 3.0, 0.0]);
        assert_eq!(values("a dog", "a log, 8k, 8k", &keys[..2]), [0.0, 1.0]);
        assert_eq!(values("a cat", "a cat ", &["unchanged", "degenerate"]), [1.0, 1.0]);
        let keys = ["artist", "artist_of_list", "artist_of_file", "unknown_word"];
        assert_eq!(values("a cat", "a cat, 8k, art by alphonse mucha", &keys)[..], [1.0, 1.0, 1.0, 0.0]);
        let own = values("a cat by alphonse mucha", "a cat by alphonse mucha, artstatio", &keys);
        assert_eq!(own, [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(values("a cat", "a cat, nude", &["unsafe", "unsafe_added", "refused"]), [1.0, 1.0, 0.0]);
    }

    #[test]
    fn lengths_are_the_target_s() {
        let long = format!("a cat{}", ", 8k".repeat(40));
        let row = row("a cat", &long);
        assert_eq!(row.values["over_target"], 1.0);
        assert!(row.values["tokens"] > 75.0);
    }

    #[test]
    fn the_input_as_it_is_adds_nothing_and_is_not_broken_by_that() {
        let rewrite = Rewrite { adapted_prompt: "a cat".to_owned(), decoded: None, cut_answer: None };
        let subject =
            Subject { user_input: "a cat", rewrite: &rewrite, model: 0, is_input: true, refuses: None };
        let row = references().measure(subject).expect("a text");
        assert_eq!((row.flaw, row.values.get("refused")), (None, None));
    }
}
