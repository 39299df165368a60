//! Layer and group normalisation. Statistics are taken in f32 whatever the tensor's dtype.

use burn::tensor::{DType, Tensor, TensorCreationOptions, activation, module};

use super::cpu::group_norm::{Then, group_norm};
use super::{ParameterMap, Parameters, cpu};
use crate::error::Result;

/// `(x − mean) / √(var + ε) · weight + bias` over the last axis, biased variance.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    /// `[E]`.
    weight: Tensor<1>,
    /// `[E]`.
    bias: Tensor<1>,
    epsilon: f64,
}

/// The same over each group of channels and all pixels, with weight and bias per channel.
#[derive(Debug, Clone)]
pub struct GroupNorm {
    num_groups: usize,
    /// `[C]`.
    weight: Tensor<1>,
    /// `[C]`.
    bias: Tensor<1>,
    epsilon: f64,
}

impl LayerNorm {
    /// Zeros, to be filled through [`Parameters`].
    pub fn zeros(width: usize, epsilon: f64, options: &TensorCreationOptions) -> Self {
        Self {
            weight: Tensor::zeros([width], options.clone()),
            bias: Tensor::zeros([width], options.clone()),
            epsilon,
        }
    }

    /// `[.., E]` to `[.., E]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let dtype = x.dtype();
        let (weight, bias) = (self.weight.clone().cast(DType::F32), self.bias.clone().cast(DType::F32));
        module::layer_norm(x.cast(DType::F32), weight, Some(bias), self.epsilon).cast(dtype)
    }
}

impl GroupNorm {
    /// Zeros, to be filled through [`Parameters`].
    pub fn zeros(num_groups: usize, channels: usize, epsilon: f64, options: &TensorCreationOptions) -> Self {
        Self {
            num_groups,
            weight: Tensor::zeros([channels], options.clone()),
            bias: Tensor::zeros([channels], options.clone()),
            epsilon,
        }
    }

    /// `[B, C, H, W]` to `[B, C, H, W]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match cpu::holds(&x) {
            true => self.forward_on_cpu(x, Then::Nothing),
            false => self.forward_on_device(x),
        }
    }

    /// `silu(forward(x))`, which is how the diffusion models use it almost everywhere.
    pub fn forward_silu(&self, x: Tensor<4>) -> Tensor<4> {
        match cpu::holds(&x) {
            true => self.forward_on_cpu(x, Then::Silu),
            false => activation::silu(self.forward_on_device(x)),
        }
    }

    fn forward_on_cpu(&self, x: Tensor<4>, then: Then) -> Tensor<4> {
        let shape @ [_, _, h, w] = x.dims();
        let mut values = cpu::take(x);
        let (weight, bias) = (cpu::take(self.weight.clone()), cpu::take(self.bias.clone()));
        group_norm(&mut values, h * w, (&weight, &bias), self.num_groups, self.epsilon, then);
        cpu::give(values, shape)
    }

    fn forward_on_device(&self, x: Tensor<4>) -> Tensor<4> {
        let dtype = x.dtype();
        let [b, c, h, w] = x.dims();
        let per_group = c / self.num_groups * h * w;
        let groups = x.cast(DType::F32).reshape([b, self.num_groups, per_group]);
        let mean = groups.clone().mean_dim(2); // [B, G, 1]
        let centred = groups - mean;
        let variance = centred.clone().square().mean_dim(2); // [B, G, 1]
        let normed = (centred / (variance + self.epsilon).sqrt()).reshape([b, c, h, w]);
        let per_channel = |tensor: &Tensor<1>| tensor.clone().cast(DType::F32).reshape([1, c, 1, 1]);
        (normed * per_channel(&self.weight) + per_channel(&self.bias)).cast(dtype)
    }
}

impl Parameters for LayerNorm {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        Ok(Self {
            weight: map.map(&format!("{prefix}.weight"), self.weight)?,
            bias: map.map(&format!("{prefix}.bias"), self.bias)?,
            ..self
        })
    }
}

impl Parameters for GroupNorm {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        Ok(Self {
            weight: map.map(&format!("{prefix}.weight"), self.weight)?,
            bias: map.map(&format!("{prefix}.bias"), self.bias)?,
            ..self
        })
    }
}
