//! Names: who, where and what is called by its own name, quoted text, dates and figures.

use std::ops::Range;

use super::classes::Class;
use super::lists;
use super::scene::Scene;
use super::words::{Gap, Word};
use super::{Kept, LossKind};
use crate::data::lexicon;

/// A name of the user's input.
#[derive(Debug, Clone)]
pub(super) struct Name {
    pub span: Range<usize>,
    /// As the input writes it.
    text: String,
    /// Other spellings, each as folded words; the input's own first.
    spellings: Vec<Vec<String>>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Of people, places, brands: its last word may stand for it.
    Proper,
    /// Quoted, or a figure: as it is.
    Literal,
}

/// The names of a text as a user writes it, in order. Capitals count here, and only here.
pub(super) fn find(scene: &Scene) -> Vec<Name> {
    let words = &scene.words;
    let heeds_capitals = heeds_capitals(words);
    let mut names: Vec<Name> = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let name = quoted(words, at)
            .or_else(|| known(words, at))
            .or_else(|| artist(words, at))
            .or_else(|| heeds_capitals.then(|| capitalised(words, at)).flatten())
            .or_else(|| figure(scene, at));
        match name {
            Some(name) => {
                at = name.span.end;
                names.push(name);
            }
            None => at += 1,
        }
    }
    names
}

pub(super) fn compare(names: &[Name], given: &Scene) -> Kept {
    let mut kept = Kept::default();
    for name in names {
        if is_in(name, &given.words) {
            kept.keep();
            continue;
        }
        let instead = find(given).into_iter().find(|other| {
            other.kind == name.kind && !names.iter().any(|own| own.spellings[0] == other.spellings[0])
        });
        let kind = if instead.is_some() { LossKind::Changed } else { LossKind::Lost };
        kept.lose(kind, name.text.clone(), instead.map(|other| other.text));
    }
    kept
}

impl Name {
    fn new(words: &[Word], span: Range<usize>, kind: Kind) -> Self {
        let own = words[span.clone()].iter().map(|word| word.folded.clone()).collect();
        let text = words[span.clone()].iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
        Self { span, text, spellings: vec![own], kind }
    }
}

/// Whether capitals say anything: not in titles, and not where all is shouted.
fn heeds_capitals(words: &[Word]) -> bool {
    let outside =
        words.iter().filter(|word| word.quotation.is_none() && word.text.starts_with(char::is_alphabetic));
    let (mut all, mut capitalised) = (0, 0);
    for word in outside {
        all += 1;
        capitalised += usize::from(word.is_capitalised());
    }
    all < 4 || capitalised * 10 < all * 8
}

fn quoted(words: &[Word], at: usize) -> Option<Name> {
    let quotation = words[at].quotation?;
    let end =
        words[at..].iter().position(|word| word.quotation != Some(quotation)).map_or(words.len(), |n| at + n);
    Some(Name::new(words, at..end, Kind::Literal))
}

fn known(words: &[Word], at: usize) -> Option<Name> {
    let spelled: Vec<&str> = words[at..].iter().take(5).map(|word| word.folded.as_str()).collect();
    let (taken, spellings) = lists::known_name(&spelled)?;
    // "french fries" are of nowhere.
    let of_nowhere =
        |word: &Word| OF_NOWHERE.iter().any(|(name, thing)| *name == spelled[0] && *thing == word.lemma);
    if words.get(at + 1).is_some_and(of_nowhere) {
        return None;
    }
    if (at + 1..at + taken).any(|at| words[at].starts_phrase()) {
        return None;
    }
    let mut name = Name::new(words, at..at + taken, Kind::Proper);
    name.spellings
        .extend(spellings.iter().map(|spelling| spelling.iter().map(|word| (*word).to_owned()).collect()));
    Some(name)
}

const OF_NOWHERE: &[(&str, &str)] = &[
    ("french", "fry"),
    ("french", "toast"),
    ("french", "horn"),
    ("french", "press"),
    ("french", "bulldog"),
    ("french", "door"),
    ("french", "window"),
    ("danish", "pastry"),
    ("turkey", "sandwich"),
    ("china", "cup"),
    ("swiss", "cheese"),
];

fn artist(words: &[Word], at: usize) -> Option<Name> {
    let spelled: Vec<lexicon::Word> = words[at..]
        .iter()
        .take(6)
        .map(|word| lexicon::Word { start: 0, end: 0, folded: word.folded.clone() })
        .collect();
    let taken = lexicon::longest_artist(&spelled)?;
    // A single word is a name only behind a credit.
    let is_credited =
        at > 0 && (words[at - 1].is("by") || (at > 1 && words[at - 1].is("of") && words[at - 2].is("style")));
    (taken > 1 || is_credited).then(|| Name::new(words, at..at + taken, Kind::Proper))
}

/// A run of capitalised words inside a sentence, or two and more at its beginning.
fn capitalised(words: &[Word], at: usize) -> Option<Name> {
    /// Words that names have inside them.
    const INSIDE: &[&str] =
        &["of", "the", "van", "von", "de", "da", "del", "der", "la", "le", "and", "el", "al"];
    let is_capital = |at: usize| {
        words
            .get(at)
            .is_some_and(|word| word.is_capitalised() && word.quotation.is_none() && word.text != "I")
    };
    let begins = words[at].gap == Gap::Stop;
    // "F-22".
    let is_make = words
        .get(at + 1)
        .is_some_and(|next| next.gap == Gap::Hyphen && next.folded.starts_with(|c: char| c.is_ascii_digit()));
    let is_letter = words[at].folded.len() < 2;
    if !is_capital(at) || (is_letter && !begins && !is_make && !after_letter(words, at)) {
        return None;
    }
    // "TV", unless it is part of more.
    let is_acronym = |at: usize| words.get(at).is_some_and(|word| lists::Closed::Acronyms.has(&word.folded));
    if is_acronym(at) && !is_capital(at + 1) {
        return None;
    }
    let closed = [
        lists::Closed::Articles,
        lists::Closed::Determiners,
        lists::Closed::Prepositions,
        lists::Closed::Pronouns,
    ];
    if closed.iter().any(|class| class.has(&words[at].folded)) {
        return None;
    }
    let continues = |at: usize| words.get(at).is_some_and(|word| !word.starts_phrase());
    let mut end = at + 1;
    loop {
        if continues(end) && (is_capital(end) || words[end].folded.starts_with(|c: char| c.is_ascii_digit()))
        {
            end += 1;
        } else if continues(end)
            && INSIDE.contains(&words[end].folded.as_str())
            && continues(end + 1)
            && is_capital(end + 1)
            && !(words[end].is("and") || words[end].is("the"))
        {
            end += 2;
        } else {
            break;
        }
    }
    // "Dr. Watson": the full stop parts no sentence.
    if ["dr", "mr", "mrs", "ms", "st"].contains(&words[end - 1].folded.as_str()) && is_capital(end) {
        end += 1;
    }
    let is_number = |at: usize| words[at].folded.starts_with(|c: char| c.is_ascii_digit());
    let capitals = (at..end).filter(|at| !is_number(*at)).count();
    let is_common = begins && capitals < 2 && !is_make;
    (!is_common).then(|| Name::new(words, at..end, Kind::Proper))
}

/// "the letter K".
fn after_letter(words: &[Word], at: usize) -> bool {
    at > 0 && words[at - 1].is("letter")
}

/// Dates, times, and numbers that count nothing; not resolutions and lenses.
fn figure(scene: &Scene, at: usize) -> Option<Name> {
    let word = &scene.words[at];
    let is_figure = scene.classes[at] == Class::Figure
        || (matches!(scene.classes[at], Class::Number(_)) && at > 0 && scene.words[at - 1].is("number"));
    let digits = word.folded.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = &word.folded[digits.len()..];
    let is_measure = ["k", "mm", "d", "p", "fps", "mp", "hd", "bit", "px"].contains(&unit);
    if !is_figure || is_measure {
        return None;
    }
    let mut name = Name::new(&scene.words, at..at + 1, Kind::Literal);
    // "the year 1985" is 1985.
    if at > 0 && scene.words[at - 1].is("year") {
        name.span.start -= 1;
    }
    // "the 1980s" are "the 80s".
    if let Some(decade) = word.folded.strip_suffix('s').and_then(|years| years.strip_prefix("19")) {
        name.spellings.push(vec![format!("{decade}s")]);
    }
    Some(name)
}

fn is_in(name: &Name, words: &[Word]) -> bool {
    let spelled = |spelling: &[String]| {
        let letters = spelling.concat();
        let longest = spelling.len() + 2;
        (0..words.len()).any(|at| {
            let mut run = String::new();
            words[at..].iter().take(longest).any(|word| {
                run.push_str(&word.folded);
                run == letters || is_misspelled(&run, &letters)
            })
        })
    };
    if name.spellings.iter().any(|spelling| spelled(spelling)) {
        return true;
    }
    name.kind == Kind::Proper && is_in_part(&name.spellings[0], words)
}

/// A surname for a name, "Fuji" for "Mount Fuji"; never a word that many names share.
fn is_in_part(spelling: &[String], words: &[Word]) -> bool {
    #[rustfmt::skip]
    const SHARED: &[&str] = &[
        "mount", "lake", "river", "tower", "bridge", "street", "city", "statue", "cathedral", "castle", "palace", "park",
        "museum", "opera", "house", "temple", "king", "queen", "prince", "princess", "saint", "st", "sir", "lord", "lady",
        "dr", "mr", "mrs", "the", "of", "new", "great", "san", "los", "las", "north", "south", "east", "west", "wave",
        "model", "man", "woman", "planet", "school", "university", "station", "square", "building", "mouse", "duck",
        "cat", "dog", "wars", "trek", "club", "ii", "iii", "iv", "jr", "da", "de", "van", "von", "and", "canyon",
        "falls", "ocean", "sea", "island", "islands", "county", "valley", "beach", "hall", "garden", "gardens", "national",
        "united", "states", "republic", "big", "little", "red", "blue", "green", "black", "white", "golden",
    ];
    let has = |part: &str| {
        words
            .iter()
            .any(|word| word.folded == part || word.lemma == part || is_misspelled(&word.folded, part))
    };
    let own: Vec<&str> = spelling.iter().map(String::as_str).filter(|part| !SHARED.contains(part)).collect();
    let Some(last) = own.last() else { return false };
    if spelling.len() < 2 {
        return false;
    }
    let ends_in_own = spelling.last().map(String::as_str) == Some(*last);
    let has_figure = own.iter().any(|part| part.starts_with(|c: char| c.is_ascii_digit()));
    own.iter().all(|part| has(part)) && own.len() < spelling.len()
        || (ends_in_own && !has_figure && has(last) && last.len() > 3)
        || own.iter().all(|part| has(part))
}

/// One letter left out, put in, changed or swapped with the next, in a long word of letters alone.
pub(super) fn is_misspelled(a: &str, b: &str) -> bool {
    let is_word = |text: &str| text.len() > 5 && text.chars().all(char::is_alphabetic);
    if !is_word(a) || !is_word(b) || a.len().abs_diff(b.len()) > 1 {
        return false;
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let start = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[start..], &b[start..]);
    match (a, b) {
        ([], _) | (_, []) => true,
        ([a1, a2, a_rest @ ..], [b1, b2, b_rest @ ..]) if a1 == b2 && a2 == b1 && a_rest == b_rest => true,
        ([_, a_rest @ ..], [_, b_rest @ ..]) => a_rest == b_rest || a_rest == b || a == b_rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found: Vec<String> = find(&Scene::read(text)).into_iter().map(|name| name.text).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn names_are_capitals_inside_a_sentence_and_what_the_lists_know() {
        check("A man in Springfield", &["Springfield"]);
        check("Mona Lisa wearing sunglasses", &["Mona Lisa"]);
        check("elon musk on mars", &["elon musk", "mars"]);
        check("A Man Holding An Umbrella", &[]);
        check("a sign that says 'Deep Learning'", &["Deep Learning"]);
        check("a diner in 1985, 8k, 35mm", &["1985"]);
        check("a castle by greg rutkowski", &["greg rutkowski"]);
        check("Children playing", &[]);
    }

    #[test]
    fn one_slip_is_the_same_name() {
        assert!(is_misspelled("rutkowksi", "rutkowski"));
        assert!(is_misspelled("velasquez", "velazquez"));
        assert!(!is_misspelled("picasso", "matisse"));
        assert!(!is_misspelled("rome", "roma"));
    }
}
