//! Forward and backward through the transformer: from token ids to final hidden states, and from
//! their gradient to the parameters'.
//!
//! Losses are differentiated by hand down to the hidden states ([`super::loss`]); a
//! [`TrunkPass`] takes over from there. So there is one place that has to be fast: on the CPU it is
//! differentiated by hand too (`cpu`), elsewhere by the tensor library (`autodiff`).

pub(crate) mod autodiff;
mod cpu;

use burn::tensor::{Int, Tensor};

use self::autodiff::AutodiffPass;
use self::cpu::CpuPass;
use crate::error::{Error, Result};
use crate::gpt2::Gpt2;
use crate::nn;
use crate::nn::cpu::buffers::{self, KeepBuffers, buffer};
use crate::nn::cpu::matmul::Onto;
use crate::train::adamw::Gradients;
use crate::train::trainable::Trainable;

/// A forward pass that remembers what its backward pass needs.
pub struct TrunkPass(Pass);

enum Pass {
    Cpu(Box<CpuPass>),
    Autodiff(Box<AutodiffPass>),
}

impl TrunkPass {
    /// Final hidden states of whole sequences, as [`Gpt2::forward`].
    ///
    /// # Shapes
    /// `input_ids`: `[B, T]`, padded on the right.
    ///
    /// # Errors
    /// [`Error::Shape`] if a sequence is longer than the model's context or an id not in its vocabulary.
    pub fn forward(model: &Gpt2, input_ids: Tensor<2, Int>, trainable: Trainable) -> Result<Self> {
        Ok(Self(match nn::cpu::holds(model.wte()) {
            true => Pass::Cpu(Box::new(CpuPass::forward(model, input_ids, trainable)?)),
            false => Pass::Autodiff(Box::new(AutodiffPass::forward(model, input_ids, trainable)?)),
        }))
    }

    /// `[B, T, E]`, outside the graph.
    pub fn hidden(&self) -> Tensor<3> {
        match &self.0 {
            Pass::Cpu(pass) => pass.hidden(),
            Pass::Autodiff(pass) => pass.hidden(),
        }
    }

    /// Adds the gradients of every trainable parameter to `gradients`, given that of the hidden states.
    /// The head's share of `wte.weight` is the caller's to add, best before: [`add`] only moves the first.
    ///
    /// # Shapes
    /// `hidden_grad`: `[B, T, E]`, outside the graph.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes differ.
    pub fn backward(self, hidden_grad: Tensor<3>, gradients: &mut Gradients) -> Result<()> {
        let (found, expected) = (hidden_grad.dims(), self.hidden().dims());
        if found != expected {
            return Err(Error::Shape(format!("a gradient of {found:?} for hidden states {expected:?}")));
        }
        match self.0 {
            Pass::Cpu(pass) => pass.backward(&nn::cpu::take(hidden_grad), gradients),
            Pass::Autodiff(pass) => pass.backward(hidden_grad, gradients),
        }
    }
}

/// Final hidden states where no gradient will be asked for: the same numbers as [`TrunkPass::hidden`], and
/// nothing is remembered.
///
/// # Shapes
/// As [`Gpt2::forward`].
///
/// # Errors
/// As [`TrunkPass::forward`].
pub fn hidden_states(model: &Gpt2, input_ids: Tensor<2, Int>) -> Result<Tensor<3>> {
    match nn::cpu::holds(model.wte()) {
        true => cpu::hidden_states(model, input_ids),
        false => Ok(model.forward(input_ids)),
    }
}

/// Adds `gradient`, flattened, to that of the parameter `name`.
pub fn add(gradients: &mut Gradients, name: &str, gradient: Tensor<1>) {
    let sum = match gradients.remove(name) {
        None => gradient,
        Some(sum) if nn::cpu::holds(&sum) && nn::cpu::holds(&gradient) => {
            let (mut sum, gradient) = (nn::cpu::take(sum), nn::cpu::Shared::of(&gradient));
            nn::cpu::column_sums::add(&gradient, &mut sum);
            let len = sum.len();
            nn::cpu::give(sum, [len])
        }
        Some(sum) => sum + gradient,
    };
    gradients.insert(name.to_owned(), sum);
}

/// Gives the memory of gradients that are done with to the next step's, on the CPU and where [`KeepMemory`]
/// lives.
pub fn recycle(gradients: Gradients) {
    let on_cpu = gradients.into_values().filter(nn::cpu::holds);
    on_cpu.for_each(|gradient| buffers::recycle(nn::cpu::take(gradient)));
}

/// As long as it lives, passes on the CPU leave their memory to those that follow.
pub struct KeepMemory(#[allow(dead_code)] KeepBuffers);

impl KeepMemory {
    /// From here on.
    #[allow(clippy::new_without_default)] // it does something
    pub fn new() -> Self {
        Self(KeepBuffers::new())
    }
}

/// Lets `change` write the gradient of the parameter `name`, of `len` numbers on the CPU, in place: it is told
/// whether they are to be added to what is there, which otherwise are numbers of any value.
fn change(gradients: &mut Gradients, name: &str, len: usize, change: impl FnOnce(&mut [f32], Onto)) {
    let gradient = match gradients.remove(name) {
        Some(sum) => {
            let mut sum = nn::cpu::take(sum);
            change(&mut sum, Onto::Output);
            sum
        }
        None => {
            let mut fresh = buffer(len);
            change(&mut fresh, Onto::Nothing);
            fresh
        }
    };
    gradients.insert(name.to_owned(), nn::cpu::give(gradient, [len]));
}

/// As [`change`], of numbers that are to be added to.
fn add_to(gradients: &mut Gradients, name: &str, len: usize, add: impl FnOnce(&mut [f32])) {
    change(gradients, name, len, |sum, onto| {
        if matches!(onto, Onto::Nothing) {
            sum.fill(0.0);
        }
        add(sum);
    });
}

#[cfg(all(test, feature = "flex"))]
mod tests;
