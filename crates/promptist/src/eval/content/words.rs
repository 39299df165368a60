//! A prompt as words: how each is spelled, what its singular is, what stands between it and the one before, and
//! whether it is inside quotation marks.

use super::inflection;
use super::lists;
use crate::data::lexicon::fold;

/// What stands between a word and the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gap {
    /// White space.
    Space,
    /// A hyphen and nothing else.
    Hyphen,
    /// A comma, or what does its work: brackets, a slash, a dash.
    Comma,
    /// A full stop, a semicolon or a colon; before the first word too.
    Stop,
}

/// One word of a prompt.
#[derive(Debug, Clone)]
pub(super) struct Word {
    /// As it is written, without a possessive's "'s".
    pub text: String,
    /// Lower case, without accents and apostrophes.
    pub folded: String,
    /// Singular of `folded`.
    pub lemma: String,
    pub is_plural: bool,
    pub is_possessive: bool,
    pub gap: Gap,
    /// Which quotation it is in, counted from 0.
    pub quotation: Option<usize>,
}

impl Word {
    fn new(text: &str, gap: Gap, quotation: Option<usize>) -> Self {
        // "it's", "that's" too: a copula, and of no matter here.
        let owner = ["'s", "’s", "'S", "’S"].iter().find_map(|ending| text.strip_suffix(ending));
        let (bare, is_possessive) = (owner.unwrap_or(text), owner.is_some());
        let folded = fold(bare);
        let (lemma, is_plural) = inflection::singular(&folded);
        Self { text: bare.to_owned(), folded, lemma, is_plural, is_possessive, gap, quotation }
    }

    pub(super) fn is(&self, folded: &str) -> bool {
        self.folded == folded
    }

    pub(super) fn starts_phrase(&self) -> bool {
        matches!(self.gap, Gap::Comma | Gap::Stop)
    }

    pub(super) fn is_capitalised(&self) -> bool {
        self.text.starts_with(char::is_uppercase)
    }
}

/// The most words of a text that a picture is to show.
const LONGEST_QUOTATION: usize = 6;

/// The words of a prompt in plain text.
pub(super) fn words(text: &str) -> Vec<Word> {
    let quotations = quotations(text);
    let mut words: Vec<Word> = Vec::new();
    let mut between = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        if !c.is_alphanumeric() {
            between.push(c);
            continue;
        }
        let mut end = start + c.len_utf8();
        while let Some(&(at, c)) = chars.peek() {
            let rest = &text[at + c.len_utf8()..];
            let joins = c.is_alphanumeric()
                || is_mark(c)
                || (matches!(c, '\'' | '’') && rest.starts_with(char::is_alphabetic))
                || (matches!(c, ':' | '.' | ',')
                    && is_digit_before(text, at)
                    && rest.starts_with(|c: char| c.is_ascii_digit()));
            if !joins {
                break;
            }
            end = at + c.len_utf8();
            chars.next();
        }
        let gap = gap(&between, words.is_empty());
        between.clear();
        let quotation = quotations.iter().position(|range| range.contains(&start));
        push(&mut words, &text[start..end], gap, quotation);
    }
    // What is to be written in a picture is short; a long quotation is a prompt in quotation marks.
    for quotation in 0..quotations.len() {
        let is_in = |word: &Word| word.quotation == Some(quotation);
        if words.iter().filter(|word| is_in(word)).count() > LONGEST_QUOTATION {
            words.iter_mut().filter(|word| is_in(word)).for_each(|word| word.quotation = None);
        }
    }
    join_known_pairs(words)
}

/// A combining accent.
fn is_mark(c: char) -> bool {
    ('\u{300}'..='\u{36f}').contains(&c)
}

fn is_digit_before(text: &str, at: usize) -> bool {
    text[..at].ends_with(|c: char| c.is_ascii_digit())
}

fn gap(between: &str, is_first: bool) -> Gap {
    if is_first || between.contains(['.', ';', ':', '!', '?', '\n', '。']) {
        return Gap::Stop;
    }
    let white = between.contains(char::is_whitespace);
    match between.trim() {
        // What is glued in other ways ("a/b", "a+b") are two phrases, and quotation marks part nothing.
        "" => Gap::Space,
        // "jack-o'-lantern".
        "-" | "‐" | "‑" | "'-" | "’-" if !white => Gap::Hyphen,
        "_" | "&" => Gap::Space,
        marks if marks.chars().all(|c| "\"'“”„«»‘’「」『』*`´#".contains(c)) => Gap::Space,
        _ => Gap::Comma,
    }
}

/// A run of letters and digits as one word, or as the words it is made of: "isn't", "1girl".
fn push(words: &mut Vec<Word>, run: &str, gap: Gap, quotation: Option<usize>) {
    let lower = run.to_lowercase().replace('’', "'");
    if let Some(verb) = lower.strip_suffix("n't") {
        let verb = if verb == "ca" { "can" } else { verb };
        words.push(Word::new(verb, gap, quotation));
        words.push(Word::new("not", Gap::Space, quotation));
        return;
    }
    let digits = run.len() - run.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let counted = run[digits..].to_lowercase();
    if digits > 0
        && ["girl", "girls", "boy", "boys", "man", "men", "woman", "women"].contains(&counted.as_str())
    {
        words.push(Word::new(&run[..digits], gap, quotation));
        words.push(Word::new(&run[digits..], Gap::Space, quotation));
        return;
    }
    words.push(Word::new(run, gap, quotation));
}

/// Two words that the list of qualities has as one: "heart-shaped", "brand new".
fn join_known_pairs(words: Vec<Word>) -> Vec<Word> {
    let mut joined: Vec<Word> = Vec::with_capacity(words.len());
    for word in words {
        if let Some(last) = joined.last_mut()
            && matches!(word.gap, Gap::Space | Gap::Hyphen)
            && last.quotation == word.quotation
        {
            let pair = format!("{}-{}", last.folded, word.folded);
            if lists::quality(&pair).is_some() {
                last.text = format!("{} {}", last.text, word.text);
                last.lemma.clone_from(&pair);
                last.folded = pair;
                (last.is_plural, last.is_possessive) = (false, false);
                continue;
            }
        }
        joined.push(word);
    }
    joined
}

/// The byte ranges between quotation marks. Single marks count where they are no apostrophes.
fn quotations(text: &str) -> Vec<std::ops::Range<usize>> {
    /// The farthest that a single quotation mark is looked for: an apostrophe has no partner.
    const LONGEST: usize = 100;
    let mut found = Vec::new();
    let mut from = 0;
    for (at, c) in text.char_indices() {
        if at < from {
            continue;
        }
        let (closing, is_single) = match c {
            '"' => (&['"'][..], false),
            '“' | '„' | '”' => (&['”', '“'][..], false),
            '«' => (&['»'][..], false),
            '「' => (&['」'][..], false),
            '\'' | '‘' => (&['\'', '’'][..], true),
            _ => continue,
        };
        let start = at + c.len_utf8();
        let rest = &text[start..];
        if is_single
            && (text[..at].ends_with(char::is_alphanumeric) || !rest.starts_with(char::is_alphanumeric))
        {
            continue;
        }
        let end = rest.char_indices().take_while(|(at, c)| *c != '\n' && (!is_single || *at < LONGEST)).find(
            |(at, c)| {
                closing.contains(c)
                    && (!is_single || !rest[at + c.len_utf8()..].starts_with(char::is_alphanumeric))
            },
        );
        if let Some((length, c)) = end {
            if rest[..length].contains(char::is_alphanumeric) {
                found.push(start..start + length);
            }
            from = start + length + c.len_utf8();
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(text: &str) -> Vec<String> {
        words(text).into_iter().map(|word| word.folded).collect()
    }

    #[test]
    fn words_are_split_where_they_mean_something_alone() {
        assert_eq!(spelled("It isn't 1girl's"), ["it", "is", "not", "1girl"]);
        assert_eq!(spelled("1girl, at 10:15"), ["1", "girl", "at", "10:15"]);
        assert_eq!(spelled("a heart-shaped, brand new box"), ["a", "heart-shaped", "brand-new", "box"]);
        assert_eq!(spelled("café, cafe\u{301}"), ["cafe", "cafe"]);
    }

    #[test]
    fn gaps_tell_phrases_apart() {
        let gaps: Vec<Gap> = words("a well-known cat, red (big). End").iter().map(|word| word.gap).collect();
        use Gap::{Comma, Hyphen, Space, Stop};
        assert_eq!(gaps, [Stop, Space, Hyphen, Space, Comma, Comma, Stop]);
    }

    #[test]
    fn quotations_are_no_apostrophes() {
        let quoted = |text: &str| -> Vec<String> {
            words(text).into_iter().filter(|word| word.quotation.is_some()).map(|word| word.folded).collect()
        };
        assert_eq!(quoted("a sign 'Deep Learning' on the dog's wall"), ["deep", "learning"]);
        assert_eq!(quoted("says “Stop it”, \"now\""), ["stop", "it", "now"]);
        assert!(quoted("the dogs' ball and the cats' bowl").is_empty());
        assert!(quoted("an \"open end").is_empty());
    }
}
