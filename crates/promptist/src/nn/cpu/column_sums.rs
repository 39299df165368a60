//! Sums over rows, in an order that does not hang on the number of threads.

use rayon::prelude::*;

/// Rows whose sum is a task.
const ROWS: usize = 64;

/// Adds each column of `values`, `[R, width]`, to `into`.
pub fn column_sums(values: &[f32], into: &mut [f32]) {
    let width = into.len();
    let sums: Vec<Vec<f32>> = values
        .par_chunks(ROWS * width)
        .map(|rows| {
            let mut sums = vec![0.0; width];
            rows.chunks_exact(width).for_each(|row| add(row, &mut sums));
            sums
        })
        .collect();
    add_up(&sums, into);
}

/// Adds all of `parts`, one after the other.
pub fn add_up(parts: &[Vec<f32>], into: &mut [f32]) {
    parts.iter().for_each(|part| add(part, into));
}

/// Adds `values` to `into`, number by number.
pub fn add(values: &[f32], into: &mut [f32]) {
    into.iter_mut().zip(values).for_each(|(into, value)| *into += value);
}
