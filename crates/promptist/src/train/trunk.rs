//! Forward and backward through the transformer: from token ids to final hidden states, and from
//! their gradient to the parameters'.
//!
//! Losses are differentiated by hand down to the hidden states ([`super::loss`]); a
//! [`TrunkPass`] takes over from there. So there is one place that has to be fast.

use burn::tensor::{Int, Tensor};

use crate::error::{Error, Result};
use crate::gpt2::Gpt2;
use crate::nn::{ParameterMap, Parameters};
use crate::train::adamw::Gradients;
use crate::train::trainable::Trainable;

/// A forward pass that remembers what its backward pass needs.
pub struct TrunkPass {
    tracked: Gpt2,
    /// `[B, T, E]`, in the graph.
    hidden: Tensor<3>,
    trainable: Trainable,
}

impl TrunkPass {
    /// Final hidden states of whole sequences, as [`Gpt2::forward`].
    ///
    /// # Shapes
    /// `input_ids`: `[B, T]`, padded on the right.
    ///
    /// # Errors
    /// None today; walking over parameters can fail.
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

    /// Adds the gradients of every trainable parameter to `gradients`, given that of the hidden states.
    /// The head's share of `wte.weight` is the caller's to add.
    ///
    /// # Shapes
    /// `hidden_grad`: `[B, T, E]`, outside the graph.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes differ.
    pub fn backward(self, hidden_grad: Tensor<3>, gradients: &mut Gradients) -> Result<()> {
        if hidden_grad.dims() != self.hidden.dims() {
            let (found, expected) = (hidden_grad.dims(), self.hidden.dims());
            return Err(Error::Shape(format!("a gradient of {found:?} for hidden states {expected:?}")));
        }
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

/// Adds `gradient`, flattened, to that of the parameter `name`.
pub fn add(gradients: &mut Gradients, name: &str, gradient: Tensor<1>) {
    let sum = match gradients.remove(name) {
        Some(sum) => sum + gradient,
        None => gradient,
    };
    gradients.insert(name.to_owned(), sum);
}
