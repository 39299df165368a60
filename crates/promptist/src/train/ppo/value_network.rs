//! The value network: a GPT-2 with a small head on its final hidden states.

use burn::tensor::{Device, Tensor, TensorData, activation};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::error::Result;
use crate::gpt2::Gpt2;
use crate::nn::{Linear, ParameterMap, Parameters, values};
use crate::train::adamw::Gradients;
use crate::train::examples::stage_seed;
use crate::train::trainable::Trainable;
use crate::train::trunk::autodiff;

/// `Linear(E, 2E) → ReLU → Linear(2E, 1)` on hidden states after `ln_f`.
///
/// # Source
/// `make_head` in the released `ppo_models.py`; names are PyTorch's of its `nn.Sequential`.
#[derive(Debug, Clone)]
pub struct ValueHead {
    hidden: Linear,
    output: Linear,
}

/// Who estimates values: the head, and the trunk under it if that is not the policy's.
#[derive(Debug, Clone)]
pub struct ValueNetwork {
    /// A trunk of its own; none if the head sits on the policy's.
    pub trunk: Option<Gpt2>,
    /// The head.
    pub head: ValueHead,
}

impl ValueHead {
    /// Random weights, as PyTorch initialises `nn.Linear`: uniform in ±1/√in.
    ///
    /// # Errors
    /// None today; walking over parameters can fail.
    pub fn random(width: usize, seed: u64, device: &Device) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(stage_seed(seed, "value head"));
        let mut d_in = width;
        Self::zeros(width, device).load(|name, shape| {
            if name.ends_with("weight") {
                d_in = shape[1];
            }
            let bound = 1.0 / (d_in as f32).sqrt();
            Ok((0..shape.iter().product()).map(|_| rng.random_range(-bound..bound)).collect())
        })
    }

    /// Zeros, to be filled through [`Parameters`].
    pub fn zeros(width: usize, device: &Device) -> Self {
        let options = device.into();
        Self {
            hidden: Linear::zeros(width, 2 * width, &options),
            output: Linear::zeros(2 * width, 1, &options),
        }
    }

    /// Values of hidden states.
    ///
    /// # Shapes
    /// `[R, E]` to R numbers.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) if the device does not give the numbers back.
    pub fn values(&self, hidden: Tensor<2>) -> Result<Vec<f32>> {
        values(self.forward(hidden).reshape([-1]))
    }

    /// Values of hidden states; `grad_of` turns them into d loss / d value, whose gradients with respect to
    /// the head are added to `gradients` and with respect to the hidden states returned.
    ///
    /// # Shapes
    /// `[R, E]` to `[R, E]`; `grad_of` returns as many numbers as it gets.
    ///
    /// # Errors
    /// As [`values`](Self::values).
    pub fn backward(
        &self,
        hidden: Tensor<2>,
        gradients: &mut Gradients,
        grad_of: impl FnOnce(&[f32]) -> Vec<f32>,
    ) -> Result<Tensor<2>> {
        let device = hidden.device();
        let tracked = autodiff::track(self, Trainable::All, 0)?;
        let hidden = hidden.autodiff().require_grad();
        let found = tracked.forward(hidden.clone()); // [R, 1]
        let grads = grad_of(&values(found.clone().inner().reshape([-1]))?);
        let rows = grads.len();
        let grads = Tensor::<2>::from_data(TensorData::new(grads, [rows, 1]), &device).autodiff();
        let mut from = (found * grads).sum().backward();
        let hidden_grad = hidden.grad_remove(&mut from).unwrap_or_else(|| hidden.inner().zeros_like());
        autodiff::collect(&tracked, Trainable::All, 0, from, gradients)?;
        Ok(hidden_grad)
    }

    fn forward(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.output.forward(activation::relu(self.hidden.forward(hidden)))
    }
}

impl Parameters for ValueHead {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        Ok(Self {
            hidden: self.hidden.map_parameters(&format!("{prefix}v_head.0"), map)?,
            output: self.output.map_parameters(&format!("{prefix}v_head.2"), map)?,
        })
    }
}

impl Parameters for ValueNetwork {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        Ok(Self {
            trunk: self.trunk.map(|trunk| trunk.map_parameters(prefix, map)).transpose()?,
            head: self.head.map_parameters(prefix, map)?,
        })
    }
}
