//! Beam search, as `GenerationMixin._beam_search` of transformers 5.23.
//!
//! Where that code fills empty places with hypotheses of score -1e9, here there are none: with a
//! vocabulary smaller than the number of candidates, or with so many tokens banned that beams run
//! out, it returns copies or padding at -1e9, and we return fewer answers. If every token is banned
//! after every beam, the beams are answers as they stand.

use std::sync::Arc;

use super::candidates::Candidate;
use super::early_stopping::EarlyStopping;
use super::guide::{Guide, Whole};
use super::hypotheses::{Finish, FinishedPool, Hypothesis};
use super::query::{Queries, TokenLogit};
use super::ruled_beams::RuledChoice;
use super::search::{Extension, Rows, Scratch, Search, Task};
use super::settings::DecodingSettings;
use crate::error::Result;

/// One prompt's beam search.
pub(super) struct BeamSearch {
    task: Arc<Task>,
    /// Best first, all of the same length.
    running: Vec<Beam>,
    finished: FinishedPool,
}

impl BeamSearch {
    pub(super) fn new(task: Arc<Task>) -> Self {
        let finished = FinishedPool::new(task.settings.num_beams);
        let running = vec![Beam::first(&task)];
        Self { task, running, finished }
    }

    /// Nothing that still runs can enter the pool.
    fn is_over(&self, length: usize) -> bool {
        let Some(best) = self.running.first() else {
            return true;
        };
        let Some(worst) = self.finished.worst_of_full() else {
            return false;
        };
        match self.task.settings.early_stopping {
            EarlyStopping::True => true,
            EarlyStopping::False => self.normalized(best.score, length) <= worst,
            EarlyStopping::Never => {
                let longest = if self.task.settings.length_penalty > 0.0 {
                    self.task.settings.max_new_tokens
                } else {
                    length
                };
                self.normalized(best.score, longest) <= worst
            }
        }
    }

    /// Closes beams at their end token and lets the best others go on.
    fn extend(
        &mut self,
        candidates: &[Candidate],
        (length, is_last): (usize, bool),
        next: &mut Vec<Extension>,
    ) {
        let num_beams = self.task.settings.num_beams;
        if candidates.is_empty() {
            for beam in &self.running {
                let score = self.normalized(beam.score, length - 1);
                self.finished.add(score, &beam.token_ids, Finish::Length);
            }
        }
        let mut running = Vec::with_capacity(num_beams);
        for (rank, candidate) in candidates.iter().enumerate() {
            let parent = &self.running[candidate.beam_idx];
            let is_eos = self.task.settings.is_eos(candidate.token_id);
            if is_eos && rank < num_beams {
                let score = self.normalized(candidate.score, length);
                self.finished.add(score, &parent.token_ids, Finish::Eos);
            } else if !is_eos && running.len() < num_beams {
                let beam = parent.extended(candidate, next);
                if is_last {
                    let score = self.normalized(beam.score, length);
                    self.finished.add(score, &beam.token_ids, Finish::Length);
                }
                running.push(beam);
            }
        }
        self.running = running;
    }

    /// Closes a beam behind its last whole phrase, if it has one.
    fn cut(&mut self, beam_idx: usize, finish: Finish) {
        let beam = &self.running[beam_idx];
        if let Some(Whole { len, score }) = beam.cut(finish) {
            self.finished.add_cut(self.normalized(score, len), &beam.token_ids[..len], finish);
        }
    }

    /// `score / length ^ length_penalty`, the power in f64 and the division in f32, as there.
    fn normalized(&self, score: f32, length: usize) -> f64 {
        let penalty = (length.max(1) as f64).powf(self.task.settings.length_penalty);
        f64::from(score / penalty as f32)
    }
}

impl Search for BeamSearch {
    fn max_rows(&self) -> usize {
        self.task.settings.num_beams
    }

    fn ask(&self, queries: &mut Queries) {
        let count = num_candidates(&self.task.settings, self.task.settings.num_beams);
        for beam in &self.running {
            self.task.ask_top(count, &beam.token_ids, beam.guide.as_ref(), queries);
        }
    }

    fn advance(&mut self, rows: Rows<'_>, scratch: &mut Scratch, next: &mut Vec<Extension>) -> Result<()> {
        let num_beams = self.task.settings.num_beams;
        // a, b, c. Log-probabilities, processed and added up; the best of all continuations.
        let count = num_candidates(&self.task.settings, num_beams);
        scratch.begin_beams(&self.task, count);
        for (beam_idx, beam) in self.running.iter().enumerate() {
            let row = rows.row(beam.row);
            let normalizer = row.normalizer()?;
            let log_prob =
                |token: TokenLogit| TokenLogit { logit: normalizer.log_prob(token.logit), ..token };
            scratch.touched.reset(row.asked().map(log_prob));
            self.task.processors.apply(self.task.context(&beam.token_ids), &mut scratch.touched);
            scratch.guide_beam(beam, &self.task.settings);
            scratch.offer_beam((beam_idx, beam.score), (row, normalizer), count);
        }

        // d, e, f. The end token counts in the length. It closes a beam only from among the best
        // `num_beams` candidates; the others stand by, so that `num_beams` can go on.
        let length = self.running.first().map_or(0, |beam| beam.token_ids.len()) + 1;
        let is_last = length == self.task.settings.max_new_tokens;
        if self.task.guide.is_some() {
            let choice = RuledChoice::new(&self.task.settings, &self.running, scratch, (count, num_beams));
            for candidate in &choice.ended {
                let score = self.normalized(candidate.score, length);
                self.finished.add(score, &self.running[candidate.beam_idx].token_ids, Finish::Eos);
            }
            for &(beam_idx, finish) in &choice.cut {
                self.cut(beam_idx, finish);
            }
            self.running = choice.extended(&self.running, next);
            if is_last {
                (0..self.running.len()).for_each(|beam_idx| self.cut(beam_idx, Finish::Length));
            }
        } else {
            self.extend(scratch.top.best_first(), (length, is_last), next);
        }

        // g. The stopping condition.
        if is_last || self.is_over(length) {
            next.clear();
        }
        Ok(())
    }

    fn into_hypotheses(self: Box<Self>) -> Vec<Hypothesis> {
        FinishedPool::best_of([self.finished], self.task.settings.num_return_sequences)
    }
}

/// A hypothesis that may go on.
#[derive(Debug)]
pub(super) struct Beam {
    /// Its row among the search's: at first the prompt's, which all share.
    pub(super) row: usize,
    pub(super) token_ids: Vec<u32>,
    /// Sum of log-probabilities, as the processors left them.
    pub(super) score: f32,
    /// The rules as they stand here.
    pub(super) guide: Option<Arc<dyn Guide>>,
    /// Where it can be cut.
    pub(super) whole: Option<Whole>,
}

impl Beam {
    /// The beam of no tokens.
    pub(super) fn first(task: &Task) -> Self {
        Self { row: 0, token_ids: Vec::new(), score: 0.0, guide: task.guide.clone(), whole: None }
    }

    /// Where it ends if it cannot go on: behind its last whole phrase. A first phrase that found no end is
    /// better than none, if that is all there is room for.
    pub(super) fn cut(&self, finish: Finish) -> Option<Whole> {
        let may_end = self.guide.as_ref().is_some_and(|guide| guide.may_end());
        let all = Whole { len: self.token_ids.len(), score: self.score };
        self.whole.or((finish == Finish::Length && may_end && all.len > 0).then_some(all))
    }

    /// The beam that goes on with `candidate`, in a row of its own in `next`.
    pub(super) fn extended(&self, candidate: &Candidate, next: &mut Vec<Extension>) -> Self {
        let mut token_ids = Vec::with_capacity(self.token_ids.len() + 1);
        token_ids.extend_from_slice(&self.token_ids);
        token_ids.push(candidate.token_id);
        let row = next.len();
        next.push(Extension { row: self.row, token_id: candidate.token_id });
        let guide = self.guide.as_ref().map(|guide| guide.after(candidate.token_id));
        let whole = match &guide {
            Some(guide) if guide.is_whole() => Some(Whole { len: token_ids.len(), score: candidate.score }),
            _ => self.whole,
        };
        Self { row, token_ids, score: candidate.score, guide, whole }
    }
}

/// Candidates looked at for `num_beams` beams at each step: enough that `num_beams` of them are not
/// end tokens.
pub(super) fn num_candidates(settings: &DecodingSettings, num_beams: usize) -> usize {
    num_beams * (1 + settings.eos_token_id.len()).max(2)
}
