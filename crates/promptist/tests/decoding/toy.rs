//! A language model without weights: its logits are hashes of the last two tokens.
//!
//! The same table as in `tools/reference/toy_beam.py`, exact in f32. The cache is the rows' tokens, so
//! a search that mixes up its rows gets other logits.

use std::cell::Cell;

use promptist::Result;
use promptist::decoding::{Answers, LanguageModel, Queries};

pub struct Toy {
    pub vocab_size: usize,
    pub seed: u64,
    pub eos_token_id: Vec<u32>,
    pub eos_bias: f32,
    /// Rows computed so far: what decoding costs.
    pub rows_computed: Cell<usize>,
}

impl Toy {
    pub fn new(vocab_size: usize, seed: u64, eos_token_id: &[u32], eos_bias: f32) -> Self {
        Self { vocab_size, seed, eos_token_id: eos_token_id.to_vec(), eos_bias, rows_computed: Cell::new(0) }
    }

    /// `[V]`, what follows `tokens`.
    pub fn row(&self, tokens: &[u32]) -> Vec<f32> {
        let vocab_size = self.vocab_size as u64;
        let last = tokens.last().map_or(0, |&id| u64::from(id));
        let before_last = tokens.iter().rev().nth(1).map_or(0, |&id| u64::from(id));
        let state = self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let first = state.wrapping_add((before_last * vocab_size + last) * vocab_size);
        (0..self.vocab_size as u32)
            .map(|token_id| {
                let hashed = mix(first.wrapping_add(u64::from(token_id)));
                let u = (hashed >> 40) as f32 / 16_777_216.0;
                let bias = if self.eos_token_id.contains(&token_id) { self.eos_bias } else { 0.0 };
                u * u * u * 10.0 + bias
            })
            .collect()
    }
}

impl LanguageModel for Toy {
    type Cache = Vec<Vec<u32>>;

    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn n_positions(&self) -> usize {
        64
    }

    fn new_cache(&self) -> Self::Cache {
        Vec::new()
    }

    fn append(
        &self,
        cache: &mut Self::Cache,
        token_ids: &[&[u32]],
        queries: &Queries,
        answers: &mut Answers,
    ) -> Result<()> {
        assert!(token_ids[..cache.len()].iter().all(|token_ids| token_ids.len() == 1), "a token per row");
        assert_eq!(queries.len(), token_ids.len(), "a query per row");
        cache.resize(token_ids.len(), Vec::new());
        answers.clear();
        for ((tokens, token_ids), query) in cache.iter_mut().zip(token_ids).zip(queries.iter()) {
            tokens.extend_from_slice(token_ids);
            answers.push_row(query, &self.row(tokens))?;
        }
        self.rows_computed.set(self.rows_computed.get() + cache.len());
        Ok(())
    }

    fn reorder(&self, cache: &mut Self::Cache, rows: &[usize]) -> Result<()> {
        *cache = rows.iter().map(|&row| cache[row].clone()).collect();
        Ok(())
    }
}

/// The finaliser of SplitMix64.
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}
