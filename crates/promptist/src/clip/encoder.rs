//! The transformer that both towers are made of: pre-norm blocks of attention and MLP.

use burn::tensor::{Tensor, TensorCreationOptions};

use super::config::HiddenAct;
use crate::error::Result;
use crate::nn::{LayerNorm, Linear, Mask, ParameterMap, Parameters, attention};

/// Sizes of one tower's blocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockSizes {
    pub layers: usize,
    pub width: usize,
    pub inner: usize,
    pub heads: usize,
    pub act: HiddenAct,
    pub epsilon: f64,
}

/// The blocks, first to last.
#[derive(Debug, Clone)]
pub(super) struct Encoder {
    layers: Vec<EncoderLayer>,
}

/// `x += self_attn(layer_norm1(x)); x += mlp(layer_norm2(x))`.
#[derive(Debug, Clone)]
struct EncoderLayer {
    layer_norm1: LayerNorm,
    self_attn: SelfAttention,
    layer_norm2: LayerNorm,
    mlp: Mlp,
}

#[derive(Debug, Clone)]
struct SelfAttention {
    heads: usize,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
}

#[derive(Debug, Clone)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
    act: HiddenAct,
}

impl Encoder {
    /// Zeros, to be filled through [`Parameters`].
    pub(super) fn zeros(sizes: &BlockSizes, options: &TensorCreationOptions) -> Self {
        let norm = || LayerNorm::zeros(sizes.width, sizes.epsilon, options);
        let linear = |d_in, d_out| Linear::zeros(d_in, d_out, options);
        let layer = |_| EncoderLayer {
            layer_norm1: norm(),
            self_attn: SelfAttention {
                heads: sizes.heads,
                q_proj: linear(sizes.width, sizes.width),
                k_proj: linear(sizes.width, sizes.width),
                v_proj: linear(sizes.width, sizes.width),
                out_proj: linear(sizes.width, sizes.width),
            },
            layer_norm2: norm(),
            mlp: Mlp {
                fc1: linear(sizes.width, sizes.inner),
                fc2: linear(sizes.inner, sizes.width),
                act: sizes.act,
            },
        };
        Self { layers: (0..sizes.layers).map(layer).collect() }
    }

    /// `[B, T, E]` to `[B, T, E]`.
    pub(super) fn forward(&self, x: Tensor<3>, mask: Mask) -> Tensor<3> {
        self.layers.iter().fold(x, |x, layer| layer.forward(x, mask))
    }
}

impl EncoderLayer {
    fn forward(&self, x: Tensor<3>, mask: Mask) -> Tensor<3> {
        let x = x.clone() + self.self_attn.forward(self.layer_norm1.forward(x), mask);
        x.clone() + self.mlp.forward(self.layer_norm2.forward(x))
    }
}

impl SelfAttention {
    fn forward(&self, x: Tensor<3>, mask: Mask) -> Tensor<3> {
        let project = |linear: &Linear| linear.forward(x.clone());
        let (query, key, value) = (project(&self.q_proj), project(&self.k_proj), project(&self.v_proj));
        self.out_proj.forward(attention(query, key, value, self.heads, mask))
    }
}

impl Mlp {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let inner = self.act.activation().forward(self.fc1.forward(x));
        self.fc2.forward(inner)
    }
}

impl Parameters for Encoder {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        let layers = (0..).zip(self.layers).map(|(idx, layer): (usize, EncoderLayer)| {
            layer.map_parameters(&format!("{prefix}.layers.{idx}"), map)
        });
        Ok(Self { layers: layers.collect::<Result<_>>()? })
    }
}

impl Parameters for EncoderLayer {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        Ok(Self {
            layer_norm1: self.layer_norm1.map_parameters(&format!("{prefix}.layer_norm1"), map)?,
            self_attn: self.self_attn.map_parameters(&format!("{prefix}.self_attn"), map)?,
            layer_norm2: self.layer_norm2.map_parameters(&format!("{prefix}.layer_norm2"), map)?,
            mlp: self.mlp.map_parameters(&format!("{prefix}.mlp"), map)?,
        })
    }
}

impl Parameters for SelfAttention {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        Ok(Self {
            q_proj: self.q_proj.map_parameters(&format!("{prefix}.q_proj"), map)?,
            k_proj: self.k_proj.map_parameters(&format!("{prefix}.k_proj"), map)?,
            v_proj: self.v_proj.map_parameters(&format!("{prefix}.v_proj"), map)?,
            out_proj: self.out_proj.map_parameters(&format!("{prefix}.out_proj"), map)?,
            heads: self.heads,
        })
    }
}

impl Parameters for Mlp {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        Ok(Self {
            fc1: self.fc1.map_parameters(&format!("{prefix}.fc1"), map)?,
            fc2: self.fc2.map_parameters(&format!("{prefix}.fc2"), map)?,
            act: self.act,
        })
    }
}
