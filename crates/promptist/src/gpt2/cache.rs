//! The key-value cache, and GPT-2 as a [`LanguageModel`] for the searches.
//!
//! Prompts of unequal length are padded on the left, so that every row's next token falls into the
//! same column; positions count real tokens only. Rows that join later are columns behind: each time
//! prompts are read they make a group, with columns of its own, and a step is a pass for each group.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::block::KeysValues;
use super::{Gpt2, MASKED};
use crate::decoding::{Answers, LanguageModel, Queries, check_append};
use crate::error::{Error, Result};
use crate::nn::values;

/// Keys and values of the rows decoded so far.
#[derive(Default)]
pub struct KvCache {
    groups: Vec<Group>,
    /// Where each row is.
    rows: Vec<Place>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    group: usize,
    row: usize,
}

/// Keys and values of every block for B rows that were read together, and what is padding in them.
struct Group {
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

    fn new_cache(&self) -> KvCache {
        KvCache::default()
    }

    fn append(
        &self,
        cache: &mut KvCache,
        token_ids: &[&[u32]],
        queries: &Queries,
        answers: &mut Answers,
    ) -> Result<()> {
        let len = |place: &Place| {
            let group = &cache.groups[place.group];
            group.len - group.padding[place.row]
        };
        check_append(self, cache.rows.iter().map(len), token_ids)?;
        let (old, prompts) = token_ids.split_at(cache.rows.len());
        // The logits of each group: `[B, V]`.
        let mut logits = Vec::with_capacity(cache.groups.len() + 1);
        for (group_idx, group) in cache.groups.iter_mut().enumerate() {
            let mut input_ids = vec![0; group.padding.len()];
            for (place, token_ids) in cache.rows.iter().zip(old).filter(|(place, _)| place.group == group_idx)
            {
                input_ids[place.row] = i64::from(token_ids[0]);
            }
            let position_ids = group.padding.iter().map(|pad| (group.len - pad) as i64).collect();
            logits.push(self.advance(group, input_ids, position_ids)?);
        }
        if !prompts.is_empty() {
            let group = cache.groups.len();
            let (read, read_logits) = self.read(prompts)?;
            cache.groups.push(read);
            cache.rows.extend((0..prompts.len()).map(|row| Place { group, row }));
            logits.push(read_logits);
        }
        answers.clear();
        let v = self.config.vocab_size;
        for (query, place) in queries.iter().zip(&cache.rows) {
            answers.push_row(query, &logits[place.group][place.row * v..][..v])?;
        }
        Ok(())
    }

    fn reorder(&self, cache: &mut KvCache, rows: &[usize]) -> Result<()> {
        if let Some(row) = rows.iter().find(|&&row| row >= cache.rows.len()) {
            return Err(Error::Shape(format!("row {row} of {}", cache.rows.len())));
        }
        // The rows that each group keeps, in the new order.
        let mut kept: Vec<Vec<usize>> = vec![Vec::new(); cache.groups.len()];
        for &row in rows {
            let Place { group, row } = cache.rows[row];
            kept[group].push(row);
        }
        let mut groups = Vec::with_capacity(cache.groups.len());
        let mut numbers = vec![0; kept.len()];
        for ((mut group, kept), number) in cache.groups.drain(..).zip(&kept).zip(&mut numbers) {
            if !kept.is_empty() {
                *number = groups.len();
                group.select(kept, &self.device());
                groups.push(group);
            }
        }
        cache.groups = groups;
        let mut next_row = vec![0; kept.len()];
        let place = |&row: &usize| {
            let group = cache.rows[row].group;
            let row = next_row[group];
            next_row[group] += 1;
            Place { group: numbers[group], row }
        };
        cache.rows = rows.iter().map(place).collect();
        Ok(())
    }
}

impl Gpt2 {
    /// Reads prompts together; returns their rows and the logits that follow each: `[B, V]`.
    fn read(&self, prompts: &[&[u32]]) -> Result<(Group, Vec<f32>)> {
        let longest = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0);
        let padding: Vec<usize> = prompts.iter().map(|prompt| longest - prompt.len()).collect();
        let mut input_ids = Vec::with_capacity(prompts.len() * longest);
        let mut position_ids = Vec::with_capacity(input_ids.capacity());
        for (prompt, &pad) in prompts.iter().zip(&padding) {
            input_ids.extend(std::iter::repeat_n(0, pad).chain(prompt.iter().map(|&id| i64::from(id))));
            position_ids.extend((0..longest).map(|column| column.saturating_sub(pad) as i64));
        }
        let mut group = Group { blocks: Vec::new(), padding, len: 0 };
        let logits = self.advance(&mut group, input_ids, position_ids)?;
        Ok((group, logits))
    }

    /// Feeds T columns, `[B, T]` row-major, and returns the logits of the last: `[B, V]`.
    fn advance(&self, group: &mut Group, input_ids: Vec<i64>, position_ids: Vec<i64>) -> Result<Vec<f32>> {
        let b = group.padding.len();
        let t = input_ids.len() / b;
        let device = self.device();
        let input_ids = Tensor::<2, Int>::from_data(TensorData::new(input_ids, [b, t]), &device);
        let position_ids = Tensor::<1, Int>::from_data(position_ids.as_slice(), &device);
        let positions = self.wpe.clone().select(0, position_ids).reshape([b, t, self.config.n_embd]);
        let x = self.embed(input_ids) + positions;

        let past = (group.len > 0).then(|| std::mem::take(&mut group.blocks));
        let mask = group.mask(t, &device);
        let (hidden, present) = self.blocks(x, past, mask.as_ref());
        group.blocks = present;
        group.len += t;

        let last = hidden.narrow(1, t - 1, 1).reshape([b, self.config.n_embd]);
        values(self.head(last))
    }
}

impl Group {
    /// Makes row i what row `rows[i]` was.
    fn select(&mut self, rows: &[usize], device: &Device) {
        if rows.iter().copied().eq(0..self.padding.len()) {
            return;
        }
        let indices: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        let indices: Tensor<1, Int> = Tensor::from_data(indices.as_slice(), device);
        for (key, value) in &mut self.blocks {
            key.inplace(|key| key.select(0, indices.clone()));
            value.inplace(|value| value.select(0, indices.clone()));
        }
        self.padding = rows.iter().map(|&row| self.padding[row]).collect();
    }

    /// The mask for T further columns, `[B or 1, 1, T, S + T]`; none if everything may be seen.
    fn mask(&self, t: usize, device: &Device) -> Option<Tensor<4>> {
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
