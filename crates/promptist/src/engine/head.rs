//! The LM head: streams the vocabulary past a few rows and keeps what was asked of it.
//!
//! Logits exist only as tiles in the L1 cache, unless a row asks for all of them. Of each block of the
//! vocabulary a row keeps the maximum and `Σ exp(logit - maximum)`; they are combined in the order of
//! the blocks, so the normalizer does not depend on which thread computed which. Neither do the
//! largest logits: there is one order of them, ties to the lower id.

use std::cmp::Ordering;
use std::sync::{Mutex, PoisonError};

use super::activations::Activations;
use super::forward::{TILE_ROWS, for_each, for_each_tile, row_range};
use super::layer_norm::layer_norm;
use super::model::Model;
use super::packed::BLOCK;
use super::pool::{Parts, Pool, Worker};
use crate::decoding::{Allowed, Answers, Normalizer, Queries, Query, TokenLogit};
use crate::error::{Error, Result};
use crate::simd::for_each_isa;
use crate::simd::math::{LANES, Lanes, exp, larger, max, max_lanes, sum_lanes};

/// Memory that outlives a step.
pub struct HeadScratch {
    /// `[R, E]`.
    inputs: Activations,
    /// By block of the vocabulary, then row: the largest logit.
    maxima: Vec<f32>,
    /// The same: `Σ exp(logit - maximum)`.
    sums: Vec<f32>,
    /// By row.
    normalizers: Vec<Normalizer>,
    /// Tokens asked for by name: by rising id.
    asked: Vec<Asked>,
    /// Their logits, in the order of the queries.
    asked_logits: Vec<f32>,
    threads: Vec<Mutex<ThreadScratch>>,
}

/// A thread's own.
struct ThreadScratch {
    /// `[TILE_ROWS, BLOCK]`.
    tile: Vec<f32>,
    /// `[E]`.
    row: Vec<f32>,
    /// By row, of the blocks that this thread computed.
    best: Vec<Best>,
    /// One row's maxima and sums, whole lanes.
    maxima: Vec<f32>,
    sums: Vec<f32>,
}

/// A token of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    token_id: u32,
    row_idx: usize,
    /// Among all tokens of all queries.
    place: usize,
}

impl HeadScratch {
    /// For `model` on `num_threads`.
    pub fn new(model: &Model, num_threads: usize) -> Self {
        let thread = || ThreadScratch {
            tile: vec![0.0; TILE_ROWS * BLOCK],
            row: vec![0.0; model.config.n_embd],
            best: Vec::new(),
            maxima: Vec::new(),
            sums: Vec::new(),
        };
        Self {
            inputs: Activations::new(model.precision, model.config.n_embd, model.isa),
            maxima: Vec::new(),
            sums: Vec::new(),
            normalizers: Vec::new(),
            asked: Vec::new(),
            asked_logits: Vec::new(),
            threads: (0..num_threads).map(|_| Mutex::new(thread())).collect(),
        }
    }

    fn resize(&mut self, model: &Model, queries: &Queries) {
        let num_rows = queries.len();
        self.inputs.resize(num_rows);
        self.maxima.resize(model.head.num_blocks() * num_rows, 0.0);
        self.sums.resize(model.head.num_blocks() * num_rows, 0.0);
        self.normalizers.resize(num_rows, Normalizer { max: 0.0, log_sum: 0.0 });
        self.asked.clear();
        for (row_idx, query) in queries.iter().enumerate() {
            let Query::Top { token_ids, .. } = query else { continue };
            for &token_id in token_ids {
                let place = self.asked.len();
                self.asked.push(Asked { token_id, row_idx, place });
            }
        }
        self.asked.sort_unstable();
        self.asked_logits.resize(self.asked.len(), 0.0);
        for thread in &mut self.threads {
            let thread = thread.get_mut().unwrap_or_else(PoisonError::into_inner);
            thread.best.resize_with(num_rows, Best::default);
            for (best, query) in thread.best.iter_mut().zip(queries.iter()) {
                best.reset(match query {
                    Query::All => 0,
                    Query::Top { count, .. } => count.min(model.config.vocab_size),
                });
            }
        }
    }
}

/// Answers `queries` about the logits that follow rows whose residual streams are `hidden`, `[R, E]`.
///
/// # Errors
/// [`Error::Shape`] if a token asked for is outside the vocabulary.
pub fn answer(
    model: &Model,
    pool: &mut Pool,
    scratch: &mut HeadScratch,
    hidden: &[f32],
    queries: &Queries,
    answers: &mut Answers,
) -> Result<()> {
    let v = model.config.vocab_size;
    scratch.resize(model, queries);
    if let Some(asked) = scratch.asked.last().filter(|asked| asked.token_id as usize >= v) {
        let reason = format!("token {} was asked for of a vocabulary of {v}", asked.token_id);
        return Err(Error::Shape(reason));
    }
    answers.clear();
    // Where each row's logits go, for those that asked for all.
    let mut num_all = 0;
    let all_starts: Vec<Option<usize>> = queries
        .iter()
        .map(|query| {
            let start = (query == Query::All).then_some(num_all * v);
            num_all += usize::from(start.is_some());
            start
        })
        .collect();
    let allowed: Vec<Allowed<'_>> = queries.iter().map(Query::allowed).collect();
    let pass = HeadPass {
        model,
        hidden,
        inputs: &scratch.inputs,
        maxima: Parts::new(&mut scratch.maxima),
        sums: Parts::new(&mut scratch.sums),
        normalizers: Parts::new(&mut scratch.normalizers),
        asked: &scratch.asked,
        asked_logits: Parts::new(&mut scratch.asked_logits),
        all_starts: &all_starts,
        all_logits: Parts::new(answers.extend_logits(num_all * v)),
        allowed: &allowed,
    };
    let threads = &scratch.threads;
    pool.run(&|worker| {
        let mut thread = threads[worker.idx()].lock().unwrap_or_else(PoisonError::into_inner);
        pass.run(worker, &mut thread);
    });
    push_answers(scratch, queries, v, answers);
    Ok(())
}

fn push_answers(scratch: &mut HeadScratch, queries: &Queries, vocab_size: usize, answers: &mut Answers) {
    let mut best = Best::default();
    let mut asked = scratch.asked_logits.iter().copied();
    for (row_idx, query) in queries.iter().enumerate() {
        let normalizer = scratch.normalizers[row_idx];
        match query {
            Query::All => answers.push_all(normalizer, vocab_size),
            Query::Top { count, token_ids, .. } => {
                best.reset(count.min(vocab_size));
                for thread in &mut scratch.threads {
                    let thread = thread.get_mut().unwrap_or_else(PoisonError::into_inner);
                    best.kept.append(&mut thread.best[row_idx].kept);
                }
                best.prune();
                best.kept.sort_unstable_by(better_first);
                answers.push_top(normalizer, best.kept.iter().copied(), asked.by_ref().take(token_ids.len()));
            }
        }
    }
}

/// What the threads share.
struct HeadPass<'a> {
    model: &'a Model,
    hidden: &'a [f32],
    inputs: &'a Activations,
    maxima: Parts<'a, f32>,
    sums: Parts<'a, f32>,
    normalizers: Parts<'a, Normalizer>,
    asked: &'a [Asked],
    asked_logits: Parts<'a, f32>,
    all_starts: &'a [Option<usize>],
    all_logits: Parts<'a, f32>,
    /// By row: which tokens may be among the largest.
    allowed: &'a [Allowed<'a>],
}

impl HeadPass<'_> {
    fn run(&self, worker: &Worker<'_>, thread: &mut ThreadScratch) {
        self.norm(worker, thread);
        worker.barrier();
        self.logits(worker, thread);
        worker.barrier();
        self.normalize(worker, thread);
    }

    /// `inputs = ln_f(hidden)`.
    fn norm(&self, worker: &Worker<'_>, thread: &mut ThreadScratch) {
        let (e, ln_f) = (self.model.config.n_embd, &self.model.ln_f);
        for_each(worker, self.all_starts.len(), |row_idx| {
            let hidden = &self.hidden[row_range(row_idx, e)];
            layer_norm(self.model.isa, &ln_f.layer_norm, hidden, &mut thread.row);
            // SAFETY: the row is claimed.
            let mut inputs = unsafe { self.inputs.shared_row(row_idx) };
            match &ln_f.order {
                None => inputs.set(&thread.row),
                Some(order) => inputs.set_ordered(&thread.row, order),
            }
        });
    }

    /// Logits by tiles, and what is kept of them.
    fn logits(&self, worker: &Worker<'_>, thread: &mut ThreadScratch) {
        let ThreadScratch { tile, best, .. } = thread;
        let num_rows = self.all_starts.len();
        for_each_tile(worker, tile, self.inputs, num_rows, &self.model.head, |rows, columns, tile| {
            let (tile, _) = tile.as_chunks_mut::<BLOCK>();
            // Behind the vocabulary's end nothing can come.
            tile.iter_mut().for_each(|logits| logits[columns.len()..].fill(f32::NEG_INFINITY));

            let first = columns.start / BLOCK * num_rows;
            let summary = first + rows.start..first + rows.end;
            // SAFETY: the block is claimed.
            let (maxima, sums) =
                unsafe { (self.maxima.part_mut(summary.clone()), self.sums.part_mut(summary)) };
            summarize(self.model.isa, tile, maxima, sums);

            for ((row_idx, logits), &mut maximum) in rows.clone().zip(&*tile).zip(maxima) {
                best[row_idx].offer(columns.start, logits, maximum, self.allowed[row_idx]);
                if let Some(start) = self.all_starts[row_idx] {
                    let range = start + columns.start..start + columns.end;
                    // SAFETY: the columns are claimed.
                    unsafe { self.all_logits.part_mut(range) }.copy_from_slice(&logits[..columns.len()]);
                }
            }
            let first = self.asked.partition_point(|asked| (asked.token_id as usize) < columns.start);
            let of_block = self.asked[first..].iter().take_while(|a| (a.token_id as usize) < columns.end);
            for asked in of_block.filter(|asked| rows.contains(&asked.row_idx)) {
                let logit = tile[asked.row_idx - rows.start][asked.token_id as usize - columns.start];
                // SAFETY: the token's column is claimed, and the place is this token's alone.
                let place = unsafe { self.asked_logits.part_mut(asked.place..asked.place + 1) };
                place[0] = logit;
            }
        });
    }

    /// Maxima and sums of all blocks, together.
    fn normalize(&self, worker: &Worker<'_>, thread: &mut ThreadScratch) {
        let num_rows = self.all_starts.len();
        // SAFETY: they are only read in this phase.
        let (maxima, sums) = unsafe { (self.maxima.all(), self.sums.all()) };
        let of_row = |values: &[f32], row_idx: usize, padding: f32, row: &mut Vec<f32>| {
            row.clear();
            row.extend(values[row_idx..].iter().step_by(num_rows));
            row.resize(row.len().next_multiple_of(LANES), padding);
        };
        for_each(worker, num_rows, |row_idx| {
            of_row(maxima, row_idx, f32::NEG_INFINITY, &mut thread.maxima);
            of_row(sums, row_idx, 0.0, &mut thread.sums);
            // SAFETY: the row is claimed.
            let normalizer = unsafe { self.normalizers.part_mut(row_idx..row_idx + 1) };
            combine(self.model.isa, &thread.maxima, &thread.sums, &mut normalizer[0]);
        });
    }
}

for_each_isa! {
    /// Maximum and `Σ exp(logit - maximum)` of each row of a tile; the sum is NaN if a logit is.
    fn summarize(tile: &[[f32; BLOCK]], maxima: &mut [f32], sums: &mut [f32]) = summarize_body;
}

#[inline(always)]
fn summarize_body(tile: &[[f32; BLOCK]], maxima: &mut [f32], sums: &mut [f32]) {
    for ((logits, maximum), sum) in tile.iter().zip(maxima).zip(sums) {
        let (chunks, _) = logits.as_chunks::<LANES>();
        let mut lanes = [f32::NEG_INFINITY; LANES];
        for chunk in chunks {
            for lane in 0..LANES {
                lanes[lane] = larger(lanes[lane], chunk[lane]);
            }
        }
        let max = max_lanes(&lanes);
        let mut lanes: Lanes = [0.0; LANES];
        for chunk in chunks {
            for lane in 0..LANES {
                lanes[lane] += exp(chunk[lane] - max);
            }
        }
        (*maximum, *sum) = (max, sum_lanes(&lanes));
    }
}

for_each_isa! {
    /// The normalizer of a row from the maxima and sums of its blocks, whole lanes of them.
    fn combine(maxima: &[f32], sums: &[f32], normalizer: &mut Normalizer) = combine_body;
}

#[inline(always)]
fn combine_body(maxima: &[f32], sums: &[f32], normalizer: &mut Normalizer) {
    let max = max(maxima);
    let mut total = 0.0_f64;
    for (maxima, sums) in maxima.as_chunks::<LANES>().0.iter().zip(sums.as_chunks::<LANES>().0) {
        let mut lanes: Lanes = [0.0; LANES];
        for lane in 0..LANES {
            lanes[lane] = sums[lane] * exp(maxima[lane] - max);
        }
        total += f64::from(sum_lanes(&lanes));
    }
    *normalizer = Normalizer { max, log_sum: total.ln() as f32 };
}

/// The `count` largest logits of those offered.
#[derive(Debug, Default)]
struct Best {
    count: usize,
    /// The best so far, and some more until they are too many.
    kept: Vec<TokenLogit>,
    /// No logit up to this can be among the best.
    bar: f32,
}

impl Best {
    fn reset(&mut self, count: usize) {
        self.count = count;
        self.kept.clear();
        self.bar = if count == 0 { f32::INFINITY } else { f32::NEG_INFINITY };
    }

    /// Offers the allowed of a block of logits whose largest is `maximum`; blocks come by rising token id.
    #[inline]
    fn offer(&mut self, first_id: usize, logits: &[f32; BLOCK], maximum: f32, allowed: Allowed<'_>) {
        if maximum <= self.bar {
            return;
        }
        for (token_id, &logit) in (first_id as u32..).zip(logits) {
            // Equal to the bar loses: what is kept has a lower id.
            if logit > self.bar && allowed.contains(token_id) {
                self.kept.push(TokenLogit { token_id, logit });
            }
        }
        if self.kept.len() >= (2 * self.count).max(2 * BLOCK) {
            self.prune();
        }
    }

    /// Drops all but the best.
    fn prune(&mut self) {
        if self.count > 0 && self.kept.len() > self.count {
            let (_, worst, _) = self.kept.select_nth_unstable_by(self.count - 1, better_first);
            self.bar = worst.logit;
            self.kept.truncate(self.count);
        }
    }
}

/// The larger logit first, of equal ones the lower id.
fn better_first(a: &TokenLogit, b: &TokenLogit) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.token_id.cmp(&b.token_id))
}
