//! What the rules see of a text: words and marks, in one spelling.
//!
//! A character is *folded* (compatibility decomposition, accents and invisible characters dropped, lower
//! case, letters that Unicode does not take apart spelled plainly) and is then one of three:
//!
//! - a **letter** of a word: any letter or digit;
//! - a **joint** between words: white space, hyphens and dashes, underscores, apostrophes, and the full stop
//!   behind an initial ("j. c. leyendecker");
//! - a **mark**: everything else, a token of its own. Words with a mark between them do not stand in a row.
//!
//! Nothing between two words makes them another word here. That a ban on `red hat` covers "redhat" too is a
//! matter of what is looked for ([`super::patterns`]), not of what is seen.
//!
//! Folding looks at one character at a time, so that a text can be read as it is written.
//! [`super::phrases`] matches on what comes out.

use unicode_normalization::char::{decompose_compatible, is_combining_mark};

/// What reading a character brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The next letter of a word, which begins if none was under way.
    Letter(char),
    /// The word under way is complete.
    End,
    /// A token of its own. No word is under way.
    Mark(char),
}

/// Where in a text a reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Place {
    /// Between words.
    #[default]
    Between,
    /// Behind the one letter of a word: a full stop would make it an initial.
    Initial,
    /// In a word.
    Word,
}

impl Place {
    /// Reads the next character of the text.
    #[inline]
    pub(super) fn read(&mut self, c: char, mut on: impl FnMut(Event)) {
        if c.is_ascii_lowercase() {
            *self = if *self == Self::Between { Self::Initial } else { Self::Word };
            on(Event::Letter(c));
        } else if c.is_ascii() {
            self.read_folded(c.to_ascii_lowercase(), &mut on);
        } else {
            fold(c, |folded| self.read_folded(folded, &mut on));
        }
    }

    /// The end of the text is the end of a word.
    #[inline]
    pub(super) fn finish(&mut self, mut on: impl FnMut(Event)) {
        if *self != Self::Between {
            *self = Self::Between;
            on(Event::End);
        }
    }

    #[inline]
    fn read_folded(&mut self, c: char, on: &mut impl FnMut(Event)) {
        if c.is_alphanumeric() {
            let is_first = *self == Self::Between;
            *self = if is_first && c.is_alphabetic() { Self::Initial } else { Self::Word };
            return on(Event::Letter(c));
        }
        let is_joint = is_joint(c) || (c == '.' && *self == Self::Initial);
        self.finish(&mut *on);
        if !is_joint {
            on(Event::Mark(c));
        }
    }
}

/// A whole text: its events in order, the end included.
#[cfg(test)]
pub(super) fn read(text: &str, mut on: impl FnMut(Event)) {
    let mut place = Place::default();
    text.chars().for_each(|c| place.read(c, &mut on));
    place.finish(on);
}

/// The characters that stand for `c`; none for what is dropped.
fn fold(c: char, mut each: impl FnMut(char)) {
    match c {
        '‘' | '’' | '‚' | '‛' | 'ʼ' | '′' | '´' => return each('\''),
        // Decomposed they would be letters at the end of the word before them.
        '™' | '℠' => return each(c),
        _ => {}
    }
    decompose_compatible(c, |c| {
        if is_combining_mark(c) || is_invisible(c) {
            return;
        }
        for c in c.to_lowercase() {
            match plain(c) {
                Some(letters) => letters.chars().for_each(&mut each),
                None => each(c),
            }
        }
    });
}

fn is_joint(c: char) -> bool {
    c.is_whitespace() || matches!(c, '-' | '_' | '\'' | '`' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

/// Soft hyphen, zero-width spaces and joiners, directions, fillers, the byte order mark.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{115f}'..='\u{1160}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2064}'
            | '\u{2066}'..='\u{206f}'
            | '\u{feff}'
            | '\u{e0001}'
            | '\u{e0020}'..='\u{e007f}'
    )
}

/// Letters with a stroke and joined letters, which no decomposition takes apart.
fn plain(c: char) -> Option<&'static str> {
    Some(match c {
        'æ' => "ae",
        'đ' => "d",
        'ħ' => "h",
        'ı' => "i",
        'ł' => "l",
        'ø' => "o",
        'œ' => "oe",
        'ß' => "ss",
        'ŧ' => "t",
        'ς' => "σ",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens with a space between them.
    fn tokens(text: &str) -> String {
        let mut tokens = String::new();
        read(text, |event| match event {
            Event::Letter(c) => tokens.push(c),
            Event::End => tokens.push(' '),
            Event::Mark(c) => tokens.extend([c, ' ']),
        });
        tokens.trim_end().to_owned()
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(tokens(text), expected, "{text}");
    }

    #[test]
    fn one_spelling_for_case_accents_and_width() {
        check("RED Hat", "red hat");
        check("Zdzisław Beksiński, Dürer", "zdzislaw beksinski , durer");
        check("cafe\u{301} ＣＡＦÉ", "cafe cafe");
        check("Œuvre ﬁn İstanbul ΟΔΟΣ Straße", "oeuvre fin istanbul οδοσ strasse");
        check("h\u{200b}a\u{ad}t\u{fe0f}", "hat");
    }

    #[test]
    fn joints_part_words_and_leave_no_trace() {
        check("red-hat red_hat red – hat \t red'hat red’s", "red hat red hat red hat red hat red s");
        check("J.R.R. Tolkien", "j r r tolkien");
        check("a hat. b", "a hat . b");
        check("f/1.8", "f / 1 . 8");
    }

    #[test]
    fn a_mark_is_a_token() {
        check("d&d, (red)", "d & d , ( red )");
        check("c++", "c + +");
        check("hat™", "hat ™");
        check("", "");
    }
}
