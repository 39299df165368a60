//! What becomes of a beam search's candidates under a [`Guide`]: which end, which beams are cut, which
//! go on.

use super::beam::Beam;
use super::candidates::Candidate;
use super::guide::{Guide, share_among_banks};
use super::hypotheses::Finish;
use super::search::{Extension, Scratch};
use super::settings::DecodingSettings;

/// The candidates of a step, sorted out.
pub(super) struct RuledChoice {
    /// Their token is an end token, and their answer may end.
    pub(super) ended: Vec<Candidate>,
    /// Beams that end behind their last whole phrase, and why.
    pub(super) cut: Vec<(usize, Finish)>,
    /// Best first.
    goes_on: Vec<Candidate>,
}

impl RuledChoice {
    /// Sorts out what was offered to `scratch` for `width` beams, looking at the `count` best
    /// candidates and at those that must come.
    pub(super) fn new(
        settings: &DecodingSettings,
        beams: &[Beam],
        scratch: &mut Scratch,
        (count, width): (usize, usize),
    ) -> Self {
        let mut choice = Self { ended: Vec::new(), cut: Vec::new(), goes_on: Vec::new() };
        let num_banks = beams.iter().find_map(guide_of).map_or(1, Guide::num_banks);
        let has_banks = num_banks > 1 && width >= num_banks;
        let mut goes_on: Vec<Candidate> = Vec::new();
        let Scratch { top, put_off, .. } = scratch;
        for (rank, &candidate) in top.best_first().iter().enumerate() {
            let beam_idx = candidate.beam_idx;
            let Some(guide) = guide_of(&beams[beam_idx]) else { continue };
            let is_wanted = guide.wanted().contains(&candidate.token_id);
            if rank >= count && !(has_banks && is_wanted) {
                continue;
            }
            let mut candidate = candidate;
            if settings.is_eos(candidate.token_id) {
                if guide.may_end() {
                    if rank < width {
                        choice.ended.push(candidate);
                    }
                    continue;
                }
                // With banks, hypotheses that wrote what must come are among the candidates anyway.
                match put_off[beam_idx] {
                    Some(wanted) if !has_banks => candidate = wanted,
                    _ => continue,
                }
            }
            if !guide.has_room(candidate.token_id) {
                match put_off[beam_idx] {
                    Some(wanted) if !guide.may_end() && guide.has_room(wanted.token_id) => candidate = wanted,
                    _ => {
                        choice.cut(beam_idx, Finish::Budget);
                        continue;
                    }
                }
            }
            let is_there = |other: &Candidate| {
                (other.beam_idx, other.token_id) == (candidate.beam_idx, candidate.token_id)
            };
            if !goes_on.iter().any(is_there) {
                goes_on.push(candidate);
            }
        }
        if top_is_empty(&choice, &goes_on) {
            (0..beams.len()).for_each(|beam_idx| choice.cut(beam_idx, Finish::Length));
        }
        choice.goes_on = match has_banks {
            true => {
                goes_on.sort_unstable_by(|a, b| b.cmp(a));
                let bank = |candidate: &Candidate| {
                    let guide = guide_of(&beams[candidate.beam_idx]);
                    guide.map_or(0, |guide| guide.after(candidate.token_id).bank())
                };
                share_among_banks(&goes_on, bank, num_banks, width)
            }
            // In the order of the candidates: what was put off keeps the place of the end that it
            // stands for, and its own score.
            false => {
                goes_on.truncate(width);
                goes_on.sort_unstable_by(|a, b| b.cmp(a));
                goes_on
            }
        };
        choice
    }

    /// The best of what goes on or has ended.
    pub(super) fn best(&self) -> Option<&Candidate> {
        self.ended.first().into_iter().chain(self.goes_on.first()).max()
    }

    /// The beams that go on, in rows of their own in `next`.
    pub(super) fn extended(&self, beams: &[Beam], next: &mut Vec<Extension>) -> Vec<Beam> {
        self.goes_on.iter().map(|candidate| beams[candidate.beam_idx].extended(candidate, next)).collect()
    }

    fn cut(&mut self, beam_idx: usize, finish: Finish) {
        if !self.cut.iter().any(|&(other, _)| other == beam_idx) {
            self.cut.push((beam_idx, finish));
        }
    }
}

/// Whether no beam has any way left.
fn top_is_empty(choice: &RuledChoice, goes_on: &[Candidate]) -> bool {
    choice.ended.is_empty() && choice.cut.is_empty() && goes_on.is_empty()
}

fn guide_of(beam: &Beam) -> Option<&dyn Guide> {
    beam.guide.as_deref()
}
