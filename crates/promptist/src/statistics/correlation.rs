//! Correlation of paired numbers: of the values (Pearson) and of their order (Spearman).

/// Pearson's correlation; `None` where either side is constant, the lengths differ, or a value is not finite or so far from
/// the others that floats do not hold its square.
///
/// # Source
/// `scipy.stats.pearsonr`.
pub fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    // A mean of equal numbers may miss them by a bit, and deviations that are rounding errors correlate freely.
    let is_constant = |values: &[f64]| values.iter().all(|&value| value == values[0]);
    if a.len() != b.len() || is_constant(a) || is_constant(b) {
        return None;
    }
    let n = a.len() as f64;
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        ab += (a - mean_a) * (b - mean_b);
        aa += (a - mean_a) * (a - mean_a);
        bb += (b - mean_b) * (b - mean_b);
    }
    // One root: of equal sums it is exact, so that a perfect correlation is 1.
    let scale = (aa * bb).sqrt();
    scale.is_normal().then(|| (ab / scale).clamp(-1.0, 1.0))
}

/// Spearman's rank correlation, ties at their mean rank; `None` where [`pearson`] has none.
///
/// # Source
/// `scipy.stats.spearmanr`.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.iter().chain(b).any(|value| !value.is_finite()) {
        return None;
    }
    pearson(&ranks(a), &ranks(b))
}

/// Ranks from 1, equal values at the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = first as f64 + (tied.len() + 1) as f64 / 2.0;
        tied.iter().for_each(|&idx| ranks[idx] = rank);
        first += tied.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rank_correlation_sees_order_alone() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
        assert_eq!(ranks(&[0.0, -0.0]), [1.5, 1.5]);
        let check = |a: &[f64], b: &[f64], expected: f64| {
            let found = spearman(a, b).expect("not constant");
            assert!((found - expected).abs() < 1e-12, "{found}");
        };
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[1.0, 10.0, 100.0]), Some(1.0));
        check(&[1.0, 2.0, 3.0], &[9.0, 4.0, 1.0], -1.0);
        // By hand: ranks 1 2 3 4 and 2 1 4 3, 1 - 6 · 4 / (4 · 15).
        check(&[1.0, 2.0, 3.0, 4.0], &[20.0, 10.0, 40.0, 30.0], 0.6);
    }

    #[test]
    fn a_constant_correlates_with_nothing() {
        // The mean of three tenths is not a tenth.
        assert_eq!(pearson(&[0.1, 0.1, 0.1], &[1.0, 2.0, 3.0]), None);
        assert_eq!(spearman(&[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0]), None);
        assert_eq!(pearson(&[], &[]), None);
        assert_eq!(pearson(&[1.0], &[2.0]), None);
        assert_eq!(pearson(&[1.0, 2.0], &[1.0]), None);
        assert_eq!(spearman(&[1.0, f64::NAN], &[1.0, 2.0]), None);
    }
}
