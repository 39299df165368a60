//! The layers on the CPU, fused, beside the same layers by the tensor library's own operations: a tensor
//! that tracks gradients is computed with those.
#![cfg(feature = "flex")]

mod common;

use burn::tensor::{Device, Tensor, TensorCreationOptions, TensorData};
use common::{floats, max_difference};
use promptist::nn::{Activation, Conv2d, GroupNorm, Linear, Mask, Parameters, attention, geglu};
use proptest::prelude::*;

fn numbers<const D: usize>(seed: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1 << 24) as f32 - 0.5) * 6.0
    };
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The layer with numbers in all its parameters.
fn filled<P: Parameters>(layer: P) -> P {
    let fill = |_: &str, shape: &[usize]| Ok(floats(numbers(7, [shape.iter().product()], &Device::flex())));
    layer.load(fill).expect("filled")
}

/// The largest difference between what `f` gives on plain tensors and on those that track gradients.
fn difference<const D: usize>(f: impl Fn(&Device) -> Tensor<D>) -> f32 {
    let (fused, plain) = (f(&Device::flex()), f(&Device::flex().autodiff()));
    assert_eq!(fused.dims(), plain.dims());
    max_difference(&floats(fused), &floats(plain))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn attention_is_the_tensor_librarys(
        b in 1..3_usize, t in 1..80_usize, s in 1..80_usize, num_heads in 1..4_usize, d in 1..24_usize, causal: bool,
    ) {
        let (s, mask) = if causal { (t, Mask::Causal) } else { (s, Mask::Full) };
        let e = num_heads * d;
        let found = difference(|device| {
            let [q, k, v] = [(1, t), (2, s), (3, s)].map(|(seed, n)| numbers(seed, [b, n, e], device));
            attention(q, k, v, num_heads, mask)
        });
        // Seen: 1.4e-6.
        prop_assert!(found < 1e-5, "{found}");
    }

    #[test]
    fn group_norm_is_the_tensor_librarys(
        b in 1..3_usize, num_groups in 1..4_usize, per_group in 1..4_usize, h in 1..20_usize, w in 1..20_usize,
    ) {
        let c = num_groups * per_group;
        let norm = |device: &Device| {
            let options = TensorCreationOptions::new(device.clone());
            filled(GroupNorm::zeros(num_groups, c, 1e-5, &options))
        };
        let x = |device: &Device| numbers(1, [b, c, h, w], device);
        for found in [
            difference(|device| norm(device).forward(x(device))),
            difference(|device| norm(device).forward_silu(x(device))),
        ] {
            // Seen: 4e-6; of two pixels nearly alike, more.
            prop_assert!(found < 1e-4, "{found}");
        }
    }

    #[test]
    fn convolution_is_the_tensor_librarys(
        (b, c_in, c_out) in (1..3_usize, 1..9_usize, 1..20_usize),
        (h, w) in (3..40_usize, 3..40_usize),
        (kernel, stride, padding) in (1..4_usize, 1..3_usize, 0..3_usize),
    ) {
        let found = difference(|device| {
            let options = TensorCreationOptions::new(device.clone());
            let conv = Conv2d::zeros(c_in, c_out, kernel, &options).with_stride(stride).with_padding(padding);
            filled(conv).forward(numbers(1, [b, c_in, h, w], device))
        });
        // Sums of up to 81 products of up to 9: at their largest, neighbouring f32 are 6e-5 apart.
        prop_assert!(found < 2e-4, "{found}");
    }

    #[test]
    fn linear_is_the_tensor_librarys(
        (b, t) in (1..4_usize, 1..300_usize), (d_in, d_out) in (1..600_usize, 1..200_usize), has_bias: bool,
    ) {
        let found = difference(|device| {
            let options = TensorCreationOptions::new(device.clone());
            let linear = match has_bias {
                true => Linear::zeros(d_in, d_out, &options),
                false => Linear::without_bias(d_in, d_out, &options),
            };
            filled(linear).forward(numbers::<3>(1, [b, t, d_in], device))
        });
        // Sums of up to 600 products of up to 9.
        prop_assert!(found < 1e-3, "{found}");
    }

    #[test]
    fn activations_are_the_tensor_librarys(rows in 1..9_usize, width in 1..50_usize, long: bool) {
        let rows = if long { rows * 400 } else { rows };
        for activation in [Activation::Gelu, Activation::QuickGelu, Activation::Silu] {
            let found = difference(|device| activation.forward(numbers(1, [rows, width], device)));
            prop_assert!(found < 2e-6, "{activation:?}: {found}");
        }
        let found = difference(|device| geglu(numbers(1, [rows, 2 * width], device)));
        prop_assert!(found < 4e-6, "geglu: {found}");
    }
}

#[test]
fn attention_in_slices_is_the_whole() {
    // 2 · 9000 · 9000 scores are over what exists at once.
    let found = difference(|device| {
        let [q, k, v] = [1, 2, 3].map(|seed| numbers(seed, [1, 9000, 4], device));
        attention(q, k, v, 2, Mask::Full)
    });
    assert!(found < 1e-5, "{found}");
}

#[test]
fn weights_come_back_as_they_went_in() {
    let options = TensorCreationOptions::new(Device::flex());
    let conv = filled(Conv2d::zeros(5, 7, 3, &options)).to_parameters().expect("read back");
    let linear = filled(Linear::zeros(70, 130, &options)).to_parameters().expect("read back");
    for (name, shape, values) in conv.into_iter().chain(linear) {
        let expected = floats(numbers(7, [shape.iter().product()], &Device::flex()));
        assert_eq!(values, expected, "{name} {shape:?}");
    }
}
