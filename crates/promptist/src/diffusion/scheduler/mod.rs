//! Samplers: how the latents of one step become those of the next, given what the UNet makes of them.
//!
//! A [`Scheduler`] knows nothing of the UNet, of guidance or of random numbers: none of the three
//! draws any. It says which timesteps to ask the UNet about, and keeps the history of one generation.
//! Every step is a sum of tensors with coefficients that are computed in f64 on the host; so each
//! solver below is its formula and little else. Where diffusers has conventions beside the formula
//! (which timesteps, which last sigma) they are kept, and `tests/parity_schedulers.rs` holds us to them.

mod config;
mod ddim;
mod dpm_solver_multistep;
mod euler;
mod noise_schedule;
mod timesteps;

use std::fmt;
use std::str::FromStr;

use burn::tensor::Tensor;

pub use config::{
    BetaSchedule, FinalSigmasType, PredictionType, SchedulerConfig, SolverType, TimestepSpacing,
};

use self::ddim::Ddim;
use self::dpm_solver_multistep::DpmSolverMultistep;
use self::euler::Euler;
use crate::error::{Error, Result};

/// The samplers that we have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SchedulerKind {
    /// DPM-Solver++ (Lu et al. 2022b), multistep, of order 1 or 2.
    DpmSolverMultistep,
    /// DDIM (Song et al. 2021) without noise: eta is 0.
    Ddim,
    /// Euler's method in sigma (Karras et al. 2022), without churn.
    Euler,
}

impl SchedulerKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::DpmSolverMultistep, Self::Ddim, Self::Euler];

    /// The class in diffusers that does the same.
    pub fn class_name(self) -> &'static str {
        match self {
            Self::DpmSolverMultistep => "DPMSolverMultistepScheduler",
            Self::Ddim => "DDIMScheduler",
            Self::Euler => "EulerDiscreteScheduler",
        }
    }
}

/// As flags spell it.
impl fmt::Display for SchedulerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DpmSolverMultistep => "dpm++",
            Self::Ddim => "ddim",
            Self::Euler => "euler",
        })
    }
}

impl FromStr for SchedulerKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "dpm++" | "dpm-solver++" => Ok(Self::DpmSolverMultistep),
            "ddim" => Ok(Self::Ddim),
            "euler" => Ok(Self::Euler),
            _ => Err(Error::config("scheduler", format!("must be dpm++, ddim or euler, is {text:?}"))),
        }
    }
}

/// One generation's sampler: its timesteps, its coefficients, and what it remembers between steps.
#[derive(Debug, Clone)]
pub struct Scheduler {
    /// From the noisiest down, as the UNet takes them.
    timesteps: Vec<f64>,
    solver: Solver,
}

#[derive(Debug, Clone)]
enum Solver {
    /// Boxed: it remembers a tensor, and is eight times the others' size.
    DpmSolverMultistep(Box<DpmSolverMultistep>),
    Ddim(Ddim),
    Euler(Euler),
}

impl Scheduler {
    /// A scheduler of that kind, with the settings of a file that may be another kind's: as diffusers'
    /// `from_config`, keys that the kind does not know are passed over, those that the file lacks get
    /// the kind's own default.
    ///
    /// # Errors
    /// [`Error::Config`] naming a key whose value would change the images in a way that we lack, or
    /// `num_inference_steps` if it cannot be had: 0, or so many that two steps fall on one timestep.
    pub fn new(kind: SchedulerKind, config: &SchedulerConfig, num_inference_steps: usize) -> Result<Self> {
        config.check(kind)?;
        if num_inference_steps == 0 {
            return Err(Error::config("num_inference_steps", "must be at least 1"));
        }
        let (timesteps, solver) = match kind {
            SchedulerKind::DpmSolverMultistep => {
                let (timesteps, solver) = DpmSolverMultistep::new(config, num_inference_steps)?;
                (timesteps, Solver::DpmSolverMultistep(Box::new(solver)))
            }
            SchedulerKind::Ddim => {
                let (timesteps, solver) = Ddim::new(config, num_inference_steps)?;
                (timesteps, Solver::Ddim(solver))
            }
            SchedulerKind::Euler => {
                let (timesteps, solver) = Euler::new(config, num_inference_steps)?;
                (timesteps, Solver::Euler(solver))
            }
        };
        Ok(Self { timesteps, solver })
    }

    /// How often the UNet is asked. DPM-Solver++ with `trailing` spacing may take a step more or less
    /// than it was told, as in diffusers.
    pub fn num_steps(&self) -> usize {
        self.timesteps.len()
    }

    /// What the UNet is told at that step: from 0 to `num_train_timesteps`, Euler's also between whole
    /// numbers.
    ///
    /// # Panics
    /// If `step_idx` is not below [`Scheduler::num_steps`].
    pub fn timestep(&self, step_idx: usize) -> f64 {
        self.timesteps[step_idx]
    }

    /// Noise over signal at each step and after the last, for the solvers that count in it.
    pub fn sigmas(&self) -> Option<&[f64]> {
        match &self.solver {
            Solver::DpmSolverMultistep(solver) => Some(solver.sigmas()),
            Solver::Ddim(_) => None,
            Solver::Euler(solver) => Some(solver.sigmas()),
        }
    }

    /// The standard deviation of the noise to start from: unit normal latents are multiplied by it.
    pub fn init_noise_sigma(&self) -> f64 {
        match &self.solver {
            Solver::DpmSolverMultistep(_) | Solver::Ddim(_) => 1.0,
            Solver::Euler(solver) => solver.init_noise_sigma(),
        }
    }

    /// What of the latents the UNet is shown at that step.
    ///
    /// # Shapes
    /// - `latents`: `[B, C, h, w]`, f32
    /// - returns the same
    ///
    /// # Panics
    /// If `step_idx` is not below [`Scheduler::num_steps`].
    pub fn scale_model_input(&self, latents: Tensor<4>, step_idx: usize) -> Tensor<4> {
        match &self.solver {
            Solver::DpmSolverMultistep(_) | Solver::Ddim(_) => latents,
            Solver::Euler(solver) => solver.scale_model_input(latents, step_idx),
        }
    }

    /// The latents after that step. Steps are taken in order; step 0 begins a new generation.
    ///
    /// # Shapes
    /// - `model_output`: `[B, C, h, w]`, f32, guidance applied
    /// - `latents`: `[B, C, h, w]`, f32, as they were before [`Scheduler::scale_model_input`]
    /// - returns the same
    ///
    /// # Panics
    /// If `step_idx` is not below [`Scheduler::num_steps`], or the shapes differ.
    pub fn step(&mut self, model_output: Tensor<4>, step_idx: usize, latents: Tensor<4>) -> Tensor<4> {
        match &mut self.solver {
            Solver::DpmSolverMultistep(solver) => solver.step(model_output, step_idx, latents),
            Solver::Ddim(solver) => solver.step(model_output, step_idx, latents),
            Solver::Euler(solver) => solver.step(model_output, step_idx, latents),
        }
    }
}

/// A tensor as a sum of the latents and the model's output, with these coefficients.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Mix {
    latents: f64,
    model_output: f64,
}

impl Mix {
    fn of(self, latents: Tensor<4>, model_output: Tensor<4>) -> Tensor<4> {
        sum([(self.latents, latents), (self.model_output, model_output)])
    }
}

/// The sum of tensors times numbers. Terms times 0 are left out, since 0 times infinity is no number.
fn sum<const N: usize>(terms: [(f64, Tensor<4>); N]) -> Tensor<4> {
    let shape = terms[0].1.dims();
    let device = terms[0].1.device();
    let terms = terms.into_iter().filter(|(factor, _)| *factor != 0.0);
    let scaled = terms.map(|(factor, tensor)| if factor == 1.0 { tensor } else { tensor * factor });
    scaled.reduce(|a, b| a + b).unwrap_or_else(|| Tensor::zeros(shape, &device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_as_they_are_written() {
        for kind in SchedulerKind::ALL {
            assert_eq!(kind.to_string().parse::<SchedulerKind>().expect("its own name"), kind);
        }
        assert!("dpm".parse::<SchedulerKind>().is_err());
    }

    /// Every number of steps gives a schedule that falls, or an error that says which number is wrong.
    #[test]
    fn any_number_of_steps_is_a_schedule_or_a_named_error() {
        use TimestepSpacing::{Leading, Linspace, Trailing};
        let base = SchedulerConfig { num_train_timesteps: 50, steps_offset: 1, ..Default::default() };
        for kind in SchedulerKind::ALL {
            for spacing in [Linspace, Leading, Trailing] {
                let config = SchedulerConfig { timestep_spacing: Some(spacing), ..base.clone() };
                for num_inference_steps in 0..=60 {
                    match Scheduler::new(kind, &config, num_inference_steps) {
                        Ok(scheduler) => {
                            let name = format!("{kind} {spacing:?} {num_inference_steps}");
                            assert!(scheduler.num_steps().abs_diff(num_inference_steps) <= 1, "{name}");
                            let timesteps: Vec<f64> =
                                (0..scheduler.num_steps()).map(|i| scheduler.timestep(i)).collect();
                            assert!(timesteps.is_sorted_by(|a, b| a >= b), "{name}: {timesteps:?}");
                            let sigmas = scheduler.sigmas().unwrap_or_default();
                            assert!(sigmas.iter().all(|sigma| sigma.is_finite()), "{name}: {sigmas:?}");
                        }
                        Err(Error::Config { key, .. }) => {
                            assert_eq!(key, "num_inference_steps");
                            assert!(num_inference_steps == 0 || num_inference_steps >= 49);
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        }
    }
}
