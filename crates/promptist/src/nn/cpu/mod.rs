//! The layers' slow parts on the CPU, each in one pass over memory where the tensor library takes one an
//! operation. All of it is f32, without gradients: anything else is left to the tensor library.

pub mod attention;
pub mod conv;
pub mod elementwise;
pub mod group_norm;
pub mod kernel;
pub mod matmul;
pub mod transpose;

use burn::tensor::{DType, Tensor, TensorData};

use crate::huge_pages::ask_for_huge_pages;

/// Whether a tensor's values are f32 in this process's memory and no gradient is asked of them.
pub fn holds<const D: usize>(tensor: &Tensor<D>) -> bool {
    #[cfg(feature = "flex")]
    {
        let device = tensor.device();
        tensor.dtype() == DType::F32 && !device.is_autodiff() && device == burn::tensor::Device::flex()
    }
    #[cfg(not(feature = "flex"))]
    {
        let _ = (tensor, DType::F32);
        false
    }
}

/// The values of a tensor that [`holds`] accepts, row-major; a copy only if others hold the tensor too.
pub fn take<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    // The CPU's tensors are values already: nothing is computed or fetched that could fail.
    tensor.into_data().try_into_vec().expect("f32 values of a tensor on the CPU")
}

/// A tensor of these values on the CPU.
pub fn give<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    #[cfg(feature = "flex")]
    let device = burn::tensor::Device::flex();
    #[cfg(not(feature = "flex"))]
    let device = burn::tensor::Device::default();
    Tensor::from_data(TensorData::new(values, shape), &device)
}

/// Zeros for an output, in large pages if it is large: each is touched by whichever thread fills it.
pub fn zeros(len: usize) -> Vec<f32> {
    let mut values = vec![0.0; len];
    ask_for_huge_pages(&mut values);
    values
}
