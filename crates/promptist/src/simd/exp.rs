//! The exponential of decoding and of the engine: no branch, no table, no library call, so that loops
//! over it vectorise and give the same bits on every platform.

/// `e^x` within 2 units in the last place for `-87 <= x <= 88`, and the value at the nearer end
/// elsewhere; NaN stays NaN.
///
/// Source: the constants are those of `expf` in Cephes.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    /// In `[2^23, 2^24)` an f32 is a whole number: adding this rounds to one, and leaves it, plus the
    /// exponent's bias, in the low bits.
    const ROUND: f32 = 12_582_912.0 + 127.0;
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;

    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let mut poly = 1.987_569_1e-4_f32;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        poly = poly * r + coefficient;
    }
    let two_to_n = f32::from_bits(rounded.to_bits() << 23);
    (poly * r * r + r + 1.0) * two_to_n
}
