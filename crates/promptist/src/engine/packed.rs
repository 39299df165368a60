//! Weights, packed once at load for the kernel that will run.
//!
//! A matrix `[K, N]` is cut into blocks of [`BLOCK`] output columns, each one contiguous run of memory in the order
//! in which a kernel reads it, so that a step streams the weights from end to end. The layout depends on the
//! precision, not on the instruction set.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::kernels::aligned::{AlignedWords, LINE};
use super::kernels::{self, Panel};
use super::precision::Precision;
use crate::simd::Isa;

/// Output columns in a block: three AVX-512 registers, so that 8 rows x 48 columns of sums fill 24 of 32.
pub const BLOCK: usize = 48;

/// Input channels that share a scale and a zero point when a row is made 8 bits.
///
/// A multiple of 16, at most 256. Larger groups are a little faster (256: 15 % in a prompt, nothing when decoding) and less
/// exact; a whole row lets one channel far larger than the rest take the bits of all others.
pub const GROUP: usize = 128;

/// How a matrix `[K, N]` lies in memory before it is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightLayout {
    /// Row-major `[K, N]`, as GPT-2's `Conv1D` stores it.
    InOut,
    /// Row-major `[N, K]`, as `wte` is when it serves as LM head.
    OutIn,
}

/// Weights `[K, N]`, packed for one precision.
///
/// In f32 a block is `[K, 48]` words; in bf16 `[K / 2, 48]`, two input channels to a word; in int8 `[K / 4, 48]`, four
/// input channels to a word, behind the 48 scales of its columns and the sums of each column over each group, from
/// which the zero points of the inputs are made good. The last block is padded with zeros.
pub struct PackedMatrix {
    k: usize,
    n: usize,
    precision: Precision,
    /// Available on this CPU: the kernels rely on it.
    isa: Isa,
    shape: BlockShape,
    /// Shared with other matrices of the same [`Packer`]; this one has `words` of it.
    memory: Arc<AlignedWords>,
    words: Range<usize>,
}

/// Where the parts of a block lie, in words.
#[derive(Clone, Copy, Debug)]
struct BlockShape {
    /// End of the column scales, which come first.
    scales: usize,
    /// End of the group sums; the weights start at the next cache line.
    sums: usize,
    weights: usize,
    end: usize,
}

impl BlockShape {
    fn new(k: usize, precision: Precision) -> Self {
        let (scales, sums) = match precision {
            Precision::F32 | Precision::Bf16 => (0, 0),
            Precision::Int8 => (BLOCK, BLOCK + k.div_ceil(GROUP) * BLOCK / 2),
        };
        let weights = sums.next_multiple_of(LINE);
        Self { scales, sums, weights, end: weights + k.div_ceil(precision.channels_per_word()) * BLOCK }
    }
}

/// One block as a kernel takes it.
#[derive(Clone, Copy)]
pub(super) struct Block<'a> {
    /// `[K / channels per word]` rows of 48 words.
    pub(super) weights: &'a [[u32; BLOCK]],
    /// int8: a row of sums for each group, 16 bits each; else empty.
    pub(super) sums: &'a [[u32; BLOCK / 2]],
    /// int8: the scales of the columns, f32 as bits; else empty.
    pub(super) scales: &'a [[u32; BLOCK]],
}

impl PackedMatrix {
    /// Packs one matrix, in memory of its own: [`Packer::pack`].
    ///
    /// # Panics
    /// If `weights` does not hold `k * n` numbers, `order` is no list of `k` channels, or this CPU lacks `isa`.
    pub fn pack(
        weights: &[f32],
        layout: WeightLayout,
        k: usize,
        n: usize,
        precision: Precision,
        isa: Isa,
        order: Option<&[u32]>,
    ) -> Self {
        Packer::new(precision, isa).pack(weights, layout, k, n, order)
    }

    /// Input channels, K.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Output columns, N.
    pub fn n(&self) -> usize {
        self.n
    }

    /// The precision of the weights and of the rows that they multiply.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The instruction set whose kernels run.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// `ceil(N / 48)`.
    pub fn num_blocks(&self) -> usize {
        self.n.div_ceil(BLOCK)
    }

    /// Memory that a pass over the weights reads.
    pub fn bytes(&self) -> usize {
        self.words.len() * size_of::<u32>()
    }

    #[inline]
    pub(super) fn block(&self, block: usize) -> Block<'_> {
        assert!(block < self.num_blocks(), "block {block} of {}", self.num_blocks());
        let start = self.words.start + block * self.shape.end;
        let words = self.memory.slice(start..start + self.shape.end);
        Block {
            weights: words[self.shape.weights..].as_chunks().0,
            sums: words[self.shape.scales..self.shape.sums].as_chunks().0,
            scales: words[..self.shape.scales].as_chunks().0,
        }
    }
}

/// Packs the matrices of a model, one after the other in memory if it is told their shapes.
///
/// One run of memory is what the system backs with huge pages: a core then reads 30 % faster than through pages of 4 KB,
/// and a matrix alone is often smaller than a huge page.
pub struct Packer {
    precision: Precision,
    isa: Isa,
    reserved: Arc<AlignedWords>,
    used: usize,
}

impl Packer {
    /// Packs for one precision and instruction set, with memory of its own for each matrix.
    ///
    /// # Panics
    /// If this CPU lacks `isa`.
    pub fn new(precision: Precision, isa: Isa) -> Self {
        Self::with_shapes(precision, isa, [])
    }

    /// As [`new`](Self::new), with memory reserved for matrices of the shapes `(k, n)`. It is freed when the packer and
    /// all of them are gone.
    ///
    /// # Panics
    /// If this CPU lacks `isa`.
    pub fn with_shapes(
        precision: Precision,
        isa: Isa,
        shapes: impl IntoIterator<Item = (usize, usize)>,
    ) -> Self {
        assert!(isa.is_available(), "this CPU has no {isa}");
        let words = |(k, n): (usize, usize)| n.div_ceil(BLOCK) * BlockShape::new(k, precision).end;
        let reserved = AlignedWords::zeroed(shapes.into_iter().map(words).sum());
        Self { precision, isa, reserved: Arc::new(reserved), used: 0 }
    }

    /// Packs weights `[K, N]` that lie in memory as `layout` says.
    ///
    /// Input channel `i` of the product is channel `order[i]` of `weights`: channels of like size sorted together
    /// share the scale of a group. `None` is the natural order.
    ///
    /// # Panics
    /// If `weights` does not hold `k * n` numbers, or `order` is no list of `k` channels.
    pub fn pack(
        &mut self,
        weights: &[f32],
        layout: WeightLayout,
        k: usize,
        n: usize,
        order: Option<&[u32]>,
    ) -> PackedMatrix {
        assert_eq!(weights.len(), k * n, "weights of a {k} x {n} matrix");
        if let Some(order) = order {
            assert!(
                order.len() == k && order.iter().all(|&channel| (channel as usize) < k),
                "an order of {k} channels"
            );
        }
        let channel = |i: usize| order.map_or(i, |order| order[i] as usize);
        self.pack_with(k, n, |first, panel| {
            let columns = BLOCK.min(n - first);
            match layout {
                WeightLayout::InOut => {
                    for (i, row) in panel.iter_mut().enumerate() {
                        let start = channel(i) * n + first;
                        row[..columns].copy_from_slice(&weights[start..start + columns]);
                    }
                }
                WeightLayout::OutIn => {
                    // Transposed in pieces that fit the L1 cache.
                    const PIECE: usize = 64;
                    for (piece, rows) in panel.chunks_mut(PIECE).enumerate() {
                        for column in 0..columns {
                            let source = &weights[(first + column) * k..][..k];
                            for (i, row) in (piece * PIECE..).zip(rows.iter_mut()) {
                                row[column] = source[channel(i)];
                            }
                        }
                    }
                }
            }
        })
    }

    /// Packs weights `[K, N]` that `fill` hands out: `fill(first_column, panel)` sets `panel[i][c]` to the weight of
    /// input channel `i` and column `first_column + c`, for the columns that exist.
    ///
    /// This is how a file of bf16 or f16 is packed, or weights are scaled on the way, without an f32 copy of them. Blocks
    /// are packed in parallel on rayon's pool, each with a panel of `K x 48` numbers.
    pub fn pack_with(
        &mut self,
        k: usize,
        n: usize,
        fill: impl Fn(usize, &mut [[f32; BLOCK]]) + Sync,
    ) -> PackedMatrix {
        let Self { precision, isa, .. } = *self;
        let shape = BlockShape::new(k, precision);
        let (memory, range) = self.take(n.div_ceil(BLOCK) * shape.end);
        // SAFETY: `take` hands out each word once, and the matrix that reads them does not exist yet.
        let words = unsafe { memory.shared_mut(range.clone()) };
        // Padded with channels of zeros to whole words.
        let new_panel = || vec![[0.0; BLOCK]; k.next_multiple_of(precision.channels_per_word())];
        let pack_block = |panel: &mut Vec<[f32; BLOCK]>, block: usize, words: &mut [u32]| {
            let first = block * BLOCK;
            fill(first, &mut panel[..k]);
            if first + BLOCK > n {
                panel.iter_mut().for_each(|row| row[n - first..].fill(0.0));
            }
            let (head, weights) = words.split_at_mut(shape.weights);
            let (scales, sums) = head[..shape.sums].split_at_mut(shape.scales);
            kernels::pack(isa, precision, Panel { panel, scales, sums, weights });
        };
        if cfg!(miri) {
            let mut panel = new_panel();
            for (block, words) in words.chunks_exact_mut(shape.end.max(1)).enumerate() {
                pack_block(&mut panel, block, words);
            }
        } else {
            words
                .par_chunks_exact_mut(shape.end.max(1))
                .enumerate()
                .for_each_init(new_panel, |panel, (block, words)| pack_block(panel, block, words));
        }
        PackedMatrix { k, n, precision, isa, shape, memory, words: range }
    }

    /// Words that nobody else has: reserved ones, or new ones if those do not suffice.
    fn take(&mut self, words: usize) -> (Arc<AlignedWords>, Range<usize>) {
        if words > self.reserved.len() - self.used {
            return (Arc::new(AlignedWords::zeroed(words)), 0..words);
        }
        let range = self.used..self.used + words;
        self.used = range.end;
        (Arc::clone(&self.reserved), range)
    }
}
