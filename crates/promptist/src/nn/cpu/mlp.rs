//! The activation of GPT-2's MLP and its gradient, in parallel.

use rayon::prelude::*;

use crate::gpt2::config::Activation;
use crate::simd::{Isa, math};

/// Numbers that a thread takes at once: they stay in a core's first cache.
const CHUNK: usize = 1 << 12;

/// The activation of each of `values`.
pub fn activate(activation: Activation, values: &[f32], output: &mut [f32]) {
    let isa = Isa::detect();
    output.par_chunks_mut(CHUNK).zip(values.par_chunks(CHUNK)).for_each(|(output, values)| {
        output.copy_from_slice(values);
        math::activate(isa, activation, output);
    });
}

/// The activation of each of `values`, in place, and what a loss asks of what they were, given in `grads` what it
/// asks of the activation.
pub fn activate_with_gradient(activation: Activation, values: &mut [f32], grads: &mut [f32]) {
    let isa = Isa::detect();
    values
        .par_chunks_mut(CHUNK)
        .zip(grads.par_chunks_mut(CHUNK))
        .for_each(|(values, grads)| math::activate_with_gradient(isa, activation, values, grads));
}
