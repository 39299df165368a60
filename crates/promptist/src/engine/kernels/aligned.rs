//! A buffer of 32-bit words that starts on a cache line and can be written by several threads at once.
//!
//! A word holds one f32, two bf16 or four 8-bit numbers, the first in its low bits. Keeping everything in words
//! makes the layouts the same on any byte order and lets the portable kernels and the packing do without casts.

use std::ops::Range;

use crate::huge_pages::ask_for_huge_pages;

/// Words in a cache line, which is also an AVX-512 register.
pub(in crate::engine) const LINE: usize = 16;

/// A zeroed, 64-byte aligned, fixed-size buffer of words.
///
/// A plain `Vec` with room to align within it: asking the allocator for aligned zeroed memory makes it write the
/// zeros, on one thread, while plain zeroed memory is fresh from the kernel and first touched by whoever fills it.
pub(in crate::engine) struct AlignedWords {
    /// Owns the memory; reached only through `start`, so that threads may write disjoint ranges.
    _storage: Vec<u32>,
    start: *mut u32,
    len: usize,
}

// SAFETY: the memory is owned by this value and is plain numbers; shared writes go through the unsafe
// `shared_mut`, whose callers keep them apart.
unsafe impl Send for AlignedWords {}
// SAFETY: as above.
unsafe impl Sync for AlignedWords {}

impl AlignedWords {
    pub(in crate::engine) fn zeroed(len: usize) -> Self {
        let mut storage = vec![0_u32; len + LINE];
        let offset = storage.as_ptr().align_offset(LINE * size_of::<u32>()).min(LINE);
        // SAFETY: `offset` is at most LINE, and the vector holds LINE words more than `len`.
        let start = unsafe { storage.as_mut_ptr().add(offset) };
        ask_for_huge_pages(&mut storage);
        Self { _storage: storage, start, len }
    }

    pub(in crate::engine) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(in crate::engine) fn slice(&self, range: Range<usize>) -> &[u32] {
        assert!(range.start <= range.end && range.end <= self.len, "words {range:?} of {}", self.len);
        // SAFETY: in bounds, initialised, and not written while borrowed, by the contract of `shared_mut`.
        unsafe { std::slice::from_raw_parts(self.start.add(range.start), range.len()) }
    }

    /// A range to write through a shared reference.
    ///
    /// # Safety
    /// While the slice lives, no other slice of this buffer that overlaps `range` does, on any thread.
    #[inline]
    #[allow(clippy::mut_from_ref)]
    pub(in crate::engine) unsafe fn shared_mut(&self, range: Range<usize>) -> &mut [u32] {
        assert!(range.start <= range.end && range.end <= self.len, "words {range:?} of {}", self.len);
        // SAFETY: in bounds and initialised; exclusive by this function's contract.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_on_a_cache_line_and_is_zero() {
        for len in [0, 1, 15, 16, 1000, if cfg!(miri) { 17 } else { 2_000_000 }] {
            let words = AlignedWords::zeroed(len);
            assert_eq!(words.slice(0..len).as_ptr().align_offset(64), 0);
            assert_eq!(words.slice(0..len), vec![0; len]);
        }
    }

    #[test]
    fn threads_write_disjoint_ranges() {
        let words = AlignedWords::zeroed(64);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let words = &words;
                scope.spawn(move || {
                    // SAFETY: each thread takes a range of its own.
                    let mine = unsafe { words.shared_mut(thread * 16..(thread + 1) * 16) };
                    mine.fill(thread as u32);
                });
            }
        });
        let expected: Vec<u32> = (0..64).map(|i| i / 16).collect();
        assert_eq!(words.slice(0..64), expected);
    }
}
