//! The tied head: log-probabilities of targets, and what a loss made of them asks of hidden states and head.
//!
//! The head and the softmax are differentiated by hand. For hidden rows H, head W, targets y and
//! P = softmax(H Wᵀ), a loss whose derivative by log P[y] is w has, for the logits, the gradient
//! G = w (onehot(y) − P), and so dH = G W and dW = Gᵀ H. Cross-entropy is w = −1. Autodiff would keep
//! the logits and several tensors of their size, which at V = 50257 is most of a step's memory; here
//! they live one chunk of rows at a time, on the CPU in our own products ([`cpu`]).

mod cpu;

use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData, activation};

use crate::error::{Error, Result};
use crate::nn;
use crate::nn::cpu::Shared;
use crate::nn::values;

/// Logits in one chunk of rows: 16 Mi numbers, 64 MiB.
const CHUNK_LOGITS: usize = 1 << 24;

/// What the head says of some positions' targets, a number a row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TargetLogprobs {
    /// log p(target), in nats.
    pub logprobs: Vec<f32>,
    /// −Σ p log p over the vocabulary, in nats.
    pub entropies: Vec<f32>,
}

/// Gradients of a loss made of log-probabilities.
pub struct HeadGradients {
    /// What the loss was made of.
    pub targets: TargetLogprobs,
    /// d loss / d `hidden`, `[R, E]`.
    pub hidden_grad: Tensor<2>,
    /// d loss / d `wte` through the head alone, `[V, E]`.
    pub wte_grad: Tensor<2>,
}

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
/// As [`target_logprobs_backward`].
///
/// # Errors
/// As [`target_logprobs`].
pub fn head_loss(hidden: &Tensor<2>, wte: &Tensor<2>, targets: &[u32]) -> Result<HeadLoss> {
    let HeadGradients { targets, hidden_grad, wte_grad } =
        target_logprobs_backward(hidden, wte, targets, |_, _| -1.0)?;
    Ok(HeadLoss { loss_sum: nats(&targets.logprobs), hidden_grad, wte_grad })
}

/// −Σ log p(target), in nats, without gradients. Shapes as [`target_logprobs`].
///
/// # Errors
/// As [`target_logprobs`].
pub fn head_loss_value(hidden: &Tensor<2>, wte: &Tensor<2>, targets: &[u32]) -> Result<f64> {
    Ok(nats(&target_logprobs(hidden, wte, targets)?.logprobs))
}

fn nats(logprobs: &[f32]) -> f64 {
    logprobs.iter().map(|&logprob| -f64::from(logprob)).sum()
}

/// log p(target) of every row, and the entropy of what it was drawn from.
///
/// # Shapes
/// - `hidden`: `[R, E]`, without autodiff
/// - `wte`: `[V, E]`, without autodiff
/// - `targets`: R token ids below V
///
/// # Errors
/// [`Error::Shape`] if the numbers of rows differ or a target is not in the vocabulary.
pub fn target_logprobs(hidden: &Tensor<2>, wte: &Tensor<2>, targets: &[u32]) -> Result<TargetLogprobs> {
    check(hidden, wte, targets)?;
    if nn::cpu::holds(hidden) && nn::cpu::holds(wte) {
        let (hidden, wte, width) = (Shared::of(hidden), Shared::of(wte), wte.dims()[1]);
        return Ok(cpu::target_logprobs(&hidden, cpu::Head { wte: &wte, width }, targets));
    }
    let mut found = TargetLogprobs::default();
    for (first, chunk) in chunks(targets, wte) {
        let hidden = hidden.clone().narrow(0, first, chunk.len());
        forward_chunk(hidden, wte, chunk, &mut found)?;
    }
    Ok(found)
}

/// The same, and the gradients of a loss whose derivative by row r's log-probability is
/// `weight(r, log p)`: −1 for cross-entropy, the derivative of the clipped ratio for PPO.
///
/// # Shapes
/// - as [`target_logprobs`]
/// - gradients in the shapes of `hidden` and `wte`
///
/// # Errors
/// As [`target_logprobs`].
pub fn target_logprobs_backward(
    hidden: &Tensor<2>,
    wte: &Tensor<2>,
    targets: &[u32],
    weight: impl Fn(usize, f32) -> f32,
) -> Result<HeadGradients> {
    check(hidden, wte, targets)?;
    if nn::cpu::holds(hidden) && nn::cpu::holds(wte) {
        let (shapes, width) = ((hidden.dims(), wte.dims()), wte.dims()[1]);
        let (hidden, wte) = (Shared::of(hidden), Shared::of(wte));
        let head = cpu::Head { wte: &wte, width };
        let (targets, gradients) = cpu::target_logprobs_backward(&hidden, head, targets, weight);
        return Ok(HeadGradients {
            targets,
            hidden_grad: nn::cpu::give(gradients.hidden, shapes.0),
            wte_grad: nn::cpu::give(gradients.wte, shapes.1),
        });
    }
    by_device(hidden, wte, targets, weight)
}

/// The same through the tensor library.
fn by_device(
    hidden: &Tensor<2>,
    wte: &Tensor<2>,
    targets: &[u32],
    weight: impl Fn(usize, f32) -> f32,
) -> Result<HeadGradients> {
    let device = hidden.device();
    let mut found = TargetLogprobs::default();
    let mut hidden_grads = Vec::new();
    let mut wte_grad: Option<Tensor<2>> = None;
    for (first, chunk) in chunks(targets, wte) {
        let r = chunk.len();
        let hidden = hidden.clone().narrow(0, first, r); // [r, E]
        let probabilities = forward_chunk(hidden.clone(), wte, chunk, &mut found)?.exp(); // [r, V]
        let weights: Vec<f32> = (first..first + r).map(|row| weight(row, found.logprobs[row])).collect();
        let weights = Tensor::<2>::from_data(TensorData::new(weights, [r, 1]), &device);
        let grad = (probabilities * -weights.clone()).scatter(
            1,
            ids(chunk, &device),
            weights,
            IndexingUpdateOp::Add,
        ); // [r, V]
        hidden_grads.push(grad.clone().matmul(wte.clone())); // [r, E]
        let chunk_grad = grad.transpose().matmul(hidden); // [V, E]
        wte_grad = Some(match wte_grad {
            Some(sum) => sum + chunk_grad,
            None => chunk_grad,
        });
    }
    Ok(HeadGradients {
        targets: found,
        hidden_grad: match hidden_grads.len() {
            0 => hidden.zeros_like(),
            _ => Tensor::cat(hidden_grads, 0),
        },
        wte_grad: wte_grad.unwrap_or_else(|| wte.zeros_like()),
    })
}

fn check(hidden: &Tensor<2>, wte: &Tensor<2>, targets: &[u32]) -> Result<()> {
    let ([rows, width], [v, e]) = (hidden.dims(), wte.dims());
    if width != e {
        return Err(Error::Shape(format!("hidden rows of {width} for a head of {e}")));
    }
    if rows != targets.len() {
        return Err(Error::Shape(format!("{rows} hidden rows for {} targets", targets.len())));
    }
    match targets.iter().find(|&&id| id as usize >= v) {
        Some(id) => Err(Error::Shape(format!("the target {id} in a vocabulary of {v}"))),
        None => Ok(()),
    }
}

/// Targets whose logits are held at once, and the first one's row.
fn chunks<'a>(targets: &'a [u32], wte: &Tensor<2>) -> impl Iterator<Item = (usize, &'a [u32])> {
    let size = (CHUNK_LOGITS / wte.dims()[0].max(1)).max(1);
    targets.chunks(size).enumerate().map(move |(idx, chunk)| (idx * size, chunk))
}

/// Log-probabilities of a chunk, `[r, V]`; what they say of the targets goes to `found`.
fn forward_chunk(
    hidden: Tensor<2>,
    wte: &Tensor<2>,
    targets: &[u32],
    found: &mut TargetLogprobs,
) -> Result<Tensor<2>> {
    let targets = ids(targets, &hidden.device());
    let logprobs = activation::log_softmax(hidden.matmul(wte.clone().transpose()), 1); // [r, V]
    found.logprobs.extend(values(logprobs.clone().gather(1, targets))?);
    let entropies = (logprobs.clone().exp() * logprobs.clone()).sum_dim(1);
    found.entropies.extend(values(-entropies)?);
    Ok(logprobs)
}

/// `[r, 1]`.
fn ids(targets: &[u32], device: &burn::tensor::Device) -> Tensor<2, Int> {
    let ids: Vec<i64> = targets.iter().map(|&id| i64::from(id)).collect();
    Tensor::from_data(TensorData::new(ids, [targets.len(), 1]), device)
}
