//! `report.json`: everything that was measured, with what it was measured by, and how it stands to
//! what is asked of the default model.

use serde::Serialize;

use super::categories::CategoryMeasure;
use super::config::EvalConfig;
use super::diversity::DiversityMeasure;
use super::fit::FitMeasure;
use super::likelihood::LikelihoodMeasure;
use super::text::TextMeasures;
use crate::prompter::{AdaptSettings, ModelIdentity};

/// An evaluation's result.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Of this program.
    pub version: &'static str,
    /// What was measured.
    pub model: ModelIdentity,
    /// What it was before supervised fine-tuning.
    pub before_sft: Option<ModelIdentity>,
    /// How it answered, one output an input.
    pub settings: AdaptSettings,
    /// How it gave several.
    pub diversity_settings: Option<AdaptSettings>,
    /// What was asked for.
    pub config: EvalConfig,
    /// The measures of each set.
    pub sets: Vec<SetReport>,
    /// The same over all sets, every input once.
    pub all: SetReport,
    /// Landscapes and portraits.
    pub categories: Option<CategoryMeasure>,
    /// Bits per byte, the measured model first.
    pub likelihood: Vec<LikelihoodMeasure>,
    /// What is asked of the default model, and whether this one has it.
    pub checks: Vec<Check>,
    /// Clock time; outside every equality.
    pub elapsed_secs: f64,
}

/// The measures of a prompt set.
#[derive(Debug, Clone, Serialize)]
pub struct SetReport {
    /// Its name.
    pub name: String,
    /// Inputs that could not be adapted, and why; they are in no measure.
    pub failed: Vec<Failure>,
    /// Measures of the texts.
    pub text: TextMeasures,
    /// Whether additions fit their inputs.
    pub fit: Option<FitMeasure>,
    /// Whether several answers to one input differ.
    pub diversity: Option<DiversityMeasure>,
}

/// An input that could not be adapted.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// The input.
    pub user_input: String,
    /// What was wrong.
    pub error: String,
}

/// A number against what is asked of it.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What is measured.
    pub measure: &'static str,
    /// On which set.
    pub set: String,
    /// The number.
    pub value: f64,
    /// What it is held to.
    pub bound: Bound,
    /// Whether it holds.
    pub passes: bool,
}

/// A limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The number may be this or more.
    AtLeast(f64),
    /// The number may be this or less.
    AtMost(f64),
}

impl Bound {
    /// Whether `value` is within.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

/// What is asked of the default model, for each set and for all sets together.
pub fn checks<'a>(
    sets: impl Iterator<Item = &'a SetReport>,
    categories: Option<&CategoryMeasure>,
) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut check = |measure, set: &str, value: Option<f64>, bound: Bound| {
        if let Some(value) = value {
            checks.push(Check { measure, set: set.to_owned(), value, bound, passes: bound.holds(value) });
        }
    };
    for set in sets {
        let text = &set.text;
        let commonest = text.commonest_phrases.first().map_or(0.0, |common| common.share);
        for (measure, value, bound) in [
            ("content words kept", Some(text.content_kept), Bound::AtLeast(0.97)),
            ("outputs adding three or more modifiers", Some(text.three_modifiers), Bound::AtLeast(0.9)),
            ("degenerate outputs", Some(text.degenerate), Bound::AtMost(0.01)),
            ("outputs adding an artist's name", text.artists, Bound::AtMost(0.15)),
            ("outputs with the commonest added phrase", Some(commonest), Bound::AtMost(0.6)),
            (
                "inputs with diverse candidates",
                set.diversity.as_ref().map(|d| d.diverse),
                Bound::AtLeast(0.9),
            ),
            (
                "nats a token gained by the own input",
                set.fit.as_ref().map(|f| f.gain.mean),
                Bound::AtLeast(0.3),
            ),
        ] {
            check(measure, &set.name, value, bound);
        }
    }
    let overlap = categories.map(|categories| categories.overlap);
    check(
        "commonest additions shared by landscapes and portraits",
        "categories",
        overlap,
        Bound::AtMost(0.5),
    );
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_include_themselves() {
        assert!(Bound::AtLeast(0.5).holds(0.5) && !Bound::AtLeast(0.5).holds(0.49));
        assert!(Bound::AtMost(0.5).holds(0.5) && !Bound::AtMost(0.5).holds(0.51));
        assert!(!Bound::AtLeast(0.5).holds(f64::NAN) && !Bound::AtMost(0.5).holds(f64::NAN));
    }
}
