//! Images from given latents against diffusers' pipeline, and what an image does not depend on.
//!
//! Golden files: `tools/reference/tiny_diffusion.py` and `pipeline.py`. The model folders are diffusers' own, each
//! component saved in another way.

#![allow(clippy::print_stdout)] // --nocapture shows the errors seen

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use burn::tensor::{DType, Device};
use common::{golden, golden_json};
use image::RgbImage;
use promptist::Error;
use promptist::diffusion::noise::{GivenNoise, Noise};
use promptist::diffusion::pipeline::{Drawing, StableDiffusion};
use promptist::generator::built_in::BuiltIn;
use promptist::generator::{Cancel, Generator, ImageRequest, ImageSettings};
use promptist::progress::{NoProgress, Progress};
use serde::Deserialize;

/// Levels of 255 by which a byte of an image may differ from diffusers' in f32. Seen on flex: 1, where rounding
/// falls on the other side.
const MAX_TOLERANCE: u8 = 2;
/// The mean over an image's bytes. Seen on flex: 9e-4.
const MEAN_TOLERANCE: f64 = 0.01;

/// Levels of 255 on average between an image with a UNet in f16 and one in f32. Seen on flex: 0.38.
const F16_MEAN_TOLERANCE: f64 = 0.5;
/// The same with bf16, which has three bits less. Seen on flex: 3.9.
const BF16_MEAN_TOLERANCE: f64 = 8.0;

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    model: String,
    /// By which name the scheduler is asked for, if it is not the folder's own.
    asked: Option<String>,
    prompt: String,
    negative_prompt: String,
    guidance_scale: f64,
    num_inference_steps: usize,
    height: usize,
    width: usize,
    batch: usize,
}

impl Case {
    fn settings(&self) -> ImageSettings {
        ImageSettings {
            negative_prompt: self.negative_prompt.clone(),
            width: self.width,
            height: self.height,
            num_inference_steps: self.num_inference_steps,
            guidance_scale: self.guidance_scale,
            scheduler: self.asked.clone(),
        }
    }
}

#[test]
fn images_equal_diffusers() {
    let Cases { cases } = golden_json("pipeline/cases.json");
    assert_eq!(cases.len(), 14);
    for case in &cases {
        let folder = golden("pipeline").join(&case.name);
        let model = with_scheduler(&case.model, &folder.join("scheduler_config.json"));
        let noise = GivenNoise::read(&folder.join("latents.safetensors")).expect("latents");
        let noise = Noise::Given(noise);
        assert_eq!(noise.len(), case.batch);
        for (device_name, device) in common::devices() {
            let pipeline = open(model.path(), &device);
            let images = generate(&pipeline, &case.prompt, &noise, &case.settings());
            for (idx, image) in images.iter().enumerate() {
                let expected = image::open(folder.join(format!("{idx}.png"))).expect("a picture").into_rgb8();
                let (max, mean) = difference(image, &expected);
                println!("{device_name} {} {idx}: max {max}, mean {mean:.4}", case.name);
                assert!(max <= MAX_TOLERANCE && mean <= MEAN_TOLERANCE, "{device_name} {}", case.name);
            }
        }
    }
}

#[test]
fn an_image_depends_on_its_seed_and_not_on_the_images_beside_it() {
    let settings = settings();
    for model in ["diffusion_v1", "diffusion_v2"] {
        let one_by_one = open(&golden(model), &Device::flex());
        let seeds = Noise::Seeds(vec![5, 6, 5, 7]);
        let images = generate(&one_by_one, "a cat", &seeds, &settings);
        assert_eq!(images[0], images[2]);
        for (idx, seed) in [(0, 5), (1, 6), (3, 7)] {
            let alone = generate(&one_by_one, "a cat", &Noise::Seeds(vec![seed]), &settings);
            assert_eq!(alone, images[idx..=idx]);
        }
        assert!(difference(&images[0], &images[1]).0 > MAX_TOLERANCE);

        let three_at_once = open(&golden(model), &Device::flex()).with_images_at_once(3);
        for (alone, in_batch) in images.iter().zip(generate(&three_at_once, "a cat", &seeds, &settings)) {
            let (max, mean) = difference(alone, &in_batch);
            println!("{model} in a batch of 3: max {max}, mean {mean:.4}");
            assert!(max <= 1 && mean < 0.1);
        }
    }
}

/// So that a comparison which passes says something: prompts, negative prompts, guidance and samplers all show.
#[test]
fn an_image_depends_on_everything_that_is_asked() {
    let pipeline = open(&golden("diffusion_v1"), &Device::flex());
    let noise = Noise::Seeds(vec![1]);
    let base = &generate(&pipeline, "a cat", &noise, &settings())[0];
    let other = |prompt: &str, change: fn(&mut ImageSettings)| {
        let mut settings = settings();
        change(&mut settings);
        let image = &generate(&pipeline, prompt, &noise, &settings)[0];
        let (max, _) = difference(base, image);
        assert!(max > MAX_TOLERANCE, "{prompt} {settings:?}: {max}");
    };
    other("the dog", |_| {});
    other("a cat", |settings| settings.negative_prompt = "the dog".into());
    other("a cat", |settings| settings.guidance_scale = 1.0);
    other("a cat", |settings| settings.guidance_scale = 3.0);
    other("a cat", |settings| settings.num_inference_steps = 7);
    other("a cat", |settings| settings.scheduler = Some("ddim".into()));
    other("a cat", |settings| settings.scheduler = Some("euler".into()));
}

/// f16 and bf16 are the UNet's alone; its weights are numbers of f16, so this is what its arithmetic loses.
#[test]
fn half_precision_stays_near_f32() {
    let settings = ImageSettings { num_inference_steps: 10, ..settings() };
    let noise = Noise::Seeds(vec![11]);
    for (device_name, device) in common::devices() {
        let open = |dtype| StableDiffusion::open(&golden("diffusion_v2"), &device, dtype).expect("a model");
        let expected = &generate(&open(DType::F32), "a cat", &noise, &settings)[0];
        for (dtype, tolerance) in [(DType::F16, F16_MEAN_TOLERANCE), (DType::BF16, BF16_MEAN_TOLERANCE)] {
            let image = &generate(&open(dtype), "a cat", &noise, &settings)[0];
            let (max, mean) = difference(image, expected);
            println!("{device_name} {dtype:?}: max {max}, mean {mean:.3}");
            assert!(mean > 0.0 && mean <= tolerance, "{device_name} {dtype:?}: {mean}");
        }
    }
    let refused = StableDiffusion::open(&golden("diffusion_v2"), &Device::flex(), DType::F64);
    assert!(matches!(refused, Err(Error::Config { .. })));
}

#[test]
fn the_scheduler_that_we_lack_is_told_and_replaced() {
    let pipeline = open(&golden("diffusion_v1"), &Device::flex());
    assert_eq!(pipeline.replaced_scheduler(), Some("PNDMScheduler"));
    let noise = Noise::Seeds(vec![3]);
    let by_name = ImageSettings { scheduler: Some("dpm++".into()), ..settings() };
    assert_eq!(
        generate(&pipeline, "a cat", &noise, &settings()),
        generate(&pipeline, "a cat", &noise, &by_name)
    );
    assert_eq!(open(&golden("diffusion_v2"), &Device::flex()).replaced_scheduler(), None);
}

#[test]
fn impossible_settings_are_named() {
    let pipeline = open(&golden("diffusion_v1"), &Device::flex());
    let refuse = |key: &str, change: fn(&mut ImageSettings)| {
        let mut settings = settings();
        change(&mut settings);
        let noise = Noise::Seeds(vec![1]);
        let drawing = Drawing { prompt: "a cat", noise: &noise, settings: &settings };
        let error = pipeline.generate(drawing, &NoProgress, &Cancel::default()).expect_err(key);
        assert!(matches!(&error, Error::Config { key: found, .. } if found == key), "{key}: {error}");
    };
    refuse("width", |settings| settings.width = 63);
    refuse("height", |settings| settings.height = 0);
    refuse("num_inference_steps", |settings| settings.num_inference_steps = 0);
    refuse("guidance_scale", |settings| settings.guidance_scale = f64::NAN);
    refuse("scheduler", |settings| settings.scheduler = Some("pndm".into()));

    let given = GivenNoise::new([1, 4, 2, 3], vec![0.0; 24]).expect("noise");
    let (noise, settings) = (Noise::Given(given), settings());
    let drawing = Drawing { prompt: "a cat", noise: &noise, settings: &settings };
    let error = pipeline.generate(drawing, &NoProgress, &Cancel::default());
    assert!(matches!(error, Err(Error::Shape(_))));
}

#[test]
fn progress_is_told_at_every_step_and_stops_where_it_is_called_off() {
    let pipeline = open(&golden("diffusion_v1"), &Device::flex());
    let flag = Arc::new(AtomicBool::new(false));
    let (noise, settings) = (Noise::Seeds(vec![1, 2]), settings());
    let drawing = Drawing { prompt: "a cat", noise: &noise, settings: &settings };

    let steps = Steps { raise_at: u64::MAX, ..Steps::new(&flag) };
    pipeline.generate(drawing, &steps, &Cancel::following(Arc::clone(&flag))).expect("two images");
    let total = 2 * settings.num_inference_steps as u64;
    assert_eq!(*steps.begun.lock().expect("no panic"), Some(total));
    assert_eq!(steps.done.load(Ordering::Relaxed), total);

    let steps = Steps { raise_at: 5, ..Steps::new(&flag) };
    let error = pipeline.generate(drawing, &steps, &Cancel::following(Arc::clone(&flag)));
    assert!(matches!(error, Err(Error::Interrupted)));
    assert_eq!(steps.done.load(Ordering::Relaxed), 5);
}

#[test]
fn the_generator_makes_the_pipelines_images_and_names_its_model() {
    let open_as = |model: &str, name: &str| {
        BuiltIn::open(name, &golden(model), &Device::flex(), DType::F32).expect("a model")
    };
    let generator = open_as("diffusion_v2", "mine");
    let settings = settings();
    let request = ImageRequest { prompt: "a cat", seeds: &[4, 9], settings: &settings };
    let images = generator.generate(&request, &Cancel::default()).expect("images");
    let pipeline = open(&golden("diffusion_v2"), &Device::flex());
    assert_eq!(images, generate(&pipeline, "a cat", &Noise::Seeds(vec![4, 9]), &settings));

    let identity = generator.identity();
    assert_eq!((identity.name.as_str(), identity.takes_seeds), ("mine", true));
    let again = open_as("diffusion_v2", "another name");
    assert_eq!(identity.model, again.identity().model);
    assert_ne!(identity.model, open_as("diffusion_v1", "mine").identity().model);
}

/// Few and small: these tests are not about quality.
fn settings() -> ImageSettings {
    ImageSettings { width: 32, height: 40, num_inference_steps: 4, ..ImageSettings::default() }
}

fn open(folder: &Path, device: &Device) -> StableDiffusion {
    StableDiffusion::open(folder, device, DType::F32).expect("a model folder")
}

fn generate(
    pipeline: &StableDiffusion,
    prompt: &str,
    noise: &Noise,
    settings: &ImageSettings,
) -> Vec<RgbImage> {
    let drawing = Drawing { prompt, noise, settings };
    pipeline.generate(drawing, &NoProgress, &Cancel::default()).expect("images")
}

/// A copy of a golden model, with another scheduler if there is such a file.
fn with_scheduler(model: &str, scheduler: &Path) -> tempfile::TempDir {
    let folder = common::copy_of_golden(model);
    if scheduler.is_file() {
        std::fs::copy(scheduler, folder.path().join("scheduler/scheduler_config.json")).expect("a copy");
    }
    folder
}

/// The largest and the mean difference of two images' bytes.
#[track_caller]
fn difference(a: &RgbImage, b: &RgbImage) -> (u8, f64) {
    assert_eq!(a.dimensions(), b.dimensions());
    let differences: Vec<u8> = a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| a.abs_diff(*b)).collect();
    let sum: f64 = differences.iter().map(|&d| f64::from(d)).sum();
    (differences.iter().copied().max().unwrap_or(0), sum / differences.len() as f64)
}

/// Counts, and raises a flag after so many steps.
struct Steps {
    begun: Mutex<Option<u64>>,
    done: AtomicU64,
    raise_at: u64,
    flag: Arc<AtomicBool>,
}

impl Steps {
    fn new(flag: &Arc<AtomicBool>) -> Self {
        Self { begun: Mutex::default(), done: AtomicU64::new(0), raise_at: 0, flag: Arc::clone(flag) }
    }
}

impl Progress for Steps {
    fn begin(&self, _stage: &str, total: Option<u64>, _unit: &str) {
        *self.begun.lock().expect("no panic") = total;
    }

    fn advance(&self, n: u64, _note: &str) {
        let done = self.done.fetch_add(n, Ordering::Relaxed) + n;
        if done >= self.raise_at {
            self.flag.store(true, Ordering::Relaxed);
        }
    }

    fn end(&self) {}
}
