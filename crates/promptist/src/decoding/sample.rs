//! Greedy search and sampling: every sequence on its own, one token after the other.
//!
//! Source: `GenerationMixin._sample` of transformers 5.23, which is both. Processors see the logits
//! here, not log-probabilities; the score is made of the model's own log-probabilities.

use super::batch::{Extension, Rows, Scratch, Search};
use super::hypotheses::{Finish, Hypothesis};
use super::log_softmax::Normalizer;
use super::logits::{Context, LogitsProcessors};
use super::random;
use super::settings::DecodingSettings;
use super::warpers::{Choice, Softmax, Warpers};
use crate::error::Result;

/// How a token is chosen from a row.
pub(super) enum Chooser {
    /// The likeliest; of several the lowest id.
    Greedy,
    /// Drawn from what the warpers leave.
    Draw {
        /// The warpers.
        warpers: Warpers,
        /// What stands for the input: see [`random::sample_key`].
        sample_key: u64,
    },
}

/// One prompt's sequences.
pub(super) struct SampleSearch<'a> {
    settings: &'a DecodingSettings,
    processors: &'a LogitsProcessors,
    prompt: &'a [u32],
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
}

impl<'a> SampleSearch<'a> {
    pub(super) fn new(
        settings: &'a DecodingSettings,
        processors: &'a LogitsProcessors,
        prompt: &'a [u32],
        chooser: Chooser,
    ) -> Self {
        let open = || Sequence { row: 0, token_ids: Vec::new(), log_prob: 0.0, finish: None };
        let sequences = std::iter::repeat_with(open).take(settings.num_return_sequences).collect();
        Self { settings, processors, prompt, chooser, sequences }
    }
}

impl Search for SampleSearch<'_> {
    fn advance(&mut self, rows: Rows<'_>, scratch: &mut Scratch, next: &mut Vec<Extension>) -> Result<()> {
        for (sequence_idx, sequence) in self.sequences.iter_mut().enumerate() {
            if sequence.finish.is_some() {
                continue;
            }
            let logits = rows.row(sequence.row);
            let normalizer = Normalizer::of(logits)?;
            let context = Context { prompt: self.prompt, generated: &sequence.token_ids };
            let step = sequence.token_ids.len();
            let chosen = with_processed(logits, self.processors, context, scratch, |logits, scratch| {
                match &self.chooser {
                    Chooser::Greedy => argmax(logits, scratch),
                    Chooser::Draw { warpers, sample_key } => {
                        warpers.apply(logits, &mut scratch.top, &mut scratch.choices);
                        let seed = self.settings.seed;
                        draw(
                            &scratch.choices,
                            random::uniform(seed, *sample_key, sequence_idx as u32, step as u32),
                        )
                    }
                }
            });
            let Some(token_id) = chosen else {
                sequence.finish = Some(Finish::Length); // every token is banned
                continue;
            };

            sequence.log_prob += normalizer.log_prob(logits[token_id as usize]);
            if self.settings.is_eos(token_id) {
                sequence.finish = Some(Finish::Eos);
                continue;
            }
            sequence.token_ids.push(token_id);
            if sequence.token_ids.len() == self.settings.max_new_tokens {
                sequence.finish = Some(Finish::Length);
                continue;
            }
            let extension = Extension { row: sequence.row, token_id };
            sequence.row = next.len();
            next.push(extension);
        }
        Ok(())
    }

    fn into_hypotheses(self) -> Vec<Hypothesis> {
        let hypothesis = |sequence: Sequence| {
            let finish = sequence.finish.unwrap_or(Finish::Length);
            let length = self.settings.hypothesis_len(self.prompt.len(), sequence.token_ids.len(), finish);
            let penalty = (length.max(1) as f64).powf(self.settings.length_penalty);
            Hypothesis { token_ids: sequence.token_ids, score: sequence.log_prob / penalty as f32, finish }
        };
        let mut hypotheses: Vec<_> = self.sequences.into_iter().map(hypothesis).collect();
        hypotheses.sort_by(|a, b| b.score.total_cmp(&a.score));
        hypotheses
    }
}

/// Calls `choose` with the logits under the processors.
fn with_processed<T>(
    logits: &[f32],
    processors: &LogitsProcessors,
    context: Context<'_>,
    scratch: &mut Scratch,
    choose: impl FnOnce(&[f32], &mut Scratch) -> T,
) -> T {
    if processors.are_idle(context) {
        return choose(logits, scratch);
    }
    let mut scores = std::mem::take(&mut scratch.scores);
    scores.clear();
    scores.extend_from_slice(logits);
    processors.apply(context, &mut scores);
    let chosen = choose(&scores, scratch);
    scratch.scores = scores;
    chosen
}

fn argmax(logits: &[f32], scratch: &mut Scratch) -> Option<u32> {
    scratch.top.reset(1);
    scratch.top.offer_row(0, logits, Normalizer::IDENTITY, 0.0);
    scratch.top.best_first().first().map(|best| best.token_id)
}

/// The first choice at which the cumulated probability exceeds `uniform`.
fn draw(choices: &[Choice], uniform: f64) -> Option<u32> {
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
