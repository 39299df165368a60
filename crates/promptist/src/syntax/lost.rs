//! The check after the answer is made: does every protected piece stand in it?

use std::collections::HashMap;
use std::ops::Range;

use super::Syntax;
use super::lexer::{next_char, prev_char};

impl<'a> Syntax<'a> {
    /// The protected pieces that do not stand in `answer` byte for byte, in the order of the prompt, each as often as
    /// it is missing. Their order in the answer is free.
    ///
    /// A piece that ended a word in the prompt must end one in the answer: `3` does not stand in `35mm`. No two
    /// pieces may stand in the same place.
    ///
    /// Linear where nothing is lost and the order is kept; otherwise the answer is searched once for each piece that
    /// differs from the others.
    pub fn lost_in(&self, answer: &str) -> Vec<&'a str> {
        let pieces: Vec<Piece<'a>> =
            self.protected.iter().map(|range| Piece::new(self.source, range)).collect();
        if stand_in_order(&pieces, answer) {
            return Vec::new();
        }
        // The longest first, so that the 3 of another piece is not taken for a 3 that is lost.
        let mut order: Vec<usize> = (0..pieces.len()).collect();
        order.sort_by_key(|idx| std::cmp::Reverse(pieces[*idx].text.len()));
        let mut taken = vec![false; answer.len()];
        let mut searched: HashMap<&Piece<'_>, usize> = HashMap::new();
        let mut lost = Vec::new();
        for idx in order {
            let piece = &pieces[idx];
            let from = searched.entry(piece).or_default();
            let mut found = piece.find(answer, *from);
            while let Some(at) = found.clone().filter(|at| taken[at.clone()].contains(&true)) {
                found = piece.find(answer, next(answer, at.start));
            }
            *from = found.as_ref().map_or(answer.len(), |at| at.end);
            match found {
                Some(at) => taken[at].fill(true),
                None => lost.push(idx),
            }
        }
        lost.sort_unstable();
        lost.into_iter().map(|idx| pieces[idx].text).collect()
    }
}

fn stand_in_order(pieces: &[Piece<'_>], answer: &str) -> bool {
    let mut from = 0;
    pieces.iter().all(|piece| match piece.find(answer, from) {
        Some(at) => {
            from = at.end;
            true
        }
        None => false,
    })
}

/// The byte of the next character.
fn next(text: &str, at: usize) -> usize {
    at + next_char(text, at).map_or(1, char::len_utf8)
}

#[derive(PartialEq, Eq, Hash)]
struct Piece<'a> {
    text: &'a str,
    begins_word: bool,
    ends_word: bool,
}

impl<'a> Piece<'a> {
    fn new(source: &'a str, range: &Range<usize>) -> Self {
        Self {
            text: &source[range.clone()],
            begins_word: is_edge(source, range.start),
            ends_word: is_edge(source, range.end),
        }
    }

    fn find(&self, answer: &str, from: usize) -> Option<Range<usize>> {
        let mut from = from;
        while let Some(at) = answer.get(from..)?.find(self.text).map(|at| from + at) {
            let end = at + self.text.len();
            if (!self.begins_word || is_edge(answer, at)) && (!self.ends_word || is_edge(answer, end)) {
                return Some(at..end);
            }
            from = next(answer, at);
        }
        None
    }
}

/// Whether `at` does not lie inside a word.
fn is_edge(text: &str, at: usize) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    !(is_word(prev_char(text, at)) && is_word(next_char(text, at)))
}
