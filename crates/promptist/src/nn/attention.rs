//! Scaled dot-product attention.

use burn::tensor::{DType, Device, Tensor, TensorData, activation};

use super::cpu;

/// Which positions a query may look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// All of them.
    Full,
    /// Itself and those before it. Queries and keys are the same positions.
    Causal,
}

/// Scores that exist at once where they are all written down: 256 MiB of f32.
const MAX_SCORES: usize = 1 << 26;

/// Added to scores behind a mask.
const MASKED: f32 = -1e30;

/// `softmax(query · keyᵀ / √D) · value` for each of N heads, `D = E / N`, with bounded memory.
///
/// # Shapes
/// - `query`: `[B, T, E]`, heads one after the other in each row
/// - `key`, `value`: `[B, S, E]`; under [`Mask::Causal`], `S = T`
/// - returns `[B, T, E]`
pub fn attention(
    query: Tensor<3>,
    key: Tensor<3>,
    value: Tensor<3>,
    num_heads: usize,
    mask: Mask,
) -> Tensor<3> {
    let [b, t, e] = query.dims();
    let [_, s, _] = key.dims();
    if [&query, &key, &value].into_iter().all(cpu::holds) {
        let shape = cpu::attention::Shape {
            batch: b,
            queries: t,
            keys: s,
            width: e,
            stride: e,
            num_heads,
            scale: 1.0 / ((e / num_heads) as f32).sqrt(),
            mask,
        };
        let [query, key, value] = [query, key, value].map(cpu::take);
        let (output, _) = cpu::attention::attention(&query, &key, &value, shape);
        return cpu::give(output, [b, t, e]);
    }
    let heads = |x: Tensor<3>, count: usize| x.reshape([b, count, num_heads, e / num_heads]).swap_dims(1, 2);
    let query = heads(query, t) * (1.0 / ((e / num_heads) as f64).sqrt()); // [B, N, T, D]
    let (key, value) = (heads(key, s).swap_dims(2, 3), heads(value, s)); // [B, N, D, S], [B, N, S, D]
    let rows = (MAX_SCORES / (b * num_heads * s).max(1)).clamp(1, t.max(1));
    let slices = (0..t).step_by(rows).map(|first| {
        let count = rows.min(t - first);
        let scores = query.clone().narrow(2, first, count).matmul(key.clone()); // [B, N, count, S]
        let dtype = scores.dtype();
        // In f32 whatever the weights are: 77 to 4096 exponentials are summed.
        let mut scores = scores.cast(DType::F32);
        if mask == Mask::Causal {
            let mask = causal_mask(first, count, s, &scores.device());
            scores = scores + mask;
        }
        activation::softmax(scores, 3).cast(dtype).matmul(value.clone()) // [B, N, count, D]
    });
    Tensor::cat(slices.collect(), 2).swap_dims(1, 2).reshape([b, t, e])
}

/// `[1, 1, count, S]`: 0 where query `first + i` may look, [`MASKED`] behind it.
fn causal_mask(first: usize, count: usize, keys: usize, device: &Device) -> Tensor<4> {
    let mut mask = vec![0.0; count * keys];
    for (row, values) in mask.chunks_mut(keys).enumerate() {
        values[(first + row + 1).min(keys)..].fill(MASKED);
    }
    Tensor::from_data(TensorData::new(mask, [1, 1, count, keys]), device)
}
