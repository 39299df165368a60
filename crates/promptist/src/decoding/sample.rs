//! Greedy search and sampling: every sequence on its own, one token after the other.
//!
//! Source: `GenerationMixin._sample` of transformers 5.23, which is both. Processors see the logits
//! here, not log-probabilities; the score is made of the model's own log-probabilities.

use std::sync::Arc;

use super::guide::{Guide, Whole};
use super::hypotheses::{Finish, Hypothesis};
use super::query::{Queries, Query, TokenLogit};
use super::random;
use super::search::{Extension, Row, Rows, Scratch, Search, Task};
use super::warpers::{Softmax, Warpers};
use crate::error::Result;

/// How a token is chosen from a row.
pub(super) enum Chooser {
    /// The likeliest; of several the lowest id.
    Greedy,
    /// Drawn from what the warpers leave.
    Draw(Warpers),
}

/// One prompt's sequences.
pub(super) struct SampleSearch {
    task: Arc<Task>,
    chooser: Chooser,
    sequences: Vec<Sequence>,
}

struct Sequence {
    /// Its row in the cache.
    row: usize,
    token_ids: Vec<u32>,
    /// Sum of the log-probabilities.
    log_prob: f32,
    finish: Option<Finish>,
    /// The rules as they stand here.
    guide: Option<Arc<dyn Guide>>,
    /// Where it can be cut.
    whole: Option<Whole>,
}

/// More than any vocabulary has.
const ALL: usize = u32::MAX as usize;

impl SampleSearch {
    pub(super) fn new(task: Arc<Task>, chooser: Chooser) -> Self {
        let open = || Sequence {
            row: 0,
            token_ids: Vec::new(),
            log_prob: 0.0,
            finish: None,
            guide: task.guide.clone(),
            whole: None,
        };
        let sequences = std::iter::repeat_with(open).take(task.settings.num_return_sequences).collect();
        Self { task, chooser, sequences }
    }

    /// Those that go on.
    fn open(&self) -> impl Iterator<Item = &Sequence> {
        self.sequences.iter().filter(|sequence| sequence.finish.is_none())
    }

    /// How many of the largest logits, rules aside, decide what is chosen; `None` if all do.
    fn reach(&self) -> Option<usize> {
        match &self.chooser {
            Chooser::Greedy => Some(1),
            // A guide is only asked about the largest.
            Chooser::Draw(warpers) if self.task.guide.is_some() => Some(warpers.reach().unwrap_or(ALL)),
            Chooser::Draw(warpers) => warpers.reach(),
        }
    }

    /// Leaves in `scratch.choices` a row's logits under the rules: all of them, or those that rules
    /// touch and the largest others, as far as [`reach`](Self::reach).
    fn process(&self, row: Row<'_>, sequence: &Sequence, scratch: &mut Scratch) {
        let (generated, guide) = (&sequence.token_ids, &sequence.guide);
        let (processors, context) = (&self.task.processors, self.task.context(generated));
        let (touched, choices) = (&mut scratch.touched, &mut scratch.choices);
        choices.clear();
        match self.reach() {
            None => {
                let all = |(token_id, &logit): (u32, &f32)| TokenLogit { token_id, logit };
                choices.extend((0..).zip(row.logits()).map(all));
                let token_ids = processors.touched(context);
                touched.reset(token_ids.iter().map(|&token_id| choices[token_id as usize]));
                processors.apply(context, touched);
                touched.iter().for_each(|token| choices[token.token_id as usize] = token);
            }
            Some(count) => {
                let guide = guide.as_deref();
                touched.reset(row.asked());
                processors.apply(context, touched);
                let untouched = row.top().iter().filter(|token| !touched.contains(token.token_id));
                choices.extend(untouched.take(count));
                let is_allowed = |token: &TokenLogit| guide.is_none_or(|guide| guide.allows(token.token_id));
                choices.extend(touched.iter().filter(is_allowed));
            }
        }
    }

    /// The token that comes after sequence `sequence_idx`, its logits being in `choices`; none if every
    /// token is banned.
    fn choose(&self, sequence_idx: usize, choices: &mut Vec<TokenLogit>) -> Option<u32> {
        match &self.chooser {
            Chooser::Greedy => likeliest(choices),
            Chooser::Draw(warpers) => {
                warpers.apply(choices);
                let step = self.sequences[sequence_idx].token_ids.len();
                let (seed, sample_key) = (self.task.settings.seed, self.task.sample_key);
                draw(choices, random::uniform(seed, sample_key, sequence_idx as u32, step as u32))
            }
        }
    }
}

impl Search for SampleSearch {
    fn max_rows(&self) -> usize {
        self.open().count()
    }

    fn ask(&self, queries: &mut Queries) {
        let mut num_rows = 0;
        // Rows are numbered in this order; at first all sequences share one.
        for sequence in self.open() {
            if sequence.row == num_rows {
                match self.reach() {
                    Some(count) => {
                        self.task.ask_top(count, &sequence.token_ids, sequence.guide.as_ref(), queries);
                    }
                    None => queries.push(Query::All),
                }
                num_rows += 1;
            }
        }
    }

    fn advance(&mut self, rows: Rows<'_>, scratch: &mut Scratch, next: &mut Vec<Extension>) -> Result<()> {
        for sequence_idx in 0..self.sequences.len() {
            let sequence = &self.sequences[sequence_idx];
            if sequence.finish.is_some() {
                continue;
            }
            let row = rows.row(sequence.row);
            let normalizer = row.normalizer()?;
            self.process(row, sequence, scratch);
            let chosen = self.choose(sequence_idx, &mut scratch.choices);

            let settings = &self.task.settings;
            let sequence = &mut self.sequences[sequence_idx];
            let step = match chosen {
                None => Step::End(Finish::Length), // every token is banned
                Some(token_id) => sequence.step(token_id, settings.is_eos(token_id), scratch),
            };
            let (token_id, step) = match step {
                Step::End(finish) => {
                    sequence.end(finish);
                    continue;
                }
                Step::Token(token_id) => (token_id, row.logit(token_id)),
            };
            let Some(logit) = step else {
                sequence.end(Finish::Length);
                continue;
            };
            sequence.log_prob += normalizer.log_prob(logit);
            if settings.is_eos(token_id) {
                sequence.finish = Some(Finish::Eos);
                continue;
            }
            sequence.push(token_id);
            if sequence.token_ids.len() == settings.max_new_tokens {
                sequence.end(Finish::Length);
                continue;
            }
            let extension = Extension { row: sequence.row, token_id };
            sequence.row = next.len();
            next.push(extension);
        }
        Ok(())
    }

    fn progress(&self) -> Option<&[u32]> {
        match self.sequences.as_slice() {
            [only] => Some(&only.token_ids),
            _ => None,
        }
    }

    fn into_hypotheses(self: Box<Self>) -> Vec<Hypothesis> {
        let task = self.task;
        let hypothesis = |sequence: Sequence| {
            let finish = sequence.finish.unwrap_or(Finish::Length);
            let length = task.settings.hypothesis_len(task.prompt.len(), sequence.token_ids.len(), finish);
            let penalty = (length.max(1) as f64).powf(task.settings.length_penalty);
            Hypothesis { token_ids: sequence.token_ids, score: sequence.log_prob / penalty as f32, finish }
        };
        let mut hypotheses: Vec<_> = self.sequences.into_iter().map(hypothesis).collect();
        // What was cut to nothing has cost nothing: that is no merit.
        let is_nothing =
            |hypothesis: &Hypothesis| hypothesis.token_ids.is_empty() && hypothesis.finish != Finish::Eos;
        hypotheses.sort_by(|a, b| is_nothing(a).cmp(&is_nothing(b)).then(b.score.total_cmp(&a.score)));
        hypotheses
    }
}

/// What a sequence does next.
enum Step {
    Token(u32),
    End(Finish),
}

impl Sequence {
    /// What comes of a chosen token under the rules: itself; what must come instead of the end, or of
    /// what there is no room for; or the end.
    fn step(&self, token_id: u32, is_eos: bool, scratch: &Scratch) -> Step {
        let Some(guide) = &self.guide else { return Step::Token(token_id) };
        if is_eos && guide.may_end() || !is_eos && guide.has_room(token_id) {
            return Step::Token(token_id);
        }
        let may_come = |token: &TokenLogit| {
            token.logit > f32::NEG_INFINITY
                && guide.wanted().contains(&token.token_id)
                && guide.allows(token.token_id)
        };
        let wanted = scratch.touched.iter().filter(may_come);
        let wanted = wanted.max_by(|a, b| a.logit.total_cmp(&b.logit).then(b.token_id.cmp(&a.token_id)));
        match wanted {
            Some(wanted) if guide.has_room(wanted.token_id) => Step::Token(wanted.token_id),
            _ => Step::End(if is_eos { Finish::Length } else { Finish::Budget }),
        }
    }

    fn push(&mut self, token_id: u32) {
        self.token_ids.push(token_id);
        self.guide = self.guide.as_ref().map(|guide| guide.after(token_id));
        if self.guide.as_ref().is_some_and(|guide| guide.is_whole()) {
            self.whole = Some(Whole { len: self.token_ids.len(), score: self.log_prob });
        }
    }

    /// Ends it where it stands or, under rules, behind its last whole phrase if it has one.
    fn end(&mut self, finish: Finish) {
        self.finish = Some(finish);
        let Some(guide) = &self.guide else { return };
        // A first phrase that found no end is better than none, if that is all there is room for.
        if self.whole.is_none() && finish == Finish::Length && guide.may_end() {
            return;
        }
        let Whole { len, score } = self.whole.unwrap_or(Whole { len: 0, score: 0.0 });
        self.token_ids.truncate(len);
        self.log_prob = score;
    }
}

/// The token with the largest logit, of equal ones the lowest; none if all are banned.
fn likeliest(choices: &[TokenLogit]) -> Option<u32> {
    let possible = choices.iter().filter(|choice| choice.logit > f32::NEG_INFINITY);
    let better = |a: &&TokenLogit, b: &&TokenLogit| {
        a.logit.total_cmp(&b.logit).then_with(|| b.token_id.cmp(&a.token_id))
    };
    possible.max_by(better).map(|choice| choice.token_id)
}

/// The first choice at which the cumulated probability exceeds `uniform`.
fn draw(choices: &[TokenLogit], uniform: f64) -> Option<u32> {
    let probs = Softmax::of(choices);
    let total: f64 = choices.iter().map(|choice| f64::from(probs.prob(choice))).sum();
    let mut cumulated = 0.0;
    for choice in choices {
        cumulated += f64::from(probs.prob(choice));
        if cumulated > uniform * total {
            return Some(choice.token_id);
        }
    }
    choices.last().map(|choice| choice.token_id)
}
