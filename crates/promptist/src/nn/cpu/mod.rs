//! The layers' slow parts on the CPU, each in one pass over memory where the tensor library takes one an
//! operation, and the gradients of what GPT-2 is made of. All of it is f32: anything else is left to the
//! tensor library.

pub mod adamw;
pub mod attention;
pub mod attention_gradient;
pub mod buffers;
pub mod column_sums;
pub mod conv;
pub mod elementwise;
pub mod group_norm;
pub mod kernel;
pub mod layer_norm;
pub mod matmul;
pub mod mlp;
pub mod transpose;

use std::ops::Deref;

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::huge_pages::ask_for_huge_pages;

/// Whether a device is this process's own memory.
pub fn is_cpu(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    {
        *device == Device::flex()
    }
    #[cfg(not(feature = "flex"))]
    {
        let _ = device;
        false
    }
}

/// Whether a tensor's values are f32 in this process's memory and no gradient is asked of them.
pub fn holds<const D: usize>(tensor: &Tensor<D>) -> bool {
    let device = tensor.device();
    tensor.dtype() == DType::F32 && !device.is_autodiff() && is_cpu(&device)
}

/// The values of a tensor that [`holds`] accepts, row-major; a copy only if others hold the tensor too.
pub fn take<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    // The CPU's tensors are values already: nothing is computed or fetched that could fail.
    tensor.into_data().try_into_vec().expect("f32 values of a tensor on the CPU")
}

/// The values of a tensor on the CPU, row-major, in the tensor's own memory.
pub struct Shared {
    #[cfg(feature = "flex")]
    tensor: <burn::backend::Flex as burn::backend::BackendTypes>::FloatTensorPrimitive,
}

impl Shared {
    /// Of a tensor that [`holds`] accepts. As long as this lives, whoever changes the tensor changes a copy.
    pub fn of<const D: usize>(tensor: &Tensor<D>) -> Self {
        Self {
            #[cfg(feature = "flex")]
            tensor: tensor
                .clone()
                .try_into_primitive::<burn::backend::Flex>()
                .expect("a tensor on the CPU")
                .to_contiguous(),
        }
    }
}

impl Deref for Shared {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        #[cfg(feature = "flex")]
        let values = self.tensor.as_slice().expect("f32 values without gaps");
        #[cfg(not(feature = "flex"))]
        let values = &[];
        values
    }
}

/// A tensor of these values on the CPU.
pub fn give<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    #[cfg(feature = "flex")]
    let device = Device::flex();
    #[cfg(not(feature = "flex"))]
    let device = Device::default();
    Tensor::from_data(TensorData::new(values, shape), &device)
}

/// Zeros for an output, in large pages if it is large: each is touched by whichever thread fills it.
pub fn zeros(len: usize) -> Vec<f32> {
    let mut values = vec![0.0; len];
    ask_for_huge_pages(&mut values);
    values
}
