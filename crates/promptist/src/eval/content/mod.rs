//! What of the user's input an adapted prompt keeps: objects, the attributes bound to them, counts, negations, names.
//!
//! ```text
//! text -> syntax::plain -> words -> classes -> scene (things, binding, negation)
//! input's scene x output's scene -> objects, attributes, counts, negations; names -> ContentKept
//! ```
//!
//! Rules and word lists only: no model, no network, and the same answer everywhere. English only. How often it is
//! right is measured on rewrites labelled by hand: `tests/content_kept.rs`.
//!
//! # What counts
//! - **Objects**: every noun that is asked for, by its head and the nouns before it. Kept by itself in singular or
//!   plural, by its like ("sofa", "couch"), by something more specific ("person": "woman"), by another spelling
//!   ("space suit": "spacesuit"); not by something more general ("rose": "flower"), nor where it is denied. Words of
//!   place ("front", "top") and "photo", "picture", "portrait" are not asked for: every prompt is one.
//! - **Attributes**: qualities bound to an object: colour, material, size, shape, texture, pattern, age, and open words.
//!   Shades are their colour ("crimson": red). Lost, changed ("blue cube"), moved to another object, or contradicted
//!   by a second one of the same kind. Praise ("beautiful") is none.
//! - **Counts**: "three", "3", "a pair of", "a dozen", "single", "several". An article and a bare plural ask silently:
//!   they enter the measure only when broken ("a cat": "two cats"; "cats": "a cat"). A word without either ("cat")
//!   asks for nothing.
//! - **Negations**: "no", "without", "not", "never", "nobody", "instead of", "-free", "-less". Dropped if what is denied
//!   is not denied in the output, turned around if the output shows it.
//! - **Names**: capitalised runs inside a sentence, quoted text, dates and figures, and lists of people, characters,
//!   places, brands and artists. A surname stands for the name, an adjective for its country.
//!
//! Attributes and counts of an object that is lost are not asked for again. What an output adds counts against
//! nothing, unless it contradicts. What somebody does, where things stand to each other, and style are not judged.

mod attributes;
mod binding;
mod classes;
mod counts;
mod inflection;
mod lists;
mod names;
mod negation;
mod negations;
mod objects;
mod run;
mod scene;
#[cfg(test)]
mod tests;
mod words;

use serde::{Deserialize, Serialize};

use crate::syntax::{self, Protect};
use names::Name;
use scene::Scene;

/// What of a user's input its adapted prompt keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentKept {
    /// Things asked for.
    pub objects: Kept,
    /// Qualities bound to things.
    pub attributes: Kept,
    /// How many of a thing.
    pub counts: Kept,
    /// What is said not to be there.
    pub negations: Kept,
    /// Names, quoted text, dates and figures.
    pub names: Kept,
}

/// One kind of content: how much of it was asked for, how much is kept, and what is not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Pieces that the user's input has.
    pub asked: usize,
    /// Pieces of these that the adapted prompt keeps.
    pub kept: usize,
    /// The others, in the order of the input.
    pub lost: Vec<Loss>,
}

/// A piece of the user's input that an adapted prompt does not keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// How.
    pub kind: LossKind,
    /// What the user asked for: "red cube", "three cats", "without cars".
    pub what: String,
    /// What the adapted prompt has in its place, where that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
}

/// How a piece of content is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// It is gone.
    Lost,
    /// Something else stands in its place.
    Changed,
    /// A quality is on another thing.
    Moved,
    /// It is there, and so is its opposite.
    Contradicted,
    /// What was denied is shown.
    TurnedAround,
}

impl ContentKept {
    /// Compares two prompts, prompt syntax (weights, tags, flags) set aside. An empty adapted prompt stands for the
    /// input and keeps all of it, as in [`Retention`](crate::reward::Retention).
    pub fn of(user_input: &str, adapted_prompt: &str) -> Self {
        let plain = |text: &str| syntax::parse(text, &Protect::default()).plain();
        let asked_text = plain(user_input);
        let adapted_prompt = match adapted_prompt.trim() {
            "" => user_input,
            adapted_prompt => adapted_prompt,
        };
        let (asked, given) = (Scene::read(&asked_text), Scene::read(&plain(adapted_prompt)));
        let names = names::find(&asked);
        let asked = Asked::new(&asked, &names);
        let found = objects::find(&asked, &given);
        Self {
            objects: objects::compare(&asked, &given, &found),
            attributes: attributes::compare(&asked, &given, &found),
            counts: counts::compare(&asked, &given, &found),
            negations: negations::compare(asked.scene, &given),
            names: names::compare(&names, &given),
        }
    }

    /// The five kinds, each with its name.
    pub fn kinds(&self) -> [(&'static str, &Kept); 5] {
        [
            ("objects", &self.objects),
            ("attributes", &self.attributes),
            ("counts", &self.counts),
            ("negations", &self.negations),
            ("names", &self.names),
        ]
    }

    /// Whether everything is kept.
    pub fn is_kept(&self) -> bool {
        self.kinds().iter().all(|(_, kept)| kept.lost.is_empty())
    }

    /// Kept pieces over all pieces, in `[0, 1]`; 1 if nothing was asked for.
    pub fn share(&self) -> f64 {
        let sum = |count: fn(&Kept) -> usize| self.kinds().iter().map(|(_, kept)| count(kept)).sum::<usize>();
        match sum(|kept| kept.asked) {
            0 => 1.0,
            asked => sum(|kept| kept.kept) as f64 / asked as f64,
        }
    }
}

impl Kept {
    /// Kept pieces over asked ones, in `[0, 1]`; `None` if none was asked for.
    pub fn share(&self) -> Option<f64> {
        (self.asked > 0).then(|| self.kept as f64 / self.asked as f64)
    }

    fn keep(&mut self) {
        self.asked += 1;
        self.kept += 1;
    }

    fn lose(&mut self, kind: LossKind, what: String, instead: Option<String>) {
        self.asked += 1;
        self.lost.push(Loss { kind, what, instead });
    }
}

/// The user's scene, and which of its words are names.
struct Asked<'a> {
    scene: &'a Scene,
    /// For each word, which name it belongs to.
    name_of: Vec<Option<usize>>,
}

impl<'a> Asked<'a> {
    fn new(scene: &'a Scene, names: &[Name]) -> Self {
        let mut name_of = vec![None; scene.words.len()];
        for (idx, name) in names.iter().enumerate() {
            name_of[name.span.clone()].fill(Some(idx));
        }
        Self { scene, name_of }
    }

    fn is_name(&self, word: usize) -> bool {
        self.name_of[word].is_some()
    }
}
