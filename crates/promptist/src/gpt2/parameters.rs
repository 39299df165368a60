//! Walking over a model's parameters by name: loading, saving, optimising and averaging are each one
//! [`ParameterMap`].

use burn::tensor::Tensor;

use crate::error::Result;

/// Something that is done to every parameter in turn, in a fixed order.
pub trait ParameterMap {
    /// Replaces the parameter `name`, a name of the checkpoint without the `transformer.` prefix.
    fn map<const D: usize>(&mut self, name: &str, tensor: Tensor<D>) -> Result<Tensor<D>>;
}

/// A value whose parameters can be walked over.
pub trait Parameters: Clone {
    /// Applies `map` to every parameter. Names are prefixed with `prefix`.
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self>;

    /// Lets `map` see every parameter; what it returns is dropped. Clones of tensors share memory.
    fn visit_parameters(&self, map: &mut impl ParameterMap) -> Result<()> {
        self.clone().map_parameters("", map).map(drop)
    }
}
