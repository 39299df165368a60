//! Measures of one adapted prompt an input: what is kept, what is added, what is broken.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::additions::Additions;
use super::artist_names::ArtistNames;
use super::flaws::{self, Judged};
use crate::data::artists::artists_named;
use crate::data::degenerate::{Degenerate, content_kept};
use crate::data::lexicon::words;
use crate::data::main_content::is_modifier;

/// An input, its output, and everything that is measured of the two alone: a line of `outputs.jsonl`.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The prompt set.
    pub set: String,
    /// What the user typed.
    pub user_input: String,
    /// The adapted prompt.
    pub output: String,
    /// What it adds.
    #[serde(flatten)]
    pub added: Additions,
    /// Tokens of what it adds.
    pub added_tokens: usize,
    /// Share of the input's content words that the output has.
    pub content_kept: f32,
    /// Added phrases that are style modifiers.
    pub modifiers: usize,
    /// How the model's doing broke the output.
    #[serde(serialize_with = "flaw_name")]
    pub flaw: Option<Degenerate>,
    /// How the output is broken, the user's own flaws included.
    #[serde(serialize_with = "flaw_name")]
    pub whole_flaw: Option<Degenerate>,
    /// Names of the file of artists that the input lacks.
    pub artists: Vec<String>,
    /// Names of the embedded list of artists that the input lacks.
    pub listed_artists: Vec<String>,
    /// Added words that the training text has nowhere.
    pub unknown_words: Vec<String>,
    /// Whether the filter added nothing because the input is unsafe.
    pub refused: bool,
}

/// What outputs are judged against.
#[derive(Debug, Clone, Default)]
pub struct References {
    /// Names of a file, if there is one.
    pub artists: Option<ArtistNames>,
    /// Words of the training text, folded, if there is one.
    pub known_words: Option<HashSet<String>>,
}

/// One answer of a prompter.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The adapted prompt.
    pub output: String,
    /// What the model wrote, if the length limit stopped it.
    pub cut_answer: Option<String>,
    /// Whether the filter added nothing because the input is unsafe.
    pub refused: bool,
}

impl Row {
    /// Measures one answer. `count_tokens` counts the tokens of a text.
    pub fn new(
        set: &str,
        user_input: &str,
        answer: Answer,
        references: &References,
        count_tokens: impl Fn(&str) -> usize,
    ) -> Self {
        let added = Additions::of(user_input, &answer.output);
        let flaws = flaws::flaws(Judged {
            user_input,
            output: &answer.output,
            addition: &added.text,
            cut_answer: answer.cut_answer.as_deref(),
            is_refused: answer.refused,
        });
        let lacking = |all: Vec<String>, own: Vec<String>| -> Vec<String> {
            all.into_iter().filter(|name| !own.contains(name)).collect()
        };
        let artists = references
            .artists
            .as_ref()
            .map_or_else(Vec::new, |names| lacking(names.named(&added.text), names.named(user_input)));
        let unknown_words =
            references.known_words.as_ref().map_or_else(Vec::new, |known| unknown_words(&added.text, known));
        Self {
            added_tokens: match added.text.is_empty() {
                true => 0,
                false => count_tokens(&added.text),
            },
            content_kept: content_kept(user_input, &answer.output),
            modifiers: added.phrases.iter().filter(|p| is_modifier(&p.text)).count(),
            flaw: flaws.own,
            whole_flaw: flaws.whole,
            artists,
            listed_artists: lacking(artists_named(&added.text), artists_named(user_input)),
            unknown_words,
            refused: answer.refused,
            set: set.to_owned(),
            user_input: user_input.to_owned(),
            output: answer.output,
            added,
        }
    }
}

/// The measures of many rows. Shares are of `n`.
#[derive(Debug, Clone, Serialize)]
pub struct TextMeasures {
    /// Outputs.
    pub n: usize,
    /// Mean share of an input's content words kept.
    pub content_kept: f64,
    /// Share of outputs that keep all content words.
    pub all_content_kept: f64,
    /// Share of outputs that add three or more style modifiers.
    pub three_modifiers: f64,
    /// Share of outputs that the model broke.
    pub degenerate: f64,
    /// How, and how many.
    pub flaws: BTreeMap<&'static str, usize>,
    /// Share of outputs that are broken, the users' own flaws included.
    pub degenerate_with_inputs_flaws: f64,
    /// Share of outputs with an added word that the training text has nowhere.
    pub unknown_words: Option<f64>,
    /// Those words, each once.
    pub unknown_word_examples: Vec<String>,
    /// Outputs to which nothing was added because the input is unsafe.
    pub refused: usize,
    /// Share of outputs that add a name of the file of artists.
    pub artists: Option<f64>,
    /// Share of outputs that add a name of the embedded list of artists.
    pub listed_artists: f64,
    /// The names added most often, of either list.
    pub commonest_artists: Vec<Common>,
    /// The phrases added most often.
    pub commonest_phrases: Vec<Common>,
    /// Mean number of added phrases.
    pub added_phrases: f64,
    /// Mean number of added tokens.
    pub added_tokens: f64,
    /// Distinct words over words, of all additions together.
    pub distinct_1: f64,
    /// Distinct pairs of words over pairs, within additions.
    pub distinct_2: f64,
    /// Distinct added phrases over added phrases.
    pub distinct_phrases: f64,
}

/// Something that several outputs have.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Common {
    /// What: folded.
    pub text: String,
    /// Outputs that have it.
    pub count: usize,
    /// Their share.
    pub share: f64,
}

impl TextMeasures {
    /// Measures `rows`; `references` tells which measures there can be.
    pub fn of(rows: &[&Row], references: &References) -> Self {
        let n = rows.len();
        let mean =
            |value: &dyn Fn(&Row) -> f64| rows.iter().map(|row| value(row)).sum::<f64>() / n.max(1) as f64;
        let share = |holds: &dyn Fn(&Row) -> bool| mean(&|row| f64::from(u8::from(holds(row))));
        let mut flaws = BTreeMap::new();
        for flaw in rows.iter().filter_map(|row| row.flaw) {
            *flaws.entry(flaw.reason()).or_default() += 1;
        }
        let texts: Vec<Vec<String>> = rows.iter().map(|row| folded(&row.added.text)).collect();
        let phrases: Vec<Vec<String>> =
            rows.iter().map(|row| row.added.phrases.iter().map(|p| p.key.clone()).collect()).collect();
        Self {
            n,
            content_kept: mean(&|row| f64::from(row.content_kept)),
            all_content_kept: share(&|row| row.content_kept >= 1.0),
            three_modifiers: share(&|row| row.modifiers >= 3),
            degenerate: share(&|row| row.flaw.is_some()),
            flaws,
            degenerate_with_inputs_flaws: share(&|row| row.flaw.is_some() || row.whole_flaw.is_some()),
            unknown_words: references
                .known_words
                .as_ref()
                .map(|_| share(&|row| !row.unknown_words.is_empty())),
            unknown_word_examples: unknown_word_examples(rows),
            refused: rows.iter().filter(|row| row.refused).count(),
            artists: references.artists.as_ref().map(|_| share(&|row| !row.artists.is_empty())),
            listed_artists: share(&|row| !row.listed_artists.is_empty()),
            commonest_artists: commonest(
                rows.iter().map(|row| row.artists.iter().chain(&row.listed_artists)),
                n,
                10,
            ),
            commonest_phrases: commonest(phrases.iter().map(|phrases| phrases.iter()), n, 20),
            added_phrases: mean(&|row| row.added.phrases.len() as f64),
            added_tokens: mean(&|row| row.added_tokens as f64),
            distinct_1: distinct(&texts, 1),
            distinct_2: distinct(&texts, 2),
            distinct_phrases: distinct(&phrases, 1),
        }
    }
}

/// The `most` entries that most of `n` rows have, ties in the order of the alphabet. An entry counts
/// once a row.
pub fn commonest<'a, R: Iterator<Item = &'a String>>(
    rows: impl Iterator<Item = R>,
    n: usize,
    most: usize,
) -> Vec<Common> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for row in rows {
        let distinct: HashSet<&str> = row.map(String::as_str).collect();
        for text in distinct {
            *counts.entry(text).or_default() += 1;
        }
    }
    let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
    counts.sort_by(|(a, a_count), (b, b_count)| b_count.cmp(a_count).then(a.cmp(b)));
    counts
        .into_iter()
        .take(most)
        .map(|(text, count)| Common { text: text.to_owned(), count, share: count as f64 / n.max(1) as f64 })
        .collect()
}

/// Distinct n-grams over all n-grams, within rows; 0 if there are none.
///
/// # Source
/// Li et al. 2016, "A Diversity-Promoting Objective Function for Neural Conversation Models".
pub fn distinct(rows: &[Vec<String>], n: usize) -> f64 {
    let all = rows.iter().map(|row| (row.len() + 1).saturating_sub(n)).sum::<usize>();
    let distinct: HashSet<&[String]> = rows.iter().flat_map(|row| row.windows(n)).collect();
    distinct.len() as f64 / all.max(1) as f64
}

/// The words of texts as [`Row::unknown_words`] looks them up.
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

fn unknown_word_examples(rows: &[&Row]) -> Vec<String> {
    const MOST: usize = 40;
    let mut seen = HashSet::new();
    let words = rows.iter().flat_map(|row| &row.unknown_words);
    words.filter(|word| seen.insert(*word)).take(MOST).cloned().collect()
}

fn folded(text: &str) -> Vec<String> {
    words(text).into_iter().map(|word| word.folded).collect()
}

fn flaw_name<S: serde::Serializer>(flaw: &Option<Degenerate>, serializer: S) -> Result<S::Ok, S::Error> {
    flaw.map(Degenerate::reason).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(user_input: &str, output: &str, references: &References) -> Row {
        let answer = Answer { output: output.to_owned(), cut_answer: None, refused: false };
        Row::new("set", user_input, answer, references, |text| text.split(' ').count())
    }

    #[test]
    fn the_measures_count_what_they_say() {
        let references = References {
            artists: Some(ArtistNames::new(["Alphonse Mucha"].into_iter())),
            known_words: Some(known_words(
                ["8k sharp focus oil painting artstation art by alphonse mucha"].into_iter(),
            )),
        };
        let rows = [
            row("a red fox", "a red fox, 8k, sharp focus, oil painting", &references),
            row("a cat", "a cat, 8k, art by alphonse mucha", &references),
            row("a cat by alphonse mucha", "a cat by alphonse mucha, artstatio", &references),
            row("a dog", "a log, 8k, 8k", &references),
        ];
        let measures = TextMeasures::of(&rows.iter().collect::<Vec<_>>(), &references);
        assert_eq!(measures.n, 4);
        assert_eq!(measures.content_kept, 0.75);
        assert_eq!(measures.all_content_kept, 0.75);
        assert_eq!(measures.three_modifiers, 0.25);
        assert_eq!(measures.degenerate, 0.5);
        assert_eq!(measures.flaws, BTreeMap::from([("cut", 1), ("repeated", 1)]));
        assert_eq!(measures.artists, Some(0.25));
        assert_eq!(measures.unknown_words, Some(0.5));
        assert_eq!(measures.unknown_word_examples, ["artstatio", "a", "log"]);
        let commonest = &measures.commonest_phrases[0];
        assert_eq!((commonest.text.as_str(), commonest.count, commonest.share), ("8k", 3, 0.75));
        assert_eq!(measures.added_phrases, (3.0 + 2.0 + 1.0 + 2.0) / 4.0);
    }

    #[test]
    fn distinct_n_is_distinct_over_all() {
        let row = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let rows = [row("a b a b"), row("a"), Vec::new()];
        assert_eq!(distinct(&rows, 1), 2.0 / 5.0);
        assert_eq!(distinct(&rows, 2), 2.0 / 3.0);
        assert_eq!(distinct(&[], 2), 0.0);
    }

    #[test]
    fn ties_are_in_the_order_of_the_alphabet() {
        let rows = [["b", "a", "a"], ["c", "b", "b"]].map(|row| row.map(str::to_owned));
        let found = commonest(rows.iter().map(|row| row.iter()), 2, 2);
        let texts: Vec<(&str, usize)> = found.iter().map(|c| (c.text.as_str(), c.count)).collect();
        assert_eq!(texts, [("b", 2), ("a", 1)]);
    }
}
