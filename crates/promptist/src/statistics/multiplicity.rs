//! P-values of several tests, adjusted for there being several.
//!
//! Holm keeps the chance of any false claim under the level, whatever the tests depend on; Benjamini-Hochberg keeps
//! the expected share of false claims under it, for tests that are independent or positively dependent.

/// Holm's adjusted p-values, in the order given.
///
/// # Source
/// Holm 1979; `statsmodels.stats.multitest.multipletests(method="holm")`.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let m = p_values.len();
    let mut adjusted = vec![0.0; m];
    let mut least = 0.0_f64;
    for (rank, idx) in ascending(p_values).into_iter().enumerate() {
        least = least.max(p_values[idx] * (m - rank) as f64).min(1.0);
        adjusted[idx] = least;
    }
    adjusted
}

/// Benjamini and Hochberg's adjusted p-values, in the order given.
///
/// # Source
/// Benjamini and Hochberg 1995; `scipy.stats.false_discovery_control(method="bh")`.
pub fn benjamini_hochberg(p_values: &[f64]) -> Vec<f64> {
    let m = p_values.len();
    let mut adjusted = vec![0.0; m];
    let mut most = 1.0_f64;
    for (rank, idx) in ascending(p_values).into_iter().enumerate().rev() {
        most = most.min(p_values[idx] * m as f64 / (rank + 1) as f64);
        adjusted[idx] = most;
    }
    adjusted
}

fn ascending(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn adjusted_by_hand() {
        // 3 · 0.01; 2 · 0.02; 1 · 0.03, lifted to the one before.
        let close = |found: Vec<f64>, expected: [f64; 3]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15), "{found:?}");
        };
        close(holm(&[0.03, 0.01, 0.02]), [0.04, 0.03, 0.04]);
        close(benjamini_hochberg(&[0.04, 0.01, 0.03]), [0.04, 0.03, 0.04]);
        assert!(holm(&[]).is_empty() && benjamini_hochberg(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn adjusting_raises_keeps_the_order_and_stays_a_probability(p in prop::collection::vec(0.0..=1.0, 1..30)) {
            let (holm, bh) = (holm(&p), benjamini_hochberg(&p));
            for a in 0..p.len() {
                prop_assert!(p[a] <= bh[a] + 1e-15 && bh[a] <= holm[a] + 1e-15 && holm[a] <= 1.0);
                for b in 0..p.len() {
                    prop_assert!(p[a] > p[b] || (holm[a] <= holm[b] && bh[a] <= bh[b]));
                }
            }
        }
    }
}
