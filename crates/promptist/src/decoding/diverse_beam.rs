//! Diverse beam search, as `_group_beam_search` of transformers 4.56.2 with its `BeamSearchScorer`
//! and `HammingDiversityLogitsProcessor`, the last version to have them.
//!
//! Groups take turns within a step. A group pays `diversity_penalty` for each time an earlier group
//! chose the same token at this step, and the payment stays in the score. Each group has a pool of its
//! own and ends on its own; a finished group "chooses" its pad token for each of its beams from then
//! on, and later groups pay for that one too.
//!
//! With one group this is beam search as it was before transformers rewrote it, which differs from
//! [`BeamSearch`](super::beam::BeamSearch) in when it stops: there the best beam that goes on must be
//! able to enter the pool, here the best candidate, which may just have ended.
//! [`LengthNormalization::Total`] asks for it, to answer as the released demo did.

use std::iter::repeat_n;
use std::sync::Arc;

use super::beam::{Beam, num_candidates};
use super::candidates::Candidate;
use super::early_stopping::EarlyStopping;
use super::guide::Whole;
use super::hypotheses::{Finish, FinishedPool, Hypothesis};
use super::logits::TouchedScores;
use super::query::{Queries, TokenLogit};
use super::ruled_beams::RuledChoice;
use super::search::{Extension, Rows, Scratch, Search, Task};
use super::settings::LengthNormalization;
use crate::error::Result;

/// One prompt's diverse beam search.
pub(super) struct DiverseBeamSearch {
    task: Arc<Task>,
    groups: Vec<Group>,
    /// Length of the running beams.
    length: usize,
}

struct Group {
    running: Vec<Beam>,
    finished: FinishedPool,
    is_done: bool,
}

impl DiverseBeamSearch {
    pub(super) fn new(task: Arc<Task>) -> Self {
        let settings = &task.settings;
        let group_size = settings.num_beams / settings.num_beam_groups;
        let group = || Group {
            running: vec![Beam::first(&task)],
            finished: FinishedPool::new(group_size),
            is_done: false,
        };
        let groups = std::iter::repeat_with(group).take(settings.num_beam_groups).collect();
        Self { task, groups, length: 0 }
    }

    /// Beams of a group.
    fn group_size(&self) -> usize {
        self.task.settings.num_beams / self.task.settings.num_beam_groups
    }

    /// Offers the continuations of a group, given the tokens that earlier groups chose.
    fn offer(&self, group: &Group, rows: Rows<'_>, chosen: &[u32], scratch: &mut Scratch) -> Result<()> {
        let count = num_candidates(&self.task.settings, self.group_size());
        scratch.begin_beams(&self.task, count);
        for (beam_idx, beam) in group.running.iter().enumerate() {
            let row = rows.row(beam.row);
            let normalizer = row.normalizer()?;
            let log_prob =
                |token: TokenLogit| TokenLogit { logit: normalizer.log_prob(token.logit), ..token };
            scratch.touched.reset(row.asked().map(log_prob));
            // A chosen token that is not among the largest stays behind them: it can only lose.
            for &token in row.top().iter().filter(|token| chosen.contains(&token.token_id)) {
                scratch.touched.insert(log_prob(token));
            }
            penalize_chosen(chosen, self.task.settings.diversity_penalty as f32, &mut scratch.touched);
            self.task.processors.apply(self.task.context(&beam.token_ids), &mut scratch.touched);
            scratch.guide_beam(beam, &self.task.settings);
            scratch.offer_beam((beam_idx, beam.score), (row, normalizer), count);
        }
        Ok(())
    }

    /// [`advance_group`](Self::advance_group) under guides.
    fn advance_guided(&self, group: &mut Group, scratch: &mut Scratch, next: &mut Vec<Extension>) {
        let settings = &self.task.settings;
        let count = num_candidates(settings, self.group_size());
        let choice = RuledChoice::new(settings, &group.running, scratch, (count, self.group_size()));
        for candidate in &choice.ended {
            let parent = &group.running[candidate.beam_idx];
            let score = self.normalized(candidate.score, parent.token_ids.len(), Finish::Eos);
            group.finished.add(score, &parent.token_ids, Finish::Eos);
        }
        for &(beam_idx, finish) in &choice.cut {
            self.cut(&group.running[beam_idx], finish, &mut group.finished);
        }
        group.running = choice.extended(&group.running, next);
        group.is_done = self.is_done(group, choice.best());
        if self.length == settings.max_new_tokens && !group.is_done {
            let Group { running, finished, .. } = group;
            running.iter().for_each(|beam| self.cut(beam, Finish::Length, finished));
        }
    }

    /// Closes a beam behind its last whole phrase, if it has one.
    fn cut(&self, beam: &Beam, finish: Finish, finished: &mut FinishedPool) {
        if let Some(Whole { len, score }) = beam.cut(finish) {
            finished.add_cut(self.normalized(score, len, finish), &beam.token_ids[..len], finish);
        }
    }

    /// Closes beams at their end token and lets the best others go on; tells the rows to keep.
    fn advance_group(&self, group: &mut Group, candidates: &[Candidate], next: &mut Vec<Extension>) {
        let group_size = self.group_size();
        if candidates.is_empty() {
            for beam in &group.running {
                let score = self.normalized(beam.score, beam.token_ids.len(), Finish::Length);
                group.finished.add(score, &beam.token_ids, Finish::Length);
            }
        }
        let mut running = Vec::with_capacity(group_size);
        for (rank, candidate) in candidates.iter().enumerate() {
            let parent = &group.running[candidate.beam_idx];
            if self.task.settings.is_eos(candidate.token_id) {
                if rank < group_size {
                    let score = self.normalized(candidate.score, parent.token_ids.len(), Finish::Eos);
                    group.finished.add(score, &parent.token_ids, Finish::Eos);
                }
            } else if running.len() < group_size {
                running.push(parent.extended(candidate, next));
            }
        }
        group.running = running;
        group.is_done = self.is_done(group, candidates.first());
        if self.length == self.task.settings.max_new_tokens && !group.is_done {
            for beam in &group.running {
                let score = self.normalized(beam.score, beam.token_ids.len(), Finish::Length);
                group.finished.add(score, &beam.token_ids, Finish::Length);
            }
        }
    }

    /// Nothing that still runs can enter the group's pool. `best` may be an end token: so it is there.
    fn is_done(&self, group: &Group, best: Option<&Candidate>) -> bool {
        let Some(best) = best else { return true };
        let Some(worst) = group.finished.worst_of_full() else {
            return group.running.is_empty();
        };
        let settings = &self.task.settings;
        let at = |length: usize| f64::from(best.score) / (length as f64).powf(settings.length_penalty);
        let (now, longest) = match settings.length_normalization {
            LengthNormalization::Generated => (self.length, settings.max_new_tokens),
            // The length there was taken before the new token.
            LengthNormalization::Total => {
                (self.task.prompt.len() + self.length - 1, self.task.prompt.len() + settings.max_new_tokens)
            }
        };
        match settings.early_stopping {
            EarlyStopping::True => true,
            EarlyStopping::False => worst >= at(now),
            EarlyStopping::Never => worst >= at(if settings.length_penalty > 0.0 { longest } else { now }),
        }
    }

    /// In f64, as Python's floats there.
    fn normalized(&self, score: f32, num_generated: usize, finish: Finish) -> f64 {
        let length = self.task.settings.hypothesis_len(self.task.prompt.len(), num_generated, finish);
        f64::from(score) / (length.max(1) as f64).powf(self.task.settings.length_penalty)
    }
}

impl Search for DiverseBeamSearch {
    fn max_rows(&self) -> usize {
        self.group_size() * self.groups.iter().filter(|group| !group.is_done).count()
    }

    fn ask(&self, queries: &mut Queries) {
        // One more for each token that earlier groups may choose.
        let settings = &self.task.settings;
        let count = num_candidates(settings, self.group_size()) + settings.num_beams;
        let mut num_rows = 0;
        let running = self.groups.iter().filter(|group| !group.is_done).flat_map(|group| &group.running);
        // Rows are numbered in this order; at first all groups share one.
        for beam in running {
            if beam.row == num_rows {
                self.task.ask_top(count, &beam.token_ids, beam.guide.as_ref(), queries);
                num_rows += 1;
            }
        }
    }

    fn advance(&mut self, rows: Rows<'_>, scratch: &mut Scratch, next: &mut Vec<Extension>) -> Result<()> {
        let group_size = self.group_size();
        self.length += 1;
        let mut groups = std::mem::take(&mut self.groups);
        let mut chosen = Vec::with_capacity(self.task.settings.num_beams);
        for group in &mut groups {
            if group.is_done {
                chosen.extend(
                    self.task.settings.pad_token_id.into_iter().flat_map(|id| repeat_n(id, group_size)),
                );
                continue;
            }
            let first = next.len();
            self.offer(group, rows, &chosen, scratch)?;
            match self.task.guide {
                None => self.advance_group(group, scratch.top.best_first(), next),
                Some(_) => self.advance_guided(group, scratch, next),
            }
            chosen.extend(next[first..].iter().map(|extension| extension.token_id));
            if group.is_done {
                next.truncate(first);
            }
        }
        self.groups = groups;
        if self.length == self.task.settings.max_new_tokens {
            next.clear();
        }
        Ok(())
    }

    fn into_hypotheses(self: Box<Self>) -> Vec<Hypothesis> {
        let pools = self.groups.into_iter().map(|group| group.finished);
        FinishedPool::best_of(pools, self.task.settings.num_return_sequences)
    }
}

/// Takes `penalty` from each token's score for every time it stands in `chosen`.
///
/// # Source
/// `HammingDiversityLogitsProcessor` of transformers 4.56.2.
fn penalize_chosen(chosen: &[u32], penalty: f32, scores: &mut TouchedScores) {
    for (idx, token_id) in chosen.iter().enumerate() {
        if chosen[..idx].contains(token_id) {
            continue;
        }
        let times = chosen[idx..].iter().filter(|&other| other == token_id).count();
        scores.update(*token_id, |score| score - penalty * times as f32);
    }
}
