//! CLIP: how well a picture fits a text, and the features that aesthetic heads score.
//!
//! [`Clip`] is a model folder with both towers: start there. [`text`] alone is Stable Diffusion's text encoder.
//! [`preprocess`] and [`image_file`] do to pictures what transformers and Pillow do; [`aesthetic`] and
//! [`pick_score`] are what is computed from features.

pub mod aesthetic;
pub mod config;
mod encoder;
pub mod image_file;
pub mod pick_score;
pub mod preprocess;
mod resample;
pub mod text;
pub mod tokenizer;
pub mod vision;

use std::sync::OnceLock;

use burn::tensor::{DType, Tensor, TensorCreationOptions, TensorData};
use image::RgbImage;
use rayon::prelude::*;

use self::config::ClipConfig;
use self::preprocess::Preprocessing;
use self::text::TextEncoder;
use self::tokenizer::ClipTokenizer;
use self::vision::VisionEncoder;
use crate::error::{Error, Result};
use crate::model_source::ModelFiles;
use crate::nn;
use crate::weights::Weights;

/// Pictures that go through the tower together: bounds memory, changes no feature by more than rounding.
const IMAGES_PER_BATCH: usize = 8;
/// Texts that go through the tower together.
const TEXTS_PER_BATCH: usize = 16;

/// A CLIP model: pictures and texts to unit vectors in one space.
pub struct Clip {
    config: ClipConfig,
    tokenizer: ClipTokenizer,
    preprocessing: Preprocessing,
    text: TextEncoder,
    vision: VisionEncoder,
    logit_scale: f32,
    options: TensorCreationOptions,
    /// Kept for its hash: a map of the files, no memory of its own.
    weights: Weights,
    sha256: OnceLock<String>,
}

impl Clip {
    /// Opens a folder in the layout of transformers' `CLIPModel`: `config.json` and weights; tokenizer files and
    /// `preprocessor_config.json` where they differ from OpenAI's. `options` are where and in what to compute.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Tensor`] naming what is missing, truncated or of another shape;
    /// [`Error::Config`] naming the key of an impossible value.
    pub fn open(files: &ModelFiles, options: &TensorCreationOptions) -> Result<Self> {
        let config = ClipConfig::from_json(&files.read("config.json")?, &files.path("config.json"))?;
        let tokenizer = ClipTokenizer::open(files)?.with_context_length(config.text.max_position_embeddings);
        let preprocessing = Preprocessing::open(files, config.vision.image_size)?;
        let weights = files.weights()?;
        let dim = config.projection_dim;
        Ok(Self {
            text: TextEncoder::from_weights(&config.text, dim, &weights, options)?,
            vision: VisionEncoder::from_weights(&config.vision, dim, &weights, options)?,
            logit_scale: weights.get_f32("logit_scale", &[])?[0],
            options: options.clone(),
            sha256: OnceLock::new(),
            config,
            tokenizer,
            preprocessing,
            weights,
        })
    }

    /// The feature of each picture, of length 1: as many numbers as the config's `projection_dim`.
    ///
    /// # Errors
    /// [`Error::Shape`] if a picture has no pixels; [`Error::NotFinite`] if the model gives no numbers.
    pub fn encode_images(&self, images: &[RgbImage]) -> Result<Vec<Vec<f32>>> {
        let size = self.config.vision.image_size;
        let mut features = Vec::with_capacity(images.len());
        for batch in images.chunks(IMAGES_PER_BATCH) {
            let pixel_values: Result<Vec<Vec<f32>>> =
                batch.par_iter().map(|image| self.preprocessing.pixel_values(image)).collect();
            let data = TensorData::new(pixel_values?.concat(), [batch.len(), 3, size, size]);
            let pixel_values = Tensor::from_data(data, self.options.clone());
            features.extend(self.unit_rows(self.vision.forward(pixel_values)?, "image")?);
        }
        Ok(features)
    }

    /// The feature of each text, of length 1. A text of more than 77 tokens is cut.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] for a text of over [`tokenizer::MAX_TEXT_BYTES`]; [`Error::Shape`] if the folder's
    /// tokenizer has ids that the model has not; [`Error::NotFinite`] if the model gives no numbers.
    pub fn encode_texts(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let mut features = Vec::with_capacity(texts.len());
        for batch in texts.chunks(TEXTS_PER_BATCH) {
            let ids: Result<Vec<Vec<u32>>> =
                batch.iter().map(|text| Ok(self.tokenizer.encode(text)?.ids)).collect();
            features.extend(self.unit_rows(self.text.forward(&ids?)?, "text")?);
        }
        Ok(features)
    }

    /// The checkpoint's parameter of that name. Cosines are multiplied by its exponential, about 100, where
    /// probabilities or a [`pick_score`] are wanted.
    pub fn logit_scale(&self) -> f32 {
        self.logit_scale
    }

    /// The model's shape.
    pub fn config(&self) -> &ClipConfig {
        &self.config
    }

    /// The tokenizer, to see how a text is cut.
    pub fn tokenizer(&self) -> &ClipTokenizer {
        &self.tokenizer
    }

    /// What is done to pictures first.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    /// The text tower and its projection.
    pub fn text(&self) -> &TextEncoder {
        &self.text
    }

    /// The image tower and its projection.
    pub fn vision(&self) -> &VisionEncoder {
        &self.vision
    }

    /// SHA-256 of the weights, in hexadecimal. The first call reads all of them.
    pub fn sha256(&self) -> &str {
        self.sha256.get_or_init(|| self.weights.sha256())
    }

    /// Each row scaled to length 1.
    fn unit_rows(&self, features: Tensor<2>, what: &str) -> Result<Vec<Vec<f32>>> {
        let values = nn::values(features.cast(DType::F32))?;
        values.chunks_exact(self.config.projection_dim).map(|row| unit(row, what)).collect()
    }
}

fn unit(feature: &[f32], what: &str) -> Result<Vec<f32>> {
    let norm = dot(feature, feature).sqrt();
    if !norm.is_finite() || norm == 0.0 {
        return Err(Error::NotFinite(format!("the {what} feature has length {norm}")));
    }
    Ok(feature.iter().map(|&x| (f64::from(x) / norm) as f32).collect())
}

/// The cosine of two features of length 1, as [`Clip`] returns them.
///
/// # Errors
/// [`Error::Shape`] if they differ in length.
pub fn cosine(a: &[f32], b: &[f32]) -> Result<f32> {
    if a.len() != b.len() {
        return Err(Error::Shape(format!("features of {} and {} numbers", a.len(), b.len())));
    }
    Ok(dot(a, b) as f32)
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}
