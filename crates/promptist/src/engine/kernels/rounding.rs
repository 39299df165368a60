//! From f32 to bf16 and 8 bits, for weights and for activations.
//!
//! These are plain Rust over fixed-size arrays, always inlined: each instruction set wraps them in a function that
//! enables its features, and the compiler vectorises them there. Since Rust neither contracts nor reorders
//! floating-point operations, every instruction set gets the same bits, with nothing to keep in step by hand.

use crate::engine::packed::{BLOCK, GROUP};

/// Adding this to a number below 2^22 in size leaves its nearest integer, ties to even, in the low bits.
const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23
/// Below this a step is taken for zero: its inverse would leave the range of f32, and the numbers mean nothing.
const SMALLEST_STEP: f32 = 1e-30;
/// Exponent bits of an infinity: a magnitude from here on is not finite.
const INFINITE: u32 = 0x7f80_0000;
const LANES: usize = 16;

/// The nearest integer, ties to even, of a number below 2^22 in size; some integer for any other.
#[inline(always)]
fn nearest(x: f32) -> i32 {
    ((x + MAGIC).to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32)
}

/// The nearest bf16, ties to even. A NaN stays one.
#[inline(always)]
pub(super) fn bf16(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let quiet_nan = (bits >> 16) | 0x40;
    if bits & 0x7fff_ffff > INFINITE { quiet_nan } else { rounded }
}

/// How the inputs of a group were made 8 bits: `x ≈ scale * (q - zero_point)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::engine) struct GroupScale {
    /// NaN if an input was not finite, so that what is computed from it is NaN as well.
    pub(in crate::engine) scale: f32,
    pub(in crate::engine) zero_point: i32,
}

impl GroupScale {
    /// Zero is exact in every group: `low <= 0 <= high`.
    ///
    /// For a symmetric scheme, `scale = max(-low, high) / 127` and a zero point of 128: the kernels take either.
    #[inline(always)]
    fn of_range(low: f32, high: f32) -> Self {
        // Two divisions, because `high - low` may overflow.
        let scale = high / 255.0 - low / 255.0;
        if scale < SMALLEST_STEP {
            return Self { scale: 0.0, zero_point: 0 };
        }
        Self { scale, zero_point: nearest(-low / scale).clamp(0, 255) }
    }
}

/// Inputs of one group to 8 bits, four to a word; what the last word has to spare is 0.
///
/// `words` holds `ceil(values / 4)` words. An infinity or NaN makes the scale NaN and every number 0.
#[inline(always)]
pub(super) fn quantize_group(values: &[f32], words: &mut [u32]) -> GroupScale {
    let mut low = [0.0_f32; LANES];
    let mut high = [0.0_f32; LANES];
    let mut magnitude = [0_u32; LANES];
    let mut look = |chunk: &[f32; LANES]| {
        for lane in 0..LANES {
            let x = chunk[lane];
            low[lane] = if x < low[lane] { x } else { low[lane] };
            high[lane] = if x > high[lane] { x } else { high[lane] };
            magnitude[lane] = magnitude[lane].max(x.to_bits() & 0x7fff_ffff);
        }
    };
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut last = [0.0; LANES];
    last[..rest.len()].copy_from_slice(rest);
    for chunk in chunks {
        look(chunk);
    }
    look(&last);
    let low = low.into_iter().fold(0.0_f32, |a, b| if b < a { b } else { a });
    let high = high.into_iter().fold(0.0_f32, |a, b| if b > a { b } else { a });
    if magnitude.into_iter().fold(0, u32::max) >= INFINITE {
        words.fill(0);
        return GroupScale { scale: f32::NAN, zero_point: 0 };
    }
    let group = GroupScale::of_range(low, high);
    if group.scale == 0.0 {
        words.fill(0);
        return group;
    }
    let inverse = 1.0 / group.scale;
    let round = |chunk: &[f32; LANES]| {
        let mut quads = [0_u32; LANES / 4];
        let mut rounded = [0_u32; LANES];
        for lane in 0..LANES {
            rounded[lane] = (nearest(chunk[lane] * inverse) + group.zero_point).clamp(0, 255) as u32;
        }
        for (quad, four) in quads.iter_mut().zip(rounded.as_chunks::<4>().0) {
            *quad = four[0] | (four[1] << 8) | (four[2] << 16) | (four[3] << 24);
        }
        quads
    };
    let (quads, rest_words) = words.as_chunks_mut::<{ LANES / 4 }>();
    let mut quads = quads.iter_mut();
    for (chunk, quad) in chunks.iter().zip(&mut quads) {
        *quad = round(chunk);
    }
    if !rest.is_empty() {
        let quad = round(&last);
        let out = quads.next().map_or(rest_words, |quad| &mut quad[..]);
        out.copy_from_slice(&quad[..out.len()]);
        if rest.len() % 4 != 0 {
            let kept = (1_u32 << (rest.len() % 4 * 8)) - 1;
            out[rest.len() / 4] &= kept;
        }
    }
    group
}

/// Inputs to bf16, two to a word; what the last word has to spare is 0.
#[inline(always)]
pub(super) fn round_to_bf16(values: &[f32], words: &mut [u32]) {
    let (pairs, rest) = values.as_chunks::<2>();
    for (word, pair) in words.iter_mut().zip(pairs) {
        *word = bf16(pair[0]) | (bf16(pair[1]) << 16);
    }
    if let ([x], Some(word)) = (rest, words.get_mut(pairs.len())) {
        *word = bf16(*x);
    }
}

/// A panel of weights `[K padded to 2, BLOCK]` to pairs of bf16, `[K / 2, BLOCK]` words.
#[inline(always)]
pub(super) fn pack_bf16(panel: &[[f32; BLOCK]], words: &mut [u32]) {
    for (pairs, rows) in words.as_chunks_mut::<BLOCK>().0.iter_mut().zip(panel.as_chunks::<2>().0) {
        for column in 0..BLOCK {
            pairs[column] = bf16(rows[0][column]) | (bf16(rows[1][column]) << 16);
        }
    }
}

/// A panel of weights `[K padded to 4, BLOCK]` to signed 8 bits, symmetric, with a scale for each column.
///
/// # Shapes
/// - `scales`: `[BLOCK]`, f32 as bits; 0 for a column of zeros, NaN for one with a number that is not finite
/// - `sums`: `[groups, BLOCK / 2]`, the sum of each column over each group, 16 bits, two to a word
/// - `quads`: `[K / 4, BLOCK]`, four input channels to a word
#[inline(always)]
pub(super) fn pack_int8(panel: &[[f32; BLOCK]], scales: &mut [u32], sums: &mut [u32], quads: &mut [u32]) {
    let mut magnitude = [0_u32; BLOCK];
    for row in panel {
        for column in 0..BLOCK {
            magnitude[column] = magnitude[column].max(row[column].to_bits() & 0x7fff_ffff);
        }
    }
    let mut inverse = [0.0_f32; BLOCK];
    for column in 0..BLOCK {
        let scale = f32::from_bits(magnitude[column]) / 127.0;
        let scale = if magnitude[column] >= INFINITE { f32::NAN } else { scale };
        let scale = if scale < SMALLEST_STEP { 0.0 } else { scale };
        scales[column] = scale.to_bits();
        inverse[column] = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    }
    let groups = panel.chunks(GROUP).zip(quads.chunks_mut(GROUP / 4 * BLOCK));
    for ((panel, quads), sums) in groups.zip(sums.as_chunks_mut::<{ BLOCK / 2 }>().0) {
        let mut sum = [0_i32; BLOCK];
        for (rows, quad) in panel.as_chunks::<4>().0.iter().zip(quads.as_chunks_mut::<BLOCK>().0) {
            let mut packed = [0_u32; BLOCK];
            for (byte, row) in rows.iter().enumerate() {
                for column in 0..BLOCK {
                    let q = nearest(row[column] * inverse[column]).clamp(-127, 127);
                    sum[column] += q;
                    packed[column] |= ((q as u32) & 0xff) << (8 * byte);
                }
            }
            *quad = packed;
        }
        for (word, pair) in sums.iter_mut().zip(sum.as_chunks::<2>().0) {
            *word = (pair[0] as u32 & 0xffff) | ((pair[1] as u32) << 16);
        }
    }
}

// A group's sum of weights must fit 16 bits.
const _: () = assert!(GROUP * 127 <= i16::MAX as usize && GROUP.is_multiple_of(LANES));

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(words: &[u32]) -> Vec<i32> {
        words.iter().flat_map(|word| word.to_le_bytes()).map(i32::from).collect()
    }

    #[test]
    fn bf16_rounds_as_the_half_crate() {
        let numbers =
            [0.0, -0.0, 1.0, 1.003_906_2, 1.011_718_8, -3.4e38, 1e-40, f32::INFINITY, f32::NEG_INFINITY];
        for x in numbers {
            assert_eq!(bf16(x), u32::from(half::bf16::from_f32(x).to_bits()), "{x}");
        }
        assert!(half::bf16::from_bits(bf16(f32::NAN) as u16).is_nan());
        assert!(half::bf16::from_bits(bf16(f32::from_bits(0x7f80_0001)) as u16).is_nan());
    }

    #[test]
    fn integers_round_ties_to_even() {
        for (x, expected) in
            [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (126.7, 127), (-127.49, -127)]
        {
            assert_eq!(nearest(x), expected, "{x}");
        }
    }

    #[test]
    fn a_group_comes_back_within_half_a_step() {
        for len in [1, 3, 4, 15, 16, 17, 31, 100, GROUP] {
            let values: Vec<f32> = (0..len).map(|i| ((i * 37 + 11) % 97) as f32 / 20.0 - 0.7).collect();
            let mut words = vec![u32::MAX; len.div_ceil(4)];
            let group = quantize_group(&values, &mut words);
            for (i, q) in bytes(&words).into_iter().enumerate() {
                let x = values.get(i).copied();
                match x {
                    Some(x) => {
                        let back = group.scale * (q - group.zero_point) as f32;
                        assert!((back - x).abs() <= 1.01 * group.scale, "{x} came back as {back}");
                    }
                    None => assert_eq!(q, 0, "the padding of {len} values"),
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_a_number_makes_the_scale_nan() {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 15, 16, 19] {
                let mut values = [1.0; 20];
                values[at] = bad;
                let group = quantize_group(&values, &mut [0; 5]);
                assert!(group.scale.is_nan(), "{bad} at {at}");
            }
        }
    }

    #[test]
    fn the_ends_of_the_range_stay_finite() {
        for values in [[1.5e38, -3e38, 0.0, 1.0], [1e-45, 0.0, 0.0, -1e-45], [0.0; 4], [1e-29, 0.0, 0.0, 0.0]]
        {
            let mut words = [7];
            let group = quantize_group(&values, &mut words);
            for (x, q) in values.into_iter().zip(bytes(&words)) {
                let back = group.scale * (q - group.zero_point) as f32;
                assert!((back - x).abs() <= group.scale.max(1e-27), "{x} came back as {back}");
            }
        }
    }
}
