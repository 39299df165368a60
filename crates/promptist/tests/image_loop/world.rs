//! Judges and makers of images that are small and random, but of the real ones' shape.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use image::{Rgb, RgbImage};
use promptist::clip::Clip;
use promptist::clip::aesthetic::AestheticHead;
use promptist::generator::{Generator, ImageSettings};
use promptist::model_source::ModelFiles;
use promptist::reward::ImageReward;
use promptist::reward::image::cache::ImageCache;
use promptist::weights::{TensorInfo, Weights, f32_to_bytes, write_safetensors};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::common::golden;
use crate::fake::{Question, Reply, base64, png};
use crate::tiny_world::STYLES;

/// Width of the features that the released aesthetic head takes: CLIP ViT-L/14's.
const PROJECTION: usize = 768;
/// Pixels that the tiny CLIP looks at, in patches of 16.
const CLIP_PIXELS: usize = 32;

/// How much of the direction that text and pictures share is in every feature.
const SHARED: f32 = 2.0;

/// Everything random is drawn from this.
const SEED: u64 = 11;

/// How images are made: small, and in two steps.
pub fn settings() -> ImageSettings {
    ImageSettings { width: 32, height: 32, num_inference_steps: 2, ..ImageSettings::default() }
}

/// A random CLIP with features as wide as ViT-L/14's, made of a golden one: its towers, looking at fewer pixels, and
/// other projections. Text and pictures have one direction in common, of which every text has the same share, so that
/// cosines lie about where relevance has its knee and are a matter of the picture.
pub fn write_clip(folder: &Path) {
    let from = golden("clip/quick_gelu");
    fs::create_dir_all(folder).expect("a writable folder");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(from.join(name), folder.join(name)).expect("a golden file");
    }
    let edit = |name: &str, change: &dyn Fn(&mut Value)| {
        let text = fs::read_to_string(from.join(name)).expect("a golden file");
        let mut value = serde_json::from_str(&text).expect("JSON");
        change(&mut value);
        fs::write(folder.join(name), value.to_string()).expect("a writable folder");
    };
    edit("config.json", &|config| {
        config["projection_dim"] = json!(PROJECTION);
        config["vision_config"]["image_size"] = json!(CLIP_PIXELS);
    });
    edit("processor_config.json", &|config| {
        let processor = &mut config["image_processor"];
        processor["crop_size"] = json!({"height": CLIP_PIXELS, "width": CLIP_PIXELS});
        processor["size"] = json!({"shortest_edge": CLIP_PIXELS});
    });

    let weights = Weights::open(&from).expect("golden weights");
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let shared: Vec<f32> = (0..PROJECTION).map(|_| rng.random_range(-1.0..1.0)).collect();
    let positions = (CLIP_PIXELS / 16).pow(2) + 1;
    let mut tensors: Vec<(TensorInfo, Vec<f32>)> = Vec::new();
    for name in weights.names() {
        let mut shape = weights.shape(name).expect("its name").to_vec();
        let mut values = weights.get_f32(name, &shape).expect("f32");
        if name.ends_with("_projection.weight") {
            shape[0] = PROJECTION;
            // Apart from the shared direction, text and pictures have nothing in common.
            let own = if name.starts_with("text") { 0..PROJECTION / 2 } else { PROJECTION / 2..PROJECTION };
            let value = |row| if own.contains(&row) { rng.random_range(-1.0..1.0) } else { 0.0 };
            values = (0..PROJECTION).flat_map(|row| vec![row; shape[1]]).map(value).collect();
            for (row, shared) in values.chunks_mut(shape[1]).zip(&shared) {
                row[0] = *shared;
            }
        } else if ["text_model.final_layer_norm.bias", "vision_model.post_layernorm.bias"].contains(&name) {
            values[0] += SHARED;
        } else if name == "text_model.final_layer_norm.weight" {
            values[0] = 0.0;
        } else if name == "vision_model.embeddings.position_embedding.weight" {
            shape[0] = positions;
            values.truncate(positions * shape[1]);
        }
        tensors.push((TensorInfo::f32(name, shape), values));
    }
    let infos: Vec<TensorInfo> = tensors.iter().map(|(info, _)| info.clone()).collect();
    let path = folder.join("model.safetensors");
    write_safetensors(path, &infos, &Default::default(), |info| {
        let (_, values) = tensors.iter().find(|(other, _)| other.name == info.name).expect("its name");
        Ok(f32_to_bytes(values))
    })
    .expect("a writable folder");
}

/// The released head where the data folder is at hand, else a random one of its shape, written into `folder`. Both are
/// a chain of layers from 768 to 1 without activations.
pub fn head(folder: &Path) -> PathBuf {
    let data = std::env::var_os("PROMPTIST_DATA").map(PathBuf::from);
    let data = data.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"));
    let released = data.join("heads/sac+logos+ava1-l14-linearMSE.pth");
    if released.is_file() {
        return released;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut tensors: Vec<(TensorInfo, Vec<f32>)> = Vec::new();
    for (layer, (inputs, outputs)) in
        [(0, (PROJECTION, 1024)), (2, (1024, 128)), (4, (128, 64)), (6, (64, 16)), (7, (16, 1))]
    {
        let bound = (3.0 / inputs as f32).sqrt();
        let weight = (0..inputs * outputs).map(|_| rng.random_range(-bound..bound)).collect();
        tensors.push((TensorInfo::f32(format!("layers.{layer}.weight"), vec![outputs, inputs]), weight));
        tensors.push((TensorInfo::f32(format!("layers.{layer}.bias"), vec![outputs]), vec![0.0; outputs]));
    }
    let infos: Vec<TensorInfo> = tensors.iter().map(|(info, _)| info.clone()).collect();
    let path = folder.join("head.safetensors");
    write_safetensors(&path, &infos, &Default::default(), |info| {
        let (_, values) = tensors.iter().find(|(other, _)| other.name == info.name).expect("its name");
        Ok(f32_to_bytes(values))
    })
    .expect("a writable folder");
    path
}

/// The paper's reward over `generator`, its images kept in `cache`.
pub fn reward(world: &Path, generator: Box<dyn Generator>, cache: &Path) -> ImageReward {
    let clip = Clip::open(&ModelFiles::folder(world.join("clip")), &(&Device::flex(), DType::F32).into());
    let head = AestheticHead::open(head(world)).expect("a head");
    let cache = ImageCache::open(cache, u64::MAX).expect("a writable folder");
    ImageReward::new(generator, settings(), 0..2, (clip.expect("a model folder"), head), None, cache)
        .expect("they fit")
}

/// A picture whose look depends on its prompt: on the left the subject's colour, on the right the styles', each with
/// the seed's noise.
pub fn picture(prompt: &str, seed: u64) -> RgbImage {
    let colour = |text: &str| {
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let [red, green, blue, ..] = (hash >> 24).to_le_bytes();
        [red, green, blue]
    };
    let subject = colour(prompt.split(',').next().unwrap_or_default());
    let named: Vec<[u8; 3]> =
        STYLES.iter().filter(|style| prompt.contains(*style)).map(|style| colour(style)).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    RgbImage::from_fn(32, 32, |x, y| {
        let flat = match (x < 8, named.len()) {
            (true, _) => subject,
            (false, 0) => [128; 3],
            (false, styles) => named[y as usize * styles / 32],
        };
        Rgb(flat.map(|level| level.saturating_add(rng.random_range(0..8))))
    })
}

/// The webui's answers, its pictures drawn by `draw`.
pub fn webui(question: &Question, draw: impl Fn(&str, &[u64]) -> Vec<RgbImage>) -> Reply {
    const HASH: &str = "6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa";
    match (question.method.as_str(), question.path.as_str()) {
        ("GET", "/sdapi/v1/options") => Reply::Json(json!({"sd_checkpoint_hash": HASH})),
        ("POST", "/sdapi/v1/txt2img") => {
            let body = question.json();
            let number = |key: &str| body[key].as_u64().expect(key);
            let seeds: Vec<u64> = (0..number("batch_size")).map(|i| number("seed") + i).collect();
            let images = draw(body["prompt"].as_str().expect("a prompt"), &seeds);
            let images: Vec<String> = images.iter().map(|image| base64(&png(image))).collect();
            let info = json!({"all_seeds": seeds, "index_of_first_image": 0, "sd_model_hash": HASH});
            Reply::Json(json!({"images": images, "info": info.to_string()}))
        }
        _ => Reply::status(404),
    }
}
