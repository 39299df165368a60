//! A transformer block: LayerNorm, causal self-attention, MLP, with the checkpoint's names and
//! layouts (`c_attn` and friends store `[in, out]`, transformers' `Conv1D`).

use burn::tensor::{Tensor, activation, module};

use super::config::{Activation, Gpt2Config};
use crate::error::Result;
use crate::nn::{LayerNorm, ParameterMap, Parameters};

/// `x · weight + bias`.
#[derive(Debug, Clone)]
pub(super) struct Conv1d {
    /// `[in, out]`.
    pub weight: Tensor<2>,
    /// `[out]`.
    pub bias: Tensor<1>,
}

/// One block: `x + attn(ln_1(x))`, then `x + mlp(ln_2(x))`.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub ln_1: LayerNorm,
    pub c_attn: Conv1d,
    pub attn_c_proj: Conv1d,
    pub ln_2: LayerNorm,
    pub c_fc: Conv1d,
    pub mlp_c_proj: Conv1d,
    pub n_head: usize,
    pub attention_scale: f64,
    pub activation: Activation,
}

/// Keys and values of one block: each `[B, N, T, D]`.
pub(super) type KeysValues = (Tensor<4>, Tensor<4>);

impl Conv1d {
    /// `[B, T, in]` to `[B, T, out]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        module::linear(x, self.weight.clone(), Some(self.bias.clone()))
    }
}

impl Block {
    /// Attends to `past` and to `x` itself.
    ///
    /// # Shapes
    /// - `x`: `[B, T, E]`
    /// - `past`: keys and values of S earlier positions, `[B, N, S, D]`
    /// - `mask`: `[B or 1, 1, T, S + T]`, 0 where a position may look and a very low number where not
    /// - returns `[B, T, E]` and keys and values of S + T positions
    pub fn forward(
        &self,
        x: Tensor<3>,
        past: Option<KeysValues>,
        mask: Option<&Tensor<4>>,
    ) -> (Tensor<3>, KeysValues) {
        let (attended, keys_values) = self.attention(self.ln_1.forward(x.clone()), past, mask);
        let x = x + attended;
        let inner = self.activate(self.c_fc.forward(self.ln_2.forward(x.clone())));
        let x = x + self.mlp_c_proj.forward(inner);
        (x, keys_values)
    }

    fn attention(
        &self,
        x: Tensor<3>,
        past: Option<KeysValues>,
        mask: Option<&Tensor<4>>,
    ) -> (Tensor<3>, KeysValues) {
        let [b, t, e] = x.dims();
        let (n, d) = (self.n_head, e / self.n_head);

        let qkv = self.c_attn.forward(x); // [B, T, 3E]
        let heads = |part: usize| {
            qkv.clone().narrow(2, part * e, e).reshape([b, t, n, d]).swap_dims(1, 2) // [B, N, T, D]
        };
        // Scaling the queries, not the scores, touches T·E numbers instead of N·T².
        let query = heads(0) * self.attention_scale;
        let (mut key, mut value) = (heads(1), heads(2));
        if let Some((past_key, past_value)) = past {
            key = Tensor::cat(vec![past_key, key], 2);
            value = Tensor::cat(vec![past_value, value], 2);
        }

        let mut scores = query.matmul(key.clone().swap_dims(2, 3)); // [B, N, T, S + T]
        if let Some(mask) = mask {
            scores = scores + mask.clone();
        }
        let attended = activation::softmax(scores, 3)
            .matmul(value.clone()) // [B, N, T, D]
            .swap_dims(1, 2)
            .reshape([b, t, e]);
        (self.attn_c_proj.forward(attended), (key, value))
    }

    fn activate(&self, x: Tensor<3>) -> Tensor<3> {
        match self.activation {
            Activation::GeluNew => gelu_new(x),
            Activation::Gelu => activation::gelu(x),
            Activation::Relu => activation::relu(x),
        }
    }
}

/// GPT-2's GELU, `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`, in the equal form
/// `x · sigmoid(2 √(2/π) · (x + 0.044715 x³))`, which takes fewer passes over memory.
pub(super) fn gelu_new<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let two_sqrt_two_over_pi = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
    let inner = (x.clone().square() * (0.044_715 * two_sqrt_two_over_pi) + two_sqrt_two_over_pi) * x.clone();
    x * activation::sigmoid(inner)
}

impl Block {
    /// A block of zeros in the shapes of `config`, to be filled through its parameters.
    pub fn zeros(config: &Gpt2Config, layer_idx: usize, device: &burn::tensor::Device) -> Self {
        let (e, inner) = (config.n_embd, config.n_inner());
        Self {
            ln_1: LayerNorm::zeros(e, config.layer_norm_epsilon, &device.into()),
            c_attn: Conv1d::zeros(e, 3 * e, device),
            attn_c_proj: Conv1d::zeros(e, e, device),
            ln_2: LayerNorm::zeros(e, config.layer_norm_epsilon, &device.into()),
            c_fc: Conv1d::zeros(e, inner, device),
            mlp_c_proj: Conv1d::zeros(inner, e, device),
            n_head: config.n_head,
            attention_scale: config.attention_scale(layer_idx),
            activation: config.activation_function,
        }
    }
}

impl Conv1d {
    fn zeros(d_in: usize, d_out: usize, device: &burn::tensor::Device) -> Self {
        Self { weight: Tensor::zeros([d_in, d_out], device), bias: Tensor::zeros([d_out], device) }
    }
}

impl Parameters for Conv1d {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        Ok(Self {
            weight: map.map(&format!("{prefix}.weight"), self.weight)?,
            bias: map.map(&format!("{prefix}.bias"), self.bias)?,
        })
    }
}

impl Parameters for Block {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        Ok(Self {
            ln_1: self.ln_1.map_parameters(&format!("{prefix}.ln_1"), map)?,
            c_attn: self.c_attn.map_parameters(&format!("{prefix}.attn.c_attn"), map)?,
            attn_c_proj: self.attn_c_proj.map_parameters(&format!("{prefix}.attn.c_proj"), map)?,
            ln_2: self.ln_2.map_parameters(&format!("{prefix}.ln_2"), map)?,
            c_fc: self.c_fc.map_parameters(&format!("{prefix}.mlp.c_fc"), map)?,
            mlp_c_proj: self.mlp_c_proj.map_parameters(&format!("{prefix}.mlp.c_proj"), map)?,
            ..self
        })
    }
}
