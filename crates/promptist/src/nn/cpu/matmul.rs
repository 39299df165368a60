//! One face over the `gemm` crate, on slices, on the calling thread.

/// A matrix inside a slice: `rows × columns`, element `(i, j)` at `i * row_stride + j * column_stride`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    pub values: &'a [f32],
    pub rows: usize,
    pub columns: usize,
    pub row_stride: usize,
    pub column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows one after the other, `row_stride` apart.
    pub fn rows(values: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
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
}

/// What becomes of the values that a product is written to.
#[derive(Clone, Copy, PartialEq)]
pub enum Into {
    Overwrite,
    Add,
}

/// `output = left · right`, or `output += left · right`; the rows of `output` are `row_stride` apart.
///
/// # Panics
/// If the shapes do not fit each other or reach past their slices.
pub fn matmul(output: &mut [f32], row_stride: usize, left: Matrix, right: Matrix, into: Into) {
    let (m, k, n) = (left.rows, left.columns, right.columns);
    assert_eq!(k, right.rows, "inner dimensions");
    if m == 0 || n == 0 {
        return;
    }
    let last = |rows: usize, columns: usize, row_stride: usize, column_stride: usize| {
        (rows - 1) * row_stride + (columns - 1) * column_stride
    };
    assert!(row_stride >= n && last(m, n, row_stride, 1) < output.len(), "the output's shape");
    for matrix in [left, right].iter().filter(|_| k > 0) {
        let end = last(matrix.rows, matrix.columns, matrix.row_stride, matrix.column_stride);
        assert!(end < matrix.values.len(), "a factor's shape");
    }
    // SAFETY: every element of the three matrices lies within its slice, as was just asserted, and no two
    // of the output's elements are the same, its rows being at least a row's length apart. The output is
    // borrowed mutably, so that neither factor overlaps it.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            output.as_mut_ptr(),
            1,
            row_stride as isize,
            into == Into::Add,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn products_are_sums_of_products(m in 1..20_usize, k in 0..30_usize, n in 1..20_usize, gap in 0..3_usize) {
            let values: Vec<f32> = (0..1200).map(|i| ((i * 37 % 101) as f32 - 50.0) / 16.0).collect();
            let left = Matrix::rows(&values, m, k, k + gap);
            let right = Matrix::rows(&values[7..], n, k, k + gap).transposed();
            let before: Vec<f32> = (0..m * (n + gap)).map(|i| i as f32).collect();
            for into in [Into::Overwrite, Into::Add] {
                let mut output = before.clone();
                matmul(&mut output, n + gap, left, right, into);
                for (i, row) in output.chunks(n + gap).enumerate() {
                    for (j, &found) in row.iter().enumerate() {
                        let old = (i * (n + gap) + j) as f32;
                        let product: f32 = (0..k).map(|l| values[i * (k + gap) + l] * values[7 + j * (k + gap) + l]).sum();
                        let expected = match into {
                            _ if j >= n => old,
                            Into::Overwrite => product,
                            Into::Add => old + product,
                        };
                        // Sixteenths: every sum is exact.
                        prop_assert_eq!(found, expected);
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "a factor's shape")]
    fn a_matrix_past_its_slice_is_refused() {
        let values = [1.0; 8];
        let (left, right) = (Matrix::rows(&values, 3, 3, 3), Matrix::rows(&values, 3, 2, 2));
        matmul(&mut [0.0; 6], 2, left, right, Into::Overwrite);
    }
}
