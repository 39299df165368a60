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
        let tracked = track(model, trainable, model.config().n_layer)?;
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
        collect(&self.tracked, self.trainable, num_layers, surrogate.backward(), gradients)
    }
}

/// `model` with its trainable parameters as leaves whose gradients are kept.
///
/// # Errors
/// None today; walking over parameters can fail.
pub fn track<P: Parameters>(model: &P, trainable: Trainable, num_layers: usize) -> Result<P> {
    model.clone().map_parameters("", &mut Track { trainable, num_layers })
}

/// Adds the gradients that a backward pass left for what [`track`] tracked to the named ones.
///
/// # Errors
/// [`Error::Shape`] if a trainable parameter got none.
pub fn collect<P: Parameters>(
    tracked: &P,
    trainable: Trainable,
    num_layers: usize,
    from: burn::tensor::Gradients,
    into: &mut Gradients,
) -> Result<()> {
    tracked.visit_parameters(&mut Collect { from, into, trainable, num_layers })
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
