//! What a prompt says is not there, or not so.

use std::ops::Range;

use super::classes::Class;
use super::inflection::{singular, stem};
use super::lists;
use super::scene::Scene;
use super::words::{Gap, Word};

/// One thing or quality that is denied.
#[derive(Debug, Clone)]
pub(super) struct Negation {
    /// Folded words of which at least one must be denied for the negation to stand: "carrot" or "nose".
    pub focus: Vec<String>,
    /// As the prompt says it.
    pub text: String,
    /// Its words, the word of negation first.
    pub span: Range<usize>,
}

/// Verbs whose object is what is denied: "not wearing a hat" is about the hat.
#[rustfmt::skip]
const HAVING: &[&str] = &[
    "wear", "hold", "have", "show", "carry", "use", "contain", "include", "feature", "depict", "has", "having", "with",
];

/// "-less" words that deny nothing that can be seen.
#[rustfmt::skip]
const NO_ABSENCE: &[&str] = &[
    "endless", "timeless", "homeless", "seamless", "flawless", "reckless", "wireless", "harmless", "ruthless",
    "restless", "careless", "fearless", "priceless", "tireless", "helpless", "hopeless", "lifeless", "breathless",
    "countless", "stainless", "weightless", "boundless", "effortless", "nevertheless", "regardless", "unless",
    "limitless", "merciless", "shapeless", "soulless", "sleepless", "bless", "less", "senseless", "worthless",
];

/// Finds the negations of a scene, and marks the things that they deny.
pub(super) fn find(scene: &mut Scene) {
    let mut found = Vec::new();
    for at in 0..scene.words.len() {
        if scene.classes[at] == Class::Negator {
            from_word(scene, at, &mut found);
        } else if let Some(negation) = from_compound(scene, at).or_else(|| taken_off(scene, at)) {
            found.push(negation);
        }
    }
    for thing in &mut scene.things {
        thing.is_negated = found.iter().any(|negation| negation.span.contains(&thing.head));
        if !thing.is_negated {
            // "sugar-free cake", "a cloudless sky": told once.
            let denied = |at: usize| found.iter().any(|negation| negation.span.contains(&at));
            thing.compounds.retain(|at| !denied(*at));
            let texts: Vec<&str> = thing
                .span
                .clone()
                .filter(|at| denied(*at))
                .map(|at| scene.words[at].folded.as_str())
                .collect();
            thing.qualities.retain(|quality| !texts.contains(&quality.text.as_str()));
        }
    }
    scene.negations = found;
}

/// "cloudless", "sugar-free".
fn from_compound(scene: &Scene, at: usize) -> Option<Negation> {
    let word = &scene.words[at];
    if let Some(root) = absent(word) {
        return Some(Negation { focus: vec![root], text: word.text.clone(), span: at..at + 1 });
    }
    let next = scene.words.get(at + 1)?;
    (next.is("free") && next.gap == Gap::Hyphen).then(|| Negation {
        focus: vec![word.lemma.clone()],
        text: format!("{}-{}", word.text, next.text),
        span: at..at + 2,
    })
}

/// "with his shirt off".
fn taken_off(scene: &Scene, at: usize) -> Option<Negation> {
    let goes_on = |class: &Class| {
        matches!(
            class,
            Class::Noun | Class::Article | Class::Determiner | Class::Participle | Class::Quality { .. }
        )
    };
    let ends = scene.words.get(at + 1).is_none_or(Word::starts_phrase)
        || !scene.classes.get(at + 1).is_some_and(goes_on);
    if !ends || !(scene.words[at].is("off") || scene.words[at].is("missing")) || !scene.follows_closely(at) {
        return None;
    }
    let thing = scene.things.iter().find(|thing| thing.span.end == at)?;
    let span = thing.span.start..at + 1;
    Some(Negation { focus: vec![thing.lemma.clone()], text: scene.text(span.clone()), span })
}

/// "beard" of "beardless".
pub(super) fn absent(word: &Word) -> Option<String> {
    let root = word.folded.strip_suffix("less")?;
    (root.len() > 2 && !NO_ABSENCE.contains(&word.folded.as_str())).then(|| singular(root).0)
}

fn from_word(scene: &Scene, at: usize, found: &mut Vec<Negation>) {
    let words = &scene.words;
    let cue = words[at].folded.as_str();
    let next_is =
        |folded: &str| words.get(at + 1).is_some_and(|next| next.is(folded) && !next.starts_phrase());
    let denied = |focus: &str, span: Range<usize>| Negation {
        focus: vec![focus.to_owned()],
        text: scene.text(span.clone()),
        span,
    };
    match cue {
        "nobody" => return found.push(denied("person", at..at + 1)),
        "no" if next_is("one") => return found.push(denied("person", at..at + 2)),
        "nothing" => {
            // "holding nothing": not holding.
            if let Some(verb) = at.checked_sub(1).filter(|&at| scene.classes[at] == Class::Verb) {
                found.push(denied(&words[verb].folded.clone(), verb..at + 1));
            }
            return;
        }
        "not" if next_is("only") => return,
        _ => {}
    }
    let mut from = skip_closed(scene, at + 1);
    let mut start = at;
    while let Some((focus, end)) = denied_at(scene, from) {
        found.push(Negation { focus, text: scene.text(start..end), span: start..end });
        // "no people or cars", "without windows and doors"; "without a helmet and a red coat" stops at the article.
        let joins = scene.follows_closely(end)
            && (words[end].is("or") || words[end].is("nor") || (words[end].is("and") && cue != "not"));
        let after = end + 1;
        let is_noun =
            scene.things.iter().any(|thing| thing.span.start == after && thing.head + 1 == thing.span.end);
        let bare = !matches!(
            scene.classes.get(after),
            None | Some(Class::Article | Class::Number(_) | Class::Determiner | Class::Preposition)
        );
        if !(joins && (bare || words[end].is("or")) && is_noun && scene.follows_closely(after)) {
            break;
        }
        (from, start) = (skip_closed(scene, after), end);
    }
}

/// Past what stands between a word of negation and what it denies: "without *any of the*", "not *very*".
fn skip_closed(scene: &Scene, mut at: usize) -> usize {
    while at < scene.words.len() && scene.follows_closely(at) {
        let passes = matches!(
            scene.classes[at],
            Class::Article
                | Class::Determiner
                | Class::Adverb
                | Class::Auxiliary
                | Class::Copula
                | Class::Pronoun
                | Class::Vague
        ) || ["of", "than", "any", "from", "being"].contains(&scene.words[at].folded.as_str());
        if !passes {
            break;
        }
        at += 1;
    }
    at
}

/// What is denied from word `from` on, and where that ends.
fn denied_at(scene: &Scene, from: usize) -> Option<(Vec<String>, usize)> {
    if !scene.follows_closely(from) {
        return None;
    }
    let word = &scene.words[from];
    let thing_at = |at: usize| {
        let at = skip_closed(scene, at);
        scene.things.iter().find(|thing| thing.span.contains(&at) && scene.follows_closely(at))
    };
    let nouns = |thing: &super::scene::Thing| -> Vec<String> {
        let compounds = thing.compounds.iter().map(|at| scene.words[*at].lemma.clone());
        [thing.lemma.clone()].into_iter().chain(compounds).collect()
    };
    match scene.classes[from] {
        Class::Verb | Class::Participle => {
            let base = lists::verb(&word.folded).map_or(word.folded.as_str(), |verb| verb.base);
            let object = thing_at(from + 1);
            match object {
                Some(thing) if HAVING.contains(&base) => Some((nouns(thing), thing.span.end)),
                Some(thing) => Some((vec![word.folded.clone()], thing.span.end)),
                None => {
                    let is_led = matches!(scene.classes.get(from + 1), Some(Class::Preposition));
                    let end = thing_at(from + 2).filter(|_| is_led && scene.follows_closely(from + 1));
                    Some((vec![word.folded.clone()], end.map_or(from + 1, |thing| thing.span.end)))
                }
            }
        }
        Class::Preposition => thing_at(from + 1).map(|thing| (nouns(thing), thing.span.end)),
        _ => match thing_at(from) {
            Some(thing) => Some((nouns(thing), thing.span.end)),
            None => {
                let says = matches!(
                    scene.classes[from],
                    Class::Quality { .. } | Class::Noun | Class::Praise | Class::Number(_)
                );
                says.then(|| (vec![word.folded.clone()], from + 1))
            }
        },
    }
}

/// Whether two folded words are about the same, as what is denied: "smiling" and "smile".
pub(super) fn same_word(asked: &str, found: &Word) -> bool {
    lists::stands_for(&found.lemma, asked) || stem(asked) == stem(&found.folded)
}
