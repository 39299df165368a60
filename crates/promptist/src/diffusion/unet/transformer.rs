//! The UNet's transformers: pixels look at each other, then at the text.

use burn::tensor::{DType, Tensor, TensorCreationOptions};

use super::config::{BlockConfig, UnetConfig};
use crate::error::Result;
use crate::nn::{GroupNorm, LayerNorm, Linear, Mask, ParameterMap, Parameters, attention, geglu};

/// Added to the variance by the GroupNorm on the way in, whatever `norm_eps` says.
const GROUP_NORM_EPSILON: f64 = 1e-6;
/// Added to the variance by the LayerNorms.
const LAYER_NORM_EPSILON: f64 = 1e-5;
/// Width inside the feed-forward network, in widths of the transformer.
const INNER_WIDTHS: usize = 4;

/// One transformer block over the pixels of a picture, and its way in and out. `Transformer2DModel` of diffusers.
#[derive(Debug, Clone)]
pub(super) struct SpatialTransformer {
    norm: GroupNorm,
    /// Stored as a 1x1 convolution by models without `use_linear_projection`: the same numbers.
    proj_in: Linear,
    block: TransformerBlock,
    proj_out: Linear,
}

/// `x + attn1(norm1(x))`, then `x + attn2(norm2(x), text)`, then `x + ff(norm3(x))`.
#[derive(Debug, Clone)]
struct TransformerBlock {
    norm1: LayerNorm,
    attn1: Attention,
    norm2: LayerNorm,
    attn2: Attention,
    norm3: LayerNorm,
    /// `ff.net.0.proj`: twice the inner width, values and then gates.
    ff_in: Linear,
    /// `ff.net.2`.
    ff_out: Linear,
}

/// Attention of pixels to pixels or to a text.
#[derive(Debug, Clone)]
struct Attention {
    num_heads: usize,
    /// Whether scores are computed in f32 whatever the weights are.
    upcast: bool,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    /// `to_out.0`.
    to_out: Linear,
}

impl SpatialTransformer {
    pub fn zeros(config: &UnetConfig, block: &BlockConfig, options: &TensorCreationOptions) -> Self {
        let c = block.channels;
        Self {
            norm: GroupNorm::zeros(config.norm_num_groups, c, GROUP_NORM_EPSILON, options),
            proj_in: Linear::zeros(c, c, options),
            block: TransformerBlock::zeros(config, block, options),
            proj_out: Linear::zeros(c, c, options),
        }
    }

    /// # Shapes
    /// - `x`: `[B, C, h, w]`
    /// - `text`: `[B, T, cross_attention_dim]`
    /// - returns `[B, C, h, w]`
    pub fn forward(&self, x: Tensor<4>, text: &Tensor<3>) -> Tensor<4> {
        let [b, c, h, w] = x.dims();
        let pixels = self.norm.forward(x.clone()).reshape([b, c, h * w]).swap_dims(1, 2); // [B, h w, C]
        let pixels = self.block.forward(self.proj_in.forward(pixels), text);
        let pixels = self.proj_out.forward(pixels).swap_dims(1, 2); // [B, C, h w]
        x + pixels.reshape([b, c, h, w])
    }
}

impl TransformerBlock {
    fn zeros(config: &UnetConfig, block: &BlockConfig, options: &TensorCreationOptions) -> Self {
        let c = block.channels;
        let norm = || LayerNorm::zeros(c, LAYER_NORM_EPSILON, options);
        let attention = |width: usize| Attention {
            num_heads: block.num_heads,
            upcast: config.upcast_attention,
            to_q: Linear::without_bias(c, c, options),
            to_k: Linear::without_bias(width, c, options),
            to_v: Linear::without_bias(width, c, options),
            to_out: Linear::zeros(c, c, options),
        };
        Self {
            norm1: norm(),
            attn1: attention(c),
            norm2: norm(),
            attn2: attention(config.cross_attention_dim),
            norm3: norm(),
            ff_in: Linear::zeros(c, 2 * INNER_WIDTHS * c, options),
            ff_out: Linear::zeros(INNER_WIDTHS * c, c, options),
        }
    }

    fn forward(&self, x: Tensor<3>, text: &Tensor<3>) -> Tensor<3> {
        let normed = self.norm1.forward(x.clone());
        let x = x + self.attn1.forward(normed.clone(), normed);
        let x = x.clone() + self.attn2.forward(self.norm2.forward(x), text.clone());
        x.clone() + self.feed_forward(self.norm3.forward(x))
    }

    /// `ff_out(geglu(ff_in(x)))`.
    fn feed_forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.ff_out.forward(geglu(self.ff_in.forward(x)))
    }
}

impl Attention {
    /// # Shapes
    /// - `x`: `[B, T, C]`
    /// - `context`: `[B, S, C']`
    /// - returns `[B, T, C]`
    fn forward(&self, x: Tensor<3>, context: Tensor<3>) -> Tensor<3> {
        let dtype = x.dtype();
        let upcast = |x: Tensor<3>| if self.upcast { x.cast(DType::F32) } else { x };
        let query = upcast(self.to_q.forward(x));
        let key = upcast(self.to_k.forward(context.clone()));
        let value = upcast(self.to_v.forward(context));
        let attended = attention(query, key, value, self.num_heads, Mask::Full);
        self.to_out.forward(attended.cast(dtype))
    }
}

impl Parameters for SpatialTransformer {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        Ok(Self {
            norm: self.norm.map_parameters(&format!("{prefix}.norm"), map)?,
            proj_in: self.proj_in.map_parameters(&format!("{prefix}.proj_in"), map)?,
            block: self.block.map_parameters(&format!("{prefix}.transformer_blocks.0"), map)?,
            proj_out: self.proj_out.map_parameters(&format!("{prefix}.proj_out"), map)?,
        })
    }
}

impl Parameters for TransformerBlock {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        let name = |layer: &str| format!("{prefix}.{layer}");
        Ok(Self {
            norm1: self.norm1.map_parameters(&name("norm1"), map)?,
            attn1: self.attn1.map_parameters(&name("attn1"), map)?,
            norm2: self.norm2.map_parameters(&name("norm2"), map)?,
            attn2: self.attn2.map_parameters(&name("attn2"), map)?,
            norm3: self.norm3.map_parameters(&name("norm3"), map)?,
            ff_in: self.ff_in.map_parameters(&name("ff.net.0.proj"), map)?,
            ff_out: self.ff_out.map_parameters(&name("ff.net.2"), map)?,
        })
    }
}

impl Parameters for Attention {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        let name = |layer: &str| format!("{prefix}.{layer}");
        Ok(Self {
            to_q: self.to_q.map_parameters(&name("to_q"), map)?,
            to_k: self.to_k.map_parameters(&name("to_k"), map)?,
            to_v: self.to_v.map_parameters(&name("to_v"), map)?,
            to_out: self.to_out.map_parameters(&name("to_out.0"), map)?,
            ..self
        })
    }
}
