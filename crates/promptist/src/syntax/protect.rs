//! The user's own regexes: what they find is kept like any other syntax.

use std::ops::Range;

use regex::Regex;

use crate::error::{Error, Result};

/// Regexes whose matches are kept byte for byte and out of the model's sight. The default has none.
#[derive(Debug, Clone, Default)]
pub struct Protect {
    regexes: Vec<Regex>,
}

impl Protect {
    /// Compiles the patterns, in the syntax of the crate `regex`.
    ///
    /// # Errors
    /// [`Error::Config`] with the pattern that is none, or is too large.
    pub fn new(patterns: &[String]) -> Result<Self> {
        let compile = |pattern: &String| {
            Regex::new(pattern).map_err(|error| Error::config("protect", format!("`{pattern}`: {error}")))
        };
        Ok(Self { regexes: patterns.iter().map(compile).collect::<Result<_>>()? })
    }

    /// Every match that is not empty, in order; those that overlap are one.
    pub(super) fn find(&self, text: &str) -> Vec<Range<usize>> {
        let matches = self.regexes.iter().flat_map(|regex| regex.find_iter(text).map(|found| found.range()));
        unite(matches.filter(|range| !range.is_empty()).collect())
    }
}

/// The ranges in order, those that overlap united. Ranges that only touch stay two.
pub(super) fn unite(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut united: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match united.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => united.push(range),
        }
    }
    united
}
