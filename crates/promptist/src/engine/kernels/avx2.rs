//! AVX2 with FMA: register tiles of 1 row x 48 columns, 2 x 24, or 3 and 4 x 16, so that sums hide the latency of their
//! instructions and what they need fits 16 registers: 4 x 24 just would, but the compiler spills a sum.
//!
//! A block is passed over once for each part of its columns. int8 widens to 16 bits and uses `vpmaddwd`, because `vpmaddubsw` saturates; where the CPU has AVX-VNNI, it
//! is `vpdpbusd`. Either way the integers are exact.

// Loops over registers, which unroll: an index says which one.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;
use std::array;

use super::rounding::GroupScale;
use super::{Job, Panel, for_register_tiles};
use crate::engine::packed::{BLOCK, GROUP};
use crate::engine::precision::Precision;

/// Lanes of a register.
const LANES: usize = 8;
/// How far ahead of the weights in use memory is asked for, in bytes.
const AHEAD: usize = 8192;

/// All rows of `tile`, from row `first` of the activations on.
#[target_feature(enable = "avx2,fma")]
pub(super) fn product(job: Job<'_>, first: usize, tile: &mut [[f32; BLOCK]]) {
    match job.precision {
        Precision::F32 => for_register_tiles!(f32_rows, 4, [1, 2, 3], job, first, tile),
        Precision::Bf16 => for_register_tiles!(bf16_rows, 4, [1, 2, 3], job, first, tile),
        Precision::Int8 if is_x86_feature_detected!("avxvnni") => {
            // SAFETY: just detected.
            unsafe { vnni_product(job, first, tile) }
        }
        Precision::Int8 => int8_product(job, first, tile),
    }
}

#[target_feature(enable = "avx2,fma")]
fn int8_product(job: Job<'_>, first: usize, tile: &mut [[f32; BLOCK]]) {
    for_register_tiles!(int8_rows, 4, [1, 2, 3], job, first, tile)
}

#[target_feature(enable = "avx2,fma,avxvnni")]
fn vnni_product(job: Job<'_>, first: usize, tile: &mut [[f32; BLOCK]]) {
    for_register_tiles!(vnni_rows, 4, [1, 2, 3], job, first, tile)
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn pack(precision: Precision, panel: Panel<'_>) {
    panel.pack(precision);
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn prepare(precision: Precision, values: &[f32], words: &mut [u32]) -> GroupScale {
    super::prepare_portable(precision, values, words)
}

/// The words of a tile's columns, from `column` on; asks for those [`AHEAD`], which never faults, whatever the address.
#[inline]
#[target_feature(enable = "avx2")]
fn load<const WIDE: usize>(words: &[u32; BLOCK], column: usize) -> [__m256i; WIDE] {
    let part = &words[column..column + WIDE * LANES];
    _mm_prefetch::<_MM_HINT_T0>(part.as_ptr().cast::<i8>().wrapping_add(AHEAD));
    // SAFETY: `part` holds 8 words for each register.
    array::from_fn(|j| unsafe { _mm256_loadu_si256(part.as_ptr().add(j * LANES).cast()) })
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_f32<const WIDE: usize>(words: &[f32; BLOCK], column: usize) -> [__m256; WIDE] {
    let part = &words[column..column + WIDE * LANES];
    // SAFETY: `part` holds 8 numbers for each register.
    array::from_fn(|j| unsafe { _mm256_loadu_ps(part.as_ptr().add(j * LANES)) })
}

#[inline]
#[target_feature(enable = "avx2")]
fn store<const WIDE: usize>(values: [__m256; WIDE], words: &mut [f32; BLOCK], column: usize) {
    let part = &mut words[column..column + WIDE * LANES];
    for (j, value) in values.into_iter().enumerate() {
        // SAFETY: `part` holds 8 numbers for each register.
        unsafe { _mm256_storeu_ps(part.as_mut_ptr().add(j * LANES), value) };
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
#[target_feature(enable = "avx2,fma")]
fn f32_rows<const R: usize>(job: Job<'_>, first: usize, tile: &mut [[f32; BLOCK]; R]) {
    match R {
        1 => f32_tile::<R, 6>(job, first, tile),
        2 => f32_tile::<R, 3>(job, first, tile),
        _ => f32_tile::<R, 2>(job, first, tile),
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn f32_tile<const R: usize, const WIDE: usize>(job: Job<'_>, first: usize, tile: &mut [[f32; BLOCK]; R]) {
    let rows = row_data::<R>(job, first);
    for column in (0..BLOCK).step_by(WIDE * LANES) {
        let mut sum = [[_mm256_setzero_ps(); WIDE]; R];
        for (k, weights) in job.block.weights.iter().enumerate() {
            let w = load::<WIDE>(weights, column).map(|w| _mm256_castsi256_ps(w));
            for r in 0..R {
                // SAFETY: `row_data` checked the lengths.
                let x = _mm256_set1_ps(f32::from_bits(unsafe { *rows[r].get_unchecked(k) }));
                for j in 0..WIDE {
                    sum[r][j] = _mm256_fmadd_ps(x, w[j], sum[r][j]);
                }
            }
        }
        for r in 0..R {
            store(sum[r], &mut tile[r], column);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn bf16_rows<const R: usize>(job: Job<'_>, first: usize, tile: &mut [[f32; BLOCK]; R]) {
    match R {
        1 => bf16_tile::<R, 6>(job, first, tile),
        2 => bf16_tile::<R, 3>(job, first, tile),
        _ => bf16_tile::<R, 2>(job, first, tile),
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn bf16_tile<const R: usize, const WIDE: usize>(job: Job<'_>, first: usize, tile: &mut [[f32; BLOCK]; R]) {
    let rows = row_data::<R>(job, first);
    let high = _mm256_set1_epi32(0xffff_0000_u32 as i32);
    for column in (0..BLOCK).step_by(WIDE * LANES) {
        let mut sum = [[_mm256_setzero_ps(); WIDE]; R];
        for (k, weights) in job.block.weights.iter().enumerate() {
            // Even channels of all rows, then odd ones: an accumulator still takes them in rising order.
            let w = load::<WIDE>(weights, column);
            let even = w.map(|w| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(w)));
            for r in 0..R {
                // SAFETY: `row_data` checked the lengths.
                let x = _mm256_set1_epi32(unsafe { *rows[r].get_unchecked(k) } as i32);
                let x = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(x));
                for j in 0..WIDE {
                    sum[r][j] = _mm256_fmadd_ps(x, even[j], sum[r][j]);
                }
            }
            let odd = w.map(|w| _mm256_castsi256_ps(_mm256_and_si256(w, high)));
            for r in 0..R {
                // SAFETY: as above.
                let x = _mm256_set1_epi32(unsafe { *rows[r].get_unchecked(k) } as i32);
                let x = _mm256_castsi256_ps(_mm256_and_si256(x, high));
                for j in 0..WIDE {
                    sum[r][j] = _mm256_fmadd_ps(x, odd[j], sum[r][j]);
                }
            }
        }
        for r in 0..R {
            store(sum[r], &mut tile[r], column);
        }
    }
}

/// What the sums of one group start at: the columns' sums times the negated zero point of each row.
#[inline]
#[target_feature(enable = "avx2")]
fn start<const R: usize, const WIDE: usize>(
    sums: &[u32; BLOCK / 2],
    column: usize,
    offsets: &[u32; R],
) -> [[__m256i; WIDE]; R] {
    let part = &sums[column / 2..column / 2 + WIDE * LANES / 2];
    let mut sum = [[_mm256_setzero_si256(); WIDE]; R];
    for j in 0..WIDE {
        // SAFETY: `part` holds 4 words, 8 sums of 16 bits, for each register.
        let sums = unsafe { _mm_loadu_si128(part.as_ptr().add(j * LANES / 2).cast()) };
        let sums = _mm256_cvtepi16_epi32(sums);
        for r in 0..R {
            sum[r][j] = _mm256_mullo_epi32(sums, _mm256_set1_epi32(offsets[r] as i32));
        }
    }
    sum
}

/// Adds the sums of one group, scaled, to the outputs. Two roundings, as the portable kernel does.
#[inline]
#[target_feature(enable = "avx2")]
fn add_group<const WIDE: usize>(sum: [__m256i; WIDE], scale: u32, out: &mut [f32; BLOCK], column: usize) {
    let scale = _mm256_set1_ps(f32::from_bits(scale));
    let mut total = load_f32::<WIDE>(out, column);
    for j in 0..WIDE {
        total[j] = _mm256_add_ps(total[j], _mm256_mul_ps(_mm256_cvtepi32_ps(sum[j]), scale));
    }
    store(total, out, column);
}

/// Scales the outputs for their columns.
#[inline]
#[target_feature(enable = "avx2")]
fn scale_columns<const R: usize>(job: Job<'_>, tile: &mut [[f32; BLOCK]; R]) {
    for row in tile {
        for (out, &scale) in row.iter_mut().zip(job.block.scales.as_flattened()) {
            *out *= f32::from_bits(scale);
        }
    }
}

const QUADS: usize = GROUP / 4;

#[inline]
#[target_feature(enable = "avx2,fma")]
fn int8_rows<const R: usize>(job: Job<'_>, first: usize, tile: &mut [[f32; BLOCK]; R]) {
    const WIDE: usize = 2;
    let rows = row_data::<R>(job, first);
    let low_byte = _mm256_set1_epi16(0xff);
    *tile = [[0.0; BLOCK]; R];
    for (group, (weights, sums)) in job.block.weights.chunks(QUADS).zip(job.block.sums).enumerate() {
        let scales: [u32; R] = array::from_fn(|r| job.activations.row(first + r).scales[group]);
        let offsets: [u32; R] = array::from_fn(|r| job.activations.row(first + r).offsets[group]);
        for column in (0..BLOCK).step_by(WIDE * LANES) {
            let mut sum = start::<R, WIDE>(sums, column, &offsets);
            for (quad, weights) in (group * QUADS..).zip(weights) {
                let w = load::<WIDE>(weights, column);
                // Channels 0 and 2 of a quad, then 1 and 3, as 16 bits: their lane stays that of the column.
                let even = w.map(|w| _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(w)));
                let odd = w.map(|w| _mm256_srai_epi16::<8>(w));
                for r in 0..R {
                    // SAFETY: `row_data` checked the lengths.
                    let x = _mm256_set1_epi32(unsafe { *rows[r].get_unchecked(quad) } as i32);
                    let (x_even, x_odd) = (_mm256_and_si256(x, low_byte), _mm256_srli_epi16::<8>(x));
                    for j in 0..WIDE {
                        sum[r][j] = _mm256_add_epi32(sum[r][j], _mm256_madd_epi16(x_even, even[j]));
                        sum[r][j] = _mm256_add_epi32(sum[r][j], _mm256_madd_epi16(x_odd, odd[j]));
                    }
                }
            }
            for r in 0..R {
                add_group(sum[r], scales[r], &mut tile[r], column);
            }
        }
    }
    scale_columns(job, tile);
}

#[inline]
#[target_feature(enable = "avx2,fma,avxvnni")]
fn vnni_rows<const R: usize>(job: Job<'_>, first: usize, tile: &mut [[f32; BLOCK]; R]) {
    match R {
        1 => vnni_tile::<R, 6>(job, first, tile),
        2 => vnni_tile::<R, 3>(job, first, tile),
        _ => vnni_tile::<R, 2>(job, first, tile),
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,avxvnni")]
fn vnni_tile<const R: usize, const WIDE: usize>(job: Job<'_>, first: usize, tile: &mut [[f32; BLOCK]; R]) {
    let rows = row_data::<R>(job, first);
    *tile = [[0.0; BLOCK]; R];
    for (group, (weights, sums)) in job.block.weights.chunks(QUADS).zip(job.block.sums).enumerate() {
        let scales: [u32; R] = array::from_fn(|r| job.activations.row(first + r).scales[group]);
        let offsets: [u32; R] = array::from_fn(|r| job.activations.row(first + r).offsets[group]);
        for column in (0..BLOCK).step_by(WIDE * LANES) {
            let mut sum = start::<R, WIDE>(sums, column, &offsets);
            for (quad, weights) in (group * QUADS..).zip(weights) {
                let w = load::<WIDE>(weights, column);
                for r in 0..R {
                    // SAFETY: `row_data` checked the lengths.
                    let x = _mm256_set1_epi32(unsafe { *rows[r].get_unchecked(quad) } as i32);
                    for j in 0..WIDE {
                        sum[r][j] = _mm256_dpbusd_avx_epi32(sum[r][j], x, w[j]);
                    }
                }
            }
            for r in 0..R {
                add_group(sum[r], scales[r], &mut tile[r], column);
            }
        }
    }
    scale_columns(job, tile);
}

#[cfg(test)]
mod tests {
    use super::super::tests::compare_hidden_kernel;
    use super::*;
    use crate::simd::Isa;

    #[test]
    fn int8_without_vnni_is_the_same() {
        if !Isa::Avx2.is_available() {
            return;
        }
        // SAFETY: just checked.
        let kernel =
            |job: Job<'_>, first, tile: &mut [[f32; BLOCK]]| unsafe { int8_product(job, first, tile) };
        compare_hidden_kernel(Precision::Int8, Isa::Avx2, kernel, |a, b| assert_eq!(a, b));
    }
}
