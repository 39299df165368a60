//! A judge of another family: the quality that people saw in pictures, foretold from the words of their prompts.
//!
//! Ridge regression on which words a prompt has, fitted on a few hundred rated prompts. It is weak and says how
//! weak: its correlation is measured on prompts that it was not fitted on.

use std::collections::{BTreeMap, HashMap, HashSet};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::data::lexicon::words;
use crate::statistics::{Interval, bootstrap, spearman};
use crate::train::reward::ratings::Rating;

/// Prompts that must have a word for it to be a feature.
const MIN_PROMPTS: usize = 3;

/// Parts of the cross-validation.
const FOLDS: usize = 10;

/// Penalties that are tried.
const RIDGES: [f64; 5] = [3.0, 10.0, 30.0, 100.0, 300.0];

/// The judge.
#[derive(Debug, Clone, PartialEq)]
pub struct QualityJudge {
    ridge: Ridge,
    /// How good it is.
    pub report: QualityReport,
}

/// How good the judge is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QualityReport {
    /// Prompts it was fitted on.
    pub prompts: usize,
    /// Words that it knows.
    pub words: usize,
    /// The penalty that was best in cross-validation.
    pub ridge: f64,
    /// Spearman's correlation with what people thought, on prompts left out of the fit.
    pub cross_validated: Option<Interval>,
}

/// `bias + Σ weight of each distinct word`.
#[derive(Debug, Clone, PartialEq, Default)]
struct Ridge {
    weights: HashMap<String, f64>,
    bias: f64,
}

/// A prompt's words and what people thought of its pictures.
struct Point {
    words: HashSet<String>,
    quality: f64,
}

impl QualityJudge {
    /// Fits the judge. A prompt's quality is the mean of its pictures', each less its generator's mean.
    pub fn fit(ratings: &[Rating], resamples: usize, seed: u64) -> Self {
        let points = points(ratings);
        let mut order: Vec<usize> = (0..points.len()).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let quality: Vec<f64> = order.iter().map(|&idx| points[idx].quality).collect();
        let mut best: Option<(f64, f64, Vec<f64>)> = None;
        for ridge in RIDGES {
            let foretold = foretold(&points, &order, ridge);
            let correlation = spearman(&foretold, &quality).unwrap_or(f64::NEG_INFINITY);
            if best.as_ref().is_none_or(|(least, ..)| correlation > *least) {
                best = Some((correlation, ridge, foretold));
            }
        }
        let (_, ridge, foretold) = best.unwrap_or((0.0, RIDGES[0], Vec::new()));
        let cross_validated = bootstrap(quality.len(), resamples, seed, |chosen| {
            let (a, b): (Vec<f64>, Vec<f64>) = chosen.iter().map(|&at| (foretold[at], quality[at])).unzip();
            spearman(&a, &b)
        });
        let fitted = Ridge::fit(&points.iter().collect::<Vec<_>>(), ridge);
        let report =
            QualityReport { prompts: points.len(), words: fitted.weights.len(), ridge, cross_validated };
        Self { ridge: fitted, report }
    }

    /// The quality foretold, on the scale of mean opinions, 0 that of the mean prompt.
    pub fn judge(&self, prompt: &str) -> f64 {
        self.ridge.foretell(&distinct_words(prompt))
    }
}

fn points(ratings: &[Rating]) -> Vec<Point> {
    let mut generators: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for rating in ratings {
        let sum = generators.entry(&rating.generator).or_default();
        *sum = (sum.0 + rating.quality, sum.1 + 1.0);
    }
    let mut prompts: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for rating in ratings {
        let (sum, n) = generators[rating.generator.as_str()];
        let prompt = prompts.entry(&rating.pair.adapted_prompt).or_default();
        *prompt = (prompt.0 + rating.quality - sum / n, prompt.1 + 1.0);
    }
    prompts
        .into_iter()
        .map(|(prompt, (sum, n))| Point { words: distinct_words(prompt), quality: sum / n })
        .collect()
}

fn distinct_words(prompt: &str) -> HashSet<String> {
    words(prompt).into_iter().map(|word| word.folded).collect()
}

/// What each point, in `order`, is foretold by a fit on the other folds.
fn foretold(points: &[Point], order: &[usize], ridge: f64) -> Vec<f64> {
    let mut foretold = vec![0.0; order.len()];
    for fold in 0..FOLDS {
        let others: Vec<&Point> = order
            .iter()
            .enumerate()
            .filter(|(at, _)| at % FOLDS != fold)
            .map(|(_, &idx)| &points[idx])
            .collect();
        let fitted = Ridge::fit(&others, ridge);
        for (at, &idx) in order.iter().enumerate().filter(|(at, _)| at % FOLDS == fold) {
            foretold[at] = fitted.foretell(&points[idx].words);
        }
    }
    foretold
}

impl Ridge {
    /// Least `Σ (quality - foretold)² + ridge · Σ weight²`.
    ///
    /// In the dual, `(K + ridge) a = quality - bias` with `K` the words that two prompts share, by conjugate
    /// gradients: there are a few hundred prompts.
    fn fit(points: &[&Point], ridge: f64) -> Self {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for word in points.iter().flat_map(|point| &point.words) {
            *counts.entry(word).or_default() += 1;
        }
        let columns: HashMap<&str, usize> = counts
            .iter()
            .filter(|&(_, &count)| count >= MIN_PROMPTS)
            .enumerate()
            .map(|(column, (&word, _))| (word, column))
            .collect();
        let rows: Vec<Vec<usize>> = points
            .iter()
            .map(|point| {
                let mut row: Vec<usize> =
                    point.words.iter().filter_map(|word| columns.get(word.as_str()).copied()).collect();
                row.sort_unstable();
                row
            })
            .collect();
        let n = points.len().max(1) as f64;
        let mean = points.iter().map(|point| point.quality).sum::<f64>() / n;
        let shares: Vec<f64> = {
            let mut shares = vec![0.0; columns.len()];
            rows.iter().flatten().for_each(|&column| shares[column] += 1.0 / n);
            shares
        };
        // X is centred: a row's value is 1 or 0 less the word's share.
        let times = |weights: &[f64]| -> Vec<f64> {
            let offset: f64 = weights.iter().zip(&shares).map(|(w, share)| w * share).sum();
            rows.iter().map(|row| row.iter().map(|&at| weights[at]).sum::<f64>() - offset).collect()
        };
        let times_transposed = |values: &[f64]| -> Vec<f64> {
            let sum: f64 = values.iter().sum();
            let mut out: Vec<f64> = shares.iter().map(|share| -share * sum).collect();
            for (row, value) in rows.iter().zip(values) {
                row.iter().for_each(|&at| out[at] += value);
            }
            out
        };
        let centred: Vec<f64> = points.iter().map(|point| point.quality - mean).collect();
        let right = times_transposed(&centred);
        let weights = conjugate_gradients(&right, |weights| {
            let mut out = times_transposed(&times(weights));
            out.iter_mut().zip(weights).for_each(|(out, w)| *out += ridge * w);
            out
        });
        let bias = mean - weights.iter().zip(&shares).map(|(w, share)| w * share).sum::<f64>();
        let weights = columns.iter().map(|(&word, &column)| (word.to_owned(), weights[column])).collect();
        Self { weights, bias }
    }

    fn foretell(&self, words: &HashSet<String>) -> f64 {
        let mut known: Vec<f64> = words.iter().filter_map(|word| self.weights.get(word).copied()).collect();
        // A set has no order, and a sum has one.
        known.sort_by(f64::total_cmp);
        self.bias + known.iter().sum::<f64>()
    }
}

/// The solution of `matrix · x = right`, a positive definite matrix given by its product (Hestenes and Stiefel
/// 1952).
fn conjugate_gradients(right: &[f64], product: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    const STEPS: usize = 500;
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut x = vec![0.0; right.len()];
    let mut residual = right.to_vec();
    let mut direction = residual.clone();
    let mut square = dot(&residual, &residual);
    let enough = 1e-20 * square;
    for _ in 0..STEPS {
        if square <= enough {
            break;
        }
        let moved = product(&direction);
        let step = square / dot(&direction, &moved);
        for (at, x) in x.iter_mut().enumerate() {
            *x += step * direction[at];
            residual[at] -= step * moved[at];
        }
        let next = dot(&residual, &residual);
        for (direction, residual) in direction.iter_mut().zip(&residual) {
            *direction = residual + next / square * *direction;
        }
        square = next;
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reward::Pair;

    fn rating(generator: &str, prompt: &str, quality: f64) -> Rating {
        let pair = Pair { user_input: String::new(), adapted_prompt: prompt.to_owned() };
        Rating { generator: generator.to_owned(), pair, quality }
    }

    #[test]
    fn one_word_s_weight_is_the_formula_by_hand() {
        // Three prompts with the word, three without, 1 apart: X'X = 6 · ¼ · 4 / 4 = 1.5, X'y = 1.5 · 1.
        let points: Vec<Point> = (0..6)
            .map(|i| Point {
                words: (i % 2 == 0).then(|| "sharp".to_owned()).into_iter().collect(),
                quality: f64::from(i % 2 == 0),
            })
            .collect();
        let fitted = Ridge::fit(&points.iter().collect::<Vec<_>>(), 1.5);
        assert!((fitted.weights["sharp"] - 0.5).abs() < 1e-12);
        assert!((fitted.bias - (0.5 - 0.25)).abs() < 1e-12);
    }

    #[test]
    fn the_judge_finds_what_people_like_whoever_drew_it() {
        let ratings: Vec<Rating> = (0..60)
            .flat_map(|i| {
                let (word, good) = if i % 2 == 0 { ("sharp", 0.8) } else { ("blurred", 0.0) };
                let prompt = format!("subject{i} {word}");
                [rating("one", &prompt, 1.0 + good), rating("two", &prompt, 3.0 + good)]
            })
            .collect();
        let judge = QualityJudge::fit(&ratings, 100, 1);
        assert!(judge.judge("a cat, sharp") > judge.judge("a cat, blurred") + 0.3);
        assert_eq!((judge.report.prompts, judge.report.words), (60, 2));
        let correlation = judge.report.cross_validated.expect("defined");
        assert!(correlation.mean > 0.8, "{correlation:?}");
    }
}
