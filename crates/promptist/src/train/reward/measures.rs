//! How good a two-class model is: accuracy, ranking, log loss, and whether its probabilities are true.

use serde::Serialize;

use crate::reward::text::Calibration;
use crate::reward::text::mlp::sigmoid;

/// Bins of a reliability table.
const BINS: usize = 10;

/// Steps of Newton's method; it converges in about six.
const NEWTON_STEPS: usize = 50;

/// A scored example.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// Log-odds, calibrated or not.
    pub log_odds: f64,
    /// 1 or 0.
    pub label: f64,
    /// How much it counts.
    pub weight: f64,
}

/// How good a model is on scored examples.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Classification {
    /// Examples.
    pub n: usize,
    /// Share on the right side of 0.
    pub accuracy: f64,
    /// Chance that a person's answer scores above another, ties half.
    pub auc: f64,
    /// Mean of −ln p of the truth; ln 2 = 0.693 says nothing.
    pub log_loss: f64,
    /// Mean distance of a bin's probability from what came true, by the bins' weights.
    pub expected_calibration_error: f64,
    /// Answers by the probability that they were given, in bins of equal width; empty bins are left out.
    pub reliability: Vec<Bin>,
}

/// Answers of about one probability.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bin {
    /// Mean probability given.
    pub predicted: f64,
    /// Share that came true.
    pub observed: f64,
    /// Share of all weight.
    pub share: f64,
    /// Examples.
    pub n: usize,
}

impl Classification {
    /// Measures; `None` without examples of both classes.
    pub fn of(scored: &[Scored]) -> Option<Self> {
        let total: f64 = scored.iter().map(|s| s.weight).sum();
        let mean =
            |value: &dyn Fn(&Scored) -> f64| scored.iter().map(|s| s.weight * value(s)).sum::<f64>() / total;
        let reliability = reliability(scored, total);
        let distance = |bin: &Bin| bin.share * (bin.predicted - bin.observed).abs();
        Some(Self {
            n: scored.len(),
            accuracy: mean(&|s| f64::from(u8::from((s.log_odds > 0.0) == (s.label > 0.5)))),
            auc: auc(scored)?,
            log_loss: mean(&|s| log_loss(s.log_odds, s.label)),
            expected_calibration_error: reliability.iter().map(distance).sum(),
            reliability,
        })
    }
}

/// −ln p of the truth, without overflow.
fn log_loss(log_odds: f64, label: f64) -> f64 {
    log_odds.max(0.0) - log_odds * label + (-log_odds.abs()).exp().ln_1p()
}

fn reliability(scored: &[Scored], total: f64) -> Vec<Bin> {
    let mut bins = vec![(0.0, 0.0, 0.0, 0_usize); BINS];
    for s in scored {
        let p = sigmoid(s.log_odds);
        let bin = &mut bins[((p * BINS as f64) as usize).min(BINS - 1)];
        bin.0 += s.weight * p;
        bin.1 += s.weight * s.label;
        bin.2 += s.weight;
        bin.3 += 1;
    }
    let filled = bins.into_iter().filter(|bin| bin.3 > 0 && bin.2 > 0.0);
    filled
        .map(|(predicted, observed, weight, n)| Bin {
            predicted: predicted / weight,
            observed: observed / weight,
            share: weight / total,
            n,
        })
        .collect()
}

/// The chance that one of class 1 scores above one of class 0, ties half, by weight; `None` without both.
pub fn auc(scored: &[Scored]) -> Option<f64> {
    let mut sorted: Vec<&Scored> = scored.iter().collect();
    sorted.sort_by(|a, b| a.log_odds.total_cmp(&b.log_odds));
    let (mut below, mut won, mut positive) = (0.0, 0.0, 0.0);
    for tied in sorted.chunk_by(|a, b| a.log_odds == b.log_odds) {
        let ones: f64 = tied.iter().map(|s| s.weight * s.label).sum();
        let zeros: f64 = tied.iter().map(|s| s.weight * (1.0 - s.label)).sum();
        won += ones * (below + zeros / 2.0);
        below += zeros;
        positive += ones;
    }
    (positive > 0.0 && below > 0.0).then(|| won / (positive * below))
}

/// The slope and offset that make the log loss of `scored` least (Platt 1999), by Newton's method with a ridge
/// too small to see; the identity where there is nothing to learn.
pub fn calibrate(scored: &[Scored]) -> Calibration {
    let total: f64 = scored.iter().map(|s| s.weight).sum();
    let (mut a, mut b) = (1.0, 0.0);
    if auc(scored).is_none() {
        return Calibration { a, b };
    }
    for _ in 0..NEWTON_STEPS {
        let (mut ga, mut gb, mut haa, mut hab, mut hbb) = (1e-6 * (a - 1.0), 0.0, 1e-6, 0.0, 1e-6);
        for s in scored {
            let p = sigmoid(a * s.log_odds + b);
            let (error, curve) = (s.weight / total * (p - s.label), s.weight / total * p * (1.0 - p));
            ga += error * s.log_odds;
            gb += error;
            haa += curve * s.log_odds * s.log_odds;
            hab += curve * s.log_odds;
            hbb += curve;
        }
        let determinant = haa * hbb - hab * hab;
        // Damped: far from the answer a whole step may overshoot.
        let step = |value: f64| value.clamp(-1.0, 1.0);
        a -= step((hbb * ga - hab * gb) / determinant);
        b -= step((haa * gb - hab * ga) / determinant);
    }
    Calibration { a, b }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(values: &[(f64, f64)]) -> Vec<Scored> {
        values.iter().map(|&(log_odds, label)| Scored { log_odds, label, weight: 1.0 }).collect()
    }

    #[test]
    fn the_area_counts_pairs_in_order() {
        assert_eq!(auc(&scored(&[(1.0, 1.0), (0.0, 0.0)])), Some(1.0));
        assert_eq!(auc(&scored(&[(0.0, 1.0), (0.0, 0.0)])), Some(0.5));
        assert_eq!(auc(&scored(&[(2.0, 1.0), (0.0, 1.0), (1.0, 0.0), (-1.0, 0.0)])), Some(0.75));
        assert_eq!(auc(&scored(&[(2.0, 1.0)])), None);
        let heavy = [
            Scored { log_odds: 1.0, label: 1.0, weight: 3.0 },
            Scored { log_odds: -1.0, label: 1.0, weight: 1.0 },
            Scored { log_odds: 0.0, label: 0.0, weight: 5.0 },
        ];
        assert_eq!(auc(&heavy), Some(0.75));
    }

    #[test]
    fn true_probabilities_have_no_calibration_error() {
        // Of those that are given 0.75, three of four are true.
        let odds = 3.0_f64.ln();
        let values = scored(&[
            (odds, 1.0),
            (odds, 1.0),
            (odds, 1.0),
            (odds, 0.0),
            (-odds, 0.0),
            (-odds, 0.0),
            (-odds, 0.0),
            (-odds, 1.0),
        ]);
        let measured = Classification::of(&values).expect("both classes");
        assert!(measured.expected_calibration_error < 1e-12);
        assert_eq!((measured.accuracy, measured.reliability.len()), (0.75, 2));
        let entropy = -(0.75_f64 * 0.75_f64.ln() + 0.25 * 0.25_f64.ln());
        assert!((measured.log_loss - entropy).abs() < 1e-12);
    }

    #[test]
    fn calibration_undoes_scale_and_offset() {
        // True log-odds z, given as 3 z + 2.
        let mut values = Vec::new();
        for i in -20..=20 {
            let z = f64::from(i) / 10.0;
            let p = sigmoid(z);
            values.push(Scored { log_odds: 3.0 * z + 2.0, label: 1.0, weight: p });
            values.push(Scored { log_odds: 3.0 * z + 2.0, label: 0.0, weight: 1.0 - p });
        }
        let Calibration { a, b } = calibrate(&values);
        // The ridge pulls the slope by 1e-5 or so.
        assert!((a - 1.0 / 3.0).abs() < 1e-4 && (b + 2.0 / 3.0).abs() < 1e-4, "{a} {b}");
    }
}
