//! What a prompt shows: its things, each with how it is said to be and how many of it there are.
//!
//! A shallow reading by closed classes and word lists: a run of determiners, numbers, qualities and nouns is a thing,
//! and its last noun names it. What is said of a thing behind it ("a cube that is red", "fox, red") is bound to it in
//! `binding`; what is said not to be there is found in `negation`. There is no grammar and no model here.

use std::ops::Range;

use super::binding;
use super::classes::{Class, classes};
use super::lists;
use super::negation::{self, Negation};
use super::run::Run;
use super::words::{Word, words};

/// How many of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    /// "the cat", "cat": nothing is said.
    Unsaid,
    /// "a cat".
    Article,
    /// "cats".
    Plural,
    /// "several cats", "a herd of cows".
    Several,
    /// "three cats", "a pair of cats".
    Exact(u32),
}

/// One way in which a thing is said to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Quality {
    /// The list that has it; none for an open word ("sleepy").
    pub category: Option<&'static str>,
    /// What makes two qualities the same: the list's line, or the word.
    pub value: String,
    /// As the prompt spells it, folded.
    pub text: String,
}

/// A thing that a prompt names.
#[derive(Debug, Clone)]
pub(super) struct Thing {
    /// The word that names it.
    pub head: usize,
    pub lemma: String,
    /// The nouns before its head: "coffee" of "coffee cup".
    pub compounds: Vec<usize>,
    pub qualities: Vec<Quality>,
    pub count: Count,
    /// Its words.
    pub span: Range<usize>,
    /// It is said not to be there.
    pub is_negated: bool,
    /// What another thing is made of: a quality of that one.
    pub is_material: bool,
}

/// Qualities of no noun of their own: "that is *red*", "fox, *red and fluffy*".
#[derive(Debug, Clone)]
pub(super) struct Orphan {
    pub qualities: Vec<Quality>,
    pub count: Count,
    pub span: Range<usize>,
    pub has_determiner: bool,
}

/// A prompt, read.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    pub words: Vec<Word>,
    pub classes: Vec<Class>,
    /// In the order of the text.
    pub things: Vec<Thing>,
    pub negations: Vec<Negation>,
}

impl Scene {
    /// Reads plain text.
    pub(super) fn read(text: &str) -> Self {
        let words = words(text);
        let classes = classes(&words);
        let mut scene = Self { words, classes, things: Vec::new(), negations: Vec::new() };
        let mut orphans = Vec::new();
        let mut at = 0;
        while at < scene.words.len() {
            let run = Run::read(&scene.words, &scene.classes, at);
            let end = run.end.max(at + 1);
            run.settle(&scene, at, &mut orphans).into_iter().for_each(|thing| scene.things.push(thing));
            at = end;
        }
        binding::bind(&mut scene, &orphans);
        negation::find(&mut scene);
        scene
    }

    /// Whether nothing but a hyphen or white space is before word `at`, and it is there.
    pub(super) fn follows_closely(&self, at: usize) -> bool {
        self.words.get(at).is_some_and(|word| !word.starts_phrase())
    }

    /// The words of a range as written.
    pub(super) fn text(&self, span: Range<usize>) -> String {
        self.words[span].iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// The nouns that name a thing, closed up: "coffeecup".
    pub(super) fn closed_name(&self, thing: &Thing) -> String {
        let parts = thing.compounds.iter().map(|at| self.words[*at].lemma.as_str());
        parts.chain([thing.lemma.as_str()]).collect()
    }

    /// The nouns that name a thing.
    pub(super) fn name(&self, thing: &Thing) -> String {
        let parts = thing.compounds.iter().map(|at| self.words[*at].folded.as_str());
        parts.chain([thing.lemma.as_str()]).collect::<Vec<_>>().join(" ")
    }
}

impl Quality {
    pub(super) fn listed(word: &Word, category: &'static str, value: &'static str) -> Self {
        Self { category: Some(category), value: value.to_owned(), text: word.folded.clone() }
    }

    pub(super) fn open(word: &Word) -> Self {
        Self { category: None, value: word.folded.clone(), text: word.folded.clone() }
    }

    /// What a thing is made of.
    pub(super) fn material(word: &Word) -> Self {
        match lists::quality(&word.folded) {
            Some((category, value)) => Self::listed(word, category, value),
            None => Self { category: Some("material"), value: word.lemma.clone(), text: word.folded.clone() },
        }
    }

    /// "heart" of "in the shape of a heart".
    pub(super) fn shape(word: &Word) -> Self {
        let shaped = format!("{}-shaped", word.lemma);
        let (value, text) = (shaped.clone(), shaped);
        Self { category: Some("shape"), value, text }
    }
}
