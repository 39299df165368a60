//! The UNet's levels: down, the bottom, and up again. A level with attention is diffusers' `CrossAttnDownBlock2D`
//! or `CrossAttnUpBlock2D`, one without `DownBlock2D` or `UpBlock2D`.

use burn::tensor::{Tensor, TensorCreationOptions};

use super::super::resnet::{ResnetBlock, ResnetSizes, map_each, map_optional, upsample_nearest};
use super::config::{BlockConfig, UnetConfig};
use super::transformer::SpatialTransformer;
use crate::error::Result;
use crate::nn::{Conv2d, ParameterMap, Parameters};

/// What every block is told.
pub(super) struct Condition {
    /// `[1, time width]`, after its SiLU.
    pub time: Tensor<2>,
    /// `[B, T, cross_attention_dim]`.
    pub text: Tensor<3>,
}

/// Residual blocks, each followed by a transformer if the level has attention, then half the size.
#[derive(Debug, Clone)]
pub(super) struct DownBlock {
    resnets: Vec<ResnetBlock>,
    /// As many as residual blocks, or none.
    attentions: Vec<SpatialTransformer>,
    /// None at the bottom.
    downsampler: Option<Conv2d>,
}

/// A residual block, a transformer, a residual block.
#[derive(Debug, Clone)]
pub(super) struct MidBlock {
    resnets: Vec<ResnetBlock>,
    attentions: Vec<SpatialTransformer>,
}

/// As [`DownBlock`], each residual block taking what one on the way down gave, then twice the size.
#[derive(Debug, Clone)]
pub(super) struct UpBlock {
    resnets: Vec<ResnetBlock>,
    attentions: Vec<SpatialTransformer>,
    /// None at the top.
    upsampler: Option<Conv2d>,
}

fn resnet_sizes(config: &UnetConfig) -> ResnetSizes {
    ResnetSizes {
        norm_num_groups: config.norm_num_groups,
        norm_eps: config.norm_eps,
        time_width: Some(config.time_width()),
    }
}

/// `len` transformers of a level, or none if it has no attention.
fn transformers(
    has_attention: bool,
    len: usize,
    config: &UnetConfig,
    block: &BlockConfig,
    options: &TensorCreationOptions,
) -> Vec<SpatialTransformer> {
    let len = if has_attention { len } else { 0 };
    (0..len).map(|_| SpatialTransformer::zeros(config, block, options)).collect()
}

impl DownBlock {
    /// Level `idx`, from the top.
    pub fn zeros(config: &UnetConfig, idx: usize, options: &TensorCreationOptions) -> Self {
        let (block, sizes) = (&config.blocks[idx], resnet_sizes(config));
        let c_in = config.blocks[idx.saturating_sub(1)].channels;
        let c_out = block.channels;
        let resnet =
            |layer| ResnetBlock::zeros(if layer == 0 { c_in } else { c_out }, c_out, &sizes, options);
        let is_bottom = idx + 1 == config.blocks.len();
        Self {
            resnets: (0..block.layers).map(resnet).collect(),
            attentions: transformers(block.down_attention, block.layers, config, block, options),
            downsampler: (!is_bottom).then(|| Conv2d::zeros(c_out, c_out, 3, options).with_stride(2)),
        }
    }

    /// Pushes onto `skips` what each residual block and the halving give: `[B, C, h, w]` to `[B, C', h', w']`.
    pub fn forward(&self, mut x: Tensor<4>, condition: &Condition, skips: &mut Vec<Tensor<4>>) -> Tensor<4> {
        for (layer, resnet) in self.resnets.iter().enumerate() {
            x = resnet.forward(x, Some(&condition.time));
            if let Some(transformer) = self.attentions.get(layer) {
                x = transformer.forward(x, &condition.text);
            }
            skips.push(x.clone());
        }
        if let Some(conv) = &self.downsampler {
            x = conv.forward(x);
            skips.push(x.clone());
        }
        x
    }
}

impl MidBlock {
    pub fn zeros(config: &UnetConfig, options: &TensorCreationOptions) -> Self {
        let (block, sizes) = (&config.blocks[config.blocks.len() - 1], resnet_sizes(config));
        let resnet = |_| ResnetBlock::zeros(block.channels, block.channels, &sizes, options);
        Self {
            resnets: (0..2).map(resnet).collect(),
            attentions: transformers(true, 1, config, block, options),
        }
    }

    /// `[B, C, h, w]` to the same.
    pub fn forward(&self, mut x: Tensor<4>, condition: &Condition) -> Tensor<4> {
        for (layer, resnet) in self.resnets.iter().enumerate() {
            x = resnet.forward(x, Some(&condition.time));
            if let Some(transformer) = self.attentions.get(layer) {
                x = transformer.forward(x, &condition.text);
            }
        }
        x
    }
}

impl UpBlock {
    /// Level `idx`, from the top.
    pub fn zeros(config: &UnetConfig, idx: usize, options: &TensorCreationOptions) -> Self {
        let (block, sizes) = (&config.blocks[idx], resnet_sizes(config));
        let (len, c_out) = (block.layers + 1, block.channels);
        let below = config.blocks.get(idx + 1).unwrap_or(block).channels;
        let above = config.blocks[idx.saturating_sub(1)].channels;
        let resnet = |layer| {
            let c_in = if layer == 0 { below } else { c_out };
            // The last skip of a level is what entered it on the way down.
            let c_skip = if layer + 1 == len { above } else { c_out };
            ResnetBlock::zeros(c_in + c_skip, c_out, &sizes, options)
        };
        Self {
            resnets: (0..len).map(resnet).collect(),
            attentions: transformers(block.up_attention, len, config, block, options),
            upsampler: (idx > 0).then(|| Conv2d::zeros(c_out, c_out, 3, options)),
        }
    }

    /// Pops from `skips` as many as it has residual blocks: `[B, C, h', w']` to `[B, C', h, w]`.
    pub fn forward(&self, mut x: Tensor<4>, condition: &Condition, skips: &mut Vec<Tensor<4>>) -> Tensor<4> {
        for (layer, resnet) in self.resnets.iter().enumerate() {
            let skip = skips.pop().expect("the way up has a residual block for each skip");
            x = resnet.forward(Tensor::cat(vec![x, skip], 1), Some(&condition.time));
            if let Some(transformer) = self.attentions.get(layer) {
                x = transformer.forward(x, &condition.text);
            }
        }
        if let Some(conv) = &self.upsampler {
            // The size of the skip that comes next: less than double where halving rounded up.
            let [_, _, h, w] = skips.last().expect("the level above has skips").dims();
            x = conv.forward(upsample_nearest(x, [h, w]));
        }
        x
    }
}

impl Parameters for DownBlock {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        Ok(Self {
            resnets: map_each(self.resnets, &format!("{prefix}.resnets"), map)?,
            attentions: map_each(self.attentions, &format!("{prefix}.attentions"), map)?,
            downsampler: map_optional(self.downsampler, &format!("{prefix}.downsamplers.0.conv"), map)?,
        })
    }
}

impl Parameters for MidBlock {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        Ok(Self {
            resnets: map_each(self.resnets, &format!("{prefix}.resnets"), map)?,
            attentions: map_each(self.attentions, &format!("{prefix}.attentions"), map)?,
        })
    }
}

impl Parameters for UpBlock {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        Ok(Self {
            resnets: map_each(self.resnets, &format!("{prefix}.resnets"), map)?,
            attentions: map_each(self.attentions, &format!("{prefix}.attentions"), map)?,
            upsampler: map_optional(self.upsampler, &format!("{prefix}.upsamplers.0.conv"), map)?,
        })
    }
}
