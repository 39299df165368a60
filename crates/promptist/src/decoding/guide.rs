//! What may be said and what must be: rules that follow a hypothesis token by token.
//!
//! A search knows tokens by number. Whoever knows what they spell (banned phrases, phrases that must
//! come, a budget in another model's tokens) gives it a [`Guide`], and the search takes three things
//! from it: which tokens may come at all, which lead to what must come, and where an answer may stop.
//!
//! Phrases that must come are met in every search. Beam search shares its beams out among *banks*,
//! one for each number of phrases met, so that hypotheses that have paid for an unlikely phrase do not
//! lose to those that still have it before them. Where there are fewer beams than banks (greedy search,
//! sampling, small groups) the end of the answer is put off instead: a hypothesis that would end writes
//! the next phrase. In both, a guide lets nothing else come once there is only just room left.
//!
//! An answer that runs out of room ends with its last whole phrase.
//!
//! Source of the banks: fast lexically constrained decoding (Post and Vilar, 2018); there a bank for
//! each token that is met, here for each phrase, because a phrase that is begun is finished.

use std::fmt;
use std::sync::Arc;

use super::candidates::Candidate;

/// The rules as they stand after some tokens of an answer. Immutable: every hypothesis has its own.
pub trait Guide: fmt::Debug + Send + Sync {
    /// Whether a token may come next. Asked of a few hundred tokens of a row, from several threads; of
    /// every token of it under guidance.
    ///
    /// A search may ask it of its end tokens too, and expects yes: those are [`may_end`](Self::may_end)'s.
    fn allows(&self, token_id: u32) -> bool;

    /// The rules after one of the allowed tokens.
    fn after(&self, token_id: u32) -> Arc<dyn Guide>;

    /// Whether the answer may end here.
    fn may_end(&self) -> bool;

    /// Whether what is written so far is whole phrases with nothing begun after them, and the answer may
    /// be cut here: what it ends with then is only what separates phrases.
    fn is_whole(&self) -> bool;

    /// Whether there is room for an allowed token.
    fn has_room(&self, token_id: u32) -> bool;

    /// Tokens that begin or continue what must come, and is not there yet.
    fn wanted(&self) -> &[u32];

    /// What has been met: below [`num_banks`](Self::num_banks).
    fn bank(&self) -> usize;

    /// One more than the most that can be met; the same for every state of an answer.
    fn num_banks(&self) -> usize;
}

/// What a row's guide lets pass; everything without one. Two of them are equal if they are the same
/// guide.
#[derive(Clone, Copy, Default)]
pub struct Allowed<'a>(Option<&'a Arc<dyn Guide>>);

impl<'a> Allowed<'a> {
    /// Every token.
    pub const ALL: Self = Self(None);

    /// What `guide` allows.
    pub fn by(guide: &'a Arc<dyn Guide>) -> Self {
        Self(Some(guide))
    }

    /// Who decides, if not everything may come.
    pub fn guide(self) -> Option<&'a Arc<dyn Guide>> {
        self.0
    }

    /// Whether a token may come.
    #[inline]
    pub fn contains(self, token_id: u32) -> bool {
        self.0.is_none_or(|guide| guide.allows(token_id))
    }

    /// Whether any token may come, without asking.
    pub fn is_all(self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Debug for Allowed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_all() { "all" } else { "guided" })
    }
}

impl PartialEq for Allowed<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self.0, other.0) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl Eq for Allowed<'_> {}

/// Where a hypothesis under a guide could be cut: behind its last whole phrase.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole {
    /// Tokens up to there.
    pub(super) len: usize,
    /// Sum of their log-probabilities.
    pub(super) score: f32,
}

/// Chooses `count` of the candidates, which come best first, by taking the best of each bank in turn,
/// the fullest bank first; returns them best first.
///
/// `bank` names a candidate's.
pub(super) fn share_among_banks(
    candidates: &[Candidate],
    bank: impl Fn(&Candidate) -> usize,
    num_banks: usize,
    count: usize,
) -> Vec<Candidate> {
    let mut banks: Vec<Vec<Candidate>> = vec![Vec::new(); num_banks];
    for candidate in candidates.iter().rev() {
        banks[bank(candidate).min(num_banks - 1)].push(*candidate);
    }
    let mut chosen = Vec::with_capacity(count);
    while chosen.len() < count && banks.iter().any(|bank| !bank.is_empty()) {
        let turn = banks.iter_mut().rev().filter_map(Vec::pop);
        chosen.extend(turn.take(count - chosen.len()));
    }
    chosen.sort_unstable_by(|a, b| b.cmp(a));
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bank_gets_its_share_and_leaves_what_it_cannot_use() {
        let candidate = |score: f32, token_id| Candidate { score, beam_idx: 0, token_id };
        // The token is the bank.
        let all: Vec<Candidate> = [(-1.0, 0), (-2.0, 0), (-3.0, 0), (-8.0, 2), (-9.0, 2)]
            .map(|(score, token_id)| candidate(score, token_id))
            .to_vec();
        let chosen = |count| {
            let chosen = share_among_banks(&all, |candidate| candidate.token_id as usize, 3, count);
            chosen.iter().map(|candidate| candidate.score).collect::<Vec<_>>()
        };
        assert_eq!(chosen(1), [-8.0]);
        assert_eq!(chosen(2), [-1.0, -8.0]);
        assert_eq!(chosen(4), [-1.0, -2.0, -8.0, -9.0]);
        assert_eq!(chosen(9), [-1.0, -2.0, -3.0, -8.0, -9.0]);
    }
}
