//! Whitening: advantages of a round to mean 0 and variance 1.

/// Added to the variance.
const EPS: f64 = 1e-8;

/// Whitens all numbers in place, together: `(a − mean) / √(var + 1e-8)` with the unbiased variance.
/// Fewer than two numbers have no variance and only lose their mean.
///
/// # Source
/// `whiten` in the released `utils/modeling.py`, over tokens alone: see [`whiten_padded`].
pub fn whiten(advantages: &mut [Vec<f64>]) {
    let count: usize = advantages.iter().map(Vec::len).sum();
    whiten_among(advantages, count);
}

/// As [`whiten`], but mean and variance are those of the block that the responses are padded to with
/// zeros: `compat.whiten_padding`. The zeros pull the mean towards 0 and shrink the variance, the
/// more the more the lengths differ.
pub fn whiten_padded(advantages: &mut [Vec<f64>]) {
    let width = advantages.iter().map(Vec::len).max().unwrap_or(0);
    let count = width * advantages.len();
    whiten_among(advantages, count);
}

/// `count - number of advantages` zeros are among what is measured.
fn whiten_among(advantages: &mut [Vec<f64>], count: usize) {
    if count == 0 {
        return;
    }
    let tokens: usize = advantages.iter().map(Vec::len).sum();
    let mean = advantages.iter().flatten().sum::<f64>() / count as f64;
    let squares: f64 = advantages.iter().flatten().map(|a| (a - mean).powi(2)).sum();
    let squares = squares + (count - tokens) as f64 * mean.powi(2);
    let variance = if count > 1 { squares / (count - 1) as f64 } else { 0.0 };
    let scale = if count > 1 { 1.0 / (variance + EPS).sqrt() } else { 1.0 };
    for advantage in advantages.iter_mut().flatten() {
        *advantage = (*advantage - mean) * scale;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn padding_is_no_advantage() {
        // Mean 3, unbiased variance 2, whatever the lengths are.
        let mut masked = vec![vec![2.0, 4.0], vec![]];
        whiten(&mut masked);
        assert!((masked[0][0] + 1.0 / 2f64.sqrt()).abs() < 1e-7);

        // The released code: 2, 4, 0, 0 have mean 1.5 and variance 11 / 3.
        let mut padded = vec![vec![2.0, 4.0], vec![]];
        whiten_padded(&mut padded);
        assert!((padded[0][0] - 0.5 / (11.0 / 3.0 + EPS).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn equal_advantages_and_a_single_one_become_0() {
        let mut equal = vec![vec![3.0; 4], vec![3.0]];
        whiten(&mut equal);
        assert!(equal.iter().flatten().all(|a| *a == 0.0));
        let mut single = vec![vec![7.0]];
        whiten(&mut single);
        assert_eq!(single, [[0.0]]);
        whiten(&mut []);
    }

    proptest! {
        #[test]
        fn mean_0_and_variance_1(mut rows in prop::collection::vec(prop::collection::vec(-9.0..9.0f64, 1..9), 2..9)) {
            rows[0][0] = 11.0;
            whiten(&mut rows);
            let all: Vec<f64> = rows.into_iter().flatten().collect();
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            let variance = all.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / (all.len() - 1) as f64;
            prop_assert!(mean.abs() < 1e-9 && (variance - 1.0).abs() < 1e-6);
        }
    }
}
