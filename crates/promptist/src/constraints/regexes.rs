//! Regexes on a text that is still being written.
//!
//! The `regex` crate's syntax, with three differences: letters match in either case unless `(?-i)` says
//! otherwise; `\b` and the other edges of words know ASCII words only, as table-driven automata do; and a
//! regex that matches the empty text is refused, because every text holds it. There is no look-around and
//! there are no back-references.
//!
//! Regexes are compiled together into few tables ([`Group`]), each of a limited size. A state of a table is
//! all that is remembered of the text. Every end of every match is seen, however the matches overlap.

use regex_automata::dfa::dense;
use regex_automata::dfa::{Automaton, StartKind};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::{Capture, Hir, HirKind, Look, Repetition};

/// Largest table of one regex, in bytes, and most bytes that may be used to compute it. Regexes of everyday
/// size take thousands; `\w` and the like, in all the world's scripts, take hundreds of thousands.
const ALONE: Limits = Limits { table: 2 << 20, work: 8 << 20 };

/// The same for several in one table: one step instead of two is worth no more. Regexes with `.*` multiply
/// each other's states.
const TOGETHER: Limits = Limits { table: 512 << 10, work: 1 << 20 };

#[derive(Clone, Copy)]
struct Limits {
    table: usize,
    work: usize,
}

/// Regexes in one table.
#[derive(Debug)]
pub(super) struct Group {
    dfa: dense::DFA<Vec<u32>>,
    start: StateID,
    /// What each pattern of the table belongs to.
    owners: Vec<usize>,
}

/// Reads a regex; the reason if it cannot be used.
pub(super) fn parse(written: &str) -> Result<Hir, String> {
    let mut parser = regex_syntax::ParserBuilder::new().case_insensitive(true).build();
    let hir = parser.parse(written).map_err(|error| match error {
        regex_syntax::Error::Parse(error) => error.kind().to_string(),
        regex_syntax::Error::Translate(error) => error.kind().to_string(),
        error => error.to_string(),
    })?;
    match hir.properties().minimum_len() {
        Some(0) => Err("it matches the empty text, which every text holds".to_owned()),
        None => Err("it matches nothing".to_owned()),
        Some(_) => Ok(with_ascii_words(&hir)),
    }
}

/// Reads a regex on bytes of a normal form, which is folded already.
pub(super) fn parse_on_normal_form(regex: &str) -> Result<Hir, String> {
    let mut parser = regex_syntax::ParserBuilder::new().utf8(false).build();
    parser.parse(regex).map_err(|error| error.to_string())
}

/// Compiles regexes, each with its owner, into few groups.
///
/// # Errors
/// The owner of a regex that is too large on its own.
pub(super) fn compile(regexes: &[(Hir, usize)]) -> Result<Vec<Group>, usize> {
    match regexes {
        [] => Ok(Vec::new()),
        [(_, owner)] => Group::new(regexes, ALONE).map(|group| vec![group]).ok_or(*owner),
        _ => {
            let (first, second) = regexes.split_at(regexes.len() / 2);
            let mut groups = compile(first)?;
            groups.extend(compile(second)?);
            // Two that did not fit together do not fit with more.
            let fit = groups.len() == 2 && groups.iter().map(Group::memory).sum::<usize>() < TOGETHER.table;
            match fit.then(|| Group::new(regexes, TOGETHER)).flatten() {
                Some(group) => Ok(vec![group]),
                None => Ok(groups),
            }
        }
    }
}

/// The first byte that a match can begin at which ends with the text. Slow: it compiles the regex backwards.
pub(super) fn start_of_match(written: &str, text: &str) -> usize {
    let backwards = || {
        let hir = parse(written).ok()?;
        let thompson = thompson::Config::new().reverse(true).which_captures(WhichCaptures::None);
        let nfa = thompson::Compiler::new().configure(thompson).build_from_hir(&hir).ok()?;
        let config = dense::Config::new()
            .match_kind(MatchKind::All)
            .start_kind(StartKind::Anchored)
            .dfa_size_limit(Some(ALONE.work))
            .determinize_size_limit(Some(ALONE.work));
        let dfa = dense::Builder::new().configure(config).build_from_nfa(&nfa).ok()?;
        let found = dfa.try_search_rev(&Input::new(text).anchored(Anchored::Yes)).ok()??;
        Some(found.offset())
    };
    // Too large backwards, though not forwards: the last character then.
    backwards().unwrap_or_else(|| text.char_indices().next_back().map_or(0, |(at, _)| at))
}

impl Group {
    /// `None` beyond the limits.
    fn new(regexes: &[(Hir, usize)], limits: Limits) -> Option<Self> {
        let hirs: Vec<&Hir> = regexes.iter().map(|(hir, _)| hir).collect();
        let nfa = thompson::Compiler::new()
            .configure(
                thompson::Config::new()
                    .which_captures(WhichCaptures::None)
                    .nfa_size_limit(Some(limits.table)),
            )
            .build_many_from_hir(&hirs)
            .ok()?;
        let dfa = dense::Builder::new()
            .configure(
                dense::Config::new()
                    .match_kind(MatchKind::All)
                    .start_kind(StartKind::Unanchored)
                    .dfa_size_limit(Some(limits.table))
                    .determinize_size_limit(Some(limits.work)),
            )
            .build_from_nfa(&nfa)
            .ok()?;
        let start = dfa.start_state(&start::Config::new().anchored(Anchored::No)).ok()?;
        Some(Self { dfa, start, owners: regexes.iter().map(|&(_, owner)| owner).collect() })
    }

    /// The state at the start of a text.
    pub(super) fn start(&self) -> StateID {
        self.start
    }

    /// The state one byte on. Whether a match ended *before* that byte is [`Group::is_match`] of it.
    #[inline]
    pub(super) fn next(&self, state: StateID, byte: u8) -> StateID {
        self.dfa.next_state(state, byte)
    }

    /// The state at the end of the text: [`Group::is_match`] of it says whether a match ends there.
    #[inline]
    pub(super) fn end(&self, state: StateID) -> StateID {
        self.dfa.next_eoi_state(state)
    }

    /// Whether a match ended before the byte that led here.
    #[inline]
    pub(super) fn is_match(&self, state: StateID) -> bool {
        self.dfa.is_special_state(state) && self.dfa.is_match_state(state)
    }

    /// The owners of the regexes of which a match ended.
    pub(super) fn owners(&self, state: StateID) -> impl Iterator<Item = usize> {
        let matches = if self.is_match(state) { self.dfa.match_len(state) } else { 0 };
        (0..matches).map(move |at| self.owners[self.dfa.match_pattern(state, at).as_usize()])
    }

    /// Bytes of the table.
    pub(super) fn memory(&self) -> usize {
        self.dfa.memory_usage()
    }
}

/// The same regex with ASCII edges of words.
fn with_ascii_words(hir: &Hir) -> Hir {
    match hir.kind() {
        HirKind::Look(look) => Hir::look(match look {
            Look::WordUnicode => Look::WordAscii,
            Look::WordUnicodeNegate => Look::WordAsciiNegate,
            Look::WordStartUnicode => Look::WordStartAscii,
            Look::WordEndUnicode => Look::WordEndAscii,
            Look::WordStartHalfUnicode => Look::WordStartHalfAscii,
            Look::WordEndHalfUnicode => Look::WordEndHalfAscii,
            &other => other,
        }),
        HirKind::Repetition(repetition) => Hir::repetition(Repetition {
            sub: Box::new(with_ascii_words(&repetition.sub)),
            ..repetition.clone()
        }),
        HirKind::Capture(capture) => {
            Hir::capture(Capture { sub: Box::new(with_ascii_words(&capture.sub)), ..capture.clone() })
        }
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(with_ascii_words).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.iter().map(with_ascii_words).collect()),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) => hir.clone(),
    }
}
