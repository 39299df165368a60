//! The head on the CPU: our own products, and a softmax in place.
//!
//! The logits of a chunk of rows stand transposed, a row for each entry of the vocabulary: so that the large
//! matrices, the head and its gradient, are read and written as they stand. The softmax never divides: its sums
//! go to the few hidden rows instead of the many probabilities.

use rayon::prelude::*;

use super::TargetLogprobs;
use crate::nn::cpu::attention::weight as exponential;
use crate::nn::cpu::buffers::{buffer, recycle, zeroed};
use crate::nn::cpu::matmul::{Matrix, Onto, Packed, matmul_parallel};
use crate::nn::cpu::transpose::transpose;
use crate::simd::{Isa, for_each_isa};

/// Most rows whose logits are held at once, 100 MB of them at V = 50257.
const MOST_ROWS: usize = 512;
/// Most logits held at once: 128 MiB.
const MOST_LOGITS: usize = 1 << 25;
/// Entries of the vocabulary that are summed up together, and turned together, in a core's caches.
const SLAB: usize = 1008;

/// The head and the width of what it reads.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// `[V, E]`.
    pub wte: &'a [f32],
    /// E.
    pub width: usize,
}

/// Gradients of the hidden rows, `[R, E]`, and of the head, `[V, E]`.
pub struct Gradients {
    pub hidden: Vec<f32>,
    pub wte: Vec<f32>,
}

/// As [`super::target_logprobs`].
pub fn target_logprobs(hidden: &[f32], head: Head, targets: &[u32]) -> TargetLogprobs {
    let mut found = TargetLogprobs::default();
    let mut logits = Vec::new();
    for (hidden, targets) in head.chunks(hidden, targets) {
        head.softmax(hidden, targets, &mut logits, &mut found);
    }
    recycle(logits);
    found
}

/// As [`super::target_logprobs_backward`].
pub fn target_logprobs_backward(
    hidden: &[f32],
    head: Head,
    targets: &[u32],
    weight: impl Fn(usize, f32) -> f32,
) -> (TargetLogprobs, Gradients) {
    let Head { wte, width: e } = head;
    let v = wte.len() / e;
    let mut found = TargetLogprobs::default();
    // The first chunk writes the head's whole gradient.
    let wte_grad = if targets.is_empty() { zeroed(wte.len()) } else { buffer(wte.len()) };
    let mut gradients = Gradients { hidden: zeroed(hidden.len()), wte: wte_grad };
    let (mut exponentials, mut turned) = (Vec::new(), buffer(SLAB * head.rows_at_once(targets.len())));
    let hidden_grads = gradients.hidden.chunks_mut(head.rows_at_once(targets.len()) * e);
    for ((hidden, targets), hidden_grad) in head.chunks(hidden, targets).zip(hidden_grads) {
        let (first, r) = (found.logprobs.len(), targets.len());
        let sums = head.softmax(hidden, targets, &mut exponentials, &mut found);
        let weights: Vec<f32> = (first..first + r).map(|row| weight(row, found.logprobs[row])).collect();
        // −w P is the exponentials times these.
        let factors: Vec<f32> = weights.iter().zip(&sums).map(|(weight, sum)| -weight / sum).collect();

        // dW = (onehot − P)ᵀ diag(w) H
        let scaled = scale_rows(hidden, &factors, e);
        let onto = if first == 0 { Onto::Nothing } else { Onto::Output };
        let left = Matrix::rows(&exponentials, v, r, r);
        matmul_parallel(&mut gradients.wte, [v, r, e], left, &Matrix::rows(&scaled, r, e, e), onto);

        // dH = diag(w) (onehot − P) W
        for (slab, exponentials) in exponentials.chunks(SLAB * r).enumerate() {
            let entries = exponentials.len() / r;
            transpose(exponentials, [entries, r], r, &mut turned);
            let left = Matrix::rows(&turned, r, entries, entries);
            let right = Matrix::rows(&wte[slab * SLAB * e..], entries, e, e);
            matmul_parallel(hidden_grad, [r, entries, e], left, &right, Onto::Output);
        }
        for (row, &target) in targets.iter().enumerate() {
            let place = target as usize * e..(target as usize + 1) * e;
            let (hidden, hidden_grad) = (&hidden[row * e..][..e], &mut hidden_grad[row * e..][..e]);
            for (grad, wte) in hidden_grad.iter_mut().zip(&wte[place.clone()]) {
                *grad = *grad * factors[row] + wte * weights[row];
            }
            for (grad, hidden) in gradients.wte[place].iter_mut().zip(hidden) {
                *grad += hidden * weights[row];
            }
        }
    }
    recycle(exponentials);
    recycle(turned);
    (found, gradients)
}

impl Head<'_> {
    /// Rows of a chunk, of `rows` in all, evenly.
    fn rows_at_once(self, rows: usize) -> usize {
        let most = (MOST_LOGITS * self.width / self.wte.len().max(1)).clamp(1, MOST_ROWS);
        rows.div_ceil(rows.div_ceil(most).max(1)).max(1)
    }

    /// Hidden rows and their targets whose logits are held at once.
    fn chunks<'a>(
        self,
        hidden: &'a [f32],
        targets: &'a [u32],
    ) -> impl Iterator<Item = (&'a [f32], &'a [u32])> {
        let size = self.rows_at_once(targets.len());
        hidden.chunks(size * self.width).zip(targets.chunks(size))
    }

    /// Writes `e^(logit − the row's largest)` as `[V, r]` and returns the sum of each row's; what they say of
    /// the targets goes to `found`.
    fn softmax(
        self,
        hidden: &[f32],
        targets: &[u32],
        logits: &mut Vec<f32>,
        found: &mut TargetLogprobs,
    ) -> Vec<f32> {
        let Self { wte, width: e } = self;
        let (v, r, isa) = (wte.len() / e, targets.len(), Isa::detect());
        if logits.len() != v * r {
            recycle(std::mem::replace(logits, buffer(v * r)));
        }
        let right = Packed::of_columns(hidden, r, e);
        matmul_parallel(logits, [v, e, r], Matrix::rows(wte, v, e, e), &right, Onto::Nothing);

        let slabs = logits.par_chunks(SLAB * r);
        let maxima = slabs.map(|slab| {
            let mut largest = vec![f32::NEG_INFINITY; r];
            raise(isa, slab, &mut largest);
            largest
        });
        let largest = maxima.reduce_with(|mut largest, other| {
            raise(Isa::Portable, &other, &mut largest);
            largest
        });
        let largest = largest.unwrap_or_default();
        let target_logits: Vec<f32> =
            targets.iter().enumerate().map(|(row, &target)| logits[target as usize * r + row]).collect();

        let sums: Vec<[Vec<f32>; 2]> = logits
            .par_chunks_mut(SLAB * r)
            .map(|slab| {
                let mut sums = [vec![0.0; r], vec![0.0; r]];
                exponentiate(isa, slab, &largest, &mut sums);
                sums
            })
            .collect();
        // One after the other and in f64: thousands of entries are in each already.
        let total =
            |which: usize, row: usize| -> f64 { sums.iter().map(|sums| f64::from(sums[which][row])).sum() };
        let totals: Vec<f64> = (0..r).map(|row| total(0, row)).collect();
        for (row, &sum) in totals.iter().enumerate() {
            let log_sum = sum.ln();
            found.logprobs.push((f64::from(target_logits[row] - largest[row]) - log_sum) as f32);
            found.entropies.push((log_sum - total(1, row) / sum) as f32);
        }
        totals.into_iter().map(|sum| sum as f32).collect()
    }
}

fn scale_rows(values: &[f32], factors: &[f32], width: usize) -> Vec<f32> {
    let mut scaled = values.to_vec();
    for (row, factor) in scaled.chunks_exact_mut(width).zip(factors) {
        row.iter_mut().for_each(|value| *value *= factor);
    }
    scaled
}

for_each_isa! {
    /// The largest of each column so far.
    fn raise(rows: &[f32], largest: &mut [f32]) = raise_body;
}

#[inline(always)]
fn raise_body(rows: &[f32], largest: &mut [f32]) {
    for row in rows.chunks_exact(largest.len()) {
        for (largest, value) in largest.iter_mut().zip(row) {
            *largest = if *value > *largest { *value } else { *largest };
        }
    }
}

for_each_isa! {
    /// Logits to `e^(logit − largest)`, and the sums of each column of these and of these times their exponent.
    fn exponentiate(rows: &mut [f32], largest: &[f32], sums: &mut [Vec<f32>; 2]) = exponentiate_body;
}

#[inline(always)]
fn exponentiate_body(rows: &mut [f32], largest: &[f32], sums: &mut [Vec<f32>; 2]) {
    let [plain, weighted] = sums;
    for row in rows.chunks_exact_mut(largest.len()) {
        let sums = plain.iter_mut().zip(weighted.iter_mut());
        for ((value, largest), (plain, weighted)) in row.iter_mut().zip(largest).zip(sums) {
            let x = *value - largest;
            let y = exponential(x, 1.0, 0.0);
            *plain += y;
            // Where y is 0, x may be infinite.
            *weighted += if y > 0.0 { x * y } else { 0.0 };
            *value = y;
        }
    }
}
