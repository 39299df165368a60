//! The innermost loop of every product: a tile of [`ROWS`] by [`COLUMNS`] that stays in registers.

use crate::simd::Isa;

/// Rows of a tile.
pub const ROWS: usize = 6;
/// Columns of a tile: four registers of AVX-512.
pub const COLUMNS: usize = 64;

/// A panel of the left factor: its rows, all of one length.
pub type Left<'a> = [&'a [f32]; ROWS];

/// A row of the right factor's panel: one number for each column of the tile.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub struct Right(pub [f32; COLUMNS]);

/// What a product of two panels is added to.
pub type Tile = [[f32; COLUMNS]; ROWS];

/// `tile += left · right`, at least its first `columns` columns.
pub fn multiply_add(isa: Isa, left: Left, right: &[Right], columns: usize, tile: &mut Tile) {
    match isa {
        // SAFETY: the CPU has what the function is compiled for: it was just asked.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 if isa.is_available() => unsafe { avx512(left, right, columns, tile) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 if isa.is_available() => unsafe { avx2(left, right, columns, tile) },
        // Every 64-bit Arm has NEON with its multiply-add and 32 registers.
        _ if cfg!(target_arch = "aarch64") => strips::<16, true>(left, right, columns, tile),
        _ => strips::<8, false>(left, right, columns, tile),
    }
}

/// All columns at once: 24 of 32 registers are sums.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn avx512(left: Left, right: &[Right], columns: usize, tile: &mut Tile) {
    match columns.div_ceil(16) {
        1 => strip::<16, true>(left, right, 0, tile),
        2 => strip::<32, true>(left, right, 0, tile),
        3 => strip::<48, true>(left, right, 0, tile),
        _ => strip::<64, true>(left, right, 0, tile),
    }
}

/// Sixteen columns at a time: 12 of 16 registers are sums.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(left: Left, right: &[Right], columns: usize, tile: &mut Tile) {
    strips::<16, true>(left, right, columns, tile);
}

#[inline(always)]
fn strips<const WIDTH: usize, const FUSED: bool>(
    left: Left,
    right: &[Right],
    columns: usize,
    tile: &mut Tile,
) {
    for first in (0..columns).step_by(WIDTH) {
        strip::<WIDTH, FUSED>(left, right, first, tile);
    }
}

/// `WIDTH` columns from `first` on.
#[inline(always)]
fn strip<const WIDTH: usize, const FUSED: bool>(left: Left, right: &[Right], first: usize, tile: &mut Tile) {
    let mut sums = [[0.0; WIDTH]; ROWS];
    // By name: in an array of slices each length would be checked at each term.
    let [a, b, c, d, e, f] = left.map(|row| &row[..right.len()]);
    for (term, right) in right.iter().enumerate() {
        let left = [a[term], b[term], c[term], d[term], e[term], f[term]];
        // Read once into registers: read anew for each row, the loads and not the sums would set the pace.
        let mut values = [0.0; WIDTH];
        values.copy_from_slice(&right.0[first..first + WIDTH]);
        for row in 0..ROWS {
            for column in 0..WIDTH {
                let (x, y, sum) = (left[row], values[column], sums[row][column]);
                sums[row][column] = if FUSED { x.mul_add(y, sum) } else { x * y + sum };
            }
        }
    }
    for (tile, sums) in tile.iter_mut().zip(sums) {
        for (tile, sum) in tile[first..first + WIDTH].iter_mut().zip(sums) {
            *tile += sum;
        }
    }
}
