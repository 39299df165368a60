//! Random numbers as a pure function of what they are for.
//!
//! A draw depends on the seed, the input, which of its returned sequences it is for and the step, and
//! on nothing that was drawn before: not on the batch, the order of the rows or the number of threads.

use sha2::{Digest, Sha256};

/// What stands for an input in its draws: the first 8 bytes, little-endian, of the SHA-256 of the
/// trimmed text.
pub fn sample_key(user_input: &str) -> u64 {
    let digest = Sha256::digest(user_input.trim().as_bytes());
    u64::from_le_bytes(std::array::from_fn(|idx| digest[idx]))
}

/// A number in `[0, 1)`, 53 bits of it random.
///
/// Philox4x32-10 with `seed` as the key and (`sample_key`, `sequence_idx`, `step`) as the counter, low
/// words first; the number is made of the first two words out.
pub(super) fn uniform(seed: u64, sample_key: u64, sequence_idx: u32, step: u32) -> f64 {
    let counter = [sample_key as u32, (sample_key >> 32) as u32, sequence_idx, step];
    let [low, high, ..] = philox4x32_10(counter, [seed as u32, (seed >> 32) as u32]);
    let bits = u64::from(high) << 32 | u64::from(low);
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// # Source
/// Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011; Random123.
fn philox4x32_10(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

    for _ in 0..10 {
        let [a, b, c, d] = counter;
        let left = u64::from(a) * u64::from(MULTIPLIERS[0]);
        let right = u64::from(c) * u64::from(MULTIPLIERS[1]);
        counter =
            [(right >> 32) as u32 ^ b ^ key[0], right as u32, (left >> 32) as u32 ^ d ^ key[1], left as u32];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `kat_vectors` of Random123.
    #[test]
    fn philox_gives_the_published_numbers() {
        let check = |counter, key, expected| assert_eq!(philox4x32_10(counter, key), expected);
        check([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        check([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        check(
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        );
    }

    #[test]
    fn the_key_is_of_the_trimmed_text_and_stable() {
        assert_eq!(sample_key("  a cat\n"), sample_key("a cat"));
        assert_ne!(sample_key("a cat"), sample_key("a bat"));
        // SHA-256 of nothing begins e3b0c442 98fc1c14.
        assert_eq!(sample_key(" "), 0x141c_fc98_42c4_b0e3);
    }

    #[test]
    fn numbers_are_below_one_and_differ_in_every_coordinate() {
        let base = uniform(1, 2, 3, 4);
        assert!((0.0..1.0).contains(&base));
        for other in [uniform(2, 2, 3, 4), uniform(1, 3, 3, 4), uniform(1, 2, 4, 4), uniform(1, 2, 3, 5)] {
            assert_ne!(base, other);
        }
        assert_eq!(uniform(0, 0, 0, 0), (0xe169_c58d_6627_e8d5_u64 >> 11) as f64 / (1_u64 << 53) as f64);
    }
}
