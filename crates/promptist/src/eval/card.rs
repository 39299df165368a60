//! A model's card: what is asked of the default model and whether a model has it, and what is measured of a model
//! beside the sets: landscapes and portraits, the fit and the likelihood of held-out prompts.

use serde::{Deserialize, Serialize};

use super::additions::Additions;
use super::categories::CategoryMeasure;
use super::config::{CategoriesConfig, LikelihoodConfig};
use super::fit::{FitMeasure, fit_pairs};
use super::inputs::{self, Input};
use super::likelihood::{self, Layout, LikelihoodMeasure, Targets};
use super::report::{EvalReport, SetKind};
use super::run::Evaluation;
use super::systems::{System, SystemModel};
use crate::error::Result;
use crate::prompter::{ModelIdentity, Prompter};

/// Order of the n-gram model that models are held against.
const NGRAM_ORDER: usize = 5;

/// Of one system with a model; where it has several, of the first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// The system.
    pub system: String,
    /// What it was before supervised fine-tuning, if that is measured too.
    pub before_sft: Option<ModelIdentity>,
    /// Landscapes and portraits.
    pub categories: Option<CategoryMeasure>,
    /// Fit of what people added to held-out inputs, under this model.
    pub target_fit: Option<FitMeasure>,
    /// Bits per byte, this model first.
    pub likelihood: Vec<LikelihoodMeasure>,
    /// What is asked of the default model, and whether this one has it.
    pub checks: Vec<Check>,
}

/// A number against what is asked of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What is measured.
    pub measure: String,
    /// On which set.
    pub set: String,
    /// Inputs or additions that the number is of.
    pub n: usize,
    /// The number.
    pub value: f64,
    /// What it is held to.
    pub bound: Bound,
    /// Whether it holds.
    pub passes: bool,
}

/// A limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
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

/// What of the default model's sets is asked for: the check's name, the measure's key, the bound.
const CHECKS: [(&str, &str, Bound); 6] = [
    ("content words kept", "content_words_kept", Bound::AtLeast(0.97)),
    ("outputs adding three or more modifiers", "three_modifiers", Bound::AtLeast(0.9)),
    ("degenerate outputs", "degenerate", Bound::AtMost(0.01)),
    ("outputs adding an artist's name", "artist_of_file", Bound::AtMost(0.15)),
    ("inputs with diverse candidates", "diverse", Bound::AtLeast(0.9)),
    ("nats a token gained by the own input", "fit_gain", Bound::AtLeast(0.3)),
];

impl Card {
    /// The card with its checks against a report's numbers.
    pub fn checked(mut self, report: &EvalReport) -> Self {
        let mut checks = Vec::new();
        let mut check = |measure: &str, set: &str, n: usize, value: f64, bound: Bound| {
            let (measure, set) = (measure.to_owned(), set.to_owned());
            checks.push(Check { measure, set, n, value, bound, passes: bound.holds(value) });
        };
        let is_whole = |kind: SetKind| matches!(kind, SetKind::Set | SetKind::All);
        for set in report.sets.iter().filter(|set| is_whole(set.kind)) {
            for (name, key, bound) in CHECKS {
                let found = report.cell(&set.name, key, &self.system).and_then(|cell| cell.interval);
                if let Some(interval) = found {
                    check(name, &set.name, interval.n, interval.mean, bound);
                }
            }
            let mut additions = report.additions.iter();
            if let Some(of) = additions.find(|of| of.set == set.name && of.system == self.system) {
                let commonest = of.commonest_phrases.first().map_or(0.0, |common| common.share);
                let name = "outputs with the commonest added phrase";
                check(name, &set.name, of.rewrites, commonest, Bound::AtMost(0.6));
            }
        }
        if let Some(categories) = &self.categories {
            let n = categories.landscapes + categories.portraits;
            let name = "commonest additions shared by landscapes and portraits";
            check(name, "categories", n, categories.overlap, Bound::AtMost(0.5));
        }
        self.checks = checks;
        self
    }
}

/// Measures cards.
pub struct Cards<'a> {
    /// Systems and the config.
    pub of: &'a Evaluation<'a>,
    /// The text that the language model was trained on, if it is known.
    pub training_texts: &'a [String],
}

impl Cards<'_> {
    /// A card of each system with a model, without its checks; none if the config asks for nothing of a card.
    ///
    /// # Errors
    /// Naming the file that is missing or wrong; [`Error::Interrupted`](crate::Error::Interrupted).
    pub fn measure(&self) -> Result<Vec<Card>> {
        let config = self.of.config;
        if config.categories.is_none() && config.likelihood.is_none() {
            return Ok(Vec::new());
        }
        self.of.systems.iter().filter_map(|system| self.card(system).transpose()).collect()
    }

    fn card(&self, system: &System) -> Result<Option<Card>> {
        let Some(model) = system.models().first() else { return Ok(None) };
        let config = self.of.config;
        let categories = match &config.categories {
            Some(categories) => Some(self.categories(model, categories)?),
            None => None,
        };
        let (mut measures, mut target_fit) = (Vec::new(), None);
        if let Some(likelihood) = &config.likelihood {
            let mut pairs = likelihood::read_pairs(&likelihood.targets)?;
            pairs.truncate(likelihood.limit.unwrap_or(usize::MAX));
            let targets = Targets::new(pairs, model.settings().keep, self.training_texts);
            measures = self.likelihood(model.prompter(), likelihood, &targets)?;
            if config.fit.is_some() {
                let pairs = fit_pairs(model.prompter(), &targets.additions(), config.seed)?;
                let pairs: Vec<_> = pairs.into_iter().flatten().collect();
                target_fit = FitMeasure::of(&pairs, config.resamples, config.seed);
            }
        }
        Ok(Some(Card {
            system: system.name().to_owned(),
            before_sft: self.of.before_sft.map(|before| before.identity().clone()),
            categories,
            target_fit,
            likelihood: measures,
            checks: Vec::new(),
        }))
    }

    fn categories(&self, model: &SystemModel, config: &CategoriesConfig) -> Result<CategoryMeasure> {
        let additions = |path| -> Result<Vec<Additions>> {
            let inputs = inputs::read(path, None)?;
            let mut all = Vec::new();
            self.of.progress.begin("categories", Some(inputs.len() as u64), "inputs");
            for batch in inputs.chunks(self.of.config.batch_size) {
                self.of.cancel.check()?;
                let outcomes = model.rewrite(batch);
                let of = |(input, outcome): (&Input, super::systems::Outcome)| {
                    Some(Additions::of(&input.user_input, &outcome.ok()?.adapted_prompt))
                };
                all.extend(batch.iter().zip(outcomes).filter_map(of));
                self.of.progress.advance(batch.len() as u64, "");
            }
            self.of.progress.end();
            Ok(all)
        };
        Ok(CategoryMeasure::of(&additions(&config.landscape)?, &additions(&config.portrait)?))
    }

    /// The measured model first, then what it is held against.
    fn likelihood(
        &self,
        prompter: &Prompter,
        config: &LikelihoodConfig,
        targets: &Targets,
    ) -> Result<Vec<LikelihoodMeasure>> {
        let of = |prompter: &Prompter, layout| {
            likelihood::of_prompter(&prompter.identity().name, prompter, targets, layout)
        };
        let progress = self.of.progress;
        progress.begin("likelihood", None, "models");
        let mut measures = vec![of(prompter, Layout::Prompter)?];
        progress.advance(1, "");
        if let Some(before) = self.of.before_sft {
            self.of.cancel.check()?;
            measures.push(of(before, Layout::Prompter)?);
            measures.push(of(before, Layout::Text)?);
            progress.advance(1, "");
        }
        if !config.ngram_text.is_empty() {
            self.of.cancel.check()?;
            let tokenizer = prompter.tokenizer();
            let ngrams = likelihood::train_ngrams(self.training_texts, tokenizer, NGRAM_ORDER)?;
            let name = format!("{NGRAM_ORDER}-gram");
            measures.push(likelihood::of_ngrams(&name, &ngrams, tokenizer, targets)?);
            progress.advance(1, "");
        }
        progress.end();
        Ok(measures)
    }
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
