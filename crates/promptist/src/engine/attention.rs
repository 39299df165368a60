//! Attention of one head of one row over the slots that the row sees.
//!
//! Keys and values lie where the cache put them, a slot per token; a row is a list of slots. So beams
//! share their past, and nothing is copied when they are reordered.

use super::cache::SlotLayout;
use crate::simd::for_each_isa;
use crate::simd::math::{LANES, Lanes, exp, max, sum_lanes};

/// A number as the cache stores it.
pub trait Element: Copy + Send + Sync {
    /// Widens; exact.
    fn to_f32(self) -> f32;

    /// Rounds to nearest.
    fn from_f32(value: f32) -> Self;
}

impl Element for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }
}

/// The upper half of an f32. `half::bf16` would test for NaN at every widening.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bf16(u16);

impl Element for Bf16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        // Rounding could carry a NaN over to a number.
        Self(if value.is_nan() { 0x7fc0 } else { rounded as u16 })
    }
}

/// What one head of one row attends with and to.
pub struct Attention<'a, T> {
    /// Already scaled: `[D]`, padded with zeros to a multiple of [`LANES`].
    pub query: &'a [f32],
    /// Keys and values of all heads.
    pub keys_values: &'a [T],
    /// How they lie.
    pub layout: SlotLayout,
    /// Which head this is, those of all blocks counted.
    pub head: usize,
    /// The slots that the row sees, by position.
    pub slots: &'a [u32],
}

/// How many positions ahead keys and values are asked for: rows' slots lie scattered, and a core alone
/// does not look far enough ahead to read them at the speed of the memory.
const AHEAD: usize = 16;

/// Asks for values to be brought into the cache.
#[inline(always)]
fn prefetch<T>(values: &[T]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    for line in values.chunks(64 / size_of::<T>()) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which changes nothing that a program can see; every x86-64 has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = values;
}

/// Room that the scores of `positions` positions take.
pub fn num_scores(positions: usize) -> usize {
    positions.next_multiple_of(LANES)
}

for_each_isa! {
    /// `softmax(query · keys) · values`.
    ///
    /// # Shapes
    /// - `scores`: scratch of at least [`num_scores`]
    /// - `output`: `[D]`, padded as the query
    pub fn attend<T: Element>(head: &Attention<'_, T>, scores: &mut [f32], output: &mut [f32]) = attend_body;
}

#[inline(always)]
fn attend_body<T: Element>(head: &Attention<'_, T>, scores: &mut [f32], output: &mut [f32]) {
    let (positions, dim) = (head.slots.len(), head.query.len());
    let weights = &mut scores[..num_scores(positions)];

    let (query, _) = head.query.as_chunks::<LANES>();
    for (position, (weight, &slot)) in weights.iter_mut().zip(head.slots).enumerate() {
        if let Some(&slot) = head.slots.get(position + AHEAD) {
            prefetch(&head.keys_values[head.layout.place(head.head, slot as usize)..][..2 * dim]);
        }
        let key = &head.keys_values[head.layout.place(head.head, slot as usize)..][..dim];
        let mut lanes: Lanes = [0.0; LANES];
        for (query, key) in query.iter().zip(key.as_chunks::<LANES>().0) {
            for lane in 0..LANES {
                lanes[lane] += query[lane] * key[lane].to_f32();
            }
        }
        *weight = sum_lanes(&lanes);
    }

    // Softmax, not yet divided by its sum. What pads the last lanes comes to e^-87, which the sum
    // does not feel: it is 1 at least.
    weights[positions..].fill(f32::NEG_INFINITY);
    let max = max(weights);
    let mut sums: Lanes = [0.0; LANES];
    for chunk in weights.as_chunks_mut::<LANES>().0 {
        for lane in 0..LANES {
            chunk[lane] = exp(chunk[lane] - max);
            sums[lane] += chunk[lane];
        }
    }
    let weights = &weights[..positions];
    let norm = 1.0 / sum_lanes(&sums);

    // Four chunks of the value at a time keep four sums in flight.
    let (output, _) = output[..dim].as_chunks_mut::<LANES>();
    let mut first = 0;
    while first + 4 <= output.len() {
        weigh::<T, 4>(head, weights, norm, first, output);
        first += 4;
    }
    while first < output.len() {
        weigh::<T, 1>(head, weights, norm, first, output);
        first += 1;
    }
}

/// Chunks `first..first + C` of the weighted sum of the values.
#[inline(always)]
fn weigh<T: Element, const C: usize>(
    head: &Attention<'_, T>,
    weights: &[f32],
    norm: f32,
    first: usize,
    output: &mut [Lanes],
) {
    let mut sums = [[0.0_f32; LANES]; C];
    let start = head.query.len() + first * LANES;
    for (&weight, &slot) in weights.iter().zip(head.slots) {
        let value = &head.keys_values[head.layout.place(head.head, slot as usize) + start..][..C * LANES];
        for (sums, value) in sums.iter_mut().zip(value.as_chunks::<LANES>().0) {
            for lane in 0..LANES {
                sums[lane] += weight * value[lane].to_f32();
            }
        }
    }
    for (output, sums) in output[first..first + C].iter_mut().zip(&sums) {
        for lane in 0..LANES {
            output[lane] = sums[lane] * norm;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::simd::Isa;

    /// Values that bf16 holds exactly.
    fn numbers(seed: u64, count: usize) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 56) as i32 - 128) as f32 / 64.0
        };
        (0..count).map(|_| next()).collect()
    }

    fn attend_to<T: Element>(isa: Isa, query: &[f32], keys_values: &[f32], slots: &[u32]) -> Vec<f32> {
        let keys_values: Vec<T> = keys_values.iter().map(|&x| T::from_f32(x)).collect();
        let layout = SlotLayout { num_heads: 1, dim: query.len() };
        let head = Attention { query, keys_values: &keys_values, layout, head: 0, slots };
        let (mut scores, mut output) = (vec![0.0; num_scores(slots.len())], vec![0.0; query.len()]);
        attend(isa, &head, &mut scores, &mut output);
        output
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes minutes")]
    fn bf16_rounds_to_nearest_even_and_keeps_nan() {
        for bits in (0..=u32::MAX).step_by(0x3fff) {
            let value = f32::from_bits(bits);
            let (found, expected) = (Bf16::from_f32(value).to_f32(), half::bf16::from_f32(value).to_f32());
            assert!(found == expected || found.is_nan() && expected.is_nan(), "{bits:x}: {found}");
        }
        assert!(Bf16::from_f32(f32::from_bits(0x7f80_0001)).to_f32().is_nan());
        assert_eq!(Bf16::from_f32(1.003_906_3), Bf16::from_f32(1.0));
    }

    proptest! {
        #[test]
        fn attention_is_as_in_f64_and_the_same_on_every_isa(
            chunks in 1..7_usize,
            slots in prop::collection::vec(0..20_u32, 1..50),
            seed in any::<u64>(),
        ) {
            let dim = chunks * LANES;
            let query = numbers(seed, dim);
            let keys_values = numbers(seed ^ 1, 64 * 2 * dim);
            let key = |slot: u32, i: usize| f64::from(keys_values[slot as usize * 2 * dim + i]);
            let value = |slot: u32, i: usize| key(slot, dim + i);
            let scores: Vec<f64> = slots
                .iter()
                .map(|&slot| (0..dim).map(|i| f64::from(query[i]) * key(slot, i)).sum())
                .collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|score| (score - max).exp()).sum();

            let portable = attend_to::<f32>(Isa::Portable, &query, &keys_values, &slots);
            for (i, &found) in portable.iter().enumerate() {
                let weighted = slots.iter().zip(&scores).map(|(&slot, score)| (score - max).exp() * value(slot, i));
                let exact = weighted.sum::<f64>() / sum;
                prop_assert!((f64::from(found) - exact).abs() < 1e-4, "{found} for {exact}");
            }
            for isa in Isa::ALL {
                prop_assert_eq!(&attend_to::<f32>(isa, &query, &keys_values, &slots), &portable);
                prop_assert_eq!(&attend_to::<Bf16>(isa, &query, &keys_values, &slots), &portable);
            }
        }
    }
}
