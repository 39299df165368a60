//! Measures of a text alone: whether it is broken as text, and how much of a user's input it keeps.
//! For the prompter's outputs, for the data, and for evaluation. Whether it is *decent* is [`super::safety`].

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use super::lexicon::{self, words};
use super::main_content;

/// A way in which a text is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Degenerate {
    /// No letter and no digit.
    Empty,
    /// U+FFFD or control characters.
    BrokenCharacters,
    /// A word no language has: mixed scripts, a letter four times over, no vowel in seven letters.
    BrokenWord,
    /// A phrase twice, a word three times running, or three words three times over.
    Repeated,
    /// A bracket without its partner.
    UnbalancedBrackets,
    /// The end is missing: "art by", "trending on", "highly detai".
    Cut,
}

impl Degenerate {
    /// A name for reports.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::BrokenCharacters => "broken characters",
            Self::BrokenWord => "broken word",
            Self::Repeated => "repeated",
            Self::UnbalancedBrackets => "unbalanced brackets",
            Self::Cut => "cut",
        }
    }
}

/// The first way in which `text` is broken, in the order of [`Degenerate`].
pub fn check(text: &str) -> Option<Degenerate> {
    if !text.chars().any(char::is_alphanumeric) {
        return Some(Degenerate::Empty);
    }
    if text.chars().any(|c| c == '\u{fffd}' || (c.is_control() && !c.is_whitespace())) {
        return Some(Degenerate::BrokenCharacters);
    }
    let words: Vec<String> = words(text).into_iter().map(|word| word.folded).collect();
    if words.iter().any(|word| is_broken(word)) {
        return Some(Degenerate::BrokenWord);
    }
    if repeats(text, &words) {
        return Some(Degenerate::Repeated);
    }
    if !is_balanced(text) {
        return Some(Degenerate::UnbalancedBrackets);
    }
    is_cut(text, &words).then_some(Degenerate::Cut)
}

/// The words of a text that carry its meaning, in order, folded and singular; stop words are left out.
pub fn content_words(text: &str) -> Vec<String> {
    words(text)
        .into_iter()
        .map(|word| singular(word.folded))
        .filter(|word| word != "&" && !STOP_WORDS.contains(&word.as_str()))
        .collect()
}

/// The share of the distinct content words of `user_input` that `adapted_prompt` holds, in `[0, 1]`; 1 if there are none.
///
/// Case, accents, plurals and closed gaps ("8 k" for "8k", "sci fi" for "scifi") make no difference.
pub fn content_kept(user_input: &str, adapted_prompt: &str) -> f32 {
    let adapted: Vec<String> = words(adapted_prompt).into_iter().map(|word| singular(word.folded)).collect();
    let mut held: HashSet<String> = adapted.iter().cloned().collect();
    held.extend(adapted.windows(2).map(|pair| pair.concat()));
    let asked: Vec<String> = words(user_input).into_iter().map(|word| singular(word.folded)).collect();
    let mut seen = HashSet::new();
    let (mut all, mut kept) = (0_usize, 0_usize);
    for (at, word) in asked.iter().enumerate() {
        if word == "&" || STOP_WORDS.contains(&word.as_str()) || !seen.insert(word) {
            continue;
        }
        let closed_up =
            |from: usize| asked.get(from..from + 2).is_some_and(|pair| held.contains(&pair.concat()));
        all += 1;
        kept += usize::from(held.contains(word) || closed_up(at) || (at > 0 && closed_up(at - 1)));
    }
    if all == 0 { 1.0 } else { kept as f32 / all as f32 }
}

/// Plain English plurals and possessives: "foxes", "cities", "cats"; "dress" and "bus" stay.
fn singular(word: String) -> String {
    let stem = |ending: &str| word.strip_suffix(ending).filter(|stem| stem.chars().count() > 2);
    if let Some(stem) = stem("ies") {
        return format!("{stem}y");
    }
    if let Some(stem) =
        stem("es").filter(|stem| ["s", "x", "z", "ch", "sh"].iter().any(|end| stem.ends_with(end)))
    {
        return stem.to_owned();
    }
    match stem("s").filter(|stem| !stem.ends_with(['s', 'u', 'i'])) {
        Some(stem) => stem.to_owned(),
        None => word,
    }
}

fn is_broken(word: &str) -> bool {
    let letters: Vec<char> = word.chars().filter(|c| c.is_alphabetic()).collect();
    let latin = letters.iter().filter(|&&c| u32::from(c) < 0x250).count();
    let stretched = letters.windows(4).any(|run| run.iter().all(|c| c == &run[0]));
    let vowels = letters.iter().any(|c| "aeiouy".contains(*c) || u32::from(*c) >= 0x80);
    (latin > 0 && latin < letters.len()) || stretched || letters.len() > 30 || (letters.len() >= 7 && !vowels)
}

fn repeats(text: &str, words: &[String]) -> bool {
    let mut seen = HashSet::new();
    let phrase_twice = main_content::phrases(text).into_iter().any(|phrase| {
        let spelled: String = lexicon::words(phrase).into_iter().map(|word| word.folded + " ").collect();
        !spelled.is_empty() && !seen.insert(spelled)
    });
    let mut runs: HashMap<&[String], usize> = HashMap::new();
    for run in words.windows(3) {
        *runs.entry(run).or_default() += 1;
    }
    phrase_twice
        || words.windows(3).any(|run| run[0] == run[1] && run[1] == run[2])
        || runs.values().any(|&count| count >= 3)
}

fn is_balanced(text: &str) -> bool {
    let mut open = Vec::new();
    for c in text.chars() {
        match c {
            '(' => open.push(')'),
            '[' => open.push(']'),
            '{' => open.push('}'),
            ')' | ']' | '}' if open.pop() != Some(c) => return false,
            _ => {}
        }
    }
    open.is_empty()
}

fn is_cut(text: &str, words: &[String]) -> bool {
    if text.trim_end().ends_with([',', '-', '(', '&', '/', ':', ';']) {
        return true;
    }
    let Some(last) = words.last() else {
        return false;
    };
    if DANGLING.contains(&last.as_str()) || (words.len() > 1 && words[words.len() - 2..] == ["style", "of"]) {
        return true;
    }
    main_content::phrases(text).len() > 1 && is_stump(last)
}

/// A stump of a word of the lists: "artstat", "detai". A word that one of them only adds an ending to
/// ("metal" of "metallic") is a word of its own.
fn is_stump(last: &str) -> bool {
    if last.chars().count() < 4
        || !last.chars().all(char::is_alphabetic)
        || VOCABULARY.contains(last)
        || PLAIN_WORDS.contains(&last)
    {
        return false;
    }
    let endings: Vec<&str> = VOCABULARY.iter().filter_map(|word| word.strip_prefix(last)).collect();
    !endings.is_empty() && !endings.iter().any(|ending| ENDINGS.contains(ending))
}

/// No phrase ends in one of these.
const DANGLING: &[&str] = &[
    "a", "an", "and", "as", "at", "by", "for", "from", "in", "of", "on", "or", "the", "to", "very", "with",
    "&",
];

/// All words of the lists of modifiers.
static VOCABULARY: LazyLock<HashSet<String>> = LazyLock::new(lexicon::vocabulary);

/// What makes another word of a word.
#[rustfmt::skip]
const ENDINGS: &[&str] = &[
    "s", "es", "y", "ly", "al", "ial", "ual", "ic", "ical", "lic", "ish", "ism", "ist", "istic",
    "ous", "ful", "less", "ment", "er", "ers", "ed", "ing", "en", "ern", "an", "ian", "ive",
    "ation", "ization", "ized", "time", "work", "board", "land", "light", "paper", "book", "shot",
    "punk", "like", "borne", "ator", "ative", "ary", "tic", "ening", "tal", "ally",
];

/// Words that begin a word of the lists by chance: "pale" of "palette".
#[rustfmt::skip]
const PLAIN_WORDS: &[&str] = &[
    "angel", "arch", "base", "bird", "cart", "cast", "centre", "chan", "child", "class", "clay",
    "comp", "cyan", "decor", "desk", "dirt", "dish", "edge", "fair", "feat", "flick", "flow",
    "gene", "grad", "grin", "harm", "hear", "heart", "hell", "illustrate", "imagine",
    "inspiration", "keys", "lense", "mann", "manner", "mast", "mech", "mini", "mode", "night",
    "over", "pain", "pale", "past", "path", "pear", "pearl", "plea", "poke", "port", "pose",
    "post", "proc", "rain", "roma", "roman", "safe", "sand", "screens", "self", "shin", "shut",
    "sing", "soul", "stat", "stick", "stud", "suns", "taste", "tell", "them", "tint", "track",
    "tran", "trip", "unit", "view", "vint", "wall", "water", "webs", "wild", "wood", "part",
    "star", "story", "screen", "brush", "power", "paint", "rock", "surf", "symbol", "tech",
    "vibe", "volume", "north", "west", "sharpen", "rend",
];

/// Words that carry no content of their own.
#[rustfmt::skip]
const STOP_WORDS: &[&str] = &[
    "a", "about", "above", "after", "again", "all", "also", "am", "an", "and", "any", "are", "as",
    "at", "be", "been", "being", "but", "by", "can", "could", "did", "do", "does", "doing",
    "down", "each", "few", "for", "from", "had", "has", "have", "having", "he", "her", "here",
    "hers", "him", "his", "how", "i", "if", "in", "into", "is", "it", "its", "just", "me", "more",
    "most", "my", "no", "nor", "not", "of", "off", "on", "once", "only", "or", "other", "our",
    "out", "over", "own", "s", "same", "she", "should", "so", "some", "such", "than", "that",
    "the", "their", "them", "then", "there", "these", "they", "thi", "this", "those", "through",
    "to", "too", "up", "upon", "us", "very", "was", "wa", "we", "were", "what", "when", "where",
    "which", "while", "who", "whom", "why", "will", "with", "would", "you", "your", "ha", "doe",
    "hi", "it's", "t",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_be_broken_is_told() {
        for (text, expected) in [
            (" , .", Degenerate::Empty),
            ("a caf\u{fffd}", Degenerate::BrokenCharacters),
            ("a cat, dеtailed", Degenerate::BrokenWord),
            ("a cat, xkjhgfdq", Degenerate::BrokenWord),
            ("a cat, ooooh", Degenerate::BrokenWord),
            ("a cat, 8k, hd, 8K", Degenerate::Repeated),
            ("a cat cat cat on a mat", Degenerate::Repeated),
            ("art by x and art by x and art by x and", Degenerate::Repeated),
            ("a cat (on a mat, 8k", Degenerate::UnbalancedBrackets),
            ("a cat ] on a mat", Degenerate::UnbalancedBrackets),
            ("a cat, art by", Degenerate::Cut),
            ("a cat, in the style of", Degenerate::Cut),
            ("a cat, 8k,", Degenerate::Cut),
            ("a cat, highly detai", Degenerate::Cut),
            ("a cat, trending on artstat", Degenerate::Cut),
        ] {
            assert_eq!(check(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn good_prompts_are_whole() {
        for text in [
            "a cat",
            "a cat (blue) on a mat, highly detailed, 8k, artstation",
            "portrait of a knight, digital painting, sharp focus, by greg rutkowski",
            "ships in a harbour, old port",
            "a rhythm, schwartz, 35mm, f/1.8",
            "the cat and the dog and the bird",
        ] {
            assert_eq!(check(text), None, "{text}");
        }
    }

    #[test]
    fn content_words_are_what_a_user_would_miss() {
        assert_eq!(
            content_words("Two of the cats' boxes in cities, and a dress"),
            ["two", "cat", "box", "city", "dress"]
        );
    }

    #[test]
    fn kept_content_ignores_form() {
        for (user_input, adapted, kept) in [
            ("A cat on a mat", "a cat is sitting on the mat, 8k", 1.0),
            ("cats and dogs", "a cat and a dog", 1.0),
            ("a sci - fi town, 8 k", "a sci-fi town, 8k", 1.0),
            ("a scifi town", "a sci-fi town", 1.0),
            ("a red fox", "a fox, artstation", 0.5),
            ("the of and", "anything", 1.0),
            ("Café Noir", "cafe at night", 0.5),
        ] {
            assert_eq!(content_kept(user_input, adapted), kept, "{user_input} / {adapted}");
        }
    }
}
