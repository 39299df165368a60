//! The word lists of the data stage: which words and names say how a picture looks, not what it shows.
//!
//! The lists are plain text in `data/lists/`, one entry a line, curated by hand. This file only looks
//! words up; the rules that use them are in [`super::main_content`].

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// What an entry of the lists is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Praise, sharpness, resolution: "highly detailed", "8k".
    Quality,
    /// What it is made as: "oil painting", "3d render", "film still".
    Medium,
    /// Movement, genre, mood, colour, composition: "art nouveau", "moody", "rule of thirds".
    Style,
    /// "volumetric lighting", "golden hour".
    Lighting,
    /// Lens, film, framing: "35mm", "bokeh", "wide shot".
    Camera,
    /// "octane render", "unreal engine".
    Engine,
    /// "artstation", "trending on pixiv".
    Website,
}

/// A word of a text: where it stands, and how the lists spell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    /// Byte range in the text it was taken from.
    pub start: usize,
    /// One past its last byte.
    pub end: usize,
    /// Lower case, without accents.
    pub folded: String,
}

/// Splits `text` into the words that the lists know: runs of letters and digits, and `&`.
pub(crate) fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        // An apostrophe belongs to the word it stands in: "bird's", "o'keeffe".
        let inside = c.is_alphanumeric()
            || (matches!(c, '\'' | '’')
                && start.is_some()
                && text[at + c.len_utf8()..].starts_with(char::is_alphabetic));
        match (inside, start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                words.push(Word { start: from, end: at, folded: fold(&text[from..at]) });
                start = None;
            }
            _ => {}
        }
        if c == '&' {
            words.push(Word { start: at, end: at + 1, folded: "&".to_owned() });
        }
    }
    words
}

/// Lower case, accents dropped, apostrophes dropped.
pub(crate) fn fold(word: &str) -> String {
    let mut folded = String::with_capacity(word.len());
    for c in word.chars().flat_map(char::to_lowercase) {
        match c {
            'à'..='å' | 'ā' | 'ă' | 'ą' => folded.push('a'),
            'ç' | 'ć' | 'č' => folded.push('c'),
            'ď' | 'đ' => folded.push('d'),
            'è'..='ë' | 'ē' | 'ę' | 'ě' => folded.push('e'),
            'ì'..='ï' | 'ī' | 'ı' => folded.push('i'),
            'ł' => folded.push('l'),
            'ñ' | 'ń' | 'ň' => folded.push('n'),
            'ò'..='ö' | 'ø' | 'ō' | 'ő' => folded.push('o'),
            'œ' => folded.push_str("oe"),
            'æ' => folded.push_str("ae"),
            'ř' => folded.push('r'),
            'ś' | 'š' | 'ş' => folded.push('s'),
            'ß' => folded.push_str("ss"),
            'ť' | 'ţ' => folded.push('t'),
            'ù'..='ü' | 'ū' | 'ů' | 'ű' => folded.push('u'),
            'ý' | 'ÿ' => folded.push('y'),
            'ź' | 'ż' | 'ž' => folded.push('z'),
            '\'' | '’' | '\u{300}'..='\u{36f}' => {}
            _ => folded.push(c),
        }
    }
    folded
}

/// The longest entry that starts at `words[0]`: how many words it takes, and what it is.
pub(crate) fn longest_term(words: &[Word]) -> Option<(usize, Kind)> {
    longest(&LISTS.terms, LISTS.longest_term, words)
}

/// The longest name that starts at `words[0]`: how many words it takes.
pub(crate) fn longest_artist(words: &[Word]) -> Option<usize> {
    longest(&LISTS.artists, LISTS.longest_artist, words).map(|(taken, ())| taken)
}

/// Whether `folded` may stand in a phrase of modifiers without adding a subject: "very", "and", "of".
pub(crate) fn is_filler(folded: &str) -> bool {
    LISTS.fillers.contains(folded)
}

/// Whether a short phrase that ends in `folded` is a modifier: "lighting", "style", "palette".
pub(crate) fn is_head(folded: &str) -> bool {
    LISTS.heads.contains(folded)
}

/// Every word that occurs in the lists of modifiers, fillers and heads; names are not words.
pub(crate) fn vocabulary() -> HashSet<String> {
    let entries = LISTS.terms.keys().chain(&LISTS.fillers).chain(&LISTS.heads);
    entries.flat_map(|entry| entry.split(' ')).map(str::to_owned).collect()
}

fn longest<T: Copy>(map: &HashMap<String, T>, longest: usize, words: &[Word]) -> Option<(usize, T)> {
    let mut key = String::new();
    let mut found = None;
    for (taken, word) in words.iter().take(longest).enumerate() {
        if taken > 0 {
            key.push(' ');
        }
        key.push_str(&word.folded);
        if let Some(&kind) = map.get(key.as_str()) {
            found = Some((taken + 1, kind));
        }
    }
    found
}

struct Lists {
    terms: HashMap<String, Kind>,
    longest_term: usize,
    artists: HashMap<String, ()>,
    longest_artist: usize,
    fillers: HashSet<String>,
    heads: HashSet<String>,
}

static LISTS: LazyLock<Lists> = LazyLock::new(|| {
    let mut terms = HashMap::new();
    for (list, kind) in [
        (include_str!("../../data/lists/quality.txt"), Kind::Quality),
        (include_str!("../../data/lists/mediums.txt"), Kind::Medium),
        (include_str!("../../data/lists/styles.txt"), Kind::Style),
        (include_str!("../../data/lists/lighting.txt"), Kind::Lighting),
        (include_str!("../../data/lists/camera.txt"), Kind::Camera),
        (include_str!("../../data/lists/engines.txt"), Kind::Engine),
        (include_str!("../../data/lists/websites.txt"), Kind::Website),
    ] {
        // A word in two lists keeps the first: the kinds only name, they do not decide.
        for entry in entries(list) {
            terms.entry(entry).or_insert(kind);
        }
    }
    let artists: HashMap<String, ()> =
        entries(include_str!("../../data/lists/artists.txt")).map(|name| (name, ())).collect();
    let longest =
        |keys: &mut dyn Iterator<Item = &String>| keys.map(|key| key.split(' ').count()).max().unwrap_or(0);
    Lists {
        longest_term: longest(&mut terms.keys()),
        longest_artist: longest(&mut artists.keys()),
        terms,
        artists,
        fillers: entries(include_str!("../../data/lists/fillers.txt")).collect(),
        heads: entries(include_str!("../../data/lists/heads.txt")).collect(),
    }
});

/// Entries of a list file, spelled as [`words`] spells them.
pub(crate) fn entries(list: &'static str) -> impl Iterator<Item = String> {
    list.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| words(line).iter().map(|word| word.folded.as_str()).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_their_place_and_lose_accents() {
        let text = "Zdzisław's d&d, café";
        let found = words(text);
        let spelled: Vec<&str> = found.iter().map(|word| word.folded.as_str()).collect();
        assert_eq!(spelled, ["zdzislaws", "d", "&", "d", "cafe"]);
        assert_eq!(&text[found[4].start..found[4].end], "café");
    }

    #[test]
    fn the_longest_entry_wins() {
        assert_eq!(longest_term(&words("trending on artstation hq")), Some((3, Kind::Website)));
        assert_eq!(longest_term(&words("oil painting of a cat")), Some((2, Kind::Medium)));
        assert_eq!(longest_term(&words("cat")), None);
        assert_eq!(longest_artist(&words("Zdzisław Beksiński, 8k")), Some(2));
    }

    #[test]
    fn no_list_entry_is_empty() {
        for list in [&LISTS.fillers, &LISTS.heads] {
            assert!(list.iter().all(|entry| !entry.is_empty()));
        }
        assert!(LISTS.terms.keys().all(|entry| !entry.is_empty()));
    }
}
