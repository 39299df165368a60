//! One request's search, as the batch loop leads it: it asks about its rows, takes the answers, and
//! names the rows that it wants next. It knows neither the model nor the other searches.

use std::sync::Arc;

use super::beam::{Beam, BeamSearch};
use super::candidates::{Candidate, TopCandidates};
use super::diverse_beam::DiverseBeamSearch;
use super::guide::{Allowed, Guide};
use super::hypotheses::Hypothesis;
use super::log_softmax::Normalizer;
use super::logits::{Context, LogitsProcessors, TouchedScores};
use super::query::{Answer, Answers, Queries, Query, TokenLogit};
use super::sample::{Chooser, SampleSearch};
use super::settings::{DecodingSettings, LengthNormalization};
use super::warpers::Warpers;
use crate::error::Result;

/// The search for one prompt's answers.
pub(super) trait Search: Send {
    /// The most rows that it may still want at once.
    fn max_rows(&self) -> usize;

    /// Asks about each of its rows, in order: at first one, the prompt's, then those that it wanted.
    fn ask(&self, queries: &mut Queries);

    /// Takes the answers and puts into `next`, which is empty, the rows that it wants from now on;
    /// none if it is over.
    fn advance(&mut self, rows: Rows<'_>, scratch: &mut Scratch, next: &mut Vec<Extension>) -> Result<()>;

    /// The answer as far as it is, of a search that has but one; none of others.
    fn progress(&self) -> Option<&[u32]> {
        None
    }

    /// The hypotheses, best first.
    fn into_hypotheses(self: Box<Self>) -> Vec<Hypothesis>;
}

/// The search that the settings of a task ask for.
pub(super) fn search(task: Arc<Task>) -> Box<dyn Search> {
    let settings = &task.settings;
    if settings.do_sample {
        let warpers = Warpers::new(settings);
        Box::new(SampleSearch::new(task, Chooser::Draw(warpers)))
    } else if settings.num_beams == 1 {
        Box::new(SampleSearch::new(task, Chooser::Greedy))
    } else if settings.num_beam_groups > 1 || settings.length_normalization == LengthNormalization::Total {
        Box::new(DiverseBeamSearch::new(task))
    } else {
        Box::new(BeamSearch::new(task))
    }
}

/// What is searched for.
pub(super) struct Task {
    pub(super) prompt: Vec<u32>,
    pub(super) settings: DecodingSettings,
    pub(super) processors: LogitsProcessors,
    pub(super) sample_key: u64,
    /// The rules before the first token.
    pub(super) guide: Option<Arc<dyn Guide>>,
}

impl Task {
    pub(super) fn context<'a>(&'a self, generated: &'a [u32]) -> Context<'a> {
        Context { prompt: &self.prompt, generated }
    }

    /// Asks about a row: for what the rules touch, and for the `count` largest logits beside that.
    pub(super) fn ask_top(
        &self,
        count: usize,
        generated: &[u32],
        guide: Option<&Arc<dyn Guide>>,
        queries: &mut Queries,
    ) {
        let mut touched = self.processors.touched(self.context(generated));
        if let Some(guide) = guide {
            touched.extend(guide.wanted());
            if !guide.may_end() {
                touched.extend(&self.settings.eos_token_id);
            }
            touched.sort_unstable();
            touched.dedup();
        }
        let allowed = guide.map_or(Allowed::ALL, Allowed::by);
        queries.push(Query::Top { count: count + touched.len(), allowed, token_ids: &touched });
    }
}

/// One of the search's rows and the token to append to it. A row may be extended several times.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extension {
    pub(super) row: usize,
    pub(super) token_id: u32,
}

/// What one search asked about its rows, and the answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) queries: &'a Queries,
    pub(super) answers: &'a Answers,
    /// The search's first row among all.
    pub(super) first: usize,
}

impl<'a> Rows<'a> {
    pub(super) fn row(self, row: usize) -> Row<'a> {
        let row = self.first + row;
        let token_ids = match self.queries.row(row) {
            Query::All => &[],
            Query::Top { token_ids, .. } => token_ids,
        };
        Row { token_ids, answer: self.answers.row(row) }
    }
}

/// The answer about one row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    /// The tokens asked for by name.
    token_ids: &'a [u32],
    answer: Answer<'a>,
}

impl<'a> Row<'a> {
    /// # Errors
    /// [`Error::NotFinite`](crate::Error::NotFinite) if the logits are not numbers.
    pub(super) fn normalizer(self) -> Result<Normalizer> {
        self.answer.normalizer.checked()
    }

    /// The largest logits, best first.
    pub(super) fn top(self) -> &'a [TokenLogit] {
        self.answer.top
    }

    /// The tokens asked for by name and their logits.
    pub(super) fn asked(self) -> impl Iterator<Item = TokenLogit> {
        let pairs = self.token_ids.iter().zip(self.answer.asked);
        pairs.map(|(&token_id, &logit)| TokenLogit { token_id, logit })
    }

    /// `[V]` if all were asked for, else empty.
    pub(super) fn logits(self) -> &'a [f32] {
        self.answer.logits
    }

    /// The logit of a token that is in the answer.
    pub(super) fn logit(self, token_id: u32) -> Option<f32> {
        let mut listed = self.answer.top.iter().copied().chain(self.asked());
        let listed = listed.find(|token| token.token_id == token_id).map(|token| token.logit);
        listed.or_else(|| self.answer.logits.get(token_id as usize).copied())
    }
}

/// Memory that outlives a step.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// What rules have changed of the row at hand.
    pub(super) touched: TouchedScores,
    pub(super) top: TopCandidates,
    pub(super) choices: Vec<TokenLogit>,
    /// By beam: the likeliest of the tokens that must come.
    pub(super) put_off: Vec<Option<Candidate>>,
}

impl Scratch {
    /// Makes ready for the candidates of a step's beams, of which `count` are looked at, and under a
    /// guide those too that must come.
    pub(super) fn begin_beams(&mut self, task: &Task, count: usize) {
        self.put_off.clear();
        self.top.reset(if task.guide.is_some() { usize::MAX } else { count });
    }

    /// Takes out of `touched`, which are the next beam's, what its guide does not allow.
    pub(super) fn guide_beam(&mut self, beam: &Beam, settings: &DecodingSettings) {
        let Some(guide) = beam.guide.as_deref() else { return };
        self.touched.retain(|token| settings.is_eos(token.token_id) || guide.allows(token.token_id));
        let beam_idx = self.put_off.len();
        let is_wanted =
            |token: &TokenLogit| token.logit > f32::NEG_INFINITY && guide.wanted().contains(&token.token_id);
        let wanted = self.touched.iter().filter(is_wanted);
        let candidate = |token: TokenLogit| Candidate {
            score: token.logit + beam.score,
            beam_idx,
            token_id: token.token_id,
        };
        self.put_off.push(wanted.map(candidate).max());
    }

    /// Offers the continuations of a beam: those in `touched` with their scores as they are now, and the
    /// `count` best others. No other can be among the `count` best of all.
    ///
    /// Which are the best others is told by their logits, ties to the lower id; logits so close that
    /// their scores round to one number are told apart here, and nowhere after.
    pub(super) fn offer_beam(
        &mut self,
        (beam_idx, beam_score): (usize, f32),
        (row, normalizer): (Row<'_>, Normalizer),
        count: usize,
    ) {
        let untouched = row.top().iter().filter(|token| !self.touched.contains(token.token_id)).take(count);
        for &TokenLogit { token_id, logit } in untouched {
            let score = normalizer.log_prob(logit) + beam_score;
            self.top.offer(Candidate { score, beam_idx, token_id });
        }
        for TokenLogit { token_id, logit: log_prob } in self.touched.iter() {
            self.top.offer(Candidate { score: log_prob + beam_score, beam_idx, token_id });
        }
    }
}
