//! A layer's weight: a tensor, or on the CPU what its products read, instead of it.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorCreationOptions};

use super::cpu::matmul::Packed;
use super::{ParameterMap, cpu};
use crate::error::Result;

/// A weight of shape `[out, ..]`. Products read it packed, and packing for each would cost more than many
/// products do.
#[derive(Debug, Clone)]
pub(super) enum Weight<const D: usize, V> {
    Tensor(Box<Tensor<D>>),
    Host { values: Arc<V>, shape: [usize; D] },
}

/// A form in which the CPU reads a weight.
pub(super) trait HostForm {
    /// The form of so many rows.
    fn of_rows(values: Vec<f32>, rows: usize) -> Self;

    /// The rows.
    fn to_rows(&self) -> Vec<f32>;
}

/// As it is.
impl HostForm for Vec<f32> {
    fn of_rows(values: Vec<f32>, _rows: usize) -> Self {
        values
    }

    fn to_rows(&self) -> Vec<f32> {
        self.clone()
    }
}

/// A row is a column of the right factor.
impl HostForm for Packed {
    fn of_rows(values: Vec<f32>, rows: usize) -> Self {
        Self::of_columns(&values, rows, values.len() / rows.max(1))
    }

    fn to_rows(&self) -> Vec<f32> {
        self.to_columns()
    }
}

impl<const D: usize, V: HostForm> Weight<D, V> {
    /// Zeros, which take no memory before they are filled.
    pub fn zeros(shape: [usize; D], options: &TensorCreationOptions) -> Self {
        Self::Tensor(Box::new(Tensor::zeros(shape, options.clone())))
    }

    /// The weight as a tensor, a new one of what the CPU holds.
    pub fn to_tensor(&self) -> Tensor<D> {
        match self {
            Self::Tensor(tensor) => (**tensor).clone(),
            Self::Host { values, shape } => cpu::give(values.to_rows(), *shape),
        }
    }

    /// Maps the parameter `name`.
    pub fn map(self, name: &str, map: &mut impl ParameterMap) -> Result<Self> {
        let tensor = map.map(name, self.to_tensor())?;
        if !cpu::holds(&tensor) {
            return Ok(Self::Tensor(Box::new(tensor)));
        }
        let shape = tensor.dims();
        Ok(Self::Host { values: Arc::new(V::of_rows(cpu::take(tensor), shape[0])), shape })
    }
}
