//! Our own Stable Diffusion as a [`Generator`]: one request at a time, images by seed.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

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
    /// That another sampler than the folder's is used is said once.
    replacement_told: Once,
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
            replacement_told: Once::new(),
        })
    }

    /// How many tokens `text` has, and how many the model reads: what is beyond is cut.
    ///
    /// # Errors
    /// As [`StableDiffusion::num_tokens`].
    pub fn num_tokens(&self, text: &str) -> Result<(usize, usize)> {
        self.model().num_tokens(text)
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
        let noise = Noise::Seeds(request.seeds.to_vec());
        let drawing = Drawing { prompt: request.prompt, noise: &noise, settings: request.settings };
        self.draw(drawing, progress, cancel)
    }

    /// One image for each noise, be it drawn from seeds or given.
    ///
    /// # Errors
    /// As [`StableDiffusion::generate`].
    pub fn draw(
        &self,
        drawing: Drawing<'_>,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Vec<RgbImage>> {
        let model = self.model();
        if drawing.settings.scheduler.is_none()
            && let Some(class) = model.replaced_scheduler()
        {
            self.replacement_told.call_once(|| {
                tracing::warn!(
                    "{}: its {class} is not one of our samplers: DPM-Solver++ takes its place",
                    self.identity.name,
                );
            });
        }
        model.generate(drawing, progress, cancel)
    }

    fn model(&self) -> MutexGuard<'_, StableDiffusion> {
        // A request that panicked left nothing half done in a model that holds no state.
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
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
