//! What an added phrase is said to be: the category of most of its words.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::categories::Category;
use super::inflections::plurals;
use crate::data::lexicon::{self, Kind, Word, words};
use crate::data::main_content;

/// What a phrase that was added to a prompt mostly is; `None` is a subject, or nothing that the lists know.
///
/// A phrase that opens with a credit ("by wlop") is an artist. Otherwise the listed words vote, longest entries
/// first; of a tie the last wins, as the noun of an English phrase stands last. Where unlisted words are more
/// than listed ones, fillers aside, only a manner in which the phrase ends can tell ("muted sunset palette").
pub fn categorize(phrase: &str) -> Option<Category> {
    let words = words(phrase);
    let first = words.first()?;
    if main_content::credit_start(phrase) == Some(first.start) {
        return Some(Category::Artists);
    }
    let (mut votes, mut unlisted, mut at, mut last) = (HashMap::new(), 0, 0, None);
    while at < words.len() {
        if let Some((taken, category)) = longest_listed(&words[at..]) {
            *votes.entry(category).or_default() += taken;
            at += taken;
            last = Some((category, at));
        } else {
            unlisted += usize::from(!lexicon::is_filler(&words[at].folded));
            at += 1;
        }
    }
    let (last, last_end) = last?;
    let listed: usize = votes.values().sum();
    if unlisted > listed {
        return (last_end == words.len() && main_content::is_modifier(phrase)).then_some(last);
    }
    votes
        .into_iter()
        .max_by_key(|&(category, votes)| (votes, category == last, category))
        .map(|(category, _)| category)
}

/// The longest listed phrase at `words[0]`: how many words it takes, and its category.
fn longest_listed(words: &[Word]) -> Option<(usize, Category)> {
    let term = lexicon::longest_term(words).map(|(taken, kind)| (taken, of_kind(kind)));
    let thing = (1..=words.len().min(LONGEST_THING)).rev().find_map(|taken| {
        let folded: Vec<&str> = words[..taken].iter().map(|word| word.folded.as_str()).collect();
        THINGS.get(folded.join(" ").as_str()).map(|&category| (taken, category))
    });
    // Of equals the thing: it says more than a manner ("color" is also a style).
    [measure(words), term, thing].into_iter().flatten().max_by_key(|&(taken, _)| taken)
}

/// "35 mm", "f/1.8", "8 k": numbers with a unit, however they are spaced.
fn measure(words: &[Word]) -> Option<(usize, Category)> {
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let of_unit = |unit: &str| match unit {
        "mm" | "iso" | "f" => Some(Category::Camera),
        "k" | "hd" | "p" => Some(Category::QualityWords),
        _ => None,
    };
    let numbers = |from: usize| words[from..].iter().take_while(|word| is_number(&word.folded)).count();
    let first = words[0].folded.as_str();
    // "f 1. 8", "iso 200"
    if matches!(first, "f" | "ƒ" | "iso") && numbers(1) > 0 {
        return Some((1 + numbers(1), Category::Camera));
    }
    // "8 5 mm", as some tokenizers part digits
    let unit = words.get(numbers(0)).filter(|_| numbers(0) > 0);
    if let Some(category) = unit.and_then(|unit| of_unit(&unit.folded)) {
        return Some((numbers(0) + 1, category));
    }
    let unit = first.trim_start_matches(|c: char| c.is_ascii_digit());
    (unit.len() < first.len()).then(|| of_unit(unit)).flatten().map(|category| (1, category))
}

fn of_kind(kind: Kind) -> Category {
    match kind {
        Kind::Quality => Category::QualityWords,
        Kind::Medium => Category::Medium,
        Kind::Style => Category::Style,
        Kind::Lighting => Category::Lighting,
        Kind::Camera => Category::Camera,
        Kind::Engine => Category::Engines,
        Kind::Website => Category::Websites,
    }
}

/// Most words of a phrase in [`THINGS`].
const LONGEST_THING: usize = 4;

/// The phrases of the lists that the data stage does not know, and the names.
static THINGS: LazyLock<HashMap<String, Category>> = LazyLock::new(|| {
    let mut things = HashMap::new();
    for category in [
        Category::Artists,
        Category::People,
        Category::Clothing,
        Category::HairAndSkin,
        Category::Colors,
        Category::TextAndLogos,
    ] {
        for phrase in category.entries() {
            let folded: Vec<String> = words(phrase).into_iter().map(|word| word.folded).collect();
            let Some((last, before)) = folded.split_last() else { continue };
            for last in plurals(last).into_iter().chain([last.clone()]) {
                let spelled =
                    before.iter().map(String::as_str).chain([last.as_str()]).collect::<Vec<_>>().join(" ");
                things.entry(spelled).or_insert(category);
            }
        }
    }
    things
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_has_the_category_of_most_of_its_words() {
        for (phrase, expected) in [
            ("highly detailed", Some(Category::QualityWords)),
            ("8k", Some(Category::QualityWords)),
            ("oil painting", Some(Category::Medium)),
            ("art nouveau", Some(Category::Style)),
            ("soft volumetric lighting", Some(Category::Lighting)),
            ("85mm lens", Some(Category::Camera)),
            ("8 5 mm f 1. 8", Some(Category::Camera)),
            ("f/1.4", Some(Category::Camera)),
            ("iso 200", Some(Category::Camera)),
            ("8 k", Some(Category::QualityWords)),
            ("highly detailed by peter mohrbacher", Some(Category::Artists)),
            ("edward hopper and james gilleard", Some(Category::Artists)),
            ("three dragons", None),
            ("octane render", Some(Category::Engines)),
            ("trending on artstation", Some(Category::Websites)),
            ("by greg rutkowski", Some(Category::Artists)),
            ("greg rutkowski", Some(Category::Artists)),
            ("art by artgerm and wlop", Some(Category::Artists)),
            ("elegant dress", Some(Category::Clothing)),
            ("beautiful women", Some(Category::People)),
            ("long flowing red hair", Some(Category::HairAndSkin)),
            ("teal and orange", Some(Category::Colors)),
            ("watermark", Some(Category::TextAndLogos)),
            ("a dragon over a castle at golden hour", None),
            ("dragon", None),
            ("", None),
        ] {
            assert_eq!(categorize(phrase), expected, "{phrase}");
        }
    }
}
