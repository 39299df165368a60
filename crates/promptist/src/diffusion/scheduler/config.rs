//! `scheduler_config.json` of a diffusers folder, of whichever class.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::SchedulerKind;
use super::noise_schedule::Level;
use crate::error::{Error, Result};

/// Settings of a scheduler, named as in the file. Missing keys have diffusers' defaults; where these
/// differ between classes the field is an `Option`.
#[derive(Debug, Clone, PartialEq)]
pub struct SchedulerConfig {
    /// `_class_name`: the class that wrote the file; empty if it does not say.
    pub class_name: String,
    /// Timesteps of the noise that the UNet was trained on.
    pub num_train_timesteps: usize,
    /// Variance of the noise added at the first timestep.
    pub beta_start: f64,
    /// And at the last.
    pub beta_end: f64,
    /// And between.
    pub beta_schedule: BetaSchedule,
    /// The variances themselves, one per training timestep: the four above do not count then.
    pub trained_betas: Option<Vec<f32>>,
    /// Shift and stretch the schedule so that the last timestep is noise alone (Lin et al. 2024).
    pub rescale_betas_zero_snr: bool,
    /// What the UNet's output is.
    pub prediction_type: PredictionType,
    /// Which of the training timesteps are visited; DDIM's default is `leading`, the others' `linspace`.
    pub timestep_spacing: Option<TimestepSpacing>,
    /// Added to timesteps of `leading` spacing.
    pub steps_offset: usize,
    /// Sigmas evenly spaced in their seventh root (Karras et al. 2022). DPM-Solver++ and Euler.
    pub use_karras_sigmas: bool,
    /// The least of Karras' sigmas, if not the schedule's. Euler.
    pub sigma_min: Option<f64>,
    /// The largest of Karras' sigmas, if not the schedule's. Euler.
    pub sigma_max: Option<f64>,
    /// Where the last step ends. DPM-Solver++ and Euler.
    pub final_sigmas_type: FinalSigmasType,
    /// 1 or 2. DPM-Solver++.
    pub solver_order: usize,
    /// How a step of order 2 weighs the two predictions. DPM-Solver++.
    pub solver_type: SolverType,
    /// Order 1 at the last step if there are fewer than 15. DPM-Solver++.
    pub lower_order_final: bool,
    /// Order 1 at the last step. DPM-Solver++.
    pub euler_at_final: bool,
    /// Timesteps at which the logarithm of signal over noise is less are left out. DPM-Solver++.
    pub lambda_min_clipped: f64,
    /// The last step ends at no noise at all, not at timestep 0. DDIM.
    pub set_alpha_to_one: bool,
    /// Keep the predicted image within `clip_sample_range`: for pixels, never for latents. DDIM.
    pub clip_sample: bool,
    /// See `clip_sample`.
    pub clip_sample_range: f64,
    /// What the file asks for and we lack.
    pub(super) lacking: Vec<Lacking>,
}

/// How the variances of the noise grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// Evenly.
    Linear,
    /// Evenly in their square roots: Stable Diffusion's.
    ScaledLinear,
    /// So that what is left of the signal is a squared cosine (Nichol and Dhariwal 2021).
    SquaredcosCapV2,
}

/// What the UNet's output is, in `x = alpha · image + sigma · noise`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictionType {
    /// The noise.
    Epsilon,
    /// `alpha · noise − sigma · image` (Salimans and Ho 2022).
    VPrediction,
    /// The image.
    #[serde(alias = "original_sample")]
    Sample,
}

/// Which of the training timesteps are visited (Lin et al. 2024, table 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestepSpacing {
    /// Evenly from the first to the last.
    Linspace,
    /// Every so many, counted from the first: the last is left out.
    Leading,
    /// Every so many, counted from the last: the first is left out.
    Trailing,
}

/// Where the last step ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalSigmasType {
    /// At no noise.
    Zero,
    /// At the noise of timestep 0.
    SigmaMin,
}

/// How a step of order 2 weighs the last two predictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SolverType {
    /// DPM-Solver++(2M) of the paper. Other solvers' types mean this one, as in diffusers.
    #[serde(alias = "logrho", alias = "bh1", alias = "bh2")]
    Midpoint,
    /// The exact integral of a straight line through both.
    Heun,
}

/// A key whose value changes images in a way that we lack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lacking {
    key: &'static str,
    value: String,
    kinds: &'static [SchedulerKind],
}

impl SchedulerConfig {
    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::File`] if it is not a JSON object or a value is none that diffusers has.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        Self::from_json(&text).map_err(|error| Error::file(path, error.to_string()))
    }

    /// The file's text.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key that cannot be read.
    pub fn from_json(text: &str) -> Result<Self> {
        let parsed = serde_json::from_str(&without_infinities(text));
        let mut fields: Map<String, Value> =
            parsed.map_err(|error| Error::config("scheduler_config.json", error.to_string()))?;
        // Python's None is as good as a missing key.
        fields.retain(|_, value| !value.is_null());
        let config = Self {
            class_name: field(&fields, "_class_name")?.unwrap_or_default(),
            num_train_timesteps: field(&fields, "num_train_timesteps")?.unwrap_or(1000),
            beta_start: field(&fields, "beta_start")?.unwrap_or(1e-4),
            beta_end: field(&fields, "beta_end")?.unwrap_or(0.02),
            beta_schedule: field(&fields, "beta_schedule")?.unwrap_or(BetaSchedule::Linear),
            trained_betas: field(&fields, "trained_betas")?,
            rescale_betas_zero_snr: field(&fields, "rescale_betas_zero_snr")?.unwrap_or(false),
            prediction_type: field(&fields, "prediction_type")?.unwrap_or(PredictionType::Epsilon),
            timestep_spacing: field(&fields, "timestep_spacing")?,
            steps_offset: field(&fields, "steps_offset")?.unwrap_or(0),
            use_karras_sigmas: field(&fields, "use_karras_sigmas")?.unwrap_or(false),
            sigma_min: field(&fields, "sigma_min")?,
            sigma_max: field(&fields, "sigma_max")?,
            final_sigmas_type: field(&fields, "final_sigmas_type")?.unwrap_or(FinalSigmasType::Zero),
            solver_order: field(&fields, "solver_order")?.unwrap_or(2),
            solver_type: field(&fields, "solver_type")?.unwrap_or(SolverType::Midpoint),
            lower_order_final: field(&fields, "lower_order_final")?.unwrap_or(true),
            euler_at_final: field(&fields, "euler_at_final")?.unwrap_or(false),
            lambda_min_clipped: field(&fields, "lambda_min_clipped")?.unwrap_or(f64::NEG_INFINITY),
            set_alpha_to_one: field(&fields, "set_alpha_to_one")?.unwrap_or(true),
            clip_sample: field(&fields, "clip_sample")?.unwrap_or(true),
            clip_sample_range: field(&fields, "clip_sample_range")?.unwrap_or(1.0),
            lacking: lacking(&fields),
        };
        config.check_noise()?;
        Ok(config)
    }

    /// Which of ours the file names; none if it is a scheduler that we lack, such as PNDM.
    pub fn kind(&self) -> Option<SchedulerKind> {
        SchedulerKind::ALL.into_iter().find(|kind| kind.class_name() == self.class_name)
    }

    /// The noise of this file under the settings of the released reward: DPM-Solver++ of order 2 with
    /// `linspace` spacing that ends at `sigma_min`. It also stands in for schedulers that we lack.
    ///
    /// # Source
    /// `DPMSolverMultistepScheduler` of diffusers 0.8.0.dev0, as vendored by the released code; the last
    /// step to no noise at all came later.
    #[must_use]
    pub fn for_reward(&self) -> Self {
        let plain = Self::default();
        Self {
            class_name: SchedulerKind::DpmSolverMultistep.class_name().to_owned(),
            num_train_timesteps: self.num_train_timesteps,
            beta_start: self.beta_start,
            beta_end: self.beta_end,
            beta_schedule: self.beta_schedule,
            trained_betas: self.trained_betas.clone(),
            rescale_betas_zero_snr: self.rescale_betas_zero_snr,
            prediction_type: self.prediction_type,
            timestep_spacing: Some(TimestepSpacing::Linspace),
            final_sigmas_type: FinalSigmasType::SigmaMin,
            ..plain
        }
    }

    /// With the two corrections that diffusers' Stable Diffusion pipeline makes to files from before it
    /// had these keys: `steps_offset` is 1, and latents are not clipped.
    ///
    /// # Source
    /// <https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/stable_diffusion/pipeline_stable_diffusion.py>,
    /// the constructor.
    #[must_use]
    pub fn for_stable_diffusion(self) -> Self {
        Self { steps_offset: 1, clip_sample: false, ..self }
    }

    /// What to run on a Stable Diffusion folder with this file, where `wanted` is the user's choice: the
    /// wanted kind, else the file's, else DPM-Solver++ for a kind that we lack.
    ///
    /// DPM-Solver++ over the file of another kind has the reward's settings ([`Self::for_reward`]), since
    /// such a file has none for it: so `dpm++` means what the released code ran, whether it is asked for or
    /// stands in. A file of its own is followed.
    pub fn resolve(&self, wanted: Option<SchedulerKind>) -> (SchedulerKind, Self) {
        let own = self.kind();
        let kind = wanted.or(own).unwrap_or(SchedulerKind::DpmSolverMultistep);
        match kind {
            SchedulerKind::DpmSolverMultistep if own != Some(kind) => (kind, self.for_reward()),
            _ => (kind, self.clone().for_stable_diffusion()),
        }
    }

    /// Whether we can do what the file asks of that kind.
    pub(super) fn check(&self, kind: SchedulerKind) -> Result<()> {
        if let Some(lacking) = self.lacking.iter().find(|lacking| lacking.kinds.contains(&kind)) {
            return Err(Error::config(
                lacking.key,
                format!("{} is not supported with {kind}", lacking.value),
            ));
        }
        if kind == SchedulerKind::DpmSolverMultistep && !(1..=2).contains(&self.solver_order) {
            return Err(Error::config("solver_order", format!("must be 1 or 2, is {}", self.solver_order)));
        }
        Ok(())
    }

    /// Whether the noise schedule is one.
    fn check_noise(&self) -> Result<()> {
        let betas = self.trained_betas.as_ref();
        let num_train_timesteps = betas.map_or(self.num_train_timesteps, Vec::len);
        if num_train_timesteps != self.num_train_timesteps || !(2..=1_000_000).contains(&num_train_timesteps)
        {
            let reason = format!(
                "must be from 2 to 1000000 and the length of trained_betas, is {} with {} betas",
                self.num_train_timesteps,
                betas.map_or(self.num_train_timesteps, Vec::len),
            );
            return Err(Error::config("num_train_timesteps", reason));
        }
        let is_variance = |beta: f64| beta > 0.0 && beta < 1.0;
        if betas.is_some_and(|betas| !betas.iter().all(|&beta| is_variance(beta.into()))) {
            return Err(Error::config("trained_betas", "must be between 0 and 1"));
        }
        for (key, beta) in [("beta_start", self.beta_start), ("beta_end", self.beta_end)] {
            if !is_variance(beta) {
                return Err(Error::config(key, format!("must be between 0 and 1, is {beta}")));
            }
        }
        Ok(())
    }
}

/// diffusers' defaults.
impl Default for SchedulerConfig {
    fn default() -> Self {
        Self::from_json("{}").expect("every key has a default")
    }
}

impl PredictionType {
    /// The image as `latents · x + model_output · y`: the answer is (x, y).
    pub(super) fn image(self, at: Level) -> super::Mix {
        let (latents, model_output) = match self {
            Self::Epsilon => (1.0 / at.alpha, -at.sigma / at.alpha),
            Self::VPrediction => (at.alpha, -at.sigma),
            Self::Sample => (0.0, 1.0),
        };
        super::Mix { latents, model_output }
    }

    /// The noise likewise.
    pub(super) fn noise(self, at: Level) -> super::Mix {
        let (latents, model_output) = match self {
            Self::Epsilon => (0.0, 1.0),
            Self::VPrediction => (at.sigma, at.alpha),
            Self::Sample => (1.0 / at.sigma, -at.alpha / at.sigma),
        };
        super::Mix { latents, model_output }
    }
}

fn field<T: DeserializeOwned>(fields: &Map<String, Value>, key: &str) -> Result<Option<T>> {
    let read = |value: &Value| T::deserialize(value).map_err(|error| Error::config(key, error.to_string()));
    fields.get(key).map(read).transpose()
}

/// What a file may ask for and we lack, by the kinds whose images it would change.
fn lacking(fields: &Map<String, Value>) -> Vec<Lacking> {
    use SchedulerKind::{Ddim, DpmSolverMultistep, Euler};
    /// The values that change nothing; a missing key never does.
    type Harmless = &'static [&'static str];
    const RULES: [(&str, Harmless, &[SchedulerKind]); 11] = [
        ("thresholding", &["false"], &[DpmSolverMultistep, Ddim]),
        ("use_exponential_sigmas", &["false"], &[DpmSolverMultistep, Euler]),
        ("use_beta_sigmas", &["false"], &[DpmSolverMultistep, Euler]),
        ("use_lu_lambdas", &["false"], &[DpmSolverMultistep]),
        ("use_flow_sigmas", &["false"], &[DpmSolverMultistep]),
        ("use_dynamic_shifting", &["false"], &[DpmSolverMultistep]),
        ("variance_type", &[], &[DpmSolverMultistep]),
        ("algorithm_type", &["\"dpmsolver++\"", "\"deis\""], &[DpmSolverMultistep]),
        ("interpolation_type", &["\"linear\""], &[Euler]),
        ("timestep_type", &["\"discrete\""], &[Euler]),
        ("use_clipped_model_output", &["false"], &[Ddim]),
    ];
    let value = |key: &str| fields.get(key).map(Value::to_string);
    let asked = RULES.into_iter().filter_map(|(key, harmless, kinds)| {
        let value = value(key).filter(|value| !harmless.contains(&value.as_str()))?;
        Some(Lacking { key, value, kinds })
    });
    asked.collect()
}

/// Python writes infinities and NaN as JSON does not know them: `lambda_min_clipped` is `-Infinity` in
/// every file that diffusers' DPM-Solver++ saves. Outside strings they become null, hence the default.
fn without_infinities(text: &str) -> String {
    let mut parts = text.split('"');
    let mut cleaned = String::with_capacity(text.len());
    let mut in_string = false;
    // An escaped quote would swap inside and outside; no key or word of these files holds one, and a
    // note that did would at worst read differently.
    if let Some(first) = parts.next() {
        push_without_infinities(&mut cleaned, first);
    }
    for part in parts {
        cleaned.push('"');
        in_string = !in_string;
        if in_string {
            cleaned.push_str(part);
        } else {
            push_without_infinities(&mut cleaned, part);
        }
    }
    cleaned
}

fn push_without_infinities(cleaned: &mut String, part: &str) {
    cleaned.push_str(&part.replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn config(text: &str) -> SchedulerConfig {
        SchedulerConfig::from_json(text).expect("a config")
    }

    #[test]
    fn a_file_that_diffusers_saved_is_read_with_its_infinity() {
        let config = config(
            r#"{"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -Infinity,
                "note": "to Infinity", "variance_type": null, "solver_type": "bh2"}"#,
        );
        assert_eq!(config.kind(), Some(SchedulerKind::DpmSolverMultistep));
        assert_eq!(config.lambda_min_clipped, f64::NEG_INFINITY);
        assert_eq!(config.solver_type, SolverType::Midpoint);
        config.check(SchedulerKind::DpmSolverMultistep).expect("nothing is lacking");
    }

    #[test]
    fn a_scheduler_that_we_lack_is_none_of_ours() {
        assert_eq!(config(r#"{"_class_name": "PNDMScheduler"}"#).kind(), None);
        assert_eq!(config("{}").kind(), None);
    }

    #[test]
    fn a_value_that_cannot_be_read_is_an_error_naming_its_key() {
        for (text, key) in [
            (r#"{"beta_schedule": "sigmoid"}"#, "beta_schedule"),
            (r#"{"prediction_type": "flow_prediction"}"#, "prediction_type"),
            (r#"{"num_train_timesteps": -5}"#, "num_train_timesteps"),
            (r#"{"num_train_timesteps": 1}"#, "num_train_timesteps"),
            (r#"{"num_train_timesteps": 1e18}"#, "num_train_timesteps"),
            (r#"{"num_train_timesteps": 3, "trained_betas": [0.1]}"#, "num_train_timesteps"),
            (r#"{"num_train_timesteps": 2, "trained_betas": [0.1, 1.5]}"#, "trained_betas"),
            (r#"{"beta_end": NaN, "beta_start": 2}"#, "beta_start"),
            (r#"{"clip_sample": "yes"}"#, "clip_sample"),
            ("[]", "scheduler_config.json"),
            (r#"{"beta_end": 0.01"#, "scheduler_config.json"),
            (r#"{"a": "\\", "b": "NaN"#, "scheduler_config.json"),
        ] {
            match SchedulerConfig::from_json(text) {
                Err(Error::Config { key: found, .. }) => assert_eq!(found, key, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_we_lack_is_refused_for_the_kinds_that_it_concerns() {
        use SchedulerKind::{Ddim, DpmSolverMultistep, Euler};
        for (text, key, concerned) in [
            (r#"{"thresholding": true}"#, "thresholding", &[DpmSolverMultistep, Ddim][..]),
            (r#"{"algorithm_type": "sde-dpmsolver++"}"#, "algorithm_type", &[DpmSolverMultistep]),
            (r#"{"solver_order": 3}"#, "solver_order", &[DpmSolverMultistep]),
            (r#"{"use_beta_sigmas": true}"#, "use_beta_sigmas", &[DpmSolverMultistep, Euler]),
            (r#"{"interpolation_type": "log_linear"}"#, "interpolation_type", &[Euler]),
            (r#"{"algorithm_type": "deis", "thresholding": false}"#, "", &[]),
        ] {
            for kind in SchedulerKind::ALL {
                match config(text).check(kind) {
                    Ok(()) => assert!(!concerned.contains(&kind), "{text} with {kind}"),
                    Err(Error::Config { key: found, .. }) => {
                        assert!(concerned.contains(&kind) && found == key, "{text} with {kind}");
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    #[test]
    fn a_file_is_followed_unless_we_lack_its_kind_or_another_is_wanted() {
        use SchedulerKind::{Ddim, DpmSolverMultistep, Euler};
        let file = |class: &str| config(&format!(r#"{{"_class_name": "{class}"}}"#));
        for (class, wanted, kind, ends_at) in [
            ("DDIMScheduler", None, Ddim, FinalSigmasType::Zero),
            ("DDIMScheduler", Some(Euler), Euler, FinalSigmasType::Zero),
            ("DDIMScheduler", Some(DpmSolverMultistep), DpmSolverMultistep, FinalSigmasType::SigmaMin),
            ("PNDMScheduler", None, DpmSolverMultistep, FinalSigmasType::SigmaMin),
            ("PNDMScheduler", Some(Ddim), Ddim, FinalSigmasType::Zero),
            ("DPMSolverMultistepScheduler", None, DpmSolverMultistep, FinalSigmasType::Zero),
        ] {
            let (found, resolved) = file(class).resolve(wanted);
            assert_eq!((found, resolved.final_sigmas_type), (kind, ends_at), "{class} {wanted:?}");
        }
        assert_eq!(file("DDIMScheduler").resolve(None).1.steps_offset, 1);
    }

    #[test]
    fn the_rewards_settings_keep_the_noise_and_nothing_else() {
        let file = r#"{"_class_name": "PNDMScheduler", "beta_start": 0.00085, "beta_end": 0.012,
            "beta_schedule": "scaled_linear", "prediction_type": "v_prediction", "timestep_spacing": "leading",
            "use_karras_sigmas": true, "solver_order": 1, "thresholding": true}"#;
        let expected = r#"{"_class_name": "DPMSolverMultistepScheduler", "beta_start": 0.00085, "beta_end": 0.012,
            "beta_schedule": "scaled_linear", "prediction_type": "v_prediction", "timestep_spacing": "linspace",
            "final_sigmas_type": "sigma_min"}"#;
        assert_eq!(config(file).for_reward(), config(expected));
    }
}
