//! From resampled values to the ends of a 95 % interval: percentile, BCa and studentised.
//!
//! Pure functions; drawing the resamples is [`super::bootstrap`]'s.

use super::distributions::{normal_cdf, normal_quantile};
use super::interval::CONFIDENCE;

/// Probabilities below the ends of an interval.
const TAILS: [f64; 2] = [0.5 - CONFIDENCE / 2.0, 0.5 + CONFIDENCE / 2.0];

/// The percentile interval: what lies between the outer 2.5 % of the resampled values, sorted ascending and not empty.
///
/// # Source
/// `scipy.stats.bootstrap(method="percentile")`.
pub fn percentile(sorted: &[f64]) -> (f64, f64) {
    (quantile(sorted, TAILS[0]), quantile(sorted, TAILS[1]))
}

/// The bias-corrected and accelerated interval: percentiles moved by where `estimate` stands among the resampled values
/// (sorted ascending) and by how skewed the observations' influences are.
///
/// `left_out` is the statistic without each observation in turn. `None` if the estimate stands outside the resampled
/// values, or the correction would turn percentiles round: then there is no such interval.
///
/// # Source
/// Efron 1987; `scipy.stats.bootstrap(method="BCa")`.
pub fn bca(sorted: &[f64], estimate: f64, left_out: &[f64]) -> Option<(f64, f64)> {
    let below = sorted.partition_point(|&value| value < estimate);
    let up_to = sorted.partition_point(|&value| value <= estimate);
    let bias = normal_quantile((below + up_to) as f64 / (2 * sorted.len()) as f64);
    let n = left_out.len() as f64;
    let mean = left_out.iter().sum::<f64>() / n;
    let moment = |power: i32| left_out.iter().map(|value| (mean - value).powi(power)).sum::<f64>();
    let (squares, cubes) = (moment(2), moment(3));
    let acceleration = if squares > 0.0 { cubes / (6.0 * squares.powf(1.5)) } else { 0.0 };
    let mut ends = TAILS.map(|tail| {
        let moved = bias + normal_quantile(tail);
        let stretch = 1.0 - acceleration * moved;
        (stretch > 0.0 && bias.is_finite()).then(|| quantile(sorted, normal_cdf(bias + moved / stretch)))
    });
    Some((ends[0].take()?, ends[1].take()?))
}

/// The studentised interval: `ratios` are the resamples' errors in their own standard errors, sorted ascending, and
/// `standard_error` is the sample's. A resample whose values are all equal has a standard error of 0 and an infinite
/// ratio; `None` if so many are infinite that an end would be.
///
/// # Source
/// Efron and Tibshirani 1993, section 12.5; `arch.bootstrap`'s `conf_int(method="studentized")`, which measures the
/// standard error by the bootstrap.
pub fn studentised(ratios: &[f64], estimate: f64, standard_error: f64) -> Option<(f64, f64)> {
    let end = |tail| Some(estimate - quantile(ratios, tail) * standard_error).filter(|end| end.is_finite());
    Some((end(TAILS[1])?, end(TAILS[0])?))
}

/// The value at `share` of the way through sorted values, linear between two.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let (below, part) = (position.floor() as usize, position.fract());
    let above = (below + 1).min(sorted.len() - 1);
    // Equal neighbours, infinite ones too, have nothing between them.
    if part == 0.0 || sorted[below] == sorted[above] {
        return sorted[below];
    }
    sorted[below] + part * (sorted[above] - sorted[below])
}
