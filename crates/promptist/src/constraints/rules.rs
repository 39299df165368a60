//! Bans and musts on a text, read as it is written.
//!
//! [`TextRules`] is compiled once; a [`TextState`] is where a text stands, one a hypothesis of a search.
//! [`TextRules::bans_in`] says of a whole text what stands in it and where. The rules know text and bytes,
//! not tokens and scores.

use std::ops::Range;

use super::entry::Entry;
use super::fold::{Event, Place};
use super::patterns::{Patterns, Phrase};
use super::phrases::{Owner, Phrases};
use super::regexes::{self, Group};
use super::state::{Partial, Tables, TextState};
use crate::{Error, Result};

/// Most phrases that an answer can be made to hold: one bit each.
pub const MAX_MUSTS: usize = 64;

/// What a text may not hold and what it must. Immutable; share it by `Arc`.
#[derive(Debug)]
pub struct TextRules {
    entries: Vec<Entry>,
    musts: Vec<String>,
    pub(super) phrases: Phrases,
    /// Regexes on the text.
    pub(super) text_groups: Vec<Group>,
    /// Phrases with a `*` inside, as regexes on the normal form.
    pub(super) word_groups: Vec<Group>,
    /// Tokens that a match of an entry spans, for those among the `word_groups`.
    pub(super) word_tokens: Vec<usize>,
    start: TextState,
}

/// A ban that stands in a text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Found {
    /// Bytes of the text, whole words for phrases.
    pub range: Range<usize>,
    /// Index of the entry.
    pub entry: usize,
}

/// Whose text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Its bans are excused.
    Context,
    Answer,
}

impl TextRules {
    /// Compiles bans and musts.
    ///
    /// # Errors
    /// [`Error::Config`] that names the entry: a phrase without words, a regex that cannot be read or is too
    /// large, more than [`MAX_MUSTS`] musts, a must in which a ban stands.
    pub fn compile(bans: &[Entry], musts: &[String]) -> Result<Self> {
        let sources = Sources::of(bans, musts)?;
        let ban = |entry: usize, reason: &str| Error::config("ban", format!("`{}`: {reason}", bans[entry]));
        let too_large =
            |entry| ban(entry, "too large an automaton; ask for less repetition or fewer classes");
        let phrases = Phrases::new(&sources.patterns)
            .ok_or_else(|| Error::config("ban", "too many phrases for one automaton"))?;
        let text_groups = regexes::compile(&sources.text_regexes).map_err(too_large)?;
        let word_groups = regexes::compile(&sources.word_regexes).map_err(too_large)?;
        // The edge of the text is the edge of a word.
        let word_starts = word_groups.iter().map(|group| group.next(group.start(), b' '));
        let start = TextState {
            phrases: phrases.start(),
            tables: Tables::new(text_groups.iter().map(Group::start).chain(word_starts)),
            met: 0,
            partial: Partial::default(),
            place: Place::default(),
            excused_start: false,
            wrote_token: true,
            wrote_text: true,
        };
        let rules = Self {
            entries: bans.to_vec(),
            musts: musts.to_vec(),
            phrases,
            text_groups,
            word_groups,
            word_tokens: sources.word_tokens,
            start,
        };
        rules.check_musts()?;
        Ok(rules)
    }

    /// The bans, in the order given.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The musts, in the order given.
    pub fn musts(&self) -> &[String] {
        &self.musts
    }

    /// Bytes that the automata take.
    pub fn memory(&self) -> usize {
        let groups = self.text_groups.iter().chain(&self.word_groups);
        self.phrases.memory() + groups.map(Group::memory).sum::<usize>()
    }

    /// The state before the first byte.
    pub fn start(&self) -> TextState {
        self.start.clone()
    }

    /// Reads text that was there before: the user's own words and what parts them from the answer.
    ///
    /// Bans that stand complete in it are excused, its end counting as the end of a word, and musts that
    /// stand in it are met. What it begins can be completed by what follows, and then counts: after the
    /// context "a red", "hat" completes `red hat`; after "a hat", "s" makes a new word.
    pub fn read_context(&self, state: &TextState, text: &str) -> TextState {
        let mut state = state.clone();
        self.read(&mut state, text.as_bytes(), Source::Context);
        (state.wrote_token, state.wrote_text) = (false, false);
        state
    }

    /// Reads the bytes of a token, which may end inside a character.
    ///
    /// `None` if a ban stands complete in what is known by then. The end of a word or of a regex's match is
    /// known with the character behind it, so that the last word of a text is [`TextRules::may_end`]'s.
    #[inline]
    pub fn advance(&self, state: &TextState, bytes: &[u8]) -> Option<TextState> {
        let mut state = state.clone();
        self.read(&mut state, bytes, Source::Answer).then_some(state)
    }

    /// Whether the text may end here: no ban stands complete if it does.
    pub fn may_end(&self, state: &TextState) -> bool {
        self.finish(&mut state.clone())
    }

    /// The musts that stand in the text if it ends here: bit `i` is must `i`.
    pub fn met(&self, state: &TextState) -> u64 {
        let mut state = state.clone();
        self.finish(&mut state);
        state.met
    }

    /// The musts that stand in the text whatever follows.
    pub fn met_so_far(&self, state: &TextState) -> u64 {
        state.met
    }

    /// The musts that stand in a whole text.
    pub fn met_in(&self, text: &str) -> u64 {
        self.met(&self.read_context(&self.start, text))
    }

    /// All musts.
    pub fn all_met(&self) -> u64 {
        u64::MAX.checked_shr(64 - self.musts.len() as u32).unwrap_or(0)
    }

    /// A must in which a ban stands, whatever is around it, cannot be met.
    fn check_musts(&self) -> Result<()> {
        for must in &self.musts {
            let banned_between = |before: &str, after: &str| -> Vec<usize> {
                let end = before.len() + must.len();
                let found = self.bans_after(&format!("{before}{must}{after}"), before.len());
                found.into_iter().filter(|found| found.range.end <= end).map(|found| found.entry).collect()
            };
            let (after_a_comma, after_a_word) = (banned_between("x, ", ", x"), banned_between("x ", " x"));
            let is_certain = |entry: &usize| after_a_comma.contains(entry) && after_a_word.contains(entry);
            if let Some(entry) = banned_between("", "").into_iter().find(is_certain) {
                let reason =
                    format!("impossible: `{must}` holds what the ban `{}` forbids", self.entries[entry]);
                return Err(Error::config("must_include", reason));
            }
        }
        Ok(())
    }

    /// Reads bytes; false if a ban of the answer's stands in them.
    #[inline]
    fn read(&self, state: &mut TextState, bytes: &[u8], source: Source) -> bool {
        for &byte in bytes {
            let mut allowed = true;
            if byte.is_ascii() && state.partial.is_empty() {
                allowed = self.read_char(state, byte as char, source);
            } else {
                let mut partial = state.partial;
                partial.read(byte, |c| allowed &= self.read_char(state, c, source));
                state.partial = partial;
            }
            if !allowed {
                return false;
            }
        }
        true
    }

    #[inline]
    fn read_char(&self, state: &mut TextState, c: char, source: Source) -> bool {
        let mut allowed = true;
        if !self.text_groups.is_empty() {
            allowed = self.read_text(state, c, source);
        }
        let mut place = state.place;
        place.read(c, |event| allowed &= self.read_event(state, event, source));
        state.place = place;
        allowed
    }

    /// Feeds a character to the regexes on the text.
    fn read_text(&self, state: &mut TextState, c: char, source: Source) -> bool {
        let mut allowed = true;
        for &byte in c.encode_utf8(&mut [0; 4]).as_bytes() {
            for (at, group) in self.text_groups.iter().enumerate() {
                let table = state.tables.get_mut(at);
                *table = group.next(*table, byte);
                // The match ended before this byte: the context's, if this is the first one behind it.
                allowed &= source == Source::Context || !state.wrote_text || !group.is_match(*table);
            }
            state.wrote_text = true;
        }
        allowed
    }

    #[inline]
    fn read_event(&self, state: &mut TextState, event: Event, source: Source) -> bool {
        match event {
            Event::Letter(c) => {
                let mut allowed = source == Source::Context || !state.excused_start;
                state.wrote_token = true;
                self.step(state, c);
                if self.phrases.is_match(state.phrases) {
                    // Musts end with a space: this is a `hat*`.
                    match source {
                        Source::Answer => allowed = false,
                        Source::Context => state.excused_start = true,
                    }
                }
                allowed
            }
            Event::End => {
                state.excused_start = false;
                self.end_token(state, source)
            }
            Event::Mark(c) => {
                state.wrote_token = true;
                self.step(state, c);
                self.end_token(state, source)
            }
        }
    }

    #[inline]
    fn step(&self, state: &mut TextState, c: char) {
        for &byte in c.encode_utf8(&mut [0; 4]).as_bytes() {
            state.phrases = self.phrases.next(state.phrases, byte);
            for (at, group) in self.word_groups.iter().enumerate() {
                let table = state.tables.get_mut(self.text_groups.len() + at);
                *table = group.next(*table, byte);
            }
        }
    }

    #[inline]
    fn end_token(&self, state: &mut TextState, source: Source) -> bool {
        self.step(state, ' ');
        let mut banned = false;
        if self.phrases.is_match(state.phrases) {
            for owner in self.phrases.owners(state.phrases) {
                match owner {
                    Owner::Ban { .. } => banned = true,
                    Owner::Must(must) => state.met |= 1 << must,
                }
            }
        }
        for (at, group) in self.word_groups.iter().enumerate() {
            let table = state.tables.get(self.text_groups.len() + at);
            banned |= group.is_match(group.end(table));
        }
        !(banned && source == Source::Answer && state.wrote_token)
    }

    /// Ends the text; false if a ban stands at its end.
    fn finish(&self, state: &mut TextState) -> bool {
        let mut allowed = true;
        let mut partial = state.partial;
        partial.finish(|c| allowed &= self.read_char(state, c, Source::Answer));
        state.partial = partial;
        for (at, group) in self.text_groups.iter().enumerate() {
            allowed &= !state.wrote_text || !group.is_match(group.end(state.tables.get(at)));
        }
        let mut place = state.place;
        place.finish(|event| allowed &= self.read_event(state, event, Source::Answer));
        state.place = place;
        allowed
    }
}

/// What the automata are compiled from.
#[derive(Default)]
struct Sources {
    patterns: Vec<(String, Owner)>,
    text_regexes: Vec<(regex_syntax::hir::Hir, usize)>,
    word_regexes: Vec<(regex_syntax::hir::Hir, usize)>,
    word_tokens: Vec<usize>,
}

impl Sources {
    fn of(bans: &[Entry], musts: &[String]) -> Result<Self> {
        let mut sources = Self { word_tokens: vec![0; bans.len()], ..Self::default() };
        for (entry_idx, entry) in bans.iter().enumerate() {
            sources
                .add(entry, entry_idx)
                .map_err(|reason| Error::config("ban", format!("`{entry}`: {reason}")))?;
        }
        if musts.len() > MAX_MUSTS {
            let reason = format!("{} phrases; at most {MAX_MUSTS} can be asked for", musts.len());
            return Err(Error::config("must_include", reason));
        }
        for (must_idx, must) in musts.iter().enumerate() {
            let phrase = Phrase::literal(must)
                .map_err(|reason| Error::config("must_include", format!("`{must}`: {reason}")))?;
            sources
                .add_phrase(&phrase, Owner::Must(must_idx as u32))
                .map_err(|reason| Error::config("must_include", reason))?;
        }
        Ok(sources)
    }

    fn add(&mut self, entry: &Entry, entry_idx: usize) -> Result<(), String> {
        let owner = |phrase: &Phrase| Owner::Ban { entry: entry_idx as u32, tokens: phrase.len() as u32 };
        match entry {
            Entry::Phrase(written) => {
                let phrase = Phrase::parse(written)?;
                self.add_phrase(&phrase, owner(&phrase))
            }
            Entry::Exact(written) => {
                let phrase = Phrase::literal(written)?;
                self.add_phrase(&phrase, owner(&phrase))
            }
            Entry::Category(category) => category.entries().iter().try_for_each(|line| {
                let phrase = Phrase::parse(line)?;
                self.add_phrase(&phrase, owner(&phrase))
            }),
            Entry::Regex(written) => {
                self.text_regexes.push((regexes::parse(written)?, entry_idx));
                Ok(())
            }
        }
    }

    fn add_phrase(&mut self, phrase: &Phrase, owner: Owner) -> Result<(), String> {
        if let Owner::Ban { entry, .. } = owner {
            let owner = Owner::Ban { entry, tokens: 1 };
            self.patterns.extend(phrase.joined().into_iter().map(|string| (string, owner)));
        }
        match (phrase.patterns(), owner) {
            (Patterns::Strings(strings), _) => {
                self.patterns.extend(strings.into_iter().map(|string| (string, owner)));
            }
            (Patterns::Regex(regex), Owner::Ban { entry, tokens }) => {
                self.word_regexes.push((regexes::parse_on_normal_form(&regex)?, entry as usize));
                self.word_tokens[entry as usize] = tokens as usize;
            }
            (Patterns::Regex(_), Owner::Must(_)) => unreachable!("a must is literal"),
        }
        Ok(())
    }
}
