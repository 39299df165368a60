//! A GPT-2's parameters as the engine wants them: matrices packed for the kernels at hand, the rest
//! in f32.

use half::f16;
use rayon::prelude::*;

use super::cache::SlotLayout;
use super::layer_norm::LayerNorm;
use super::packed::{BLOCK, PackedMatrix, Packer, WeightLayout};
use super::precision::Precision;
use super::smoothing::Smoothing;
use crate::error::Result;
use crate::gpt2::config::Gpt2Config;
use crate::simd::Isa;
use crate::simd::math::LANES;

/// The parameters, and how they are computed with.
pub struct Model {
    pub config: Gpt2Config,
    pub precision: Precision,
    pub isa: Isa,
    pub wte: Embedding,
    /// `[n_positions, E]`.
    pub wpe: Vec<f32>,
    pub h: Vec<Block>,
    pub ln_f: Norm,
    /// `wte` once more, as a matrix `[E, V]`.
    pub head: PackedMatrix,
}

/// `x + attn(ln_1(x))`, then `x + mlp(ln_2(x))`.
pub struct Block {
    pub ln_1: Norm,
    pub c_attn: Linear,
    /// What queries are multiplied by.
    pub attention_scale: f32,
    pub attn_c_proj: Linear,
    pub ln_2: Norm,
    pub c_fc: Linear,
    pub mlp_c_proj: Linear,
}

/// A norm and the order in which the product behind it takes its channels; `None` for their own.
pub struct Norm {
    pub layer_norm: LayerNorm,
    pub order: Option<Vec<u32>>,
}

/// `x · weight + bias`.
pub struct Linear {
    pub weight: PackedMatrix,
    /// As long as the weight's blocks, zeros behind the last column.
    pub bias: Vec<f32>,
}

/// Token embeddings: `[V, E]`.
pub enum Embedding {
    F32(Vec<f32>),
    /// Half the memory, and far finer than the products that follow.
    F16(Vec<f16>),
}

/// Where parameters come from: name, without `transformer.`, and shape to row-major values.
pub trait Read: Fn(&str, &[usize]) -> Result<Vec<f32>> + Sync {}

impl<F: Fn(&str, &[usize]) -> Result<Vec<f32>> + Sync> Read for F {}

impl Model {
    /// Reads and packs every parameter, on all threads of rayon's pool.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) if `config` is impossible, and whatever `read` returns.
    pub fn read(config: &Gpt2Config, precision: Precision, isa: Isa, read: &impl Read) -> Result<Self> {
        config.check()?;
        let (e, v) = (config.n_embd, config.vocab_size);
        // In memory as a step reads them: the blocks, then the head.
        let of_blocks = (0..config.n_layer).flat_map(|_| block_matrices(config));
        let shapes = of_blocks.map(|(_, [k, n])| (k, n)).chain([(e, v)]);
        let packer = Packer::with_shapes(precision, isa, shapes);
        let mut reader = Reader { config, precision, read, packer };
        let h = (0..config.n_layer).map(|layer_idx| reader.block(layer_idx)).collect::<Result<_>>()?;
        let mut head = read("wte.weight", &[v, e])?;
        let wte = Embedding::new(&head, precision);
        let ln_f = reader.norm("ln_f", &mut head, WeightLayout::OutIn)?;
        let head = reader.packer.pack(&head, WeightLayout::OutIn, e, v, ln_f.order.as_deref());
        Ok(Self {
            precision,
            isa,
            wte,
            wpe: read("wpe.weight", &[config.n_positions, e])?,
            h,
            ln_f,
            head,
            config: config.clone(),
        })
    }
}

impl Model {
    /// D, padded with zeros to whole lanes: what a head's query, key and value take.
    pub fn padded_dim(&self) -> usize {
        self.config.head_dim().next_multiple_of(LANES)
    }

    /// How a cache of this model lies in memory.
    pub fn slot_layout(&self) -> SlotLayout {
        SlotLayout { num_heads: self.config.n_layer * self.config.n_head, dim: self.padded_dim() }
    }

    /// Bytes of packed weights: all are read once a step.
    pub fn bytes(&self) -> usize {
        let block = |block: &Block| {
            let linears = [&block.c_attn, &block.attn_c_proj, &block.c_fc, &block.mlp_c_proj];
            linears.iter().map(|linear| linear.weight.bytes()).sum::<usize>()
        };
        self.head.bytes() + self.h.iter().map(block).sum::<usize>()
    }
}

impl Embedding {
    fn new(values: &[f32], precision: Precision) -> Self {
        let fits = || values.iter().all(|value| value.abs() <= f16::MAX.to_f32());
        if precision == Precision::F32 || !fits() {
            return Self::F32(values.to_vec());
        }
        Self::F16(values.iter().map(|&value| f16::from_f32(value)).collect())
    }

    /// Writes the embedding of a token: `[E]`.
    pub fn row(&self, token_id: u32, row: &mut [f32]) {
        let range = token_id as usize * row.len()..(token_id as usize + 1) * row.len();
        match self {
            Self::F32(values) => row.copy_from_slice(&values[range]),
            Self::F16(values) => {
                for (value, &half) in row.iter_mut().zip(&values[range]) {
                    *value = half.to_f32();
                }
            }
        }
    }
}

/// Names and shapes `[in, out]` of a block's matrices.
fn block_matrices(config: &Gpt2Config) -> [(&'static str, [usize; 2]); 4] {
    let (e, inner) = (config.n_embd, config.n_inner());
    [
        ("attn.c_attn", [e, 3 * e]),
        ("attn.c_proj", [e, e]),
        ("mlp.c_fc", [e, inner]),
        ("mlp.c_proj", [inner, e]),
    ]
}

struct Reader<'a, R> {
    config: &'a Gpt2Config,
    precision: Precision,
    read: &'a R,
    packer: Packer,
}

impl<R: Read> Reader<'_, R> {
    fn block(&mut self, layer_idx: usize) -> Result<Block> {
        let name = |part: &str| format!("h.{layer_idx}.{part}");
        // Reading is widening to f32, mostly: on all threads, as packing is.
        let read = self.read;
        let mut weights = block_matrices(self.config)
            .into_par_iter()
            .map(|(part, shape)| read(&name(&format!("{part}.weight")), &shape))
            .collect::<Result<Vec<_>>>()?;
        let ln_1 = self.norm(&name("ln_1"), &mut weights[0], WeightLayout::InOut)?;
        let ln_2 = self.norm(&name("ln_2"), &mut weights[2], WeightLayout::InOut)?;
        let orders = [ln_1.order.as_deref(), None, ln_2.order.as_deref(), None];
        let mut linears = Vec::with_capacity(weights.len());
        for (((part, [k, n]), order), weight) in
            block_matrices(self.config).into_iter().zip(orders).zip(&weights)
        {
            let weight = self.packer.pack(weight, WeightLayout::InOut, k, n, order);
            let mut bias = read(&name(&format!("{part}.bias")), &[n])?;
            bias.resize(n.next_multiple_of(BLOCK), 0.0);
            linears.push(Linear { weight, bias });
        }
        let [c_attn, attn_c_proj, c_fc, mlp_c_proj] =
            linears.try_into().unwrap_or_else(|_| unreachable!("a block has four matrices"));
        let attention_scale = self.config.attention_scale(layer_idx) as f32;
        Ok(Block { ln_1, c_attn, attention_scale, attn_c_proj, ln_2, c_fc, mlp_c_proj })
    }

    /// The norm of that name and, in int8, what smoothing makes of it and of `weights`, which read it.
    fn norm(&self, name: &str, weights: &mut [f32], layout: WeightLayout) -> Result<Norm> {
        let e = self.config.n_embd;
        let weight = (self.read)(&format!("{name}.weight"), &[e])?;
        let bias = (self.read)(&format!("{name}.bias"), &[e])?;
        let layer_norm = LayerNorm::new(weight, bias, self.config.layer_norm_epsilon);
        if self.precision != Precision::Int8 {
            return Ok(Norm { layer_norm, order: None });
        }
        let Smoothing { scales, order } =
            Smoothing::new(&layer_norm, &largest_by_channel(weights, layout, e));
        match layout {
            WeightLayout::InOut => {
                let n = weights.len() / e;
                weights.par_chunks_mut(n).zip(&scales).for_each(|(row, &scale)| {
                    row.iter_mut().for_each(|weight| *weight *= scale);
                });
            }
            WeightLayout::OutIn => weights.par_chunks_mut(e).for_each(|row| {
                row.iter_mut().zip(&scales).for_each(|(weight, &scale)| *weight *= scale);
            }),
        }
        Ok(Norm { layer_norm: layer_norm.divided_by(&scales), order: Some(order) })
    }
}

/// The largest `|weight|` of each of `k` input channels.
fn largest_by_channel(weights: &[f32], layout: WeightLayout, k: usize) -> Vec<f32> {
    match layout {
        WeightLayout::InOut => weights
            .par_chunks(weights.len() / k)
            .map(|row| row.iter().fold(0.0, |largest: f32, weight| largest.max(weight.abs())))
            .collect(),
        WeightLayout::OutIn => {
            let mut largest = vec![0.0_f32; k];
            for row in weights.chunks(k) {
                for (largest, weight) in largest.iter_mut().zip(row) {
                    *largest = largest.max(weight.abs());
                }
            }
            largest
        }
    }
}
