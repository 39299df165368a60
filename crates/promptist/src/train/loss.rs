//! The language-model loss: cross-entropy of the next token, through the tied head.
//!
//! The head and the softmax are differentiated by hand. For hidden rows H, head W and targets y,
//! with P = softmax(H Wᵀ), the summed loss is `−Σ log P[y]` and its gradients are
//! dH = (P − onehot(y)) W and dW = (P − onehot(y))ᵀ H. Autodiff would keep the logits and several
//! tensors of their size, which at V = 50257 is most of a step's memory; here they live one chunk of
//! rows at a time, and only dH goes back into the graph.

use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData, activation};

use crate::error::{Error, Result};
use crate::nn::values;

/// Logits in one chunk of rows: 16 Mi numbers, 64 MiB.
const CHUNK_LOGITS: usize = 1 << 24;

/// The loss of some positions and its gradients.
pub struct HeadLoss {
    /// −Σ log p(target), in nats, summed over the rows in f64.
    pub loss_sum: f64,
    /// d `loss_sum` / d `hidden`, `[R, E]`.
    pub hidden_grad: Tensor<2>,
    /// d `loss_sum` / d `wte` through the head alone, `[V, E]`.
    pub wte_grad: Tensor<2>,
}

/// Cross-entropy of `targets` under the head's softmax, with its gradients.
///
/// # Shapes
/// - `hidden`: `[R, E]`, without autodiff
/// - `wte`: `[V, E]`, without autodiff
/// - `targets`: R token ids below V
///
/// # Errors
/// [`Error::Shape`] if the numbers of rows differ.
pub fn head_loss(hidden: &Tensor<2>, wte: &Tensor<2>, targets: &[u32]) -> Result<HeadLoss> {
    let [rows, _] = hidden.dims();
    let [v, e] = wte.dims();
    if rows != targets.len() {
        return Err(Error::Shape(format!("{rows} hidden rows for {} targets", targets.len())));
    }
    let device = hidden.device();
    let chunk_rows = (CHUNK_LOGITS / v).max(1);

    let mut loss_sum = 0.0;
    let mut hidden_grads = Vec::new();
    let mut wte_grad: Option<Tensor<2>> = None;
    for (chunk_idx, chunk) in targets.chunks(chunk_rows).enumerate() {
        let r = chunk.len();
        let hidden = hidden.clone().narrow(0, chunk_idx * chunk_rows, r); // [r, E]
        let targets = chunk.iter().map(|&id| id as i64).collect::<Vec<_>>();
        let targets = Tensor::<2, Int>::from_data(TensorData::new(targets, [r, 1]), &device);

        let logits = hidden.clone().matmul(wte.clone().transpose()); // [r, V]
        let probabilities = activation::softmax(logits, 1);
        let target_probabilities = values(probabilities.clone().gather(1, targets.clone()))?;
        // A probability below f32's range has a loss of 87 nats or more; it counts as 87.
        let log = |p: f32| f64::from(p.max(f32::MIN_POSITIVE)).ln();
        loss_sum -= target_probabilities.into_iter().map(log).sum::<f64>();

        let minus_one = Tensor::<2>::full([r, 1], -1.0, &device);
        let grad = probabilities.scatter(1, targets, minus_one, IndexingUpdateOp::Add); // [r, V]
        hidden_grads.push(grad.clone().matmul(wte.clone())); // [r, E]
        let chunk_grad = grad.transpose().matmul(hidden); // [V, E]
        wte_grad = Some(match wte_grad {
            Some(sum) => sum + chunk_grad,
            None => chunk_grad,
        });
    }
    Ok(HeadLoss {
        loss_sum,
        hidden_grad: match hidden_grads.len() {
            0 => hidden.zeros_like(),
            _ => Tensor::cat(hidden_grads, 0),
        },
        wte_grad: wte_grad.unwrap_or_else(|| Tensor::zeros([v, e], &device)),
    })
}

/// −Σ log p(target), in nats, without gradients. Shapes as [`head_loss`].
///
/// # Errors
/// [`Error::Shape`] if the numbers of rows differ.
pub fn head_loss_value(hidden: &Tensor<2>, wte: &Tensor<2>, targets: &[u32]) -> Result<f64> {
    Ok(target_logprobs(hidden, wte, targets)?.into_iter().map(|logprob| -f64::from(logprob)).sum())
}

/// log p(target) of every row, in nats. Shapes as [`head_loss`].
///
/// # Errors
/// [`Error::Shape`] if the numbers of rows differ.
pub fn target_logprobs(hidden: &Tensor<2>, wte: &Tensor<2>, targets: &[u32]) -> Result<Vec<f32>> {
    let [rows, _] = hidden.dims();
    let [v, _] = wte.dims();
    if rows != targets.len() {
        return Err(Error::Shape(format!("{rows} hidden rows for {} targets", targets.len())));
    }
    let chunk_rows = (CHUNK_LOGITS / v).max(1);
    let mut logprobs = Vec::with_capacity(rows);
    for (chunk_idx, chunk) in targets.chunks(chunk_rows).enumerate() {
        let r = chunk.len();
        let hidden = hidden.clone().narrow(0, chunk_idx * chunk_rows, r); // [r, E]
        let targets = chunk.iter().map(|&id| id as i64).collect::<Vec<_>>();
        let targets = Tensor::<2, Int>::from_data(TensorData::new(targets, [r, 1]), &hidden.device());
        let logits = hidden.matmul(wte.clone().transpose()); // [r, V]
        logprobs.extend(values(activation::log_softmax(logits, 1).gather(1, targets))?);
    }
    Ok(logprobs)
}
