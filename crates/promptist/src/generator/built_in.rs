//! Our own Stable Diffusion as a [`Generator`]: one request at a time, images by seed.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use burn::tensor::{DType, Device};
use image::RgbImage;

use super::{Cancel, Generator, GeneratorIdentity, ImageRequest};
use crate::diffusion::folder::DiffusionFolder;
use crate::diffusion::noise::Noise;
use crate::diffusion::pipeline::{Drawing, StableDiffusion};
use crate::error::Result;
use crate::progress::{NoProgress, Progress};

/// A Stable Diffusion model in this process.
pub struct BuiltIn {
    model: Mutex<StableDiffusion>,
    identity: GeneratorIdentity,
}

impl BuiltIn {
    /// Opens the model in `folder`, which the user calls `name`. Reads every byte of it, for its identity.
    ///
    /// # Errors
    /// As [`StableDiffusion::open`] and [`DiffusionFolder::sha256`].
    pub fn open(name: &str, folder: &Path, device: &Device, dtype: DType) -> Result<Self> {
        let model = StableDiffusion::open(folder, device, dtype)?;
        let weights = DiffusionFolder::open(folder)?.sha256()?;
        let dtype = format!("{dtype:?}").to_lowercase();
        Ok(Self {
            model: Mutex::new(model),
            identity: GeneratorIdentity {
                name: name.to_owned(),
                model: format!("{weights} {dtype}"),
                takes_seeds: true,
            },
        })
    }

    /// [`generate`](Generator::generate), saying how far it is.
    ///
    /// # Errors
    /// As [`StableDiffusion::generate`].
    pub fn generate_with_progress(
        &self,
        request: &ImageRequest<'_>,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Vec<RgbImage>> {
        // A request that panicked left nothing half done in a model that holds no state.
        let model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        let noise = Noise::Seeds(request.seeds.to_vec());
        let drawing = Drawing { prompt: request.prompt, noise: &noise, settings: request.settings };
        model.generate(drawing, progress, cancel)
    }
}

impl Generator for BuiltIn {
    fn identity(&self) -> &GeneratorIdentity {
        &self.identity
    }

    fn parallelism(&self) -> usize {
        1
    }

    fn generate(&self, request: &ImageRequest<'_>, cancel: &Cancel) -> Result<Vec<RgbImage>> {
        self.generate_with_progress(request, &NoProgress, cancel)
    }
}
