//! Model folders in diffusers' layout: every way in which the library saves one is read, and whatever is missing,
//! cut short or of another shape is an error that names it.
//!
//! `diffusion_v1` holds `.fp16` variant files, `diffusion_v2` a UNet in shards and a VAE as a pickle, all written by
//! diffusers (`tools/reference/tiny_diffusion.py`). Names that differ by nothing but the file's are made here.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use common::copy_of_golden;
use promptist::diffusion::folder::DiffusionFolder;
use promptist::diffusion::noise::Noise;
use promptist::diffusion::pipeline::{Drawing, StableDiffusion};
use promptist::generator::{Cancel, ImageSettings};
use promptist::progress::NoProgress;

const UNET_V1: &str = "unet/diffusion_pytorch_model.fp16.safetensors";

#[test]
fn weights_are_found_under_every_name_that_diffusers_gives_them() {
    for (model, from, to) in [
        ("diffusion_v1", UNET_V1, "unet/diffusion_pytorch_model.safetensors"),
        ("diffusion_v1", "text_encoder/model.fp16.safetensors", "text_encoder/model.safetensors"),
        ("diffusion_v2", "vae/diffusion_pytorch_model.bin", "vae/diffusion_pytorch_model.fp16.bin"),
        (
            "diffusion_v2",
            "unet/diffusion_pytorch_model.safetensors.index.json",
            "unet/diffusion_pytorch_model.safetensors.index.fp16.json",
        ),
    ] {
        let folder = copy_of_golden(model);
        let before = picture(folder.path());
        fs::rename(folder.path().join(from), folder.path().join(to)).expect("a committed file");
        assert_eq!(picture(folder.path()), before, "{to}");
    }
}

#[test]
fn full_precision_is_read_before_the_variant() {
    let folder = copy_of_golden("diffusion_v1");
    fs::write(folder.path().join("unet/diffusion_pytorch_model.safetensors"), "cut").expect("a file");
    let error = refused(folder.path());
    assert!(error.contains("unet/diffusion_pytorch_model.safetensors"), "{error}");
}

#[test]
fn what_is_missing_is_named() {
    for (file, expected) in [
        ("model_index.json", "model_index.json"),
        ("unet/config.json", "unet/config.json"),
        ("vae/config.json", "vae/config.json"),
        ("text_encoder/config.json", "text_encoder/config.json"),
        ("scheduler/scheduler_config.json", "scheduler/scheduler_config.json"),
        (UNET_V1, "unet: no weights found: expected one of diffusion_pytorch_model.safetensors"),
        ("text_encoder/model.fp16.safetensors", "pytorch_model.bin"),
        ("tokenizer/merges.txt", "tokenizer/merges.txt"),
        ("tokenizer", "tokenizer"),
        ("unet", "unet/config.json"),
    ] {
        let folder = copy_of_golden("diffusion_v1");
        let path = folder.path().join(file);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("it was there");
        let error = refused(folder.path());
        assert!(error.contains(expected), "{file}: {error}");
    }
    let shard = "unet/diffusion_pytorch_model-00003-of-00005.safetensors";
    let folder = copy_of_golden("diffusion_v2");
    fs::remove_file(folder.path().join(shard)).expect("it was there");
    assert!(refused(folder.path()).contains(shard));
    assert!(refused(Path::new("no/such/folder")).contains("no/such/folder"));
}

#[test]
fn what_is_cut_short_is_named() {
    for (model, file) in [
        ("diffusion_v1", UNET_V1),
        ("diffusion_v1", "vae/diffusion_pytorch_model.fp16.safetensors"),
        ("diffusion_v1", "unet/config.json"),
        ("diffusion_v1", "model_index.json"),
        ("diffusion_v1", "scheduler/scheduler_config.json"),
        ("diffusion_v2", "vae/diffusion_pytorch_model.bin"),
        ("diffusion_v2", "unet/diffusion_pytorch_model-00003-of-00005.safetensors"),
        ("diffusion_v2", "unet/diffusion_pytorch_model.safetensors.index.json"),
        ("diffusion_v2", "text_encoder/model.safetensors"),
    ] {
        let folder = copy_of_golden(model);
        let path = folder.path().join(file);
        let bytes = fs::read(&path).expect("a committed file");
        for len in [0, 7, bytes.len() / 2, bytes.len() - 9] {
            fs::write(&path, &bytes[..len]).expect("a writable folder");
            let error = refused(folder.path());
            assert!(error.contains(file), "{file} cut to {len} bytes: {error}");
        }
    }
}

/// A config that asks for other shapes than the weights have, or for components that do not fit each other.
#[test]
fn what_has_another_shape_is_named() {
    for (file, from, to, expected) in [
        (
            "unet/config.json",
            r#""cross_attention_dim": 16"#,
            r#""cross_attention_dim": 24"#,
            "attn2.to_k.weight",
        ),
        (
            "unet/config.json",
            r#""use_linear_projection": false"#,
            r#""use_linear_projection": true"#,
            "proj_in",
        ),
        ("unet/config.json", r#""layers_per_block": 2"#, r#""layers_per_block": 3"#, "resnets.2"),
        ("unet/config.json", r#""in_channels": 4"#, r#""in_channels": 9"#, "conv_in.weight"),
        ("vae/config.json", r#""latent_channels": 4"#, r#""latent_channels": 8"#, "post_quant_conv.weight"),
        ("text_encoder/config.json", r#""hidden_size": 16"#, r#""hidden_size": 32"#, "token_embedding"),
    ] {
        let folder = copy_of_golden("diffusion_v1");
        edit(&folder.path().join(file), from, to);
        let error = refused(folder.path());
        assert!(error.contains(expected) && error.contains("expected ["), "{file}: {error}");
    }
}

#[test]
fn components_that_we_are_not_are_named() {
    for (file, from, to, expected) in [
        (
            "model_index.json",
            "StableDiffusionPipeline",
            "StableDiffusionXLPipeline",
            "StableDiffusionXLPipeline",
        ),
        ("model_index.json", "AutoencoderKL", "AutoencoderTiny", "`vae`: expected AutoencoderKL"),
        ("model_index.json", r#""unet""#, r#""transformer""#, "the component `unet` is missing"),
        (
            "unet/config.json",
            r#""class_embed_type": null"#,
            r#""class_embed_type": "timestep""#,
            "class_embed_type",
        ),
        ("vae/config.json", r#""shift_factor": null"#, r#""shift_factor": 0.1"#, "shift_factor"),
        ("unet/config.json", "UNet2DConditionModel", "UNet2DModel", "_class_name"),
    ] {
        let folder = copy_of_golden("diffusion_v1");
        edit(&folder.path().join(file), from, to);
        let error = refused(folder.path());
        assert!(error.contains(file) && error.contains(expected), "{file}: {error}");
    }
}

#[test]
fn the_identity_changes_with_every_file_that_an_image_depends_on() {
    let folder = copy_of_golden("diffusion_v1");
    let sum = || DiffusionFolder::open(folder.path()).expect("a model").sha256().expect("a sum");
    let before = sum();
    assert_eq!(before, sum());
    let mut sums = vec![before.clone()];
    for file in [
        UNET_V1,
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "text_encoder/model.fp16.safetensors",
        "unet/config.json",
        "scheduler/scheduler_config.json",
        "tokenizer/merges.txt",
    ] {
        let path = folder.path().join(file);
        let bytes = fs::read(&path).expect("a committed file");
        let mut changed = bytes.clone();
        // The last byte of weights is a value's; a file of text ends with a line or a brace.
        match file.ends_with("safetensors") {
            true => *changed.last_mut().expect("not empty") ^= 1,
            false => changed.push(b'\n'),
        }
        fs::write(&path, changed).expect("a writable folder");
        let sum = sum();
        assert!(!sums.contains(&sum), "{file}");
        sums.push(sum);
        fs::write(&path, bytes).expect("a writable folder");
    }
    assert_eq!(before, sum());
}

#[track_caller]
fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).expect("a committed file");
    assert!(text.contains(from), "{} has no {from}", path.display());
    fs::write(path, text.replace(from, to)).expect("a writable folder");
}

/// What opening says.
#[track_caller]
fn refused(folder: &Path) -> String {
    match StableDiffusion::open(folder, &Device::flex(), DType::F32) {
        Ok(_) => panic!("{} was opened", folder.display()),
        Err(error) => error.to_string().replace(std::path::MAIN_SEPARATOR, "/"),
    }
}

/// A small picture by the model.
fn picture(folder: &Path) -> Vec<u8> {
    let folder: PathBuf = folder.to_owned();
    let model = StableDiffusion::open(&folder, &Device::flex(), DType::F32).expect("a model");
    let settings = ImageSettings { width: 16, height: 16, num_inference_steps: 2, ..Default::default() };
    let drawing = Drawing { prompt: "a cat", noise: &Noise::Seeds(vec![1]), settings: &settings };
    let images = model.generate(drawing, &NoProgress, &Cancel::default()).expect("a picture");
    images[0].as_raw().clone()
}
