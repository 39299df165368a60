//! The two-dimensional convolution.

use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, TensorCreationOptions, module};

use super::weight::Weight;
use super::{ParameterMap, Parameters, cpu};
use crate::error::Result;

/// A convolution with a square kernel and a bias, as `torch.nn.Conv2d`.
#[derive(Debug, Clone)]
pub struct Conv2d {
    /// `[out, in, kernel, kernel]`.
    weight: Weight<4, Vec<f32>>,
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
            weight: Weight::zeros([c_out, c_in, kernel, kernel], options),
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
    ///
    /// # Panics
    /// If `x` has another number of channels than the weight.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (weight, [c_out, weight_c_in, kernel, _]) = match &self.weight {
            Weight::Host { values, shape } if cpu::holds(&x) => (values, *shape),
            weight => {
                let options = ConvOptions::new([self.stride; 2], [self.padding; 2], [1; 2], 1);
                return module::conv2d(x, weight.to_tensor(), Some(self.bias.clone()), options);
            }
        };
        let [batch, c_in, h, w] = x.dims();
        assert_eq!(c_in, weight_c_in, "the input's channels");
        let (stride, padding) = (self.stride, self.padding);
        let shape = cpu::conv::Shape { batch, c_in, c_out, size: [h, w], kernel, stride, padding };
        let [height, width] = shape.output_size();
        let values = cpu::conv::conv2d(&cpu::take(x), weight, &cpu::take(self.bias.clone()), shape);
        cpu::give(values, [batch, c_out, height, width])
    }
}

impl Parameters for Conv2d {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        Ok(Self {
            weight: self.weight.map(&format!("{prefix}.weight"), map)?,
            bias: map.map(&format!("{prefix}.bias"), self.bias)?,
            ..self
        })
    }
}
