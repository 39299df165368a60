//! The UNet: what is noise in the latents of a picture, given the timestep and a text.
//!
//! [`config`] says which networks these are, `blocks` what their levels are made of, `transformer` how the text
//! gets in. Guidance and sampling are not here but in [`super::pipeline`] and [`super::scheduler`].

mod blocks;
pub mod config;
mod timestep;
mod transformer;

use burn::tensor::{DType, Tensor, TensorCreationOptions};

use self::blocks::{Condition, DownBlock, MidBlock, UpBlock};
use self::config::UnetConfig;
use self::timestep::{TimeEmbedding, sinusoids};
use super::resnet::map_each;
use crate::error::{Error, Result};
use crate::nn::{Activation, Conv2d, GroupNorm, ParameterMap, Parameters};
use crate::weights::Weights;

/// The UNet of Stable Diffusion 1.x and 2.x. `UNet2DConditionModel` of diffusers.
#[derive(Debug, Clone)]
pub struct Unet {
    config: UnetConfig,
    dtype: DType,
    conv_in: Conv2d,
    time_embedding: TimeEmbedding,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    /// From the bottom to the top.
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Unet {
    /// The network of `config` from weights named as in a checkpoint. Its dtype is that of `options`.
    ///
    /// # Errors
    /// [`Error::Tensor`] naming what is missing or of another shape.
    pub fn from_weights(
        config: &UnetConfig,
        weights: &Weights,
        options: &TensorCreationOptions,
    ) -> Result<Self> {
        Self::zeros(config, options).load(|name, shape| {
            let is_projection = name.ends_with("proj_in.weight") || name.ends_with("proj_out.weight");
            match shape {
                // Row-major, a 1x1 convolution's weight is that of the linear layer.
                &[c_out, c_in] if is_projection && !config.use_linear_projection => {
                    weights.get_f32(name, &[c_out, c_in, 1, 1])
                }
                shape => weights.get_f32(name, shape),
            }
        })
    }

    /// Zeros, to be filled through [`Parameters`].
    pub fn zeros(config: &UnetConfig, options: &TensorCreationOptions) -> Self {
        let len = config.blocks.len();
        let channels = config.blocks[0].channels;
        Self {
            dtype: Tensor::<1>::zeros([1], options.clone()).dtype(),
            conv_in: Conv2d::zeros(config.in_channels, channels, 3, options),
            time_embedding: TimeEmbedding::zeros(config, options),
            down_blocks: (0..len).map(|idx| DownBlock::zeros(config, idx, options)).collect(),
            mid_block: MidBlock::zeros(config, options),
            up_blocks: (0..len).rev().map(|idx| UpBlock::zeros(config, idx, options)).collect(),
            conv_norm_out: GroupNorm::zeros(config.norm_num_groups, channels, config.norm_eps, options),
            conv_out: Conv2d::zeros(channels, config.out_channels, 3, options),
            config: config.clone(),
        }
    }

    /// The network's shape.
    pub fn config(&self) -> &UnetConfig {
        &self.config
    }

    /// What is noise in `latents`, or what else the model was trained to predict.
    ///
    /// # Shapes
    /// - `latents`: `[B, in_channels, h, w]`, any size from 1x1
    /// - `timestep`: the same for all, from 0 to the training timesteps, not always whole
    /// - `text`: `[B, T, cross_attention_dim]`
    /// - returns `[B, out_channels, h, w]`, f32 whatever the weights are
    ///
    /// # Errors
    /// [`Error::Shape`] if these do not agree.
    pub fn forward(&self, latents: Tensor<4>, timestep: f64, text: Tensor<3>) -> Result<Tensor<4>> {
        self.check(&latents, &text)?;
        let sinusoids = sinusoids(&self.config, timestep, &latents.device()).cast(self.dtype);
        let condition = Condition {
            // Each residual block begins with the same SiLU of it.
            time: Activation::Silu.forward(self.time_embedding.forward(sinusoids)),
            text: text.cast(self.dtype),
        };
        let latents = if self.config.center_input_sample { latents * 2.0 - 1.0 } else { latents };

        let mut x = self.conv_in.forward(latents.cast(self.dtype));
        let mut skips = vec![x.clone()];
        for block in &self.down_blocks {
            x = block.forward(x, &condition, &mut skips);
        }
        x = self.mid_block.forward(x, &condition);
        for block in &self.up_blocks {
            x = block.forward(x, &condition, &mut skips);
        }
        Ok(self.conv_out.forward(self.conv_norm_out.forward_silu(x)).cast(DType::F32))
    }

    fn check(&self, latents: &Tensor<4>, text: &Tensor<3>) -> Result<()> {
        let ([b, c, h, w], [rows, t, width]) = (latents.dims(), text.dims());
        let fits = c == self.config.in_channels && b * h * w > 0;
        if fits && rows == b && t > 0 && width == self.config.cross_attention_dim {
            return Ok(());
        }
        Err(Error::Shape(format!(
            "latents {:?} and text {:?}: expected [B, {}, h, w] and [B, T, {}]",
            [b, c, h, w],
            [rows, t, width],
            self.config.in_channels,
            self.config.cross_attention_dim,
        )))
    }
}

impl Parameters for Unet {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        let name = |layer: &str| format!("{prefix}{layer}");
        Ok(Self {
            conv_in: self.conv_in.map_parameters(&name("conv_in"), map)?,
            time_embedding: self.time_embedding.map_parameters(&name("time_embedding"), map)?,
            down_blocks: map_each(self.down_blocks, &name("down_blocks"), map)?,
            mid_block: self.mid_block.map_parameters(&name("mid_block"), map)?,
            up_blocks: map_each(self.up_blocks, &name("up_blocks"), map)?,
            conv_norm_out: self.conv_norm_out.map_parameters(&name("conv_norm_out"), map)?,
            conv_out: self.conv_out.map_parameters(&name("conv_out"), map)?,
            ..self
        })
    }
}
