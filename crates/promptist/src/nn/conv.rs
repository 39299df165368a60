//! The two-dimensional convolution.

use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, TensorCreationOptions, module};

use super::{ParameterMap, Parameters};
use crate::error::Result;

/// A convolution with a square kernel and a bias, as `torch.nn.Conv2d`.
#[derive(Debug, Clone)]
pub struct Conv2d {
    /// `[out, in, kernel, kernel]`.
    weight: Tensor<4>,
    /// `[out]`.
    bias: Tensor<1>,
    stride: usize,
    /// Zeros around the picture.
    padding: usize,
}

impl Conv2d {
    /// Zeros, to be filled through [`Parameters`]; stride 1, and as much padding as keeps the size.
    pub fn zeros(c_in: usize, c_out: usize, kernel: usize, options: &TensorCreationOptions) -> Self {
        Self {
            weight: Tensor::zeros([c_out, c_in, kernel, kernel], options.clone()),
            bias: Tensor::zeros([c_out], options.clone()),
            stride: 1,
            padding: kernel / 2,
        }
    }

    /// The same with another stride.
    pub fn with_stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// The same with another padding.
    pub fn with_padding(self, padding: usize) -> Self {
        Self { padding, ..self }
    }

    /// `[B, in, H, W]` to `[B, out, H', W']` with `H' = (H + 2·padding − kernel) / stride + 1`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let options = ConvOptions::new([self.stride; 2], [self.padding; 2], [1; 2], 1);
        module::conv2d(x, self.weight.clone(), Some(self.bias.clone()), options)
    }
}

impl Parameters for Conv2d {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        Ok(Self {
            weight: map.map(&format!("{prefix}.weight"), self.weight)?,
            bias: map.map(&format!("{prefix}.bias"), self.bias)?,
            ..self
        })
    }
}
