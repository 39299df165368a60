//! The tied head: log-probabilities of targets, and what a loss made of them asks of hidden states and head.
//!
//! The head and the softmax are differentiated by hand. For hidden rows H, head W, targets y and
//! P = softmax(H Wᵀ), a loss whose derivative by `log P[y]` is w has, for the logits, the gradient
//! G = w (onehot(y) − P), and so dH = G W and dW = Gᵀ H. Cross-entropy is w = −1. Autodiff would keep
//! the logits and several tensors of their size, which at V = 50257 is most of a step's memory; here
//! they live one chunk of rows at a time, on the CPU in our own products (`cpu`).

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

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::Device;
    use proptest::prelude::*;

    use super::*;

    /// Of the largest gradient: a few hundred roundings of f32.
    const GRADIENT_TOLERANCE: f32 = 5e-6;
    /// Nats.
    const LOGPROB_TOLERANCE: f32 = 1e-5;

    fn matrix(seed: usize, rows: usize, columns: usize) -> Tensor<2> {
        let number = |i: usize| ((i * 7919 + seed * 104_729 + i * i % 1013) % 2003) as f32 / 1001.0 - 1.0;
        let values: Vec<f32> = (0..rows * columns).map(number).collect();
        Tensor::from_data(TensorData::new(values, [rows, columns]), &Device::flex())
    }

    fn difference(found: &[f32], expected: &[f32]) -> f32 {
        assert_eq!(found.len(), expected.len());
        let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
        differences.fold(0.0, |max, d| if d.is_nan() { f32::INFINITY } else { max.max(d) })
    }

    /// Ours and the tensor library's way against its autodiff; the weights hang on log-probabilities.
    fn check(rows: usize, v: usize, e: usize) {
        let (hidden, wte) = (matrix(1, rows, e), matrix(2, v, e) * 2.0);
        let targets: Vec<u32> = (0..rows).map(|row| (row * 31 % v) as u32).collect();
        let weight = |row: usize, logprob: f32| {
            if row.is_multiple_of(3) { 0.0 } else { logprob * (row % 5) as f32 - 0.5 }
        };

        let (h, w) = (hidden.clone().autodiff().require_grad(), wte.clone().autodiff().require_grad());
        let logprobs = activation::log_softmax(h.clone().matmul(w.clone().transpose()), 1);
        let entropies = values(-(logprobs.clone().inner().exp() * logprobs.clone().inner()).sum_dim(1));
        let of_targets = logprobs.gather(1, ids(&targets, &hidden.device()).autodiff());
        let expected = values(of_targets.clone().inner()).expect("readable");
        let weights: Vec<f32> = expected.iter().enumerate().map(|(row, &p)| weight(row, p)).collect();
        let weights = Tensor::<2>::from_data(TensorData::new(weights, [rows, 1]), &hidden.device());
        let mut grads = (of_targets * weights.autodiff()).sum().backward();
        let expected_grads =
            [h, w].map(|x| values(x.grad_remove(&mut grads).expect("a leaf")).expect("readable"));

        for found in [
            target_logprobs_backward(&hidden, &wte, &targets, weight).expect("as many rows"),
            by_device(&hidden, &wte, &targets, weight).expect("as many rows"),
        ] {
            assert!(difference(&found.targets.logprobs, &expected) <= LOGPROB_TOLERANCE);
            let entropies = entropies.as_ref().expect("readable");
            assert!(difference(&found.targets.entropies, entropies) <= LOGPROB_TOLERANCE);
            for (found, expected) in [found.hidden_grad, found.wte_grad].into_iter().zip(&expected_grads) {
                let found = values(found).expect("readable");
                let largest = expected.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
                let error = difference(&found, expected) / largest.max(1e-1);
                assert!(error <= GRADIENT_TOLERANCE, "{rows} x {v} x {e}: {error:e}");
            }
        }
        let alone = target_logprobs(&hidden, &wte, &targets).expect("as many rows");
        assert_eq!(
            alone,
            target_logprobs_backward(&hidden, &wte, &targets, weight).expect("as before").targets
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
        #[test]
        fn gradients_with_weights_are_autodiffs(rows in 1..70_usize, v in 2..90_usize, e in 1..20_usize) {
            check(rows, v, e);
        }
    }

    #[test]
    fn more_rows_and_entries_than_are_held_at_once() {
        check(1100, 2100, 8);
    }

    #[test]
    fn cross_entropy_is_a_weight_of_minus_one() {
        let (hidden, wte) = (matrix(1, 7, 5), matrix(2, 11, 5));
        let targets = [0, 3, 10, 10, 4, 1, 3];
        let loss = head_loss(&hidden, &wte, &targets).expect("as many rows");
        let minus = target_logprobs_backward(&hidden, &wte, &targets, |_, _| -1.0).expect("as many rows");
        assert_eq!(values(loss.hidden_grad).expect("read"), values(minus.hidden_grad).expect("read"));
        let sum = head_loss_value(&hidden, &wte, &targets).expect("as many rows");
        assert_eq!(loss.loss_sum, sum);
        // Gradients of a loss of log-probabilities: those of each row add up to 0 over the vocabulary.
        let columns = values(minus.wte_grad.sum_dim(0)).expect("read");
        assert!(columns.iter().all(|sum| sum.abs() < 1e-5), "{columns:?}");
    }

    #[test]
    fn certain_and_impossible_targets_have_finite_gradients() {
        let hidden = Tensor::<2>::from_data([[300.0_f32], [300.0]], &Device::flex());
        let wte = Tensor::<2>::from_data([[1.0_f32], [-1.0]], &Device::flex());
        let found = target_logprobs_backward(&hidden, &wte, &[0, 1], |_, _| -1.0).expect("two rows");
        assert_eq!(found.targets.logprobs, [0.0, -600.0]);
        assert_eq!(found.targets.entropies, [0.0, 0.0]);
        assert_eq!(values(found.hidden_grad).expect("read"), [0.0, 2.0]);
        assert_eq!(values(found.wte_grad).expect("read"), [300.0, -300.0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (hidden, wte) = (matrix(1, 2, 3), matrix(2, 5, 3));
        assert!(matches!(target_logprobs(&hidden, &wte, &[1]), Err(Error::Shape(_))));
        assert!(matches!(target_logprobs(&hidden, &wte, &[1, 5]), Err(Error::Shape(_))));
        assert!(matches!(target_logprobs(&hidden, &matrix(2, 5, 4), &[1, 2]), Err(Error::Shape(_))));
        let none = head_loss(&matrix(1, 0, 3), &wte, &[]).expect("no rows");
        assert_eq!((none.loss_sum, none.hidden_grad.dims(), none.wte_grad.dims()), (0.0, [0, 3], [5, 3]));
    }
}
