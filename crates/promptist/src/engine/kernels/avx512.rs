//! AVX-512: register tiles of up to 8 rows x 48 columns, 24 accumulators of 16 lanes.
//!
//! int8 is `vpdpbusd` (VNNI), four products a lane; bf16 is `vdpbf16ps` where the CPU has it, else the bf16 numbers are
//! widened and multiplied as f32.

// Loops over registers, which unroll: an index says which one.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;
use std::array;

use super::rounding::GroupScale;
use super::{Job, Panel, for_register_tiles};
use crate::engine::packed::{BLOCK, GROUP};
use crate::engine::precision::Precision;

/// Registers across a block.
const WIDE: usize = BLOCK / 16;
/// How far ahead of the weights in use memory is asked for, in bytes. With 8 rows, int8, one core read 70 % of what it can
/// at 2048, 85 % at 4096 and 94 % at 8192.
const AHEAD: usize = 8192;

/// All rows of `tile`, from row `first` of the activations on.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma")]
pub(super) fn product(job: Job<'_>, first: usize, tile: &mut [[f32; BLOCK]]) {
    match job.precision {
        Precision::F32 => for_register_tiles!(f32_rows, 8, [1, 2, 3, 4, 5, 6, 7], job, first, tile),
        Precision::Bf16 if is_x86_feature_detected!("avx512bf16") => {
            // SAFETY: just detected.
            unsafe { bf16_product(job, first, tile) }
        }
        Precision::Bf16 => widened_bf16_product(job, first, tile),
        Precision::Int8 => for_register_tiles!(int8_rows, 8, [1, 2, 3, 4, 5, 6, 7], job, first, tile),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512bf16,avx2,fma")]
fn bf16_product(job: Job<'_>, first: usize, tile: &mut [[f32; BLOCK]]) {
    for_register_tiles!(bf16_rows, 8, [1, 2, 3, 4, 5, 6, 7], job, first, tile)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma")]
fn widened_bf16_product(job: Job<'_>, first: usize, tile: &mut [[f32; BLOCK]]) {
    for_register_tiles!(widened_bf16_rows, 8, [1, 2, 3, 4, 5, 6, 7], job, first, tile)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
pub(super) fn pack(precision: Precision, panel: Panel<'_>) {
    panel.pack(precision);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
pub(super) fn prepare(precision: Precision, values: &[f32], words: &mut [u32]) -> GroupScale {
    super::prepare_portable(precision, values, words)
}

/// The registers of 48 words.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(words: &[u32; BLOCK]) -> [__m512i; WIDE] {
    let at = words.as_ptr();
    // SAFETY: three times 16 words, of 48.
    unsafe {
        [
            _mm512_loadu_si512(at.cast()),
            _mm512_loadu_si512(at.add(16).cast()),
            _mm512_loadu_si512(at.add(32).cast()),
        ]
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_f32(words: &[f32; BLOCK]) -> [__m512; WIDE] {
    let at = words.as_ptr();
    // SAFETY: three times 16 numbers, of 48.
    unsafe { [_mm512_loadu_ps(at), _mm512_loadu_ps(at.add(16)), _mm512_loadu_ps(at.add(32))] }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(values: [__m512; WIDE], words: &mut [f32; BLOCK]) {
    let at = words.as_mut_ptr();
    // SAFETY: three times 16 numbers, of 48.
    unsafe {
        _mm512_storeu_ps(at, values[0]);
        _mm512_storeu_ps(at.add(16), values[1]);
        _mm512_storeu_ps(at.add(32), values[2]);
    }
}

/// Asks for the 192 bytes [`AHEAD`] of these: the hardware stops at the end of a page, and the weights do not.
#[inline]
#[target_feature(enable = "avx512f")]
fn prefetch(words: &[u32; BLOCK]) {
    let at = words.as_ptr().cast::<i8>().wrapping_add(AHEAD);
    // A prefetch never faults, whatever the address.
    _mm_prefetch::<_MM_HINT_T0>(at);
    _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(64));
    _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(128));
}

/// The numbers of R rows, checked to be as many as the block has rows of words, so that they can be read unchecked.
#[inline]
fn row_data<'a, const R: usize>(job: Job<'a>, first: usize) -> [&'a [u32]; R] {
    let rows = array::from_fn(|r| job.activations.row(first + r).data);
    assert!(rows.iter().all(|row: &&[u32]| row.len() == job.block.weights.len()));
    rows
}

#[inline]
#[target_feature(enable = "avx512f")]
fn f32_rows<const R: usize>(job: Job<'_>, first: usize, tile: &mut [[f32; BLOCK]; R]) {
    let rows = row_data::<R>(job, first);
    let mut sum = [[_mm512_setzero_ps(); WIDE]; R];
    for (k, weights) in job.block.weights.iter().enumerate() {
        prefetch(weights);
        let w = load(weights).map(|w| _mm512_castsi512_ps(w));
        for r in 0..R {
            // SAFETY: `row_data` checked the lengths.
            let x = _mm512_set1_ps(f32::from_bits(unsafe { *rows[r].get_unchecked(k) }));
            for j in 0..WIDE {
                sum[r][j] = _mm512_fmadd_ps(x, w[j], sum[r][j]);
            }
        }
    }
    for r in 0..R {
        store(sum[r], &mut tile[r]);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn widened_bf16_rows<const R: usize>(job: Job<'_>, first: usize, tile: &mut [[f32; BLOCK]; R]) {
    let rows = row_data::<R>(job, first);
    let high = _mm512_set1_epi32(0xffff_0000_u32 as i32);
    let mut sum = [[_mm512_setzero_ps(); WIDE]; R];
    for (k, weights) in job.block.weights.iter().enumerate() {
        prefetch(weights);
        let w = load(weights);
        // Even channels of all rows, then odd ones: an accumulator still takes them in rising order.
        let even = w.map(|w| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(w)));
        for r in 0..R {
            // SAFETY: `row_data` checked the lengths.
            let x = _mm512_set1_epi32(unsafe { *rows[r].get_unchecked(k) } as i32);
            let x = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(x));
            for j in 0..WIDE {
                sum[r][j] = _mm512_fmadd_ps(x, even[j], sum[r][j]);
            }
        }
        let odd = w.map(|w| _mm512_castsi512_ps(_mm512_and_si512(w, high)));
        for r in 0..R {
            // SAFETY: as above.
            let x = _mm512_set1_epi32(unsafe { *rows[r].get_unchecked(k) } as i32);
            let x = _mm512_castsi512_ps(_mm512_and_si512(x, high));
            for j in 0..WIDE {
                sum[r][j] = _mm512_fmadd_ps(x, odd[j], sum[r][j]);
            }
        }
    }
    for r in 0..R {
        store(sum[r], &mut tile[r]);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn bf16_rows<const R: usize>(job: Job<'_>, first: usize, tile: &mut [[f32; BLOCK]; R]) {
    let rows = row_data::<R>(job, first);
    let mut sum = [[_mm512_setzero_ps(); WIDE]; R];
    for (k, weights) in job.block.weights.iter().enumerate() {
        prefetch(weights);
        let w = load(weights);
        for r in 0..R {
            // SAFETY: `row_data` checked the lengths.
            let x = _mm512_set1_epi32(unsafe { *rows[r].get_unchecked(k) } as i32);
            for j in 0..WIDE {
                // SAFETY: both are 64 bytes of plain numbers.
                let (x, w) = unsafe {
                    (
                        std::mem::transmute::<__m512i, __m512bh>(x),
                        std::mem::transmute::<__m512i, __m512bh>(w[j]),
                    )
                };
                sum[r][j] = _mm512_dpbf16_ps(sum[r][j], x, w);
            }
        }
    }
    for r in 0..R {
        store(sum[r], &mut tile[r]);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn int8_rows<const R: usize>(job: Job<'_>, first: usize, tile: &mut [[f32; BLOCK]; R]) {
    const QUADS: usize = GROUP / 4;
    let rows = row_data::<R>(job, first);
    // The sums of a group fill the registers; those across groups wait in the tile, which is in the L1 cache.
    *tile = [[0.0; BLOCK]; R];
    for (group, (weights, sums)) in job.block.weights.chunks(QUADS).zip(job.block.sums).enumerate() {
        let scales: [(u32, u32); R] = array::from_fn(|r| {
            let row = job.activations.row(first + r);
            (row.scales[group], row.offsets[group])
        });
        let at = sums.as_ptr();
        // SAFETY: three times 8 words, of 24.
        let sums = unsafe {
            [
                _mm256_loadu_si256(at.cast()),
                _mm256_loadu_si256(at.add(8).cast()),
                _mm256_loadu_si256(at.add(16).cast()),
            ]
        };
        let sums = sums.map(|sums| _mm512_cvtepi16_epi32(sums));
        let mut sum = [[_mm512_setzero_si512(); WIDE]; R];
        for r in 0..R {
            let offset = _mm512_set1_epi32(scales[r].1 as i32);
            for j in 0..WIDE {
                sum[r][j] = _mm512_mullo_epi32(sums[j], offset);
            }
        }
        for (quad, weights) in (group * QUADS..).zip(weights) {
            prefetch(weights);
            let w = load(weights);
            for r in 0..R {
                // SAFETY: `row_data` checked the lengths.
                let x = _mm512_set1_epi32(unsafe { *rows[r].get_unchecked(quad) } as i32);
                for j in 0..WIDE {
                    sum[r][j] = _mm512_dpbusd_epi32(sum[r][j], x, w[j]);
                }
            }
        }
        for r in 0..R {
            let scale = _mm512_set1_ps(f32::from_bits(scales[r].0));
            let mut out = load_f32(&tile[r]);
            for j in 0..WIDE {
                // Two roundings, as the portable kernel does.
                out[j] = _mm512_add_ps(out[j], _mm512_mul_ps(_mm512_cvtepi32_ps(sum[r][j]), scale));
            }
            store(out, &mut tile[r]);
        }
    }
    for scales in job.block.scales {
        let scales = load(scales).map(|scale| _mm512_castsi512_ps(scale));
        for row in tile.iter_mut() {
            let mut out = load_f32(row);
            for j in 0..WIDE {
                out[j] = _mm512_mul_ps(out[j], scales[j]);
            }
            store(out, row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::compare_hidden_kernel;
    use super::*;
    use crate::simd::Isa;

    #[test]
    fn bf16_without_its_instructions_is_what_avx2_gives() {
        if !Isa::Avx512.is_available() {
            return;
        }
        // SAFETY: just checked.
        let kernel = |job: Job<'_>, first, tile: &mut [[f32; BLOCK]]| unsafe {
            widened_bf16_product(job, first, tile)
        };
        compare_hidden_kernel(Precision::Bf16, Isa::Avx2, kernel, |a, b| assert_eq!(a, b));
    }
}
