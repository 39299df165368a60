//! Artists' names of a file, to be found in texts; the embedded list is [`crate::data::artists`]'s.

use std::collections::HashSet;
use std::path::Path;

use crate::data::artists::names_by;
use crate::data::lexicon::{Word, longest_term, words};
use crate::data::lines;
use crate::error::Result;

/// Names, one a line of a file.
#[derive(Debug, Clone, Default)]
pub struct ArtistNames {
    /// Words folded, a space between them.
    names: HashSet<String>,
    longest: usize,
}

impl ArtistNames {
    /// Reads a file with a name a line.
    ///
    /// # Errors
    /// As [`lines::read`].
    pub fn read(path: &Path) -> Result<Self> {
        Ok(Self::new(lines::read(path)?.iter().map(String::as_str)))
    }

    /// The names of `lines`; empty ones are left out.
    pub fn new<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut found = Self::default();
        for line in lines {
            let words = words(line);
            if !words.is_empty() {
                found.longest = found.longest.max(words.len());
                found.names.insert(joined(&words));
            }
        }
        found
    }

    /// The names in `text`, in order, folded.
    ///
    /// Names of several words count wherever they stand; a name of one word ("mucha", "constant")
    /// only where a credit stands (after "by", or as a whole phrase) and if it is no style of the
    /// modifier lists ("bauhaus").
    pub fn named(&self, text: &str) -> Vec<String> {
        names_by(text, usize::MAX, |words| {
            let taken = (1..=self.longest.min(words.len()))
                .rev()
                .find(|&taken| self.names.contains(&joined(&words[..taken])))?;
            let is_style = taken == 1 && longest_term(&words[..1]).is_some();
            (!is_style).then_some(taken)
        })
    }
}

fn joined(words: &[Word]) -> String {
    let folded: Vec<&str> = words.iter().map(|word| word.folded.as_str()).collect();
    folded.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_where_a_name_can_stand() {
        let names = ArtistNames::new(["A.B. Frost", "Brassaï", "Constant", "Bauhaus", ""].into_iter());
        for (text, expected) in [
            ("8k, a. b. frost", vec!["a b frost"]),
            ("frost on a window", vec![]),
            ("photo by brassai, 8k", vec!["brassai"]),
            ("a constant flow, sharp", vec![]),
            ("sharp, constant, 8k", vec!["constant"]),
            ("sharp, bauhaus, 8k", vec![]),
        ] {
            assert_eq!(names.named(text), expected, "{text}");
        }
    }
}
