//! What a phrase is made of, and the strings that match it.
//!
//! A text is matched in its *normal form*: the tokens of [`super::fold`] with one space before, between and
//! after them, `"Red-hats!"` as `" red hats ! "`. A phrase stands in a text if one of its patterns is part of
//! the normal form, the spaces at its ends being the edges of words; a `*` at the outer edge of a phrase
//! drops the space there. With a `*` further inside a pattern is a regex on the normal form.
//!
//! A phrase of several words that is not literal also stands where they are written together as one word
//! ([`Phrase::joined`]): `red hat` in "redhats". A model that may not put one word behind another drops the
//! space between them.

use super::fold::{Event, Place};
use super::inflections::plurals;

/// Tokens in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Phrase {
    tokens: Vec<Token>,
    inflected: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    /// The letters of a word, folded, or a mark.
    text: String,
    is_word: bool,
    /// `*` before it.
    open_start: bool,
    /// `*` behind it.
    open_end: bool,
}

/// What to look for in the normal form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Patterns {
    /// Any of these strings.
    Strings(Vec<String>),
    /// A regex on its bytes; every match ends with the space behind a token.
    Regex(String),
}

impl Phrase {
    /// A phrase with `*` and with the plurals of its last word; the reason if it cannot be matched.
    pub(super) fn parse(written: &str) -> Result<Self, String> {
        let mut reader = Reader::default();
        for c in written.chars() {
            match c {
                '*' => reader.star()?,
                c => reader.read(c)?,
            }
        }
        reader.finish(true)
    }

    /// A phrase as it is written; the reason if it cannot be matched.
    pub(super) fn literal(written: &str) -> Result<Self, String> {
        let mut reader = Reader::default();
        written.chars().try_for_each(|c| reader.read(c))?;
        reader.finish(false)
    }

    /// How many tokens a match spans.
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// What matches the phrase.
    pub(super) fn patterns(&self) -> Patterns {
        let endings = self.endings();
        if self.is_open_inside() {
            Patterns::Regex(self.regex(&endings))
        } else {
            Patterns::Strings(endings.iter().map(|ending| self.string(ending, " ")).collect())
        }
    }

    /// What matches the words of the phrase written together as one token.
    ///
    /// Nothing for a literal phrase and for a single word. Nothing either where a token is a mark, which no
    /// word can hold; where digits would meet, as "16 9" is not "169"; and for a `*` between words, which
    /// would ban whatever begins with the one and ends with the other. Single letters are words like others:
    /// "v ray" is "vray" and "j r r tolkien" is "jrrtolkien".
    pub(super) fn joined(&self) -> Vec<String> {
        let digits_meet = self.tokens.windows(2).any(|pair| {
            pair[0].text.ends_with(char::is_numeric) && pair[1].text.starts_with(char::is_numeric)
        });
        let has_mark = self.tokens.iter().any(|token| !token.is_word);
        if !self.inflected || self.tokens.len() == 1 || has_mark || digits_meet || self.is_open_inside() {
            return Vec::new();
        }
        self.endings().iter().map(|ending| self.string(ending, "")).collect()
    }

    /// The last token as it may be spelled.
    fn endings(&self) -> Vec<String> {
        let last = self.tokens.last().expect("a phrase has a token");
        let mut endings = vec![last.text.clone()];
        if self.inflected && last.is_word && !last.open_end {
            endings.extend(plurals(&last.text));
        }
        endings
    }

    /// Whether a `*` stands between tokens.
    fn is_open_inside(&self) -> bool {
        self.tokens.windows(2).any(|pair| pair[0].open_end || pair[1].open_start)
    }

    fn string(&self, ending: &str, between: &str) -> String {
        let (last, before) = self.tokens.split_last().expect("a phrase has a token");
        let mut string = String::new();
        if !self.tokens[0].open_start {
            string.push(' ');
        }
        for token in before {
            string.extend([&token.text, between]);
        }
        string.push_str(ending);
        if !last.open_end {
            string.push(' ');
        }
        string
    }

    fn regex(&self, endings: &[String]) -> String {
        let mut regex = String::new();
        for (at, token) in self.tokens.iter().enumerate() {
            match (at, token.open_start) {
                (0, true) => {}
                (_, true) => regex.push_str(" (?-u:[^ ])*"),
                (_, false) => regex.push(' '),
            }
            if at + 1 == self.tokens.len() {
                let endings: Vec<String> =
                    endings.iter().map(|ending| regex_syntax::escape(ending)).collect();
                regex.push_str(&format!("(?:{})", endings.join("|")));
            } else {
                regex.push_str(&regex_syntax::escape(&token.text));
            }
            if token.open_end {
                regex.push_str("(?-u:[^ ])*");
            }
        }
        regex.push(' ');
        regex
    }
}

/// Collects tokens.
#[derive(Default)]
struct Reader {
    tokens: Vec<Token>,
    place: Place,
    /// A `*` that the next character has to be a letter for.
    opened: bool,
    /// A `*` that the next character must not be a letter for.
    closed: bool,
}

impl Reader {
    fn read(&mut self, c: char) -> Result<(), String> {
        let began_between = self.place == Place::Between;
        let (mut tokens, mut began, mut marked) = (std::mem::take(&mut self.tokens), began_between, false);
        let opened = self.opened;
        self.place.read(c, |event| match event {
            Event::Letter(c) if began => {
                began = false;
                tokens.push(Token { text: c.into(), is_word: true, open_start: opened, open_end: false });
            }
            Event::Letter(c) => {
                if let Some(word) = tokens.last_mut() {
                    word.text.push(c);
                }
            }
            Event::End => began = true,
            Event::Mark(c) => {
                began = true;
                marked = true;
                tokens.push(Token { text: c.into(), is_word: false, open_start: false, open_end: false });
            }
        });
        self.tokens = tokens;
        let is_in_word = self.place != Place::Between;
        if self.closed && is_in_word {
            return Err("a `*` inside a word: it stands at the start or the end of one".to_owned());
        }
        if self.opened && (marked || !is_in_word) {
            return Err(ALONE.to_owned());
        }
        if self.opened {
            // More than one letter, for all that is known: no initial.
            self.place = Place::Word;
        }
        (self.opened, self.closed) = (false, false);
        Ok(())
    }

    fn star(&mut self) -> Result<(), String> {
        if self.opened || self.closed {
            return Err(ALONE.to_owned());
        }
        let mut ended = false;
        self.place.finish(|_| ended = true);
        match self.tokens.last_mut() {
            Some(word) if ended => (word.open_end, self.closed) = (true, true),
            _ => self.opened = true,
        }
        Ok(())
    }

    fn finish(self, inflected: bool) -> Result<Phrase, String> {
        if self.opened {
            return Err(ALONE.to_owned());
        }
        if self.tokens.is_empty() {
            return Err("nothing to match".to_owned());
        }
        Ok(Phrase { tokens: self.tokens, inflected })
    }
}

const ALONE: &str = "a `*` alone would ban every word; put it in quotes to ban the character";

/// The normal form of a text.
#[cfg(test)]
pub(super) fn normal_form(text: &str) -> String {
    let mut normal = String::from(" ");
    super::fold::read(text, |event| match event {
        Event::Letter(c) => normal.push(c),
        Event::End => normal.push(' '),
        Event::Mark(c) => normal.extend([c, ' ']),
    });
    normal
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn strings(written: &str) -> Vec<String> {
        match Phrase::parse(written).unwrap().patterns() {
            Patterns::Strings(strings) => strings,
            Patterns::Regex(regex) => panic!("{written}: {regex}"),
        }
    }

    fn regex(written: &str) -> String {
        match Phrase::parse(written).unwrap().patterns() {
            Patterns::Regex(regex) => regex,
            Patterns::Strings(strings) => panic!("{written}: {strings:?}"),
        }
    }

    #[test]
    fn a_phrase_is_strings_of_the_normal_form() {
        assert_eq!(strings("Red-Hat"), [" red hat ", " red hats "]);
        assert_eq!(strings("hat*"), [" hat"]);
        assert_eq!(strings("*hat"), ["hat ", "hats "]);
        assert_eq!(strings("*hat*"), ["hat"]);
        assert_eq!(strings("*red hat*"), ["red hat"]);
        assert_eq!(strings("f/1.8"), [" f / 1 . 8 "]);
        assert_eq!(strings("hat, red*"), [" hat , red"]);
        assert_eq!(strings("*b. c")[0], "b . c ");
        assert_eq!(strings("J. C. Leyendecker")[0], " j c leyendecker ");
        assert_eq!(Phrase::literal("hat*").unwrap().patterns(), Patterns::Strings(vec![" hat * ".into()]));
    }

    #[test]
    fn words_are_joined_where_that_says_the_same() {
        let joined = |written: &str| Phrase::parse(written).unwrap().joined();
        assert_eq!(joined("Red-Hat"), [" redhat ", " redhats "]);
        assert_eq!(joined("v ray")[0], " vray ");
        assert_eq!(joined("J. R. R. Tolkien")[0], " jrrtolkien ");
        assert_eq!(joined("daz 3d"), [" daz3d ", " daz3ds "]);
        assert_eq!(joined("vitamin x"), [" vitaminx "]);
        assert_eq!(joined("*red hat"), ["redhat ", "redhats "]);
        assert_eq!(joined("red hat*"), [" redhat"]);
        for written in ["hat", "red* hat", "red *hat", "f/1.8", "red hat!", "16 9", "², ³", "3 2d"] {
            assert!(joined(written).is_empty(), "{written}");
        }
        assert!(Phrase::literal("red hat").unwrap().joined().is_empty());
    }

    #[test]
    fn a_star_further_inside_is_a_regex() {
        assert_eq!(regex("red* hat"), " red(?-u:[^ ])* (?:hat|hats) ");
        assert_eq!(regex("red *hat*"), " red (?-u:[^ ])*(?:hat)(?-u:[^ ])* ");
        assert_eq!(regex("*red* hat"), "red(?-u:[^ ])* (?:hat|hats) ");
    }

    #[test]
    fn the_normal_form_has_one_space_between_tokens() {
        assert_eq!(normal_form("Red-hats!"), " red hats ! ");
        assert_eq!(normal_form("  (f/1.8)  "), " ( f / 1 . 8 ) ");
        assert_eq!(normal_form(""), " ");
    }
}
