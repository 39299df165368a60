//! What changes a row of scores before a token is chosen from it.
//!
//! Processors hold a rule ("no trigram twice") and serve every search; warpers shape the distribution
//! that sampling draws from. Which scores they see is the search's: beam search hands them
//! log-probabilities, greedy and sampling the logits themselves, as transformers does. A forced
//! beginning needs no processor: it belongs to the prompt.

use super::candidates::TopCandidates;
use super::log_softmax::{self, Normalizer};
use super::settings::DecodingSettings;

/// The tokens so far of the row at hand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) prompt: &'a [u32],
    pub(super) generated: &'a [u32],
}

impl Context<'_> {
    fn len(&self) -> usize {
        self.prompt.len() + self.generated.len()
    }

    fn token(&self, idx: usize) -> u32 {
        match idx.checked_sub(self.prompt.len()) {
            None => self.prompt[idx],
            Some(idx) => self.generated[idx],
        }
    }

    fn tokens(&self) -> impl Iterator<Item = u32> {
        self.prompt.iter().chain(self.generated).copied()
    }
}

/// The rules of a run, applied in transformers' order.
#[derive(Debug, Clone)]
pub(super) struct LogitsProcessors {
    repetition_penalty: f32,
    no_repeat_ngram_size: usize,
    min_new_tokens: usize,
    eos_token_id: Vec<u32>,
    suppress_tokens: Vec<u32>,
}

impl LogitsProcessors {
    pub(super) fn new(settings: &DecodingSettings) -> Self {
        Self {
            repetition_penalty: settings.repetition_penalty as f32,
            no_repeat_ngram_size: settings.no_repeat_ngram_size,
            min_new_tokens: settings.min_new_tokens,
            eos_token_id: settings.eos_token_id.clone(),
            suppress_tokens: settings.suppress_tokens.clone(),
        }
    }

    /// Whether [`apply`](Self::apply) would change nothing at this point: then no copy is needed.
    pub(super) fn are_idle(&self, context: Context<'_>) -> bool {
        self.repetition_penalty == 1.0
            && self.no_repeat_ngram_size == 0
            && context.generated.len() >= self.min_new_tokens
            && self.suppress_tokens.is_empty()
    }

    /// Applies every rule to the scores of the row that `context` leads to: `[V]`.
    pub(super) fn apply(&self, context: Context<'_>, scores: &mut [f32]) {
        if self.repetition_penalty != 1.0 {
            penalize_repetition(context, self.repetition_penalty, scores);
        }
        if self.no_repeat_ngram_size > 0 {
            ban_repeated_ngrams(context, self.no_repeat_ngram_size, scores);
        }
        if context.generated.len() < self.min_new_tokens {
            ban(&self.eos_token_id, scores);
        }
        ban(&self.suppress_tokens, scores);
    }
}

fn ban(token_ids: &[u32], scores: &mut [f32]) {
    for &token_id in token_ids {
        scores[token_id as usize] = f32::NEG_INFINITY;
    }
}

/// Each token of the context once, however often it occurs.
///
/// # Source
/// `RepetitionPenaltyLogitsProcessor` of transformers 5.23, which passes over left padding as we do.
fn penalize_repetition(context: Context<'_>, penalty: f32, scores: &mut [f32]) {
    let penalized = |score: f32| {
        if score < 0.0 {
            score * penalty
        } else {
            score / penalty
        }
    };
    // Read all, then write all: a token that occurs twice is written twice with the same value.
    let updates: Vec<(u32, f32)> = context
        .tokens()
        .map(|token_id| (token_id, penalized(scores[token_id as usize])))
        .collect();
    for (token_id, score) in updates {
        scores[token_id as usize] = score;
    }
}

/// Bans every token that would complete a run of `size` tokens which the context already has.
///
/// # Source
/// `NoRepeatNGramLogitsProcessor` of transformers 5.23.
fn ban_repeated_ngrams(context: Context<'_>, size: usize, scores: &mut [f32]) {
    let Some(prefix_start) = (context.len() + 1).checked_sub(size) else {
        return;
    };
    for start in 0..prefix_start {
        if (0..size - 1)
            .all(|offset| context.token(start + offset) == context.token(prefix_start + offset))
        {
            ban(&[context.token(start + size - 1)], scores);
        }
    }
}

/// A token that may be drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Choice {
    pub(super) token_id: u32,
    /// After temperature.
    pub(super) logit: f32,
}

/// Temperature, top-k, top-p and min-p, in this order, which is transformers'.
#[derive(Debug, Clone)]
pub(super) struct Warpers {
    temperature: f32,
    top_k: usize,
    top_p: f64,
    min_p: f32,
}

impl Warpers {
    pub(super) fn new(settings: &DecodingSettings) -> Self {
        Self {
            temperature: settings.temperature as f32,
            top_k: settings.top_k,
            top_p: settings.top_p,
            min_p: settings.min_p as f32,
        }
    }

    /// Leaves in `choices` what may be drawn from the logits of a row, by token id.
    ///
    /// # Shapes
    /// - `logits`: `[V]`
    ///
    /// # Source
    /// `TemperatureLogitsWarper`, `TopKLogitsWarper`, `TopPLogitsWarper` and `MinPLogitsWarper` of
    /// transformers 5.23. Equal logits at the edge of top-k all stay; at the edge of top-p the lower
    /// ids stay (there: as the sort happens to leave them).
    pub(super) fn apply(&self, logits: &[f32], top: &mut TopCandidates, choices: &mut Vec<Choice>) {
        let edge = self.top_k_edge(logits, top) / self.temperature;
        choices.clear();
        for (token_id, &logit) in logits.iter().enumerate() {
            let logit = logit / self.temperature;
            if logit >= edge && logit > f32::NEG_INFINITY {
                choices.push(Choice {
                    token_id: token_id as u32,
                    logit,
                });
            }
        }
        if self.top_p < 1.0 {
            self.keep_top_p(choices);
            choices.sort_unstable_by_key(|choice| choice.token_id);
        }
        if self.min_p > 0.0 {
            let probs = Softmax::of(choices);
            let least = self.min_p * probs.of_max();
            choices.retain(|choice| probs.prob(choice) >= least);
        }
    }

    /// The `top_k`-th largest logit; `-inf` if all may stay.
    fn top_k_edge(&self, logits: &[f32], top: &mut TopCandidates) -> f32 {
        if self.top_k == 0 || self.top_k >= logits.len() {
            return f32::NEG_INFINITY;
        }
        top.reset(self.top_k);
        top.offer_row(0, logits, Normalizer::IDENTITY, 0.0);
        let best = top.best_first();
        if best.len() < self.top_k {
            f32::NEG_INFINITY
        } else {
            best[self.top_k - 1].score
        }
    }

    /// From the least likely up, removes what together has no more than `1 - top_p`. One stays.
    fn keep_top_p(&self, choices: &mut Vec<Choice>) {
        let probs = Softmax::of(choices);
        choices.sort_unstable_by(|a, b| {
            b.logit
                .total_cmp(&a.logit)
                .then(a.token_id.cmp(&b.token_id))
        });
        let removable = (1.0 - self.top_p) as f32;
        let mut tail = 0.0;
        let mut len = choices.len();
        while len > 1 {
            // torch sums in f64 and rounds each partial sum to f32.
            tail += f64::from(probs.prob(&choices[len - 1]));
            if tail as f32 > removable {
                break;
            }
            len -= 1;
        }
        choices.truncate(len);
    }
}

/// Probabilities of choices, in f32.
#[derive(Debug, Clone, Copy)]
pub(super) struct Softmax {
    max: f32,
    sum: f32,
}

impl Softmax {
    pub(super) fn of(choices: &[Choice]) -> Self {
        let max = choices
            .iter()
            .fold(f32::NEG_INFINITY, |max, choice| max.max(choice.logit));
        let sum: f64 = choices
            .iter()
            .map(|choice| f64::from(log_softmax::exp(choice.logit - max)))
            .sum();
        Self {
            max,
            sum: sum as f32,
        }
    }

    pub(super) fn prob(self, choice: &Choice) -> f32 {
        log_softmax::exp(choice.logit - self.max) / self.sum
    }

    fn of_max(self) -> f32 {
        1.0 / self.sum
    }
}
