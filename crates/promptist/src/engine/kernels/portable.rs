//! The products in plain Rust: what they mean, and what runs where no other kernel does.

use super::Job;
use crate::engine::packed::{BLOCK, GROUP};
use crate::engine::precision::Precision;

/// All rows of `tile`, from row `first` of the activations on.
pub(super) fn product(job: Job<'_>, first: usize, tile: &mut [[f32; BLOCK]]) {
    for (row, out) in (first..).zip(tile) {
        match job.precision {
            Precision::F32 => f32_row(job, row, out),
            Precision::Bf16 => bf16_row(job, row, out),
            Precision::Int8 => int8_row(job, row, out),
        }
    }
}

/// `a * b + c`, with one rounding where the target has an instruction for it: a call into the C library, which is how
/// it would be done elsewhere, costs a hundred times more.
#[inline(always)]
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) { a.mul_add(b, c) } else { a * b + c }
}

fn f32_row(job: Job<'_>, row: usize, out: &mut [f32; BLOCK]) {
    let mut sum = [0.0; BLOCK];
    for (&x, weights) in job.activations.row(row).data.iter().zip(job.block.weights) {
        let x = f32::from_bits(x);
        for column in 0..BLOCK {
            sum[column] = multiply_add(x, f32::from_bits(weights[column]), sum[column]);
        }
    }
    *out = sum;
}

fn bf16_row(job: Job<'_>, row: usize, out: &mut [f32; BLOCK]) {
    let mut sum = [0.0; BLOCK];
    for (&pair, weights) in job.activations.row(row).data.iter().zip(job.block.weights) {
        let (even, odd) = (f32::from_bits(pair << 16), f32::from_bits(pair & 0xffff_0000));
        for column in 0..BLOCK {
            sum[column] = multiply_add(even, f32::from_bits(weights[column] << 16), sum[column]);
            sum[column] = multiply_add(odd, f32::from_bits(weights[column] & 0xffff_0000), sum[column]);
        }
    }
    *out = sum;
}

fn int8_row(job: Job<'_>, row: usize, out: &mut [f32; BLOCK]) {
    const QUADS: usize = GROUP / 4;
    let row = job.activations.row(row);
    let inputs = row.data.chunks(QUADS).zip(row.scales).zip(row.offsets);
    let weights = job.block.weights.chunks(QUADS).zip(job.block.sums);
    *out = [0.0; BLOCK];
    for (((inputs, &scale), &offset), (weights, sums)) in inputs.zip(weights) {
        let mut sum = [0_i32; BLOCK];
        for (two, &word) in sum.as_chunks_mut::<2>().0.iter_mut().zip(sums) {
            *two = [word as i16, (word >> 16) as i16].map(|sum| i32::from(sum) * offset as i32);
        }
        for (&quad, weights) in inputs.iter().zip(weights) {
            let [a, b, c, d] = quad.to_le_bytes().map(i32::from);
            for column in 0..BLOCK {
                let w = weights[column] as i32;
                let even = a * ((w << 24) >> 24) + c * ((w << 8) >> 24);
                let odd = b * ((w << 16) >> 24) + d * (w >> 24);
                sum[column] += even + odd;
            }
        }
        let scale = f32::from_bits(scale);
        for column in 0..BLOCK {
            out[column] += sum[column] as f32 * scale;
        }
    }
    for (out, &scale) in out.iter_mut().zip(job.block.scales.as_flattened()) {
        *out *= f32::from_bits(scale);
    }
}
