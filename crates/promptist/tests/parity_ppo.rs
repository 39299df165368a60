//! PPO against PyTorch: every equation in f64, the released code's faults one by one, and a whole round on a
//! tiny GPT-2.
//!
//! Golden files: `tools/reference/ppo.py`, `ppo_round.py`. They pad, and mean over masks; ours has no padding.

#![allow(clippy::print_stdout)] // --nocapture shows the errors seen

mod common;

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use promptist::nn::{ParameterMap, Parameters};
use promptist::train::adamw::{AdamW, AdamWConfig, Decay, Gradients};
use promptist::train::ppo::{gae, kl, loss, whiten};
use promptist::train::trainable::Trainable;
use serde::Deserialize;

/// Of f64 functions, relative to 1 or to the number if that is larger. Seen: 1.5e-13, in the
/// whitening of numbers near 1000.
const EQUATION_TOLERANCE: f64 = 1e-10;
/// Of weights in f32 after three updates, of the learning rate. Seen on flex: 1.8e-5.
const WEIGHT_TOLERANCE: f64 = 1e-4;

#[derive(Deserialize)]
struct Equations {
    gae: Vec<GaeCase>,
    whiten: Vec<WhitenCase>,
    rewards: Vec<RewardCase>,
    kl_controller: Vec<ControllerCase>,
    optimizer: Vec<OptimizerCase>,
    policy_loss: PolicyCases,
    value_loss: ValueCases,
}

#[derive(Deserialize)]
struct GaeCase {
    gamma: f64,
    lambda: f64,
    rewards: Vec<f64>,
    values: Vec<f64>,
    advantages: Vec<f64>,
}

#[derive(Deserialize)]
struct WhitenCase {
    name: String,
    advantages: Vec<Vec<f64>>,
    whitened: Vec<Vec<f64>>,
    whitened_with_padding: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct RewardCase {
    kl_coef: f64,
    logprobs: Vec<f64>,
    ref_logprobs: Vec<f64>,
    score: f64,
    kl: f64,
    rewards: Vec<f64>,
    rewards_score_replaces: Vec<f64>,
}

#[derive(Deserialize)]
struct ControllerCase {
    kl_coef: f64,
    kl: f64,
    responses: usize,
    target: f64,
    horizon: f64,
    next: f64,
}

#[derive(Deserialize)]
struct OptimizerCase {
    name: String,
    lr: f64,
    betas: Betas,
    eps: f64,
    weight_decay: f64,
    decays_vectors: bool,
    start: Values,
    gradients: Vec<Values>,
    end: Values,
}

#[derive(Deserialize)]
struct Betas {
    beta_1: f64,
    beta_2: f64,
}

/// By parameter.
type Values = BTreeMap<String, Vec<f32>>;

#[derive(Deserialize)]
struct PolicyCases {
    cliprange: f64,
    logprobs: Vec<f64>,
    old_logprobs: Vec<f64>,
    advantages: Vec<f64>,
    losses: Vec<f64>,
    gradients: Vec<f64>,
    is_clipped: Vec<bool>,
}

#[derive(Deserialize)]
struct ValueCases {
    cliprange: f64,
    values: Vec<f64>,
    old_values: Vec<f64>,
    returns: Vec<f64>,
    losses: Vec<f64>,
    gradients: Vec<f64>,
    is_clipped: Vec<bool>,
}

#[test]
fn advantages_equal_pytorchs() {
    let mut worst = 0.0;
    for case in equations().gae {
        let found = gae::advantages(&case.rewards, &case.values, case.gamma, case.lambda);
        check_all(&found, &case.advantages, &mut worst, "advantages");
    }
    println!("advantages: {worst:.1e}");
}

#[test]
fn whitened_advantages_equal_pytorchs() {
    let mut worst = 0.0;
    for case in equations().whiten {
        let mut found = case.advantages.clone();
        whiten::whiten(&mut found);
        check_rows(&found, &case.whitened, &mut worst, &case.name);
        // Q10: with padding's zeros among what is measured.
        let mut found = case.advantages.clone();
        whiten::whiten_padded(&mut found);
        check_rows(&found, &case.whitened_with_padding, &mut worst, &case.name);
    }
    println!("whitening: {worst:.1e}");
}

#[test]
fn token_rewards_and_kl_equal_pytorchs() {
    let mut worst = 0.0;
    for case in equations().rewards {
        let (own, reference) = (&case.logprobs, &case.ref_logprobs);
        let added = kl::rewards(own, reference, case.score, case.kl_coef, false);
        check_all(&added, &case.rewards, &mut worst, "added");
        // Q7: the score takes the place of the last token's charge.
        let replaced = kl::rewards(own, reference, case.score, case.kl_coef, true);
        check_all(&replaced, &case.rewards_score_replaces, &mut worst, "replaced");
        check(kl::of_response(own, reference), case.kl, &mut worst, "KL");
    }
    println!("rewards: {worst:.1e}");
}

#[test]
fn the_kl_controller_equals_pythons() {
    let mut worst = 0.0;
    for case in equations().kl_controller {
        let mut controller = kl::Controller { coefficient: case.kl_coef };
        controller.update(case.kl, case.responses, case.target, case.horizon);
        check(controller.coefficient, case.next, &mut worst, "coefficient");
    }
    println!("controller: {worst:.1e}");
}

#[test]
fn policy_losses_and_gradients_equal_pytorchs() {
    let cases = equations().policy_loss;
    let mut worst = 0.0;
    for (idx, &logprob) in cases.logprobs.iter().enumerate() {
        let (old, advantage) = (cases.old_logprobs[idx], cases.advantages[idx]);
        let found = loss::policy(logprob, old, advantage, cases.cliprange);
        let about = format!("log ratio {}, advantage {advantage}", logprob - old);
        check(found.value, cases.losses[idx], &mut worst, &about);
        check(found.grad, cases.gradients[idx], &mut worst, &about);
        assert_eq!(found.is_clipped, cases.is_clipped[idx], "{about}");
    }
    println!("{} policy losses: {worst:.1e}", cases.losses.len());
}

#[test]
fn value_losses_and_gradients_equal_pytorchs() {
    let cases = equations().value_loss;
    let mut worst = 0.0;
    for (idx, &value) in cases.values.iter().enumerate() {
        let (old, returned) = (cases.old_values[idx], cases.returns[idx]);
        let found = loss::value(value, old, returned, cases.cliprange);
        let about = format!("value {value}, old {old}, return {returned}");
        check(found.value, cases.losses[idx], &mut worst, &about);
        check(found.grad, cases.gradients[idx], &mut worst, &about);
        assert_eq!(found.is_clipped, cases.is_clipped[idx], "{about}");
    }
    println!("{} value losses: {worst:.1e}", cases.losses.len());
}

/// Q9 is the second case: everything decays, and epsilon is PyTorch's default.
#[test]
fn adamw_equals_pytorchs() {
    for case in equations().optimizer {
        for (device_name, device) in common::devices() {
            let (beta_1, beta_2) = (case.betas.beta_1, case.betas.beta_2);
            let config = AdamWConfig {
                betas: (beta_1, beta_2),
                eps: case.eps,
                weight_decay: case.weight_decay,
                decay: if case.decays_vectors { Decay::All } else { Decay::Matrices },
                max_grad_norm: f64::INFINITY,
                trainable: Trainable::All,
            };
            let mut weights = TwoParameters::zeros(&device);
            weights = weights.load(|name, _| Ok(case.start[name].clone())).expect("as many values");
            let mut optimizer = AdamW::default();
            for gradients in &case.gradients {
                let gradient = |values: &[f32]| Tensor::<1>::from_data(values, &device);
                let gradients: Gradients =
                    gradients.iter().map(|(name, values)| (name.clone(), gradient(values))).collect();
                (weights, _) = optimizer.update(weights, &gradients, 1.0, case.lr, &config).expect("finite");
            }
            let mut worst = 0.0_f64;
            for (name, _, found) in weights.to_parameters().expect("readable") {
                let error = f64::from(common::max_difference(&found, &case.end[&name])) / case.lr;
                assert!(error <= WEIGHT_TOLERANCE, "{}, {name}: {error:e} of the learning rate", case.name);
                worst = worst.max(error);
            }
            println!("{device_name}, AdamW {}: {worst:.1e} of the learning rate", case.name);
        }
    }
}

#[derive(Clone)]
struct TwoParameters {
    matrix: Tensor<2>,
    vector: Tensor<1>,
}

impl TwoParameters {
    fn zeros(device: &Device) -> Self {
        Self { matrix: Tensor::zeros([2, 4], device), vector: Tensor::zeros([5], device) }
    }
}

impl Parameters for TwoParameters {
    fn map_parameters(self, _: &str, map: &mut impl ParameterMap) -> promptist::Result<Self> {
        Ok(Self { matrix: map.map("matrix", self.matrix)?, vector: map.map("vector", self.vector)? })
    }
}

fn equations() -> Equations {
    common::golden_json("ppo/equations.json")
}

#[track_caller]
fn check(found: f64, expected: f64, worst: &mut f64, about: &str) {
    let error = (found - expected).abs() / expected.abs().max(1.0);
    assert!(error <= EQUATION_TOLERANCE, "{about}: {found} for {expected}, {error:e}");
    *worst = worst.max(error);
}

#[track_caller]
fn check_all(found: &[f64], expected: &[f64], worst: &mut f64, about: &str) {
    assert_eq!(found.len(), expected.len(), "{about}");
    for (&found, &expected) in found.iter().zip(expected) {
        check(found, expected, worst, about);
    }
}

#[track_caller]
fn check_rows(found: &[Vec<f64>], expected: &[Vec<f64>], worst: &mut f64, about: &str) {
    assert_eq!(found.len(), expected.len(), "{about}");
    for (found, expected) in found.iter().zip(expected) {
        check_all(found, expected, worst, about);
    }
}
