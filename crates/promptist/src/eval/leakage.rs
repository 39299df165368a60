//! Leakage: how much of a test set its models may have read in training.
//!
//! [`leakage`] reads the training texts once, one at a time, and compares each with all test inputs at the same time:
//! the same words ([`Kind::Exact`]), nearly the same ([`Kind::Near`], as the data stage drops them from training data),
//! and runs of words in common ([`Kind::Overlapping`]). Nothing is hashed into signatures or sampled: every count is
//! exact. Whether a model that has read a text does better on it is not measured here.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::data::lexicon::words;
use crate::data::near_duplicates::THRESHOLD;

/// Words of an n-gram in inputs of at least [`LONG_INPUT`] words.
pub const LONG_GRAM: usize = 8;

/// Words of an n-gram in shorter inputs, and of the shortest run that is noticed. Inputs with fewer words have none.
pub const SHORT_GRAM: usize = 5;

/// Words from which an input counts as long.
pub const LONG_INPUT: usize = 16;

/// Share of an input's n-grams from which it counts as overlapping.
pub const OVERLAP: f64 = 0.5;

/// How a test input leaked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A training text has the same words, but for case, accents and punctuation.
    Exact,
    /// A training text has nearly the same pairs of words: Jaccard similarity of at least
    /// [`THRESHOLD`](crate::data::near_duplicates::THRESHOLD).
    Near,
    /// At least [`OVERLAP`] of its n-grams stand in training texts, all of them together. Modifiers that many prompts end
    /// in count like other words.
    Overlapping,
}

/// What of a test set stands in training texts. An input counts once, as the worst that it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Leakage {
    /// Test inputs.
    pub n: usize,
    /// Training texts.
    pub training_texts: usize,
    /// Inputs that are a training text.
    pub exact: usize,
    /// Others that nearly are.
    pub near: usize,
    /// Others whose n-grams were mostly read.
    pub overlapping: usize,
    /// Inputs too short to have n-grams: of these, only the first two counts speak.
    pub too_short: usize,
    /// The mean over the other inputs of the share of their n-grams that stand in training texts; 0 without any.
    pub mean_overlap: f64,
    /// The worst, at most as many as asked for; those that are of no [`Kind`] are not among them.
    pub examples: Vec<Example>,
}

/// A test input and what of it stands in training texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// The test input's place in its set, from 0.
    pub index: usize,
    /// The test input.
    pub user_input: String,
    /// How it leaked.
    pub kind: Kind,
    /// Jaccard similarity of its pairs of words with the nearest training text's.
    pub similarity: f64,
    /// Share of its n-grams that stand in training texts; `None` for an input too short to have one.
    pub overlap: Option<f64>,
    /// Words of the longest run that it has in common with one training text, [`SHORT_GRAM`] at least or 0.
    pub longest_run: usize,
    /// The nearest training text; for an overlapping input, the one with the longest run.
    pub training_text: String,
}

impl Leakage {
    /// Inputs of any kind, as a share of all; 0 of an empty set.
    pub fn share(&self) -> f64 {
        (self.exact + self.near + self.overlapping) as f64 / self.n.max(1) as f64
    }
}

/// Compares test inputs with training texts. Memory grows with the test set and the vocabulary, not with the training
/// texts: they may be read from a file as they are asked for.
pub fn leakage<T: AsRef<str>>(
    inputs: &[impl AsRef<str>],
    training_texts: impl IntoIterator<Item = T>,
    max_examples: usize,
) -> Leakage {
    let mut vocabulary = Vocabulary::default();
    let mut inputs = TestInputs::new(inputs.iter().map(AsRef::as_ref), &mut vocabulary);
    let mut read = 0;
    for text in training_texts {
        let text = text.as_ref();
        inputs.compare(text, &vocabulary.ids(text));
        read += 1;
    }
    inputs.report(read, max_examples)
}

/// Words by number.
#[derive(Default)]
struct Vocabulary(HashMap<String, u32>);

impl Vocabulary {
    fn ids(&mut self, text: &str) -> Vec<u32> {
        let id = |word: String| {
            let next = self.0.len() as u32;
            *self.0.entry(word).or_insert(next)
        };
        words(text).into_iter().map(|word| word.folded).map(id).collect()
    }
}

type Gram = [u32; SHORT_GRAM];

/// A pair of neighbouring words; twice [`u32::MAX`] and a word where there is only one.
type Shingle = (u32, u32);

/// The test inputs, what finds them, and what was found of them so far.
struct TestInputs {
    inputs: Vec<TestInput>,
    /// Inputs by their words.
    same: HashMap<Vec<u32>, Vec<usize>>,
    /// Inputs by shingle.
    shingles: HashMap<Shingle, Vec<usize>>,
    /// Input and place of every run of words.
    grams: HashMap<Gram, Vec<(usize, usize)>>,
}

struct TestInput {
    text: String,
    words: Vec<u32>,
    num_shingles: usize,
    /// Whether the n-gram at each place was read.
    read: Vec<bool>,
    is_exact: bool,
    nearest: Option<(f64, String)>,
    longest: Option<(usize, String)>,
}

impl TestInputs {
    fn new<'a>(texts: impl Iterator<Item = &'a str>, vocabulary: &mut Vocabulary) -> Self {
        let mut all = Self {
            inputs: Vec::new(),
            same: HashMap::new(),
            shingles: HashMap::new(),
            grams: HashMap::new(),
        };
        for (idx, text) in texts.enumerate() {
            let words = vocabulary.ids(text);
            let shingles = shingles(&words);
            for &shingle in &shingles {
                all.shingles.entry(shingle).or_default().push(idx);
            }
            for (place, &gram) in words.array_windows().enumerate() {
                all.grams.entry(gram).or_default().push((idx, place));
            }
            all.same.entry(words.clone()).or_default().push(idx);
            all.inputs.push(TestInput {
                text: text.to_owned(),
                read: vec![false; (words.len() + 1).saturating_sub(gram_of(words.len()))],
                words,
                num_shingles: shingles.len(),
                is_exact: false,
                nearest: None,
                longest: None,
            });
        }
        all
    }

    fn compare(&mut self, text: &str, words: &[u32]) {
        if words.is_empty() {
            return;
        }
        for &idx in self.same.get(words).into_iter().flatten() {
            self.inputs[idx].is_exact = true;
        }
        self.compare_shingles(text, words);
        self.compare_runs(text, words);
    }

    /// Jaccard similarities with all inputs that share a shingle.
    fn compare_shingles(&mut self, text: &str, words: &[u32]) {
        let shingles = shingles(words);
        let mut shared: HashMap<usize, usize> = HashMap::new();
        for idx in shingles.iter().filter_map(|shingle| self.shingles.get(shingle)).flatten() {
            *shared.entry(*idx).or_default() += 1;
        }
        for (idx, shared) in shared {
            let input = &mut self.inputs[idx];
            let similarity = shared as f64 / (shingles.len() + input.num_shingles - shared) as f64;
            if input.nearest.as_ref().is_none_or(|(most, _)| similarity > *most) {
                input.nearest = Some((similarity, text.to_owned()));
            }
        }
    }

    /// Runs of words in common with any input, each at its whole length.
    fn compare_runs(&mut self, text: &str, words: &[u32]) {
        for (from, gram) in words.array_windows::<SHORT_GRAM>().enumerate() {
            for &(idx, place) in self.grams.get(gram).into_iter().flatten() {
                let input = &mut self.inputs[idx];
                if from > 0 && place > 0 && words[from - 1] == input.words[place - 1] {
                    continue; // a part of the run that was seen a word before
                }
                let run = words[from..].iter().zip(&input.words[place..]).take_while(|(a, b)| a == b).count();
                for read in input
                    .read
                    .iter_mut()
                    .skip(place)
                    .take((run + 1).saturating_sub(gram_of(input.words.len())))
                {
                    *read = true;
                }
                if input.longest.as_ref().is_none_or(|(most, _)| run > *most) {
                    input.longest = Some((run, text.to_owned()));
                }
            }
        }
    }

    fn report(self, training_texts: usize, max_examples: usize) -> Leakage {
        let n = self.inputs.len();
        let count = |kind| self.inputs.iter().filter(|input| input.kind() == Some(kind)).count();
        let (exact, near, overlapping) = (count(Kind::Exact), count(Kind::Near), count(Kind::Overlapping));
        let overlaps: Vec<f64> = self.inputs.iter().filter_map(TestInput::overlap).collect();
        let mut examples: Vec<Example> =
            self.inputs.into_iter().enumerate().filter_map(|(index, input)| input.example(index)).collect();
        let badness = |example: &Example| match example.kind {
            Kind::Exact | Kind::Near => example.similarity,
            Kind::Overlapping => example.overlap.unwrap_or(0.0),
        };
        // Of equally bad ones, the long ones: that "cat" stands in a training set says little.
        examples.sort_by(|a, b| {
            let by_kind = a.kind.cmp(&b.kind).then(badness(b).total_cmp(&badness(a)));
            by_kind.then(b.longest_run.cmp(&a.longest_run)).then(a.index.cmp(&b.index))
        });
        examples.truncate(max_examples);
        Leakage {
            n,
            training_texts,
            exact,
            near,
            overlapping,
            too_short: n - overlaps.len(),
            mean_overlap: overlaps.iter().sum::<f64>() / overlaps.len().max(1) as f64,
            examples,
        }
    }
}

impl TestInput {
    fn kind(&self) -> Option<Kind> {
        if self.is_exact {
            Some(Kind::Exact)
        } else if self.nearest.as_ref().is_some_and(|(similarity, _)| *similarity >= THRESHOLD) {
            Some(Kind::Near)
        } else {
            self.overlap().filter(|overlap| *overlap >= OVERLAP).map(|_| Kind::Overlapping)
        }
    }

    fn overlap(&self) -> Option<f64> {
        let read = self.read.iter().filter(|read| **read).count();
        (!self.read.is_empty()).then(|| read as f64 / self.read.len() as f64)
    }

    fn example(self, index: usize) -> Option<Example> {
        let (kind, overlap) = (self.kind()?, self.overlap());
        let (longest_run, with_run) = self.longest.unwrap_or_default();
        let (similarity, nearest) = self.nearest.unwrap_or_default();
        let training_text = if kind == Kind::Overlapping { with_run } else { nearest };
        Some(Example { index, user_input: self.text, kind, similarity, overlap, longest_run, training_text })
    }
}

/// Words of an n-gram in an input of `num_words`.
fn gram_of(num_words: usize) -> usize {
    if num_words >= LONG_INPUT { LONG_GRAM } else { SHORT_GRAM }
}

/// The same as [`near_duplicates`](crate::data::near_duplicates) compares, by number.
fn shingles(words: &[u32]) -> HashSet<Shingle> {
    match words {
        &[only] => HashSet::from([(u32::MAX, only)]),
        words => words.array_windows().map(|&[a, b]| (a, b)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::data::near_duplicates::NearDuplicates;

    const LONG: &str = "a knight in silver armor riding a white horse through a burning village at night, highly detailed, \
                        digital painting, artstation, concept art, smooth, sharp focus, illustration, art by artgerm";

    /// One input against one training text.
    fn one(input: &str, training: &str) -> Leakage {
        leakage(&[input], [training], 5)
    }

    #[track_caller]
    fn check(input: &str, training: &str, expected: Option<Kind>) {
        let found = one(input, training);
        assert_eq!(found.examples.first().map(|example| example.kind), expected, "{found:?}");
        let counts = [found.exact, found.near, found.overlapping];
        assert_eq!(counts.iter().sum::<usize>(), usize::from(expected.is_some()), "{found:?}");
    }

    #[test]
    fn the_same_but_for_case_accents_and_punctuation_is_exact() {
        check("A café, at night!", "a cafe at night", Some(Kind::Exact));
        check("cat", "Cat.", Some(Kind::Exact));
        check(LONG, &LONG.to_uppercase(), Some(Kind::Exact));
        check("a cat", "a cat, oil painting", None);
        check("cat", "a cat", None);
        check("", "", None);
        check("!", "?", None);
    }

    #[test]
    fn a_word_replaced_in_a_long_input_is_near() {
        let found = one(LONG, &LONG.replace("silver", "golden"));
        assert_eq!((found.exact, found.near, found.overlapping), (0, 1, 0));
        let example = &found.examples[0];
        // 31 words, 30 pairs, two of them changed.
        assert!((example.similarity - 28.0 / 32.0).abs() < 0.03, "{example:?}");
        check(LONG, &LONG.split(' ').rev().collect::<Vec<_>>().join(" "), None);
    }

    #[test]
    fn n_grams_may_come_from_several_texts() {
        // Ten words: six 5-grams. The first text has words 0 to 6, so three of them; the second 4 to 8, one more.
        let input = "one two three four five six seven eight nine ten";
        let first = "zero, one two three four five six seven";
        let second = "five six seven eight nine eleven";
        let found = leakage(&[input], [first, second], 5);
        assert_eq!((found.overlapping, found.training_texts, found.too_short), (1, 2, 0));
        let example = &found.examples[0];
        assert_eq!((example.overlap, example.longest_run), (Some(4.0 / 6.0), 7));
        assert_eq!(example.training_text, first);
        assert_eq!(found.mean_overlap, 4.0 / 6.0);
        assert_eq!(one(input, second).examples, []);
        assert_eq!(one(input, second).mean_overlap, 1.0 / 6.0);
    }

    #[test]
    fn long_inputs_ask_for_longer_runs() {
        let numbers = |range: std::ops::Range<u32>| range.map(|i| format!("w{i} ")).collect::<String>();
        // 20 words have 13 8-grams; runs of seven hold none.
        let found = leakage(&[numbers(0..20)], [numbers(0..7), numbers(8..15)], 5);
        assert_eq!((found.overlapping, found.mean_overlap), (0, 0.0));
        let found = leakage(&[numbers(0..20)], [numbers(0..14)], 5);
        assert_eq!((found.overlapping, found.mean_overlap), (1, 7.0 / 13.0));
    }

    #[test]
    fn the_worst_come_first_and_repeated_inputs_count_each() {
        let near = LONG.replace("silver", "golden");
        let inputs = ["nothing alike", &near, "cat", LONG, LONG];
        let found = leakage(&inputs, [LONG, "cat"], 3);
        assert_eq!((found.n, found.exact, found.near, found.too_short), (5, 3, 1, 2));
        assert_eq!(found.examples.iter().map(|example| example.index).collect::<Vec<_>>(), [3, 4, 2]);
        assert_eq!(found.share(), 0.8);
        assert_eq!(leakage::<&str>(&[LONG; 0], [], 3).share(), 0.0);
    }

    #[test]
    fn a_report_reads_what_it_wrote() {
        let found = one(LONG, LONG);
        let json = serde_json::to_string(&found).expect("serialises");
        assert!(json.contains(r#""kind":"exact""#), "{json}");
        assert_eq!(serde_json::from_str::<Leakage>(&json).expect("its own form"), found);
    }

    fn text() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "D", "é,"]), 0..24)
            .prop_map(|words| words.join(" "))
    }

    /// Read off the definitions, a gram and a pair of texts at a time.
    fn by_definition(input: &str, training: &[String]) -> (bool, f64, Option<f64>, usize) {
        let split = |text: &str| words(text).into_iter().map(|word| word.folded).collect::<Vec<_>>();
        let input = split(input);
        let training: Vec<Vec<String>> = training.iter().map(|text| split(text)).collect();
        let stands =
            |run: &[String]| training.iter().any(|text| text.windows(run.len()).any(|other| other == run));
        let grams: Vec<&[String]> = input.windows(gram_of(input.len())).collect();
        let read = grams.iter().filter(|gram| stands(gram)).count();
        let longest = (SHORT_GRAM..=input.len()).rev().find(|&length| input.windows(length).any(stands));
        let pairs = |words: &[String]| match words {
            [only] => HashSet::from([only.clone()]),
            words => words.windows(2).map(|pair| pair.join(" ")).collect(),
        };
        let similarity = |text: &Vec<String>| {
            let (a, b): (HashSet<String>, HashSet<String>) = (pairs(&input), pairs(text));
            let shared = a.intersection(&b).count();
            if shared == 0 { 0.0 } else { shared as f64 / (a.len() + b.len() - shared) as f64 }
        };
        (
            !input.is_empty() && training.contains(&input),
            training.iter().map(similarity).fold(0.0, f64::max),
            (!grams.is_empty()).then(|| read as f64 / grams.len() as f64),
            longest.unwrap_or(0),
        )
    }

    proptest! {
        #[test]
        fn indices_find_what_the_definitions_say(
            inputs in prop::collection::vec(text(), 1..5), training in prop::collection::vec(text(), 0..6)
        ) {
            let mut vocabulary = Vocabulary::default();
            let mut found = TestInputs::new(inputs.iter().map(String::as_str), &mut vocabulary);
            for text in &training {
                found.compare(text, &vocabulary.ids(text));
            }
            for (input, found) in inputs.iter().zip(&found.inputs) {
                let similarity = found.nearest.as_ref().map_or(0.0, |(similarity, _)| *similarity);
                let run = found.longest.as_ref().map_or(0, |(run, _)| *run);
                prop_assert_eq!(
                    (found.is_exact, similarity, found.overlap(), run),
                    by_definition(input, &training)
                );
            }
        }

        #[test]
        fn near_is_what_the_data_stage_drops(a in text(), b in text()) {
            prop_assume!(!words(&a).is_empty() && !words(&b).is_empty());
            let mut kept = NearDuplicates::new(THRESHOLD);
            kept.insert(&b);
            // It hashes, and may miss a pair; it never finds one that is none.
            if kept.find(&a).is_some() {
                prop_assert!(matches!(one(&a, &b).examples[0].kind, Kind::Exact | Kind::Near));
            }
        }
    }
}
