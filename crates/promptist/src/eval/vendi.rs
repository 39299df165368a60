//! The Vendi score: how many different things there effectively are among n things.
//!
//! `exp(−Σ λ ln λ)` over the eigenvalues λ of K / n, where K holds similarities from 0 to 1 with 1 on its diagonal: n
//! identical things are 1, n things with nothing in common n.
//!
//! # Source
//! Friedman and Dieng 2023, "The Vendi Score: A Diversity Evaluation Metric for Machine Learning", definition 3.1 and
//! section 4.3 for texts, where the similarity is the cosine of n-gram counts.

use std::collections::HashMap;

/// Sweeps of Jacobi's method; it needs a handful.
const MAX_SWEEPS: usize = 64;

/// The score of texts by the cosine of the counts of their words and pairs of words; `None` without texts. Texts
/// without words are alike, and unlike all others.
pub fn of_texts(words: &[Vec<String>]) -> Option<f64> {
    let counts: Vec<HashMap<&[String], f64>> = words
        .iter()
        .map(|words| {
            let mut counts = HashMap::new();
            words
                .windows(1)
                .chain(words.windows(2))
                .for_each(|ngram| *counts.entry(ngram).or_default() += 1.0);
            counts
        })
        .collect();
    let n = counts.len();
    let similarity = |i: usize, j: usize| match (counts[i].is_empty(), counts[j].is_empty()) {
        (true, true) => 1.0,
        _ if i == j => 1.0,
        _ => cosine(&counts[i], &counts[j]),
    };
    let kernel: Vec<Vec<f64>> =
        (0..n).map(|i| (0..n).map(|j| similarity(i.min(j), i.max(j))).collect()).collect();
    of_kernel(&kernel)
}

/// The score of a symmetric matrix of similarities; `None` if it is empty.
pub fn of_kernel(kernel: &[Vec<f64>]) -> Option<f64> {
    let n = kernel.len();
    let scaled: Vec<Vec<f64>> =
        kernel.iter().map(|row| row.iter().map(|value| value / n as f64).collect()).collect();
    // Rounding may leave an eigenvalue of 0 a little below it.
    let entropy = |value: &f64| if *value > 0.0 { -value * value.ln() } else { 0.0 };
    (n > 0).then(|| eigenvalues(scaled).iter().map(entropy).sum::<f64>().exp())
}

fn cosine(a: &HashMap<&[String], f64>, b: &HashMap<&[String], f64>) -> f64 {
    // Counts are whole numbers: their sums are exact in any order.
    let dot: f64 = a.iter().filter_map(|(ngram, count)| Some(count * b.get(ngram)?)).sum();
    let square = |of: &HashMap<&[String], f64>| of.values().map(|count| count * count).sum::<f64>();
    let norms = (square(a) * square(b)).sqrt();
    if norms > 0.0 { dot / norms } else { 0.0 }
}

/// The eigenvalues of a symmetric matrix, in no order, by Jacobi's rotations.
fn eigenvalues(mut a: Vec<Vec<f64>>) -> Vec<f64> {
    let n = a.len();
    for _ in 0..MAX_SWEEPS {
        let off: f64 =
            (0..n).flat_map(|p| (p + 1..n).map(move |q| (p, q))).map(|(p, q)| a[p][q] * a[p][q]).sum();
        if off < 1e-30 {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                if a[p][q] == 0.0 {
                    continue;
                }
                let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for row in &mut a {
                    (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
                }
                let (above, below) = a.split_at_mut(q);
                for (x, y) in above[p].iter_mut().zip(&mut below[0]) {
                    (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
                }
            }
        }
    }
    (0..n).map(|i| a[i][i]).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(texts: &[&str]) -> Option<f64> {
        let words = texts.iter().map(|text| text.split_whitespace().map(str::to_owned).collect());
        of_texts(&words.collect::<Vec<_>>())
    }

    #[track_caller]
    fn check(found: Option<f64>, expected: f64) {
        let found = found.expect("texts");
        assert!((found - expected).abs() < 1e-9, "{found} for {expected}");
    }

    #[test]
    fn identical_things_are_one_and_different_things_are_all() {
        check(texts(&["a b", "a b", "a b"]), 1.0);
        check(texts(&["a b", "c d", "e f g", "h"]), 4.0);
        check(texts(&["a b", "a b", "c d", "c d"]), 2.0);
        check(texts(&["", "", "a"]), {
            // Two alike and one: eigenvalues 2/3 and 1/3.
            let entropy = -(2.0 / 3.0_f64 * (2.0 / 3.0_f64).ln() + 1.0 / 3.0 * (1.0 / 3.0_f64).ln());
            entropy.exp()
        });
        assert_eq!(texts(&[]), None);
    }

    #[test]
    fn all_pairs_alike_is_the_closed_form() {
        // K = (1 − s) I + s J: eigenvalues of K / n are (1 + (n − 1) s) / n once, (1 − s) / n the other times.
        for (n, s) in [(2, 0.5), (5, 0.2), (8, 0.9)] {
            let kernel: Vec<Vec<f64>> =
                (0..n).map(|i| (0..n).map(|j| if i == j { 1.0 } else { s }).collect()).collect();
            let (one, other) = ((1.0 + (n - 1) as f64 * s) / n as f64, (1.0 - s) / n as f64);
            let entropy = -one * one.ln() - (n - 1) as f64 * other * other.ln();
            check(of_kernel(&kernel), entropy.exp());
        }
    }

    #[test]
    fn a_kernel_of_no_pattern_is_what_numpy_says() {
        // numpy 2: w = np.linalg.eigvalsh(K / 3); np.exp(-(w * np.log(w)).sum())
        let kernel = [[1.0, 0.3, 0.7], [0.3, 1.0, 0.1], [0.7, 0.1, 1.0]].map(Vec::from);
        check(of_kernel(&kernel), 2.425592628784966);
    }

    proptest! {
        #[test]
        fn it_is_from_one_to_n_and_order_does_not_matter(
            words in prop::collection::vec(prop::collection::vec("[a-d]", 0..6), 1..8)
        ) {
            let score = of_texts(&words).expect("texts");
            prop_assert!(score > 1.0 - 1e-9 && score < words.len() as f64 + 1e-9, "{}", score);
            let mut reversed = words.clone();
            reversed.reverse();
            prop_assert!((of_texts(&reversed).expect("texts") - score).abs() < 1e-9);
        }
    }
}
