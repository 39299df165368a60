//! AdamW in one pass over parameters, moments and gradients.

use rayon::prelude::*;

use crate::simd::{Isa, for_each_isa};

/// Numbers that a thread takes at once.
const CHUNK: usize = 1 << 14;

/// Factors of an update, the same for every number of a parameter.
#[derive(Debug, Clone, Copy)]
pub struct Update {
    /// What gradients are multiplied by.
    pub gradient_scale: f32,
    /// Decay rates of the moments, and what is left of 1.
    pub betas: [f32; 2],
    pub rests: [f32; 2],
    /// What parameters are multiplied by.
    pub keep: f32,
    /// The learning rate over the first moment's correction.
    pub step: f32,
    /// One over the root of the second moment's correction.
    pub root_scale: f32,
    pub epsilon: f32,
}

/// Updates parameters and moments, all of one length.
pub fn update(parameters: &mut [f32], [m, v]: [&mut [f32]; 2], gradient: &[f32], update: Update) {
    let isa = Isa::detect();
    let moments = m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK));
    let parameters = parameters.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
    parameters
        .zip(moments)
        .for_each(|((parameters, gradient), (m, v))| update_chunk(isa, parameters, m, v, gradient, update));
}

for_each_isa! {
    fn update_chunk(parameters: &mut [f32], m: &mut [f32], v: &mut [f32], gradient: &[f32], update: Update)
        = update_body;
}

#[inline(always)]
fn update_body(parameters: &mut [f32], m: &mut [f32], v: &mut [f32], gradient: &[f32], update: Update) {
    let Update { gradient_scale, betas, rests, keep, step, root_scale, epsilon } = update;
    let moments = m.iter_mut().zip(v);
    for ((parameter, gradient), (m, v)) in parameters.iter_mut().zip(gradient).zip(moments) {
        let gradient = gradient * gradient_scale;
        *m = *m * betas[0] + gradient * rests[0];
        *v = *v * betas[1] + gradient * gradient * rests[1];
        *parameter = *parameter * keep - *m / (v.sqrt() * root_scale + epsilon) * step;
    }
}

/// The sum of all squares in f64, in an order that does not hang on the number of threads.
pub fn sum_of_squares(values: &[f32]) -> f64 {
    let isa = Isa::detect();
    let sums: Vec<f64> = values
        .par_chunks(CHUNK)
        .map(|values| {
            let mut sum = 0.0;
            sum_of_squares_chunk(isa, values, &mut sum);
            sum
        })
        .collect();
    sums.iter().sum()
}

for_each_isa! {
    fn sum_of_squares_chunk(values: &[f32], sum: &mut f64) = sum_of_squares_body;
}

#[inline(always)]
fn sum_of_squares_body(values: &[f32], sum: &mut f64) {
    // Sixteen running sums, so that the loop vectorises with one fixed order of additions.
    let mut sums = [0.0f64; 16];
    let (head, tail) = values.as_chunks::<16>();
    for chunk in head {
        for (sum, &value) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(value) * f64::from(value);
        }
    }
    let tail: f64 = tail.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    *sum = sums.iter().sum::<f64>() + tail;
}
