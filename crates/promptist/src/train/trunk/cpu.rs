//! The trunk on the CPU, differentiated by hand.
//!
//! Of each block the forward pass keeps its input, queries, keys and values, what was attended to, what
//! follows the attention, and the MLP's inner layer before its activation: ten numbers for each of the
//! residual stream. Norms and activations are computed again, in the pass that needs their gradient anyway;
//! attention scores never exist but in tiles.

use std::collections::BTreeMap;

use burn::tensor::{Int, Tensor};

use super::{add_to, change};
use crate::error::{Error, Result};
use crate::gpt2::{Gpt2, Gpt2Config};
use crate::nn::cpu::attention::{Shape, attention};
use crate::nn::cpu::attention_gradient::{Forward, attention_gradient};
use crate::nn::cpu::buffers::{buffer, recycle, zeroed};
use crate::nn::cpu::column_sums::{add, column_sums};
use crate::nn::cpu::layer_norm::{Statistics, normalize, normalize_gradient, statistics};
use crate::nn::cpu::matmul::{Matrix, Onto, matmul_parallel};
use crate::nn::cpu::transpose::transpose;
use crate::nn::cpu::{Shared, give, mlp};
use crate::nn::{Mask, ParameterMap, Parameters};
use crate::train::adamw::Gradients;
use crate::train::trainable::Trainable;

/// What the backward pass needs.
pub(super) struct CpuPass {
    trunk: Trunk,
    batch: Batch,
    blocks: Vec<SavedBlock>,
    /// The residual stream before `ln_f`: `[R, E]`, where R is B · T.
    last: Vec<f32>,
    last_statistics: Vec<Statistics>,
    /// `[B, T, E]`.
    hidden: Tensor<3>,
    trainable: Trainable,
}

impl CpuPass {
    /// As [`super::TrunkPass::forward`].
    pub fn forward(model: &Gpt2, input_ids: Tensor<2, Int>, trainable: Trainable) -> Result<Self> {
        let (trunk, batch) = (Trunk::of(model)?, Batch::new(model, input_ids)?);
        let mut blocks = Vec::with_capacity(trunk.blocks.len());
        let last = trunk.forward(&batch, |block| blocks.push(block));
        let (hidden, last_statistics) = trunk.final_norm(&last);
        let hidden = give(hidden, [batch.rows, batch.len, trunk.config.n_embd]);
        Ok(Self { trunk, batch, blocks, last, last_statistics, hidden, trainable })
    }

    /// `[B, T, E]`.
    pub fn hidden(&self) -> Tensor<3> {
        self.hidden.clone()
    }

    /// As [`super::TrunkPass::backward`].
    pub fn backward(self, hidden_grad: &[f32], gradients: &mut Gradients) -> Result<()> {
        let Self { trunk, batch, blocks, last, last_statistics, hidden, trainable } = self;
        drop(hidden);
        let mut backward =
            Backward { config: &trunk.config, batch: &batch, gradients, room: Room::default() };
        let mut grad = zeroed(last.len());
        let ln_f = normalize_gradient(&last, &last_statistics, &trunk.ln_f.weight, hidden_grad, &mut grad);
        backward.add_norm("ln_f", ln_f);
        recycle(last);
        for (idx, (weights, saved)) in trunk.blocks.iter().zip(blocks).enumerate().rev() {
            let prefix = format!("h.{idx}");
            let trains = trainable.includes(&prefix, trunk.blocks.len());
            backward.block(weights, saved, trains.then_some(prefix.as_str()), &mut grad, idx);
        }
        backward.embeddings(&grad);
        backward.room.recycle();
        recycle(grad);
        Ok(())
    }
}

/// As [`super::hidden_states`].
pub(super) fn hidden_states(model: &Gpt2, input_ids: Tensor<2, Int>) -> Result<Tensor<3>> {
    let (trunk, batch) = (Trunk::of(model)?, Batch::new(model, input_ids)?);
    let last = trunk.forward(&batch, SavedBlock::recycle);
    let (hidden, _) = trunk.final_norm(&last);
    recycle(last);
    Ok(give(hidden, [batch.rows, batch.len, trunk.config.n_embd]))
}

/// Token ids of B sequences of T.
struct Batch {
    ids: Vec<usize>,
    rows: usize,
    len: usize,
}

impl Batch {
    fn new(model: &Gpt2, input_ids: Tensor<2, Int>) -> Result<Self> {
        let [rows, len] = input_ids.dims();
        let Gpt2Config { n_positions, vocab_size, .. } = *model.config();
        if len > n_positions {
            return Err(Error::Shape(format!("{len} tokens for a context of {n_positions}")));
        }
        let ids = input_ids.try_into_vec_as::<i64>();
        let ids = ids.map_err(|e| Error::Shape(format!("reading token ids: {e:?}")))?;
        if ids.is_empty() {
            return Err(Error::Shape("a batch without tokens".into()));
        }
        let in_vocabulary = |id: i64| match usize::try_from(id) {
            Ok(id) if id < vocab_size => Ok(id),
            _ => Err(Error::Shape(format!("the token id {id} in a vocabulary of {vocab_size}"))),
        };
        Ok(Self { ids: ids.into_iter().map(in_vocabulary).collect::<Result<_>>()?, rows, len })
    }

    /// R.
    fn tokens(&self) -> usize {
        self.ids.len()
    }
}

/// A model's parameters, where they are.
struct Trunk {
    config: Gpt2Config,
    wte: Shared,
    wpe: Shared,
    blocks: Vec<BlockWeights>,
    ln_f: Pair,
}

struct BlockWeights {
    ln_1: Pair,
    c_attn: Pair,
    attn_c_proj: Pair,
    ln_2: Pair,
    c_fc: Pair,
    mlp_c_proj: Pair,
}

/// Of a norm, or of a projection, `[in, out]` and `[out]`.
struct Pair {
    weight: Shared,
    bias: Shared,
}

/// What is kept of a block.
struct SavedBlock {
    /// `[R, E]`.
    input: Vec<f32>,
    statistics_1: Vec<Statistics>,
    /// `[R, 3E]`.
    qkv: Vec<f32>,
    /// `[R, N]`.
    log_sums: Vec<f32>,
    /// `[R, E]`.
    attended: Vec<f32>,
    /// The residual stream between attention and MLP: `[R, E]`.
    middle: Vec<f32>,
    statistics_2: Vec<Statistics>,
    /// `[R, n_inner]`, before the activation.
    inner: Vec<f32>,
}

impl SavedBlock {
    fn recycle(self) {
        for buffer in [self.input, self.qkv, self.attended, self.middle, self.inner] {
            recycle(buffer);
        }
    }
}

impl Trunk {
    fn of(model: &Gpt2) -> Result<Self> {
        struct Share(BTreeMap<String, Shared>);
        impl ParameterMap for Share {
            fn map<const D: usize>(&mut self, name: &str, tensor: Tensor<D>) -> Result<Tensor<D>> {
                self.0.insert(name.to_owned(), Shared::of(&tensor));
                Ok(tensor)
            }
        }
        let mut share = Share(BTreeMap::new());
        model.visit_parameters(&mut share)?;
        let mut take = |name: String| {
            share.0.remove(&name).ok_or_else(|| Error::Shape(format!("the model has no `{name}`")))
        };
        let wte = take("wte.weight".into())?;
        let wpe = take("wpe.weight".into())?;
        let mut pair = |name: String| -> Result<Pair> {
            Ok(Pair { weight: take(format!("{name}.weight"))?, bias: take(format!("{name}.bias"))? })
        };
        let mut block = |idx: usize| -> Result<BlockWeights> {
            Ok(BlockWeights {
                ln_1: pair(format!("h.{idx}.ln_1"))?,
                c_attn: pair(format!("h.{idx}.attn.c_attn"))?,
                attn_c_proj: pair(format!("h.{idx}.attn.c_proj"))?,
                ln_2: pair(format!("h.{idx}.ln_2"))?,
                c_fc: pair(format!("h.{idx}.mlp.c_fc"))?,
                mlp_c_proj: pair(format!("h.{idx}.mlp.c_proj"))?,
            })
        };
        let config = model.config().clone();
        let blocks = (0..config.n_layer).map(&mut block).collect::<Result<_>>()?;
        Ok(Self { wte, wpe, blocks, ln_f: pair("ln_f".into())?, config })
    }

    /// All blocks: the residual stream before `ln_f`, `[R, E]`.
    fn forward(&self, batch: &Batch, mut keep: impl FnMut(SavedBlock)) -> Vec<f32> {
        let mut x = self.embed(batch);
        let mut room = Room::default();
        for (idx, weights) in self.blocks.iter().enumerate() {
            let (output, saved) = self.block(idx, weights, batch, x, &mut room);
            x = output;
            keep(saved);
        }
        room.recycle();
        x
    }

    fn embed(&self, batch: &Batch) -> Vec<f32> {
        let e = self.config.n_embd;
        let mut x = buffer(batch.tokens() * e);
        for (row, (x, &id)) in x.chunks_exact_mut(e).zip(&batch.ids).enumerate() {
            let position = row % batch.len;
            x.copy_from_slice(&self.wte[id * e..][..e]);
            add(&self.wpe[position * e..][..e], x);
        }
        x
    }

    fn block(
        &self,
        idx: usize,
        weights: &BlockWeights,
        batch: &Batch,
        input: Vec<f32>,
        room: &mut Room,
    ) -> (Vec<f32>, SavedBlock) {
        let Gpt2Config { n_embd: e, layer_norm_epsilon: epsilon, .. } = self.config;
        let (rows, inner_width) = (batch.tokens(), self.config.n_inner());

        let statistics_1 = statistics(&input, e, epsilon);
        let normed = of_len(&mut room.narrow, rows * e);
        normalize(&input, &statistics_1, &weights.ln_1.weight, &weights.ln_1.bias, normed);
        let mut qkv = buffer(rows * 3 * e);
        project(normed, &weights.c_attn, &mut qkv);
        let (query, key, value) = (&qkv, &qkv[e..], &qkv[2 * e..]);
        let (attended, log_sums) = attention(query, key, value, attention_shape(&self.config, batch, idx));
        let middle = project_onto(&input, &attended, &weights.attn_c_proj);

        let statistics_2 = statistics(&middle, e, epsilon);
        normalize(&middle, &statistics_2, &weights.ln_2.weight, &weights.ln_2.bias, normed);
        let mut inner = buffer(rows * inner_width);
        project(normed, &weights.c_fc, &mut inner);
        let activated = of_len(&mut room.wide, inner.len());
        mlp::activate(self.config.activation_function, &inner, activated);
        let output = project_onto(&middle, activated, &weights.mlp_c_proj);

        let saved = SavedBlock { input, statistics_1, qkv, log_sums, attended, middle, statistics_2, inner };
        (output, saved)
    }

    /// `[R, E]`.
    fn final_norm(&self, last: &[f32]) -> (Vec<f32>, Vec<Statistics>) {
        let statistics = statistics(last, self.config.n_embd, self.config.layer_norm_epsilon);
        let mut hidden = buffer(last.len());
        normalize(last, &statistics, &self.ln_f.weight, &self.ln_f.bias, &mut hidden);
        (hidden, statistics)
    }
}

fn attention_shape(config: &Gpt2Config, batch: &Batch, idx: usize) -> Shape {
    Shape {
        batch: batch.rows,
        queries: batch.len,
        keys: batch.len,
        width: config.n_embd,
        stride: 3 * config.n_embd,
        num_heads: config.n_head,
        scale: config.attention_scale(idx) as f32,
        mask: Mask::Causal,
    }
}

/// `x · weight + bias`: `[R, in]` to `[R, out]`.
fn project(x: &[f32], Pair { weight, bias }: &Pair, output: &mut [f32]) {
    multiply(x, weight, bias.len(), output, Onto::Columns(bias));
}

/// `onto + x · weight + bias`.
fn project_onto(onto: &[f32], x: &[f32], Pair { weight, bias }: &Pair) -> Vec<f32> {
    let mut output = buffer(onto.len());
    for (output, onto) in output.chunks_exact_mut(bias.len()).zip(onto.chunks_exact(bias.len())) {
        output.copy_from_slice(onto);
        add(bias, output);
    }
    multiply(x, weight, bias.len(), &mut output, Onto::Output);
    output
}

fn multiply(x: &[f32], weight: &[f32], d_out: usize, output: &mut [f32], onto: Onto) {
    let (rows, d_in) = (output.len() / d_out, weight.len() / d_out);
    let weight = Matrix::rows(weight, d_in, d_out, d_out);
    matmul_parallel(output, [rows, d_in, d_out], Matrix::rows(x, rows, d_in, d_in), &weight, onto);
}

/// Memory that every block uses again.
#[derive(Default)]
struct Room {
    /// `[R, E]`.
    narrow: Vec<f32>,
    /// `[R, n_inner]`.
    wide: Vec<f32>,
    /// `[R, 3E]`.
    qkv: Vec<f32>,
    /// A left factor of a weight's gradient, its rows and columns exchanged.
    turned: Vec<f32>,
}

impl Room {
    fn recycle(self) {
        for buffer in [self.narrow, self.wide, self.qkv, self.turned] {
            recycle(buffer);
        }
    }
}

fn of_len(room: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if room.len() < len {
        recycle(std::mem::replace(room, buffer(len)));
    }
    &mut room[..len]
}

struct Backward<'a> {
    config: &'a Gpt2Config,
    batch: &'a Batch,
    gradients: &'a mut Gradients,
    room: Room,
}

impl Backward<'_> {
    /// Turns the gradient of a block's output, in place, into that of its input. Without a `prefix` the
    /// block's own parameters get none.
    fn block(
        &mut self,
        weights: &BlockWeights,
        saved: SavedBlock,
        prefix: Option<&str>,
        grad: &mut [f32],
        idx: usize,
    ) {
        let mut room = std::mem::take(&mut self.room);
        let SavedBlock { input, statistics_1, qkv, log_sums, attended, middle, statistics_2, mut inner } =
            saved;
        let named = |part: &str| prefix.map(|prefix| format!("{prefix}.{part}"));

        // output = middle + c_proj(activation(c_fc(ln_2(middle))))
        let inner_grad = of_len(&mut room.wide, inner.len());
        project_gradient(grad, &weights.mlp_c_proj, inner_grad);
        mlp::activate_with_gradient(self.config.activation_function, &mut inner, inner_grad);
        self.add_projection(named("mlp.c_proj"), &inner, grad, &mut room.turned);
        recycle(inner);
        let narrow = of_len(&mut room.narrow, middle.len());
        if let Some(name) = named("mlp.c_fc") {
            normalize(&middle, &statistics_2, &weights.ln_2.weight, &weights.ln_2.bias, narrow);
            self.add_projection(Some(name), narrow, inner_grad, &mut room.turned);
        }
        project_gradient(inner_grad, &weights.c_fc, narrow);
        let ln_2 = normalize_gradient(&middle, &statistics_2, &weights.ln_2.weight, narrow, grad);
        recycle(middle);

        // middle = input + c_proj(attention(c_attn(ln_1(input))))
        self.add_projection(named("attn.c_proj"), &attended, grad, &mut room.turned);
        project_gradient(grad, &weights.attn_c_proj, narrow);
        let qkv_grad = of_len(&mut room.qkv, qkv.len());
        let forward = Forward { qkv: &qkv, output: &attended, log_sums: &log_sums };
        attention_gradient(forward, narrow, attention_shape(self.config, self.batch, idx), qkv_grad);
        recycle(qkv);
        recycle(attended);
        if let Some(name) = named("attn.c_attn") {
            normalize(&input, &statistics_1, &weights.ln_1.weight, &weights.ln_1.bias, narrow);
            self.add_projection(Some(name), narrow, qkv_grad, &mut room.turned);
        }
        project_gradient(qkv_grad, &weights.c_attn, narrow);
        let ln_1 = normalize_gradient(&input, &statistics_1, &weights.ln_1.weight, narrow, grad);
        recycle(input);

        if let Some(prefix) = prefix {
            self.add_norm(&format!("{prefix}.ln_1"), ln_1);
            self.add_norm(&format!("{prefix}.ln_2"), ln_2);
        }
        self.room = room;
    }

    /// Weight and bias of a projection of `x`, `[R, in]`, given the gradient of what came out, `[R, out]`.
    fn add_projection(&mut self, name: Option<String>, x: &[f32], grad: &[f32], turned: &mut Vec<f32>) {
        let Some(name) = name else { return };
        let rows = self.batch.tokens();
        let (d_in, d_out) = (x.len() / rows, grad.len() / rows);
        let turned = of_len(turned, x.len());
        transpose(x, [rows, d_in], d_in, turned);
        change(self.gradients, &format!("{name}.weight"), d_in * d_out, |sum, onto| {
            let (left, right) =
                (Matrix::rows(turned, d_in, rows, rows), Matrix::rows(grad, rows, d_out, d_out));
            matmul_parallel(sum, [d_in, rows, d_out], left, &right, onto);
        });
        add_to(self.gradients, &format!("{name}.bias"), d_out, |sum| column_sums(grad, sum));
    }

    fn add_norm(&mut self, name: &str, [weight, bias]: [Vec<f32>; 2]) {
        for (part, grad) in [("weight", weight), ("bias", bias)] {
            add_to(self.gradients, &format!("{name}.{part}"), grad.len(), |sum| add(&grad, sum));
        }
    }

    /// `grad`: `[R, E]`.
    fn embeddings(&mut self, grad: &[f32]) {
        let Gpt2Config { n_embd: e, vocab_size, n_positions, .. } = *self.config;
        let (ids, len) = (&self.batch.ids, self.batch.len);
        let rows = || grad.chunks_exact(e).enumerate();
        add_to(self.gradients, "wte.weight", vocab_size * e, |sum| {
            rows().for_each(|(row, grad)| add(grad, &mut sum[ids[row] * e..][..e]));
        });
        add_to(self.gradients, "wpe.weight", n_positions * e, |sum| {
            rows().for_each(|(row, grad)| add(grad, &mut sum[row % len * e..][..e]));
        });
    }
}

/// `grad · weightᵀ`: what a loss asks of a projection's input, `[R, in]`, given what it asks of the output.
fn project_gradient(grad: &[f32], Pair { weight, bias }: &Pair, output: &mut [f32]) {
    let d_out = bias.len();
    let (rows, d_in) = (grad.len() / d_out, weight.len() / d_out);
    let weight = Matrix::rows(weight, d_in, d_out, d_out).transposed();
    let grad = Matrix::rows(grad, rows, d_out, d_out);
    matmul_parallel(output, [rows, d_out, d_in], grad, &weight, Onto::Nothing);
}
