//! AdamW over named parameters (Loshchilov and Hutter 2019), with the global gradient norm clipped.
//!
//! Ours rather than the tensor library's, whose clipping takes each tensor alone and whose moments
//! are keyed by ids that do not outlive the process: a checkpoint must name them.

use std::collections::BTreeMap;

use burn::tensor::Tensor;

use crate::error::{Error, Result};
use crate::nn::{ParameterMap, Parameters, values};

/// Gradients by parameter name, each flattened to `[n]`.
pub type Gradients = BTreeMap<String, Tensor<1>>;

/// What stays the same over a stage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWConfig {
    /// Decay rates of the two moments.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay, of matrices only: norms and biases are vectors.
    pub weight_decay: f64,
    /// Upper bound of the gradient's global norm.
    pub max_grad_norm: f64,
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
    /// Updates every parameter of `model`.
    ///
    /// `gradients` are multiplied by `scale` first (one over the number of tokens they were summed
    /// over). Returns the model and the global norm of the scaled gradient before clipping.
    ///
    /// As `torch.optim.AdamW` after `torch.nn.utils.clip_grad_norm_`.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if the gradient's norm is not a number: nothing is updated.
    pub fn update<P: Parameters>(
        &mut self,
        model: P,
        gradients: &Gradients,
        scale: f64,
        lr: f64,
        config: &AdamWConfig,
    ) -> Result<(P, f64)> {
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
    gradient_scale: f64,
    lr: f64,
    config: &'a AdamWConfig,
    correction_1: f64,
    correction_2: f64,
}

impl ParameterMap for Update<'_> {
    fn map<const D: usize>(&mut self, name: &str, tensor: Tensor<D>) -> Result<Tensor<D>> {
        let Some(gradient) = self.gradients.get(name) else {
            return Err(Error::Shape(format!("no gradient for `{name}`")));
        };
        let (beta_1, beta_2) = self.config.betas;
        let gradient = gradient.clone() * self.gradient_scale;
        let (m, v) = match self.optimizer.moments.remove(name) {
            Some(moments) => moments,
            None => (gradient.zeros_like(), gradient.zeros_like()),
        };
        let m = m * beta_1 + gradient.clone() * (1.0 - beta_1);
        let v = v * beta_2 + gradient.square() * (1.0 - beta_2);

        let decay = if D >= 2 { self.config.weight_decay } else { 0.0 };
        let denominator = v.clone().sqrt() / self.correction_2.sqrt() + self.config.eps;
        let change = m.clone() / denominator * (self.lr / self.correction_1);
        self.optimizer.moments.insert(name.to_owned(), (m, v));

        let shape = tensor.shape();
        let flat: Tensor<1> = tensor.reshape([-1]);
        Ok((flat * (1.0 - self.lr * decay) - change).reshape(shape))
    }
}

/// The root of the sum of all squares. Summed on the host in f64, in a fixed order: a device's own
/// sum over a whole tensor may differ from run to run.
fn global_norm(gradients: &Gradients) -> Result<f64> {
    let mut sum = 0.0;
    for gradient in gradients.values() {
        let gradient = values(gradient.clone())?;
        sum += gradient.chunks(4096).map(sum_of_squares).sum::<f64>();
    }
    Ok(sum.sqrt())
}

fn sum_of_squares(values: &[f32]) -> f64 {
    // Sixteen running sums, so that the loop vectorises with one fixed order of additions.
    let mut sums = [0.0f64; 16];
    let (head, tail) = values.as_chunks::<16>();
    for chunk in head {
        for (sum, &value) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(value) * f64::from(value);
        }
    }
    let tail: f64 = tail.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    sums.iter().sum::<f64>() + tail
}
