//! Schedulers against diffusers: timesteps, sigmas, and the latents after every step.
//!
//! Golden files: `tools/reference/schedulers.py`, which also says what stands in for the UNet.

#![allow(clippy::print_stdout)] // --nocapture shows the errors seen

mod common;

use burn::tensor::{Device, Tensor, TensorData};
use common::{Tensors, golden, golden_json, max_abs, max_difference};
use promptist::diffusion::scheduler::{Scheduler, SchedulerConfig, SchedulerKind};
use serde::Deserialize;
use serde_json::Value;

/// Relative to the largest latent before or after the step. Seen on flex: 1.3e-6. diffusers computes
/// coefficients in f32, we in f64.
const LATENTS_TOLERANCE: f32 = 1e-5;
/// The same where Euler starts from noise alone, that is from latents of 4096 standard deviations, and
/// the first step takes away all but 17 of them. Seen on flex: 1.6e-5.
const EULER_ZERO_SNR_TOLERANCE: f32 = 1e-4;
/// Relative, each. Seen: 1.2e-7; 1.8e-6 for rescaled schedules, whose square roots torch rounds its way.
const SIGMAS_TOLERANCE: f64 = 5e-6;
/// Absolute. Seen: 6.1e-5, Karras' timesteps between whole numbers.
const TIMESTEPS_TOLERANCE: f32 = 1e-3;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
    pipeline: Vec<PipelineCase>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    kind: String,
    num_inference_steps: Vec<usize>,
    config: Value,
}

#[derive(Deserialize)]
struct PipelineCase {
    file: Value,
    becomes: Corrected,
}

#[derive(Deserialize)]
struct Corrected {
    steps_offset: usize,
    clip_sample: bool,
}

#[test]
fn every_step_of_every_scheduler_equals_diffusers() {
    let cases = golden_json::<Golden>("schedulers/cases.json").cases;
    let tensors = Tensors::read(&golden("schedulers/steps.safetensors"));
    assert!(cases.len() > 30);
    for (device_name, device) in common::devices() {
        let mut worst = (0.0, String::new());
        for case in &cases {
            let kind: SchedulerKind = case.kind.parse().expect("a kind");
            let config = SchedulerConfig::from_json(&case.config.to_string()).expect("a config");
            for &num_inference_steps in &case.num_inference_steps {
                let name = format!("{}/{num_inference_steps}", case.name);
                let mut scheduler = Scheduler::new(kind, &config, num_inference_steps).expect(&name);
                let sigmas_error = check_schedule(&tensors, &name, &scheduler);
                let error = check_steps(&tensors, &name, &mut scheduler, &device);
                println!("{device_name} {name}: {error:.1e}, sigmas {sigmas_error:.1e}");
                if error > worst.0 {
                    worst = (error, name);
                }
            }
        }
        println!("{device_name}: the largest relative error is {:.2e}, in {}", worst.0, worst.1);
    }
}

/// A second generation with the same scheduler does not see the first.
#[test]
fn step_0_begins_anew() {
    let tensors = Tensors::read(&golden("schedulers/steps.safetensors"));
    let config = SchedulerConfig::read(&golden("schedulers/sd15_scheduler_config.json")).expect("a config");
    let mut scheduler = Scheduler::new(SchedulerKind::DpmSolverMultistep, &config, 5).expect("a scheduler");
    for _ in 0..2 {
        check_steps(&tensors, "dpm_zero_sd15/5", &mut scheduler, &common::devices()[0].1);
    }
}

#[test]
fn what_stands_in_for_pndm_is_what_the_released_code_ran() {
    let tensors = Tensors::read(&golden("schedulers/steps.safetensors"));
    for model in ["sd15", "sd21"] {
        let path = golden(&format!("schedulers/{model}_scheduler_config.json"));
        let config = SchedulerConfig::read(&path).expect("a config").for_reward();
        for num_inference_steps in [5, 20, 50] {
            let name = format!("dpm_sigma_min_{model}/{num_inference_steps}");
            let kind = config.kind().expect("one of ours");
            let mut scheduler = Scheduler::new(kind, &config, num_inference_steps).expect("a scheduler");
            check_schedule(&tensors, &name, &scheduler);
            check_steps(&tensors, &name, &mut scheduler, &common::devices()[0].1);
        }
    }
}

#[test]
fn old_files_are_corrected_as_the_pipeline_does() {
    for case in golden_json::<Golden>("schedulers/cases.json").pipeline {
        let config = SchedulerConfig::from_json(&case.file.to_string()).expect("a config");
        assert_eq!((config.steps_offset, config.clip_sample), (0, true), "the file's own");
        let config = config.for_stable_diffusion();
        assert_eq!(config.steps_offset, case.becomes.steps_offset);
        assert_eq!(config.clip_sample, case.becomes.clip_sample);
    }
}

#[track_caller]
fn check_schedule(tensors: &Tensors, name: &str, scheduler: &Scheduler) -> f64 {
    let (_, timesteps) = tensors.floats(&format!("{name}/timesteps"));
    let found: Vec<f32> = (0..scheduler.num_steps()).map(|i| scheduler.timestep(i) as f32).collect();
    let error = max_difference(&found, &timesteps);
    println!("{name}: timesteps {error:.1e}");
    assert!(error <= TIMESTEPS_TOLERANCE, "{name}: {found:?}, expected {timesteps:?}");

    let (_, init_noise_sigma) = tensors.floats(&format!("{name}/init_noise_sigma"));
    let worst = check_relative(name, &[scheduler.init_noise_sigma()], &init_noise_sigma);
    let Some(found) = scheduler.sigmas() else { return worst };
    check_relative(name, found, &tensors.floats(&format!("{name}/sigmas")).1).max(worst)
}

#[track_caller]
fn check_relative(name: &str, found: &[f64], expected: &[f32]) -> f64 {
    let mut worst = 0.0_f64;
    assert_eq!(found.len(), expected.len(), "{name}");
    for (&found, &expected) in found.iter().zip(expected) {
        let expected = f64::from(expected);
        let error = (found - expected).abs() / expected.max(f64::MIN_POSITIVE);
        assert!(error <= SIGMAS_TOLERANCE, "{name}: sigma {found}, expected {expected}");
        worst = worst.max(error);
    }
    worst
}

/// Takes every step from the reference's noise; returns the largest relative error.
#[track_caller]
fn check_steps(tensors: &Tensors, name: &str, scheduler: &mut Scheduler, device: &Device) -> f32 {
    let tolerance =
        if name.starts_with("euler_zero_snr") { EULER_ZERO_SNR_TOLERANCE } else { LATENTS_TOLERANCE };
    let noise = tensor(tensors, "noise", device);
    let (shape, expected) = tensors.floats(&format!("{name}/latents"));
    let size: usize = shape[1..].iter().product();
    let mut latents = tensor(tensors, "unit_noise", device) * scheduler.init_noise_sigma();
    let mut worst = 0.0_f32;
    let mut scale_before = max_abs(&common::floats(latents.clone()));
    for (step_idx, expected) in expected.chunks(size).enumerate() {
        let model_input = scheduler.scale_model_input(latents.clone(), step_idx);
        let row = step_idx % noise.dims()[0];
        let model_output = noise.clone().narrow(0, row, 1) + model_input * 0.1;
        latents = scheduler.step(model_output, step_idx, latents);
        let scale_after = max_abs(expected);
        let scale = scale_before.max(scale_after);
        let error = max_difference(&common::floats(latents.clone()), expected) / scale;
        scale_before = scale_after;
        assert!(error <= tolerance, "{name}, step {step_idx}: off by {error:.2e} of {scale}");
        worst = worst.max(error);
    }
    worst
}

fn tensor(tensors: &Tensors, name: &str, device: &Device) -> Tensor<4> {
    let (shape, values) = tensors.floats(name);
    Tensor::from_data(TensorData::new(values, shape), device)
}
