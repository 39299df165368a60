//! Whether additions fit their input: how much likelier they are after it than after another.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::statistics::{Interval, bootstrap_mean, random_others};
use super::text::Row;
use crate::error::Result;
use crate::gpt2::Gpt2;
use crate::prompter::Prompter;
use crate::template::{self, Keep};
use crate::tokenizer::Tokenizer;
use crate::train::examples::{Example, micro_batches};
use crate::train::gradients::example_logprobs;

/// Tokens of one forward pass, padding included. Changes memory and speed, not the result.
const MICRO_BATCH_TOKENS: usize = 8192;

/// Fit of the additions of a set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FitMeasure {
    /// Nats a token that an addition is likelier after its own input than after another.
    pub gain: Interval,
    /// Share of additions that are likelier after their own.
    pub own_is_likelier: f64,
    /// Mean log-probability a token after the own input.
    pub own: f64,
    /// Mean log-probability a token after the other.
    pub other: f64,
}

/// One addition after two inputs, in nats a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FitPair {
    /// After its own input.
    pub own: f64,
    /// After a random other input of the set.
    pub other: f64,
}

/// Scores each row's addition after its own input and after that of a random other row.
///
/// The model reads `x Rephrase: x,` as a prompter that keeps its user's words does, then the added
/// text; the end of the answer is not counted. Rows that add nothing, and those that do not fit the
/// model's context, are left out.
///
/// # Errors
/// [`crate::Error::Tokenizer`]; [`crate::Error::Shape`] if the device does not give a tensor back.
pub fn fit_pairs(prompter: &Prompter, rows: &[&Row], seed: u64) -> Result<Vec<FitPair>> {
    let rows: Vec<&Row> = rows.iter().copied().filter(|row| !row.added.text.is_empty()).collect();
    let others = random_others(rows.len(), &mut ChaCha8Rng::seed_from_u64(seed));
    let n_positions = prompter.model().config().n_positions;
    let mut examples = Vec::with_capacity(2 * rows.len());
    for (row, &other) in rows.iter().zip(&others) {
        let addition = &row.added.text;
        let own = after(prompter.tokenizer(), &row.user_input, addition)?;
        let other = after(prompter.tokenizer(), &rows[other].user_input, addition)?;
        if own.input_len().max(other.input_len()) <= n_positions && own.num_targets() > 0 {
            examples.extend([own, other]);
        }
    }
    let logprobs = logprobs(prompter.model(), &examples)?;
    let per_token = |idx: usize| logprobs[idx] / examples[idx].num_targets() as f64;
    Ok((0..examples.len())
        .step_by(2)
        .map(|idx| FitPair { own: per_token(idx), other: per_token(idx + 1) })
        .collect())
}

impl FitMeasure {
    /// Sums up; `None` without pairs.
    pub fn of(pairs: &[FitPair], resamples: usize, seed: u64) -> Option<Self> {
        let gains: Vec<f64> = pairs.iter().map(|pair| pair.own - pair.other).collect();
        let n = pairs.len() as f64;
        Some(Self {
            gain: bootstrap_mean(&gains, resamples, seed)?,
            own_is_likelier: gains.iter().filter(|&&gain| gain > 0.0).count() as f64 / n,
            own: pairs.iter().map(|pair| pair.own).sum::<f64>() / n,
            other: pairs.iter().map(|pair| pair.other).sum::<f64>() / n,
        })
    }
}

/// `addition` as the model adds it to `user_input`, without the end token.
fn after(tokenizer: &Tokenizer, user_input: &str, addition: &str) -> Result<Example> {
    let answer = format!("{}, {addition}", template::kept_words(user_input));
    let mut example = Example::pair(tokenizer, user_input, &answer, Keep::Exact)?;
    example.token_ids.pop();
    Ok(example)
}

/// log p of each example's targets, in nats, summed; like lengths go through the model together.
///
/// # Errors
/// As [`example_logprobs`].
pub(super) fn logprobs(model: &Gpt2, examples: &[Example]) -> Result<Vec<f64>> {
    let mut order: Vec<usize> = (0..examples.len()).collect();
    order.sort_by_key(|&idx| examples[idx].input_len());
    let sorted: Vec<&Example> = order.iter().map(|&idx| &examples[idx]).collect();
    let mut logprobs = vec![0.0; examples.len()];
    let mut places = order.iter();
    for batch in micro_batches(&sorted, MICRO_BATCH_TOKENS) {
        for (logprob, &place) in example_logprobs(model, &batch)?.into_iter().zip(&mut places) {
            logprobs[place] = logprob;
        }
    }
    Ok(logprobs)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Int, Tensor, TensorData};

    use super::*;
    use crate::gpt2::{Gpt2Config, values};

    fn model() -> Gpt2 {
        let config = Gpt2Config {
            vocab_size: 300,
            n_positions: 32,
            n_embd: 16,
            n_layer: 2,
            n_head: 2,
            bos_token_id: None,
            eos_token_id: None,
            ..Gpt2Config::default()
        };
        Gpt2::random(&config, 3, &Device::flex()).expect("possible")
    }

    #[test]
    fn a_batch_of_unequal_examples_gives_each_its_own_sum() {
        let model = model();
        let example = |len: u32, loss_from| Example {
            token_ids: (0..len).map(|i| (i * 37 + len) % 300).collect(),
            loss_from,
        };
        let examples = [example(20, 4), example(3, 1), example(9, 8)];
        let found = logprobs(&model, &examples).expect("short");
        for (example, found) in examples.iter().zip(found) {
            let inputs: Vec<i64> =
                example.token_ids[..example.input_len()].iter().map(|&id| i64::from(id)).collect();
            let t = inputs.len();
            let inputs = TensorData::new(inputs, [1, t]);
            let inputs = Tensor::<2, Int>::from_data(inputs, &model.device());
            let logits = model.head(model.forward(inputs).reshape([t, 16]));
            let logprobs = values(burn::tensor::activation::log_softmax(logits, 1)).expect("on a CPU");
            let expected: f64 = (example.loss_from..example.token_ids.len())
                .map(|at| f64::from(logprobs[(at - 1) * 300 + example.token_ids[at] as usize]))
                .sum();
            assert!((found - expected).abs() < 1e-4, "{found} for {expected}");
        }
    }

    #[test]
    fn the_gain_is_the_mean_difference() {
        let pair = |own, other| FitPair { own, other };
        let measure = FitMeasure::of(&[pair(-1.0, -2.0), pair(-3.0, -2.5)], 500, 1).expect("pairs");
        assert_eq!((measure.gain.n, measure.gain.mean), (2, 0.25));
        assert_eq!(measure.own_is_likelier, 0.5);
        assert_eq!((measure.own, measure.other), (-2.0, -2.25));
        assert_eq!(FitMeasure::of(&[], 500, 1), None);
    }
}
