//! The pass by hand against the tensor library's gradients.

#![allow(clippy::print_stdout)] // --nocapture shows the errors seen

use burn::tensor::{Device, TensorData};
use proptest::prelude::*;

use super::*;
use crate::gpt2::Gpt2Config;
use crate::gpt2::config::Activation;
use crate::nn::values;

/// Of the largest hidden state. Seen: 1.2e-6.
const HIDDEN_TOLERANCE: f32 = 5e-6;
/// Of the parameter's largest gradient, or of the largest of all where that is far below it, as the bias of keys,
/// whose gradient is exactly 0. Seen: 2.1e-6.
const GRADIENT_TOLERANCE: f32 = 3e-5;

/// Numbers between -1 and 1.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A model none of whose parameters is special, not even biases and norms.
fn model(config: &Gpt2Config) -> Gpt2 {
    let mut seed = 0;
    let fill = |name: &str, shape: &[usize]| {
        seed += 1;
        let (centre, width) =
            if name.contains("ln_") && name.ends_with("weight") { (1.0, 0.5) } else { (0.0, 0.3) };
        Ok(numbers(seed, shape.iter().product()).iter().map(|x| centre + width * x).collect())
    };
    Gpt2::from_parameters(config, &Device::flex(), fill).expect("a possible config")
}

fn config(n_head: usize, head_dim: usize, activation_function: Activation) -> Gpt2Config {
    Gpt2Config {
        vocab_size: 23,
        n_positions: 300,
        n_embd: n_head * head_dim,
        n_layer: 3,
        n_head,
        n_inner: Some(n_head * head_dim * 2 + 5),
        activation_function,
        scale_attn_by_inverse_layer_idx: true,
        bos_token_id: None,
        eos_token_id: None,
        ..Gpt2Config::default()
    }
}

fn input_ids(b: usize, t: usize) -> Tensor<2, Int> {
    let ids: Vec<i64> = (0..b * t).map(|i| (i * i * 7 + i / 3) as i64 % 23).collect();
    Tensor::from_data(TensorData::new(ids, [b, t]), &Device::flex())
}

fn hidden_grad([b, t, e]: [usize; 3]) -> Tensor<3> {
    Tensor::from_data(TensorData::new(numbers(99, b * t * e), [b, t, e]), &Device::flex())
}

fn by_hand(model: &Gpt2, ids: &Tensor<2, Int>, trainable: Trainable) -> (Vec<f32>, Gradients) {
    let pass = TrunkPass::forward(model, ids.clone(), trainable).expect("a batch");
    assert!(matches!(pass.0, Pass::Cpu(_)), "the CPU has a pass of its own");
    let hidden = pass.hidden();
    let mut gradients = Gradients::new();
    pass.backward(hidden_grad(hidden.dims()), &mut gradients).expect("of the same shape");
    (values(hidden).expect("readable"), gradients)
}

fn by_autodiff(model: &Gpt2, ids: &Tensor<2, Int>, trainable: Trainable) -> (Vec<f32>, Gradients) {
    let pass = AutodiffPass::forward(model, ids.clone(), trainable).expect("a batch");
    let hidden = pass.hidden();
    let mut gradients = Gradients::new();
    pass.backward(hidden_grad(hidden.dims()), &mut gradients).expect("of the same shape");
    (values(hidden).expect("readable"), gradients)
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |max, value| max.max(value.abs()))
}

fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |max, d| if d.is_nan() { f32::INFINITY } else { max.max(d) })
}

#[track_caller]
fn check(config: &Gpt2Config, [b, t]: [usize; 2], trainable: Trainable) {
    let (model, ids) = (model(config), input_ids(b, t));
    let (hidden, found) = by_hand(&model, &ids, trainable);
    let (expected_hidden, expected) = by_autodiff(&model, &ids, trainable);
    let hidden_error = difference(&hidden, &expected_hidden) / largest(&expected_hidden);
    assert!(hidden_error <= HIDDEN_TOLERANCE, "hidden states: {hidden_error:e}");
    assert!(found.keys().eq(expected.keys()), "{:?}", found.keys());
    let mut worst = 0.0_f32;
    let expected: Vec<Vec<f32>> = expected.into_values().map(|g| values(g).expect("readable")).collect();
    let of_all = expected.iter().map(|gradient| largest(gradient)).fold(0.0, f32::max);
    for ((name, found), expected) in found.into_iter().zip(&expected) {
        let found = values(found).expect("readable");
        let error = difference(&found, expected) / largest(expected).max(1e-2 * of_all);
        assert!(error <= GRADIENT_TOLERANCE, "`{name}`: {error:e}");
        worst = worst.max(error);
    }
    println!("{b} x {t}, width {}: gradients {worst:.1e}, hidden states {hidden_error:.1e}", config.n_embd);
}

#[test]
fn every_gradient_is_the_tensor_librarys() {
    for activation in [Activation::GeluNew, Activation::Gelu, Activation::Relu] {
        for size in [[1, 1], [3, 1], [1, 37], [3, 37]] {
            check(&config(3, 5, activation), size, Trainable::All);
        }
    }
}

#[test]
fn sequences_longer_than_a_tile_and_wide_heads_too() {
    check(&config(1, 70, Activation::GeluNew), [2, 129], Trainable::All);
    check(&config(2, 16, Activation::GeluNew), [1, 300], Trainable::All);
}

#[test]
fn frozen_blocks_pass_gradients_on_and_have_none() {
    for trainable in [Trainable::LastLayers(0), Trainable::LastLayers(1), Trainable::LastLayers(3)] {
        check(&config(2, 8, Activation::GeluNew), [2, 9], trainable);
    }
    let (_, gradients) =
        by_hand(&model(&config(2, 8, Activation::Gelu)), &input_ids(1, 4), Trainable::LastLayers(1));
    assert!(gradients.contains_key("h.2.ln_1.bias") && gradients.contains_key("wpe.weight"));
    assert!(!gradients.keys().any(|name| name.starts_with("h.1.")));
}

/// What a step of training is made of, in a pool of so many threads.
fn bits_with_threads(num_threads: usize) -> Vec<Vec<u32>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(num_threads).build().expect("threads");
    pool.install(|| {
        let (hidden, gradients) =
            by_hand(&model(&config(4, 24, Activation::GeluNew)), &input_ids(5, 131), Trainable::All);
        let gradients = gradients.into_values().map(|gradient| values(gradient).expect("readable"));
        let all = std::iter::once(hidden).chain(gradients);
        all.map(|values| values.into_iter().map(f32::to_bits).collect()).collect()
    })
}

#[test]
fn the_bits_do_not_hang_on_the_number_of_threads() {
    let one = bits_with_threads(1);
    assert!(bits_with_threads(2) == one && bits_with_threads(5) == one);
}

#[test]
fn a_second_backward_pass_adds() {
    let (model, ids) = (model(&config(2, 8, Activation::GeluNew)), input_ids(2, 9));
    let (_, once) = by_hand(&model, &ids, Trainable::All);
    let mut twice = once.clone();
    let pass = TrunkPass::forward(&model, ids, Trainable::All).expect("a batch");
    let shape = pass.hidden().dims();
    pass.backward(hidden_grad(shape), &mut twice).expect("of the same shape");
    for (name, twice) in twice {
        let (once, twice) = (values(once[&name].clone()), values(twice).expect("readable"));
        let doubled: Vec<f32> = once.expect("readable").iter().map(|x| 2.0 * x).collect();
        // Embeddings are added up row by row, onto what is there.
        assert!(difference(&twice, &doubled) <= 1e-6 * largest(&doubled), "`{name}`");
    }
}

#[test]
fn hidden_states_alone_are_the_same_bits() {
    let (model, ids) = (model(&config(2, 8, Activation::Gelu)), input_ids(2, 17));
    let pass = TrunkPass::forward(&model, ids.clone(), Trainable::All).expect("a batch");
    let alone = values(hidden_states(&model, ids).expect("a batch")).expect("readable");
    assert_eq!(alone, values(pass.hidden()).expect("readable"));
}

#[test]
fn what_the_model_cannot_read_is_an_error() {
    let model = model(&config(1, 4, Activation::GeluNew));
    let ids = |id: i64, [b, t]: [usize; 2]| {
        Tensor::<2, Int>::from_data(TensorData::new(vec![id; b * t], [b, t]), &Device::flex())
    };
    for (id, size) in [(0, [1, 301]), (23, [1, 2]), (-1, [1, 2]), (0, [0, 5]), (0, [5, 0])] {
        let result = TrunkPass::forward(&model, ids(id, size), Trainable::All);
        assert!(matches!(result, Err(Error::Shape(_))), "{id} {size:?}");
    }
    let pass = TrunkPass::forward(&model, ids(0, [1, 2]), Trainable::All).expect("a batch");
    let result = pass.backward(hidden_grad([1, 3, 4]), &mut Gradients::new());
    assert!(matches!(result, Err(Error::Shape(_))));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    // Of narrower models the norms divide by what is almost 0, and either way's rounding shows.
    fn any_shape_is_as_the_tensor_librarys(b in 1..4_usize, t in 1..50_usize, n in 1..4_usize, d in 8..20_usize) {
        check(&config(n, d, Activation::GeluNew), [b, t], Trainable::All);
    }
}
