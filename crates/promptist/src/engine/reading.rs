//! What the engine makes of texts that are given: hidden states and likelihoods in one pass.
//!
//! [`crate::decoding::teacher_forcing`] asks any model about likelihoods, token by token as a search does;
//! this reads whole texts at once and hands the trunk's own states out, for heads of another kind.

use super::{Engine, Machine, head};
use crate::decoding::teacher_forcing::ForcedText;
use crate::decoding::{Allowed, Answers, LanguageModel, Queries, Query};
use crate::error::{Error, Result};

/// Texts in one pass.
const TEXTS: usize = 16;

/// Added to a variance before its root.
const EPSILON: f32 = 1e-5;

/// What the engine made of one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// log p of each token from [`ForcedText::from`] on, in nats.
    pub logprobs: Vec<f32>,
    /// Mean over those tokens of the final hidden state behind each, every state shifted and scaled to
    /// mean 0 and variance 1 (`ln_f` without gain and bias): `[E]`.
    pub hidden: Vec<f32>,
}

impl Engine {
    /// Reads texts. The answer for a text does not depend on those beside it.
    ///
    /// # Errors
    /// [`Error::Shape`] if a text has no token before `from` or none after it; [`Error::PromptTooLong`];
    /// [`Error::NotFinite`].
    pub fn read_texts(&self, texts: &[ForcedText]) -> Result<Vec<Reading>> {
        let mut readings = Vec::with_capacity(texts.len());
        for texts in texts.chunks(TEXTS) {
            self.read_together(texts, &mut readings)?;
        }
        Ok(readings)
    }

    fn read_together(&self, texts: &[ForcedText], readings: &mut Vec<Reading>) -> Result<()> {
        let mut cache = self.new_cache();
        let (mut queries, mut is_asked) = (Queries::default(), Vec::new());
        for text in texts {
            let len = text.token_ids.len();
            if text.from == 0 || text.from >= len {
                return Err(Error::Shape(format!("a text of {len} tokens, asked about from {}", text.from)));
            }
            for at in 0..len {
                is_asked.push(at + 1 >= text.from);
                if at + 1 >= text.from {
                    // Nothing follows the last token; only its hidden state is wanted.
                    queries.push(Query::Top {
                        count: 0,
                        allowed: Allowed::ALL,
                        token_ids: &text.token_ids[at + 1..len.min(at + 2)],
                    });
                }
            }
        }
        let token_ids: Vec<&[u32]> = texts.iter().map(|text| text.token_ids).collect();
        self.check(&cache, &token_ids)?;
        for token_ids in &token_ids {
            cache.add_row(token_ids.len());
        }
        let mut machine = self.machine();
        let machine = &mut *machine;
        machine.read(&self.model, &mut cache, &token_ids, &is_asked);
        let Machine { pool, head, last, .. } = machine;
        let mut answers = Answers::default();
        head::answer(&self.model, pool, head, last, &queries, &mut answers)?;

        let e = self.model.config.n_embd;
        let mut row = 0;
        for text in texts {
            let num_tokens = text.token_ids.len() - text.from;
            let logprobs = (row..row + num_tokens)
                .map(|row| {
                    let answer = answers.row(row);
                    let logit = answer.asked.first().ok_or_else(|| Error::Shape("no logit".to_owned()))?;
                    Ok(answer.normalizer.checked()?.log_prob(*logit))
                })
                .collect::<Result<_>>()?;
            let mut hidden = vec![0.0; e];
            for state in last[(row + 1) * e..(row + 1 + num_tokens) * e].chunks_exact(e) {
                add_normalized(state, 1.0 / num_tokens as f32, &mut hidden);
            }
            readings.push(Reading { logprobs, hidden });
            row += num_tokens + 1;
        }
        Ok(())
    }
}

/// Adds `weight · (state - mean) / sqrt(var + eps)`.
fn add_normalized(state: &[f32], weight: f32, sum: &mut [f32]) {
    let e = state.len() as f32;
    let mean = state.iter().sum::<f32>() / e;
    let variance = state.iter().map(|value| (value - mean) * (value - mean)).sum::<f32>() / e;
    let scale = weight / (variance + EPSILON).sqrt();
    for (sum, value) in sum.iter_mut().zip(state) {
        *sum += (value - mean) * scale;
    }
}
