//! GPT-2 for decoding on a CPU: the same model as [`crate::gpt2`], as fast as memory lets it.
//!
//! A step multiplies a few rows with every weight, so it is bound by reading the weights. They are
//! packed once, at load, in the order in which the kernels read them ([`packed`], in f32, bf16 or
//! int8), and everything else happens around that stream while tiles are in the L1 cache
//! (`forward`). Keys and values are shared by rows with a common past (`cache`), and logits are
//! summed up as they appear instead of being written (`head`). The threads neither sleep within a
//! step nor spin without one (`pool`).
//!
//! The result for a row is the same bits whatever rows are beside it and however many threads there
//! are. f32 is the model itself; bf16 and int8 are approximations of it.
//!
//! Start at [`Engine`]; it is a [`LanguageModel`], and all searches run over it.

pub mod activations;
mod attention;
mod cache;
mod forward;
mod head;
mod kernels;
mod layer_norm;
mod model;
pub mod packed;
mod pool;
pub mod precision;
pub mod precision_report;
pub mod reading;
mod smoothing;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use crate::simd::Isa;
pub use activations::{Activations, RowMut};
pub use cache::KvCache;
pub use kernels::block_product;
pub use packed::{BLOCK, GROUP, PackedMatrix, Packer, WeightLayout};
pub use precision::Precision;

use crate::decoding::{Answers, LanguageModel, Queries, check_append};
use crate::error::{Error, Result};
use crate::gpt2::Gpt2Config;
use crate::nn::NamedParameter;
use crate::weights::{Weights, gpt2_layout};
use forward::{MAX_ROWS, RowInput, Scratch, row_range};
use head::HeadScratch;
use model::Model;
use pool::Pool;

/// A GPT-2 that decodes on the CPU.
///
/// One step runs at a time; callers on several threads wait for each other. To decode many requests
/// at once, give them rows of one cache: they share every pass over the weights.
pub struct Engine {
    model: Model,
    machine: Mutex<Machine>,
}

/// How an engine computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineOptions {
    /// Of the weights and what they are multiplied with; all else is f32.
    pub precision: Precision,
    /// The instruction set; `None` for the fastest that this CPU has.
    pub isa: Option<Isa>,
    /// Threads that compute a step, the caller's included. No result depends on it.
    pub num_threads: usize,
}

impl Default for EngineOptions {
    /// f32 on every core.
    fn default() -> Self {
        let num_threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { precision: Precision::F32, isa: None, num_threads }
    }
}

/// What a step needs beside the weights.
struct Machine {
    pool: Pool,
    scratch: Scratch,
    head: HeadScratch,
    /// Of each row, the residual stream behind its last token: `[R, E]`.
    last: Vec<f32>,
}

impl Engine {
    /// The model of `config` with `weights`, with or without the prefix `transformer.`; they are not
    /// needed any more afterwards.
    ///
    /// # Errors
    /// [`Error::Config`] if `config` is impossible, or the CPU lacks `options.isa`; [`Error::Tensor`]
    /// naming what is missing or of another shape.
    pub fn open(config: &Gpt2Config, weights: &Weights, options: EngineOptions) -> Result<Self> {
        let prefix = gpt2_layout::prefix(weights);
        Self::read(config, options, |name: &str, shape: &[usize]| {
            weights.get_f32(&format!("{prefix}{name}"), shape)
        })
    }

    /// The model of `config` with parameters in memory, as [`Gpt2::to_parameters`] returns them.
    ///
    /// [`Gpt2::to_parameters`]: crate::nn::Parameters::to_parameters
    ///
    /// # Errors
    /// As [`open`](Self::open), but [`Error::Shape`] for a parameter that is missing or of another
    /// shape.
    pub fn from_parameters(
        config: &Gpt2Config,
        parameters: &[NamedParameter],
        options: EngineOptions,
    ) -> Result<Self> {
        Self::read(config, options, parameter_reader(parameters))
    }

    /// Takes other weights of the same shape, as a policy that has been trained on: threads and scratch
    /// memory stay.
    ///
    /// # Errors
    /// As [`from_parameters`](Self::from_parameters); the old weights stay then.
    pub fn reload(&mut self, parameters: &[NamedParameter]) -> Result<()> {
        let Model { config, precision, isa, .. } = &self.model;
        self.model = Model::read(config, *precision, *isa, &parameter_reader(parameters))?;
        Ok(())
    }

    fn read(config: &Gpt2Config, options: EngineOptions, read: impl model::Read) -> Result<Self> {
        let isa = options.isa.unwrap_or_else(Isa::detect);
        if !isa.is_available() {
            return Err(Error::config("isa", format!("this CPU has no {isa}")));
        }
        let model = Model::read(config, options.precision, isa, &read)?;
        let pool = Pool::new(options.num_threads).map_err(|e| Error::config("num_threads", e.to_string()))?;
        let machine = Machine {
            scratch: Scratch::new(&model, pool.num_threads()),
            head: HeadScratch::new(&model, pool.num_threads()),
            last: Vec::new(),
            pool,
        };
        Ok(Self { model, machine: Mutex::new(machine) })
    }

    /// The model's shape.
    pub fn config(&self) -> &Gpt2Config {
        &self.model.config
    }

    /// How it computes.
    pub fn options(&self) -> EngineOptions {
        let num_threads = self.machine().pool.num_threads();
        EngineOptions { precision: self.model.precision, isa: Some(self.model.isa), num_threads }
    }

    /// Bytes of weights that a step reads: what its time is to be measured against.
    pub fn bytes_per_step(&self) -> usize {
        self.model.bytes()
    }

    /// Logits of every position of a sequence, without a cache of others: `[T, V]`.
    ///
    /// # Errors
    /// As [`append`](LanguageModel::append) for one prompt.
    pub fn logits(&self, token_ids: &[u32]) -> Result<Vec<Vec<f32>>> {
        let mut cache = self.new_cache();
        self.check(&cache, &[token_ids])?;
        cache.add_row(token_ids.len());
        let mut machine = self.machine();
        let machine = &mut *machine;
        let last_of_row: Vec<bool> = vec![true; token_ids.len()];
        machine.read(&self.model, &mut cache, &[token_ids], &last_of_row);
        let mut answers = Answers::default();
        let queries = Queries::all(token_ids.len());
        let Machine { pool, head, last, .. } = machine;
        head::answer(&self.model, pool, head, last, &queries, &mut answers)?;
        Ok((0..answers.len()).map(|row| answers.row(row).logits.to_vec()).collect())
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        // After a panic too: every step writes its scratch before it reads it.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks what is to be appended before anything is changed.
    fn check(&self, cache: &KvCache, token_ids: &[&[u32]]) -> Result<()> {
        if cache.layout() != self.model.slot_layout() {
            return Err(Error::Shape("a cache of another model".to_owned()));
        }
        check_append(self, (0..cache.num_rows()).map(|row| cache.row(row).len()), token_ids)
    }
}

fn parameter_reader(parameters: &[NamedParameter]) -> impl model::Read {
    |name: &str, shape: &[usize]| {
        let len = shape.iter().product::<usize>();
        let fits = |(own_name, own_shape, values): &&NamedParameter| {
            own_name == name && own_shape == shape && values.len() == len
        };
        match parameters.iter().find(fits) {
            Some((_, _, values)) => Ok(values.clone()),
            None => Err(Error::Shape(format!("`{name}`: no parameter of shape {shape:?}"))),
        }
    }
}

impl Machine {
    /// Runs the tokens that were last added to the rows of the cache, `token_ids[i]` to row i, and
    /// leaves the residual streams of those that `is_asked`, a flag for each token, in `last`.
    fn read(&mut self, model: &Model, cache: &mut KvCache, token_ids: &[&[u32]], is_asked: &[bool]) {
        let e = model.config.n_embd;
        let (rows, keys_values) = cache.parts();
        let inputs: Vec<RowInput<'_>> = rows
            .iter()
            .zip(token_ids)
            .flat_map(|(slots, token_ids)| {
                let past = slots.len() - token_ids.len();
                (past + 1..)
                    .zip(*token_ids)
                    .map(|(len, &token_id)| RowInput { token_id, slots: &slots[..len] })
            })
            .collect();
        self.last.clear();
        for (inputs, is_asked) in inputs.chunks(MAX_ROWS).zip(is_asked.chunks(MAX_ROWS)) {
            forward::forward(model, &mut self.pool, &mut self.scratch, keys_values, inputs);
            for (row_idx, _) in is_asked.iter().enumerate().filter(|&(_, &is_asked)| is_asked) {
                self.last.extend_from_slice(&self.scratch.hidden[row_range(row_idx, e)]);
            }
        }
    }
}

impl LanguageModel for Engine {
    type Cache = KvCache;

    fn vocab_size(&self) -> usize {
        self.model.config.vocab_size
    }

    fn n_positions(&self) -> usize {
        self.model.config.n_positions
    }

    fn new_cache(&self) -> KvCache {
        KvCache::new(self.model.slot_layout(), self.model.precision != Precision::F32)
    }

    fn append(
        &self,
        cache: &mut KvCache,
        token_ids: &[&[u32]],
        queries: &Queries,
        answers: &mut Answers,
    ) -> Result<()> {
        self.check(cache, token_ids)?;
        if queries.len() != token_ids.len() {
            return Err(Error::Shape(format!("{} queries for {} rows", queries.len(), token_ids.len())));
        }
        cache.extend_rows();
        for prompt in &token_ids[cache.num_rows()..] {
            cache.add_row(prompt.len());
        }
        let is_last = |token_ids: &&[u32]| {
            let len = token_ids.len();
            (1..=len).map(move |number| number == len)
        };
        let is_asked: Vec<bool> = token_ids.iter().flat_map(is_last).collect();
        let mut machine = self.machine();
        let machine = &mut *machine;
        machine.read(&self.model, cache, token_ids, &is_asked);
        let Machine { pool, head, last, .. } = machine;
        head::answer(&self.model, pool, head, last, queries, answers)
    }

    fn reorder(&self, cache: &mut KvCache, rows: &[usize]) -> Result<()> {
        match rows.iter().find(|&&row| row >= cache.num_rows()) {
            Some(row) => Err(Error::Shape(format!("row {row} of {}", cache.num_rows()))),
            None => {
                cache.reorder(rows);
                Ok(())
            }
        }
    }
}
