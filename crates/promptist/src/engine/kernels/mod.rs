//! The products of a step: a few rows with packed weights. The engine's `unsafe` code is in this folder.
//!
//! A kernel takes a tile of rows with one block of 48 columns, keeps every sum in a register and reads the weights once,
//! in the order in which they lie. With many rows (a prompt) the block stays in the cache while tile after tile of rows
//! passes over it; the same kernels serve, so a row read in a prompt and a row decoded get the same bits.
//!
//! # Exactness
//! An output depends on its row and its column only, whatever the rows beside it, the tile that it fell into and the
//! thread:
//! - f32: fused multiply-adds over k in rising order, one accumulator. The same bits on AVX2, AVX-512 and NEON; the
//!   portable kernel rounds twice where the target has no fused multiply-add.
//! - bf16: with `vdpbf16ps`, pairs of channels in rising order, subnormals taken for zero; elsewhere as f32, on the
//!   rounded numbers, to the same bits on AVX2, NEON and an AVX-512 without that instruction.
//! - int8: exact integers within a group; then, in f32 with one rounding for each operation, groups are scaled and added
//!   in rising order, and at last scaled for the column. The same bits on every instruction set.
//!
//! [`portable`] is the definition; the others are tested against it.

use std::ops::Range;

use super::activations::Activations;
use super::packed::{BLOCK, PackedMatrix};
use super::precision::Precision;
use crate::simd::Isa;
use rounding::GroupScale;

pub(super) mod aligned;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod avx2;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod avx512;
#[cfg(all(target_arch = "aarch64", target_endian = "little", not(miri)))]
mod neon;
mod portable;
mod rounding;
#[cfg(test)]
mod tests;

/// Multiplies rows with one block of columns: `tile[r][c] = rows[r] · column (block * 48 + c)`.
///
/// Scales are applied; a bias is not. The columns of the last block past N are zeros, or NaN where the row is not finite.
///
/// # Shapes
/// - `rows`: R rows of `activations`
/// - `tile`: row-major `[R, 48]`; what follows is left alone
///
/// # Panics
/// If K or the precision of the two sides differ, a row or the block does not exist, or the tile is too small.
pub fn block_product(
    activations: &Activations,
    rows: Range<usize>,
    matrix: &PackedMatrix,
    block: usize,
    tile: &mut [f32],
) {
    assert_eq!(activations.k(), matrix.k(), "inputs of a row and of the matrix");
    assert_eq!(activations.precision(), matrix.precision(), "precision of the rows and of the matrix");
    let job = Job { activations, precision: matrix.precision(), block: matrix.block(block) };
    let tile = &mut tile.as_chunks_mut::<BLOCK>().0[..rows.len()];
    match matrix.isa() {
        Isa::Portable => portable::product(job, rows.start, tile),
        // SAFETY: a matrix is only ever packed for an instruction set that this CPU has.
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        Isa::Avx2 => unsafe { avx2::product(job, rows.start, tile) },
        // SAFETY: as above.
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        Isa::Avx512 => unsafe { avx512::product(job, rows.start, tile) },
        // SAFETY: as above.
        #[cfg(all(target_arch = "aarch64", target_endian = "little", not(miri)))]
        Isa::Neon => unsafe { neon::product(job, rows.start, tile) },
        #[allow(unreachable_patterns)]
        isa => unreachable!("a matrix packed for {isa}, which this CPU lacks"),
    }
}

/// What a kernel works on. K and the precision of the two are the same.
#[derive(Clone, Copy)]
struct Job<'a> {
    activations: &'a Activations,
    precision: Precision,
    block: super::packed::Block<'a>,
}

/// A block on its way into a matrix: weights in f32, and the parts that they become.
pub(super) struct Panel<'a> {
    /// `[K padded to whole words, BLOCK]`.
    pub(super) panel: &'a [[f32; BLOCK]],
    pub(super) scales: &'a mut [u32],
    pub(super) sums: &'a mut [u32],
    pub(super) weights: &'a mut [u32],
}

impl Panel<'_> {
    #[inline(always)]
    fn pack(self, precision: Precision) {
        match precision {
            Precision::F32 => {
                for (words, row) in self.weights.as_chunks_mut::<BLOCK>().0.iter_mut().zip(self.panel) {
                    *words = row.map(f32::to_bits);
                }
            }
            Precision::Bf16 => rounding::pack_bf16(self.panel, self.weights),
            Precision::Int8 => rounding::pack_int8(self.panel, self.scales, self.sums, self.weights),
        }
    }
}

/// Packs a block. Every instruction set gives the same words. `isa` must be available.
pub(super) fn pack(isa: Isa, precision: Precision, panel: Panel<'_>) {
    match isa {
        // SAFETY: the caller has checked that this CPU has it.
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        Isa::Avx2 => unsafe { avx2::pack(precision, panel) },
        // SAFETY: as above.
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        Isa::Avx512 => unsafe { avx512::pack(precision, panel) },
        _ => panel.pack(precision),
    }
}

/// Prepares the inputs of one group. Every instruction set gives the same words. `isa` must be available.
///
/// The scale is that of int8, and means nothing in other precisions.
#[inline]
pub(super) fn prepare(isa: Isa, precision: Precision, values: &[f32], words: &mut [u32]) -> GroupScale {
    match isa {
        // SAFETY: `Activations` checked that this CPU has it.
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        Isa::Avx2 => unsafe { avx2::prepare(precision, values, words) },
        // SAFETY: as above.
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        Isa::Avx512 => unsafe { avx512::prepare(precision, values, words) },
        _ => prepare_portable(precision, values, words),
    }
}

#[inline(always)]
fn prepare_portable(precision: Precision, values: &[f32], words: &mut [u32]) -> GroupScale {
    match precision {
        Precision::F32 => words.iter_mut().zip(values).for_each(|(word, x)| *word = x.to_bits()),
        Precision::Bf16 => rounding::round_to_bf16(values, words),
        Precision::Int8 => return rounding::quantize_group(values, words),
    }
    GroupScale { scale: 1.0, zero_point: 0 }
}

/// Cuts a tile into register tiles: `$kernel::<R>(job, first_row, rows)` for as many full ones of `$max` rows as there
/// are, then one of the rest.
#[allow(unused_macros)] // where only the portable kernel is compiled
macro_rules! for_register_tiles {
    ($kernel:ident, $max:literal, [$($rest:literal),*], $job:expr, $first:expr, $tile:expr) => {{
        let (full, rest) = $tile.as_chunks_mut::<$max>();
        let mut row = $first;
        for tile in full {
            $kernel::<$max>($job, row, tile);
            row += $max;
        }
        match rest.len() {
            $($rest => if let Some(tile) = rest.first_chunk_mut::<$rest>() {
                $kernel::<$rest>($job, row, tile);
            },)*
            _ => {}
        }
    }};
}
#[allow(unused_imports)]
use for_register_tiles;
