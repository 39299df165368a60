//! Group normalisation, and SiLU after it, in place.

use rayon::prelude::*;

use crate::simd::math::{LANES, sum_lanes, swish};
use crate::simd::{Isa, for_each_isa};

/// What a normalised value goes through before it is written.
#[derive(Clone, Copy, PartialEq)]
pub enum Then {
    Nothing,
    Silu,
}

/// Normalises each group of each picture.
///
/// # Shapes
/// - `values`: `[B, C, H · W]`
/// - `weight`, `bias`: `[C]`; the number of groups divides C
pub fn group_norm(
    values: &mut [f32],
    pixels: usize,
    (weight, bias): (&[f32], &[f32]),
    num_groups: usize,
    epsilon: f64,
    then: Then,
) {
    let isa = Isa::detect();
    let channels = weight.len() / num_groups;
    values.par_chunks_mut(channels * pixels).enumerate().for_each(|(idx, group)| {
        let first = idx % num_groups * channels;
        let parameters = (&weight[first..][..channels], &bias[first..][..channels]);
        normalize(isa, group, pixels, parameters, epsilon, then);
    });
}

for_each_isa! {
    fn normalize(
        group: &mut [f32],
        pixels: usize,
        parameters: (&[f32], &[f32]),
        epsilon: f64,
        then: Then,
    ) = normalize_body;
}

#[inline(always)]
fn normalize_body(
    group: &mut [f32],
    pixels: usize,
    (weight, bias): (&[f32], &[f32]),
    epsilon: f64,
    then: Then,
) {
    let count = group.len() as f64;
    let mean = (sum(group, |x| x) / count) as f32;
    let variance = sum(group, |x| (x - mean) * (x - mean)) / count;
    let norm = (1.0 / (variance + epsilon).sqrt()) as f32;
    for ((channel, &weight), &bias) in group.chunks_exact_mut(pixels).zip(weight).zip(bias) {
        let factor = norm * weight;
        match then {
            Then::Nothing => channel.iter_mut().for_each(|x| *x = (*x - mean) * factor + bias),
            Then::Silu => channel.iter_mut().for_each(|x| *x = swish((*x - mean) * factor + bias, 1.0)),
        }
    }
}

/// The sum of `f(x)`: by lanes over stretches that f32 sums well, the stretches in f64.
#[inline(always)]
fn sum(values: &[f32], f: impl Fn(f32) -> f32) -> f64 {
    const STRETCH: usize = 64 * LANES;
    let mut total = 0.0;
    for stretch in values.chunks(STRETCH) {
        let (chunks, rest) = stretch.as_chunks::<LANES>();
        let mut lanes = [0.0; LANES];
        for chunk in chunks {
            for lane in 0..LANES {
                lanes[lane] += f(chunk[lane]);
            }
        }
        for (lane, &value) in lanes.iter_mut().zip(rest) {
            *lane += f(value);
        }
        total += f64::from(sum_lanes(&lanes));
    }
    total
}
