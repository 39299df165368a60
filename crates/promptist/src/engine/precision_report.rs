//! `precision.json` beside a model's weights: how far its approximations are from f32, measured, and
//! so which of them may be picked without asking.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Precision;
use crate::error::{Error, Result};

/// The file of a model folder that holds its report.
pub const PRECISION_REPORT: &str = "precision.json";

/// What was measured, of which weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrecisionReport {
    /// SHA-256 of the weights; the report says nothing of others.
    pub sha256: String,
    /// Version of this program that measured.
    pub version: String,
    /// Texts that the model was asked about.
    pub texts: usize,
    /// One per approximation.
    pub precisions: Vec<PrecisionAgreement>,
}

/// How far one approximation agrees with f32.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrecisionAgreement {
    /// Which.
    pub precision: Precision,
    /// Teacher-forced over the same tokens.
    #[serde(flatten)]
    pub agreement: Agreement,
    /// Share of inputs whose adapted prompt is the same as in f32, letter by letter.
    pub same_prompts: f64,
}

/// Agreement of a model with a reference on the tokens of given texts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Tokens compared.
    pub tokens: u64,
    /// The reference's perplexity.
    pub reference_perplexity: f64,
    /// The model's.
    pub perplexity: f64,
    /// Share of tokens at which both find the same one likeliest.
    pub top1: f64,
    /// Tokens at which the reference's likeliest leads by more than [`CLEAR_MARGIN`].
    pub clear_tokens: u64,
    /// Share of those at which both find the same one likeliest.
    pub clear_top1: f64,
}

/// Nats by which a token must lead for a disagreement to be more than a near-tie.
pub const CLEAR_MARGIN: f32 = 0.1;

/// What an approximation must hold to be picked without asking.
pub const MAX_PERPLEXITY_CHANGE: f64 = 0.005;
/// See [`MAX_PERPLEXITY_CHANGE`].
pub const MIN_TOP1: f64 = 0.97;
/// See [`MAX_PERPLEXITY_CHANGE`].
pub const MIN_CLEAR_TOP1: f64 = 0.995;

impl Agreement {
    /// Relative change of the perplexity.
    pub fn perplexity_change(&self) -> f64 {
        self.perplexity / self.reference_perplexity - 1.0
    }

    /// Whether the approximation may stand for the reference.
    pub fn holds(&self) -> bool {
        self.perplexity_change().abs() <= MAX_PERPLEXITY_CHANGE
            && self.top1 >= MIN_TOP1
            && self.clear_top1 >= MIN_CLEAR_TOP1
    }
}

impl PrecisionReport {
    /// Reads a report.
    ///
    /// # Errors
    /// [`Error::File`] if it is malformed.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|e| Error::file(path, e.to_string()))
    }

    /// The fastest precision that holds, if the report is of these weights; else f32.
    pub fn pick(&self, sha256: &str) -> Precision {
        let holds =
            |precision| self.precisions.iter().any(|row| row.precision == precision && row.agreement.holds());
        let fastest_first = [Precision::Int8, Precision::Bf16];
        let picked = fastest_first.into_iter().find(|&precision| self.sha256 == sha256 && holds(precision));
        picked.unwrap_or(Precision::F32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(precision: Precision, perplexity: f64, top1: f64, clear_top1: f64) -> PrecisionAgreement {
        let agreement = Agreement {
            tokens: 1000,
            reference_perplexity: 10.0,
            perplexity,
            top1,
            clear_tokens: 900,
            clear_top1,
        };
        PrecisionAgreement { precision, agreement, same_prompts: 0.9 }
    }

    fn report(precisions: Vec<PrecisionAgreement>) -> PrecisionReport {
        PrecisionReport { sha256: "abc".into(), version: "0.1.0".into(), texts: 10, precisions }
    }

    #[test]
    fn the_fastest_that_holds_is_picked_and_only_for_these_weights() {
        let good = || row(Precision::Int8, 10.04, 0.98, 0.996);
        let both = report(vec![row(Precision::Bf16, 10.0, 0.999, 1.0), good()]);
        assert_eq!(both.pick("abc"), Precision::Int8);
        assert_eq!(both.pick("abd"), Precision::F32);
        for bad in [
            row(Precision::Int8, 10.06, 0.98, 0.996),
            row(Precision::Int8, 9.94, 0.98, 0.996),
            row(Precision::Int8, 10.0, 0.96, 0.996),
            row(Precision::Int8, 10.0, 0.98, 0.99),
            row(Precision::Int8, f64::NAN, 1.0, 1.0),
        ] {
            assert_eq!(report(vec![bad.clone()]).pick("abc"), Precision::F32, "{bad:?}");
            let with_bf16 = report(vec![bad, row(Precision::Bf16, 10.0, 0.999, 1.0)]);
            assert_eq!(with_bf16.pick("abc"), Precision::Bf16);
        }
    }

    #[test]
    fn a_report_is_read_back() {
        let report = report(vec![row(Precision::Int8, 10.04, 0.98, 0.996)]);
        let bytes = serde_json::to_vec(&report).expect("plain values");
        assert_eq!(PrecisionReport::parse(Path::new("p"), &bytes).expect("own output"), report);
        assert!(PrecisionReport::parse(Path::new("p"), b"{}").is_err());
    }
}
