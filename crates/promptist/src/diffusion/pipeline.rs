//! Prompt and noise to images: text encoder, then UNet and sampler in turn, then VAE.

use std::ops::Range;
use std::path::Path;

use burn::tensor::{DType, Device, Tensor, TensorCreationOptions, TensorData};
use image::RgbImage;

use super::folder::DiffusionFolder;
use super::noise::Noise;
use super::scheduler::{Scheduler, SchedulerConfig, SchedulerKind};
use super::unet::Unet;
use super::vae::VaeDecoder;
use crate::clip::text::TextTransformer;
use crate::clip::tokenizer::ClipTokenizer;
use crate::error::{Error, Result};
use crate::generator::{Cancel, ImageSettings};
use crate::nn;
use crate::progress::Progress;

/// Cells of latents beyond which guidance asks the UNet twice, since a batch of both takes twice the memory: an
/// image of 1024x1024, or four of 512x512.
const MAX_GUIDED_CELLS: usize = 128 * 128;

/// A Stable Diffusion model, ready to make images.
///
/// The UNet computes in the dtype that was asked for; the text encoder, the sampler, guidance and the VAE in f32,
/// which the VAE of 1.x needs: its activations overflow f16.
pub struct StableDiffusion {
    device: Device,
    tokenizer: ClipTokenizer,
    text_encoder: TextTransformer,
    unet: Unet,
    vae: VaeDecoder,
    scheduler: SchedulerConfig,
    images_at_once: usize,
    /// [`MAX_GUIDED_CELLS`], but for a test.
    max_guided_cells: usize,
}

/// What [`StableDiffusion::generate`] makes images of.
#[derive(Debug, Clone, Copy)]
pub struct Drawing<'a> {
    /// What to draw.
    pub prompt: &'a str,
    /// An image for each of it.
    pub noise: &'a Noise,
    /// How.
    pub settings: &'a ImageSettings,
}

impl StableDiffusion {
    /// Opens the model in `folder`, in diffusers' layout. `dtype` is the UNet's: f32, f16 or bf16.
    ///
    /// # Errors
    /// As [`DiffusionFolder`]'s methods; [`Error::Tensor`] if weights are missing or of another shape;
    /// [`Error::Config`] for another dtype; [`Error::Shape`] if the components do not fit each other.
    pub fn open(folder: &Path, device: &Device, dtype: DType) -> Result<Self> {
        if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) {
            return Err(Error::config("dtype", format!("must be f32, f16 or bf16, is {dtype:?}")));
        }
        let folder = DiffusionFolder::open(folder)?;
        let f32 = TensorCreationOptions::from((device, DType::F32));
        let scheduler = folder.scheduler()?;
        let tokenizer = folder.tokenizer()?;
        let (config, weights) = folder.text_encoder()?;
        let text_encoder = TextTransformer::from_weights(&config, &weights, &f32)?;
        let (config, weights) = folder.vae()?;
        let vae = VaeDecoder::from_weights(&config, &weights, &f32)?;
        let (config, weights) = folder.unet()?;
        let unet = Unet::from_weights(&config, &weights, &(device, dtype).into())?;
        let model = Self {
            device: device.clone(),
            tokenizer,
            text_encoder,
            unet,
            vae,
            scheduler,
            images_at_once: 1,
            max_guided_cells: MAX_GUIDED_CELLS,
        };
        model.check_fit()?;
        Ok(model)
    }

    /// The same, denoising up to so many images in one batch, at least 1. More are no faster on a CPU, and cost
    /// memory everywhere.
    pub fn with_images_at_once(self, images_at_once: usize) -> Self {
        Self { images_at_once: images_at_once.max(1), ..self }
    }

    /// The class of the folder's scheduler, if it is one that we lack: DPM-Solver++ takes its place, with its noise
    /// and the settings of the released reward.
    pub fn replaced_scheduler(&self) -> Option<&str> {
        self.scheduler.kind().is_none().then_some(self.scheduler.class_name.as_str())
    }

    /// The sampler that `settings` mean. By name, Euler and DDIM keep what the folder's file says of them;
    /// DPM-Solver++ does if the file is its own, and otherwise has the settings of the released reward.
    ///
    /// # Errors
    /// [`Error::Config`] for an unknown name, or settings that we lack.
    pub fn scheduler(&self, settings: &ImageSettings) -> Result<Scheduler> {
        let own = self.scheduler.kind();
        let asked = settings.scheduler.as_deref().map(str::parse).transpose()?;
        let kind = asked.or(own).unwrap_or(SchedulerKind::DpmSolverMultistep);
        let config = match kind {
            SchedulerKind::DpmSolverMultistep if own != Some(kind) => &self.scheduler.for_reward(),
            _ => &self.scheduler,
        };
        Scheduler::new(kind, config, settings.num_inference_steps)
    }

    /// How many tokens `text` has, start and end included, and how many the model reads: what is beyond is cut.
    ///
    /// # Errors
    /// As [`ClipTokenizer::encode`].
    pub fn num_tokens(&self, text: &str) -> Result<(usize, usize)> {
        let row = self.tokenizer.encode(text)?;
        Ok((row.num_tokens, row.ids.len()))
    }

    /// One image for each noise, in their order. An image depends on the prompt, its own noise and the settings,
    /// not on the images beside it.
    ///
    /// Progress is in steps of images. `cancel` is asked between two steps.
    ///
    /// # Errors
    /// [`Error::Config`] for impossible settings; [`Error::Shape`] if given noise does not fit them;
    /// [`Error::NotFinite`] if an image came out as no numbers; [`Error::Interrupted`]; as [`ClipTokenizer::encode`].
    pub fn generate(
        &self,
        drawing: Drawing<'_>,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Vec<RgbImage>> {
        let plan = self.plan(drawing.prompt, drawing.settings)?;
        let len = drawing.noise.len();
        progress.begin("images", Some((plan.scheduler.num_steps() * len) as u64), "steps");
        let batches = (0..len).step_by(self.images_at_once).map(|start| {
            let rows = start..len.min(start + self.images_at_once);
            let latents = self.first_latents(&plan, drawing.noise, rows)?;
            self.draw(&plan, latents, progress, cancel)
        });
        let images: Result<Vec<_>> = batches.collect();
        progress.end();
        Ok(images?.concat())
    }

    fn plan(&self, prompt: &str, settings: &ImageSettings) -> Result<Plan> {
        let guidance = Guidance::of(settings);
        Ok(Plan {
            size: self.latent_size(settings)?,
            scheduler: self.scheduler(settings)?,
            guidance,
            text: self.encode(prompt, settings, guidance)?,
        })
    }

    /// Images from their first latents, `[B, C, h, w]`.
    fn draw(
        &self,
        plan: &Plan,
        mut latents: Tensor<4>,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Vec<RgbImage>> {
        let [b, ..] = latents.dims();
        let mut scheduler = plan.scheduler.clone();
        for step_idx in 0..scheduler.num_steps() {
            cancel.check()?;
            let input = scheduler.scale_model_input(latents.clone(), step_idx);
            let noise_pred = self.predict(plan, input, scheduler.timestep(step_idx))?;
            latents = scheduler.step(noise_pred, step_idx, latents);
            progress.advance(b as u64, "");
        }
        let pictures = (0..b).map(|row| {
            cancel.check()?;
            self.decode(latents.clone().narrow(0, row, 1))
        });
        pictures.collect()
    }

    /// Height and width of the latents.
    fn latent_size(&self, settings: &ImageSettings) -> Result<[usize; 2]> {
        settings.check()?;
        let factor = self.vae.config().scale_factor();
        for (key, pixels) in [("height", settings.height), ("width", settings.width)] {
            if !pixels.is_multiple_of(factor) {
                let rule = format!("must be a multiple of {factor} for this model, found {pixels}");
                return Err(Error::config(key, rule));
            }
        }
        Ok([settings.height / factor, settings.width / factor])
    }

    /// [`Plan::text`].
    fn encode(&self, prompt: &str, settings: &ImageSettings, guidance: Guidance) -> Result<Tensor<3>> {
        let texts = match guidance {
            Guidance::None => vec![prompt],
            Guidance::Scale(_) => vec![&settings.negative_prompt, prompt],
        };
        let mut rows = Vec::with_capacity(texts.len());
        for text in texts {
            let row = self.tokenizer.encode(text)?;
            if row.num_tokens > row.ids.len() {
                tracing::debug!(tokens = row.num_tokens, limit = row.ids.len(), "the text is cut");
            }
            rows.push(row.ids);
        }
        self.text_encoder.forward(&rows)
    }

    /// `[rows, C, h, w]`, f32.
    fn first_latents(&self, plan: &Plan, noise: &Noise, rows: Range<usize>) -> Result<Tensor<4>> {
        let [h, w] = plan.size;
        let c = self.vae.config().latent_channels;
        let shape = [rows.len(), c, h, w];
        let mut values = Vec::with_capacity(shape.iter().product());
        for row in rows {
            values.extend(noise.row(row, [c, h, w])?);
        }
        let options = (&self.device, DType::F32);
        Ok(Tensor::from_data(TensorData::new(values, shape), options) * plan.scheduler.init_noise_sigma())
    }

    /// What the UNet predicts, guided.
    ///
    /// # Shapes
    /// - `latents`: `[B, C, h, w]`
    /// - returns `[B, C, h, w]`, f32
    fn predict(&self, plan: &Plan, latents: Tensor<4>, timestep: f64) -> Result<Tensor<4>> {
        let [b, _, h, w] = latents.dims();
        let rows = |text: Tensor<3>| text.repeat_dim(0, b); // [1, T, E] to [B, T, E]
        let Guidance::Scale(scale) = plan.guidance else {
            return self.unet.forward(latents, timestep, rows(plan.text.clone()));
        };
        let [without, with] = [0, 1].map(|row| rows(plan.text.clone().narrow(0, row, 1)));
        let [without, with] = if b * h * w > self.max_guided_cells {
            [
                self.unet.forward(latents.clone(), timestep, without)?,
                self.unet.forward(latents, timestep, with)?,
            ]
        } else {
            let latents = Tensor::cat(vec![latents.clone(), latents], 0); // [2 B, C, h, w]
            let both = self.unet.forward(latents, timestep, Tensor::cat(vec![without, with], 0))?;
            [both.clone().narrow(0, 0, b), both.narrow(0, b, b)]
        };
        Ok(without.clone() + (with - without) * scale)
    }

    /// One image's latents, `[1, C, h, w]`, as a picture.
    fn decode(&self, latents: Tensor<4>) -> Result<RgbImage> {
        let picture = self.vae.decode(latents)?;
        let [_, _, height, width] = picture.dims();
        to_image(&nn::values(picture)?, height, width)
    }

    fn check_fit(&self) -> Result<()> {
        let (unet, text) = (self.unet.config(), self.text_encoder.config());
        let channels = self.vae.config().latent_channels;
        if (unet.in_channels, unet.out_channels) != (channels, channels) {
            let found = [unet.in_channels, unet.out_channels];
            let rule = format!("the UNet takes and gives {found:?} channels, the VAE has {channels}");
            return Err(Error::Shape(rule));
        }
        if unet.cross_attention_dim != text.hidden_size {
            let found = text.hidden_size;
            let rule = format!("the text is {found} wide, the UNet expects {}", unet.cross_attention_dim);
            return Err(Error::Shape(rule));
        }
        Ok(())
    }
}

/// What all images of a drawing share.
struct Plan {
    /// Height and width of the latents.
    size: [usize; 2],
    /// Before its first step.
    scheduler: Scheduler,
    guidance: Guidance,
    /// `[1 or 2, T, E]`: the prompt's hidden states last, first those that it is guided away from.
    text: Tensor<3>,
}

/// Classifier-free guidance (Ho and Salimans 2022): away from the negative prompt, towards the prompt.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Guidance {
    /// The prompt alone.
    None,
    /// `without + scale · (with − without)`.
    Scale(f64),
}

impl Guidance {
    /// As diffusers: 1 and less are none.
    fn of(settings: &ImageSettings) -> Self {
        if settings.guidance_scale > 1.0 { Self::Scale(settings.guidance_scale) } else { Self::None }
    }
}

/// A picture of `[3, H, W]` values from -1 to 1, cut to that and rounded to bytes, halves to even as numpy does.
fn to_image(values: &[f32], height: usize, width: usize) -> Result<RgbImage> {
    let pixels = height * width;
    let planes: Vec<&[f32]> = values.chunks_exact(pixels).collect();
    let [red, green, blue] = planes[..] else {
        return Err(Error::Shape(format!("{} values for a picture of {width}x{height}", values.len())));
    };
    if !values.iter().all(|value| value.is_finite()) {
        return Err(Error::NotFinite("the picture: the model's numbers overflowed".into()));
    }
    let to_byte = |value: f32| ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
    let bytes = (0..pixels).flat_map(|idx| [red[idx], green[idx], blue[idx]].map(to_byte)).collect();
    RgbImage::from_raw(width as u32, height as u32, bytes)
        .ok_or_else(|| Error::Shape(format!("no picture of {width}x{height}")))
}

#[cfg(all(test, feature = "flex"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::progress::NoProgress;

    #[test]
    fn guidance_in_two_passes_is_guidance_in_one_batch() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/diffusion_v1");
        let open = || StableDiffusion::open(&folder, &Device::flex(), DType::F32).unwrap();
        let settings = ImageSettings { width: 32, height: 24, num_inference_steps: 3, ..Default::default() };
        let noise = Noise::Seeds(vec![1, 2]);
        let drawing = Drawing { prompt: "a cat", noise: &noise, settings: &settings };
        let images = |model: StableDiffusion| {
            let images = model.with_images_at_once(2).generate(drawing, &NoProgress, &Cancel::default());
            images.unwrap().into_iter().flat_map(RgbImage::into_raw).collect::<Vec<u8>>()
        };
        let one_batch = images(open());
        let two_passes = images(StableDiffusion { max_guided_cells: 0, ..open() });
        assert_eq!(one_batch.len(), two_passes.len());
        // Sums may be cut into other pieces: a level where rounding falls on the other side.
        assert!(one_batch.iter().zip(&two_passes).all(|(a, b)| a.abs_diff(*b) <= 1));
    }

    #[test]
    fn pictures_are_cut_and_rounded_to_bytes() {
        // 0.5/255 and 1.5/255 are halves: both round to even.
        let half = |k: f32| (k + 0.5) / 255.0 * 2.0 - 1.0;
        let image = to_image(&[-1.0, -7.0, 1.0, 3.0, 0.0, half(10.2)], 1, 2).unwrap();
        assert_eq!(image.as_raw(), &[0, 255, 128, 0, 255, 11]);
        assert!(to_image(&[0.0; 5], 1, 2).is_err());
        assert!(matches!(to_image(&[f32::NAN; 3], 1, 1), Err(Error::NotFinite(_))));
        assert!(matches!(to_image(&[f32::INFINITY; 3], 1, 1), Err(Error::NotFinite(_))));
    }
}
