//! Whether what the user's input denies is still denied.

use super::inflection::stem;
use super::lists;
use super::negation::{Negation, absent, same_word};
use super::scene::Scene;
use super::{Kept, LossKind};

pub(super) fn compare(asked: &Scene, given: &Scene) -> Kept {
    let mut kept = Kept::default();
    for negation in &asked.negations {
        let shown = shown(negation, asked, given);
        if is_denied(negation, given) || is_said_otherwise(negation, given) {
            kept.keep();
        } else if let Some(word) = shown {
            kept.lose(LossKind::TurnedAround, negation.text.clone(), Some(word));
        } else {
            kept.lose(LossKind::Lost, negation.text.clone(), None);
        }
    }
    kept
}

/// Whether one of the words that are denied is denied in the output.
fn is_denied(negation: &Negation, given: &Scene) -> bool {
    negation.focus.iter().any(|asked| {
        let in_scope = given.negations.iter().flat_map(|found| found.span.clone()).any(|at| {
            let word = &given.words[at];
            same_word(asked, word) || absent(word).is_some_and(|root| lists::stands_for(&root, asked))
        });
        let by_focus = given.negations.iter().flat_map(|found| &found.focus).any(|found| {
            lists::stands_for(found, asked) || lists::stands_for(asked, found) || stem(found) == stem(asked)
        });
        // "unsmiling".
        let by_prefix = given
            .words
            .iter()
            .any(|word| word.folded.strip_prefix("un").is_some_and(|root| stem(root) == stem(asked)));
        in_scope || by_focus || by_prefix
    })
}

/// "barefoot" for "no shoes".
fn is_said_otherwise(negation: &Negation, given: &Scene) -> bool {
    negation.focus.iter().any(|asked| {
        let plain = super::inflection::stem(asked);
        let said = lists::words_of_absence(asked);
        let by_stem = lists::words_of_absence(lists::verb(asked).map_or(asked.as_str(), |verb| verb.base));
        said.iter().chain(by_stem).any(|word| {
            given.words.iter().any(|found| found.folded == *word || found.folded == word.replace('-', ""))
                || word.split_once('-').is_some_and(|(first, second)| {
                    given.words.windows(2).any(|pair| pair[0].is(first) && pair[1].is(second))
                })
        }) && !plain.is_empty()
    })
}

/// A word of the output that shows what the input denies, and that the input does not ask for elsewhere.
fn shown(negation: &Negation, asked: &Scene, given: &Scene) -> Option<String> {
    let denied = |at: usize| given.negations.iter().any(|found| found.span.contains(&at));
    let is_own = |lemma: &str| asked.things.iter().any(|thing| !thing.is_negated && thing.lemma == lemma);
    let words = given.words.iter().enumerate().filter(|(at, _)| !denied(*at));
    words
        .filter(|(_, word)| negation.focus.iter().any(|asked| same_word(asked, word)) && !is_own(&word.lemma))
        .map(|(_, word)| word.folded.clone())
        .next()
}
