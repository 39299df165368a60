//! Some examples as the tensors of one pass.

use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};

use crate::error::{Error, Result};
use crate::gpt2::Gpt2;
use crate::train::examples::Example;

/// Token ids padded on the right, and where the targets are.
#[derive(Clone)]
pub(super) struct MicroBatch {
    /// `[B, T]`.
    pub input_ids: Tensor<2, Int>,
    /// Rows of the flattened `[B · T]` whose successors are targets: R of them.
    rows: Vec<i64>,
    /// R ids.
    pub targets: Vec<u32>,
}

impl MicroBatch {
    /// Of examples that fit into the context of `model`.
    ///
    /// # Errors
    /// [`Error::Shape`] if an example is longer than the context or has no target.
    pub fn new(model: &Gpt2, examples: &[&Example]) -> Result<Self> {
        let b = examples.len();
        let t = examples.iter().map(|e| e.input_len()).max().unwrap_or(0);
        if t > model.config().n_positions {
            return Err(Error::Shape(format!(
                "an example of {t} tokens for a context of {}",
                model.config().n_positions
            )));
        }
        let mut input_ids = vec![0; b * t];
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        for (row, example) in examples.iter().enumerate() {
            if example.loss_from == 0 || example.loss_from >= example.token_ids.len() {
                return Err(Error::Shape("an example without a target".into()));
            }
            for (column, &id) in example.token_ids[..example.input_len()].iter().enumerate() {
                input_ids[row * t + column] = i64::from(id);
            }
            for (column, &id) in example.token_ids.iter().enumerate().skip(example.loss_from) {
                rows.push((row * t + column - 1) as i64);
                targets.push(id);
            }
        }
        let input_ids = Tensor::from_data(TensorData::new(input_ids, [b, t]), &model.device());
        Ok(Self { input_ids, rows, targets })
    }

    /// Hidden states that predict the targets, `[R, E]`, of all, `[B, T, E]`.
    pub fn targets_of(&self, hidden: Tensor<3>) -> Tensor<2> {
        let [b, t, e] = hidden.dims();
        let hidden = hidden.reshape([b * t, e]);
        if self.rows.len() == b * t {
            return hidden;
        }
        let rows = Tensor::from_data(self.rows.as_slice(), &hidden.device());
        hidden.select(0, rows)
    }

    /// Gradients of the rows that predict targets, `[R, E]`, in the places of all: `[B, T, E]`.
    pub fn scatter(&self, rows_grad: Tensor<2>, [b, t, e]: [usize; 3]) -> Tensor<3> {
        if self.rows.len() == b * t {
            return rows_grad.reshape([b, t, e]);
        }
        let device = rows_grad.device();
        let rows = Tensor::from_data(self.rows.as_slice(), &device);
        let all = Tensor::<2>::zeros([b * t, e], &device);
        all.select_assign(0, rows, rows_grad, IndexingUpdateOp::Add).reshape([b, t, e])
    }
}
