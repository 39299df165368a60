//! The timestep as the UNet sees it: sines and cosines of it at falling frequencies, through a small MLP.

use burn::tensor::{Device, Tensor, TensorCreationOptions, TensorData};

use super::config::UnetConfig;
use crate::error::Result;
use crate::nn::{Activation, Linear, ParameterMap, Parameters};

/// The lowest frequency is one over this.
const MAX_PERIOD: f64 = 10_000.0;

/// `linear_2(silu(linear_1(sinusoids)))`.
#[derive(Debug, Clone)]
pub(super) struct TimeEmbedding {
    linear_1: Linear,
    linear_2: Linear,
}

impl TimeEmbedding {
    pub fn zeros(config: &UnetConfig, options: &TensorCreationOptions) -> Self {
        let (channels, width) = (config.blocks[0].channels, config.time_width());
        Self {
            linear_1: Linear::zeros(channels, width, options),
            linear_2: Linear::zeros(width, width, options),
        }
    }

    /// `[1, C]` to `[1, time width]`.
    pub fn forward(&self, sinusoids: Tensor<2>) -> Tensor<2> {
        self.linear_2.forward(Activation::Silu.forward(self.linear_1.forward(sinusoids)))
    }
}

impl Parameters for TimeEmbedding {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        Ok(Self {
            linear_1: self.linear_1.map_parameters(&format!("{prefix}.linear_1"), map)?,
            linear_2: self.linear_2.map_parameters(&format!("{prefix}.linear_2"), map)?,
        })
    }
}

/// `[1, C]`, f32 in any model: half of it sines, half cosines.
///
/// Computed in f32 step by step as the reference does, whose rounding at a thousand periods is part of what the
/// models were trained on.
///
/// # Source
/// <https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/embeddings.py>,
/// `get_timestep_embedding`.
pub(super) fn sinusoids(config: &UnetConfig, timestep: f64, device: &Device) -> Tensor<2> {
    let half = config.blocks[0].channels / 2;
    let angle = |idx: usize| {
        let exponent = -(MAX_PERIOD.ln() as f32) * idx as f32 / (half as f64 - config.freq_shift) as f32;
        timestep as f32 * exponent.exp()
    };
    let sines = (0..half).map(|idx| angle(idx).sin());
    let cosines = (0..half).map(|idx| angle(idx).cos());
    let values: Vec<f32> =
        if config.flip_sin_to_cos { cosines.chain(sines).collect() } else { sines.chain(cosines).collect() };
    Tensor::from_data(TensorData::new(values, [1, 2 * half]), device)
}
