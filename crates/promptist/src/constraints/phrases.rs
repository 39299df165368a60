//! All phrases of a set of rules in one automaton over the normal form of a text.
//!
//! Aho-Corasick finds every pattern in one step a byte, however many there are. What the patterns are is in
//! [`super::patterns`], how a text becomes bytes here in [`super::fold`].

use aho_corasick::Anchored;
use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::dfa::DFA;
use aho_corasick::nfa::contiguous::NFA;

/// What a pattern stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The ban entry of this index; a match spans so many tokens.
    Ban { entry: u32, tokens: u32 },
    /// The must of this index.
    Must(u32),
}

/// Most bytes of patterns for which there is a row of a table for every state. Beyond, failed steps are
/// followed link by link: half the speed and a tenth of the memory.
const TABLE_LIMIT: usize = 16 << 10;

/// The automaton.
#[derive(Debug)]
pub(super) struct Phrases {
    machine: Machine,
    owners: Vec<Owner>,
    start: StateID,
}

#[derive(Debug)]
enum Machine {
    Table(DFA),
    Links(NFA),
}

impl Phrases {
    /// Compiles patterns with their owners; `None` if there are too many for the automaton.
    pub(super) fn new(patterns: &[(String, Owner)]) -> Option<Self> {
        let bytes: usize = patterns.iter().map(|(pattern, _)| pattern.len()).sum();
        let strings = patterns.iter().map(|(pattern, _)| pattern);
        let machine = if bytes <= TABLE_LIMIT {
            Machine::Table(DFA::builder().prefilter(false).build(strings).ok()?)
        } else {
            Machine::Links(NFA::builder().prefilter(false).build(strings).ok()?)
        };
        let start = match &machine {
            Machine::Table(machine) => machine.start_state(Anchored::No),
            Machine::Links(machine) => machine.start_state(Anchored::No),
        };
        let owners = patterns.iter().map(|&(_, owner)| owner).collect();
        let mut phrases = Self { machine, owners, start: start.ok()? };
        // The edge of the text is the edge of a word.
        phrases.start = phrases.next(phrases.start, b' ');
        Some(phrases)
    }

    /// The state at the start of a text.
    pub(super) fn start(&self) -> StateID {
        self.start
    }

    /// The state one byte of the normal form on.
    #[inline]
    pub(super) fn next(&self, state: StateID, byte: u8) -> StateID {
        match &self.machine {
            Machine::Table(machine) => machine.next_state(Anchored::No, state, byte),
            Machine::Links(machine) => machine.next_state(Anchored::No, state, byte),
        }
    }

    /// Whether a pattern ends here.
    #[inline]
    pub(super) fn is_match(&self, state: StateID) -> bool {
        match &self.machine {
            Machine::Table(machine) => machine.is_special(state) && machine.is_match(state),
            Machine::Links(machine) => machine.is_special(state) && machine.is_match(state),
        }
    }

    /// The owners of the patterns that end here.
    pub(super) fn owners(&self, state: StateID) -> impl Iterator<Item = Owner> {
        let matches = match &self.machine {
            _ if !self.is_match(state) => 0,
            Machine::Table(machine) => machine.match_len(state),
            Machine::Links(machine) => machine.match_len(state),
        };
        (0..matches).map(move |at| {
            let pattern = match &self.machine {
                Machine::Table(machine) => machine.match_pattern(state, at),
                Machine::Links(machine) => machine.match_pattern(state, at),
            };
            self.owners[pattern.as_usize()]
        })
    }

    /// Bytes of the automaton.
    pub(super) fn memory(&self) -> usize {
        match &self.machine {
            Machine::Table(machine) => machine.memory_usage(),
            Machine::Links(machine) => machine.memory_usage(),
        }
    }
}
