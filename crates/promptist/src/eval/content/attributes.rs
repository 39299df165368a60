//! Whether the qualities of the user's things are still on them.

use super::inflection::stem;
use super::lists::{Closed, stands_for};
use super::objects::{self, Found};
use super::scene::{Quality, Scene, Thing};
use super::{Asked, Kept, LossKind};

pub(super) fn compare(asked: &Asked<'_>, given: &Scene, found: &[Found]) -> Kept {
    let mut kept = Kept::default();
    for (idx, thing) in asked.scene.things.iter().enumerate() {
        if thing.is_negated || thing.is_material || found[idx].lacks.is_some() {
            continue;
        }
        for quality in &thing.qualities {
            judge(&Judged { asked, given, thing, quality, found: &found[idx].things }, &mut kept);
        }
    }
    kept
}

struct Judged<'a> {
    asked: &'a Asked<'a>,
    given: &'a Scene,
    thing: &'a Thing,
    quality: &'a Quality,
    found: &'a [usize],
}

fn judge(judged: &Judged<'_>, kept: &mut Kept) {
    let &Judged { asked, given, thing, quality, found } = judged;
    let is_name = |at: usize| asked.scene.words[at].folded == quality.text && asked.is_name(at);
    // "a tiger with blue stripes": asked for as a thing already.
    let is_thing = |other: &Thing| {
        !other.is_material && other.head > thing.head && asked.scene.words[other.head].folded == quality.text
    };
    if thing.span.clone().any(is_name) || asked.scene.things.iter().any(is_thing) {
        return;
    }
    let what = || format!("{} {}", quality.text, thing.lemma);
    if found.is_empty() {
        // The loss of the thing is told with the objects; here only if its quality went elsewhere.
        let is_view = Closed::Framing.has(&thing.lemma) || Closed::Relations.has(&thing.lemma);
        let went_to =
            elsewhere(judged).filter(|other| asked_heads(asked).any(|lemma| stands_for(&other.lemma, lemma)));
        if let (false, Some(other)) = (is_view, went_to) {
            kept.lose(LossKind::Moved, what(), Some(format!("{} {}", quality.text, other.lemma)));
        }
        return;
    }
    if found.iter().any(|&idx| has(given, idx, quality)) || is_said_loosely(judged) {
        match contradiction(judged) {
            Some(other) => {
                kept.lose(LossKind::Contradicted, what(), Some(format!("{} {}", other.text, thing.lemma)));
            }
            None => kept.keep(),
        }
        return;
    }
    let other_value = found.iter().flat_map(|&idx| &given.things[idx].qualities).find(|other| {
        other.category.is_some() && other.category == quality.category && !is_asked_of_like(judged, other)
    });
    match (elsewhere(judged), other_value) {
        (Some(other), _) => {
            kept.lose(LossKind::Moved, what(), Some(format!("{} {}", quality.text, other.lemma)));
        }
        (None, Some(other)) => {
            kept.lose(LossKind::Changed, what(), Some(format!("{} {}", other.text, thing.lemma)));
        }
        (None, None) => kept.lose(LossKind::Lost, what(), None),
    }
}

/// Whether thing `idx` of the output has the quality, itself or by a part that has its colour.
fn has(given: &Scene, idx: usize, quality: &Quality) -> bool {
    let thing = &given.things[idx];
    let says = |thing: &Thing| thing.qualities.iter().any(|other| same(other, quality));
    let is_made_of = quality.category == Some("material")
        && thing.compounds.iter().any(|at| given.words[*at].lemma == quality.value);
    let parts = given.things[idx + 1..].iter().take_while(|part| Closed::Parts.has(&part.lemma));
    says(thing) || is_made_of || parts.into_iter().any(says)
}

fn same(a: &Quality, b: &Quality) -> bool {
    match (a.category, b.category) {
        (None, None) => stem(&a.value) == stem(&b.value),
        (Some(_), Some(_)) => a.value == b.value,
        // "lit" and "unlit" are of the list, "candlelit" is not.
        _ => stem(&a.text) == stem(&b.text),
    }
}

/// An open word may be said in any way: "a snowy hill" as "a hill covered in snow", "a smiling man" as "a man with a
/// smile"; a listed one by its opposite denied: "unlit" as "not lit".
fn is_said_loosely(judged: &Judged<'_>) -> bool {
    let &Judged { asked, given, quality, .. } = judged;
    if let Some(root) = quality.text.strip_prefix("un")
        && given.negations.iter().any(|negation| negation.focus.iter().any(|focus| stem(focus) == stem(root)))
    {
        return true;
    }
    if !matches!(quality.category, None | Some("state")) {
        return false;
    }
    let is_denied = |at: usize| given.negations.iter().any(|negation| negation.span.contains(&at));
    let stems: Vec<String> = quality.value.split('-').map(stem).collect();
    let is_word = |stem_asked: &String| {
        given.words.iter().enumerate().any(|(at, word)| {
            let belongs_elsewhere = given.things.iter().any(|other| {
                other.span.contains(&at)
                    && other.qualities.iter().any(|found| found.text == word.folded)
                    && !judged.found.iter().any(|&idx| given.things[idx].head == other.head)
                    && asked_heads(asked).any(|lemma| stands_for(&other.lemma, lemma))
            });
            let same_line = quality.category.is_some()
                && super::lists::quality(&word.folded).is_some_and(|(_, value)| value == quality.value);
            (stem(&word.folded) == *stem_asked || same_line) && !is_denied(at) && !belongs_elsewhere
        })
    };
    stems.iter().all(is_word)
}

fn asked_heads<'a>(asked: &'a Asked<'_>) -> impl Iterator<Item = &'a str> {
    asked.scene.things.iter().filter(|thing| objects::is_object(thing)).map(|thing| thing.lemma.as_str())
}

/// Another thing of the output that has the quality, which the input does not give to it.
fn elsewhere<'a>(judged: &Judged<'a>) -> Option<&'a Thing> {
    let &Judged { asked, given, quality, found, .. } = judged;
    given.things.iter().enumerate().find_map(|(idx, other)| {
        let is_its_own = asked.scene.things.iter().any(|thing| {
            stands_for(&other.lemma, &thing.lemma) && thing.qualities.iter().any(|own| same(own, quality))
        });
        let has_it = other.qualities.iter().any(|found| same(found, quality));
        (has_it && !is_its_own && !found.contains(&idx)).then_some(other)
    })
}

/// A second quality of the same kind, which nobody asked for, on the thing that has the first.
fn contradiction<'a>(judged: &Judged<'a>) -> Option<&'a Quality> {
    let category = judged.quality.category.filter(|category| EXCLUSIVE.contains(category))?;
    let things = judged.found.iter().map(|&idx| &judged.given.things[idx]);
    // Of several things of one name, one that has the asked quality alone is enough.
    let with: Vec<&Thing> =
        things.filter(|thing| thing.qualities.iter().any(|other| same(other, judged.quality))).collect();
    let second = |thing: &&'a Thing| {
        thing
            .qualities
            .iter()
            .find(|other| other.category == Some(category) && !is_asked_of_like(judged, other))
    };
    let seconds: Vec<&Quality> = with.iter().filter_map(second).collect();
    (seconds.len() == with.len()).then(|| seconds.first().copied()).flatten()
}

/// Categories of which a thing has one.
const EXCLUSIVE: &[&str] = &["colour", "size", "age", "length"];

/// Whether the input asks for this quality on a thing of the same name.
fn is_asked_of_like(judged: &Judged<'_>, quality: &Quality) -> bool {
    judged.asked.scene.things.iter().any(|thing| {
        thing.lemma == judged.thing.lemma && thing.qualities.iter().any(|own| same(own, quality))
    })
}
