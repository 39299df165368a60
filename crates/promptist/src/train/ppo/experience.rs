//! What a round's responses looked like before it was learned from: log-probabilities, values,
//! rewards, advantages. All of it is the training model's, whatever the search computed with.

use std::collections::BTreeMap;

use burn::tensor::Tensor;

use super::config::PpoConfig;
use super::value_network::ValueNetwork;
use super::{gae, kl, whiten};
use crate::error::{Error, Result};
use crate::gpt2::Gpt2;
use crate::nn::Parameters;
use crate::train::examples::{Example, micro_batches};
use crate::train::loss::target_logprobs;
use crate::train::micro_batch::MicroBatch;
use crate::train::trainable::Trainable;
use crate::train::trunk::hidden_states;

/// A response as it was explored, before any update of its round. One number a token in each list,
/// the end token last.
#[derive(Debug, Clone, PartialEq)]
pub struct Experience {
    /// Prompt and response; the tokens that count are the response's.
    pub example: Example,
    /// log π of the policy that the round began with.
    pub logprobs: Vec<f64>,
    /// log π of the reference.
    pub reference_logprobs: Vec<f64>,
    /// V at the state before each token.
    pub values: Vec<f64>,
    /// The KL charge of each token, and the score.
    pub rewards: Vec<f64>,
    /// Whitened over the round.
    pub advantages: Vec<f64>,
    /// What values should have been: advantages before whitening, and `values`.
    pub returns: Vec<f64>,
}

/// The models of a round.
#[derive(Clone, Copy)]
pub struct Models<'a> {
    /// The policy.
    pub policy: &'a Gpt2,
    /// The SFT model.
    pub reference: &'a Gpt2,
    /// The value network.
    pub value: &'a ValueNetwork,
}

/// Experience of the responses `examples`, whose scores are `scores`, with a KL charge of
/// `kl_coefficient`.
///
/// # Errors
/// [`Error::Shape`] if an example does not fit; [`Error::NotFinite`] if a model gives no numbers.
pub fn collect(
    models: Models,
    examples: Vec<Example>,
    scores: &[f64],
    kl_coefficient: f64,
    config: &PpoConfig,
) -> Result<Vec<Experience>> {
    if examples.len() != scores.len() {
        return Err(Error::Shape(format!("{} scores of {} responses", scores.len(), examples.len())));
    }
    let max_tokens = config.ppo.micro_batch_tokens;
    let own = logprobs(models.policy, models.policy.wte(), &examples, max_tokens)?;
    let reference = match config.compat.reference_on_policy_trunk {
        true => {
            let hybrid = upper_blocks_on(models.policy, models.reference, config.ppo.trainable())?;
            logprobs(&hybrid, models.reference.wte(), &examples, max_tokens)?
        }
        false => logprobs(models.reference, models.reference.wte(), &examples, max_tokens)?,
    };
    let values = values(models.value, models.policy, &examples, max_tokens)?;

    let mut experiences = Vec::with_capacity(examples.len());
    let per_response = examples.into_iter().zip(scores).zip(own.into_iter().zip(reference).zip(values));
    for ((example, &score), ((logprobs, reference_logprobs), values)) in per_response {
        let replaces = config.compat.score_replaces_kl;
        let rewards = kl::rewards(&logprobs, &reference_logprobs, score, kl_coefficient, replaces);
        let advantages = gae::advantages(&rewards, &values, config.ppo.gamma, config.ppo.lambda);
        let returns = advantages.iter().zip(&values).map(|(advantage, value)| advantage + value).collect();
        experiences.push(Experience {
            example,
            logprobs,
            reference_logprobs,
            values,
            rewards,
            advantages,
            returns,
        });
    }
    let mut advantages: Vec<Vec<f64>> =
        experiences.iter_mut().map(|experience| std::mem::take(&mut experience.advantages)).collect();
    match config.compat.whiten_padding {
        true => whiten::whiten_padded(&mut advantages),
        false => whiten::whiten(&mut advantages),
    }
    for (experience, advantages) in experiences.iter_mut().zip(advantages) {
        experience.advantages = advantages;
    }
    Ok(experiences)
}

/// log π of each response's tokens under `model` with the head `wte`.
///
/// # Errors
/// As [`collect`].
pub fn logprobs(
    model: &Gpt2,
    wte: &Tensor<2>,
    examples: &[Example],
    max_tokens: usize,
) -> Result<Vec<Vec<f64>>> {
    in_micro_batches(examples, max_tokens, |batch| {
        let batch = MicroBatch::new(model, batch)?;
        let hidden = batch.targets_of(hidden_states(model, batch.input_ids.clone())?); // [R, E]
        Ok(target_logprobs(&hidden, wte, &batch.targets)?.logprobs)
    })
}

/// V at the state before each token of the responses.
///
/// # Errors
/// As [`collect`].
pub fn values(
    network: &ValueNetwork,
    policy: &Gpt2,
    examples: &[Example],
    max_tokens: usize,
) -> Result<Vec<Vec<f64>>> {
    let trunk = network.trunk.as_ref().unwrap_or(policy);
    in_micro_batches(examples, max_tokens, |batch| {
        let batch = MicroBatch::new(trunk, batch)?;
        network.head.values(batch.targets_of(hidden_states(trunk, batch.input_ids.clone())?))
    })
}

/// Runs `pass` over micro-batches of like length. It returns a number for each target, example by example;
/// they are handed back by example, in the order of `examples`.
fn in_micro_batches(
    examples: &[Example],
    max_tokens: usize,
    mut pass: impl FnMut(&[&Example]) -> Result<Vec<f32>>,
) -> Result<Vec<Vec<f64>>> {
    let mut order: Vec<usize> = (0..examples.len()).collect();
    order.sort_by_key(|&idx| examples[idx].input_len());
    let sorted: Vec<&Example> = order.iter().map(|&idx| &examples[idx]).collect();
    let mut found = Vec::with_capacity(examples.len());
    for batch in micro_batches(&sorted, max_tokens) {
        let mut numbers = pass(&batch)?.into_iter().map(f64::from);
        for example in batch {
            let of_example: Vec<f64> = numbers.by_ref().take(example.num_targets()).collect();
            if !of_example.iter().all(|number| number.is_finite()) {
                return Err(Error::NotFinite("a model gives no number for a token of a response".into()));
            }
            found.push(of_example);
        }
    }
    let mut by_example = vec![Vec::new(); examples.len()];
    for (idx, numbers) in order.into_iter().zip(found) {
        by_example[idx] = numbers;
    }
    Ok(by_example)
}

/// The released code's reference (Q6): trainable blocks and final norm of `reference` on the embeddings and
/// lower blocks of `policy`.
fn upper_blocks_on(policy: &Gpt2, reference: &Gpt2, trainable: Trainable) -> Result<Gpt2> {
    let values = |model: &Gpt2| -> Result<BTreeMap<String, Vec<f32>>> {
        Ok(model.to_parameters()?.into_iter().map(|(name, _, values)| (name, values)).collect())
    };
    let (mut upper, mut lower) = (values(reference)?, values(policy)?);
    let num_layers = policy.config().n_layer;
    policy.clone().load(|name, _| {
        let is_embedding = name.starts_with("wte") || name.starts_with("wpe");
        let from =
            if trainable.includes(name, num_layers) && !is_embedding { &mut upper } else { &mut lower };
        from.remove(name).ok_or_else(|| Error::Shape(format!("no parameter `{name}`")))
    })
}
