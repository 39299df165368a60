//! DPM-Solver++, multistep, of order 1 and 2.
//!
//! With `lambda = ln(alpha / sigma)` the diffusion ODE has the exact solution
//! `x_t = (sigma_t / sigma_s) x_s + sigma_t ∫ e^lambda image(lambda) d lambda` from `lambda_s` to `lambda_t`.
//! Order 1 takes the predicted image as constant over the step; order 2 as a line through this step's
//! prediction and the last one's.
//!
//! # Source
//! Lu et al. 2022, "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models",
//! proposition 4.1 and algorithm 2.

use burn::tensor::Tensor;

use super::config::{FinalSigmasType, PredictionType, SchedulerConfig, SolverType, TimestepSpacing};
use super::noise_schedule::{self, Level};
use super::{sum, timesteps};
use crate::error::Result;

/// Below this many steps `lower_order_final` makes the last one of order 1. diffusers' number.
const FEW_STEPS: usize = 15;

#[derive(Debug, Clone)]
pub(super) struct DpmSolverMultistep {
    /// Noise over signal at each step and after the last.
    sigmas: Vec<f64>,
    prediction_type: PredictionType,
    solver_order: usize,
    solver_type: SolverType,
    /// The last step is of order 1.
    first_order_at_the_end: bool,
    /// The image that the step before predicted.
    previous_image: Option<Tensor<4>>,
}

impl DpmSolverMultistep {
    /// The timesteps, and the solver.
    pub fn new(config: &SchedulerConfig, num_inference_steps: usize) -> Result<(Vec<f64>, Self)> {
        let train_sigmas = noise_schedule::sigmas(config);
        let (timesteps, mut sigmas) = if config.use_karras_sigmas {
            let sigma_max = train_sigmas[train_sigmas.len() - 1];
            let sigmas = timesteps::karras_sigmas(train_sigmas[0], sigma_max, num_inference_steps);
            let timestep_of = |&sigma: &f64| timesteps::timestep_of(sigma, &train_sigmas).round_ties_even();
            (sigmas.iter().map(timestep_of).collect(), sigmas)
        } else {
            let timesteps = spaced_timesteps(config, &train_sigmas, num_inference_steps);
            let sigma = |&timestep: &f64| timesteps::interpolate(&train_sigmas, timestep);
            let sigmas = timesteps.iter().map(sigma).collect();
            (timesteps, sigmas)
        };
        sigmas.push(match config.final_sigmas_type {
            FinalSigmasType::Zero => 0.0,
            FinalSigmasType::SigmaMin => train_sigmas[0],
        });
        timesteps::check_falling(&sigmas, num_inference_steps)?;
        let first_order_at_the_end = config.euler_at_final
            || config.final_sigmas_type == FinalSigmasType::Zero
            || (config.lower_order_final && timesteps.len() < FEW_STEPS);
        let solver = Self {
            sigmas,
            prediction_type: config.prediction_type,
            solver_order: config.solver_order,
            solver_type: config.solver_type,
            first_order_at_the_end,
            previous_image: None,
        };
        Ok((timesteps, solver))
    }

    pub fn sigmas(&self) -> &[f64] {
        &self.sigmas
    }

    pub fn step(&mut self, model_output: Tensor<4>, step_idx: usize, latents: Tensor<4>) -> Tensor<4> {
        if step_idx == 0 {
            self.previous_image = None;
        }
        let at = Level::from_ratio(self.sigmas[step_idx]);
        let image = self.prediction_type.image(at).of(latents.clone(), model_output);
        let previous_image = self.previous_image.replace(image.clone());

        let is_last = step_idx + 2 == self.sigmas.len();
        let is_first_order = self.solver_order == 1 || (is_last && self.first_order_at_the_end);
        match previous_image.filter(|_| !is_first_order) {
            None => {
                let [from_latents, from_image] = self.first_order(step_idx);
                sum([(from_latents, latents), (from_image, image)])
            }
            Some(previous_image) => {
                let [from_latents, from_image, from_previous] = self.second_order(step_idx);
                sum([(from_latents, latents), (from_image, image), (from_previous, previous_image)])
            }
        }
    }

    /// Coefficients of the latents and the image: `sigma_t / sigma_s` and `alpha_t (1 − e^−h)`.
    fn first_order(&self, step_idx: usize) -> [f64; 2] {
        let (from, to) = (self.sigmas[step_idx], self.sigmas[step_idx + 1]);
        let (from_level, to_level) = (Level::from_ratio(from), Level::from_ratio(to));
        // lambda is −ln of the ratio, so e^−h is a quotient, and 0 where the ratio ends at 0.
        [to_level.sigma / from_level.sigma, to_level.alpha * (1.0 - to / from)]
    }

    /// Coefficients of the latents, the image and the previous image.
    ///
    /// The image is `D0 + D1 · (a fraction of the step)`, with `D1 = (image − previous) / r0` and `r0` the
    /// length of the previous step over this one's. Midpoint weighs D1 with half of D0's coefficient;
    /// heun integrates the line: `alpha_t ((e^−h − 1) / h + 1)`.
    fn second_order(&self, step_idx: usize) -> [f64; 3] {
        let [from_latents, from_image] = self.first_order(step_idx);
        let (before, from, to) =
            (self.sigmas[step_idx - 1], self.sigmas[step_idx], self.sigmas[step_idx + 1]);
        let (h_before, h) = ((before / from).ln(), (from / to).ln());
        let r0 = h_before / h;
        let slope = match self.solver_type {
            SolverType::Midpoint => 0.5 * from_image,
            SolverType::Heun => Level::from_ratio(to).alpha - from_image / h,
        };
        [from_latents, from_image + slope / r0, -slope / r0]
    }
}

/// The timesteps that diffusers visits. One more point than steps is laid out, and the least left out,
/// since the last step ends there and does not start.
fn spaced_timesteps(config: &SchedulerConfig, train_sigmas: &[f64], num_inference_steps: usize) -> Vec<f64> {
    // lambda falls with the timestep: those that are clipped are the last.
    let is_kept = |sigma: &f64| -sigma.ln() >= config.lambda_min_clipped;
    let end = train_sigmas.partition_point(is_kept).max(1);
    match config.timestep_spacing.unwrap_or(TimestepSpacing::Linspace) {
        TimestepSpacing::Linspace => {
            let mut timesteps = timesteps::linspace(0.0, (end - 1) as f64, num_inference_steps + 1);
            timesteps.iter_mut().for_each(|timestep| *timestep = timestep.round_ties_even());
            timesteps.drain(1..).rev().collect()
        }
        TimestepSpacing::Leading => {
            let stride = end / (num_inference_steps + 1);
            timesteps::leading(stride, num_inference_steps, stride + config.steps_offset)
        }
        TimestepSpacing::Trailing => {
            timesteps::trailing(end, config.num_train_timesteps, num_inference_steps)
        }
    }
}
