//! Layer normalisation and its gradient, a few rows at a time.

use rayon::prelude::*;

use super::column_sums::add_up;
use crate::simd::math::{LANES, Lanes, sum_lanes};
use crate::simd::{Isa, for_each_isa};

/// Rows that a task takes. What is summed over all rows is summed in these first, so the order of additions
/// does not hang on the number of threads.
const ROWS: usize = 32;

/// What a row was normalised with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Statistics {
    mean: f32,
    /// `1 / √(var + ε)`.
    inverse: f32,
}

/// Statistics of each row of `x`, `[R, E]`.
pub fn statistics(x: &[f32], width: usize, epsilon: f64) -> Vec<Statistics> {
    let isa = Isa::detect();
    let mut statistics = vec![Statistics::default(); x.len() / width];
    statistics
        .par_chunks_mut(ROWS)
        .zip(x.par_chunks(ROWS * width))
        .for_each(|(statistics, x)| statistics_rows(isa, x, width, epsilon as f32, statistics));
    statistics
}

/// `(x − mean) / √(var + ε) · weight + bias` of each row, `[R, E]`.
pub fn normalize(x: &[f32], statistics: &[Statistics], weight: &[f32], bias: &[f32], output: &mut [f32]) {
    let isa = Isa::detect();
    let width = weight.len();
    let rows = output.par_chunks_mut(ROWS * width).zip(x.par_chunks(ROWS * width));
    rows.zip(statistics.par_chunks(ROWS))
        .for_each(|((output, x), statistics)| normalize_rows(isa, x, statistics, weight, bias, output));
}

/// Adds to `x_grad` what a loss asks of `x`, given what it asks of the output; returns what it asks of weight
/// and bias.
///
/// # Shapes
/// `x`, `output_grad`, `x_grad`: `[R, E]`
pub fn normalize_gradient(
    x: &[f32],
    statistics: &[Statistics],
    weight: &[f32],
    output_grad: &[f32],
    x_grad: &mut [f32],
) -> [Vec<f32>; 2] {
    let isa = Isa::detect();
    let width = weight.len();
    let chunk = ROWS * width;
    let rows = x_grad.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).zip(output_grad.par_chunks(chunk));
    let sums: Vec<Vec<f32>> = rows
        .zip(statistics.par_chunks(ROWS))
        .map(|(((x_grad, x), output_grad), statistics)| {
            let mut sums = vec![0.0; 2 * width];
            gradient_rows(isa, Given { x, statistics, weight, output_grad }, x_grad, &mut sums);
            sums
        })
        .collect();
    let mut weight_grad = vec![0.0; 2 * width];
    add_up(&sums, &mut weight_grad);
    let bias_grad = weight_grad.split_off(width);
    [weight_grad, bias_grad]
}

for_each_isa! {
    fn statistics_rows(x: &[f32], width: usize, epsilon: f32, statistics: &mut [Statistics]) = statistics_body;
}

#[inline(always)]
fn statistics_body(x: &[f32], width: usize, epsilon: f32, statistics: &mut [Statistics]) {
    for (x, statistics) in x.chunks_exact(width).zip(statistics) {
        let mean = sum(x, |x| x) / width as f32;
        let variance = sum(x, |x| (x - mean) * (x - mean)) / width as f32;
        *statistics = Statistics { mean, inverse: 1.0 / (variance + epsilon).sqrt() };
    }
}

/// The sum of a function of each number, by lanes.
#[inline(always)]
fn sum(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut sums: Lanes = [0.0; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += of(chunk[lane]);
        }
    }
    rest.iter().fold(sum_lanes(&sums), |sum, &value| sum + of(value))
}

for_each_isa! {
    fn normalize_rows(x: &[f32], statistics: &[Statistics], weight: &[f32], bias: &[f32], output: &mut [f32])
        = normalize_body;
}

#[inline(always)]
fn normalize_body(x: &[f32], statistics: &[Statistics], weight: &[f32], bias: &[f32], output: &mut [f32]) {
    let width = weight.len();
    let rows = x.chunks_exact(width).zip(output.chunks_exact_mut(width));
    for ((x, output), &Statistics { mean, inverse }) in rows.zip(statistics) {
        for (((output, x), weight), bias) in output.iter_mut().zip(x).zip(weight).zip(bias) {
            *output = (x - mean) * inverse * weight + bias;
        }
    }
}

/// What the gradient is a function of.
#[derive(Clone, Copy)]
struct Given<'a> {
    x: &'a [f32],
    statistics: &'a [Statistics],
    weight: &'a [f32],
    output_grad: &'a [f32],
}

for_each_isa! {
    fn gradient_rows(given: Given<'_>, x_grad: &mut [f32], sums: &mut [f32]) = gradient_body;
}

#[inline(always)]
fn gradient_body(given: Given<'_>, x_grad: &mut [f32], sums: &mut [f32]) {
    let Given { x, statistics, weight, output_grad } = given;
    let width = weight.len();
    let (weight_sums, bias_sums) = sums.split_at_mut(width);
    let rows = x.chunks_exact(width).zip(output_grad.chunks_exact(width)).zip(x_grad.chunks_exact_mut(width));
    for (((x, output_grad), x_grad), &Statistics { mean, inverse }) in rows.zip(statistics) {
        // With n the normalised row and g = output_grad · weight, what x gets is (g − mean(g) − n mean(g n)) / σ.
        let (mut g_sums, mut gn_sums): (Lanes, Lanes) = ([0.0; LANES], [0.0; LANES]);
        for first in (0..width).step_by(LANES) {
            let columns = first..width.min(first + LANES);
            let (x, output_grad) = (&x[columns.clone()], &output_grad[columns.clone()]);
            let (weight_sums, bias_sums) =
                (&mut weight_sums[columns.clone()], &mut bias_sums[columns.clone()]);
            let weight = &weight[columns];
            for lane in 0..x.len() {
                let n = (x[lane] - mean) * inverse;
                let g = output_grad[lane] * weight[lane];
                weight_sums[lane] += output_grad[lane] * n;
                bias_sums[lane] += output_grad[lane];
                g_sums[lane] += g;
                gn_sums[lane] += g * n;
            }
        }
        let g_mean = sum_lanes(&g_sums) / width as f32;
        let gn_mean = sum_lanes(&gn_sums) / width as f32;
        for (((x_grad, x), output_grad), weight) in x_grad.iter_mut().zip(x).zip(output_grad).zip(weight) {
            let n = (x - mean) * inverse;
            *x_grad += (output_grad * weight - g_mean - n * gn_mean) * inverse;
        }
    }
}
