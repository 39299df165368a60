//! Activations.

use burn::tensor::{Tensor, activation};

use super::cpu;

/// What stands between two linear layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x/2 · (1 + erf(x/√2))`.
    Gelu,
    /// `x · sigmoid(1.702 x)`, OpenAI's CLIP.
    QuickGelu,
    /// `x · sigmoid(x)`.
    Silu,
}

impl Activation {
    /// Source: `QuickGELU` in OpenAI's `clip/model.py`.
    pub(super) const QUICK_GELU_SLOPE: f32 = 1.702;

    /// Applies it to every value.
    pub fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        if cpu::holds(&x) {
            let shape = x.dims();
            let mut values = cpu::take(x);
            cpu::elementwise::activate(self, &mut values);
            return cpu::give(values, shape);
        }
        match self {
            Self::Gelu => activation::gelu(x),
            Self::QuickGelu => x.clone() * activation::sigmoid(x * Self::QUICK_GELU_SLOPE),
            Self::Silu => activation::silu(x),
        }
    }
}

/// GEGLU: the first half of each row times the GELU of the second.
///
/// # Shapes
/// `[.., 2E]` to `[.., E]`.
///
/// # Source
/// Shazeer 2020, "GLU Variants Improve Transformer"; diffusers' `GEGLU`.
pub fn geglu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let mut shape = x.dims();
    let width = shape[D - 1] / 2;
    if cpu::holds(&x) && width > 0 {
        shape[D - 1] = width;
        return cpu::give(cpu::elementwise::geglu(&cpu::take(x), width), shape);
    }
    let (left, right) = (x.clone().narrow(D - 1, 0, width), x.narrow(D - 1, width, width));
    left * activation::gelu(right)
}
