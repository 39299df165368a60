//! Rows to columns, in blocks that fit into registers.

use rayon::prelude::*;

/// Rows and columns of a block: a line of the cache each.
pub const BLOCK: usize = 16;

/// Writes `values`, `rows × columns` with rows `stride` apart, as `columns × rows` without gaps, on all threads.
///
/// # Panics
/// If a slice is too short.
pub fn transpose(values: &[f32], [rows, columns]: [usize; 2], stride: usize, into: &mut [f32]) {
    let into = &mut into[..rows * columns];
    if into.is_empty() {
        return;
    }
    into.par_chunks_mut(BLOCK * rows).enumerate().for_each(|(block, into)| {
        let first = block * BLOCK;
        transpose_serial(&values[first..], [rows, BLOCK.min(columns - first)], stride, into);
    });
}

/// The same on the calling thread.
pub fn transpose_serial(values: &[f32], [rows, columns]: [usize; 2], stride: usize, into: &mut [f32]) {
    for column in (0..columns).step_by(BLOCK) {
        for row in (0..rows).step_by(BLOCK) {
            let values = &values[row * stride + column..];
            let into = &mut into[column * rows + row..];
            if row + BLOCK <= rows && column + BLOCK <= columns {
                for (column, numbers) in turned(values, stride).iter().enumerate() {
                    into[column * rows..][..BLOCK].copy_from_slice(numbers);
                }
                continue;
            }
            for row in 0..BLOCK.min(rows - row) {
                for column in 0..BLOCK.min(columns - column) {
                    into[column * rows + row] = values[row * stride + column];
                }
            }
        }
    }
}

/// The block at the beginning of rows that are `stride` apart, transposed.
#[inline(always)]
pub fn turned(values: &[f32], stride: usize) -> [[f32; BLOCK]; BLOCK] {
    let mut block = [[0.0; BLOCK]; BLOCK];
    for (row, block) in block.iter_mut().enumerate() {
        block.copy_from_slice(&values[row * stride..][..BLOCK]);
    }
    std::array::from_fn(|column| std::array::from_fn(|row| block[row][column]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
        #[test]
        fn rows_become_columns(rows in 0..70_usize, columns in 0..70_usize, gap in 0..3_usize) {
            let stride = columns + gap;
            let values: Vec<f32> = (0..rows * stride).map(|i| i as f32).collect();
            let mut found = vec![f32::NAN; rows * columns];
            transpose(&values, [rows, columns], stride, &mut found);
            for (place, &found) in found.iter().enumerate() {
                prop_assert_eq!(found, values[place % rows * stride + place / rows]);
            }
        }
    }
}
