//! Wilson's interval of a mean of answers that are worth 1, 1/2 or 0.

use promptist::statistics::Interval;

/// The normal distribution's 97.5th percentile.
const Z: f64 = 1.959_963_984_540_054;

/// The mean of `n` values between 0 and 1 that add up to `sum`, with Wilson's 95 % interval; none if there are
/// no values. With halves among the values their variance is at most that of ones and zeros of the same mean,
/// so the interval is a little wide and never narrow.
pub(crate) fn wilson_share(sum: f64, n: usize) -> Option<Interval> {
    if n == 0 {
        return None;
    }
    let count = n as f64;
    let mean = sum / count;
    let denominator = 1.0 + Z * Z / count;
    let centre = (mean + Z * Z / (2.0 * count)) / denominator;
    let half = Z / denominator * (mean * (1.0 - mean) / count + Z * Z / (4.0 * count * count)).sqrt();
    // Where all answers are one, rounding may step over the end by a bit.
    Some(Interval {
        n,
        mean,
        low: (centre - half).max(0.0).min(mean),
        high: (centre + half).min(1.0).max(mean),
    })
}

#[cfg(test)]
mod tests {
    use promptist::statistics::wilson;

    use super::*;

    #[test]
    fn of_whole_wins_it_is_wilson_s() {
        for (wins, n) in [(6, 10), (0, 5), (5, 5), (60, 100), (1, 1)] {
            let (found, expected) = (wilson_share(wins as f64, n), wilson(wins, n));
            let (found, expected) = (found.expect("values"), expected.expect("values"));
            assert_eq!((found.n, found.mean), (expected.n, expected.mean));
            // Two ways to write one formula.
            assert!((found.low - expected.low).abs() < 1e-12, "{found:?} {expected:?}");
            assert!((found.high - expected.high).abs() < 1e-12, "{found:?} {expected:?}");
        }
    }

    #[test]
    fn a_tie_is_half_a_win() {
        assert_eq!(wilson_share(0.0, 0), None);
        assert_eq!(wilson_share(2.5, 5).map(|share| share.mean), Some(0.5));
        assert_eq!(wilson_share(2.5, 5), wilson_share(0.5 * 5.0, 5));
    }
}
