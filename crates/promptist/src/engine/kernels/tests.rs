//! Every kernel that this CPU runs against the portable one and against sums in f64, over odd shapes.

use proptest::prelude::*;

use super::*;
use crate::engine::packed::{Packer, WeightLayout};

/// Numbers in about -3..3, the same for the same seed, with a channel in eleven ten times as large.
fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
    };
    (0..len).map(|i| (next() + next()) * if i % 11 == 5 { 30.0 } else { 3.0 }).collect()
}

/// Those that this CPU runs.
fn available() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available())
}

/// Inputs `[rows, K]` and weights `[K, N]`.
pub(super) struct Case {
    pub(super) k: usize,
    n: usize,
    pub(super) rows: usize,
    inputs: Vec<f32>,
    weights: Vec<f32>,
}

impl Case {
    pub(super) fn new(rows: usize, k: usize, n: usize, seed: u64) -> Self {
        Self { k, n, rows, inputs: numbers(rows * k, seed), weights: numbers(k * n, !seed) }
    }

    pub(super) fn pack(&self, precision: Precision, isa: Isa) -> PackedMatrix {
        PackedMatrix::pack(&self.weights, WeightLayout::InOut, self.k, self.n, precision, isa, None)
    }

    pub(super) fn product(&self, precision: Precision, isa: Isa, piece: usize) -> Vec<f32> {
        self.product_with(&self.pack(precision, isa), piece)
    }

    pub(super) fn product_with(&self, matrix: &PackedMatrix, piece: usize) -> Vec<f32> {
        self.product_of(&self.activations(matrix.precision(), matrix.isa()), matrix, piece)
    }

    pub(super) fn activations(&self, precision: Precision, isa: Isa) -> Activations {
        let mut activations = Activations::new(precision, self.k, isa);
        activations.resize(self.rows);
        for (mut row, values) in activations.rows_mut().zip(self.inputs.chunks(self.k)) {
            row.set(values);
        }
        activations
    }

    /// All products, computed over `piece` rows at a time.
    fn product_of(&self, activations: &Activations, matrix: &PackedMatrix, piece: usize) -> Vec<f32> {
        let mut out = vec![f32::NAN; self.rows * self.n];
        for first in (0..self.rows).step_by(piece) {
            let rows = first..(first + piece).min(self.rows);
            let mut tile = vec![f32::NAN; rows.len() * BLOCK];
            for block in 0..matrix.num_blocks() {
                block_product(activations, rows.clone(), matrix, block, &mut tile);
                for (row, values) in rows.clone().zip(tile.chunks(BLOCK)) {
                    let columns = block * BLOCK..((block + 1) * BLOCK).min(self.n);
                    out[row * self.n..][columns.clone()].copy_from_slice(&values[..columns.len()]);
                    assert!(values[columns.len()..].iter().all(|&x| x == 0.0), "padding of the last block");
                }
            }
        }
        out
    }

    /// The product in f64, and the sum of the sizes of its terms, to which errors are relative.
    fn exact(&self) -> Vec<(f64, f64)> {
        let mut out = Vec::new();
        for row in self.inputs.chunks(self.k) {
            for column in 0..self.n {
                let terms = row.iter().zip(self.weights[column..].iter().step_by(self.n));
                let terms = terms.map(|(&x, &w)| f64::from(x) * f64::from(w));
                out.push(terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs())));
            }
        }
        out
    }
}

#[track_caller]
fn assert_same_bits(left: &[f32], right: &[f32], what: &str) {
    assert_eq!(left.len(), right.len());
    for (i, (a, b)) in left.iter().zip(right).enumerate() {
        assert!(a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()), "{what}: {a} and {b} at {i}");
    }
}

#[track_caller]
fn assert_near(product: &[f32], exact: &[(f64, f64)], tolerance: f64, what: &str) {
    for (i, (&x, &(sum, size))) in product.iter().zip(exact).enumerate() {
        let error = (f64::from(x) - sum).abs();
        assert!(error <= tolerance * size + 1e-20, "{what}: {x} for {sum} at {i}, terms of {size}");
    }
}

/// Error relative to the sum of the sizes of the terms. int8: half a step of 1/127 of the largest weight and of 1/255 of
/// the range of a group, over terms that are mostly far from the largest.
fn tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 300.0 * f64::from(f32::EPSILON),
        Precision::Bf16 => 2.0 / 256.0,
        Precision::Int8 => f64::INFINITY,
    }
}

/// Under Miri: a few small cases, and no file of failures, which it has no access to.
fn config() -> ProptestConfig {
    let mut config = ProptestConfig::with_cases(60);
    if cfg!(miri) {
        config.cases = 2;
        config.failure_persistence = None;
    }
    config
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn products_are_right_and_the_same_whatever_the_rows_beside(
        rows in 1..if cfg!(miri) { 3_usize } else { 70 },
        k in 1..if cfg!(miri) { 30_usize } else { 300 },
        n in 1..if cfg!(miri) { 60_usize } else { 200 },
        piece in 1..20_usize,
        seed: u64,
    ) {
        let case = Case::new(rows, k, n, seed);
        let exact = case.exact();
        for precision in Precision::ALL {
            let portable = case.product(precision, Isa::Portable, rows);
            for isa in available() {
                let what = format!("{precision} {isa}");
                let product = case.product(precision, isa, rows);
                assert_near(&product, &exact, tolerance(precision), &what);
                assert_same_bits(&product, &case.product(precision, isa, piece), &what);
                assert_same_bits(&product, &case.product(precision, isa, 1), &what);
                if precision == Precision::Int8 {
                    assert_same_bits(&product, &portable, &what);
                }
            }
        }
    }
}

#[test]
fn f32_is_the_same_on_every_instruction_set_with_fused_multiply_add() {
    let case = Case::new(11, 259, 101, 3);
    let products: Vec<_> = available()
        .filter(|&isa| isa != Isa::Portable)
        .map(|isa| case.product(Precision::F32, isa, 11))
        .collect();
    for pair in products.windows(2) {
        assert_same_bits(&pair[0], &pair[1], "f32");
    }
}

#[test]
fn packing_and_preparing_give_the_same_words_on_every_instruction_set() {
    let case = Case::new(3, 261, 100, 8);
    for precision in Precision::ALL {
        let expected = case.pack(precision, Isa::Portable);
        for isa in available() {
            let matrix = case.pack(precision, isa);
            for block in 0..matrix.num_blocks() {
                let (a, b) = (matrix.block(block), expected.block(block));
                assert_eq!((a.weights, a.sums, a.scales), (b.weights, b.sums, b.scales), "{precision} {isa}");
            }
            let mut here = Activations::new(precision, case.k, isa);
            let mut there = Activations::new(precision, case.k, Isa::Portable);
            for activations in [&mut here, &mut there] {
                activations.resize(1);
                activations.row_mut(0).set(&case.inputs[..case.k]);
            }
            let (a, b) = (here.row(0), there.row(0));
            assert_eq!((a.data, a.scales, a.offsets), (b.data, b.scales, b.offsets), "{precision} {isa}");
        }
    }
}

/// The definition of int8, term by term in wide integers: group sums are exact.
#[test]
fn int8_is_what_its_numbers_say() {
    let case = Case::new(5, 2 * crate::engine::packed::GROUP + 7, 50, 21);
    let matrix = case.pack(Precision::Int8, Isa::Portable);
    let activations = case.activations(Precision::Int8, Isa::Portable);
    let product = case.product_of(&activations, &matrix, 5);
    let byte = |word: u32, i: usize| word.to_le_bytes()[i % 4];
    for row in 0..case.rows {
        let inputs = activations.row(row);
        for column in 0..case.n {
            let block = matrix.block(column / BLOCK);
            let mut out = 0.0_f32;
            for group in 0..activations.num_groups() {
                let zero_point = -i64::from(inputs.offsets[group] as i32);
                let sum: i64 = activations
                    .group(group)
                    .map(|i| {
                        let q = i64::from(byte(inputs.data[i / 4], i));
                        let w = i64::from(byte(block.weights[i / 4][column % BLOCK], i) as i8);
                        (q - zero_point) * w
                    })
                    .sum();
                out += sum as f32 * f32::from_bits(inputs.scales[group]);
            }
            out *= f32::from_bits(block.scales[0][column % BLOCK]);
            assert_eq!(out.to_bits(), product[row * case.n + column].to_bits(), "row {row}, column {column}");
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes")]
fn int8_is_near_the_exact_product() {
    for isa in available() {
        let case = Case::new(9, 768, 96, 5);
        let product = case.product(Precision::Int8, isa, 9);
        let (mut error, mut size) = (0.0, 0.0);
        for (&x, (sum, _)) in product.iter().zip(case.exact()) {
            error += (f64::from(x) - sum).powi(2);
            size += sum * sum;
        }
        // Seen: 1.8 %, most of it from the channels ten times as large as those they share a scale with.
        assert!(error.sqrt() <= 0.025 * size.sqrt(), "{isa}: {}", error.sqrt() / size.sqrt());
    }
}

/// Numbers at the ends of their ranges: a kernel whose sums saturate would show here.
#[test]
#[cfg_attr(miri, ignore = "takes minutes")]
fn int8_sums_do_not_saturate() {
    let (rows, k, n) = (4, 3072, 48);
    for (x, w) in [(1.0_f32, 1.0_f32), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)] {
        let mut case = Case { k, n, rows, inputs: vec![x; rows * k], weights: vec![w; k * n] };
        // Both ends in each group, so that q is 255 or 0 and the zero point in the middle.
        for i in (0..rows * k).step_by(64) {
            case.inputs[i] = -x;
        }
        let expected = case.product(Precision::Int8, Isa::Portable, rows);
        assert!((f64::from(expected[0]) - case.exact()[0].0).abs() < 0.01 * k as f64, "{}", expected[0]);
        for isa in available() {
            assert_same_bits(&case.product(Precision::Int8, isa, rows), &expected, isa.name());
        }
    }
}

#[test]
fn the_layout_and_the_order_of_channels_change_nothing_but_the_order() {
    let case = Case::new(3, 37, 61, 9);
    let transposed: Vec<f32> =
        (0..case.n * case.k).map(|i| case.weights[i % case.k * case.n + i / case.k]).collect();
    let order: Vec<u32> = (0..37).map(|i| (i * 10 + 3) % 37).collect();
    for precision in Precision::ALL {
        let expected = case.product(precision, Isa::Portable, 3);
        let (layout, isa) = (WeightLayout::OutIn, Isa::Portable);
        let matrix = PackedMatrix::pack(&transposed, layout, case.k, case.n, precision, isa, None);
        assert_same_bits(&case.product_with(&matrix, 3), &expected, "OutIn");

        let both = [(WeightLayout::InOut, &case.weights), (WeightLayout::OutIn, &transposed)];
        for (layout, weights) in both {
            let matrix = PackedMatrix::pack(weights, layout, case.k, case.n, precision, isa, Some(&order));
            let mut activations = Activations::new(precision, case.k, isa);
            activations.resize(3);
            for (mut row, values) in activations.rows_mut().zip(case.inputs.chunks(case.k)) {
                row.set_ordered(values, &order);
            }
            let product = case.product_of(&activations, &matrix, 3);
            let near: Vec<_> =
                expected.iter().zip(case.exact()).map(|(&x, (_, size))| (x.into(), size)).collect();
            assert_near(&product, &near, 1e-6, "ordered");
        }
    }
}

#[test]
fn matrices_that_share_memory_are_those_that_do_not() {
    let (first, second) = (Case::new(2, 70, 100, 1), Case::new(2, 31, 49, 2));
    for precision in Precision::ALL {
        // Room for the first alone: the second gets memory of its own.
        for shapes in [vec![(70, 100), (31, 49)], vec![(70, 100)]] {
            let mut packer = Packer::with_shapes(precision, Isa::Portable, shapes);
            let mut pack =
                |case: &Case| packer.pack(&case.weights, WeightLayout::InOut, case.k, case.n, None);
            let matrices = [pack(&first), pack(&second)];
            for (case, matrix) in [&first, &second].into_iter().zip(&matrices) {
                let expected = case.product(precision, Isa::Portable, 2);
                assert_same_bits(&case.product_with(matrix, 2), &expected, "shared memory");
            }
        }
    }
}

#[test]
fn a_row_set_by_groups_or_through_a_shared_reference_is_the_same_row() {
    let case = Case::new(4, crate::engine::packed::GROUP + 30, 48, 2);
    for (precision, isa) in Precision::ALL.into_iter().flat_map(|p| available().map(move |isa| (p, isa))) {
        let mut activations = Activations::new(precision, case.k, isa);
        activations.resize(case.rows);
        let shared = &activations;
        std::thread::scope(|scope| {
            for group in 0..shared.num_groups() {
                let case = &case;
                scope.spawn(move || {
                    for (row, values) in case.inputs.chunks(case.k).enumerate() {
                        // SAFETY: each thread writes a group of its own, and nobody reads before they end.
                        let mut row = unsafe { shared.shared_row(row) };
                        row.set_group(group, &values[shared.group(group)]);
                    }
                });
            }
        });
        let product = case.product_of(&activations, &case.pack(precision, isa), 4);
        assert_same_bits(&product, &case.product(precision, isa, 4), "by groups");
    }
}

#[test]
fn a_row_that_is_not_finite_gives_nan_and_leaves_the_others_alone() {
    for (precision, isa) in Precision::ALL.into_iter().flat_map(|p| available().map(move |isa| (p, isa))) {
        let bad = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        for bad in bad.into_iter().take(if cfg!(miri) { 1 } else { 3 }) {
            let mut case = Case::new(3, 200, 48, 4);
            let clean = case.product(precision, isa, 3);
            case.inputs[200 + 150] = bad;
            let product = case.product(precision, isa, 3);
            assert!(product[48..96].iter().all(|x| !x.is_finite()), "{precision} {isa} {bad}");
            assert_same_bits(&product[..48], &clean[..48], "row before");
            assert_same_bits(&product[96..], &clean[96..], "row after");
        }
    }
}

#[test]
fn zeros_and_huge_numbers() {
    for (precision, isa) in Precision::ALL.into_iter().flat_map(|p| available().map(move |isa| (p, isa))) {
        let mut case = Case::new(2, 130, 50, 6);
        case.inputs[..130].fill(0.0);
        case.inputs[130..].iter_mut().for_each(|x| *x *= 1e36);
        case.weights.iter_mut().skip(7).step_by(50).for_each(|w| *w = 0.0);
        let product = case.product(precision, isa, 2);
        assert!(product[..50].iter().all(|&x| x == 0.0), "{precision} {isa}");
        assert_eq!(product[50 + 7], 0.0, "{precision} {isa}");
        assert!(product[50..].iter().all(|x| !x.is_nan()), "{precision} {isa}");
    }
}

#[test]
fn no_inputs_and_no_columns() {
    for (precision, isa) in Precision::ALL.into_iter().flat_map(|p| available().map(move |isa| (p, isa))) {
        assert_eq!(Case::new(2, 0, 3, 1).pack(precision, isa).num_blocks(), 1);
        assert!(Case::new(2, 3, 0, 1).product(precision, isa, 1).is_empty());
        let mut activations = Activations::new(precision, 0, isa);
        activations.resize(2);
        let mut tile = [f32::NAN; 2 * BLOCK];
        block_product(&activations, 0..2, &Case::new(2, 0, 3, 1).pack(precision, isa), 0, &mut tile);
        assert_eq!(tile, [0.0; 2 * BLOCK], "{precision} {isa}");
    }
}

#[test]
#[should_panic(expected = "inputs of a row and of the matrix")]
fn a_row_of_another_length_is_refused() {
    let matrix = Case::new(1, 8, 8, 1).pack(Precision::F32, Isa::Portable);
    let activations = Activations::new(Precision::F32, 9, Isa::Portable);
    block_product(&activations, 0..0, &matrix, 0, &mut []);
}

/// A kernel that this CPU has something better for, over 1 to 9 rows, against what the CPU would run.
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(super) fn compare_hidden_kernel(
    precision: Precision,
    isa: Isa,
    kernel: impl Fn(Job<'_>, usize, &mut [[f32; BLOCK]]),
    same: impl Fn(&[f32], &[f32]),
) {
    for rows in 1..=9 {
        let case = Case::new(rows, 301, BLOCK, 77);
        let (activations, matrix) = (case.activations(precision, isa), case.pack(precision, isa));
        let mut tile = vec![[f32::NAN; BLOCK]; rows];
        kernel(Job { activations: &activations, precision, block: matrix.block(0) }, 0, &mut tile);
        same(tile.as_flattened(), &case.product(precision, isa, rows));
    }
}
