//! The key-value cache, and GPT-2 as a [`LanguageModel`] for the searches.
//!
//! Prompts of unequal length are padded on the left, so that every row's next token falls into the
//! same column; positions count real tokens only.

use burn::tensor::{Int, Tensor, TensorData};

use super::block::KeysValues;
use super::{Gpt2, MASKED, values};
use crate::decoding::{LanguageModel, Logits};
use crate::error::{Error, Result};

/// Keys and values of every block for B rows, and what is padding in them.
pub struct KvCache {
    /// One per block, each `[B, N, S, D]`.
    blocks: Vec<KeysValues>,
    /// Columns of padding on the left of each row: `[B]`.
    padding: Vec<usize>,
    /// S: columns filled.
    len: usize,
}

impl LanguageModel for Gpt2 {
    type Cache = KvCache;

    fn vocab_size(&self) -> usize {
        self.config.vocab_size
    }

    fn n_positions(&self) -> usize {
        self.config.n_positions
    }

    fn prefill(&self, prompts: &[Vec<u32>], max_new_tokens: usize) -> Result<(KvCache, Logits)> {
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        if prompts.iter().any(Vec::is_empty) {
            return Err(Error::EmptyPrompt);
        }
        if longest + max_new_tokens > self.config.n_positions {
            return Err(Error::PromptTooLong {
                prompt_tokens: longest,
                max_new_tokens,
                n_positions: self.config.n_positions,
            });
        }
        let padding: Vec<usize> = prompts.iter().map(|p| longest - p.len()).collect();
        let mut input_ids = Vec::with_capacity(prompts.len() * longest);
        let mut position_ids = Vec::with_capacity(input_ids.capacity());
        for (prompt, &pad) in prompts.iter().zip(&padding) {
            input_ids.extend(std::iter::repeat_n(0, pad).chain(prompt.iter().map(|&id| id as i64)));
            position_ids.extend((0..longest).map(|column| column.saturating_sub(pad) as i64));
        }
        let mut cache = KvCache { blocks: Vec::new(), padding, len: 0 };
        let logits = self.advance(&mut cache, input_ids, position_ids)?;
        Ok((cache, logits))
    }

    fn step(&self, cache: &mut KvCache, token_ids: &[u32]) -> Result<Logits> {
        if token_ids.len() != cache.padding.len() {
            return Err(Error::Shape(format!("{} tokens for {} rows", token_ids.len(), cache.padding.len())));
        }
        if cache.len >= self.config.n_positions {
            return Err(Error::Shape(format!("a context of {} positions is full", cache.len)));
        }
        let input_ids = token_ids.iter().map(|&id| id as i64).collect();
        let position_ids = cache.padding.iter().map(|pad| (cache.len - pad) as i64).collect();
        self.advance(cache, input_ids, position_ids)
    }

    fn reorder(&self, cache: &mut KvCache, rows: &[usize]) -> Result<()> {
        let identity = rows.len() == cache.padding.len() && rows.iter().enumerate().all(|(i, &r)| i == r);
        if identity {
            return Ok(());
        }
        if let Some(row) = rows.iter().find(|&&row| row >= cache.padding.len()) {
            return Err(Error::Shape(format!("row {row} of {}", cache.padding.len())));
        }
        let indices: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        let indices: Tensor<1, Int> = Tensor::from_data(indices.as_slice(), &self.device());
        for (key, value) in &mut cache.blocks {
            key.inplace(|key| key.select(0, indices.clone()));
            value.inplace(|value| value.select(0, indices.clone()));
        }
        cache.padding = rows.iter().map(|&row| cache.padding[row]).collect();
        Ok(())
    }
}

impl Gpt2 {
    /// Feeds T columns, `[B, T]` row-major, and returns the logits of the last: `[B, V]`.
    fn advance(&self, cache: &mut KvCache, input_ids: Vec<i64>, position_ids: Vec<i64>) -> Result<Logits> {
        let b = cache.padding.len();
        let t = input_ids.len() / b;
        let device = self.device();
        if let Some(id) = input_ids.iter().find(|&&id| id >= self.config.vocab_size as i64) {
            return Err(Error::Tokenizer(format!(
                "token id {id} is not below vocab_size = {}",
                self.config.vocab_size
            )));
        }
        let input_ids = Tensor::<2, Int>::from_data(TensorData::new(input_ids, [b, t]), &device);
        let position_ids = Tensor::<1, Int>::from_data(position_ids.as_slice(), &device);
        let positions = self.wpe.clone().select(0, position_ids).reshape([b, t, self.config.n_embd]);
        let x = self.embed(input_ids) + positions;

        let past = (cache.len > 0).then(|| std::mem::take(&mut cache.blocks));
        let mask = cache.mask(t, &device);
        let (hidden, present) = self.blocks(x, past, mask.as_ref());
        cache.blocks = present;
        cache.len += t;

        let last = hidden.narrow(1, t - 1, 1).reshape([b, self.config.n_embd]);
        let data = values(self.head(last))?;
        Ok(Logits { vocab_size: self.config.vocab_size, data })
    }
}

impl KvCache {
    /// The mask for T further columns, `[B or 1, 1, T, S + T]`; none if everything may be seen.
    fn mask(&self, t: usize, device: &burn::tensor::Device) -> Option<Tensor<4>> {
        let padded = self.padding.iter().any(|&pad| pad > 0);
        if t == 1 && !padded {
            return None;
        }
        let rows = if padded { self.padding.as_slice() } else { &[0] };
        let columns = self.len + t;
        let mut mask = Vec::with_capacity(rows.len() * t * columns);
        for &pad in rows {
            for query in self.len..columns {
                let visible = |column: usize| column >= pad && column <= query;
                mask.extend((0..columns).map(|column| if visible(column) { 0.0 } else { MASKED }));
            }
        }
        Some(Tensor::from_data(TensorData::new(mask, [rows.len(), 1, t, columns]), device))
    }
}
