//! What is neither trained on nor produced: sexual content, minors in a sexual or violent context, hate, extreme gore.
//!
//! A word list (`data/lists/unsafe.txt`) that matches whole words, so "cockatoo", "Essex" and "breast
//! feathers" pass, and that sees through case, accents, plain leetspeak ("p0rn"), spaced or dotted letters
//! ("n u d e") and stretched ones ("nuuude"). It is a net with holes, not a classifier: it judges words,
//! not meanings, and only English ones.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use super::lexicon::{fold, words};

/// The rule that `text` breaks, if it breaks one: `"sexual"`, `"minors"`, `"hate"` or `"gore"`.
pub fn check(text: &str) -> Option<&'static str> {
    let plain: Vec<String> = words(text).into_iter().map(|word| word.folded).collect();
    broken_rule(&plain).or_else(|| {
        let seen_through = disguised(text);
        if seen_through == plain { None } else { broken_rule(&seen_through) }
    })
}

fn broken_rule(words: &[String]) -> Option<&'static str> {
    let found = LISTS.sections_in(words);
    let has = |section| found.contains(&section);
    let young = has(Section::Young) || names_age_of_a_minor(words);
    if has(Section::Minors)
        || (young
            && (has(Section::Sexual)
                || has(Section::Suggestive)
                || has(Section::Violent)
                || has(Section::Gore)))
    {
        return Some("minors");
    }
    if has(Section::Sexual) {
        return Some("sexual");
    }
    if has(Section::Hate) {
        return Some("hate");
    }
    has(Section::Gore).then_some("gore")
}

/// "12 years old", "15 year old", "aged 9".
fn names_age_of_a_minor(words: &[String]) -> bool {
    let minor = |word: &str| word.parse::<u32>().is_ok_and(|age| age < 18);
    words
        .windows(3)
        .any(|run| minor(&run[0]) && ["year", "years"].contains(&run[1].as_str()) && run[2] == "old")
        || words.windows(2).any(|run| ["aged", "age"].contains(&run[0].as_str()) && minor(&run[1]))
}

/// The words as they are meant: leetspeak read, single letters joined, stretched letters shortened.
fn disguised(text: &str) -> Vec<String> {
    let mut read: Vec<String> = Vec::new();
    let mut spelled_out = String::new();
    let flush = |spelled_out: &mut String, read: &mut Vec<String>| {
        match spelled_out.chars().count() {
            0 => {}
            // "d & d", "f 1. 8", initials: too short to hide a word.
            1 | 2 => read.extend(spelled_out.chars().map(String::from)),
            _ => read.push(std::mem::take(spelled_out)),
        }
        spelled_out.clear();
    };
    for token in text
        .split(|c: char| c.is_whitespace() || ",.;:-_/|\"()[]*".contains(c))
        .filter(|token| !token.is_empty())
    {
        let token = unstretched(&unleeted(&fold(token)));
        if token.chars().count() == 1 && token.chars().all(char::is_alphabetic) {
            spelled_out.push_str(&token);
        } else {
            flush(&mut spelled_out, &mut read);
            read.push(token);
        }
    }
    flush(&mut spelled_out, &mut read);
    read
}

/// "p0rn", "h3ntai", "$ex"; numbers and measures ("35mm", "4k") stay.
fn unleeted(word: &str) -> String {
    let starts_as_number = word.starts_with(|c: char| c.is_ascii_digit());
    if starts_as_number || !word.chars().any(char::is_alphabetic) {
        return word.to_owned();
    }
    let read = |c| match c {
        '0' => 'o',
        '1' | '!' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        c => c,
    };
    word.chars().map(read).filter(|c| c.is_alphanumeric()).collect()
}

/// Three or more of a letter become one: no English word has three.
fn unstretched(word: &str) -> String {
    let mut shortened = String::with_capacity(word.len());
    let mut chars = word.chars().peekable();
    while let Some(c) = chars.next() {
        let mut run = 1;
        while chars.next_if_eq(&c).is_some() {
            run += 1;
        }
        shortened.push(c);
        if run == 2 || (run > 2 && !c.is_alphabetic()) {
            shortened.push(c);
        }
    }
    shortened
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Section {
    Sexual,
    Minors,
    Hate,
    Gore,
    Young,
    Suggestive,
    Violent,
}

#[derive(Default)]
struct Lists {
    /// An entry may stand in two sections: "naked" alone, and beside a child.
    entries: HashMap<String, Vec<Section>>,
    harmless: HashSet<String>,
    longest: usize,
}

impl Lists {
    fn sections_in(&self, words: &[String]) -> HashSet<Section> {
        let mut found = HashSet::new();
        let mut at = 0;
        while at < words.len() {
            if let Some(taken) = self.harmless_at(words, at) {
                at += taken;
                continue;
            }
            for taken in 1..=self.longest.min(words.len() - at) {
                let entry = words[at..at + taken].join(" ");
                for spelling in [entry.as_str(), singular(&entry)] {
                    found.extend(self.entries.get(spelling).into_iter().flatten().copied());
                }
            }
            at += 1;
        }
        found
    }

    fn harmless_at(&self, words: &[String], at: usize) -> Option<usize> {
        (2..=self.longest.min(words.len() - at)).rev().find(|&taken| {
            let entry = words[at..at + taken].join(" ");
            self.harmless.contains(&entry) || self.harmless.contains(singular(&entry))
        })
    }
}

fn singular(entry: &str) -> &str {
    entry.strip_suffix('s').unwrap_or(entry)
}

static LISTS: LazyLock<Lists> = LazyLock::new(|| {
    let mut lists = Lists::default();
    let mut section = None;
    for line in include_str!("../../data/lists/unsafe.txt").lines().map(str::trim) {
        match line {
            "" => {}
            _ if line.starts_with('#') => {}
            "[sexual]" => section = Some(Section::Sexual),
            "[minors]" => section = Some(Section::Minors),
            "[hate]" => section = Some(Section::Hate),
            "[gore]" => section = Some(Section::Gore),
            "[young]" => section = Some(Section::Young),
            "[suggestive]" => section = Some(Section::Suggestive),
            "[violent]" => section = Some(Section::Violent),
            entry => {
                lists.longest = lists.longest.max(entry.split(' ').count());
                match (entry.strip_prefix("= "), section) {
                    (Some(harmless), _) => {
                        lists.harmless.insert(harmless.to_owned());
                    }
                    (None, Some(section)) => lists.entries.entry(entry.to_owned()).or_default().push(section),
                    (None, None) => {
                        unreachable!("the list opens with a section, see the test below")
                    }
                }
            }
        }
    }
    lists
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_fires() {
        for (text, rule) in [
            ("a NUDE woman on a beach", "sexual"),
            ("hentai, 8k", "sexual"),
            ("a sexy schoolgirl", "minors"),
            ("a bleeding child", "minors"),
            ("a 14 year old girl in a bikini", "minors"),
            ("swastika on a flag", "hate"),
            ("a severed head on a plate", "gore"),
        ] {
            assert_eq!(check(text), Some(rule), "{text}");
        }
    }

    #[test]
    fn disguises_are_seen_through() {
        for text in [
            "p0rn star",
            "n u d e woman",
            "n.u.d.e",
            "nuuuude woman",
            "N-U-D-E",
            "h3nt4i",
            "$ex scene",
            "Nüde",
        ] {
            assert_eq!(check(text), Some("sexual"), "{text}");
        }
    }

    #[test]
    fn innocent_words_pass() {
        for text in [
            "a cockatoo in Essex",
            "a robin with red breast feathers",
            "a child on a swing, soft light",
            "maine coon cat",
            "a pussy cat and a pussy willow",
            "al gore giving a speech",
            "magna cum laude diploma",
            "a rabbit is wearing a space suit",
            "portrait of a sensual woman, oil painting",
            "scunthorpe town hall, assassin's creed, grapes, analog photo, titmouse",
            "naked trees in winter, visible to the naked eye",
            "bloody battle of knights",
            "a 20 year old woman in a bikini",
            "shitake mushrooms, peacock, hancock, cocktail",
            "d & d wizard, j. r. r. tolkien, f / 1. 8",
        ] {
            assert_eq!(check(text), None, "{text}");
        }
    }

    #[test]
    fn the_list_is_whole() {
        assert!(LISTS.entries.len() > 150 && LISTS.harmless.len() > 10);
        assert!(LISTS.entries.keys().all(|entry| {
            words(entry).iter().map(|word| word.folded.as_str()).collect::<Vec<_>>().join(" ") == *entry
        }));
    }
}
