//! Keys and values of tokens, shared by the rows that have them in their past.
//!
//! A slot holds the keys and values of one token in every block; a row is the list of its slots, by
//! position. Rows of one prompt share its slots, and [reordering](KvCache::reorder) rows copies lists
//! of indices, never keys or values. A slot that no row has any more is given to the next token.

use super::attention::{Bf16, Element};
use crate::huge_pages::ask_for_huge_pages;

/// The cache of some rows. Rows come and go at any step, each as long as it is.
pub struct KvCache {
    rows: Vec<Vec<u32>>,
    slots: Slots,
    keys_values: KeysValues,
    layout: SlotLayout,
}

/// Keys and values, laid out by [`SlotLayout`].
pub(super) enum KeysValues {
    /// As they are.
    F32(Vec<f32>),
    /// In half the memory.
    Bf16(Vec<Bf16>),
}

/// Where the keys and values of slots lie: `[chunk, head, slot of the chunk, key and value, D]`.
///
/// A head reads what lies together, and the cache grows by chunks that nothing moves within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotLayout {
    /// Heads of all blocks.
    pub num_heads: usize,
    /// D, padded.
    pub dim: usize,
}

/// Slots of a chunk.
const CHUNK: usize = 64;

impl SlotLayout {
    /// Where a slot's key for a head starts, heads of all blocks counted; its value follows.
    #[inline(always)]
    pub fn place(self, head: usize, slot: usize) -> usize {
        ((slot / CHUNK * self.num_heads + head) * CHUNK + slot % CHUNK) * 2 * self.dim
    }

    /// Elements of so many slots, whole chunks.
    fn len(self, slots: usize) -> usize {
        slots.next_multiple_of(CHUNK) * self.num_heads * 2 * self.dim
    }
}

/// Which slots are used, and by how many rows.
#[derive(Debug, Default)]
struct Slots {
    /// Rows that have each slot.
    uses: Vec<u32>,
    /// Those of no use, the next to be given last.
    free: Vec<u32>,
}

impl KvCache {
    /// A cache without rows.
    pub(super) fn new(layout: SlotLayout, is_bf16: bool) -> Self {
        let keys_values = match is_bf16 {
            false => KeysValues::F32(Vec::new()),
            true => KeysValues::Bf16(Vec::new()),
        };
        Self { rows: Vec::new(), slots: Slots::default(), keys_values, layout }
    }

    /// How keys and values lie.
    pub(super) fn layout(&self) -> SlotLayout {
        self.layout
    }

    /// Number of rows.
    pub fn num_rows(&self) -> usize {
        self.rows.len()
    }

    /// The slots of a row, by position.
    pub(super) fn row(&self, row: usize) -> &[u32] {
        &self.rows[row]
    }

    /// Adds a row of `len` tokens, their keys and values to be written, behind the others.
    pub(super) fn add_row(&mut self, len: usize) {
        let slots = (0..len).map(|_| self.slots.take()).collect();
        self.rows.push(slots);
        self.make_room();
    }

    /// Adds a token to every row, its keys and values to be written.
    pub(super) fn extend_rows(&mut self) {
        for row in &mut self.rows {
            row.push(self.slots.take());
        }
        self.make_room();
    }

    /// Makes row i what row `parents[i]` was: repeats, permutes and drops rows.
    ///
    /// # Panics
    /// If a parent is no row.
    pub(super) fn reorder(&mut self, parents: &[usize]) {
        let rows: Vec<Vec<u32>> = parents.iter().map(|&parent| self.rows[parent].clone()).collect();
        rows.iter().for_each(|row| self.slots.add_uses(row));
        let dropped = std::mem::replace(&mut self.rows, rows);
        dropped.iter().for_each(|row| self.slots.drop_uses(row));
    }

    /// Rows and the memory that their slots are in.
    pub(super) fn parts(&mut self) -> (&[Vec<u32>], &mut KeysValues) {
        (&self.rows, &mut self.keys_values)
    }

    /// Makes the memory reach to every slot.
    fn make_room(&mut self) {
        fn resize<T: Element>(values: &mut Vec<T>, len: usize) {
            if values.len() < len {
                values.reserve(len - values.len());
                ask_for_huge_pages(values.spare_capacity_mut());
                values.resize(len, T::from_f32(0.0));
            }
        }
        let len = self.layout.len(self.slots.uses.len());
        match &mut self.keys_values {
            KeysValues::F32(values) => resize(values, len),
            KeysValues::Bf16(values) => resize(values, len),
        }
    }
}

impl Slots {
    /// A slot that no row has, for one row.
    fn take(&mut self) -> u32 {
        match self.free.pop() {
            Some(slot) => {
                self.uses[slot as usize] = 1;
                slot
            }
            None => {
                self.uses.push(1);
                self.uses.len() as u32 - 1
            }
        }
    }

    fn add_uses(&mut self, slots: &[u32]) {
        for &slot in slots {
            self.uses[slot as usize] += 1;
        }
    }

    fn drop_uses(&mut self, slots: &[u32]) {
        for &slot in slots {
            let uses = &mut self.uses[slot as usize];
            *uses -= 1;
            if *uses == 0 {
                self.free.push(slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What may be done to a cache; rows are taken modulo the number there is.
    #[derive(Debug, Clone)]
    enum Action {
        Join(usize),
        Extend,
        Reorder(Vec<usize>),
    }

    fn actions() -> impl Strategy<Value = Vec<Action>> {
        let action = prop_oneof![
            (1..6_usize).prop_map(Action::Join),
            Just(Action::Extend),
            prop::collection::vec(any::<usize>(), 0..7).prop_map(Action::Reorder),
        ];
        prop::collection::vec(action, 0..40)
    }

    /// Writes `value` where the step would write a token's keys and values.
    fn write(cache: &mut KvCache, slot: u32, value: f32) {
        let layout = cache.layout;
        let KeysValues::F32(values) = &mut cache.keys_values else { panic!("made for f32") };
        for head in 0..layout.num_heads {
            let start = layout.place(head, slot as usize);
            values[start..start + 2 * layout.dim].fill(value + head as f32);
        }
    }

    proptest! {
        /// Against rows that are copied whole.
        #[test]
        fn rows_keep_their_tokens_whatever_joins_and_leaves(actions in actions()) {
            let layout = SlotLayout { num_heads: 2, dim: 3 };
            let mut cache = KvCache::new(layout, false);
            let mut copies: Vec<Vec<f32>> = Vec::new();
            let mut most_tokens = 0;
            let mut token = 0.0;
            for action in actions {
                match action {
                    Action::Join(len) => {
                        cache.add_row(len);
                        let mut copy = Vec::new();
                        for slot in cache.row(cache.num_rows() - 1).to_vec() {
                            token += 10.0;
                            write(&mut cache, slot, token);
                            copy.push(token);
                        }
                        copies.push(copy);
                    }
                    Action::Extend => {
                        cache.extend_rows();
                        for (row, copy) in copies.iter_mut().enumerate() {
                            token += 10.0;
                            let slot = *cache.row(row).last().expect("just extended");
                            write(&mut cache, slot, token);
                            copy.push(token);
                        }
                    }
                    Action::Reorder(parents) => {
                        let parents: Vec<usize> = match cache.num_rows() {
                            0 => Vec::new(),
                            rows => parents.iter().map(|parent| parent % rows).collect(),
                        };
                        cache.reorder(&parents);
                        copies = parents.iter().map(|&parent| copies[parent].clone()).collect();
                    }
                }
                prop_assert_eq!(cache.num_rows(), copies.len());
                let KeysValues::F32(values) = &cache.keys_values else { panic!("made for f32") };
                for (row, copy) in copies.iter().enumerate() {
                    prop_assert_eq!(cache.row(row).len(), copy.len());
                    for (&slot, &token) in cache.row(row).iter().zip(copy) {
                        for head in 0..layout.num_heads {
                            let found = &values[layout.place(head, slot as usize)..][..6];
                            prop_assert_eq!(found, [token + head as f32; 6]);
                        }
                    }
                }
                // Slots are used again: there are never more than were needed at once.
                let mut in_use: Vec<u32> = cache.rows.concat();
                in_use.sort_unstable();
                in_use.dedup();
                most_tokens = most_tokens.max(in_use.len());
                prop_assert!(cache.slots.uses.len() <= most_tokens);
                prop_assert_eq!(in_use.len() + cache.slots.free.len(), cache.slots.uses.len());
            }
        }
    }

    #[test]
    fn a_row_repeated_shares_its_slots_and_parts_at_the_next_token() {
        let mut cache = KvCache::new(SlotLayout { num_heads: 1, dim: 1 }, true);
        cache.add_row(3);
        cache.reorder(&[0, 0]);
        cache.extend_rows();
        assert_eq!(cache.row(0)[..3], cache.row(1)[..3]);
        assert_ne!(cache.row(0)[3], cache.row(1)[3]);
        cache.reorder(&[]);
        assert_eq!(cache.slots.free.len(), 5);
    }
}
