//! Walking over a model's parameters by name: loading, saving, optimising and averaging are each one
//! [`ParameterMap`].

use burn::tensor::{Tensor, TensorData};

use crate::error::{Error, Result};

/// A parameter on the host: name, shape, row-major values.
pub type NamedParameter = (String, Vec<usize>, Vec<f32>);

/// Something that is done to every parameter in turn, in a fixed order.
pub trait ParameterMap {
    /// Replaces the parameter `name`, a name of the checkpoint without the prefix of its whole model.
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

    /// The same model with what `read(name, shape)` returns, row-major, in every parameter's place, in the
    /// dtype and on the device of the parameter it replaces.
    ///
    /// # Errors
    /// Whatever `read` returns; [`Error::Shape`] if it returns too few or too many values.
    fn load(self, read: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>) -> Result<Self> {
        struct Load<F>(F);
        impl<F: FnMut(&str, &[usize]) -> Result<Vec<f32>>> ParameterMap for Load<F> {
            fn map<const D: usize>(&mut self, name: &str, tensor: Tensor<D>) -> Result<Tensor<D>> {
                let shape = tensor.shape();
                let values = (self.0)(name, &tensor.dims())?;
                if values.len() != shape.num_elements() {
                    return Err(Error::Shape(format!("`{name}`: {} values", values.len())));
                }
                let options = (&tensor.device(), tensor.dtype());
                Ok(Tensor::from_data(TensorData::new(values, shape), options))
            }
        }
        self.map_parameters("", &mut Load(read))
    }

    /// Every parameter's name, shape and values, in the order of the walk.
    ///
    /// # Errors
    /// [`Error::Shape`] if the device does not give a tensor back.
    fn to_parameters(&self) -> Result<Vec<NamedParameter>> {
        struct Save(Vec<NamedParameter>);
        impl ParameterMap for Save {
            fn map<const D: usize>(&mut self, name: &str, tensor: Tensor<D>) -> Result<Tensor<D>> {
                let shape = tensor.dims().to_vec();
                self.0.push((name.to_owned(), shape, super::values(tensor.clone())?));
                Ok(tensor)
            }
        }
        let mut save = Save(Vec::new());
        self.visit_parameters(&mut save)?;
        Ok(save.0)
    }

    /// Every parameter's name and shape, in the order of the walk.
    ///
    /// # Errors
    /// None today; walking over parameters can fail.
    fn parameter_shapes(&self) -> Result<Vec<(String, Vec<usize>)>> {
        struct Shapes(Vec<(String, Vec<usize>)>);
        impl ParameterMap for Shapes {
            fn map<const D: usize>(&mut self, name: &str, tensor: Tensor<D>) -> Result<Tensor<D>> {
                self.0.push((name.to_owned(), tensor.dims().to_vec()));
                Ok(tensor)
            }
        }
        let mut shapes = Shapes(Vec::new());
        self.visit_parameters(&mut shapes)?;
        Ok(shapes.0)
    }
}
