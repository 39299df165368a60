//! Judges that no reward is made of: what people's n-grams expect, what people's ratings foretell.

mod ngrams;
mod quality;

pub use self::ngrams::NgramJudge;
pub use self::quality::{QualityJudge, QualityReport};
use super::config::EvalConfig;
use super::report::JudgesReport;
use crate::error::Result;
use crate::train::reward::ratings;

/// The judges of a config.
#[derive(Default)]
pub struct Judges {
    /// See [`NgramJudge`].
    pub ngrams: Option<NgramJudge>,
    /// See [`QualityJudge`].
    pub quality: Option<QualityJudge>,
}

impl Judges {
    /// Reads and fits what the config names.
    ///
    /// # Errors
    /// Naming the file that is missing or wrong. Ratings that are missing leave their judge out, with a warning.
    pub fn open(config: &EvalConfig) -> Result<Self> {
        let Some(judges) = &config.judges else { return Ok(Self::default()) };
        let quality = match &judges.ratings {
            Some(path) if path.is_file() => {
                Some(QualityJudge::fit(&ratings::read(path)?, config.resamples, config.seed))
            }
            Some(path) => {
                tracing::warn!(path = %path.display(), "no such file: no judge of quality");
                None
            }
            None => None,
        };
        Ok(Self { ngrams: NgramJudge::read(&judges.human_text, judges.half)?, quality })
    }

    /// What the report says of them; none if there are none.
    pub fn report(&self) -> Option<JudgesReport> {
        let is_there = self.ngrams.is_some() || self.quality.is_some();
        is_there.then(|| JudgesReport {
            ngram_texts: self.ngrams.as_ref().map_or(0, NgramJudge::texts),
            quality: self.quality.as_ref().map(|judge| judge.report.clone()),
        })
    }
}
