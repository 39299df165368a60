//! CLIP's text tower, which is also Stable Diffusion's text encoder: token ids to hidden states, and to the
//! one feature of a text. Ids come from [`super::tokenizer`].

use burn::tensor::{Int, Tensor, TensorCreationOptions, TensorData};

use super::config::TextConfig;
use super::encoder::{BlockSizes, Encoder};
use crate::error::{Error, Result};
use crate::model_source::ModelFiles;
use crate::nn::{LayerNorm, Linear, Mask, ParameterMap, Parameters};
use crate::weights::Weights;

/// What whole models put before the names of the text tower.
const PREFIX: &str = "text_model.";

/// The text tower without its projection.
#[derive(Debug, Clone)]
pub struct TextTransformer {
    config: TextConfig,
    /// `[V, E]`.
    token_embedding: Tensor<2>,
    /// `[max_position_embeddings, E]`.
    position_embedding: Tensor<2>,
    encoder: Encoder,
    final_layer_norm: LayerNorm,
}

impl TextTransformer {
    /// Opens a folder that holds a text tower, alone or beside an image tower: `config.json` and weights.
    ///
    /// # Errors
    /// As [`TextConfig::from_json`], [`Weights::open`] and [`from_weights`](Self::from_weights).
    pub fn open(files: &ModelFiles, options: &TensorCreationOptions) -> Result<Self> {
        let config = TextConfig::from_json(&files.read("config.json")?, &files.path("config.json"))?;
        Self::from_weights(&config, &files.weights()?, options)
    }

    /// The tower of `config` from weights named as in a checkpoint, with or without the prefix `text_model.`.
    /// Other tensors, such as the buffer `position_ids` of old files, are passed over.
    ///
    /// # Errors
    /// [`Error::Tensor`] naming what is missing or of another shape.
    pub fn from_weights(
        config: &TextConfig,
        weights: &Weights,
        options: &TensorCreationOptions,
    ) -> Result<Self> {
        // transformers 5 writes a tower of its own without the prefix, its predecessors with it.
        let bare = weights.contains("embeddings.token_embedding.weight");
        let prefix = if bare { "" } else { PREFIX };
        Self::zeros(config, options).load(|name, shape| weights.get_f32(&format!("{prefix}{name}"), shape))
    }

    fn zeros(config: &TextConfig, options: &TensorCreationOptions) -> Self {
        let width = config.hidden_size;
        let sizes = BlockSizes {
            layers: config.num_hidden_layers,
            width,
            inner: config.intermediate_size,
            heads: config.num_attention_heads,
            act: config.hidden_act,
            epsilon: config.layer_norm_eps,
        };
        Self {
            token_embedding: Tensor::zeros([config.vocab_size, width], options.clone()),
            position_embedding: Tensor::zeros([config.max_position_embeddings, width], options.clone()),
            encoder: Encoder::zeros(&sizes, options),
            final_layer_norm: LayerNorm::zeros(width, config.layer_norm_eps, options),
            config: config.clone(),
        }
    }

    /// The tower's shape.
    pub fn config(&self) -> &TextConfig {
        &self.config
    }

    /// The last hidden state, after the final norm: what Stable Diffusion is conditioned on.
    ///
    /// There is no mask but the causal one: padding is looked at by what follows it, as in the references.
    ///
    /// # Shapes
    /// - `ids`: B rows of T ids
    /// - returns `[B, T, E]`
    ///
    /// # Errors
    /// [`Error::Shape`] if the rows differ in length, are empty or longer than `max_position_embeddings`, or
    /// an id is not below `vocab_size`.
    pub fn forward(&self, ids: &[impl AsRef<[u32]>]) -> Result<Tensor<3>> {
        let (b, t) = self.check(ids)?;
        let (device, e) = (self.token_embedding.device(), self.config.hidden_size);
        let flat: Vec<i64> = ids.iter().flat_map(|row| row.as_ref()).map(|&id| i64::from(id)).collect();
        let flat = Tensor::<1, Int>::from_data(TensorData::new(flat, [b * t]), &device);
        let tokens = self.token_embedding.clone().select(0, flat).reshape([b, t, e]);
        let positions = self.position_embedding.clone().narrow(0, 0, t).reshape([1, t, e]);
        Ok(self.final_layer_norm.forward(self.encoder.forward(tokens + positions, Mask::Causal)))
    }

    /// The hidden state that stands for each whole text: the one at its end token.
    ///
    /// # Shapes
    /// - `hidden`: `[B, T, E]`, of [`forward`](Self::forward)
    /// - `ids`: the rows that it was computed from
    /// - returns `[B, E]`
    pub fn pool(&self, hidden: Tensor<3>, ids: &[impl AsRef<[u32]>]) -> Tensor<2> {
        let [b, t, e] = hidden.dims();
        let rows = ids.iter().enumerate();
        let ends = rows.map(|(row, ids)| (row * t + self.end(ids.as_ref())) as i64).collect::<Vec<_>>();
        let ends = Tensor::<1, Int>::from_data(TensorData::new(ends, [b]), &hidden.device());
        hidden.reshape([b * t, e]).select(0, ends)
    }

    /// Where a text ends: the first end token, or the first of the largest ids; 0 if there is none.
    ///
    /// Source: `CLIPTextModel.forward`, transformers 5.23, both branches.
    fn end(&self, ids: &[u32]) -> usize {
        let end_token = match self.config.eos_token_id {
            2 => ids.iter().copied().max(),
            id => Some(id),
        };
        ids.iter().position(|&id| Some(id) == end_token).unwrap_or(0)
    }

    /// B and T.
    fn check(&self, ids: &[impl AsRef<[u32]>]) -> Result<(usize, usize)> {
        let t = ids.first().map_or(0, |row| row.as_ref().len());
        let max = self.config.max_position_embeddings;
        if t == 0 || t > max {
            return Err(Error::Shape(format!("rows of {t} token ids: expected 1 to {max}")));
        }
        for row in ids {
            let row = row.as_ref();
            if row.len() != t {
                return Err(Error::Shape(format!("rows of {t} and {} token ids in one batch", row.len())));
            }
            if let Some(id) = row.iter().find(|&&id| id as usize >= self.config.vocab_size) {
                let size = self.config.vocab_size;
                return Err(Error::Shape(format!("token id {id} is not below vocab_size = {size}")));
            }
        }
        Ok((ids.len(), t))
    }
}

impl Parameters for TextTransformer {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        let embeddings = format!("{prefix}embeddings");
        Ok(Self {
            token_embedding: map
                .map(&format!("{embeddings}.token_embedding.weight"), self.token_embedding)?,
            position_embedding: map
                .map(&format!("{embeddings}.position_embedding.weight"), self.position_embedding)?,
            encoder: self.encoder.map_parameters(&format!("{prefix}encoder"), map)?,
            final_layer_norm: self
                .final_layer_norm
                .map_parameters(&format!("{prefix}final_layer_norm"), map)?,
            config: self.config,
        })
    }
}

/// The text tower with its projection into the space that it shares with images.
#[derive(Debug, Clone)]
pub struct TextEncoder {
    text_model: TextTransformer,
    text_projection: Linear,
}

impl TextEncoder {
    /// The tower of `config` and its projection to `projection_dim`.
    ///
    /// # Errors
    /// As [`TextTransformer::from_weights`].
    pub fn from_weights(
        config: &TextConfig,
        projection_dim: usize,
        weights: &Weights,
        options: &TensorCreationOptions,
    ) -> Result<Self> {
        let text_projection = Linear::without_bias(config.hidden_size, projection_dim, options);
        Ok(Self {
            text_model: TextTransformer::from_weights(config, weights, options)?,
            text_projection: text_projection
                .load(|name, shape| weights.get_f32(&format!("text_projection{name}"), shape))?,
        })
    }

    /// The tower.
    pub fn text_model(&self) -> &TextTransformer {
        &self.text_model
    }

    /// Features, not normalised: B rows of T ids to `[B, projection_dim]`.
    ///
    /// # Errors
    /// As [`TextTransformer::forward`].
    pub fn forward(&self, ids: &[impl AsRef<[u32]>]) -> Result<Tensor<2>> {
        let hidden = self.text_model.forward(ids)?;
        Ok(self.text_projection.forward(self.text_model.pool(hidden, ids)))
    }
}
