//! One input on its way to its outputs: what it asks of the model, and what it makes of the answers.
//!
//! Most inputs ask once. There are more rounds where answers have to be told apart, and where rules left
//! nothing of an answer: the rounds after the first draw, for a search has no second answer. Their
//! number does not depend on luck: if there are too few answers after the last, the result says so.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::answer::Output;
use super::distance::{added_words, distance};
use super::request::AdaptSettings;
use super::{Adapted, Prepared, Prompter};
use crate::decoding::{DecodingSettings, Finish, Guide, Hypothesis, Request, sample_key};
use crate::error::{Error, Result};
use crate::output_filter::FilterRule;

/// Rounds in all.
const ROUNDS: u64 = 6;

/// An input and what has come of it.
pub(super) struct Job {
    prepared: Prepared,
    settings: Arc<AdaptSettings>,
    /// How the rounds after the first decode.
    drawing: DecodingSettings,
    round: u64,
    slots: Vec<Slot>,
}

/// The answers of one seed.
#[derive(Default)]
struct Slot {
    /// None of its own: the input's.
    seed: Option<u64>,
    /// Outputs that were taken, and the words that each adds.
    taken: Vec<(BTreeSet<String>, Output)>,
    /// An output that adds nothing, for want of a better one.
    nothing: Option<Output>,
    /// Why there is none.
    error: Option<Error>,
    /// Whether another round may find more.
    is_open: bool,
}

impl Job {
    pub(super) fn new(prepared: Prepared, settings: Arc<AdaptSettings>) -> Self {
        let slot = |seed: Option<u64>| Slot { seed, is_open: true, ..Slot::default() };
        let slots = match settings.seeds.is_empty() {
            true => vec![slot(None)],
            false => settings.seeds.iter().map(|&seed| slot(Some(seed))).collect(),
        };
        let drawing = DecodingSettings {
            do_sample: true,
            num_beams: 1,
            num_beam_groups: 1,
            diversity_penalty: 0.0,
            num_return_sequences: settings.decoding.num_return_sequences.saturating_mul(2),
            ..settings.decoding.clone()
        };
        Self { prepared, settings, drawing, round: 0, slots }
    }

    pub(super) fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    /// The most rows of the model's cache that one of its requests takes.
    pub(super) fn max_rows(&self) -> usize {
        let (first, later) = (self.decoding(0).num_rows(), self.decoding(1).num_rows());
        if self.may_draw_again() { first.max(later) } else { first }
    }

    pub(super) fn is_over(&self) -> bool {
        !self.slots.iter().any(|slot| slot.is_open)
    }

    /// What the model is asked in this round, a request for each seed that wants more; nothing if the
    /// answer is the input.
    pub(super) fn requests(&self) -> Vec<Request> {
        if self.settings.strength == 0.0 {
            return Vec::new();
        }
        let prepared = &self.prepared;
        let request = |slot: &Slot| Request {
            prompt: prepared.prompt_ids.clone(),
            settings: DecodingSettings {
                seed: slot.seed.unwrap_or(prepared.seed),
                ..self.decoding(self.round)
            },
            sample_key: sample_key(&prepared.layout.input).wrapping_add(self.round),
            guide: prepared.guide.clone().map(|guide| -> Arc<dyn Guide> { guide }),
        };
        self.slots.iter().filter(|slot| slot.is_open).map(request).collect()
    }

    /// Takes the answers to a round's requests and goes on to the next.
    pub(super) fn take(&mut self, prompter: &Prompter, answers: Vec<Vec<Hypothesis>>) {
        let mut answers = answers.into_iter();
        let mut slots = std::mem::take(&mut self.slots);
        for slot in slots.iter_mut().filter(|slot| slot.is_open) {
            let mut hypotheses = answers.next().unwrap_or_default();
            if hypotheses.is_empty() && (self.is_ruled() || self.settings.strength == 0.0) {
                hypotheses.push(self.nothing());
            }
            let mut outputs = Vec::with_capacity(hypotheses.len());
            for hypothesis in hypotheses {
                match prompter.output(&self.prepared, hypothesis, &self.settings) {
                    Ok(output) => outputs.push(Output { seed: slot.seed, ..output }),
                    Err(error) => _ = slot.error.get_or_insert(error),
                }
            }
            self.fill(slot, outputs);
        }
        self.slots = slots;
        self.round += 1;
    }

    /// What has come of it.
    ///
    /// # Errors
    /// The first seed's that has no answer.
    pub(super) fn into_adapted(self, prompter: &Prompter, elapsed_ms: f64) -> Result<Adapted> {
        let Self { prepared, settings, round, slots, .. } = self;
        let (has_seeds, wanted) = match settings.seeds.len() {
            0 => (false, settings.decoding.num_return_sequences),
            seeds => (true, seeds),
        };
        let (mut outputs, mut first_error) = (Vec::new(), None);
        for slot in slots {
            if slot.taken.is_empty() && slot.nothing.is_none() {
                first_error = first_error.or(slot.error);
            }
            let spare = slot.nothing.filter(|_| slot.taken.is_empty());
            outputs.extend(slot.taken.into_iter().map(|(_, output)| output).chain(spare));
        }
        if outputs.is_empty() {
            let no_way = || Error::Rules("the search found no way to keep to all of them".to_owned());
            return Err(first_error.unwrap_or_else(no_way));
        }
        if !has_seeds && round > 1 {
            outputs.sort_by(|a, b| b.score.total_cmp(&a.score));
        }
        if settings.explain {
            for output in &mut outputs {
                output.phrases = prompter.explain(&prepared, output, &settings)?;
            }
        }
        let is_drawn = settings.decoding.do_sample || round > 1;
        let is_short = outputs.len() < wanted && settings.strength > 0.0;
        Ok(Adapted {
            user_input: prepared.user_input,
            outputs,
            seed: (is_drawn && !has_seeds).then_some(prepared.seed),
            asked: is_short.then_some(wanted),
            elapsed_ms,
        })
    }

    /// Whether something rules over what is added.
    fn is_ruled(&self) -> bool {
        self.prepared.guide.is_some()
    }

    /// Whether there can be a second round.
    fn may_draw_again(&self) -> bool {
        self.settings.strength > 0.0 && (self.is_ruled() || self.settings.min_distance.is_some())
    }

    /// How a round decodes: the request's own search first, with as many candidates as it has.
    fn decoding(&self, round: u64) -> DecodingSettings {
        let own = &self.settings.decoding;
        match self.settings.min_distance {
            _ if round > 0 => self.drawing.clone(),
            None => own.clone(),
            Some(_) if own.do_sample => self.drawing.clone(),
            Some(_) => DecodingSettings { num_return_sequences: own.num_beams, ..own.clone() },
        }
    }

    /// The answer of no tokens.
    fn nothing(&self) -> Hypothesis {
        let has_budget = self.settings.budget.is_some() || self.settings.target.is_some();
        let finish = match self.settings.strength == 0.0 {
            true => Finish::Eos,
            false if has_budget => Finish::Budget,
            false => Finish::Length,
        };
        Hypothesis { token_ids: Vec::new(), score: 0.0, finish }
    }

    /// Takes of `candidates`, best first, what is as it should be.
    fn fill(&self, slot: &mut Slot, mut candidates: Vec<Output>) {
        let (min_distance, wanted) =
            (self.settings.min_distance, self.settings.decoding.num_return_sequences);
        let input = &self.prepared.layout.input;
        // Where the model writes the input too, nothing of an answer is the input alone.
        let without_additions = self.prepared.layout.kept.as_ref().map(|kept| kept.with(""));
        let is_nothing = |output: &Output| without_additions.as_ref() == Some(&output.text);
        // What one search returns more than once is one answer; what is drawn may come twice.
        let has_doubles = self.settings.decoding.do_sample && self.round == 0;
        if min_distance.is_some() {
            candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
        }
        for candidate in candidates {
            if self.may_draw_again() && slot.taken.len() == wanted {
                break;
            }
            if self.may_draw_again() && is_nothing(&candidate) {
                slot.nothing.get_or_insert(candidate);
                continue;
            }
            let words = match min_distance {
                Some(_) => added_words(input, &candidate.text),
                None => BTreeSet::new(),
            };
            let is_taken = match min_distance {
                Some(min_distance) => slot.taken.iter().any(|(other, output)| {
                    output.text == candidate.text || distance(other, &words) < min_distance
                }),
                None if self.is_ruled() && !has_doubles => {
                    slot.taken.iter().any(|(_, output)| output.text == candidate.text)
                }
                None => false,
            };
            if !is_taken {
                slot.taken.push((words, candidate));
            }
        }
        // Nothing can be added to an unsafe input, nor where a budget has no room for a phrase.
        let is_hopeless = slot.nothing.as_ref().is_some_and(|nothing| {
            nothing.finish == Finish::Budget || nothing.filtered.contains(&FilterRule::Unsafe)
        });
        slot.is_open =
            self.may_draw_again() && slot.taken.len() < wanted && self.round + 1 < ROUNDS && !is_hopeless;
    }
}
