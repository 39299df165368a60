//! Which things of the user's input an adapted prompt shows.

use super::inflection::stem;
use super::lists::{self, Closed};
use super::names::is_misspelled;
use super::scene::{Scene, Thing};
use super::words::Word;
use super::{Asked, Kept, LossKind};

/// Where a thing of the input is in the output.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// The things of the output that may be it.
    pub things: Vec<usize>,
    /// The noun before its head that the output lacks: "fire" of "fire truck".
    pub lacks: Option<String>,
    /// It is asked for, and not as a name.
    pub is_asked: bool,
}

/// For each thing of the input, what it is in the output.
pub(super) fn find(asked: &Asked<'_>, given: &Scene) -> Vec<Found> {
    asked
        .scene
        .things
        .iter()
        .map(|thing| {
            let is_asked = is_object(thing) && !asked.is_name(thing.head);
            let things = matches(asked, thing, given);
            let lacks = is_asked.then(|| missing_compound(asked, thing, given, &things)).flatten();
            Found { things, lacks, is_asked }
        })
        .collect()
}

pub(super) fn compare(asked: &Asked<'_>, given: &Scene, found: &[Found]) -> Kept {
    let mut kept = Kept::default();
    for (idx, found) in found.iter().enumerate().filter(|(_, found)| found.is_asked) {
        let thing = &asked.scene.things[idx];
        let name = asked.scene.name(thing);
        match (found.things.first(), &found.lacks) {
            (Some(_), None) => kept.keep(),
            (Some(&instead), Some(_)) => {
                kept.lose(LossKind::Changed, name, Some(given.name(&given.things[instead])));
            }
            (None, _) if is_shown_otherwise(asked, idx, given) => kept.keep(),
            (None, _) => {
                let instead = replacement(thing, given);
                let kind = if instead.is_some() { LossKind::Changed } else { LossKind::Lost };
                kept.lose(kind, name, instead);
            }
        }
    }
    kept
}

/// Whether a thing shows something: not a place in the picture, not the picture, not what is denied.
pub(super) fn is_object(thing: &Thing) -> bool {
    let lemma = thing.lemma.as_str();
    let is_place = Closed::Relations.has(lemma) && thing.compounds.is_empty();
    let is_measure = matches!(lemma, "shape" | "color" | "colour");
    // "8 k", "- n 8": what generators' settings leave.
    let is_letter = lemma.chars().count() < 2;
    !(thing.is_negated
        || thing.is_material
        || is_place
        || is_measure
        || is_letter
        || Closed::Framing.has(lemma))
}

/// The things of the output that may be `thing`.
fn matches(asked: &Asked<'_>, thing: &Thing, given: &Scene) -> Vec<usize> {
    let is_name = asked.is_name(thing.head);
    let name_words: Vec<&str> = match asked.name_of[thing.head] {
        Some(name) => {
            let here = |at: &usize| asked.name_of[*at] == Some(name);
            (0..asked.scene.words.len())
                .filter(here)
                .map(|at| asked.scene.words[at].lemma.as_str())
                .filter(|lemma| lemma.len() > 2)
                .collect()
        }
        None => Vec::new(),
    };
    // A name of one letter is found by what it is: "the letter K".
    let kind = thing.compounds.last().filter(|_| is_name && name_words.is_empty());
    let closed = asked.scene.closed_name(thing);
    let nouns = nouns(asked.scene, thing);
    let found = given.things.iter().enumerate().filter(|(_, other)| {
        if other.is_negated {
            return false;
        }
        if let Some(&kind) = kind {
            let lemma = &asked.scene.words[kind].lemma;
            return other.span.clone().chain([other.head]).any(|at| given.words[at].lemma == *lemma);
        }
        if is_name {
            return other
                .span
                .clone()
                .chain([other.head])
                .any(|at| name_words.contains(&given.words[at].lemma.as_str()));
        }
        let other_closed = given.closed_name(other);
        lists::stands_for(&other.lemma, &thing.lemma)
            || is_corrected(&thing.lemma, &other.lemma)
            || lists::stands_for(&other_closed, &thing.lemma)
            || lists::stands_for(&other_closed, &closed)
            || lists::stands_for(&other.lemma, &closed)
            || (nouns.len() > 1 && nouns == self::nouns(given, other))
    });
    found.map(|(idx, _)| idx).collect()
}

/// Whether two long words are one, spelled rightly in the output: prompters correct what people mistype.
fn is_corrected(asked: &str, found: &str) -> bool {
    const SHORTEST: usize = 8;
    asked.len() >= SHORTEST && found.len() >= SHORTEST && is_misspelled(asked, found)
}

/// The nouns of a thing in the order of the alphabet: "raccoon mother" is "mother raccoon".
fn nouns<'a>(scene: &'a Scene, thing: &'a Thing) -> Vec<&'a str> {
    let mut nouns: Vec<&str> = thing.compounds.iter().map(|at| scene.words[*at].lemma.as_str()).collect();
    nouns.push(&thing.lemma);
    nouns.sort_unstable();
    nouns
}

/// A noun before the head that the output has neither before the head nor bound to it in another way.
fn missing_compound(asked: &Asked<'_>, thing: &Thing, given: &Scene, found: &[usize]) -> Option<String> {
    let closed = asked.scene.closed_name(thing);
    let is_whole = |other: &Thing| {
        let other_closed = given.closed_name(other);
        lists::stands_for(&other_closed, &closed)
            || lists::stands_for(&other.lemma, &closed)
            || nouns(asked.scene, thing) == nouns(given, other)
    };
    if found.is_empty() || found.iter().any(|&idx| is_whole(&given.things[idx])) {
        return None;
    }
    let compounds = thing.compounds.iter().filter(|at| !asked.is_name(**at));
    compounds.map(|at| &asked.scene.words[*at]).find_map(|noun| {
        let is_here = found.iter().any(|&idx| {
            let other = &given.things[idx];
            let is_noun = |word: &Word| {
                lists::stands_for(&word.lemma, &noun.lemma)
                    || is_corrected(&noun.lemma, &word.lemma)
                    || stem(&word.folded) == stem(&noun.folded)
            };
            // "a cup of hot coffee", but not "a truck on fire".
            let end = other.span.end;
            let binds = given.follows_closely(end)
                && ["of", "for", "from", "with", "in"].contains(&given.words[end].folded.as_str());
            let behind = given.words[end..].iter().take_while(|word| binds && !word.starts_phrase()).take(4);
            let owner =
                other.span.start.checked_sub(1).map(|at| &given.words[at]).filter(|word| word.is_possessive);
            given.words[other.span.clone()].iter().chain(behind).chain(owner).any(is_noun)
        });
        (!is_here).then(|| noun.folded.clone())
    })
}

/// A thing that the output has as a word before another: "cup of coffee" as "coffee cup".
fn is_shown_otherwise(asked: &Asked<'_>, idx: usize, given: &Scene) -> bool {
    let thing = &asked.scene.things[idx];
    let Some(owner) = idx.checked_sub(1).map(|idx| &asked.scene.things[idx]) else { return false };
    let is_bound = thing.span.start.checked_sub(1).is_some_and(|at| {
        let word = &asked.scene.words[at];
        word.is_possessive || ["of", "for", "from", "with", "in"].contains(&word.folded.as_str())
    });
    is_bound
        && given.things.iter().filter(|other| !other.is_negated).any(|other| {
            let is_before =
                other.compounds.iter().any(|at| lists::stands_for(&given.words[*at].lemma, &thing.lemma));
            let is_material = other.qualities.iter().any(|quality| {
                quality.category == Some("material") && lists::stands_for(&quality.value, &thing.lemma)
            });
            (is_before || is_material) && lists::stands_for(&other.lemma, &owner.lemma)
        })
}

/// What the output shows in the place of a lost thing: something of its kind that the input lacks.
fn replacement(thing: &Thing, given: &Scene) -> Option<String> {
    let akin =
        given.things.iter().find(|other| !other.is_negated && lists::is_akin(&other.lemma, &thing.lemma));
    akin.map(|other| given.name(other))
}
