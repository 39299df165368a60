//! Activations in place, in parallel.

use rayon::prelude::*;

use super::zeros;
use crate::nn::Activation;
use crate::simd::math::{gelu, swish};
use crate::simd::{Isa, for_each_isa};

/// Numbers that a thread takes at once: few enough to spread, enough to be worth it.
const CHUNK: usize = 1 << 14;

/// Applies `activation` to every value.
pub fn activate(activation: Activation, values: &mut [f32]) {
    let isa = Isa::detect();
    values.par_chunks_mut(CHUNK).for_each(|values| activate_chunk(isa, activation, values));
}

/// `left · gelu(right)` of rows that hold both halves: `[rows, 2 · width]` to `[rows, width]`.
pub fn geglu(rows: &[f32], width: usize) -> Vec<f32> {
    let isa = Isa::detect();
    let mut output = zeros(rows.len() / 2);
    output
        .par_chunks_mut(width)
        .zip(rows.par_chunks(2 * width))
        .with_min_len(CHUNK.div_ceil(width))
        .for_each(|(output, row)| {
            let (left, right) = row.split_at(width);
            geglu_row(isa, left, right, output);
        });
    output
}

for_each_isa! {
    fn activate_chunk(activation: Activation, values: &mut [f32]) = activate_body;
}

#[inline(always)]
fn activate_body(activation: Activation, values: &mut [f32]) {
    match activation {
        Activation::Gelu => values.iter_mut().for_each(|x| *x = gelu(*x)),
        Activation::QuickGelu => values.iter_mut().for_each(|x| *x = swish(*x, Activation::QUICK_GELU_SLOPE)),
        Activation::Silu => values.iter_mut().for_each(|x| *x = swish(*x, 1.0)),
    }
}

for_each_isa! {
    fn geglu_row(left: &[f32], right: &[f32], output: &mut [f32]) = geglu_body;
}

#[inline(always)]
fn geglu_body(left: &[f32], right: &[f32], output: &mut [f32]) {
    for ((output, left), right) in output.iter_mut().zip(left).zip(right) {
        *output = left * gelu(*right);
    }
}
