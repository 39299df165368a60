//! Which training timesteps a sampler visits, and what noise belongs to one between two of them.

use crate::error::{Error, Result};

/// `count` numbers from `first` to `last`.
pub(super) fn linspace(first: f64, last: f64, count: usize) -> Vec<f64> {
    let step = if count > 1 { (last - first) / (count - 1) as f64 } else { 0.0 };
    (0..count).map(|i| if i > 0 && i == count - 1 { last } else { first + step * i as f64 }).collect()
}

/// `0, stride, 2 · stride, ...` with `offset` added, the largest first.
pub(super) fn leading(stride: usize, count: usize, offset: usize) -> Vec<f64> {
    (0..count).rev().map(|i| (i * stride + offset) as f64).collect()
}

/// From `end` down in strides of `num_train_timesteps / num_inference_steps`, rounded, less 1.
pub(super) fn trailing(end: usize, num_train_timesteps: usize, num_inference_steps: usize) -> Vec<f64> {
    let stride = num_train_timesteps as f64 / num_inference_steps as f64;
    // As many as stay above 0.
    let count = (end as f64 / stride).ceil() as usize;
    (0..count).map(|i| (end as f64 - i as f64 * stride).round_ties_even() - 1.0).collect()
}

/// The value at `at` of the line through `values` at 0, 1, 2, ...; beyond the ends, the end's.
pub(super) fn interpolate(values: &[f64], at: f64) -> f64 {
    let last_idx = values.len() - 1;
    let below = (at.max(0.0).floor() as usize).min(last_idx);
    let above = (below + 1).min(last_idx);
    values[below] + (values[above] - values[below]) * (at - below as f64).clamp(0.0, 1.0)
}

/// Sigmas from `sigma_max` down to `sigma_min`, evenly spaced in their seventh root.
///
/// # Source
/// Karras et al. 2022, equation 5, rho 7.
pub(super) fn karras_sigmas(sigma_min: f64, sigma_max: f64, count: usize) -> Vec<f64> {
    const RHO: f64 = 7.0;
    let roots = linspace(sigma_max.powf(1.0 / RHO), sigma_min.powf(1.0 / RHO), count);
    roots.into_iter().map(|root| root.powf(RHO)).collect()
}

/// The timestep whose sigma that is, on lines through the logarithms of the training timesteps' sigmas.
pub(super) fn timestep_of(sigma: f64, train_sigmas: &[f64]) -> f64 {
    let log_sigma = sigma.ln();
    let above = train_sigmas.partition_point(|train_sigma| train_sigma.ln() <= log_sigma);
    let low = above.saturating_sub(1).min(train_sigmas.len() - 2);
    let (low_log, high_log) = (train_sigmas[low].ln(), train_sigmas[low + 1].ln());
    let weight = ((log_sigma - low_log) / (high_log - low_log)).clamp(0.0, 1.0);
    low as f64 + weight
}

/// Refuses steps that stand still or go back, which happens when more are asked for than there are
/// timesteps: the formulas divide by a step's length.
pub(super) fn check_falling(sigmas: &[f64], num_inference_steps: usize) -> Result<()> {
    if sigmas.is_sorted_by(|a, b| a > b) {
        return Ok(());
    }
    let reason =
        format!("{num_inference_steps} steps do not fit the scheduler's timesteps: two would be the same");
    Err(Error::config("num_inference_steps", reason))
}
