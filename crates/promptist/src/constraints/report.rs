//! What of a whole text is forbidden, and where: for answers that are done, and for error messages.

use std::collections::BTreeSet;
use std::ops::Range;

use regex_automata::util::primitives::StateID as RegexState;

use super::entry::Entry;
use super::fold::{Event, Place};
use super::phrases::Owner;
use super::regexes;
use super::rules::{Found, TextRules};

impl TextRules {
    /// The bans that stand in a text, in its order, each place once.
    pub fn bans_in(&self, text: &str) -> Vec<Found> {
        self.bans_after(text, 0)
    }

    /// The bans that stand in a text and end behind its first `kept` bytes.
    ///
    /// Empty if and only if [`TextRules::read_context`] of the first `kept` bytes, [`TextRules::advance`] by
    /// the rest and [`TextRules::may_end`] allow the text. A phrase is found at every place; a regex once,
    /// where a match first ends, and the range is from the first byte that such a match can begin at.
    pub fn bans_after(&self, text: &str, kept: usize) -> Vec<Found> {
        let mut found = Walk::through(self, text).phrases_after(kept);
        found.extend(self.regexes_after(text, kept));
        found.sort_by_key(|found| (found.range.start, found.range.end, found.entry));
        found
    }

    fn regexes_after(&self, text: &str, kept: usize) -> Vec<Found> {
        let mut ends: Vec<Option<usize>> = vec![None; self.entries().len()];
        for group in &self.text_groups {
            let mut matched = |state, end: usize| {
                if end > kept {
                    group.owners(state).for_each(|entry| _ = ends[entry].get_or_insert(end));
                }
            };
            let mut state = group.start();
            for (at, &byte) in text.as_bytes().iter().enumerate() {
                state = group.next(state, byte);
                matched(state, at);
            }
            matched(group.end(state), text.len());
        }
        let found = |(entry, end): (usize, Option<usize>)| {
            let Entry::Regex(regex) = &self.entries()[entry] else { return None };
            Some(Found { range: regexes::start_of_match(regex, &text[..end?])..end?, entry })
        };
        ends.into_iter().enumerate().filter_map(found).collect()
    }
}

/// A text's tokens and what ended at which.
struct Walk<'a> {
    rules: &'a TextRules,
    phrases: aho_corasick::automaton::StateID,
    word_tables: Vec<RegexState>,
    tokens: Vec<Token>,
    in_word: bool,
    /// Entry, first token, last token.
    hits: BTreeSet<(usize, usize, usize)>,
}

struct Token {
    range: Range<usize>,
    /// Where its last character begins.
    last: usize,
}

impl<'a> Walk<'a> {
    fn through(rules: &'a TextRules, text: &str) -> Self {
        let mut walk = Self {
            rules,
            phrases: rules.phrases.start(),
            word_tables: rules.word_groups.iter().map(|group| group.next(group.start(), b' ')).collect(),
            tokens: Vec::new(),
            in_word: false,
            hits: BTreeSet::new(),
        };
        let mut place = Place::default();
        for (at, c) in text.char_indices() {
            place.read(c, |event| walk.read(event, at..at + c.len_utf8()));
        }
        place.finish(|event| walk.read(event, text.len()..text.len()));
        walk
    }

    /// The hits whose last character begins behind the first `kept` bytes.
    fn phrases_after(&self, kept: usize) -> Vec<Found> {
        let behind = self.hits.iter().filter(|&&(_, _, last)| self.tokens[last].last >= kept);
        let range = |first: usize, last: usize| self.tokens[first].range.start..self.tokens[last].range.end;
        behind.map(|&(entry, first, last)| Found { range: range(first, last), entry }).collect()
    }

    fn read(&mut self, event: Event, at: Range<usize>) {
        match event {
            Event::Letter(c) => {
                self.write(at);
                self.in_word = true;
                self.step(c);
                self.collect();
            }
            Event::End => self.end_token(),
            Event::Mark(c) => {
                self.write(at);
                self.step(c);
                self.end_token();
            }
        }
    }

    fn write(&mut self, at: Range<usize>) {
        match self.tokens.last_mut() {
            Some(word) if self.in_word => (word.range.end, word.last) = (at.end, at.start),
            _ => self.tokens.push(Token { last: at.start, range: at }),
        }
    }

    fn step(&mut self, c: char) {
        for &byte in c.encode_utf8(&mut [0; 4]).as_bytes() {
            self.phrases = self.rules.phrases.next(self.phrases, byte);
            for (group, table) in self.rules.word_groups.iter().zip(&mut self.word_tables) {
                *table = group.next(*table, byte);
            }
        }
    }

    fn end_token(&mut self) {
        self.in_word = false;
        self.step(' ');
        self.collect();
        let last = self.tokens.len() - 1;
        for (group, &table) in self.rules.word_groups.iter().zip(&self.word_tables) {
            for entry in group.owners(group.end(table)) {
                self.hits.insert((entry, last + 1 - self.rules.word_tokens[entry], last));
            }
        }
    }

    fn collect(&mut self) {
        let last = self.tokens.len() - 1;
        for owner in self.rules.phrases.owners(self.phrases) {
            if let Owner::Ban { entry, tokens } = owner {
                self.hits.insert((entry as usize, last + 1 - tokens as usize, last));
            }
        }
    }
}
