//! The rows that go into a product, in the form in which its kernel reads them.
//!
//! A row is prepared once and multiplies every block of a matrix. What it becomes depends on its own numbers only, and
//! is the same on every instruction set.

use std::ops::Range;

use super::kernels;
use super::kernels::aligned::{AlignedWords, LINE};
use super::packed::GROUP;
use super::precision::Precision;
use crate::simd::Isa;

/// R rows of K inputs, prepared for products in one precision: as they are in f32, rounded in bf16, and in int8 as
/// unsigned 8-bit numbers with a scale and a zero point for each [`GROUP`] of channels.
///
/// # Threads
/// [`rows_mut`](Self::rows_mut) splits the rows between threads safely. Inside a step, where threads write rows and
/// read them again after a barrier without handing the borrow around, [`shared_row`](Self::shared_row) does it
/// unsafely.
pub struct Activations {
    precision: Precision,
    /// Available on this CPU: the kernels rely on it.
    isa: Isa,
    layout: RowLayout,
    rows: usize,
    words: AlignedWords,
}

/// Where the parts of a row lie, in words. A row's scales and zero points follow its numbers.
#[derive(Clone, Copy, Debug)]
struct RowLayout {
    k: usize,
    groups: usize,
    channels_per_word: usize,
    data: usize,
    scales: usize,
    offsets: usize,
    stride: usize,
}

impl RowLayout {
    fn new(k: usize, precision: Precision) -> Self {
        let groups = k.div_ceil(GROUP);
        let channels_per_word = precision.channels_per_word();
        let data = k.div_ceil(channels_per_word);
        let scales = data.next_multiple_of(LINE);
        let offsets = scales + if precision == Precision::Int8 { groups } else { 0 };
        let end = offsets + if precision == Precision::Int8 { groups } else { 0 };
        // An odd number of cache lines: else the rows of a tile may all fall into the same set of the cache.
        let lines = end.div_ceil(LINE) | 1;
        Self { k, groups, channels_per_word, data, scales, offsets, stride: lines * LINE }
    }

    fn channels(&self, group: usize) -> Range<usize> {
        assert!(group < self.groups, "group {group} of {}", self.groups);
        group * GROUP..((group + 1) * GROUP).min(self.k)
    }
}

/// One prepared row as a kernel takes it.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    /// `[K / channels per word]` words.
    pub(super) data: &'a [u32],
    /// int8: the scale of each group, f32 as bits; else empty.
    pub(super) scales: &'a [u32],
    /// int8: the zero point of each group, negated, i32 as bits; else empty.
    pub(super) offsets: &'a [u32],
}

impl Activations {
    /// No rows yet, of `k` inputs each.
    ///
    /// # Panics
    /// If this CPU lacks `isa`.
    pub fn new(precision: Precision, k: usize, isa: Isa) -> Self {
        assert!(isa.is_available(), "this CPU has no {isa}");
        let layout = RowLayout::new(k, precision);
        Self { precision, isa, layout, rows: 0, words: AlignedWords::zeroed(0) }
    }

    /// Makes room for `rows` rows. What they hold is unspecified until they are set; memory is kept when there are
    /// fewer.
    pub fn resize(&mut self, rows: usize) {
        if rows * self.layout.stride > self.words.len() {
            self.words = AlignedWords::zeroed(rows * self.layout.stride);
        }
        self.rows = rows;
    }

    /// Number of rows, R.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs in a row, K.
    pub fn k(&self) -> usize {
        self.layout.k
    }

    /// The precision of the product that they are for.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Groups of channels in a row; a row can be set group by group, in any precision.
    pub fn num_groups(&self) -> usize {
        self.layout.groups
    }

    /// The channels of a group: [`GROUP`] of them, or what is left for the last one.
    pub fn group(&self, group: usize) -> Range<usize> {
        self.layout.channels(group)
    }

    /// One row, to be written.
    pub fn row_mut(&mut self, row: usize) -> RowMut<'_> {
        // SAFETY: the exclusive borrow lasts as long as the row.
        unsafe { self.shared_row(row) }
    }

    /// All rows, each to be written by whoever takes it.
    pub fn rows_mut(&mut self) -> impl ExactSizeIterator<Item = RowMut<'_>> {
        let this = &*self;
        // SAFETY: the exclusive borrow lasts as long as the rows, and no row is handed out twice.
        (0..this.rows).map(move |row| unsafe { this.shared_row(row) })
    }

    /// One row to be written through a shared reference.
    ///
    /// # Safety
    /// While the returned value is used, no thread may read the row (by [`block_product`](super::block_product)), and no
    /// other [`RowMut`] may write the same group of it.
    pub unsafe fn shared_row(&self, row: usize) -> RowMut<'_> {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        RowMut { activations: self, start: row * self.layout.stride }
    }

    #[inline]
    pub(super) fn row(&self, row: usize) -> Row<'_> {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        let RowLayout { groups, data, scales, offsets, stride, .. } = self.layout;
        let words = self.words.slice(row * stride..(row + 1) * stride);
        let groups = if self.precision == Precision::Int8 { groups } else { 0 };
        Row {
            data: &words[..data],
            scales: &words[scales..scales + groups],
            offsets: &words[offsets..offsets + groups],
        }
    }
}

/// A row of [`Activations`] that is being written.
pub struct RowMut<'a> {
    activations: &'a Activations,
    start: usize,
}

impl RowMut<'_> {
    /// Sets the whole row.
    ///
    /// # Panics
    /// If there are not K values.
    pub fn set(&mut self, values: &[f32]) {
        assert_eq!(values.len(), self.activations.layout.k, "inputs of a row");
        for (group, values) in values.chunks(GROUP).enumerate() {
            self.set_group(group, values);
        }
    }

    /// Sets the whole row in another order: input `i` becomes `values[order[i]]`, the order that the weights were packed
    /// with.
    ///
    /// # Panics
    /// If `order` does not hold K indices into `values`.
    pub fn set_ordered(&mut self, values: &[f32], order: &[u32]) {
        assert_eq!(order.len(), self.activations.layout.k, "inputs of a row");
        let mut gathered = [0.0; GROUP];
        for (group, order) in order.chunks(GROUP).enumerate() {
            for (x, &channel) in gathered.iter_mut().zip(order) {
                *x = values[channel as usize];
            }
            self.set_group(group, &gathered[..order.len()]);
        }
    }

    /// Sets one group of channels.
    ///
    /// # Panics
    /// If there are not as many values as the group has channels.
    pub fn set_group(&mut self, group: usize, values: &[f32]) {
        let Activations { precision, isa, ref layout, ref words, .. } = *self.activations;
        let channels = layout.channels(group);
        assert_eq!(values.len(), channels.len(), "inputs of a group");
        let first = self.start + channels.start / layout.channels_per_word;
        let count = values.len().div_ceil(layout.channels_per_word);
        // SAFETY: the words of this group, which the contract of `shared_row` leaves to this value.
        let data = unsafe { words.shared_mut(first..first + count) };
        let scale = kernels::prepare(isa, precision, values, data);
        if precision == Precision::Int8 {
            let scale_at = self.start + layout.scales + group;
            let offset_at = self.start + layout.offsets + group;
            // SAFETY: as above, this group's scale and zero point.
            unsafe {
                words.shared_mut(scale_at..scale_at + 1)[0] = scale.scale.to_bits();
                words.shared_mut(offset_at..offset_at + 1)[0] = -scale.zero_point as u32;
            }
        }
    }
}
