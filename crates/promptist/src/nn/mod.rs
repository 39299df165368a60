//! Layers that several models are made of, with the names and layouts of PyTorch checkpoints, and the walk
//! over their parameters. What only one model has stands with that model.

mod activation;
mod attention;
mod conv;
pub(crate) mod cpu;
mod linear;
mod norm;
mod parameters;
mod weight;

pub use activation::{Activation, geglu};
pub use attention::{Mask, attention};
use burn::tensor::Tensor;
pub use conv::Conv2d;
pub use linear::Linear;
pub use norm::{GroupNorm, LayerNorm};
pub use parameters::{NamedParameter, ParameterMap, Parameters};

use crate::error::{Error, Result};

/// A tensor's values on the host, row-major, as f32.
///
/// # Errors
/// [`Error::Shape`] if the device does not give the tensor back.
pub fn values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    tensor.try_into_vec_as::<f32>().map_err(|e| Error::Shape(format!("reading a tensor back: {e:?}")))
}
