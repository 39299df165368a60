//! GPT-2 on the tensor library: training, GPUs, and the reference that faster engines are held to.
//!
//! It takes and returns tensors and knows nothing of prompts. Start at [`Gpt2::forward`];
//! [`cache`] lets the searches of [`crate::decoding`] drive it, [`Parameters`] is how weights get in
//! and out.

mod block;
pub mod cache;
pub mod config;
pub mod folder;

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use self::block::{Block, KeysValues};
pub use self::config::Gpt2Config;
use crate::error::Result;
use crate::nn::{LayerNorm, ParameterMap, Parameters};

/// A GPT-2 language model with its tied head.
#[derive(Debug, Clone)]
pub struct Gpt2 {
    config: Gpt2Config,
    /// Token embeddings and the head: `[V, E]`.
    wte: Tensor<2>,
    /// Position embeddings: `[n_positions, E]`.
    wpe: Tensor<2>,
    h: Vec<Block>,
    ln_f: LayerNorm,
}

/// Added to attention scores where a position must not look. Finite, so that a row of padding,
/// which may look nowhere, gives numbers and not NaN; low enough that its softmax is exactly 0.
const MASKED: f32 = -1e30;

impl Gpt2 {
    /// A model with every parameter 0, to be filled through [`Parameters`].
    fn zeros(config: &Gpt2Config, device: &Device) -> Self {
        Self {
            wte: Tensor::zeros([config.vocab_size, config.n_embd], device),
            wpe: Tensor::zeros([config.n_positions, config.n_embd], device),
            h: (0..config.n_layer).map(|idx| Block::zeros(config, idx, device)).collect(),
            ln_f: LayerNorm::zeros(config.n_embd, config.layer_norm_epsilon, &device.into()),
            config: config.clone(),
        }
    }

    /// A model with random weights, as GPT-2 was initialised: normal with `initializer_range`,
    /// the projections into the residual stream divided by √(2 · n_layer), biases 0, norms 1.
    ///
    /// Drawn on the host, so that every device gets the same numbers from one seed.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) if `config` is impossible.
    pub fn random(config: &Gpt2Config, seed: u64, device: &Device) -> Result<Self> {
        struct Init<'a> {
            config: &'a Gpt2Config,
            rng: ChaCha8Rng,
        }
        impl ParameterMap for Init<'_> {
            fn map<const D: usize>(&mut self, name: &str, tensor: Tensor<D>) -> Result<Tensor<D>> {
                if name.contains("ln_") {
                    let fill = if name.ends_with("weight") { 1.0 } else { 0.0 };
                    return Ok(Tensor::full(tensor.shape(), fill, &tensor.device()));
                }
                if name.ends_with("bias") {
                    return Ok(tensor);
                }
                let mut std = self.config.initializer_range;
                if name.ends_with("c_proj.weight") {
                    std /= (2.0 * self.config.n_layer as f64).sqrt();
                }
                let count = tensor.shape().num_elements();
                let values = (0..count).map(|_| (standard_normal(&mut self.rng) * std) as f32);
                let data = TensorData::new(values.collect::<Vec<_>>(), tensor.shape());
                Ok(Tensor::from_data(data, &tensor.device()))
            }
        }
        config.check()?;
        let mut init = Init { config, rng: ChaCha8Rng::seed_from_u64(seed) };
        Self::zeros(config, device).map_parameters("", &mut init)
    }

    /// A model whose parameters are what `read(name, shape)` returns, row-major.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) if `config` is impossible, and whatever `read` returns.
    pub fn from_parameters(
        config: &Gpt2Config,
        device: &Device,
        read: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        config.check()?;
        Self::zeros(config, device).load(read)
    }

    /// The model's shape.
    pub fn config(&self) -> &Gpt2Config {
        &self.config
    }

    /// Where the model lives.
    pub fn device(&self) -> Device {
        self.wte.device()
    }

    /// Final hidden states, after `ln_f`, of whole sequences under a causal mask.
    ///
    /// Rows may be padded on the right with any id: no real position looks at what follows it.
    ///
    /// # Shapes
    /// - `input_ids`: `[B, T]`, T at most `n_positions`, ids below V; the device may panic on others
    /// - returns `[B, T, E]`
    pub fn forward(&self, input_ids: Tensor<2, Int>) -> Tensor<3> {
        let [_, t] = input_ids.dims();
        let device = self.device();
        let position_ids = Tensor::<1, Int>::arange(0..t as i64, &device);
        let positions = self.wpe.clone().select(0, position_ids).unsqueeze_dim::<3>(0); // [1, T, E]
        let x = self.embed(input_ids) + positions;
        self.blocks(x, None, Some(&causal_mask(t, &device))).0
    }

    /// Logits of hidden states: the tied head.
    ///
    /// # Shapes
    /// `[R, E]` to `[R, V]`.
    pub fn head(&self, hidden: Tensor<2>) -> Tensor<2> {
        hidden.matmul(self.wte.clone().transpose())
    }

    /// The token embedding, which is also the head: `[V, E]`.
    pub fn wte(&self) -> &Tensor<2> {
        &self.wte
    }

    /// `[B, T]` to `[B, T, E]`.
    fn embed(&self, input_ids: Tensor<2, Int>) -> Tensor<3> {
        let [b, t] = input_ids.dims();
        self.wte.clone().select(0, input_ids.reshape([b * t])).reshape([b, t, self.config.n_embd])
    }

    /// All blocks and `ln_f`; see [`Block::forward`] for the shapes.
    fn blocks(
        &self,
        mut x: Tensor<3>,
        past: Option<Vec<KeysValues>>,
        mask: Option<&Tensor<4>>,
    ) -> (Tensor<3>, Vec<KeysValues>) {
        let mut past = past.into_iter().flatten();
        let mut present = Vec::with_capacity(self.h.len());
        for block in &self.h {
            let (output, keys_values) = block.forward(x, past.next(), mask);
            x = output;
            present.push(keys_values);
        }
        (self.ln_f.forward(x), present)
    }
}

impl Parameters for Gpt2 {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        Ok(Self {
            wte: map.map(&format!("{prefix}wte.weight"), self.wte)?,
            wpe: map.map(&format!("{prefix}wpe.weight"), self.wpe)?,
            h: (0..)
                .zip(self.h)
                .map(|(idx, block): (usize, Block)| block.map_parameters(&format!("{prefix}h.{idx}"), map))
                .collect::<Result<_>>()?,
            ln_f: self.ln_f.map_parameters(&format!("{prefix}ln_f"), map)?,
            config: self.config,
        })
    }
}

/// `[1, 1, T, T]`: 0 at and below the diagonal, [`MASKED`] above.
fn causal_mask(t: usize, device: &Device) -> Tensor<4> {
    let mut mask = vec![0.0; t * t];
    for (row, values) in mask.chunks_mut(t.max(1)).enumerate() {
        values[row + 1..].fill(MASKED);
    }
    Tensor::from_data(TensorData::new(mask, [1, 1, t, t]), device)
}

/// One draw of the standard normal distribution (Box-Muller; the second value is not kept, so that
/// the n-th draw is a function of the stream's position alone).
fn standard_normal(rng: &mut impl Rng) -> f64 {
    let unit = |bits: u64| ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    let radius = (-2.0 * unit(rng.next_u64()).ln()).sqrt();
    radius * (2.0 * std::f64::consts::PI * unit(rng.next_u64())).cos()
}
