//! How much of the signal is left at each training timestep.
//!
//! diffusers computes this in f32, and at the low end that shows: `1 − alphas_cumprod` of timestep 0
//! is 0.00085, whose f32 is off by up to 7e-5 of it. So the steps below round where diffusers rounds;
//! what schedulers make of the result is f64.

use super::config::{BetaSchedule, SchedulerConfig};

/// `x = alpha · image + sigma · noise`, with `alpha² + sigma² = 1`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Level {
    pub alpha: f64,
    pub sigma: f64,
}

impl Level {
    /// From noise over signal, which diffusers also calls sigma.
    pub fn from_ratio(sigma_over_alpha: f64) -> Self {
        let alpha = 1.0 / (sigma_over_alpha * sigma_over_alpha + 1.0).sqrt();
        Self { alpha, sigma: sigma_over_alpha * alpha }
    }

    /// From `alpha²`.
    pub fn from_alphas_cumprod(alphas_cumprod: f64) -> Self {
        Self { alpha: alphas_cumprod.sqrt(), sigma: (1.0 - alphas_cumprod).sqrt() }
    }
}

/// What is left of the signal at the last timestep of a schedule that leaves nothing, for solvers that
/// divide by it: the smallest f16. As in diffusers.
pub(super) const NEARLY_ZERO: f32 = 1.0 / (1 << 24) as f32;

/// `alpha²` at each training timestep, from little noise to much.
pub(super) fn alphas_cumprod(config: &SchedulerConfig) -> Vec<f32> {
    let mut betas = betas(config);
    if config.rescale_betas_zero_snr {
        betas = rescale_to_zero_snr(&betas);
    }
    cumulative_product(&betas)
}

/// Noise over signal at each training timestep: `√((1 − alpha²) / alpha²)`.
pub(super) fn sigmas(config: &SchedulerConfig) -> Vec<f64> {
    let mut alphas_cumprod = alphas_cumprod(config);
    if let Some(last) = alphas_cumprod.last_mut().filter(|_| config.rescale_betas_zero_snr) {
        *last = NEARLY_ZERO;
    }
    alphas_cumprod.into_iter().map(|alpha2| f64::from(((1.0 - alpha2) / alpha2).sqrt())).collect()
}

/// The variance of the noise that each training timestep adds.
fn betas(config: &SchedulerConfig) -> Vec<f32> {
    if let Some(betas) = &config.trained_betas {
        return betas.clone();
    }
    let (first, last, count) = (config.beta_start, config.beta_end, config.num_train_timesteps);
    match config.beta_schedule {
        BetaSchedule::Linear => linspace(first as f32, last as f32, count),
        BetaSchedule::ScaledLinear => {
            let roots = linspace(first.sqrt() as f32, last.sqrt() as f32, count);
            roots.into_iter().map(|root| root * root).collect()
        }
        BetaSchedule::SquaredcosCapV2 => cosine(count),
    }
}

/// `count` numbers from `first` to `last` as torch rounds them: from either end up to the middle, each
/// product and sum rounded once.
fn linspace(first: f32, last: f32, count: usize) -> Vec<f32> {
    let step = (last - first) / (count - 1) as f32;
    let number = |i: usize| {
        if i < count / 2 {
            step.mul_add(i as f32, first)
        } else {
            (-step).mul_add((count - 1 - i) as f32, last)
        }
    };
    (0..count).map(number).collect()
}

/// Nichol and Dhariwal 2021, equation 17: what is left at time t is `cos²((t + s) / (1 + s) · π / 2)`.
fn cosine(count: usize) -> Vec<f32> {
    const S: f64 = 0.008;
    const MAX_BETA: f64 = 0.999;
    let left = |t: f64| ((t + S) / (1.0 + S) * std::f64::consts::FRAC_PI_2).cos().powi(2);
    let at = |i: usize| i as f64 / count as f64;
    (0..count).map(|i| (1.0 - left(at(i + 1)) / left(at(i))).min(MAX_BETA) as f32).collect()
}

/// Lin et al. 2024, algorithm 1: `√alphas_cumprod` is shifted so that its last is 0, and stretched so
/// that its first stays.
fn rescale_to_zero_snr(betas: &[f32]) -> Vec<f32> {
    let mut roots: Vec<f32> = cumulative_product(betas).into_iter().map(f32::sqrt).collect();
    let (first, last) = (roots[0], roots[roots.len() - 1]);
    let stretch = first / (first - last);
    for root in &mut roots {
        *root = (*root - last) * stretch;
    }
    let squares: Vec<f32> = roots.into_iter().map(|root| root * root).collect();
    let alphas = squares.windows(2).map(|pair| pair[1] / pair[0]);
    std::iter::once(squares[0]).chain(alphas).map(|alpha| 1.0 - alpha).collect()
}

/// `∏ (1 − beta)` up to each: f32 factors, a product in f64, f32 results, as torch does it.
fn cumulative_product(betas: &[f32]) -> Vec<f32> {
    let mut product = 1.0_f64;
    let up_to = |&beta: &f32| {
        product *= f64::from(1.0 - beta);
        product as f32
    };
    betas.iter().map(up_to).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cosine_schedule_is_not_all_zeros() {
        let config = SchedulerConfig { beta_schedule: BetaSchedule::SquaredcosCapV2, ..Default::default() };
        let betas = betas(&config);
        assert!(betas.windows(2).all(|pair| pair[0] <= pair[1]), "they grow");
        assert!(betas[0] > 0.0 && betas[999] == 0.999);
    }

    #[test]
    fn a_rescaled_schedule_ends_in_noise_alone() {
        let config = SchedulerConfig {
            beta_schedule: BetaSchedule::ScaledLinear,
            rescale_betas_zero_snr: true,
            ..Default::default()
        };
        let plain = SchedulerConfig { rescale_betas_zero_snr: false, ..config.clone() };
        let (rescaled, plain) = (alphas_cumprod(&config), alphas_cumprod(&plain));
        assert_eq!(rescaled[999], 0.0);
        assert!((rescaled[0] - plain[0]).abs() < 1e-6);
        assert!(rescaled.windows(2).all(|pair| pair[0] > pair[1]));
    }
}
