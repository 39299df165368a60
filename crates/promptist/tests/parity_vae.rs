//! Pictures that the VAE decodes against diffusers.
//!
//! Golden files: `tools/reference/tiny_diffusion.py` and `vae.py`.

#![allow(clippy::print_stdout)] // --nocapture shows the errors seen

mod common;

use std::time::Instant;

use burn::tensor::{DType, Device, Tensor, TensorData};
use common::{Tensors, golden, max_difference};
use promptist::diffusion::folder::DiffusionFolder;
use promptist::diffusion::vae::VaeDecoder;
use promptist::diffusion::vae::config::VaeConfig;
use promptist::weights::{TensorInfo, Weights, f32_to_bytes, write_safetensors};

/// Absolute, for pictures from about -1 to 1; a byte is 8e-3. Seen on flex: 1.8e-6, where diffusers' f32 is 1.3e-6
/// from f64.
const TOLERANCE: f32 = 1e-5;

/// The same for the full shape. Seen on flex: 4.3e-6.
const FULL_SIZE_TOLERANCE: f32 = 5e-5;

#[test]
fn pictures_equal_diffusers() {
    for version in ["v1", "v2"] {
        for (device_name, device) in common::devices() {
            let (config, weights) = folder(version).vae().expect("a VAE");
            let vae = VaeDecoder::from_weights(&config, &weights, &(&device, DType::F32).into());
            let error = error(&vae.expect("a VAE"), version, &device);
            println!("{device_name} {version}: {error:.1e}");
            assert!(error <= TOLERANCE, "{device_name} {version}: {error}");
        }
    }
}

/// Files from before diffusers 0.17 call the attention's layers otherwise, and some hold them as convolutions.
#[test]
fn old_names_and_shapes_of_the_attention_are_read() {
    let renamed = [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")];
    let (config, weights) = folder("v1").vae().expect("a VAE");
    let temporary = tempfile::tempdir().expect("a folder");
    for as_convolutions in [false, true] {
        let mut old = Vec::new();
        for name in weights.names() {
            let mut shape = weights.shape(name).expect("its own name").to_vec();
            let mut old_name = name.to_owned();
            if name.starts_with("decoder.mid_block.attentions.0.") {
                for (today, before) in renamed {
                    old_name = old_name.replace(today, before);
                }
                if as_convolutions && old_name != name && shape.len() == 2 {
                    shape.extend([1, 1]);
                }
            }
            old.push((TensorInfo::f32(old_name, shape), name.to_owned()));
        }
        old.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        assert_eq!(old.iter().filter(|(info, name)| info.name != *name).count(), 8);
        let path = temporary.path().join("old.safetensors");
        let infos: Vec<TensorInfo> = old.iter().map(|(info, _)| info.clone()).collect();
        let bytes = |info: &TensorInfo| {
            let (_, name) = old.iter().find(|(old, _)| old.name == info.name).expect("one of them");
            Ok(f32_to_bytes(&weights.get_f32_any_shape(name)?).into_owned().into())
        };
        write_safetensors(&path, &infos, &Default::default(), bytes).expect("a file");
        let old = Weights::open_file(&path).expect("a file");
        let device = Device::flex();
        let vae = VaeDecoder::from_weights(&config, &old, &(&device, DType::F32).into());
        assert!(error(&vae.expect("old names"), "v1", &device) <= TOLERANCE);
    }
}

/// Wants `PROMPTIST_SLOW_TESTS=1` and `PROMPTIST_FULL_SIZE_DIFFUSION=DIR`, a folder of `full_size_diffusion.py`.
#[test]
fn a_picture_of_the_full_shape_equals_diffusers() {
    let Some(folder) = common::full_size_diffusion() else { return };
    let (config, weights) = common::component(&folder.join("vae"), VaeConfig::from_json);
    let tensors = Tensors::read(&folder.join("vae.safetensors"));
    let (device_name, device) = common::devices().remove(0);
    let vae = VaeDecoder::from_weights(&config, &weights, &(&device, DType::F32).into()).expect("a VAE");
    let (shape, latents) = tensors.floats("latents");
    let latents = Tensor::from_data(TensorData::new(latents, shape), &device);
    let start = Instant::now();
    let found = common::floats(vae.decode(latents).expect("latents of its channels"));
    let seconds = start.elapsed().as_secs_f64();
    let error = max_difference(&found, &tensors.floats("pictures").1);
    println!("{device_name}: {error:.1e}, {seconds:.1} s");
    assert!(error <= FULL_SIZE_TOLERANCE, "{error}");
    common::mark_slow_test("parity_vae_full_size");
}

#[test]
fn latents_of_other_channels_are_refused() {
    let (config, weights) = folder("v1").vae().expect("a VAE");
    let device = Device::flex();
    let vae = VaeDecoder::from_weights(&config, &weights, &(&device, DType::F32).into()).expect("a VAE");
    assert!(vae.decode(Tensor::zeros([1, 3, 2, 2], &device)).is_err());
    assert!(vae.decode(Tensor::zeros([1, 4, 0, 2], &device)).is_err());
}

fn folder(version: &str) -> DiffusionFolder {
    DiffusionFolder::open(golden(&format!("diffusion_{version}"))).expect("a model folder")
}

/// The largest over the golden pictures.
#[track_caller]
fn error(vae: &VaeDecoder, version: &str, device: &Device) -> f32 {
    let tensors = Tensors::read(&golden(&format!("vae_{version}.safetensors")));
    let mut error = 0.0_f32;
    for case in ["square", "odd"] {
        let (shape, latents) = tensors.floats(&format!("{case}.latents"));
        let latents = Tensor::from_data(TensorData::new(latents, shape), device);
        let found = vae.decode(latents).expect("latents of its channels");
        let (shape, expected) = tensors.floats(&format!("{case}.pictures"));
        assert_eq!(found.dims().as_slice(), shape);
        error = error.max(max_difference(&common::floats(found), &expected));
    }
    error
}
