//! Attention in tiles: a block of queries meets the keys tile by tile, and a softmax that is kept up to
//! date as the largest score grows never needs all scores at once.
//!
//! Source: Dao et al. 2022, "FlashAttention"; Milakov and Gimelshein 2018, "Online normalizer calculation
//! for softmax".

use rayon::prelude::*;

use super::buffers::buffer;
use super::matmul::{Matrix, Onto, matmul};
use super::zeros;
use crate::nn::Mask;
use crate::simd::math::{LANES, exp, max, sum_lanes};
use crate::simd::{Isa, for_each_isa};

/// Queries in a block. With [`TILE`] it fills half of a core's second cache; measured: 64 to 512 differ by
/// a fifth.
const BLOCK: usize = 256;
/// Keys in a tile.
const TILE: usize = 512;

/// What attends to what.
#[derive(Clone, Copy)]
pub struct Shape {
    /// B.
    pub batch: usize,
    /// T.
    pub queries: usize,
    /// S.
    pub keys: usize,
    /// E: all heads, one after the other in each row.
    pub width: usize,
    /// From a row of queries, keys or values to the next: E, or more where they stand beside each other.
    pub stride: usize,
    /// N.
    pub num_heads: usize,
    /// What scores are multiplied by.
    pub scale: f32,
    pub mask: Mask,
}

/// `softmax(scale · query · keyᵀ) · value`, head by head, and what its gradient needs: the logarithm of the
/// sum of exponentials that each softmax divided by.
///
/// # Shapes
/// - `query`: `[B, T, E]`; `key`, `value`: `[B, S, E]`, rows `stride` apart
/// - returns `[B, T, E]` and `[B, T, N]`
pub fn attention(query: &[f32], key: &[f32], value: &[f32], shape: Shape) -> (Vec<f32>, Vec<f32>) {
    let Shape { batch, queries, keys, width, stride, num_heads, .. } = shape;
    let isa = Isa::detect();
    let mut log_sums = vec![f32::NEG_INFINITY; batch * queries * num_heads];
    if log_sums.is_empty() || keys == 0 {
        return (zeros(batch * queries * width), log_sums);
    }
    let mut output = buffer(batch * queries * width);
    let rows = output.par_chunks_mut(queries * width).zip(log_sums.par_chunks_mut(queries * num_heads));
    rows.enumerate().for_each(|(row, (output, log_sums))| {
        let (key, value) = (&key[row * keys * stride..], &value[row * keys * stride..]);
        let blocks = output.par_chunks_mut(BLOCK * width).zip(log_sums.par_chunks_mut(BLOCK * num_heads));
        blocks.enumerate().for_each_init(Scratch::default, |scratch, (block, (output, log_sums))| {
            let first = block * BLOCK;
            let query = &query[(row * queries + first) * stride..];
            for head in 0..num_heads {
                scratch.head(isa, shape, (first, head), [query, key, value], output);
                for (log_sums, row) in log_sums.chunks_exact_mut(num_heads).zip(&scratch.rows) {
                    log_sums[head] = row.max + row.sum.ln();
                }
            }
        });
    });
    (output, log_sums)
}

/// What a thread needs for a block of queries.
#[derive(Default)]
struct Scratch {
    /// `[BLOCK, TILE]`.
    scores: Vec<f32>,
    rows: Vec<Row>,
}

/// The softmax of a query so far.
#[derive(Clone, Copy)]
struct Row {
    /// The largest score.
    max: f32,
    /// Of the exponentials of scores less the largest.
    sum: f32,
    /// What earlier sums are worth since the largest score grew.
    correction: f32,
}

impl Scratch {
    /// One head of one block, whose first query is the row's `first`.
    fn head(
        &mut self,
        isa: Isa,
        shape: Shape,
        (first, head): (usize, usize),
        [query, key, value]: [&[f32]; 3],
        output: &mut [f32],
    ) {
        let Shape { width, stride, num_heads, scale, .. } = shape;
        let dim = width / num_heads;
        let count = output.len() / width;
        let at = head * dim;
        let query = Matrix::rows(&query[at..], count, dim, stride);
        self.rows.clear();
        self.rows.resize(count, Row { max: f32::NEG_INFINITY, sum: 0.0, correction: 1.0 });
        self.scores.resize(BLOCK * TILE, 0.0);
        // Behind the last query of the block no causal query may look.
        let keys = match shape.mask {
            Mask::Full => shape.keys,
            Mask::Causal => shape.keys.min(first + count),
        };
        for start in (0..keys).step_by(TILE) {
            let columns = TILE.min(keys - start);
            let place = start * stride + at;
            let tile = Matrix::rows(&key[place..], columns, dim, stride);
            let scores = &mut self.scores[..count * columns];
            matmul(scores, columns, query, tile.transposed(), Onto::Nothing);
            if shape.mask == Mask::Causal {
                for (row, scores) in scores.chunks_exact_mut(columns).enumerate() {
                    let seen = (first + row + 1).saturating_sub(start).min(columns);
                    scores[seen..].fill(f32::NEG_INFINITY);
                }
            }
            softmax(isa, scores, columns, scale, &mut self.rows);
            let output = &mut output[at..];
            if start > 0 {
                scale_rows(output, width, dim, self.rows.iter().map(|row| row.correction));
            }
            let weights = Matrix::rows(scores, count, columns, columns);
            let values = Matrix::rows(&value[place..], columns, dim, stride);
            let into = if start > 0 { Onto::Output } else { Onto::Nothing };
            matmul(output, width, weights, values, into);
        }
        scale_rows(&mut output[at..], width, dim, self.rows.iter().map(|row| 1.0 / row.sum));
    }
}

/// Multiplies the first `dim` numbers of each row.
fn scale_rows(output: &mut [f32], width: usize, dim: usize, factors: impl Iterator<Item = f32>) {
    for (row, factor) in output.chunks_mut(width).zip(factors) {
        if factor != 1.0 {
            row[..dim].iter_mut().for_each(|value| *value *= factor);
        }
    }
}

for_each_isa! {
    /// Scores to weights, in place, and what they do to the rows' softmax.
    fn softmax(scores: &mut [f32], columns: usize, scale: f32, rows: &mut [Row]) = softmax_body;
}

#[inline(always)]
fn softmax_body(scores: &mut [f32], columns: usize, scale: f32, rows: &mut [Row]) {
    for (scores, row) in scores.chunks_exact_mut(columns).zip(rows) {
        let largest = max(scores) * scale;
        let largest = if largest > row.max { largest } else { row.max };
        let (chunks, rest) = scores.as_chunks_mut::<LANES>();
        let mut sums = [0.0; LANES];
        for chunk in chunks {
            for lane in 0..LANES {
                chunk[lane] = weight(chunk[lane], scale, largest);
                sums[lane] += chunk[lane];
            }
        }
        for (score, sum) in rest.iter_mut().zip(&mut sums) {
            *score = weight(*score, scale, largest);
            *sum += *score;
        }
        row.correction = exp(row.max - largest);
        row.sum = row.sum * row.correction + sum_lanes(&sums);
        row.max = largest;
    }
}

/// `e^(score · scale − largest)`, and exactly 0 where that is out of f32's reach, as behind a mask.
#[inline(always)]
pub fn weight(score: f32, scale: f32, largest: f32) -> f32 {
    let x = score * scale - largest;
    if x < -87.0 { 0.0 } else { exp(x) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers(seed: u64, count: usize) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1 << 24) as f32 - 0.5) * 6.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// One number of the output, in f64.
    fn exact(inputs: &[Vec<f32>; 3], shape: Shape, row: usize, query: usize, column: usize) -> f64 {
        let [queries, keys, values] = inputs;
        let Shape { width, num_heads, .. } = shape;
        let dim = width / num_heads;
        let at = column / dim * dim;
        let seen = match shape.mask {
            Mask::Full => shape.keys,
            Mask::Causal => query + 1,
        };
        let score = |key: usize| -> f64 {
            let query = &queries[(row * shape.queries + query) * width + at..][..dim];
            let key = &keys[(row * shape.keys + key) * width + at..][..dim];
            let dot: f64 = query.iter().zip(key).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            dot / (dim as f64).sqrt()
        };
        let scores: Vec<f64> = (0..seen).map(score).collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|score| (score - max).exp()).sum();
        let weighted = scores.iter().enumerate().map(|(key, score)| {
            (score - max).exp() * f64::from(values[(row * shape.keys + key) * width + column])
        });
        weighted.sum::<f64>() / sum
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
        #[test]
        fn tiles_are_as_the_whole(
            batch in 1..3_usize,
            queries in prop_oneof![1..40_usize, 250..300_usize],
            keys in prop_oneof![1..40_usize, 500..1100_usize],
            num_heads in 1..4_usize,
            dim in 1..20_usize,
            causal in any::<bool>(),
            seed in any::<u64>(),
        ) {
            let (keys, mask) = if causal { (queries, Mask::Causal) } else { (keys, Mask::Full) };
            let width = num_heads * dim;
            let scale = 1.0 / (dim as f32).sqrt();
            let shape = Shape { batch, queries, keys, width, stride: width, num_heads, scale, mask };
            let sizes = [queries, keys, keys].map(|count| batch * count * shape.width);
            let inputs = [0, 1, 2].map(|i| numbers(seed ^ i as u64, sizes[i]));
            let (found, _) = attention(&inputs[0], &inputs[1], &inputs[2], shape);
            for (place, &found) in found.iter().enumerate().step_by(97) {
                let (row, column) = (place / shape.width, place % shape.width);
                let expected = exact(&inputs, shape, row / queries, row % queries, column);
                // Seen: 2.2e-6, scores of up to 30 in f32.
                prop_assert!((f64::from(found) - expected).abs() < 1e-5, "{found} for {expected}");
            }
        }
    }

    #[test]
    fn scores_far_apart_give_numbers() {
        let shape = Shape {
            batch: 1,
            queries: 1,
            keys: 600,
            width: 1,
            stride: 1,
            num_heads: 1,
            scale: 1.0,
            mask: Mask::Full,
        };
        let key: Vec<f32> = (0..600).map(|i| if i == 599 { 1e6 } else { -1e6 }).collect();
        let value: Vec<f32> = (0..600).map(|i| i as f32).collect();
        assert_eq!(attention(&[1.0], &key, &value, shape), (vec![599.0], vec![1e6]));
    }
}
