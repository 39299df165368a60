//! A step, top to bottom: some rows, each a token at a position, through all blocks.
//!
//! Reading a prompt is the same function with every token of the prompt a row, so what is cached and
//! what is not are the same bits. Every number of a row is computed in an order that depends on the
//! row alone, never on the other rows, their number or the threads.
//!
//! All threads run [`Step::run`] together. A phase's work is shared out by rows (norms), by blocks of
//! output columns (products) or by heads of rows (attention); a barrier ends it.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::activations::Activations;
use super::attention::{Attention, Element, attend, num_scores};
use super::cache::KeysValues;
use super::kernels::block_product;
use super::layer_norm::layer_norm;
use super::model::{Block, Linear, Model, Norm};
use super::packed::{BLOCK, PackedMatrix};
use super::pool::{Parts, Pool, Worker};
use crate::gpt2::config::Gpt2Config;
use crate::simd::math::activate;

/// Rows of a step at most: longer prompts are read in several steps, so that scratch memory is
/// bounded.
pub const MAX_ROWS: usize = 256;

/// Rows whose products are computed together: their tile stays in the L1 cache.
pub const TILE_ROWS: usize = 32;

/// One row of a step: a token, and the slots of everything up to it.
#[derive(Debug, Clone, Copy)]
pub struct RowInput<'a> {
    pub token_id: u32,
    /// By position, the token's own slot the last: its position is one below the length.
    pub slots: &'a [u32],
}

/// Memory that outlives a step.
pub struct Scratch {
    /// The residual stream, `[R, E]`: the input of every block, and at last what `ln_f` takes.
    pub hidden: Vec<f32>,
    /// `[R, N, padded D]`, scaled.
    queries: Vec<f32>,
    /// `[R, E]`.
    attended: Vec<f32>,
    /// `[R, n_inner]`.
    inner: Vec<f32>,
    /// Inputs of products: `[R, E]` and `[R, n_inner]`.
    pub inputs: Activations,
    inner_inputs: Activations,
    pub threads: Vec<Mutex<ThreadScratch>>,
}

/// A thread's own.
pub struct ThreadScratch {
    /// `[TILE_ROWS, BLOCK]`.
    pub tile: Vec<f32>,
    /// `[E]`.
    pub row: Vec<f32>,
    scores: Vec<f32>,
    head: Vec<f32>,
}

impl Scratch {
    /// For steps of `model` on `num_threads`.
    pub fn new(model: &Model, num_threads: usize) -> Self {
        let config = &model.config;
        let thread = || ThreadScratch {
            tile: vec![0.0; TILE_ROWS * BLOCK],
            row: vec![0.0; config.n_embd],
            scores: vec![0.0; num_scores(config.n_positions)],
            head: vec![0.0; model.padded_dim()],
        };
        Self {
            hidden: Vec::new(),
            queries: Vec::new(),
            attended: Vec::new(),
            inner: Vec::new(),
            inputs: Activations::new(model.precision, config.n_embd, model.isa),
            inner_inputs: Activations::new(model.precision, config.n_inner(), model.isa),
            threads: (0..num_threads).map(|_| Mutex::new(thread())).collect(),
        }
    }

    fn resize(&mut self, model: &Model, rows: usize) {
        let (e, inner) = (model.config.n_embd, model.config.n_inner());
        self.hidden.resize(rows * e, 0.0);
        self.queries.resize(rows * model.config.n_head * model.padded_dim(), 0.0);
        self.attended.resize(rows * e, 0.0);
        self.inner.resize(rows * inner, 0.0);
        self.inputs.resize(rows);
        self.inner_inputs.resize(rows);
    }
}

/// Runs `rows` through all blocks: writes their keys and values into their slots, and leaves what
/// `ln_f` takes in `scratch.hidden`.
///
/// A row may attend to slots that other rows of the same step write.
pub fn forward(
    model: &Model,
    pool: &mut Pool,
    scratch: &mut Scratch,
    keys_values: &mut KeysValues,
    rows: &[RowInput<'_>],
) {
    scratch.resize(model, rows.len());
    match keys_values {
        KeysValues::F32(values) => run(model, pool, scratch, values, rows),
        KeysValues::Bf16(values) => run(model, pool, scratch, values, rows),
    }
}

fn run<T: Element>(
    model: &Model,
    pool: &mut Pool,
    scratch: &mut Scratch,
    keys_values: &mut [T],
    rows: &[RowInput<'_>],
) {
    let step = Step {
        model,
        rows,
        hidden: Parts::new(&mut scratch.hidden),
        queries: Parts::new(&mut scratch.queries),
        attended: Parts::new(&mut scratch.attended),
        inner: Parts::new(&mut scratch.inner),
        inputs: &scratch.inputs,
        inner_inputs: &scratch.inner_inputs,
        keys_values: Parts::new(keys_values),
    };
    let threads = &scratch.threads;
    pool.run(&|worker| {
        let mut thread = threads[worker.idx()].lock().unwrap_or_else(PoisonError::into_inner);
        step.run(worker, &mut thread);
    });
}

/// What the threads of a step share.
struct Step<'a, T> {
    model: &'a Model,
    rows: &'a [RowInput<'a>],
    hidden: Parts<'a, f32>,
    queries: Parts<'a, f32>,
    attended: Parts<'a, f32>,
    inner: Parts<'a, f32>,
    inputs: &'a Activations,
    inner_inputs: &'a Activations,
    keys_values: Parts<'a, T>,
}

impl<T: Element> Step<'_, T> {
    fn run(&self, worker: &Worker<'_>, thread: &mut ThreadScratch) {
        self.embed(worker);
        let n = self.model.config.n_head;
        for (layer_idx, block) in self.model.h.iter().enumerate() {
            let first_head = layer_idx * n;
            worker.barrier();
            self.norm(worker, thread, &block.ln_1);
            worker.barrier();
            self.queries_keys_values(worker, thread, block, first_head);
            worker.barrier();
            self.attention(worker, thread, first_head);
            worker.barrier();
            self.prepare(worker, &self.attended, self.inputs);
            worker.barrier();
            self.add_product(worker, thread, self.inputs, &block.attn_c_proj);

            worker.barrier();
            self.norm(worker, thread, &block.ln_2);
            worker.barrier();
            self.inner(worker, thread, &block.c_fc);
            worker.barrier();
            self.prepare(worker, &self.inner, self.inner_inputs);
            worker.barrier();
            self.add_product(worker, thread, self.inner_inputs, &block.mlp_c_proj);
        }
    }

    /// `hidden = wte[token] + wpe[position]`.
    fn embed(&self, worker: &Worker<'_>) {
        let e = self.model.config.n_embd;
        for_each(worker, self.rows.len(), |row_idx| {
            let RowInput { token_id, slots } = self.rows[row_idx];
            // SAFETY: the row is claimed.
            let hidden = unsafe { self.hidden.part_mut(row_range(row_idx, e)) };
            self.model.wte.row(token_id, hidden);
            let position = &self.model.wpe[row_range(slots.len() - 1, e)];
            hidden.iter_mut().zip(position).for_each(|(x, position)| *x += position);
        });
    }

    /// `inputs = norm(hidden)`.
    fn norm(&self, worker: &Worker<'_>, thread: &mut ThreadScratch, norm: &Norm) {
        let e = self.model.config.n_embd;
        for_each(worker, self.rows.len(), |row_idx| {
            // SAFETY: the residual stream is only read in this phase.
            let hidden = unsafe { self.hidden.part(row_range(row_idx, e)) };
            layer_norm(self.model.isa, &norm.layer_norm, hidden, &mut thread.row);
            // SAFETY: the row is claimed.
            let mut inputs = unsafe { self.inputs.shared_row(row_idx) };
            match &norm.order {
                None => inputs.set(&thread.row),
                Some(order) => inputs.set_ordered(&thread.row, order),
            }
        });
    }

    /// `queries, keys, values = inputs · c_attn`, keys and values into the rows' new slots.
    fn queries_keys_values(
        &self,
        worker: &Worker<'_>,
        thread: &mut ThreadScratch,
        block: &Block,
        first_head: usize,
    ) {
        let Gpt2Config { n_embd: e, n_head: n, .. } = self.model.config;
        let (d, padded) = (self.model.config.head_dim(), self.model.padded_dim());
        let layout = self.model.slot_layout();
        self.product(worker, &mut thread.tile, self.inputs, &block.c_attn, |rows, columns, tile| {
            let mut column = columns.start;
            // The block's columns, cut where the next head begins.
            while column < columns.end {
                let (part, head, dim) = (column / e, column % e / d, column % d);
                let len = (d - dim).min(columns.end - column);
                for (row_idx, values) in rows.clone().zip(tile.as_chunks::<BLOCK>().0) {
                    let values = &values[column - columns.start..][..len];
                    if part == 0 {
                        let start = (row_idx * n + head) * padded + dim;
                        // SAFETY: the columns are claimed.
                        let queries = unsafe { self.queries.part_mut(start..start + len) };
                        for (query, value) in queries.iter_mut().zip(values) {
                            *query = value * block.attention_scale;
                        }
                    } else {
                        let slot = layout.place(first_head + head, self.slot(row_idx));
                        let start = slot + (part - 1) * padded + dim;
                        // SAFETY: the columns are claimed, and no two rows write to one slot.
                        let stored = unsafe { self.keys_values.part_mut(start..start + len) };
                        for (stored, &value) in stored.iter_mut().zip(values) {
                            *stored = T::from_f32(value);
                        }
                    }
                }
                column += len;
            }
        });
    }

    /// `attended = softmax(queries · keys) · values`.
    fn attention(&self, worker: &Worker<'_>, thread: &mut ThreadScratch, first_head: usize) {
        let (n, d) = (self.model.config.n_head, self.model.config.head_dim());
        let num_rows = self.rows.len();
        // All rows of one head after each other: what they share of the cache stays in L1.
        for_each(worker, n * num_rows, |item| {
            let (head, row_idx) = (item / num_rows, item % num_rows);
            let query = row_range(row_idx * n + head, self.model.padded_dim());
            // SAFETY: queries, keys and values are only read in this phase.
            let (query, keys_values) = unsafe { (self.queries.part(query), self.keys_values.all()) };
            let (layout, slots) = (self.model.slot_layout(), self.rows[row_idx].slots);
            let attention = Attention { query, keys_values, layout, head: first_head + head, slots };
            attend(self.model.isa, &attention, &mut thread.scores, &mut thread.head);
            // SAFETY: the head of the row is claimed.
            let attended = unsafe { self.attended.part_mut(row_range(row_idx * n + head, d)) };
            attended.copy_from_slice(&thread.head[..d]);
        });
    }

    /// `inner = activation(inputs · c_fc)`.
    fn inner(&self, worker: &Worker<'_>, thread: &mut ThreadScratch, c_fc: &Linear) {
        let (width, activation) = (self.model.config.n_inner(), self.model.config.activation_function);
        self.product(worker, &mut thread.tile, self.inputs, c_fc, |rows, columns, tile| {
            activate(self.model.isa, activation, tile);
            for (row_idx, values) in rows.zip(tile.as_chunks::<BLOCK>().0) {
                let range = row_idx * width + columns.start..row_idx * width + columns.end;
                // SAFETY: the columns are claimed.
                let inner = unsafe { self.inner.part_mut(range) };
                inner.copy_from_slice(&values[..columns.len()]);
            }
        });
    }

    /// Makes rows of f32 the inputs of a product.
    fn prepare(&self, worker: &Worker<'_>, values: &Parts<'_, f32>, inputs: &Activations) {
        let groups = inputs.num_groups();
        for_each(worker, self.rows.len() * groups, |item| {
            let (row_idx, group) = (item / groups, item % groups);
            let (row, channels) = (row_range(row_idx, inputs.k()), inputs.group(group));
            // SAFETY: the values are only read in this phase.
            let values = unsafe { values.part(row.start + channels.start..row.start + channels.end) };
            // SAFETY: the group of the row is claimed.
            unsafe { inputs.shared_row(row_idx) }.set_group(group, values);
        });
    }

    /// `hidden += inputs · linear`.
    fn add_product(
        &self,
        worker: &Worker<'_>,
        thread: &mut ThreadScratch,
        inputs: &Activations,
        linear: &Linear,
    ) {
        let e = self.model.config.n_embd;
        self.product(worker, &mut thread.tile, inputs, linear, |rows, columns, tile| {
            for (row_idx, values) in rows.zip(tile.as_chunks::<BLOCK>().0) {
                // SAFETY: the columns are claimed.
                let hidden =
                    unsafe { self.hidden.part_mut(row_idx * e + columns.start..row_idx * e + columns.end) };
                hidden.iter_mut().zip(values).for_each(|(x, value)| *x += value);
            }
        });
    }

    /// `inputs · linear` of all rows, by tiles: `then(rows, columns, tile)`, where the tile holds
    /// [`BLOCK`] values a row, zeros behind the last column.
    fn product(
        &self,
        worker: &Worker<'_>,
        tile: &mut [f32],
        inputs: &Activations,
        linear: &Linear,
        mut then: impl FnMut(Range<usize>, Range<usize>, &mut [f32]),
    ) {
        for_each_tile(worker, tile, inputs, self.rows.len(), &linear.weight, |rows, columns, tile| {
            let bias = &linear.bias[columns.start..][..BLOCK];
            for values in tile.as_chunks_mut::<BLOCK>().0 {
                values.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
            }
            then(rows, columns, tile);
        });
    }

    /// The slot that a row's own token goes to.
    fn slot(&self, row_idx: usize) -> usize {
        let slots = self.rows[row_idx].slots;
        slots[slots.len() - 1] as usize
    }
}

/// Computes `inputs · matrix` of rows `0..num_rows` by tiles, with the other threads: this one's blocks
/// of columns go to `then(rows, columns, tile)`, rising, the tile with [`BLOCK`] values a row.
pub fn for_each_tile(
    worker: &Worker<'_>,
    tile: &mut [f32],
    inputs: &Activations,
    num_rows: usize,
    matrix: &PackedMatrix,
    mut then: impl FnMut(Range<usize>, Range<usize>, &mut [f32]),
) {
    for_each(worker, matrix.num_blocks(), |block| {
        let columns = block * BLOCK..((block + 1) * BLOCK).min(matrix.n());
        for first in (0..num_rows).step_by(TILE_ROWS) {
            let rows = first..(first + TILE_ROWS).min(num_rows);
            let tile = &mut tile[..rows.len() * BLOCK];
            block_product(inputs, rows.clone(), matrix, block, tile);
            then(rows, columns.clone(), tile);
        }
    });
}

/// Calls `f` with each item of `0..total` that this thread claims, rising.
pub fn for_each(worker: &Worker<'_>, total: usize, mut f: impl FnMut(usize)) {
    while let Some(range) = worker.claim(total) {
        range.for_each(&mut f);
    }
}

/// Row `row_idx` of a row-major matrix of that width.
pub fn row_range(row_idx: usize, width: usize) -> Range<usize> {
    row_idx * width..(row_idx + 1) * width
}
