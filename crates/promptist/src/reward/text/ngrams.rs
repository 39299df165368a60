//! A linear model on hashed words of the additions: another family than the trunk, to hold it against.
//!
//! Features, each hashed to one of [`BUCKETS`] weights: words, pairs and triples of neighbouring words with
//! the commas between them, whole phrases, and input word × added word, which is where fit comes in. A group
//! of n features counts 1/√n each, so that more of the same adds little; bins of the additions' surface
//! numbers let the model say that there are too many.

use super::additions::AddedText;

/// Weights.
pub const BUCKETS: usize = 1 << 18;

/// Bins of a surface number, a quarter wide.
const BINS_A_UNIT: f64 = 4.0;

/// A pair's features: bucket and value.
pub type Sparse = Vec<(u32, f32)>;

/// The features of a pair.
pub fn features(added: &AddedText) -> Sparse {
    let mut features = Vec::new();
    let tokens: Vec<&str> = std::iter::once("<s>")
        .chain(added.phrases.iter().flat_map(|phrase| phrase.iter().map(String::as_str).chain([","])))
        .collect();
    for n in 1..=3 {
        group(&mut features, tokens.windows(n).map(|run| hash(n as u8, run)));
    }
    group(
        &mut features,
        added.phrases.iter().map(|phrase| hash(4, &phrase.iter().map(String::as_str).collect::<Vec<_>>())),
    );
    let crossed =
        added.input_words.iter().flat_map(|own| added.words().map(move |word| [own.as_str(), word]));
    group(&mut features, crossed.map(|pair| hash(5, &pair)));
    for (idx, value) in added.surface().into_iter().enumerate() {
        let bin = (value * BINS_A_UNIT).round() as i64;
        features.push((hash(6, &[&idx.to_string(), &bin.to_string()]), 1.0));
    }
    features
}

fn group(features: &mut Sparse, buckets: impl Iterator<Item = u32>) {
    let start = features.len();
    features.extend(buckets.map(|bucket| (bucket, 1.0)));
    let value = 1.0 / ((features.len() - start).max(1) as f32).sqrt();
    features[start..].iter_mut().for_each(|(_, own)| *own = value);
}

/// FNV-1a over the words with a separator, folded to a bucket.
fn hash(kind: u8, words: &[&str]) -> u32 {
    let mut state: u64 = 0xcbf2_9ce4_8422_2325;
    let mut push = |byte: u8| state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    push(kind);
    for word in words {
        word.bytes().for_each(&mut push);
        push(0x1f);
    }
    // The high bits are the better mixed.
    ((state ^ (state >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> (64 - BUCKETS.ilog2())) as u32
}

/// A logistic regression on hashed features.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// `[BUCKETS]`.
    pub weights: Vec<f32>,
    /// The last word.
    pub bias: f32,
}

/// How the regression is fitted, by AdaGrad (Duchi et al. 2011).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinearFit {
    /// Passes over the data.
    pub epochs: usize,
    /// Step width.
    pub learning_rate: f64,
    /// Weight of `½ · Σ w²`, taken at every update of a weight.
    pub l2: f64,
    /// Seeds the order of examples.
    pub seed: u64,
}

impl Linear {
    /// Log-odds of the class 1.
    pub fn forward(&self, features: &Sparse) -> f64 {
        let sum: f64 =
            features.iter().map(|&(at, x)| f64::from(self.weights[at as usize]) * f64::from(x)).sum();
        sum + f64::from(self.bias)
    }

    /// Fits a regression to features, labels (1 or 0) and weights.
    pub fn fit(examples: &[(Sparse, f64, f64)], settings: &LinearFit) -> Self {
        use rand::SeedableRng;
        use rand::seq::SliceRandom;

        let mut linear = Self { weights: vec![0.0; BUCKETS], bias: 0.0 };
        let mut squares = vec![0.0_f32; BUCKETS];
        let mut bias_squares = 0.0_f64;
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(settings.seed);
        let mut order: Vec<usize> = (0..examples.len()).collect();
        for _ in 0..settings.epochs {
            order.shuffle(&mut rng);
            for &idx in &order {
                let (features, label, weight) = &examples[idx];
                let error = (super::mlp::sigmoid(linear.forward(features)) - label) * weight;
                for &(at, x) in features {
                    let w = &mut linear.weights[at as usize];
                    let gradient = error as f32 * x + settings.l2 as f32 * *w;
                    let square = &mut squares[at as usize];
                    *square += gradient * gradient;
                    *w -= settings.learning_rate as f32 * gradient / (square.sqrt() + 1e-6);
                }
                bias_squares += error * error;
                linear.bias -= (settings.learning_rate * error / (bias_squares.sqrt() + 1e-6)) as f32;
            }
        }
        linear
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reward::Pair;

    fn features_of(user_input: &str, adapted_prompt: &str) -> Sparse {
        features(&AddedText::of(&Pair {
            user_input: user_input.to_owned(),
            adapted_prompt: adapted_prompt.to_owned(),
        }))
    }

    #[test]
    fn hashes_are_spread_and_stay_the_same() {
        let buckets: std::collections::HashSet<u32> =
            (0..20_000).map(|i: u32| hash(1, &[&i.to_string()])).collect();
        // Of 20,000 balls in 262,144 urns about 740 meet another.
        assert!(buckets.len() > 19_000, "{}", buckets.len());
        assert!(buckets.iter().all(|&bucket| (bucket as usize) < BUCKETS));
        // Fitted weights lie in files: the hash is part of their format.
        assert_eq!(hash(1, &["artstation"]), hash(1, &["artstation"]));
        assert_ne!(hash(1, &["ab", "c"]), hash(1, &["a", "bc"]));
    }

    #[test]
    fn a_linear_model_learns_which_words_fit_which_input() {
        let examples: Vec<(Sparse, f64, f64)> = (0..40)
            .flat_map(|i| {
                let fitting = [("a cat", "a cat, soft fur"), ("a town", "a town, wide shot")];
                let misfit = [("a cat", "a cat, wide shot"), ("a town", "a town, soft fur")];
                let (fit, wrong) = (fitting[i % 2], misfit[i % 2]);
                [(features_of(fit.0, fit.1), 1.0, 1.0), (features_of(wrong.0, wrong.1), 0.0, 1.0)]
            })
            .collect();
        let linear = Linear::fit(&examples, &LinearFit { epochs: 20, learning_rate: 0.2, l2: 0.0, seed: 1 });
        assert!(linear.forward(&features_of("a cat", "a cat, soft fur")) > 1.0);
        assert!(linear.forward(&features_of("a cat", "a cat, wide shot")) < -1.0);
    }
}
