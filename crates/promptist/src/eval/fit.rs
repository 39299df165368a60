//! Whether additions fit their input: how much likelier they are after it than after another.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::decoding::teacher_forcing::{ForcedText, Observation};
use crate::error::Result;
use crate::prompter::Prompter;
use crate::statistics::{Interval, bootstrap_mean, random_others};
use crate::template::{self, Keep};
use crate::tokenizer::Tokenizer;
use crate::train::examples::Example;

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

/// Scores each addition after its own input and after that of a random other; `added` holds inputs
/// with what was added to each.
///
/// The model reads `x Rephrase: x,` as a prompter that keeps its user's words does, then the added
/// text; the end of the answer is not counted. Empty additions, and those that do not fit the model's
/// context, are left out.
///
/// # Errors
/// [`crate::Error::Tokenizer`]; [`crate::Error::Shape`] if the device does not give a tensor back.
pub fn fit_pairs(prompter: &Prompter, added: &[(&str, &str)], seed: u64) -> Result<Vec<FitPair>> {
    let added: Vec<(&str, &str)> =
        added.iter().copied().filter(|(_, addition)| !addition.is_empty()).collect();
    let others = random_others(added.len(), &mut ChaCha8Rng::seed_from_u64(seed));
    let tokenizer = prompter.tokenizer();
    let mut examples = Vec::with_capacity(2 * added.len());
    for (&(user_input, addition), &other) in added.iter().zip(&others) {
        let own = after(tokenizer, user_input, addition)?;
        let other = after(tokenizer, added[other].0, addition)?;
        let longest = own.input_len().max(other.input_len());
        if longest <= prompter.config().n_positions && own.num_targets() > 0 {
            examples.extend([own, other]);
        }
    }
    let logprobs = logprobs(prompter, &examples.iter().collect::<Vec<_>>())?;
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

/// log p of each example's targets, in nats, summed.
///
/// # Errors
/// As [`Prompter::observe`].
pub(super) fn logprobs(prompter: &Prompter, examples: &[&Example]) -> Result<Vec<f64>> {
    let texts: Vec<ForcedText> = examples
        .iter()
        .map(|example| ForcedText { token_ids: &example.token_ids, from: example.loss_from })
        .collect();
    let observations = prompter.observe(&texts)?;
    let sum = |tokens: &Vec<Observation>| tokens.iter().map(|token| f64::from(token.logprob)).sum();
    Ok(observations.iter().map(sum).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

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
