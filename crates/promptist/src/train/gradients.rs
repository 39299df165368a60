//! Loss and gradients of a batch, accumulated over micro-batches.
//!
//! Losses and gradients are sums over target tokens; the caller divides by the batch's number of
//! targets. So the cut into micro-batches does not show in the result.

use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};

use crate::error::{Error, Result};
use crate::gpt2::Gpt2;
use crate::train::adamw::Gradients;
use crate::train::examples::Example;
use crate::train::loss::{head_loss, head_loss_value};
use crate::train::trainable::Trainable;
use crate::train::trunk::{self, TrunkPass};

/// Adds the gradients of the summed loss of `examples` to `gradients` and returns that loss, in
/// nats.
///
/// # Errors
/// [`Error::Shape`] if an example is longer than the model's context or has no target.
pub fn accumulate(model: &Gpt2, examples: &[&Example], gradients: &mut Gradients) -> Result<f64> {
    let batch = MicroBatch::new(model, examples)?;
    let pass = TrunkPass::forward(model, batch.input_ids.clone(), Trainable::All)?;
    let hidden = pass.hidden(); // [B, T, E]
    let head = head_loss(&batch.targets_of(hidden.clone()), model.wte(), &batch.targets)?;
    let hidden_grad = batch.scatter(head.hidden_grad, hidden.dims());
    drop(hidden);
    trunk::add(gradients, "wte.weight", head.wte_grad.reshape([-1]));
    pass.backward(hidden_grad, gradients)?;
    Ok(head.loss_sum)
}

/// The summed loss of `examples`, in nats, without gradients.
///
/// # Errors
/// As [`accumulate`].
pub fn loss(model: &Gpt2, examples: &[&Example]) -> Result<f64> {
    let batch = MicroBatch::new(model, examples)?;
    let hidden = trunk::hidden_states(model, batch.input_ids.clone())?;
    head_loss_value(&batch.targets_of(hidden), model.wte(), &batch.targets)
}

/// Token ids padded on the right, and where the targets are.
struct MicroBatch {
    /// `[B, T]`.
    input_ids: Tensor<2, Int>,
    /// Rows of the flattened `[B · T]` whose successors are targets: R of them.
    rows: Vec<i64>,
    /// R ids.
    targets: Vec<u32>,
}

impl MicroBatch {
    fn new(model: &Gpt2, examples: &[&Example]) -> Result<Self> {
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
    fn targets_of(&self, hidden: Tensor<3>) -> Tensor<2> {
        let [b, t, e] = hidden.dims();
        let hidden = hidden.reshape([b * t, e]);
        if self.rows.len() == b * t {
            return hidden;
        }
        let rows = Tensor::from_data(self.rows.as_slice(), &hidden.device());
        hidden.select(0, rows)
    }

    /// Gradients of the rows that predict targets, `[R, E]`, in the places of all: `[B, T, E]`.
    fn scatter(&self, rows_grad: Tensor<2>, [b, t, e]: [usize; 3]) -> Tensor<3> {
        if self.rows.len() == b * t {
            return rows_grad.reshape([b, t, e]);
        }
        let device = rows_grad.device();
        let rows = Tensor::from_data(self.rows.as_slice(), &device);
        let all = Tensor::<2>::zeros([b * t, e], &device);
        all.select_assign(0, rows, rows_grad, IndexingUpdateOp::Add).reshape([b, t, e])
    }
}
