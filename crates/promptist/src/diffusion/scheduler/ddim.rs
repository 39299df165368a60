//! DDIM with eta 0: the predicted image and the predicted noise, mixed anew for less noise.
//!
//! # Source
//! Song et al. 2021, "Denoising Diffusion Implicit Models", equation 12.

use burn::tensor::Tensor;

use super::config::{PredictionType, SchedulerConfig, TimestepSpacing};
use super::noise_schedule::{self, Level};
use super::{sum, timesteps};
use crate::error::{Error, Result};

#[derive(Debug, Clone)]
pub(super) struct Ddim {
    /// Where each step starts and ends.
    levels: Vec<(Level, Level)>,
    prediction_type: PredictionType,
    /// The predicted image's largest absolute value.
    clip: Option<f64>,
}

impl Ddim {
    /// The timesteps, and the solver.
    pub fn new(config: &SchedulerConfig, num_inference_steps: usize) -> Result<(Vec<f64>, Self)> {
        if config.rescale_betas_zero_snr && config.prediction_type == PredictionType::Epsilon {
            let reason =
                "ddim cannot tell the image from the noise where there is noise alone: not with epsilon";
            return Err(Error::config("rescale_betas_zero_snr", reason));
        }
        let alphas_cumprod = noise_schedule::alphas_cumprod(config);
        let timesteps = spaced_timesteps(config, num_inference_steps)?;
        let level = |timestep: usize| Level::from_alphas_cumprod(alphas_cumprod[timestep].into());
        let end = if config.set_alpha_to_one { Level { alpha: 1.0, sigma: 0.0 } } else { level(0) };
        // A step always goes down by the same stride, whether or not the next one starts there; with
        // `leading` spacing it does. As in diffusers.
        let stride = config.num_train_timesteps / num_inference_steps;
        let levels = |&timestep: &f64| {
            let timestep = timestep as usize;
            (level(timestep), timestep.checked_sub(stride).map_or(end, level))
        };
        let solver = Self {
            levels: timesteps.iter().map(levels).collect(),
            prediction_type: config.prediction_type,
            clip: config.clip_sample.then_some(config.clip_sample_range),
        };
        Ok((timesteps, solver))
    }

    pub fn step(&self, model_output: Tensor<4>, step_idx: usize, latents: Tensor<4>) -> Tensor<4> {
        let (from, to) = self.levels[step_idx];
        let mut image = self.prediction_type.image(from).of(latents.clone(), model_output.clone());
        if let Some(clip) = self.clip {
            image = image.clamp(-clip, clip);
        }
        // The noise is what the model said, not what would go with the clipped image.
        let noise = self.prediction_type.noise(from).of(latents, model_output);
        sum([(to.alpha, image), (to.sigma, noise)])
    }
}

fn spaced_timesteps(config: &SchedulerConfig, num_inference_steps: usize) -> Result<Vec<f64>> {
    let num_train_timesteps = config.num_train_timesteps;
    let too_many = |reason: String| Error::config("num_inference_steps", reason);
    if num_inference_steps > num_train_timesteps {
        let reason = format!("must be at most {num_train_timesteps} with ddim, is {num_inference_steps}");
        return Err(too_many(reason));
    }
    let timesteps = match config.timestep_spacing.unwrap_or(TimestepSpacing::Leading) {
        TimestepSpacing::Linspace => {
            let mut timesteps =
                timesteps::linspace(0.0, (num_train_timesteps - 1) as f64, num_inference_steps);
            timesteps.iter_mut().for_each(|timestep| *timestep = timestep.round_ties_even());
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
    };
    if timesteps[0] >= num_train_timesteps as f64 {
        let reason = format!(
            "{num_inference_steps} steps with steps_offset {} begin beyond the last timestep",
            config.steps_offset
        );
        return Err(too_many(reason));
    }
    Ok(timesteps)
}
