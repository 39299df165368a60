//! A random other for everyone, as the baseline of a measure of pairs.

use rand::{Rng, RngExt};

/// A random other for each of `n`: a cyclic permutation (Sattolo), so that nobody gets themselves.
/// Empty for fewer than two, where there is no other.
pub fn random_others(n: usize, rng: &mut impl Rng) -> Vec<usize> {
    if n < 2 {
        return Vec::new();
    }
    let mut others: Vec<usize> = (0..n).collect();
    for last in (1..n).rev() {
        others.swap(last, rng.random_range(0..last));
    }
    others
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    proptest! {
        #[test]
        fn nobody_is_their_own_other(n in 0usize..50, seed: u64) {
            let others = random_others(n, &mut ChaCha8Rng::seed_from_u64(seed));
            prop_assert!(others.iter().enumerate().all(|(me, &other)| me != other));
            let mut sorted = others.clone();
            sorted.sort_unstable();
            let everyone: Vec<usize> = if n < 2 { vec![] } else { (0..n).collect() };
            prop_assert_eq!(sorted, everyone);
        }
    }
}
