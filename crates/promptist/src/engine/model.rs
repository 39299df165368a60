//! A GPT-2's parameters as the engine wants them: matrices packed for the kernels at hand, the rest
//! in f32.

use half::f16;
use rayon::prelude::*;

use super::isa::Isa;
use super::layer_norm::LayerNorm;
use super::math::LANES;
use super::packed::{BLOCK, PackedMatrix, WeightLayout};
use super::precision::Precision;
use crate::error::Result;
use crate::gpt2::config::Gpt2Config;

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
        let reader = Reader { config, precision, isa, read };
        let (head, h) = rayon::join(
            || reader.embedding_and_head(),
            || {
                let blocks = (0..config.n_layer).into_par_iter().map(|layer_idx| reader.block(layer_idx));
                blocks.collect::<Result<Vec<Block>>>()
            },
        );
        let (wte, ln_f, head) = head?;
        Ok(Self {
            precision,
            isa,
            wte,
            wpe: read("wpe.weight", &[config.n_positions, config.n_embd])?,
            h: h?,
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
    fn new(values: Vec<f32>, precision: Precision) -> Self {
        let fits = || values.iter().all(|value| value.abs() <= f16::MAX.to_f32());
        if precision == Precision::F32 || !fits() {
            return Self::F32(values);
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

struct Reader<'a, R> {
    config: &'a Gpt2Config,
    precision: Precision,
    isa: Isa,
    read: &'a R,
}

impl<R: Read> Reader<'_, R> {
    fn embedding_and_head(&self) -> Result<(Embedding, Norm, PackedMatrix)> {
        let (v, e) = (self.config.vocab_size, self.config.n_embd);
        let ln_f = self.norm("ln_f")?;
        let wte = (self.read)("wte.weight", &[v, e])?;
        let head = self.pack(&wte, WeightLayout::OutIn, [e, v], ln_f.order.as_deref());
        Ok((Embedding::new(wte, self.precision), ln_f, head))
    }

    fn block(&self, layer_idx: usize) -> Result<Block> {
        let (e, inner) = (self.config.n_embd, self.config.n_inner());
        let name = |part: &str| format!("h.{layer_idx}.{part}");
        let (ln_1, ln_2) = (self.norm(&name("ln_1"))?, self.norm(&name("ln_2"))?);
        Ok(Block {
            c_attn: self.linear(&name("attn.c_attn"), [e, 3 * e], ln_1.order.as_deref())?,
            attention_scale: self.config.attention_scale(layer_idx) as f32,
            attn_c_proj: self.linear(&name("attn.c_proj"), [e, e], None)?,
            c_fc: self.linear(&name("mlp.c_fc"), [e, inner], ln_2.order.as_deref())?,
            mlp_c_proj: self.linear(&name("mlp.c_proj"), [inner, e], None)?,
            ln_1,
            ln_2,
        })
    }

    /// In int8, neighbours share a scale: outliers had better be neighbours.
    fn norm(&self, name: &str) -> Result<Norm> {
        let e = self.config.n_embd;
        let weight = (self.read)(&format!("{name}.weight"), &[e])?;
        let bias = (self.read)(&format!("{name}.bias"), &[e])?;
        let layer_norm = LayerNorm::new(weight, bias, self.config.layer_norm_epsilon);
        let order = (self.precision == Precision::Int8).then(|| layer_norm.order_by_gain());
        Ok(Norm { layer_norm, order })
    }

    fn linear(&self, name: &str, [k, n]: [usize; 2], order: Option<&[u32]>) -> Result<Linear> {
        let weight = (self.read)(&format!("{name}.weight"), &[k, n])?;
        let weight = self.pack(&weight, WeightLayout::InOut, [k, n], order);
        let mut bias = (self.read)(&format!("{name}.bias"), &[n])?;
        bias.resize(n.next_multiple_of(BLOCK), 0.0);
        Ok(Linear { weight, bias })
    }

    fn pack(&self, weights: &[f32], layout: WeightLayout, [k, n]: [usize; 2], order: Option<&[u32]>) -> PackedMatrix {
        PackedMatrix::pack(weights, layout, k, n, self.precision, self.isa, order)
    }
}
