//! The word lists of this measure: closed classes of English, common qualities, verbs, names, and what stands for what.
//!
//! The lists are plain text in `data/lists/content/`, written by hand. This file only looks words up.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::LazyLock;

use crate::data::lexicon::{self, Kind};

/// A closed class of `closed.txt`, by the name of its section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Closed {
    Articles,
    Determiners,
    Vague,
    Collectives,
    Prepositions,
    Conjunctions,
    Pronouns,
    Copulas,
    Auxiliaries,
    Adverbs,
    /// "front", "top", "shape": nouns that place or measure, and show nothing themselves.
    Relations,
    /// "photo", "portrait": every prompt is one.
    Framing,
    /// "painting", "logo": what a noun before them shows.
    Media,
    /// "fur", "skin": what has the colour of the whole.
    Parts,
    /// "dining" of "dining table".
    Gerunds,
    NounsInIng,
    KeptAsTheyAre,
    Praise,
    PlainAdjectives,
    /// "city", "elephant".
    NounsLikeQualities,
    /// "TV".
    Acronyms,
}

impl Closed {
    const SECTIONS: [(&str, Self); 21] = [
        ("articles", Self::Articles),
        ("determiners", Self::Determiners),
        ("vague", Self::Vague),
        ("collectives", Self::Collectives),
        ("prepositions", Self::Prepositions),
        ("conjunctions", Self::Conjunctions),
        ("pronouns", Self::Pronouns),
        ("copulas", Self::Copulas),
        ("auxiliaries", Self::Auxiliaries),
        ("adverbs", Self::Adverbs),
        ("relations", Self::Relations),
        ("framing", Self::Framing),
        ("media", Self::Media),
        ("parts", Self::Parts),
        ("gerunds", Self::Gerunds),
        ("nouns in -ing", Self::NounsInIng),
        ("kept as they are", Self::KeptAsTheyAre),
        ("praise", Self::Praise),
        ("plain adjectives", Self::PlainAdjectives),
        ("nouns that end like qualities", Self::NounsLikeQualities),
        ("acronyms", Self::Acronyms),
    ];

    pub(super) fn has(self, folded: &str) -> bool {
        LISTS.closed.contains(&(self, folded))
    }
}

/// A verb as it stands: its base, and whether the form is as often a noun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct VerbForm {
    pub base: &'static str,
    pub is_often_noun: bool,
}

/// The category and the line of a quality: "crimson" is `("colour", "red")`.
pub(super) fn quality(folded: &str) -> Option<(&'static str, &'static str)> {
    LISTS.qualities.get(folded).copied()
}

/// "three" and "dozen" alike.
pub(super) fn number(folded: &str) -> Option<u32> {
    LISTS.numbers.get(folded).copied()
}

/// "pair", "dozen": words of number that take "of".
pub(super) fn group(folded: &str) -> Option<u32> {
    LISTS.groups.get(folded).copied()
}

pub(super) fn irregular_singular(folded: &str) -> Option<&'static str> {
    LISTS.irregular.get(folded).copied()
}

pub(super) fn verb(folded: &str) -> Option<VerbForm> {
    LISTS.verbs.get(folded).copied()
}

/// Whether `found` stands for what was `asked`: the same word, its like, or something more specific.
pub(super) fn stands_for(found: &str, asked: &str) -> bool {
    found == asked || LISTS.accepted.get(asked).is_some_and(|accepted| accepted.contains(found))
}

/// Whether one of two words is the more general of the other, or both are kinds of one thing.
pub(super) fn is_akin(a: &str, b: &str) -> bool {
    let kinds = |general: &str, special: &str| {
        LISTS.accepted.get(general).is_some_and(|accepted| accepted.contains(special))
    };
    kinds(a, b) || kinds(b, a) || LISTS.accepted.values().any(|all| all.contains(a) && all.contains(b))
}

/// What says, without a word of negation, that `absent` is not there.
pub(super) fn words_of_absence(absent: &str) -> &'static [&'static str] {
    LISTS.absence.get(absent).map_or(&[], Vec::as_slice)
}

/// Spellings of a name, of which one stands at the beginning of `words`; the longest, and how many words it takes.
pub(super) fn known_name(words: &[&str]) -> Option<(usize, &'static [Vec<&'static str>])> {
    let candidates = LISTS.names.get(*words.first()?)?;
    let mut best: Option<(usize, &'static [Vec<&'static str>])> = None;
    for spellings in candidates {
        for spelling in *spellings {
            let is_here =
                spelling.len() <= words.len() && spelling.iter().zip(words).all(|(name, word)| name == word);
            if is_here && best.is_none_or(|(taken, _)| spelling.len() > taken) {
                best = Some((spelling.len(), spellings));
            }
        }
    }
    best
}

/// Whether two words are a style together: "low poly", "art nouveau".
pub(super) fn is_style(first: &str, second: &str) -> bool {
    let words = lexicon::words(&format!("{first} {second}"));
    matches!(lexicon::longest_term(&words), Some((2, Kind::Style)))
}

/// Whether a word says how a thing is, though no list of qualities has it: by its ending, or as a style.
pub(super) fn is_adjectival(folded: &str) -> bool {
    #[rustfmt::skip]
    const ENDINGS: &[&str] = &[
        "y", "ic", "al", "ous", "ful", "ive", "ish", "less", "ed", "ing", "ese", "ian", "ant", "ent", "able", "ible",
        "esque", "ern", "like", "punk", "core", "est",
    ];
    if Closed::PlainAdjectives.has(folded) {
        return true;
    }
    if Closed::NounsLikeQualities.has(folded) || Closed::NounsInIng.has(folded) {
        return false;
    }
    let is_style = folded != "future"
        && matches!(lexicon::longest_term(&lexicon::words(folded)), Some((1, Kind::Style | Kind::Quality)));
    is_style
        || ENDINGS.iter().any(|ending| folded.len() > ending.len() + 2 && folded.ends_with(ending))
            && !(folded.ends_with("ing") && folded.len() < 5)
}

struct Lists {
    closed: HashSet<(Closed, &'static str)>,
    qualities: HashMap<&'static str, (&'static str, &'static str)>,
    numbers: HashMap<&'static str, u32>,
    groups: HashMap<&'static str, u32>,
    irregular: HashMap<&'static str, &'static str>,
    verbs: HashMap<String, VerbForm>,
    accepted: HashMap<&'static str, BTreeSet<&'static str>>,
    absence: HashMap<&'static str, Vec<&'static str>>,
    names: HashMap<&'static str, Vec<&'static [Vec<&'static str>]>>,
}

static LISTS: LazyLock<Lists> = LazyLock::new(|| {
    let closed_file = sections(include_str!("../../../data/lists/content/closed.txt"));
    let section = |name: &str| -> Vec<&'static str> {
        let found = closed_file.iter().filter(|(title, _)| *title == name);
        found.flat_map(|(_, lines)| lines).flat_map(|line| line.split(' ')).collect()
    };
    let pairs = |name: &str| -> Vec<(&'static str, &'static str)> {
        section(name).into_iter().filter_map(|entry| entry.split_once('=')).collect()
    };
    let numbers = |name: &str| -> HashMap<&'static str, u32> {
        pairs(name).into_iter().filter_map(|(word, n)| Some((word, n.parse().ok()?))).collect()
    };
    let mut closed = HashSet::new();
    for (name, class) in Closed::SECTIONS {
        closed.extend(section(name).into_iter().map(|word| (class, word)));
    }
    let mut qualities = HashMap::new();
    for (category, lines) in sections(include_str!("../../../data/lists/content/attributes.txt")) {
        for line in lines {
            let value = line.split(' ').next().unwrap_or_default();
            for word in line.split(' ') {
                qualities.entry(word).or_insert((category, value));
            }
        }
    }
    Lists {
        closed,
        qualities,
        numbers: numbers("numbers"),
        groups: numbers("groups"),
        irregular: pairs("irregular plurals").into_iter().collect(),
        verbs: verbs(),
        accepted: accepted(),
        absence: entries(include_str!("../../../data/lists/content/negation.txt"))
            .filter_map(|line| line.split_once(" = "))
            .map(|(absent, words)| (absent, words.split(", ").collect()))
            .collect(),
        names: names(),
    }
});

/// The lines of a list file that are entries.
fn entries(list: &'static str) -> impl Iterator<Item = &'static str> {
    list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The lines below each `[title]`.
fn sections(list: &'static str) -> Vec<(&'static str, Vec<&'static str>)> {
    let mut sections: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in entries(list) {
        match (line.strip_prefix('[').and_then(|line| line.strip_suffix(']')), sections.last_mut()) {
            (Some(title), _) => sections.push((title, Vec::new())),
            (None, Some((_, lines))) => lines.push(line),
            (None, None) => {}
        }
    }
    sections
}

fn verbs() -> HashMap<String, VerbForm> {
    let mut verbs = HashMap::new();
    for line in entries(include_str!("../../../data/lists/content/verbs.txt")) {
        let mut words = line.split(' ').filter(|word| *word != "*");
        let Some(base) = words.next() else { continue };
        let form = VerbForm { base, is_often_noun: line.ends_with('*') };
        let certain = VerbForm { is_often_noun: false, ..form };
        let (root, doubled) = (base.strip_suffix('e').unwrap_or(base), doubled(base));
        let third = match base.strip_suffix('y') {
            Some(root) if !base.ends_with(['a', 'e', 'o', 'u']) && !vowel_before_y(base) => {
                format!("{root}ies")
            }
            _ if base.ends_with(['s', 'x', 'z', 'o']) || base.ends_with("ch") || base.ends_with("sh") => {
                format!("{base}es")
            }
            _ => format!("{base}s"),
        };
        let past = match base.strip_suffix('y') {
            Some(root) if !vowel_before_y(base) => format!("{root}ied"),
            _ => format!("{doubled}ed"),
        };
        let ing = if base.ends_with("ee") {
            format!("{base}ing")
        } else {
            format!("{}ing", doubled_or(base, root))
        };
        for (word, form) in [(base.to_owned(), form), (third, form), (past, certain), (ing, certain)] {
            verbs.entry(word).or_insert(form);
        }
        for word in words {
            verbs.entry(word.to_owned()).or_insert(certain);
        }
    }
    verbs
}

fn vowel_before_y(base: &str) -> bool {
    ["ay", "ey", "oy", "uy"].iter().any(|ending| base.ends_with(ending))
}

/// What "ed" is put behind: "hop" doubles to "hopp", "bake" loses its "e".
fn doubled(base: &str) -> String {
    doubled_or(base, base.strip_suffix('e').unwrap_or(base))
}

fn doubled_or(base: &str, root: &str) -> String {
    let letters: Vec<char> = base.chars().collect();
    let is_vowel = |c: char| "aeiou".contains(c);
    match letters.as_slice() {
        [.., a, b, c]
            if letters.len() <= 4
                && !is_vowel(*a)
                && is_vowel(*b)
                && !is_vowel(*c)
                && !"wxy".contains(*c)
                && letters.iter().filter(|c| is_vowel(**c)).count() == 1 =>
        {
            format!("{base}{c}")
        }
        _ => root.to_owned(),
    }
}

/// For each word what may stand for it. Likeness goes one step; what is more specific goes on, with its like.
fn accepted() -> HashMap<&'static str, BTreeSet<&'static str>> {
    let mut like: HashMap<&str, BTreeSet<&str>> = HashMap::new();
    let mut special: HashMap<&str, BTreeSet<&str>> = HashMap::new();
    for line in entries(include_str!("../../../data/lists/content/related.txt")) {
        let (left, kinds) = line.split_once(" > ").unwrap_or((line, ""));
        let (word, same) = left.split_once(" = ").unwrap_or((left, ""));
        for other in same.split(", ").filter(|other| !other.is_empty()) {
            like.entry(word).or_default().insert(other);
            like.entry(other).or_default().insert(word);
        }
        let kinds = kinds.split(", ").filter(|kind| !kind.is_empty());
        special.entry(word).or_default().extend(kinds);
    }
    let words: BTreeSet<&str> = like.keys().chain(special.keys()).copied().collect();
    let close = |word: &'static str| {
        let mut found = like.get(word).cloned().unwrap_or_default();
        let mut open: Vec<&str> = special.get(word).into_iter().flatten().copied().collect();
        while let Some(kind) = open.pop() {
            if found.insert(kind) {
                found.extend(like.get(kind).into_iter().flatten());
                open.extend(special.get(kind).into_iter().flatten());
            }
        }
        found
    };
    words.into_iter().map(|word| (word, close(word))).collect()
}

/// Names by the first word of each spelling.
fn names() -> HashMap<&'static str, Vec<&'static [Vec<&'static str>]>> {
    static SPELLINGS: LazyLock<Vec<Vec<Vec<&'static str>>>> = LazyLock::new(|| {
        let split = |spelling: &'static str| spelling.split([' ', '-']).collect();
        entries(include_str!("../../../data/lists/content/names.txt"))
            .map(|line| line.split([',', '=']).map(|spelling| split(spelling.trim())).collect())
            .collect()
    });
    let mut names: HashMap<&str, Vec<&'static [Vec<&str>]>> = HashMap::new();
    for spellings in SPELLINGS.iter() {
        for spelling in spellings {
            names.entry(spelling[0]).or_default().push(spellings);
        }
    }
    names
}
