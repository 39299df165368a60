//! Near-duplicate texts, by MinHash over word shingles and locality-sensitive hashing (crate `gaoya`).
//!
//! Hashing proposes, an exact comparison decides, so the answer does not depend on the hash functions
//! beyond the chance (under 1 % at the threshold) that a pair is never proposed.

use std::collections::HashSet;

use gaoya::minhash::{
    MinHashIndex, MinHasher, MinHasher64V1, SipHasher24BuildHasher, calculate_minhash_params,
};

use super::lexicon::words;

/// Jaccard similarity of the shingle sets from which two texts count as the same: in a prompt of thirty
/// words, three of them replaced side by side still do, four do not.
pub const THRESHOLD: f64 = 0.8;

const NUM_HASHES: usize = 128;

/// A growing set of texts, none of which is nearly another.
pub struct NearDuplicates {
    hasher: MinHasher64V1<SipHasher24BuildHasher>,
    index: MinHashIndex<u64, usize>,
    kept: Vec<HashSet<String>>,
    threshold: f64,
}

impl NearDuplicates {
    /// An empty set; `threshold` is usually [`THRESHOLD`].
    pub fn new(threshold: f64) -> Self {
        // Proposals are cut off well below the threshold: an estimate from 128 hashes is off by up to 0.15.
        let (num_bands, band_width) = calculate_minhash_params(threshold - 0.1, NUM_HASHES);
        Self {
            hasher: MinHasher64V1::new_with_hasher(num_bands * band_width, SipHasher24BuildHasher::default()),
            index: MinHashIndex::new(num_bands, band_width, threshold - 0.2),
            kept: Vec::new(),
            threshold,
        }
    }

    /// The index, in order of insertion, of the first kept text that `text` nearly repeats.
    pub fn find(&self, text: &str) -> Option<usize> {
        let shingles = shingles(text);
        self.find_shingles(&shingles, &self.signature(&shingles))
    }

    /// Keeps `text` and returns `None`, or returns what [`find`](Self::find) does and keeps nothing.
    pub fn insert(&mut self, text: &str) -> Option<usize> {
        let shingles = shingles(text);
        let signature = self.signature(&shingles);
        let found = self.find_shingles(&shingles, &signature);
        if found.is_none() {
            self.index.insert(self.kept.len(), signature);
            self.kept.push(shingles);
        }
        found
    }

    fn find_shingles(&self, shingles: &HashSet<String>, signature: &Vec<u64>) -> Option<usize> {
        let proposed = self.index.query_owned(signature);
        proposed.into_iter().filter(|&kept| jaccard(&self.kept[kept], shingles) >= self.threshold).min()
    }

    fn signature(&self, shingles: &HashSet<String>) -> Vec<u64> {
        self.hasher.create_signature(shingles.iter())
    }
}

/// Pairs of neighbouring words, order kept; the word itself where there is only one.
fn shingles(text: &str) -> HashSet<String> {
    let words = words(text);
    if words.len() < 2 {
        return words.into_iter().map(|word| word.folded).collect();
    }
    words.windows(2).map(|pair| format!("{} {}", pair[0].folded, pair[1].folded)).collect()
}

fn jaccard(a: &HashSet<String>, b: &HashSet<String>) -> f64 {
    if a.is_empty() && b.is_empty() {
        return 1.0;
    }
    let shared = a.intersection(b).count();
    shared as f64 / (a.len() + b.len() - shared) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = "a knight in silver armor riding a white horse through a burning village at night, highly detailed, \
                        digital painting, artstation, concept art, smooth, sharp focus, illustration, art by artgerm";

    #[test]
    fn the_first_of_two_near_duplicates_is_kept() {
        let mut set = NearDuplicates::new(THRESHOLD);
        assert_eq!(set.insert(LONG), None);
        assert_eq!(set.insert("a fox in the snow, oil painting"), None);
        assert_eq!(set.insert(&LONG.replace("silver", "golden").to_uppercase()), Some(0));
        assert_eq!(
            set.insert(&LONG.replace("riding a white horse through a burning village", "feeding a dog")),
            None
        );
        assert_eq!(set.find("A fox in the snow -- oil painting!"), Some(1));
    }

    #[test]
    fn short_texts_compare_exactly() {
        let mut set = NearDuplicates::new(THRESHOLD);
        assert_eq!(set.insert("cat"), None);
        assert_eq!(set.insert("dog"), None);
        assert_eq!(set.insert("Cat."), Some(0));
        assert_eq!(set.insert("a cat"), None);
    }

    #[test]
    fn similarity_is_measured_exactly() {
        let set = |words: &str| words.split(' ').map(str::to_owned).collect::<HashSet<_>>();
        assert_eq!(jaccard(&set("a b c d"), &set("a b c e")), 0.6);
        assert_eq!(jaccard(&set("a"), &set("a")), 1.0);
    }
}
