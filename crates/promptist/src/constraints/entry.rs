//! One line of what a user forbids, as it is written.
//!
//! | written | bans |
//! |---|---|
//! | `red hat` | these words in a row or written together, and the plurals of the last |
//! | `"red hat"` | these words in a row, as they are; `*` is a character like others |
//! | `hat*`, `*hat`, `*hat*` | words that begin with, end in, hold these letters |
//! | `@artists` | every line of a list, see [`super::categories`] |
//! | `/hats? off/` | what the regex matches, see [`super::regexes`] |
//!
//! What "these words in a row" means is in [`super::fold`]. Written together they are one whole word:
//! `red hat` bans "redhat" and "redhats", not "redhatter". This is so for every phrase of several words, the
//! lines of a list and `red hat*` included, but not for one in quotes, one with a mark ("f/1.8"), one with a
//! `*` between its words (`red* hat`), nor where digits would meet ("16 9" is not "169"). A short phrase can
//! be another word when written together ("a head"): put it in quotes to ban the words apart only.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::categories::Category;
use super::patterns::Phrase;
use super::regexes;
use crate::{Error, Result};

/// One thing that an answer may not hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Entry {
    /// Words in a row, inflected or with `*`.
    Phrase(String),
    /// Words in a row and nothing else; written in quotes.
    Exact(String),
    /// A list of phrases; written with `@`.
    Category(Category),
    /// A regex; written between slashes.
    Regex(String),
}

impl Entry {
    /// Reads one entry.
    ///
    /// # Errors
    /// [`Error::Config`] that names the entry: nothing to match, a `*` that is not at the edge of a word,
    /// an unknown category, a regex that cannot be read.
    pub fn parse(written: &str) -> Result<Self> {
        let entry = match written.trim() {
            category if category.starts_with('@') => match Category::from_name(&category[1..]) {
                Some(category) => Self::Category(category),
                None => {
                    let known: Vec<String> =
                        Category::ALL.iter().map(|category| format!("@{category}")).collect();
                    return Err(wrong(
                        written,
                        format!(
                            "no such category; put it in quotes to ban the word; known: {}",
                            known.join(", ")
                        ),
                    ));
                }
            },
            regex if regex.starts_with('/') => match regex.strip_suffix('/') {
                Some(regex) if regex.len() > 1 => Self::Regex(regex[1..].to_owned()),
                _ => {
                    let reason = "a regex ends with `/`; put a phrase that begins with `/` in quotes";
                    return Err(wrong(written, reason));
                }
            },
            quoted if quoted.starts_with('"') && quoted.ends_with('"') && quoted.len() > 1 => {
                Self::Exact(quoted[1..quoted.len() - 1].to_owned())
            }
            phrase => Self::Phrase(phrase.to_owned()),
        };
        entry.check().map_err(|reason| wrong(written, reason))?;
        Ok(entry)
    }

    /// Reads a file of entries, one a line; blank lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// [`Error::Line`] with the line's number. `path` is only named.
    pub fn parse_lines(text: &str, path: &Path) -> Result<Vec<Self>> {
        text.trim_start_matches('\u{feff}')
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
            .map(|(line_idx, line)| {
                Self::parse(line).map_err(|error| match error {
                    Error::Config { reason, .. } => Error::line(path, line_idx + 1, reason),
                    error => error,
                })
            })
            .collect()
    }

    /// Whether the entry can be matched at all; the reason if not.
    fn check(&self) -> Result<(), String> {
        match self {
            Self::Phrase(phrase) => Phrase::parse(phrase).map(|_| ()),
            Self::Exact(phrase) => Phrase::literal(phrase).map(|_| ()),
            Self::Category(_) => Ok(()),
            Self::Regex(regex) => regexes::parse(regex).map(|_| ()),
        }
    }
}

fn wrong(written: &str, reason: impl fmt::Display) -> Error {
    Error::config("ban", format!("`{}`: {reason}", written.trim()))
}

/// As it is written: what [`Entry::parse`] reads back.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Phrase(phrase) => f.write_str(phrase),
            Self::Exact(phrase) => write!(f, "\"{phrase}\""),
            Self::Category(category) => write!(f, "@{category}"),
            Self::Regex(regex) => write!(f, "/{regex}/"),
        }
    }
}

impl FromStr for Entry {
    type Err = Error;

    fn from_str(written: &str) -> Result<Self> {
        Self::parse(written)
    }
}

impl TryFrom<String> for Entry {
    type Error = Error;

    fn try_from(written: String) -> Result<Self> {
        Self::parse(&written)
    }
}

impl From<Entry> for String {
    fn from(entry: Entry) -> Self {
        entry.to_string()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_printed_as_written() {
        for (written, entry) in [
            ("red hat", Entry::Phrase("red hat".into())),
            ("hat*", Entry::Phrase("hat*".into())),
            ("\"red hat\"", Entry::Exact("red hat".into())),
            ("\"/imagine\"", Entry::Exact("/imagine".into())),
            ("@artists", Entry::Category(Category::Artists)),
            ("@quality-words", Entry::Category(Category::QualityWords)),
            ("/hats? off/", Entry::Regex("hats? off".into())),
            ("/a/b/", Entry::Regex("a/b".into())),
            ("f/1.8", Entry::Phrase("f/1.8".into())),
        ] {
            assert_eq!(Entry::parse(written).unwrap(), entry);
            assert_eq!(entry.to_string(), written);
            let json = serde_json::to_string(&entry).unwrap();
            assert_eq!(serde_json::from_str::<Entry>(&json).unwrap(), entry);
        }
        assert_eq!(Entry::parse("  Red Hat ").unwrap().to_string(), "Red Hat");
    }

    #[test]
    fn what_cannot_be_matched_is_named() {
        for (written, part) in [
            ("", "nothing to match"),
            ("\"\"", "nothing to match"),
            ("\u{301}", "nothing to match"),
            ("*", "alone"),
            ("red * hat", "alone"),
            ("h*t", "inside a word"),
            ("hat**", "alone"),
            ("@painters", "@artists, @people"),
            ("/hat", "ends with `/`"),
            ("/", "ends with `/`"),
            ("//", "ends with `/`"),
            ("/hat(/", "unclosed group"),
            ("/(?=hat)/", "look-around"),
            (r"/(a)\1/", "backreferences"),
            ("/(hat)?/", "empty text"),
        ] {
            let error = Entry::parse(written).unwrap_err().to_string();
            assert!(error.contains(part), "{written}: {error}");
            assert!(error.contains(&format!("`{written}`")), "{written}: {error}");
        }
    }

    #[test]
    fn a_file_has_comments_and_numbered_lines() {
        let entries =
            Entry::parse_lines("\u{feff}# no hats\nhat\n\n  @people \r\n", Path::new("bans")).unwrap();
        assert_eq!(entries, [Entry::Phrase("hat".into()), Entry::Category(Category::People)]);
        let error = Entry::parse_lines("hat\n@hats", Path::new("bans")).unwrap_err().to_string();
        assert!(error.starts_with("bans:2: "), "{error}");
    }
}
