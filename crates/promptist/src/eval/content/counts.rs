//! Whether there are still as many of the user's things.

use super::inflection::has_no_number;
use super::objects::Found;
use super::scene::{Count, Scene, Thing};
use super::{Asked, Kept, LossKind};

pub(super) fn compare(asked: &Asked<'_>, given: &Scene, found: &[Found]) -> Kept {
    let mut kept = Kept::default();
    for (idx, (thing, found)) in asked.scene.things.iter().zip(found).enumerate() {
        if thing.is_negated || found.things.is_empty() || found.lacks.is_some() {
            continue;
        }
        let mentions: Vec<&Thing> = found.things.iter().map(|&idx| &given.things[idx]).collect();
        let mut total = thing.count;
        // "a white horse and two brown horses": several of one name are counted together.
        let like = asked.scene.things.iter().enumerate().filter(|(other_idx, other)| {
            *other_idx != idx && !other.is_negated && other.lemma == thing.lemma
        });
        for (_, other) in like {
            total = match (number(total), number(other.count)) {
                (Some(a), Some(b)) if thing.count != Count::Article => Count::Exact(a + b),
                _ => Count::Unsaid,
            };
        }
        let is_own = mentions.iter().any(|mention| holds(thing.count, mention));
        let is_kept = is_own || total_holds(thing.count, &mentions) || total_holds(total, &mentions);
        let is_said = matches!(thing.count, Count::Exact(_) | Count::Several);
        match (is_kept, is_said) {
            (true, true) => kept.keep(),
            (true, false) => {}
            (false, _) if has_no_number(&asked.scene.words[thing.head].folded) && !is_said => {}
            (false, _) => {
                let instead = mentions.first().map(|mention| given.text(mention.span.clone()));
                let says_other =
                    mentions.iter().any(|mention| matches!(mention.count, Count::Exact(_) | Count::Article));
                let kind = if says_other { LossKind::Changed } else { LossKind::Lost };
                kept.lose(kind, asked.scene.text(thing.span.clone()), instead);
            }
        }
    }
    kept
}

fn number(count: Count) -> Option<u32> {
    match count {
        Count::Exact(n) => Some(n),
        Count::Article => Some(1),
        _ => None,
    }
}

/// Whether one mention in the output is as many as was asked.
fn holds(asked: Count, mention: &Thing) -> bool {
    match (asked, mention.count) {
        (Count::Unsaid, _) => true,
        (Count::Exact(n), Count::Exact(found)) => n == found,
        (Count::Exact(1), found) => matches!(found, Count::Article | Count::Unsaid),
        (Count::Exact(_), _) => false,
        (Count::Article, Count::Exact(n)) => n == 1,
        (Count::Article, found) => matches!(found, Count::Article | Count::Unsaid),
        // Many are any number but one.
        (Count::Plural, Count::Exact(n)) => n > 1,
        (Count::Plural, found) => found != Count::Article,
        (Count::Several, Count::Exact(n)) => n > 2,
        (Count::Several, found) => matches!(found, Count::Plural | Count::Several),
    }
}

/// Whether all mentions together are as many as was asked: "a black dog and a white dog" are two.
fn total_holds(asked: Count, mentions: &[&Thing]) -> bool {
    let sum: u32 = mentions.iter().filter_map(|mention| number(mention.count)).fold(0, u32::saturating_add);
    match asked {
        Count::Exact(n) => n > 1 && sum == n && mentions.len() > 1,
        Count::Plural | Count::Several => sum > 1 && mentions.len() > 1,
        _ => false,
    }
}
