//! Loss and gradients of a batch, accumulated over micro-batches.
//!
//! Losses and gradients are sums over target tokens; the caller divides by the batch's number of
//! targets. So the cut into micro-batches does not show in the result.

use crate::error::Result;
use crate::gpt2::Gpt2;
use crate::train::adamw::Gradients;
use crate::train::examples::Example;
use crate::train::loss::{head_loss, head_loss_value};
use crate::train::micro_batch::MicroBatch;
use crate::train::trainable::Trainable;
use crate::train::trunk::{self, TrunkPass};

/// Adds the gradients of the summed loss of `examples` to `gradients` and returns that loss, in
/// nats.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if an example is longer than the model's context or has no target.
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
