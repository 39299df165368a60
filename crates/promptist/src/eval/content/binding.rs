//! What is said of a thing behind it: "a cube that is red", "fox, red and fluffy", "a dragon made of glass".

use super::classes::Class;
use super::lists;
use super::scene::{Count, Orphan, Quality, Scene, Thing};
use super::words::Word;

/// Binds every orphan to the things that it is about, and what is said with a noun too.
pub(super) fn bind(scene: &mut Scene, orphans: &[Orphan]) {
    bind_substances(scene);
    for orphan in orphans {
        bind_orphan(scene, orphan);
    }
    scene.things.sort_by_key(|thing| thing.head);
}

/// "made of glass", "in the shape of a heart", "in pastel colours", "with stripes".
fn bind_substances(scene: &mut Scene) {
    for idx in 1..scene.things.len() {
        let (thing, owner) = (&scene.things[idx], idx - 1);
        let start = thing.span.start;
        let word = &scene.words[thing.head];
        let back = |steps: usize| start.checked_sub(steps).map_or("", |at| scene.words[at].folded.as_str());
        let is_made = (1..=5).any(|steps| MADE.contains(&back(steps)) && connects(scene, start, steps))
            && ["of", "from", "in", "with", "out", "entirely"].contains(&back(1));
        // "red shoes, a pair".
        let is_alone = start > 0
            && scene.words[start].starts_phrase()
            && scene.words.get(thing.span.end).is_none_or(Word::starts_phrase);
        if let (Some(n), true) =
            (lists::group(&thing.lemma), is_alone && scene.things[owner].count == Count::Plural)
        {
            scene.things[owner].count = Count::Exact(n);
            continue;
        }
        let names_measure = matches!(
            thing.lemma.as_str(),
            "color" | "colour" | "tone" | "hue" | "shape" | "size" | "texture" | "pattern"
        ) && thing.compounds.is_empty();
        if is_made {
            let quality = Quality::material(word);
            scene.things[idx].is_material = true;
            scene.things[owner].qualities.push(quality);
        } else if names_measure && ["in", "with", "of"].contains(&back(1)) {
            let listed = scene.things[idx].qualities.iter().filter(|quality| quality.category.is_some());
            let qualities: Vec<Quality> = listed.cloned().collect();
            scene.things[owner].qualities.extend(qualities);
        } else if thing.lemma == "shape" && !thing.compounds.is_empty() {
            let quality = Quality::shape(&scene.words[thing.compounds[0]]);
            if let Some(owner) = subject(scene, start) {
                scene.things[owner].qualities.push(quality);
            }
        } else if back(1) == "like" && back(2) == "shaped" || (back(1) == "of" && back(2) == "shape") {
            let quality = Quality::shape(word);
            scene.things[idx].is_material = true;
            // "a box in the shape of a heart": the shape itself is a thing of the reading.
            let end = if back(1) == "of" { scene.things[owner].span.start } else { start };
            if let Some(owner) = subject(scene, end) {
                scene.things[owner].qualities.push(quality);
            }
        } else if let Some((category @ ("pattern" | "material"), value)) = lists::quality(&word.folded)
            && matches!(back(1), "with" | "of" | "in" | "from")
        {
            let quality = Quality::listed(word, category, value);
            scene.things[owner].qualities.push(quality);
        }
    }
}

const MADE: &[&str] = &[
    "made",
    "carved",
    "built",
    "formed",
    "crafted",
    "woven",
    "knitted",
    "sculpted",
    "constructed",
    "cast",
    "molded",
    "moulded",
    "assembled",
    "composed",
    "consisting",
];

/// Whether the `steps` words before `start` hold no other thing: prepositions and adverbs.
fn connects(scene: &Scene, start: usize, steps: usize) -> bool {
    (1..steps).all(|step| {
        matches!(scene.classes[start - step], Class::Preposition | Class::Adverb)
            || scene.words[start - step].is("of")
    })
}

fn bind_orphan(scene: &mut Scene, orphan: &Orphan) {
    let start = orphan.span.start;
    let previous = scene.things.iter().rposition(|thing| thing.span.end <= start);
    // "dogs, two of them".
    if let (Count::Exact(_), [], Some(owner)) = (orphan.count, orphan.qualities.as_slice(), previous) {
        let after =
            |steps: usize| scene.words.get(orphan.span.end + steps).map_or("", |word| word.folded.as_str());
        // "three kids, one of them crying" stay three.
        let is_open = !matches!(scene.things[owner].count, Count::Exact(_));
        if is_open && after(0) == "of" && after(1) == "them" {
            scene.things[owner].count = orphan.count;
        }
        return;
    }
    if let Some(following) = elliptic_noun(scene, orphan) {
        let mut thing = scene.things[following].clone();
        (thing.qualities, thing.count) = (orphan.qualities.clone(), orphan.count);
        thing.span = orphan.span.clone();
        scene.things.insert(following, thing);
        return;
    }
    let closely = start > 0 && scene.follows_closely(start);
    let owners: Vec<usize> = if !closely {
        let ends_phrase = scene.words.get(orphan.span.end).is_none_or(Word::starts_phrase);
        let main = scene.things.iter().position(|thing| !is_view(thing));
        match (ends_phrase, previous) {
            (true, Some(last)) => [Some(last), main].into_iter().flatten().collect(),
            _ => Vec::new(),
        }
    } else {
        match scene.classes[start - 1] {
            Class::Negator => Vec::new(),
            Class::Copula => subject(scene, start - 1).into_iter().collect(),
            _ => previous.into_iter().collect(),
        }
    };
    let mut owners = owners;
    owners.dedup();
    for owner in owners {
        scene.things[owner].qualities.extend(orphan.qualities.iter().cloned());
    }
}

/// "one black and one white dog": the thing behind the conjunction.
fn elliptic_noun(scene: &Scene, orphan: &Orphan) -> Option<usize> {
    let end = orphan.span.end;
    let joined = scene.words.get(end).is_some_and(|word| word.is("and") || word.is("&"));
    let is_counted = orphan.has_determiner || matches!(orphan.count, Count::Exact(_));
    if !joined || !is_counted || orphan.qualities.is_empty() {
        return None;
    }
    scene.things.iter().position(|thing| thing.span.start == end + 1)
}

/// Whom the copula at word `at` is about: the last thing of a relative clause, else the first of the clause.
fn subject(scene: &Scene, at: usize) -> Option<usize> {
    let previous = scene.things.iter().rposition(|thing| thing.span.end <= at)?;
    if at > 0 && scene.words[at - 1].is("that") || scene.words[at.saturating_sub(1)].is("which") {
        return Some(previous);
    }
    let clause = (0..=at)
        .rev()
        .find(|&at| {
            scene.words[at].starts_phrase()
                || matches!(scene.classes[at], Class::Conjunction | Class::Pronoun)
        })
        .unwrap_or(0);
    let first = scene.things.iter().position(|thing| thing.span.start >= clause && thing.span.end <= at);
    first.or(Some(previous))
}

/// "photo of a cat": nobody says of the photo that it is red.
fn is_view(thing: &Thing) -> bool {
    lists::Closed::Framing.has(&thing.lemma)
}
