//! The VAE's decoder: latents to a picture. The encoder is not here: no picture is ever encoded.
//!
//! [`config`] says which decoders these are.

pub mod config;

use burn::tensor::{Tensor, TensorCreationOptions};

use self::config::VaeConfig;
use super::resnet::{ResnetBlock, ResnetSizes, map_each, map_optional, upsample_nearest};
use crate::error::{Error, Result};
use crate::nn::{Conv2d, GroupNorm, Linear, Mask, ParameterMap, Parameters, attention};
use crate::weights::Weights;

/// Added to the variance by every GroupNorm.
const NORM_EPSILON: f64 = 1e-6;

/// Names of the attention's layers, today's and those of files from before diffusers 0.17.
const ATTENTION_NAMES: [(&str, &str); 4] =
    [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")];

/// The decoder of the VAE of Stable Diffusion 1.x and 2.x. `AutoencoderKL.decode` of diffusers.
#[derive(Debug, Clone)]
pub struct VaeDecoder {
    config: VaeConfig,
    post_quant_conv: Conv2d,
    conv_in: Conv2d,
    mid_block: MidBlock,
    /// From the latents to the picture.
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

/// A residual block, attention of all cells to all, a residual block.
#[derive(Debug, Clone)]
struct MidBlock {
    resnets: Vec<ResnetBlock>,
    attention: Attention,
}

/// `x + to_out(attention(group_norm(x)))` with one head as wide as there are channels.
#[derive(Debug, Clone)]
struct Attention {
    group_norm: GroupNorm,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
}

/// Residual blocks, then twice the size.
#[derive(Debug, Clone)]
struct UpBlock {
    resnets: Vec<ResnetBlock>,
    /// None at the end.
    upsampler: Option<Conv2d>,
}

impl VaeDecoder {
    /// The decoder of `config` from weights named as in a checkpoint, old or new. Tensors of the encoder are
    /// passed over.
    ///
    /// # Errors
    /// [`Error::Tensor`] naming what is missing or of another shape.
    pub fn from_weights(
        config: &VaeConfig,
        weights: &Weights,
        options: &TensorCreationOptions,
    ) -> Result<Self> {
        Self::zeros(config, options).load(|name, shape| match old_name(name) {
            Some(old_name) if weights.contains(&old_name) => match (weights.shape(&old_name), shape) {
                // Older still: a linear layer as a 1x1 convolution, row-major the same numbers.
                (Some([rows, columns, 1, 1]), shape) if shape == [*rows, *columns] => {
                    weights.get_f32_any_shape(&old_name)
                }
                _ => weights.get_f32(&old_name, shape),
            },
            _ => weights.get_f32(name, shape),
        })
    }

    /// Zeros, to be filled through [`Parameters`].
    pub fn zeros(config: &VaeConfig, options: &TensorCreationOptions) -> Self {
        let mut channels = config.block_out_channels.clone();
        channels.reverse();
        let sizes =
            ResnetSizes { norm_num_groups: config.norm_num_groups, norm_eps: NORM_EPSILON, time_width: None };
        let (first, last) = (channels[0], config.block_out_channels[0]);
        let up_block = |idx: usize| {
            let (c_in, c_out) = (channels[idx.saturating_sub(1)], channels[idx]);
            let resnet =
                |layer| ResnetBlock::zeros(if layer == 0 { c_in } else { c_out }, c_out, &sizes, options);
            let is_last = idx + 1 == channels.len();
            UpBlock {
                resnets: (0..=config.layers_per_block).map(resnet).collect(),
                upsampler: (!is_last).then(|| Conv2d::zeros(c_out, c_out, 3, options)),
            }
        };
        let norm = |channels| GroupNorm::zeros(config.norm_num_groups, channels, NORM_EPSILON, options);
        let linear = || Linear::zeros(first, first, options);
        Self {
            post_quant_conv: Conv2d::zeros(config.latent_channels, config.latent_channels, 1, options),
            conv_in: Conv2d::zeros(config.latent_channels, first, 3, options),
            mid_block: MidBlock {
                resnets: (0..2).map(|_| ResnetBlock::zeros(first, first, &sizes, options)).collect(),
                attention: Attention {
                    group_norm: norm(first),
                    to_q: linear(),
                    to_k: linear(),
                    to_v: linear(),
                    to_out: linear(),
                },
            },
            up_blocks: (0..channels.len()).map(up_block).collect(),
            conv_norm_out: norm(last),
            conv_out: Conv2d::zeros(last, 3, 3, options),
            config: config.clone(),
        }
    }

    /// The decoder's shape.
    pub fn config(&self) -> &VaeConfig {
        &self.config
    }

    /// Pictures, scaled as the UNet has them: they are divided by `scaling_factor` here.
    ///
    /// # Shapes
    /// - `latents`: `[B, latent_channels, h, w]`, in the decoder's dtype
    /// - returns `[B, 3, H, W]` with H = h · `scale_factor`; about -1 to 1, and not cut to that
    ///
    /// # Errors
    /// [`Error::Shape`] if the channels do not agree.
    pub fn decode(&self, latents: Tensor<4>) -> Result<Tensor<4>> {
        let [b, c, h, w] = latents.dims();
        if c != self.config.latent_channels || b * h * w == 0 {
            let expected = self.config.latent_channels;
            return Err(Error::Shape(format!("latents {:?}: expected [B, {expected}, h, w]", [b, c, h, w])));
        }
        let latents = latents / self.config.scaling_factor;
        let mut x = self.conv_in.forward(self.post_quant_conv.forward(latents));
        x = self.mid_block.forward(x);
        for block in &self.up_blocks {
            x = block.forward(x);
        }
        Ok(self.conv_out.forward(self.conv_norm_out.forward_silu(x)))
    }
}

impl MidBlock {
    /// `[B, C, h, w]` to the same.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [before, after] = &self.resnets[..] else { return x };
        after.forward(self.attention.forward(before.forward(x, None)), None)
    }
}

impl Attention {
    /// `[B, C, h, w]` to the same.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, c, h, w] = x.dims();
        let cells = self.group_norm.forward(x.clone()).reshape([b, c, h * w]).swap_dims(1, 2); // [B, h w, C]
        let query = self.to_q.forward(cells.clone());
        let key = self.to_k.forward(cells.clone());
        let attended = attention(query, key, self.to_v.forward(cells), 1, Mask::Full);
        x + self.to_out.forward(attended).swap_dims(1, 2).reshape([b, c, h, w])
    }
}

impl UpBlock {
    /// `[B, C, h, w]` to `[B, C', 2 h, 2 w]`, or without the doubling at the end.
    fn forward(&self, mut x: Tensor<4>) -> Tensor<4> {
        for resnet in &self.resnets {
            x = resnet.forward(x, None);
        }
        match &self.upsampler {
            Some(conv) => {
                let [_, _, h, w] = x.dims();
                conv.forward(upsample_nearest(x, [2 * h, 2 * w]))
            }
            None => x,
        }
    }
}

/// What files from before diffusers 0.17 call a parameter of the attention.
fn old_name(name: &str) -> Option<String> {
    let (layers, parameter) = name.rsplit_once('.')?;
    let (parent, before) = ATTENTION_NAMES
        .iter()
        .find_map(|(today, before)| layers.strip_suffix(today).map(|parent| (parent, before)))?;
    Some(format!("{parent}{before}.{parameter}"))
}

impl Parameters for VaeDecoder {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        let name = |layer: &str| format!("{prefix}decoder.{layer}");
        Ok(Self {
            post_quant_conv: self.post_quant_conv.map_parameters(&format!("{prefix}post_quant_conv"), map)?,
            conv_in: self.conv_in.map_parameters(&name("conv_in"), map)?,
            mid_block: self.mid_block.map_parameters(&name("mid_block"), map)?,
            up_blocks: map_each(self.up_blocks, &name("up_blocks"), map)?,
            conv_norm_out: self.conv_norm_out.map_parameters(&name("conv_norm_out"), map)?,
            conv_out: self.conv_out.map_parameters(&name("conv_out"), map)?,
            ..self
        })
    }
}

impl Parameters for MidBlock {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        Ok(Self {
            resnets: map_each(self.resnets, &format!("{prefix}.resnets"), map)?,
            attention: self.attention.map_parameters(&format!("{prefix}.attentions.0"), map)?,
        })
    }
}

impl Parameters for Attention {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        let name = |layer: &str| format!("{prefix}.{layer}");
        Ok(Self {
            group_norm: self.group_norm.map_parameters(&name("group_norm"), map)?,
            to_q: self.to_q.map_parameters(&name("to_q"), map)?,
            to_k: self.to_k.map_parameters(&name("to_k"), map)?,
            to_v: self.to_v.map_parameters(&name("to_v"), map)?,
            to_out: self.to_out.map_parameters(&name("to_out.0"), map)?,
        })
    }
}

impl Parameters for UpBlock {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        Ok(Self {
            resnets: map_each(self.resnets, &format!("{prefix}.resnets"), map)?,
            upsampler: map_optional(self.upsampler, &format!("{prefix}.upsamplers.0.conv"), map)?,
        })
    }
}
