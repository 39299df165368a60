//! The trunk on any device, differentiated by the tensor library.

use burn::tensor::{Int, Tensor};

use super::add;
use crate::error::{Error, Result};
use crate::gpt2::Gpt2;
use crate::nn::{ParameterMap, Parameters};
use crate::train::adamw::Gradients;
use crate::train::trainable::Trainable;

/// The model in the graph of a forward pass.
pub(super) struct AutodiffPass {
    tracked: Gpt2,
    /// `[B, T, E]`, in the graph.
    hidden: Tensor<3>,
    trainable: Trainable,
}

impl AutodiffPass {
    /// As [`super::TrunkPass::forward`].
    pub fn forward(model: &Gpt2, input_ids: Tensor<2, Int>, trainable: Trainable) -> Result<Self> {
        let num_layers = model.config().n_layer;
        let tracked = model.clone().map_parameters("", &mut Track { trainable, num_layers })?;
        let hidden = tracked.forward(input_ids);
        Ok(Self { tracked, hidden, trainable })
    }

    /// `[B, T, E]`, outside the graph.
    pub fn hidden(&self) -> Tensor<3> {
        self.hidden.clone().inner()
    }

    /// As [`super::TrunkPass::backward`].
    pub fn backward(self, hidden_grad: Tensor<3>, gradients: &mut Gradients) -> Result<()> {
        // The gradient of this sum with respect to the trunk is the loss's: d(H·dH)/dH = dH.
        let surrogate = (self.hidden * hidden_grad.autodiff()).sum();
        let num_layers = self.tracked.config().n_layer;
        let mut collect =
            Collect { from: surrogate.backward(), into: gradients, trainable: self.trainable, num_layers };
        self.tracked.visit_parameters(&mut collect)
    }
}

/// Turns trainable parameters into leaves whose gradients are kept.
struct Track {
    trainable: Trainable,
    num_layers: usize,
}

impl ParameterMap for Track {
    fn map<const D: usize>(&mut self, name: &str, tensor: Tensor<D>) -> Result<Tensor<D>> {
        let tensor = tensor.autodiff();
        Ok(match self.trainable.includes(name, self.num_layers) {
            true => tensor.require_grad(),
            false => tensor,
        })
    }
}

/// Adds the gradients of a backward pass to the named ones.
struct Collect<'a> {
    from: burn::tensor::Gradients,
    into: &'a mut Gradients,
    trainable: Trainable,
    num_layers: usize,
}

impl ParameterMap for Collect<'_> {
    fn map<const D: usize>(&mut self, name: &str, tensor: Tensor<D>) -> Result<Tensor<D>> {
        if self.trainable.includes(name, self.num_layers) {
            let gradient = tensor
                .grad_remove(&mut self.from)
                .ok_or_else(|| Error::Shape(format!("`{name}` has no gradient")))?;
            add(self.into, name, gradient.reshape([-1]));
        }
        Ok(tensor)
    }
}
