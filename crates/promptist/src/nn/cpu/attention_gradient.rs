//! The gradient of causal attention, in tiles: scores are computed again, a tile at a time, from what the
//! forward pass kept of each softmax.
//!
//! Tiles stand with keys down and queries across, which is how two of the three products that follow read
//! them as they are.
//!
//! Source: Dao et al. 2022, "FlashAttention", algorithm 4.

use rayon::prelude::*;

use super::attention::{Shape, weight};
use super::matmul::{Matrix, Onto, matmul, matmul_rows};
use super::transpose::transpose_serial;
use crate::simd::math::{LANES, sum_lanes};
use crate::simd::{Isa, for_each_isa};

/// Keys and queries of a tile: two of them and what they are made of fit a core's second cache.
const TILE: usize = 128;

/// What the forward pass read and returned.
#[derive(Clone, Copy)]
pub struct Forward<'a> {
    /// Queries, keys and values beside each other: `[B, T, 3E]`.
    pub qkv: &'a [f32],
    /// `[B, T, E]`.
    pub output: &'a [f32],
    /// `[B, T, N]`.
    pub log_sums: &'a [f32],
}

/// What a loss asks of queries, keys and values, `[B, T, 3E]`, given what it asks of the output, `[B, T, E]`.
pub fn attention_gradient(forward: Forward, output_grad: &[f32], shape: Shape, qkv_grad: &mut [f32]) {
    let Shape { batch, queries: len, width, num_heads, .. } = shape;
    if output_grad.is_empty() {
        return;
    }
    let isa = Isa::detect();
    let dim = width / num_heads;
    // A head of a sequence is a task; its rows are pieces of all of the sequence's.
    let mut tasks: Vec<[Vec<&mut [f32]>; 3]> = (0..batch * num_heads).map(|_| Default::default()).collect();
    for (row, grad) in qkv_grad.chunks_exact_mut(3 * width).enumerate() {
        let first = row / len * num_heads;
        for (piece, grad) in grad.chunks_exact_mut(dim).enumerate() {
            tasks[first + piece % num_heads][piece / num_heads].push(grad);
        }
    }
    tasks.into_par_iter().enumerate().for_each_init(Scratch::default, |scratch, (task, grads)| {
        let (row, head) = (task / num_heads, task % num_heads);
        let (row, at) = (row * len, head * dim);
        let part = |idx: usize| &forward.qkv[row * 3 * width + idx * width + at..];
        let head = Head {
            len,
            scale: shape.scale,
            query: Rows { values: part(0), dim, stride: 3 * width },
            key: Rows { values: part(1), dim, stride: 3 * width },
            value: Rows { values: part(2), dim, stride: 3 * width },
            output: Rows { values: &forward.output[row * width + at..], dim, stride: width },
            output_grad: Rows { values: &output_grad[row * width + at..], dim, stride: width },
        };
        scratch.log_sums.clear();
        let log_sums = &forward.log_sums[row * num_heads..][..len * num_heads];
        scratch.log_sums.extend(log_sums.iter().skip(task % num_heads).step_by(num_heads));
        scratch.head(isa, &head, grads);
    });
}

/// One head of one sequence.
struct Head<'a> {
    len: usize,
    scale: f32,
    query: Rows<'a>,
    key: Rows<'a>,
    value: Rows<'a>,
    output: Rows<'a>,
    output_grad: Rows<'a>,
}

/// Rows of a head, `stride` apart.
#[derive(Clone, Copy)]
struct Rows<'a> {
    values: &'a [f32],
    dim: usize,
    stride: usize,
}

impl<'a> Rows<'a> {
    fn matrix(self, first: usize, count: usize) -> Matrix<'a> {
        Matrix::rows(&self.values[first * self.stride..], count, self.dim, self.stride)
    }

    fn row(self, row: usize) -> &'a [f32] {
        &self.values[row * self.stride..][..self.dim]
    }
}

/// What a thread needs for a head.
#[derive(Default)]
struct Scratch {
    /// Of each query.
    log_sums: Vec<f32>,
    /// Of each query: its output times the output's gradient.
    deltas: Vec<f32>,
    /// `[keys, queries]`: scores, then weights.
    weights: Vec<f32>,
    /// `[keys, queries]`: the weights' gradient, then the scores'.
    grads: Vec<f32>,
    /// `[queries, keys]`.
    turned: Vec<f32>,
}

impl Scratch {
    fn head(
        &mut self,
        isa: Isa,
        head: &Head,
        [mut query_grad, mut key_grad, mut value_grad]: [Vec<&mut [f32]>; 3],
    ) {
        self.deltas.resize(head.len, 0.0);
        for (row, delta) in self.deltas.iter_mut().enumerate() {
            *delta = dot(head.output.row(row), head.output_grad.row(row));
        }
        for buffer in [&mut self.weights, &mut self.grads, &mut self.turned] {
            buffer.resize(TILE * TILE, 0.0);
        }
        for first_key in (0..head.len).step_by(TILE) {
            let keys = TILE.min(head.len - first_key);
            // Queries before the tile's first key see none of its keys.
            for first_query in (first_key..head.len).step_by(TILE) {
                let queries = TILE.min(head.len - first_query);
                let size = keys * queries;
                let (weights, grads) = (&mut self.weights[..size], &mut self.grads[..size]);
                let query = head.query.matrix(first_query, queries);
                let output_grad = head.output_grad.matrix(first_query, queries);
                let key = head.key.matrix(first_key, keys);
                matmul(weights, queries, key, query.transposed(), Onto::Nothing);
                let value = head.value.matrix(first_key, keys);
                matmul(grads, queries, value, output_grad.transposed(), Onto::Nothing);
                let tile = Tile {
                    queries,
                    // Within the tiles on the diagonal, a key is seen by the queries from its own on.
                    diagonal: first_key == first_query,
                    scale: head.scale,
                    log_sums: &self.log_sums[first_query..][..queries],
                    deltas: &self.deltas[first_query..][..queries],
                };
                differentiate(isa, tile, weights, grads);

                let onto = if first_query == first_key { Onto::Nothing } else { Onto::Output };
                let weights = Matrix::rows(weights, keys, queries, queries);
                matmul_rows(&mut value_grad[first_key..][..keys], weights, output_grad, onto);
                let turned = &mut self.turned[..size];
                transpose_serial(grads, [keys, queries], queries, turned);
                let grads = Matrix::rows(grads, keys, queries, queries);
                matmul_rows(&mut key_grad[first_key..][..keys], grads, query, onto);
                let onto = if first_key == 0 { Onto::Nothing } else { Onto::Output };
                let turned = Matrix::rows(turned, queries, keys, keys);
                matmul_rows(&mut query_grad[first_query..][..queries], turned, key, onto);
            }
        }
    }
}

fn dot(left: &[f32], right: &[f32]) -> f32 {
    let ((left, left_rest), (right, right_rest)) = (left.as_chunks::<LANES>(), right.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (left, right) in left.iter().zip(right) {
        for lane in 0..LANES {
            sums[lane] += left[lane] * right[lane];
        }
    }
    let rest: f32 = left_rest.iter().zip(right_rest).map(|(left, right)| left * right).sum();
    sum_lanes(&sums) + rest
}

#[derive(Clone, Copy)]
struct Tile<'a> {
    queries: usize,
    diagonal: bool,
    scale: f32,
    log_sums: &'a [f32],
    deltas: &'a [f32],
}

for_each_isa! {
    /// Scores to weights and the weights' gradient to the scores', both in place.
    fn differentiate(tile: Tile<'_>, weights: &mut [f32], grads: &mut [f32]) = differentiate_body;
}

#[inline(always)]
fn differentiate_body(tile: Tile<'_>, weights: &mut [f32], grads: &mut [f32]) {
    let rows = weights.chunks_exact_mut(tile.queries).zip(grads.chunks_exact_mut(tile.queries));
    for (key, (weights, grads)) in rows.enumerate() {
        let unseen = if tile.diagonal { key } else { 0 };
        weights[..unseen].fill(0.0);
        grads[..unseen].fill(0.0);
        let pairs = weights[unseen..].iter_mut().zip(&mut grads[unseen..]);
        let softmax = tile.log_sums[unseen..].iter().zip(&tile.deltas[unseen..]);
        for ((score, grad), (log_sum, delta)) in pairs.zip(softmax) {
            *score = weight(*score, tile.scale, *log_sum);
            *grad = *score * (*grad - delta) * tile.scale;
        }
    }
}
