//! Scaled dot-product attention.

use burn::tensor::Tensor;
use burn::tensor::module;
use burn::tensor::ops::AttentionModuleOptions;

/// Which positions a query may look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// All of them.
    Full,
    /// Itself and those before it.
    Causal,
}

/// `softmax(query · keyᵀ / √D) · value` for each head.
///
/// # Shapes
/// - `query`: `[B, N, T, D]`
/// - `key`, `value`: `[B, N, S, D]`
/// - returns `[B, N, T, D]`
pub fn attention(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>, mask: Mask) -> Tensor<4> {
    let options = AttentionModuleOptions { is_causal: mask == Mask::Causal, ..Default::default() };
    module::attention(query, key, value, None, None, options)
}
