//! The linear layer.

use burn::tensor::{Tensor, TensorCreationOptions, module};

use super::{ParameterMap, Parameters};
use crate::error::Result;

/// `x · weightᵀ + bias`, as `torch.nn.Linear`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[out, in]`.
    weight: Tensor<2>,
    /// `[out]`.
    bias: Option<Tensor<1>>,
}

impl Linear {
    /// Zeros, to be filled through [`Parameters`].
    pub fn zeros(d_in: usize, d_out: usize, options: &TensorCreationOptions) -> Self {
        Self {
            bias: Some(Tensor::zeros([d_out], options.clone())),
            ..Self::without_bias(d_in, d_out, options)
        }
    }

    /// Zeros without a bias, to be filled through [`Parameters`].
    pub fn without_bias(d_in: usize, d_out: usize, options: &TensorCreationOptions) -> Self {
        Self { weight: Tensor::zeros([d_out, d_in], options.clone()), bias: None }
    }

    /// `[.., in]` to `[.., out]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        module::linear(x, self.weight.clone().transpose(), self.bias.clone())
    }
}

impl Parameters for Linear {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        Ok(Self {
            weight: map.map(&format!("{prefix}.weight"), self.weight)?,
            bias: self.bias.map(|bias| map.map(&format!("{prefix}.bias"), bias)).transpose()?,
        })
    }
}
