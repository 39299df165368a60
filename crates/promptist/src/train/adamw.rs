//! AdamW over named parameters (Loshchilov and Hutter 2019), with the global gradient norm clipped.
//!
//! Ours rather than the tensor library's, whose clipping takes each tensor alone and whose moments
//! are keyed by ids that do not outlive the process: a checkpoint must name them. On the CPU parameters
//! and moments are updated where they are.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::Tensor;

use crate::error::{Error, Result};
use crate::nn::{ParameterMap, Parameters, cpu, values};
use crate::train::trainable::{Trainable, num_layers};

/// Gradients by parameter name, each flattened to `[n]`.
pub type Gradients = BTreeMap<String, Tensor<1>>;

/// Which parameters weight decay pulls towards 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Decay {
    /// Matrices and embeddings: norms and biases are vectors.
    #[default]
    Matrices,
    /// Every parameter, as the released PPO code does.
    All,
}

/// What stays the same over a stage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWConfig {
    /// Decay rates of the two moments.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// What decays.
    pub decay: Decay,
    /// Upper bound of the gradient's global norm.
    pub max_grad_norm: f64,
    /// Which parameters change. The others have no gradient and stay as they are.
    pub trainable: Trainable,
}

/// The optimiser's state.
#[derive(Debug, Clone, Default)]
pub struct AdamW {
    /// Updates so far.
    pub step: u64,
    /// First and second moment by parameter name, each `[n]`.
    pub moments: BTreeMap<String, (Tensor<1>, Tensor<1>)>,
}

impl AdamW {
    /// Updates every trainable parameter of `model`.
    ///
    /// `gradients` are multiplied by `scale` first (one over the number of tokens they were summed
    /// over). Returns the model and the global norm of the scaled gradient before clipping.
    ///
    /// As `torch.optim.AdamW` after `torch.nn.utils.clip_grad_norm_`.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if the gradient's norm is not a number, [`Error::Shape`] if a trainable
    /// parameter has no gradient or another one has: nothing is updated.
    pub fn update<P: Parameters>(
        &mut self,
        model: P,
        gradients: &Gradients,
        scale: f64,
        lr: f64,
        config: &AdamWConfig,
    ) -> Result<(P, f64)> {
        let frozen = check_names(&model, gradients, config.trainable)?;
        let norm = global_norm(gradients)? * scale;
        if !norm.is_finite() {
            return Err(Error::NotFinite(format!(
                "the gradient's norm at update {} is {norm}",
                self.step + 1
            )));
        }
        // PyTorch divides by norm + 1e-6 and never scales up.
        let clip = (config.max_grad_norm / (norm + 1e-6)).min(1.0);
        self.step += 1;
        let t = self.step as f64;
        let update = Update {
            optimizer: self,
            gradients,
            frozen,
            gradient_scale: scale * clip,
            lr,
            config,
            correction_1: 1.0 - config.betas.0.powf(t),
            correction_2: 1.0 - config.betas.1.powf(t),
        };
        Ok((model.map_parameters("", &mut { update })?, norm))
    }
}

struct Update<'a> {
    optimizer: &'a mut AdamW,
    gradients: &'a Gradients,
    /// Names that have no gradient.
    frozen: BTreeSet<String>,
    gradient_scale: f64,
    lr: f64,
    config: &'a AdamWConfig,
    correction_1: f64,
    correction_2: f64,
}

impl ParameterMap for Update<'_> {
    fn map<const D: usize>(&mut self, name: &str, tensor: Tensor<D>) -> Result<Tensor<D>> {
        if self.frozen.contains(name) {
            return Ok(tensor);
        }
        let Some(gradient) = self.gradients.get(name) else {
            return Err(Error::Shape(format!("no gradient for `{name}`")));
        };
        let decays = D >= 2 || self.config.decay == Decay::All;
        let keep = 1.0 - self.lr * if decays { self.config.weight_decay } else { 0.0 };
        if cpu::holds(&tensor) && cpu::holds(gradient) {
            return Ok(self.in_place(name, tensor, gradient, keep));
        }
        Ok(self.through_tensors(name, tensor, gradient, keep))
    }
}

impl Update<'_> {
    fn through_tensors<const D: usize>(
        &mut self,
        name: &str,
        tensor: Tensor<D>,
        gradient: &Tensor<1>,
        keep: f64,
    ) -> Tensor<D> {
        let (beta_1, beta_2) = self.config.betas;
        let gradient = gradient.clone() * self.gradient_scale;
        let (m, v) = match self.optimizer.moments.remove(name) {
            Some(moments) => moments,
            None => (gradient.zeros_like(), gradient.zeros_like()),
        };
        let m = m * beta_1 + gradient.clone() * (1.0 - beta_1);
        let v = v * beta_2 + gradient.square() * (1.0 - beta_2);

        let denominator = v.clone().sqrt() / self.correction_2.sqrt() + self.config.eps;
        let change = m.clone() / denominator * (self.lr / self.correction_1);
        self.optimizer.moments.insert(name.to_owned(), (m, v));

        let shape = tensor.shape();
        let flat: Tensor<1> = tensor.reshape([-1]);
        (flat * keep - change).reshape(shape)
    }

    /// The same on the CPU, in the memory of parameter and moments wherever nobody else holds them.
    fn in_place<const D: usize>(
        &mut self,
        name: &str,
        tensor: Tensor<D>,
        gradient: &Tensor<1>,
        keep: f64,
    ) -> Tensor<D> {
        let (beta_1, beta_2) = self.config.betas;
        let (shape, len) = (tensor.dims(), gradient.dims()[0]);
        let (mut m, mut v) = match self.optimizer.moments.remove(name) {
            Some((m, v)) => (cpu::take(m), cpu::take(v)),
            None => (cpu::zeros(len), cpu::zeros(len)),
        };
        let mut values = cpu::take(tensor);
        let update = cpu::adamw::Update {
            gradient_scale: self.gradient_scale as f32,
            betas: [beta_1 as f32, beta_2 as f32],
            rests: [(1.0 - beta_1) as f32, (1.0 - beta_2) as f32],
            keep: keep as f32,
            step: (self.lr / self.correction_1) as f32,
            root_scale: (1.0 / self.correction_2.sqrt()) as f32,
            epsilon: self.config.eps as f32,
        };
        cpu::adamw::update(&mut values, [&mut m, &mut v], &cpu::Shared::of(gradient), update);
        self.optimizer.moments.insert(name.to_owned(), (cpu::give(m, [len]), cpu::give(v, [len])));
        cpu::give(values, shape)
    }
}

/// Refuses gradients of other parameters than the trainable ones, or of another size; returns the names of
/// the parameters that are frozen.
fn check_names<P: Parameters>(
    model: &P,
    gradients: &Gradients,
    trainable: Trainable,
) -> Result<BTreeSet<String>> {
    let parameters = model.parameter_shapes()?;
    let num_layers = num_layers(parameters.iter().map(|(name, _)| name.as_str()));
    let mut frozen = BTreeSet::new();
    for (name, shape) in parameters {
        let gradient = gradients.get(&name);
        match (trainable.includes(&name, num_layers), gradient.map(|gradient| gradient.dims()[0])) {
            (true, Some(len)) if len == shape.iter().product::<usize>() => {}
            (true, Some(len)) => {
                return Err(Error::Shape(format!("`{name}`: a gradient of {len} for {shape:?}")));
            }
            (true, None) => return Err(Error::Shape(format!("no gradient for `{name}`"))),
            (false, Some(_)) => {
                return Err(Error::Shape(format!("a gradient for `{name}`, which is frozen")));
            }
            (false, None) => _ = frozen.insert(name),
        }
    }
    Ok(frozen)
}

/// The root of the sum of all squares. Summed on the host in f64, in a fixed order: a device's own
/// sum over a whole tensor may differ from run to run.
fn global_norm(gradients: &Gradients) -> Result<f64> {
    let mut sum = 0.0;
    for gradient in gradients.values() {
        sum += match cpu::holds(gradient) {
            true => cpu::adamw::sum_of_squares(&cpu::Shared::of(gradient)),
            false => cpu::adamw::sum_of_squares(&values(gradient.clone())?),
        };
    }
    Ok(sum.sqrt())
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::gpt2::{Gpt2, Gpt2Config};

    const CONFIG: AdamWConfig = AdamWConfig {
        betas: (0.9, 0.95),
        eps: 1e-6,
        weight_decay: 0.5,
        decay: Decay::Matrices,
        max_grad_norm: f64::INFINITY,
        trainable: Trainable::All,
    };

    fn model() -> Gpt2 {
        let config = Gpt2Config {
            vocab_size: 7,
            n_positions: 4,
            n_embd: 4,
            n_layer: 2,
            n_head: 1,
            eos_token_id: None,
            bos_token_id: None,
            ..Gpt2Config::default()
        };
        Gpt2::random(&config, 1, &Device::flex()).expect("a possible config")
    }

    /// A gradient of `fill` for every parameter that `trainable` includes.
    fn gradients(model: &Gpt2, fill: f32, trainable: Trainable) -> Gradients {
        let shapes = model.parameter_shapes().expect("names");
        let trained = shapes.into_iter().filter(|(name, _)| trainable.includes(name, 2));
        let gradient =
            |shape: Vec<usize>| Tensor::full([shape.iter().product::<usize>()], fill, &Device::flex());
        trained.map(|(name, shape)| (name, gradient(shape))).collect()
    }

    #[test]
    fn frozen_parameters_keep_their_bits_and_have_no_moments() {
        let trainable = Trainable::LastLayers(1);
        let before = model().to_parameters().expect("readable");
        let mut optimizer = AdamW::default();
        let config = AdamWConfig { trainable, ..CONFIG };
        let gradients = gradients(&model(), 0.1, trainable);
        let (after, _) = optimizer.update(model(), &gradients, 1.0, 0.01, &config).expect("finite");
        for ((name, _, before), (_, _, after)) in before.iter().zip(after.to_parameters().expect("readable"))
        {
            let frozen = name.starts_with("h.0.");
            assert_eq!(*before == after, frozen, "`{name}`");
            assert_eq!(optimizer.moments.contains_key(name), !frozen, "`{name}`");
        }
    }

    #[test]
    fn vectors_decay_if_they_are_told_to() {
        let update = |decay: Decay| {
            let gradients = gradients(&model(), 0.0, Trainable::All);
            let config = AdamWConfig { decay, ..CONFIG };
            let (after, _) =
                AdamW::default().update(model(), &gradients, 1.0, 0.01, &config).expect("finite");
            after.to_parameters().expect("readable")
        };
        let before = model().to_parameters().expect("readable");
        let (matrices, all) = (update(Decay::Matrices), update(Decay::All));
        for (((name, shape, before), (_, _, matrices)), (_, _, all)) in before.iter().zip(&matrices).zip(&all)
        {
            let decayed: Vec<f32> = before.iter().map(|x| x * (1.0 - 0.01 * 0.5)).collect();
            assert_eq!(*all, decayed, "`{name}`");
            assert_eq!(matrices, if shape.len() >= 2 { &decayed } else { before }, "`{name}`");
        }
    }

    #[test]
    fn gradients_that_do_not_fit_change_nothing() {
        let trainable = Trainable::LastLayers(1);
        let frozen = AdamWConfig { trainable, ..CONFIG };
        let mut short = gradients(&model(), 0.1, Trainable::All);
        short.insert("ln_f.bias".into(), Tensor::zeros([3], &Device::flex()));
        let mut nan = gradients(&model(), 0.1, Trainable::All);
        nan.insert("ln_f.bias".into(), Tensor::full([4], f32::NAN, &Device::flex()));
        for (gradients, config, expected) in [
            (gradients(&model(), 0.1, trainable), CONFIG, "no gradient for `h.0."),
            (gradients(&model(), 0.1, Trainable::All), frozen, "which is frozen"),
            (short, CONFIG, "`ln_f.bias`: a gradient of 3"),
            (nan, CONFIG, "NaN"),
        ] {
            let mut optimizer = AdamW::default();
            let error = optimizer.update(model(), &gradients, 1.0, 0.01, &config).expect_err("does not fit");
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!((optimizer.step, optimizer.moments.len()), (0, 0));
        }
    }

    #[test]
    fn in_place_is_as_through_the_tensor_library() {
        let shape = [3, 5];
        let fill = |seed: usize| {
            let values: Vec<f32> = (0..15).map(|i| ((i * 7 + seed) % 11) as f32 / 5.0 - 1.0).collect();
            Tensor::<1>::from_data(values.as_slice(), &Device::flex())
        };
        let mut gradients = Gradients::from([("w".to_owned(), fill(1))]);
        let mut optimizers = [AdamW::default(), AdamW::default()];
        let mut tensors = [fill(2).reshape(shape), fill(2).reshape(shape)];
        for step in 1..4 {
            let (correction_1, correction_2) = (1.0 - 0.9_f64.powi(step), 1.0 - 0.95_f64.powi(step));
            for (way, optimizer) in optimizers.iter_mut().enumerate() {
                let mut update = Update {
                    optimizer,
                    gradients: &gradients,
                    frozen: BTreeSet::new(),
                    gradient_scale: 0.3,
                    lr: 0.01,
                    config: &CONFIG,
                    correction_1,
                    correction_2,
                };
                let tensor: Tensor<2> = tensors[way].clone();
                tensors[way] = match way {
                    0 => update.in_place("w", tensor, &gradients["w"], 0.99),
                    _ => update.through_tensors("w", tensor, &gradients["w"], 0.99),
                };
            }
            gradients.insert("w".into(), fill(step as usize + 2));
        }
        let [ours, theirs] = tensors.map(|tensor| values(tensor).expect("readable"));
        // A rounding or two of f32.
        assert!(ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() < 1e-6), "{ours:?} {theirs:?}");
    }
}
