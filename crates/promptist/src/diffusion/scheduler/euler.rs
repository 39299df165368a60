//! Euler's method on `dx / d sigma = noise`, for latents whose signal is not scaled down: `x = image +
//! sigma · noise`.
//!
//! # Source
//! Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models", algorithm 1
//! without its second evaluation.

use burn::tensor::Tensor;

use super::config::{FinalSigmasType, PredictionType, SchedulerConfig, TimestepSpacing};
use super::noise_schedule::{self, Level};
use super::{sum, timesteps};
use crate::error::Result;

#[derive(Debug, Clone)]
pub(super) struct Euler {
    /// At each step and after the last.
    sigmas: Vec<f64>,
    prediction_type: PredictionType,
    init_noise_sigma: f64,
}

impl Euler {
    /// The timesteps, and the solver.
    pub fn new(config: &SchedulerConfig, num_inference_steps: usize) -> Result<(Vec<f64>, Self)> {
        let train_sigmas = noise_schedule::sigmas(config);
        let spacing = config.timestep_spacing.unwrap_or(TimestepSpacing::Linspace);
        let mut timesteps = spaced_timesteps(config, spacing, num_inference_steps);
        let sigma = |&timestep: &f64| timesteps::interpolate(&train_sigmas, timestep);
        let mut sigmas: Vec<f64> = timesteps.iter().map(sigma).collect();
        if config.use_karras_sigmas {
            // Between the ends of the spaced ones, where DPM-Solver++ takes the schedule's: as in diffusers.
            let sigma_min = config.sigma_min.unwrap_or(sigmas[sigmas.len() - 1]);
            let sigma_max = config.sigma_max.unwrap_or(sigmas[0]);
            sigmas = timesteps::karras_sigmas(sigma_min, sigma_max, num_inference_steps);
            timesteps = sigmas.iter().map(|&sigma| timesteps::timestep_of(sigma, &train_sigmas)).collect();
        }
        let sigma_max = sigmas[0];
        sigmas.push(match config.final_sigmas_type {
            FinalSigmasType::Zero => 0.0,
            FinalSigmasType::SigmaMin => train_sigmas[0],
        });
        let init_noise_sigma = match spacing {
            TimestepSpacing::Linspace | TimestepSpacing::Trailing => sigma_max,
            TimestepSpacing::Leading => (sigma_max * sigma_max + 1.0).sqrt(),
        };
        Ok((timesteps, Self { sigmas, prediction_type: config.prediction_type, init_noise_sigma }))
    }

    pub fn sigmas(&self) -> &[f64] {
        &self.sigmas
    }

    pub fn init_noise_sigma(&self) -> f64 {
        self.init_noise_sigma
    }

    /// Scaled to the unit variance that the UNet was trained on.
    pub fn scale_model_input(&self, latents: Tensor<4>, step_idx: usize) -> Tensor<4> {
        latents * Level::from_ratio(self.sigmas[step_idx]).alpha
    }

    pub fn step(&self, model_output: Tensor<4>, step_idx: usize, latents: Tensor<4>) -> Tensor<4> {
        let (from, to) = (self.sigmas[step_idx], self.sigmas[step_idx + 1]);
        let level = Level::from_ratio(from);
        let mut noise = self.prediction_type.noise(level);
        // The prediction speaks of scaled latents.
        noise.latents *= level.alpha;
        sum([(1.0 + (to - from) * noise.latents, latents), ((to - from) * noise.model_output, model_output)])
    }
}

fn spaced_timesteps(
    config: &SchedulerConfig,
    spacing: TimestepSpacing,
    num_inference_steps: usize,
) -> Vec<f64> {
    let num_train_timesteps = config.num_train_timesteps;
    match spacing {
        TimestepSpacing::Linspace => {
            // Not rounded to whole timesteps, but to f32, in which the UNet takes them.
            let mut timesteps =
                timesteps::linspace(0.0, (num_train_timesteps - 1) as f64, num_inference_steps);
            timesteps.iter_mut().for_each(|timestep| *timestep = f64::from(*timestep as f32));
            timesteps.reverse();
            timesteps
        }
        TimestepSpacing::Leading => {
            let stride = num_train_timesteps / num_inference_steps;
            timesteps::leading(stride, num_inference_steps, config.steps_offset)
        }
        TimestepSpacing::Trailing => {
            timesteps::trailing(num_train_timesteps, num_train_timesteps, num_inference_steps)
        }
    }
}
