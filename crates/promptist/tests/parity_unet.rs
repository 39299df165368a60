//! Single steps of the UNet against diffusers: built as 1.x, as 2.x and as neither, at sizes that halve evenly and
//! that do not.
//!
//! Golden files: `tools/reference/tiny_diffusion.py` and `unet.py`.

#![allow(clippy::print_stdout)] // --nocapture shows the errors seen

mod common;

use std::time::Instant;

use burn::tensor::{DType, Device, Tensor, TensorData};
use common::{Tensors, golden, max_difference};
use promptist::diffusion::folder::DiffusionFolder;
use promptist::diffusion::unet::Unet;
use promptist::diffusion::unet::config::UnetConfig;
use promptist::nn::Parameters;
use promptist::weights::Weights;

/// Absolute, for predictions with a standard deviation of 0.5. Seen on flex: 8.0e-6, where diffusers' f32 is up to
/// 2.6e-6 from f64.
const TOLERANCE: f32 = 2e-5;

/// The same for the full shape. Seen on flex: 4.9e-6.
const FULL_SIZE_TOLERANCE: f32 = 5e-5;

const CASES: [&str; 8] = [
    "first_step",
    "last_step",
    "timestep_zero",
    "between_timesteps",
    "odd",
    "odd_height",
    "even_but_not_of_8",
    "one_cell",
];

#[test]
fn a_unet_of_1_x_predicts_what_diffusers_predicts() {
    compare("v1");
}

#[test]
fn a_unet_of_2_x_predicts_what_diffusers_predicts() {
    compare("v2");
}

/// Sines first and stretched, latents moved, another epsilon, layers by level, attention on other levels.
#[test]
fn a_unet_with_every_setting_of_its_file_changed_predicts_what_diffusers_predicts() {
    let path = golden("unet_other");
    let bytes = std::fs::read(path.join("config.json")).expect("a committed file");
    let config = UnetConfig::from_json(&bytes, &path.join("config.json")).expect("a UNet");
    assert!(config.center_input_sample && !config.flip_sin_to_cos && config.freq_shift == 1.0);
    let weights = Weights::open_file(path.join("diffusion_pytorch_model.safetensors")).expect("weights");
    for (device_name, device) in common::devices() {
        let unet = Unet::from_weights(&config, &weights, &(&device, DType::F32).into()).expect("a UNet");
        compare_on(device_name, &device, &unet, "other");
    }
}

/// Wants `PROMPTIST_SLOW_TESTS=1` and `PROMPTIST_FULL_SIZE_DIFFUSION=DIR`, a folder of `full_size_diffusion.py`.
#[test]
fn a_step_of_the_full_shape_equals_diffusers() {
    let Some(folder) = common::full_size_diffusion() else { return };
    let (config, weights) = common::component(&folder.join("unet"), UnetConfig::from_json);
    let tensors = Tensors::read(&folder.join("unet.safetensors"));
    let (device_name, device) = common::devices().remove(0);
    let unet = Unet::from_weights(&config, &weights, &(&device, DType::F32).into()).expect("a UNet");
    let tensor = |name| {
        let (shape, values) = tensors.floats(name);
        TensorData::new(values, shape)
    };
    let latents = Tensor::from_data(tensor("latents"), &device);
    let text = Tensor::from_data(tensor("text"), &device);
    let timestep = f64::from(tensors.floats("timestep").1[0]);
    let start = Instant::now();
    let found = common::floats(unet.forward(latents, timestep, text).expect("shapes that fit"));
    let seconds = start.elapsed().as_secs_f64();
    let error = max_difference(&found, &tensors.floats("sample").1);
    println!("{device_name}: {error:.1e}, {seconds:.1} s");
    assert!(error <= FULL_SIZE_TOLERANCE, "{error}");
    common::mark_slow_test("parity_unet_full_size");
}

/// Nothing in the files is left unread: every tensor is a parameter.
#[test]
fn the_network_has_the_checkpoints_tensors_and_no_others() {
    for version in ["v1", "v2"] {
        let (config, weights) = folder(version).unet().expect("a UNet");
        let unet = Unet::zeros(&config, &(&Device::flex()).into());
        let mut names: Vec<String> =
            unet.parameter_shapes().expect("shapes").into_iter().map(|(name, _)| name).collect();
        names.sort();
        assert_eq!(names, weights.names().collect::<Vec<_>>());
    }
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let unet = open("v1", &Device::flex());
    let forward = |latents: [usize; 4], text: [usize; 3]| {
        let device = Device::flex();
        unet.forward(Tensor::zeros(latents, &device), 1.0, Tensor::zeros(text, &device))
    };
    assert!(forward([1, 4, 8, 8], [1, 9, 16]).is_ok());
    for (latents, text) in [
        ([1, 3, 8, 8], [1, 9, 16]),
        ([1, 4, 8, 8], [1, 9, 8]),
        ([2, 4, 8, 8], [1, 9, 16]),
        ([1, 4, 0, 8], [1, 9, 16]),
        ([1, 4, 8, 8], [1, 0, 16]),
    ] {
        assert!(forward(latents, text).is_err(), "{latents:?} {text:?}");
    }
}

fn folder(version: &str) -> DiffusionFolder {
    DiffusionFolder::open(golden(&format!("diffusion_{version}"))).expect("a model folder")
}

fn open(version: &str, device: &Device) -> Unet {
    let (config, weights) = folder(version).unet().expect("a UNet");
    Unet::from_weights(&config, &weights, &(device, DType::F32).into()).expect("a UNet")
}

#[track_caller]
fn compare(version: &str) {
    for (device_name, device) in common::devices() {
        compare_on(device_name, &device, &open(version, &device), version);
    }
}

#[track_caller]
fn compare_on(device_name: &str, device: &Device, unet: &Unet, version: &str) {
    let tensors = Tensors::read(&golden(&format!("unet_{version}.safetensors")));
    let tensor = |name: String| {
        let (shape, values) = tensors.floats(&name);
        TensorData::new(values, shape)
    };
    for case in CASES {
        let latents = Tensor::from_data(tensor(format!("{case}.latents")), device);
        let text = Tensor::from_data(tensor(format!("{case}.text")), device);
        let timestep = f64::from(tensors.floats(&format!("{case}.timestep")).1[0]);
        let found = unet.forward(latents, timestep, text).expect("shapes that fit");
        let (shape, expected) = tensors.floats(&format!("{case}.sample"));
        assert_eq!(found.dims().as_slice(), shape, "{version} {case}");
        let error = max_difference(&common::floats(found), &expected);
        println!("{device_name} {version} {case}: {error:.1e}");
        assert!(error <= TOLERANCE, "{device_name} {version} {case}: {error}");
    }
}
