//! Products of matrices: both factors in panels that the [kernel](super::kernel) reads from end to end, in
//! blocks that stay in a core's caches.
//!
//! Source: Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication".

use std::array;
use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::kernel::{self, COLUMNS, Left, ROWS, Right, Tile};
use super::transpose::{BLOCK, turned};
use crate::simd::Isa;

/// Most terms of the sums that are added at once: a panel of the right factor is then 96 KB.
const TERMS: usize = 384;
/// Rows of the left factor in a block, in panels: with [`TERMS`] 144 KB.
const LEFT_PANELS: usize = 16;
/// Panels of the right factor in a block: with [`TERMS`] 768 KB, which with the left ones fit a core's second
/// cache; measured on one of 1 MB.
const RIGHT_PANELS: usize = 8;
/// Tasks for each thread: what one core is slower than another, others take over.
const TASKS_A_THREAD: usize = 2;
/// Multiplications below which another thread costs more than it brings.
const LEAST_WORK: usize = 1 << 18;
/// How much more a number costs that is packed than one of the left factor that is read.
const PACKING: usize = 4;
/// An output of more rows than this is cut into blocks of [`BLOCK_ROWS`], whose sums stay in the caches.
const TALL: usize = 2048;
const BLOCK_ROWS: usize = 384;

/// The right factor of a product, which can write itself as panels: panel i holds its columns from
/// i · [`COLUMNS`] on.
pub trait RightFactor: Sync {
    /// Writes the terms `terms` of each of `panels`, panel after panel. What is past the factor's end is left
    /// as it is.
    fn pack(&self, panels: Range<usize>, terms: Range<usize>, into: &mut [Right]);

    /// The whole factor, panel after panel, if it is kept so.
    fn packed(&self) -> Option<&[Right]> {
        None
    }

    /// The whole factor in panels, for a product that reads it many times; none if it is kept so, or would
    /// take too much room.
    fn pack_whole(&self) -> Option<Packed> {
        None
    }
}

/// A matrix inside a slice: `rows × columns`, element `(i, j)` at `i * row_stride + j * column_stride`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows one after the other, `row_stride` apart.
    ///
    /// # Panics
    /// If the slice is too short.
    pub fn rows(values: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        let end = if rows * columns > 0 { (rows - 1) * row_stride + columns } else { 0 };
        assert!(end <= values.len() && row_stride >= columns, "a matrix's shape");
        Self { values, rows, columns, row_stride, column_stride: 1 }
    }

    /// Rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Rows from `panel` · [`ROWS`] on, the last one again for those past the end.
    fn panel(&self, panel: usize, terms: &Range<usize>) -> Left<'a> {
        array::from_fn(|row| {
            let row = (panel * ROWS + row).min(self.rows - 1);
            &self.values[row * self.row_stride..][terms.clone()]
        })
    }
}

impl RightFactor for Matrix<'_> {
    fn pack(&self, panels: Range<usize>, terms: Range<usize>, into: &mut [Right]) {
        for (panel, into) in panels.zip(into.chunks_exact_mut(terms.len())) {
            self.pack_panel(panel, terms.clone(), into);
        }
    }

    fn pack_whole(&self) -> Option<Packed> {
        Some(Packed::of(*self))
    }
}

impl Matrix<'_> {
    fn pack_panel(&self, panel: usize, terms: Range<usize>, into: &mut [Right]) {
        let first = panel * COLUMNS;
        let count = COLUMNS.min(self.columns - first);
        let values = &self.values[first * self.column_stride + terms.start * self.row_stride..];
        if self.column_stride == 1 {
            for (term, into) in into.iter_mut().enumerate() {
                into.0[..count].copy_from_slice(&values[term * self.row_stride..][..count]);
            }
            return;
        }
        // Transposed: the terms of a column stand together. Few columns at a time are read along them.
        for column in (0..count).step_by(BLOCK) {
            let values = &values[column * self.column_stride..];
            for (block, into) in into.chunks_mut(BLOCK).enumerate() {
                let values = &values[block * BLOCK..];
                if into.len() == BLOCK && column + BLOCK <= count {
                    for (into, numbers) in into.iter_mut().zip(turned(values, self.column_stride)) {
                        into.0[column..column + BLOCK].copy_from_slice(&numbers);
                    }
                    continue;
                }
                for idx in 0..BLOCK.min(count - column) {
                    for (into, value) in into.iter_mut().zip(&values[idx * self.column_stride..]) {
                        into.0[column + idx] = *value;
                    }
                }
            }
        }
    }
}

/// A right factor kept in panels, for as many products as it is part of.
#[derive(Debug, Clone)]
pub struct Packed {
    panels: Vec<Right>,
    terms: usize,
    columns: usize,
}

impl Packed {
    /// The factor whose columns stand one after the other in `values`.
    pub fn of_columns(values: &[f32], columns: usize, terms: usize) -> Self {
        Self::of(Matrix::rows(values, columns, terms, terms).transposed())
    }

    fn of(factor: Matrix) -> Self {
        let (terms, columns) = (factor.rows, factor.columns);
        let mut panels = vec![ZEROS; columns.div_ceil(COLUMNS) * terms];
        let each = panels.par_chunks_exact_mut(terms.max(1)).enumerate();
        each.for_each(|(panel, into)| factor.pack_panel(panel, 0..terms, into));
        Self { panels, terms, columns }
    }

    /// What [`of_columns`](Self::of_columns) was given.
    pub fn to_columns(&self) -> Vec<f32> {
        let number = |column: usize, term: usize| {
            self.panels[column / COLUMNS * self.terms + term].0[column % COLUMNS]
        };
        (0..self.columns).flat_map(|column| (0..self.terms).map(move |term| number(column, term))).collect()
    }
}

impl RightFactor for Packed {
    fn pack(&self, panels: Range<usize>, terms: Range<usize>, into: &mut [Right]) {
        for (panel, into) in panels.zip(into.chunks_exact_mut(terms.len())) {
            into.copy_from_slice(&self.panels[panel * self.terms..][terms.clone()]);
        }
    }

    fn packed(&self) -> Option<&[Right]> {
        Some(&self.panels)
    }
}

/// What room for panels is filled with.
const ZEROS: Right = Right([0.0; COLUMNS]);

/// What a product is added to.
#[derive(Clone, Copy)]
pub enum Onto<'a> {
    Nothing,
    /// What the output holds.
    Output,
    /// A number for each row of the output.
    Rows(&'a [f32]),
    /// A number for each column of the output.
    Columns(&'a [f32]),
}

/// `output = left · right` and what it is added to, on the calling thread; the rows of `output` are
/// `row_stride` apart.
///
/// # Panics
/// If the shapes do not fit each other or reach past their slices.
pub fn matmul(output: &mut [f32], row_stride: usize, left: Matrix, right: Matrix, onto: Onto) {
    assert!(row_stride >= right.columns, "the output's shape");
    let mut rows: Vec<&mut [f32]> =
        output.chunks_mut(row_stride.max(1)).take(left.rows).map(|row| &mut row[..right.columns]).collect();
    matmul_rows(&mut rows, left, right, onto);
}

/// The same into rows that stand anywhere.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn matmul_rows(output: &mut [&mut [f32]], left: Matrix, right: Matrix, onto: Onto) {
    assert_eq!(left.columns, right.rows, "inner dimensions");
    assert!(left.column_stride == 1, "a left factor is read by rows");
    assert!(
        output.len() == left.rows && output.iter().all(|row| row.len() == right.columns),
        "the output's shape"
    );
    let whole = Block { rows: 0..left.rows, columns: 0..right.columns };
    multiply(Isa::detect(), left.columns, &whole, left, &right, output, onto);
}

/// `output = left · right` and what it is added to, on all threads. `output` is `[rows, columns]`.
pub fn matmul_parallel(
    output: &mut [f32],
    [rows, terms, columns]: [usize; 3],
    left: Matrix,
    right: &impl RightFactor,
    onto: Onto,
) {
    assert_eq!(output.len(), rows * columns, "the output's shape");
    assert!([left.rows, left.columns, left.column_stride] == [rows, terms, 1], "the left factor's shape");
    if output.is_empty() {
        return;
    }
    if rows > TALL
        && let Some(packed) = right.pack_whole()
    {
        return matmul_parallel(output, [rows, terms, columns], left, &packed, onto);
    }
    let isa = Isa::detect();
    let packing = if right.packed().is_some() { 1 } else { PACKING };
    let [height, width] = block_size([rows, terms, columns], rayon::current_num_threads(), packing);
    let across = columns.div_ceil(width);
    let block = |idx: usize| {
        let (row, column) = (idx / across * height, idx % across * width);
        Block { rows: row..rows.min(row + height), columns: column..columns.min(column + width) }
    };
    let num_blocks = rows.div_ceil(height) * across;
    let mut blocks: Vec<(Block, Vec<&mut [f32]>)> =
        (0..num_blocks).map(|idx| (block(idx), Vec::new())).collect();
    for (row, values) in output.chunks_mut(columns).enumerate() {
        let first = row / height * across;
        let pieces = values.chunks_mut(width);
        blocks[first..].iter_mut().zip(pieces).for_each(|((_, output), piece)| output.push(piece));
    }
    blocks.into_par_iter().for_each(|(block, mut output)| {
        multiply(isa, terms, &block, left, right, &mut output, onto);
    });
}

/// Rows and columns of the blocks that threads take, in whole panels: several for each thread, cut where that
/// costs least: blocks beside each other read the same rows, those below each other pack the same columns.
fn block_size([rows, terms, columns]: [usize; 3], num_threads: usize, packing: usize) -> [usize; 2] {
    let work = rows * columns * terms.max(1);
    let wanted = if num_threads == 1 { 1 } else { (num_threads * TASKS_A_THREAD).min(work / LEAST_WORK) };
    let (mut down, mut across) = (if rows > TALL { rows.div_ceil(BLOCK_ROWS) } else { 1 }, 1);
    while down * across < wanted {
        let (can_down, can_across) = (down * ROWS < rows, across * COLUMNS < columns);
        match (can_down, can_across) {
            (true, _) if columns * packing < rows || !can_across => down += 1,
            (_, true) => across += 1,
            _ => break,
        }
    }
    [rows.div_ceil(down).next_multiple_of(ROWS), columns.div_ceil(across).next_multiple_of(COLUMNS)]
}

/// A part of the output; it begins where panels begin.
struct Block {
    rows: Range<usize>,
    columns: Range<usize>,
}

/// What a thread packs panels into and adds up tiles in: an output whose rows lie a power of two apart would
/// fall out of the caches between two blocks of terms.
#[derive(Default)]
struct Scratch {
    right: Vec<Right>,
    tiles: Vec<Tile>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// One block of the product; `output` holds its rows.
fn multiply(
    isa: Isa,
    terms: usize,
    block: &Block,
    left: Matrix,
    right: &impl RightFactor,
    output: &mut [&mut [f32]],
    onto: Onto,
) {
    let left_panels = block.rows.start / ROWS..block.rows.end.div_ceil(ROWS);
    let right_panels = block.columns.start / COLUMNS..block.columns.end.div_ceil(COLUMNS);
    let terms_at_once = evenly(terms, TERMS);
    SCRATCH.with_borrow_mut(|Scratch { right: room, tiles }| {
        let right_panels_at_once = evenly(right_panels.len(), RIGHT_PANELS);
        for right_panels in chunks(right_panels, right_panels_at_once) {
            tiles.clear();
            tiles.resize(left_panels.len() * right_panels.len(), [[0.0; COLUMNS]; ROWS]);
            for range in chunks(0..terms, terms_at_once) {
                let right = Panels::of(right, terms, right_panels.clone(), range.clone(), room);
                for some_left_panels in chunks(left_panels.clone(), LEFT_PANELS) {
                    for right_panel in right_panels.clone() {
                        let columns = COLUMNS.min(block.columns.end - right_panel * COLUMNS);
                        let first = (right_panel - right_panels.start) * left_panels.len();
                        let tiles = &mut tiles[first..][..left_panels.len()];
                        for left_panel in some_left_panels.clone() {
                            let tile = &mut tiles[left_panel - left_panels.start];
                            let (left, right) = (left.panel(left_panel, &range), right.panel(right_panel));
                            kernel::multiply_add(isa, left, right, columns, tile);
                        }
                    }
                }
            }
            for (right_panel, tiles) in right_panels.zip(tiles.chunks_exact(left_panels.len())) {
                let column = right_panel * COLUMNS;
                let count = COLUMNS.min(block.columns.end - column);
                for (row, (output, tile)) in output.iter_mut().zip(tiles.as_flattened()).enumerate() {
                    let output = &mut output[column - block.columns.start..][..count];
                    write(output, tile, onto, block.rows.start + row, column);
                }
            }
        }
    });
}

/// Writes a row of a tile, whose place in the whole output is `row` and `column`.
#[inline]
fn write(output: &mut [f32], tile: &[f32; COLUMNS], onto: Onto, row: usize, column: usize) {
    let pairs = output.iter_mut().zip(tile);
    match onto {
        Onto::Nothing => pairs.for_each(|(output, value)| *output = *value),
        Onto::Output => pairs.for_each(|(output, value)| *output += value),
        Onto::Rows(addends) => {
            let addend = addends[row];
            pairs.for_each(|(output, value)| *output = value + addend);
        }
        Onto::Columns(addends) => {
            let pairs = pairs.zip(&addends[column..]);
            pairs.for_each(|((output, value), addend)| *output = value + addend);
        }
    }
}

/// Panels of a right factor and some of their terms: kept so, or just packed.
struct Panels<'a> {
    values: &'a [Right],
    /// Panel `first + i` begins at `i · stride`.
    first: usize,
    stride: usize,
    len: usize,
}

impl<'a> Panels<'a> {
    fn of(
        factor: &'a impl RightFactor,
        num_terms: usize,
        panels: Range<usize>,
        terms: Range<usize>,
        room: &'a mut Vec<Right>,
    ) -> Self {
        let (first, len) = (panels.start, terms.len());
        if let Some(values) = factor.packed() {
            let values = &values[first * num_terms + terms.start..];
            return Self { values, first, stride: num_terms, len };
        }
        if room.len() < panels.len() * len {
            room.resize(panels.len() * len, ZEROS);
        }
        let count = panels.len();
        factor.pack(panels, terms, &mut room[..count * len]);
        Self { values: room, first, stride: len, len }
    }

    fn panel(&self, panel: usize) -> &[Right] {
        &self.values[(panel - self.first) * self.stride..][..self.len]
    }
}

/// How many of `len` to take at a time, at most `most`, so that the last are no few.
fn evenly(len: usize, most: usize) -> usize {
    len.div_ceil(len.div_ceil(most).max(1)).max(1)
}

/// The range in stretches of at most `size`.
fn chunks(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(size).map(move |first| first..end.min(first + size))
}
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sixteenths: every sum of their products is exact in f32.
    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| (((i + seed) * 37 % 101) as f32 - 50.0) / 16.0).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
        #[test]
        fn products_are_sums_of_products(
            m in 1..40_usize,
            k in prop_oneof![0..30_usize, 250..520_usize],
            n in 1..150_usize,
            gap in 0..3_usize,
        ) {
            let (rows, columns) = (numbers(m * (k + gap), 0), numbers(n * (k + gap), 7));
            let left = Matrix::rows(&rows, m, k, k + gap);
            let right = Matrix::rows(&columns, n, k, k + gap).transposed();
            let product = |i: usize, j: usize| -> f32 {
                (0..k).map(|l| rows[i * (k + gap) + l] * columns[j * (k + gap) + l]).sum()
            };
            let before: Vec<f32> = (0..m * (n + gap)).map(|i| i as f32).collect();
            for onto in [Onto::Nothing, Onto::Output] {
                let mut output = before.clone();
                matmul(&mut output, n + gap, left, right, onto);
                for (place, (&found, &old)) in output.iter().zip(&before).enumerate() {
                    let (i, j) = (place / (n + gap), place % (n + gap));
                    let expected = match onto {
                        _ if j >= n => old,
                        Onto::Nothing => product(i, j),
                        _ => old + product(i, j),
                    };
                    prop_assert_eq!(found, expected);
                }
            }

            // In parallel, the right factor packed before or not, with a number for each row or column.
            let whole: Vec<f32> = (0..m * n).map(|place| product(place / n, place % n)).collect();
            let lines: Vec<f32> = (0..n).flat_map(|j| &columns[j * (k + gap)..][..k]).copied().collect();
            let packed = Packed::of_columns(&lines, n, k);
            prop_assert_eq!(packed.to_columns(), lines);
            let addends = numbers(m.max(n), 3);
            let mut output = vec![f32::NAN; m * n];
            matmul_parallel(&mut output, [m, k, n], left, &right, Onto::Rows(&addends));
            for (place, &found) in output.iter().enumerate() {
                prop_assert_eq!(found, whole[place] + addends[place / n]);
            }
            matmul_parallel(&mut output, [m, k, n], left, &packed, Onto::Columns(&addends));
            for (place, &found) in output.iter().enumerate() {
                prop_assert_eq!(found, whole[place] + addends[place % n]);
            }
        }

        #[test]
        fn blocks_are_whole_panels_and_cover_all(
            rows in 1..9000_usize, terms in 0..3000_usize, columns in 1..3000_usize, threads in 1..65_usize,
        ) {
            let [height, width] = block_size([rows, terms, columns], threads, PACKING);
            prop_assert!(height % ROWS == 0 && width % COLUMNS == 0 && height > 0 && width > 0);
        }
    }

    #[test]
    fn a_tile_is_the_same_on_every_instruction_set() {
        let rows: [Vec<f32>; ROWS] = array::from_fn(|row| numbers(300, row * 5));
        let left = array::from_fn(|row| &rows[row][..]);
        let right: Vec<Right> =
            (0..300).map(|i| Right(numbers(COLUMNS, i * 11).try_into().expect("a step"))).collect();
        for columns in [1, 15, 16, 17, 40, 48, 64] {
            let tiles = Isa::ALL.into_iter().filter(|isa| isa.is_available()).map(|isa| {
                let mut tile = [[0.0; COLUMNS]; ROWS];
                kernel::multiply_add(isa, left, &right, columns, &mut tile);
                tile.map(|row| row[..columns].to_vec())
            });
            let tiles: Vec<_> = tiles.collect();
            assert!(tiles.iter().all(|tile| *tile == tiles[0]), "{columns} columns");
        }
    }

    #[test]
    fn a_tall_product_is_as_any() {
        let (rows, terms, columns) = (TALL + 7, 9, 70);
        let (left, right) = (numbers(rows * terms, 0), numbers(terms * columns, 7));
        let mut output = vec![1.0; rows * columns];
        let (left, right) =
            (Matrix::rows(&left, rows, terms, terms), Matrix::rows(&right, terms, columns, columns));
        matmul_parallel(&mut output, [rows, terms, columns], left, &right, Onto::Output);
        for place in (0..output.len()).step_by(131) {
            let (i, j) = (place / columns, place % columns);
            let sum: f32 =
                (0..terms).map(|l| left.values[i * terms + l] * right.values[l * columns + j]).sum();
            assert_eq!(output[place], 1.0 + sum, "row {i}, column {j}");
        }
    }

    #[test]
    #[should_panic(expected = "a matrix's shape")]
    fn a_matrix_past_its_slice_is_refused() {
        let _ = Matrix::rows(&[1.0; 8], 3, 3, 3);
    }
}
