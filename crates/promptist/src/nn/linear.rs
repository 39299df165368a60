//! The linear layer.

use burn::tensor::{Tensor, TensorCreationOptions, module};

use super::cpu::matmul::{Matrix, Onto, Packed, matmul_parallel};
use super::weight::Weight;
use super::{ParameterMap, Parameters, cpu};
use crate::error::Result;

/// `x · weightᵀ + bias`, as `torch.nn.Linear`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[out, in]`.
    weight: Weight<2, Packed>,
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
        Self { weight: Weight::zeros([d_out, d_in], options), bias: None }
    }

    /// `[.., in]` to `[.., out]`.
    ///
    /// # Panics
    /// If the last axis of `x` is not as wide as the weight.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let (panels, [d_out, d_in]) = match &self.weight {
            Weight::Host { values, shape } if cpu::holds(&x) => (values, *shape),
            weight => return module::linear(x, weight.to_tensor().transpose(), self.bias.clone()),
        };
        let mut shape = x.dims();
        assert_eq!(shape[D - 1], d_in, "the input's width");
        shape[D - 1] = d_out;
        let rows = shape[..D - 1].iter().product();
        let values = cpu::take(x);
        let bias = self.bias.clone().map(cpu::take);
        let onto = bias.as_deref().map_or(Onto::Nothing, Onto::Columns);
        let mut output = cpu::zeros(rows * d_out);
        let left = Matrix::rows(&values, rows, d_in, d_in);
        matmul_parallel(&mut output, [rows, d_in, d_out], left, &**panels, onto);
        cpu::give(output, shape)
    }
}

impl Parameters for Linear {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        Ok(Self {
            weight: self.weight.map(&format!("{prefix}.weight"), map)?,
            bias: self.bias.map(|bias| map.map(&format!("{prefix}.bias"), bias)).transpose()?,
        })
    }
}
