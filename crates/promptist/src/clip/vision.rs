//! CLIP's image tower: pixel values to the one feature of a picture. Pixel values come from
//! [`super::preprocess`].

use burn::tensor::{Tensor, TensorCreationOptions};

use super::config::VisionConfig;
use super::encoder::{BlockSizes, Encoder};
use crate::error::{Error, Result};
use crate::nn::{LayerNorm, Linear, Mask, ParameterMap, Parameters};
use crate::weights::Weights;

/// What whole models put before the names of the image tower.
const PREFIX: &str = "vision_model.";

/// The image tower without its projection.
#[derive(Debug, Clone)]
pub struct VisionTransformer {
    config: VisionConfig,
    /// `[E]`: goes before the patches, and its last state stands for the picture.
    class_embedding: Tensor<1>,
    /// `[E, 3, patch, patch]`: a convolution whose stride is its size.
    patch_embedding: Tensor<4>,
    /// `[1 + grid², E]`.
    position_embedding: Tensor<2>,
    /// Spelled so in every checkpoint.
    pre_layrnorm: LayerNorm,
    encoder: Encoder,
    post_layernorm: LayerNorm,
}

impl VisionTransformer {
    fn zeros(config: &VisionConfig, options: &TensorCreationOptions) -> Self {
        let (width, patch, channels) = (config.hidden_size, config.patch_size, config.num_channels);
        let sizes = BlockSizes {
            layers: config.num_hidden_layers,
            width,
            inner: config.intermediate_size,
            heads: config.num_attention_heads,
            act: config.hidden_act,
            epsilon: config.layer_norm_eps,
        };
        let norm = || LayerNorm::zeros(width, config.layer_norm_eps, options);
        let positions = 1 + config.grid() * config.grid();
        Self {
            class_embedding: Tensor::zeros([width], options.clone()),
            patch_embedding: Tensor::zeros([width, channels, patch, patch], options.clone()),
            position_embedding: Tensor::zeros([positions, width], options.clone()),
            pre_layrnorm: norm(),
            encoder: Encoder::zeros(&sizes, options),
            post_layernorm: norm(),
            config: config.clone(),
        }
    }

    /// The last hidden state, before any final norm.
    ///
    /// # Shapes
    /// - `pixel_values`: `[B, 3, H, W]`, normalised, H and W the config's `image_size`
    /// - returns `[B, 1 + grid², E]`
    ///
    /// # Errors
    /// [`Error::Shape`] if `pixel_values` has another shape.
    pub fn forward(&self, pixel_values: Tensor<4>) -> Result<Tensor<3>> {
        let [b, c, h, w] = pixel_values.dims();
        let (size, patch, grid) = (self.config.image_size, self.config.patch_size, self.config.grid());
        if [c, h, w] != [self.config.num_channels, size, size] {
            return Err(Error::Shape(format!("pixel values of {c}x{h}x{w}: expected 3x{size}x{size}")));
        }
        let e = self.config.hidden_size;
        // Each patch is a row: the convolution is one product.
        let side = grid * patch;
        let patches = pixel_values.narrow(2, 0, side).narrow(3, 0, side);
        let patches = patches.reshape([b, c, grid, patch, grid, patch]).permute([0, 2, 4, 1, 3, 5]);
        let patches = patches.reshape([b * grid * grid, c * patch * patch]);
        let kernel = self.patch_embedding.clone().reshape([e, c * patch * patch]);
        let patches = patches.matmul(kernel.transpose()).reshape([b, grid * grid, e]);

        let class = self.class_embedding.clone().reshape([1, 1, e]).expand([b, 1, e]);
        let x = Tensor::cat(vec![class, patches], 1) + self.position_embedding.clone().unsqueeze_dim::<3>(0);
        Ok(self.encoder.forward(self.pre_layrnorm.forward(x), Mask::Full))
    }

    /// The state that stands for each picture: the first, normed.
    ///
    /// # Shapes
    /// - `hidden`: `[B, 1 + grid², E]`, of [`forward`](Self::forward)
    /// - returns `[B, E]`
    pub fn pool(&self, hidden: Tensor<3>) -> Tensor<2> {
        self.post_layernorm.forward(hidden.narrow(1, 0, 1).squeeze_dim::<2>(1))
    }
}

impl Parameters for VisionTransformer {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        let embeddings = format!("{prefix}embeddings");
        Ok(Self {
            class_embedding: map.map(&format!("{embeddings}.class_embedding"), self.class_embedding)?,
            patch_embedding: map
                .map(&format!("{embeddings}.patch_embedding.weight"), self.patch_embedding)?,
            position_embedding: map
                .map(&format!("{embeddings}.position_embedding.weight"), self.position_embedding)?,
            pre_layrnorm: self.pre_layrnorm.map_parameters(&format!("{prefix}pre_layrnorm"), map)?,
            encoder: self.encoder.map_parameters(&format!("{prefix}encoder"), map)?,
            post_layernorm: self.post_layernorm.map_parameters(&format!("{prefix}post_layernorm"), map)?,
            config: self.config,
        })
    }
}

/// The image tower with its projection into the space that it shares with texts.
#[derive(Debug, Clone)]
pub struct VisionEncoder {
    vision_model: VisionTransformer,
    visual_projection: Linear,
}

impl VisionEncoder {
    /// The tower of `config` and its projection to `projection_dim`.
    ///
    /// # Errors
    /// [`Error::Tensor`] naming what is missing or of another shape.
    pub fn from_weights(
        config: &VisionConfig,
        projection_dim: usize,
        weights: &Weights,
        options: &TensorCreationOptions,
    ) -> Result<Self> {
        let read = |prefix: &'static str| {
            move |name: &str, shape: &[usize]| weights.get_f32(&format!("{prefix}{name}"), shape)
        };
        let visual_projection = Linear::without_bias(config.hidden_size, projection_dim, options);
        Ok(Self {
            vision_model: VisionTransformer::zeros(config, options).load(read(PREFIX))?,
            visual_projection: visual_projection.load(read("visual_projection"))?,
        })
    }

    /// The tower.
    pub fn vision_model(&self) -> &VisionTransformer {
        &self.vision_model
    }

    /// Features, not normalised: `[B, 3, H, W]` to `[B, projection_dim]`.
    ///
    /// # Errors
    /// As [`VisionTransformer::forward`].
    pub fn forward(&self, pixel_values: Tensor<4>) -> Result<Tensor<2>> {
        let hidden = self.vision_model.forward(pixel_values)?;
        Ok(self.visual_projection.forward(self.vision_model.pool(hidden)))
    }
}
