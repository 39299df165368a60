//! 64-bit Arm with dot products: register tiles of up to 2 rows x 48 columns, 24 accumulators of 4 lanes.
//!
//! int8 is `sdot`, four products a lane. It multiplies signed by signed, so the inputs' top bits are flipped (128 less) and
//! their zero points with them. bf16 is widened and multiplied as f32. Run in CI under emulation only.

// Loops over registers, which unroll: an index says which one.
#![allow(clippy::needless_range_loop)]

use std::arch::aarch64::*;
use std::arch::asm;
use std::array;

use super::{Job, for_register_tiles};
use crate::engine::packed::{BLOCK, GROUP};
use crate::engine::precision::Precision;

/// Registers across a block.
const WIDE: usize = BLOCK / 4;

/// All rows of `tile`, from row `first` of the activations on.
#[target_feature(enable = "neon,dotprod")]
pub(super) fn product(job: Job<'_>, first: usize, tile: &mut [[f32; BLOCK]]) {
    match job.precision {
        Precision::F32 => for_register_tiles!(f32_rows, 2, [1], job, first, tile),
        Precision::Bf16 => for_register_tiles!(bf16_rows, 2, [1], job, first, tile),
        Precision::Int8 => for_register_tiles!(int8_rows, 2, [1], job, first, tile),
    }
}

/// Four words from `at` on.
#[inline]
#[target_feature(enable = "neon")]
fn load(words: &[u32], at: usize) -> uint32x4_t {
    let part = &words[at..at + 4];
    // SAFETY: four words.
    unsafe { vld1q_u32(part.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn store(values: [float32x4_t; WIDE], out: &mut [f32; BLOCK]) {
    for (value, out) in values.into_iter().zip(out.as_chunks_mut::<4>().0) {
        // SAFETY: four numbers.
        unsafe { vst1q_f32(out.as_mut_ptr(), value) };
    }
}

/// The numbers of R rows, checked to be as many as the block has rows of words, so that they can be read unchecked.
#[inline]
fn row_data<'a, const R: usize>(job: Job<'a>, first: usize) -> [&'a [u32]; R] {
    let rows = array::from_fn(|r| job.activations.row(first + r).data);
    assert!(rows.iter().all(|row: &&[u32]| row.len() == job.block.weights.len()));
    rows
}

#[inline]
#[target_feature(enable = "neon")]
fn f32_rows<const R: usize>(job: Job<'_>, first: usize, tile: &mut [[f32; BLOCK]; R]) {
    let rows = row_data::<R>(job, first);
    let mut sum = [[vdupq_n_f32(0.0); WIDE]; R];
    for (k, weights) in job.block.weights.iter().enumerate() {
        // SAFETY: `row_data` checked the lengths.
        let x: [f32; R] = array::from_fn(|r| f32::from_bits(unsafe { *rows[r].get_unchecked(k) }));
        for j in 0..WIDE {
            let w = vreinterpretq_f32_u32(load(weights, 4 * j));
            for r in 0..R {
                sum[r][j] = vfmaq_n_f32(sum[r][j], w, x[r]);
            }
        }
    }
    for r in 0..R {
        store(sum[r], &mut tile[r]);
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn bf16_rows<const R: usize>(job: Job<'_>, first: usize, tile: &mut [[f32; BLOCK]; R]) {
    let rows = row_data::<R>(job, first);
    let high = vdupq_n_u32(0xffff_0000);
    let mut sum = [[vdupq_n_f32(0.0); WIDE]; R];
    for (k, weights) in job.block.weights.iter().enumerate() {
        // SAFETY: `row_data` checked the lengths.
        let x: [u32; R] = array::from_fn(|r| unsafe { *rows[r].get_unchecked(k) });
        for j in 0..WIDE {
            let w = load(weights, 4 * j);
            let even = vreinterpretq_f32_u32(vshlq_n_u32::<16>(w));
            let odd = vreinterpretq_f32_u32(vandq_u32(w, high));
            for r in 0..R {
                sum[r][j] = vfmaq_n_f32(sum[r][j], even, f32::from_bits(x[r] << 16));
                sum[r][j] = vfmaq_n_f32(sum[r][j], odd, f32::from_bits(x[r] & 0xffff_0000));
            }
        }
    }
    for r in 0..R {
        store(sum[r], &mut tile[r]);
    }
}

/// `sum + x · w`, four signed 8-bit products a lane. The intrinsic is not in stable Rust yet (rust-lang/rust#117224).
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot(mut sum: int32x4_t, x: uint32x4_t, w: uint32x4_t) -> int32x4_t {
    // SAFETY: one instruction on registers, which the enabled features include.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {x:v}.16b, {w:v}.16b",
            sum = inout(vreg) sum,
            x = in(vreg) x,
            w = in(vreg) w,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

#[inline]
#[target_feature(enable = "neon,dotprod")]
fn int8_rows<const R: usize>(job: Job<'_>, first: usize, tile: &mut [[f32; BLOCK]; R]) {
    const QUADS: usize = GROUP / 4;
    let rows = row_data::<R>(job, first);
    *tile = [[0.0; BLOCK]; R];
    for (group, (weights, sums)) in job.block.weights.chunks(QUADS).zip(job.block.sums).enumerate() {
        let mut sum = [[vdupq_n_s32(0); WIDE]; R];
        for (two, sums) in sums.as_chunks::<2>().0.iter().enumerate() {
            // SAFETY: two words, four sums of 16 bits.
            let sums = vmovl_s16(unsafe { vld1_s16(sums.as_ptr().cast()) });
            for r in 0..R {
                let offset = job.activations.row(first + r).offsets[group] as i32;
                sum[r][two] = vmulq_n_s32(sums, offset + 128);
            }
        }
        for (quad, weights) in (group * QUADS..).zip(weights) {
            // SAFETY: `row_data` checked the lengths.
            let x: [uint32x4_t; R] =
                array::from_fn(|r| vdupq_n_u32(unsafe { *rows[r].get_unchecked(quad) } ^ 0x8080_8080));
            for j in 0..WIDE {
                let w = load(weights, 4 * j);
                for r in 0..R {
                    sum[r][j] = dot(sum[r][j], x[r], w);
                }
            }
        }
        for r in 0..R {
            let scale = f32::from_bits(job.activations.row(first + r).scales[group]);
            for (sum, out) in sum[r].iter().zip(tile[r].as_chunks_mut::<4>().0) {
                // SAFETY: four numbers. Two roundings, as the portable kernel does.
                unsafe {
                    let total = vaddq_f32(vld1q_f32(out.as_ptr()), vmulq_n_f32(vcvtq_f32_s32(*sum), scale));
                    vst1q_f32(out.as_mut_ptr(), total);
                }
            }
        }
    }
    for row in tile {
        for (out, &scale) in row.iter_mut().zip(job.block.scales.as_flattened()) {
            *out *= f32::from_bits(scale);
        }
    }
}
