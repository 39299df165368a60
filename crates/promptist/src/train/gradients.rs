//! Loss and gradients of a batch, accumulated over micro-batches.
//!
//! Losses and gradients are sums over target tokens; the caller divides by the batch's number of
//! targets. So the cut into micro-batches does not show in the result.

use burn::tensor::{Int, Tensor, TensorData};

use crate::error::{Error, Result};
use crate::gpt2::Gpt2;
use crate::nn::{ParameterMap, Parameters};
use crate::train::adamw::Gradients;
use crate::train::examples::Example;
use crate::train::loss::{head_loss, head_loss_value};

/// Adds the gradients of the summed loss of `examples` to `gradients` and returns that loss, in
/// nats.
///
/// # Errors
/// [`Error::Shape`] if an example is longer than the model's context or has no target.
pub fn accumulate(model: &Gpt2, examples: &[&Example], gradients: &mut Gradients) -> Result<f64> {
    let tracked = model.clone().map_parameters("", &mut Track)?;
    let batch = MicroBatch::new(model, examples)?;
    let hidden = batch.target_hidden(&tracked); // [R, E]
    let head = head_loss(&hidden.clone().inner(), model.wte(), &batch.targets)?;

    // The gradient of this sum with respect to the trunk is the loss's: d(H·dH)/dH = dH.
    let surrogate = (hidden * head.hidden_grad.autodiff()).sum();
    let mut collect = Collect { from: surrogate.backward(), into: gradients };
    tracked.visit_parameters(&mut collect)?;
    add(gradients, "wte.weight", head.wte_grad.reshape([-1]));
    Ok(head.loss_sum)
}

/// The summed loss of `examples`, in nats, without gradients.
///
/// # Errors
/// As [`accumulate`].
pub fn loss(model: &Gpt2, examples: &[&Example]) -> Result<f64> {
    let batch = MicroBatch::new(model, examples)?;
    head_loss_value(&batch.target_hidden(model), model.wte(), &batch.targets)
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

    /// Hidden states that predict the targets: `[R, E]`.
    fn target_hidden(&self, model: &Gpt2) -> Tensor<2> {
        let hidden = model.forward(self.input_ids.clone()); // [B, T, E]
        let [b, t, e] = hidden.dims();
        let hidden = hidden.reshape([b * t, e]);
        if self.rows.len() == b * t {
            return hidden;
        }
        hidden.select(0, Tensor::from_data(self.rows.as_slice(), &model.device()))
    }
}

/// Turns parameters into leaves whose gradients are kept.
struct Track;

impl ParameterMap for Track {
    fn map<const D: usize>(&mut self, _: &str, tensor: Tensor<D>) -> Result<Tensor<D>> {
        Ok(tensor.autodiff().require_grad())
    }
}

/// Adds the gradients of a backward pass to the named ones.
struct Collect<'a> {
    from: burn::tensor::Gradients,
    into: &'a mut Gradients,
}

impl ParameterMap for Collect<'_> {
    fn map<const D: usize>(&mut self, name: &str, tensor: Tensor<D>) -> Result<Tensor<D>> {
        let gradient = tensor
            .grad_remove(&mut self.from)
            .ok_or_else(|| Error::Shape(format!("`{name}` has no gradient")))?;
        add(self.into, name, gradient.reshape([-1]));
        Ok(tensor)
    }
}

fn add(gradients: &mut Gradients, name: &str, gradient: Tensor<1>) {
    let sum = match gradients.remove(name) {
        Some(sum) => sum + gradient,
        None => gradient,
    };
    gradients.insert(name.to_owned(), sum);
}
