//! Learning from a round: some epochs over it, each one or a few steps of AdamW.
//!
//! Losses are means over the tokens of a step, so the cut into micro-batches does not show. Policy and
//! value network have an optimiser each, and the losses of one do not reach the other unless they
//! share a trunk.

use super::config::{OptimizerConfig, PpoConfig};
use super::experience::Experience;
use super::loss;
use super::value_network::ValueNetwork;
use crate::error::{Error, Result};
use crate::gpt2::Gpt2;
use crate::train::adamw::{AdamW, AdamWConfig, Decay, Gradients};
use crate::train::examples::{Example, micro_batches};
use crate::train::loss::target_logprobs_backward;
use crate::train::micro_batch::MicroBatch;
use crate::train::trainable::Trainable;
use crate::train::trunk::{self, TrunkPass};

/// What learns.
#[derive(Debug, Clone)]
pub struct Learner {
    /// The policy.
    pub policy: Gpt2,
    /// The value network.
    pub value: ValueNetwork,
    /// The policy's optimiser.
    pub policy_optimizer: AdamW,
    /// The value network's.
    pub value_optimizer: AdamW,
}

/// Losses of one step and what they say.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StepLosses {
    /// Tokens of the step.
    pub tokens: usize,
    /// Mean over tokens.
    pub policy_loss: f64,
    /// Mean over tokens, before its coefficient.
    pub value_loss: f64,
    /// Share of tokens whose ratio is past the clip in the direction of its advantage.
    pub clip_fraction: f64,
    /// Share of tokens whose value has moved past the clip.
    pub value_clip_fraction: f64,
    /// Mean over tokens of `(ρ − 1) − log ρ`: an estimate of the KL from the round's first policy that is
    /// never negative (Schulman 2020).
    pub approx_kl: f64,
    /// Mean over responses of `Σ (log π − log π_old)`: what the released code steers by (Q5).
    pub kl_to_old: f64,
    /// Mean over tokens of the policy's entropy, in nats.
    pub entropy: f64,
    /// The policy's gradient, before clipping.
    pub grad_norm: f64,
    /// The value network's.
    pub value_grad_norm: f64,
}

/// Gradients of a step.
#[derive(Default)]
pub struct StepGradients {
    /// By the policy's parameters, the value loss's share included if it sits on the policy's trunk.
    pub policy: Gradients,
    /// By the value network's parameters.
    pub value: Gradients,
}

impl Learner {
    /// One step over `experiences`. Without `learn_policy` only the value network moves.
    ///
    /// # Errors
    /// [`Error::Shape`] if an example does not fit; [`Error::NotFinite`] if a loss or gradient is no number.
    pub fn step(
        mut self,
        experiences: &[&Experience],
        learn_policy: bool,
        config: &PpoConfig,
    ) -> Result<(Self, StepLosses)> {
        let (mut losses, gradients) = self.gradients(experiences, config)?;
        if !(losses.policy_loss + losses.value_loss).is_finite() {
            let StepLosses { policy_loss, value_loss, .. } = losses;
            return Err(Error::NotFinite(format!("policy loss {policy_loss}, value loss {value_loss}")));
        }
        let adamw = adamw(&config.optimizer, config.compat.default_adamw);
        let lr = config.optimizer.learning_rate;
        if learn_policy {
            let adamw = AdamWConfig { trainable: config.ppo.trainable(), ..adamw };
            (self.policy, losses.grad_norm) =
                self.policy_optimizer.update(self.policy, &gradients.policy, 1.0, lr, &adamw)?;
        }
        let value_lr = config.optimizer.value_learning_rate.unwrap_or(lr);
        (self.value, losses.value_grad_norm) =
            self.value_optimizer.update(self.value, &gradients.value, 1.0, value_lr, &adamw)?;
        trunk::recycle(gradients.policy);
        trunk::recycle(gradients.value);
        Ok((self, losses))
    }

    /// Losses of a step and their gradients with respect to every parameter that trains.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn gradients(
        &self,
        experiences: &[&Experience],
        config: &PpoConfig,
    ) -> Result<(StepLosses, StepGradients)> {
        let mut sums = Sums::default();
        let mut gradients = StepGradients::default();
        let tokens: usize = experiences.iter().map(|experience| experience.example.num_targets()).sum();
        let mut sorted: Vec<(&Example, &Experience)> =
            experiences.iter().map(|experience| (&experience.example, *experience)).collect();
        sorted.sort_by_key(|(example, _)| example.input_len());
        let examples: Vec<&Example> = sorted.iter().map(|(example, _)| *example).collect();
        let mut rest = sorted.as_slice();
        for examples in micro_batches(&examples, config.ppo.micro_batch_tokens) {
            let (now, later) = rest.split_at(examples.len());
            rest = later;
            let batch: Vec<&Experience> = now.iter().map(|(_, experience)| *experience).collect();
            self.accumulate(&examples, &batch, tokens, config, &mut gradients, &mut sums)?;
        }
        Ok((sums.means(tokens, experiences.len()), gradients))
    }

    /// Adds the losses and gradients of one micro-batch, of a step of `tokens` tokens.
    fn accumulate(
        &self,
        examples: &[&Example],
        batch: &[&Experience],
        tokens: usize,
        config: &PpoConfig,
        gradients: &mut StepGradients,
        sums: &mut Sums,
    ) -> Result<()> {
        let scale = 1.0 / tokens as f64;
        let ppo = &config.ppo;
        // The policy.
        let micro_batch = MicroBatch::new(&self.policy, examples)?;
        let pass = TrunkPass::forward(&self.policy, micro_batch.input_ids.clone(), ppo.trainable())?;
        let hidden = pass.hidden(); // [B, T, E]
        let shape = hidden.dims();
        let rows = micro_batch.targets_of(hidden);
        let old: Vec<(f64, f64)> = batch
            .iter()
            .flat_map(|experience| {
                experience.logprobs.iter().copied().zip(experience.advantages.iter().copied())
            })
            .collect();
        let token = |row: usize, logprob: f32| {
            let (old_logprob, advantage) = old[row];
            loss::policy(f64::from(logprob), old_logprob, advantage, ppo.cliprange)
        };
        let head =
            target_logprobs_backward(&rows, self.policy.wte(), &micro_batch.targets, |row, logprob| {
                (token(row, logprob).grad * scale) as f32
            })?;
        sums.add_policy(&head.targets.logprobs, &head.targets.entropies, old.iter().map(|old| old.0), token);
        let mut rows_grad = head.hidden_grad;

        // The value network.
        let value_grads = |values: &[f32]| -> Vec<f32> {
            let targets =
                batch.iter().flat_map(|experience| experience.values.iter().zip(&experience.returns));
            let grads = values.iter().zip(targets).map(|(&value, (&old, &target))| {
                let loss = loss::value(f64::from(value), old, target, ppo.cliprange_value);
                sums.value_loss += loss.value;
                sums.value_clipped += usize::from(loss.is_clipped);
                (loss.grad * ppo.value_coefficient * scale) as f32
            });
            grads.collect()
        };
        match &self.value.trunk {
            None => {
                rows_grad = rows_grad + self.value.head.backward(rows, &mut gradients.value, value_grads)?;
            }
            Some(trunk) => {
                let shifted: Vec<Example>;
                let micro_batch = match config.compat.value_after_token {
                    true => {
                        shifted = examples.iter().map(|example| after_tokens(example)).collect();
                        MicroBatch::new(trunk, &shifted.iter().collect::<Vec<_>>())?
                    }
                    false => micro_batch.clone(),
                };
                let pass = TrunkPass::forward(trunk, micro_batch.input_ids.clone(), Trainable::All)?;
                let hidden = pass.hidden();
                let shape = hidden.dims();
                let rows = micro_batch.targets_of(hidden);
                let rows_grad = self.value.head.backward(rows, &mut gradients.value, value_grads)?;
                pass.backward(micro_batch.scatter(rows_grad, shape), &mut gradients.value)?;
            }
        }

        trunk::add(&mut gradients.policy, "wte.weight", head.wte_grad.reshape([-1]));
        pass.backward(micro_batch.scatter(rows_grad, shape), &mut gradients.policy)
    }
}

/// The example whose rows are the states after the tokens of `example`, not before (Q4).
fn after_tokens(example: &Example) -> Example {
    let mut token_ids = example.token_ids.clone();
    token_ids.push(0); // A target that nobody looks at.
    Example { token_ids, loss_from: example.loss_from + 1 }
}

/// The optimiser's settings; with `default_adamw` what the released code ran, which passed no decay on (Q9).
fn adamw(config: &OptimizerConfig, default_adamw: bool) -> AdamWConfig {
    let ours = AdamWConfig {
        betas: config.adam_betas,
        eps: config.adam_eps,
        weight_decay: config.weight_decay,
        decay: Decay::Matrices,
        max_grad_norm: config.max_grad_norm,
        trainable: Trainable::All,
    };
    match default_adamw {
        true => AdamWConfig { eps: 1e-8, weight_decay: 0.01, decay: Decay::All, ..ours },
        false => ours,
    }
}

/// Sums over the tokens of a step.
#[derive(Default)]
struct Sums {
    policy_loss: f64,
    value_loss: f64,
    clipped: usize,
    value_clipped: usize,
    approx_kl: f64,
    log_ratio: f64,
    entropy: f64,
}

impl Sums {
    /// Adds what the policy now says of tokens; `old_logprobs` are log π at the round's
    /// beginning.
    fn add_policy(
        &mut self,
        logprobs: &[f32],
        entropies: &[f32],
        old_logprobs: impl Iterator<Item = f64>,
        token: impl Fn(usize, f32) -> loss::TokenLoss,
    ) {
        for (row, (&logprob, old_logprob)) in logprobs.iter().zip(old_logprobs).enumerate() {
            let loss = token(row, logprob);
            self.policy_loss += loss.value;
            self.clipped += usize::from(loss.is_clipped);
            let log_ratio = f64::from(logprob) - old_logprob;
            self.approx_kl += log_ratio.exp_m1() - log_ratio;
            self.log_ratio += log_ratio;
        }
        self.entropy += entropies.iter().copied().map(f64::from).sum::<f64>();
    }

    fn means(&self, tokens: usize, responses: usize) -> StepLosses {
        let (n, responses) = (tokens.max(1) as f64, responses.max(1) as f64);
        StepLosses {
            tokens,
            policy_loss: self.policy_loss / n,
            value_loss: self.value_loss / n,
            clip_fraction: self.clipped as f64 / n,
            value_clip_fraction: self.value_clipped as f64 / n,
            approx_kl: self.approx_kl / n,
            kl_to_old: self.log_ratio / responses,
            entropy: self.entropy / n,
            grad_norm: 0.0,
            value_grad_norm: 0.0,
        }
    }
}
