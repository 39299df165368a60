//! What is asked of a prompter: the one request type of the crate, the command line and the server.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Prompter;
use super::rules::Rules;
use crate::constraints::Entry;
use crate::data::safety;
use crate::decoding::{DecodingSettings, RawDecodingSettings};
use crate::engine::Precision;
use crate::error::{Error, Result};
use crate::target::Style;
use crate::template::Keep;

/// How to adapt, beside the model. Whatever is absent is the model's own choice, else the default named.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdaptRequest {
    /// The search.
    pub decoding: RawDecodingSettings,
    /// What becomes of the user's words (default: free).
    pub keep: Option<Keep>,
    /// How hard additions are pushed to fit the input (default 1, which is not at all). See
    /// [`Guided`](crate::decoding::Guided).
    pub guidance_scale: Option<f32>,
    /// Whether outputs pass the filter.
    pub filter: bool,
    /// Whether artists whom the input does not name are taken out of outputs.
    pub no_artists: bool,
    /// Whether row i is sampled with seed + i.
    pub vary_rows: bool,
    /// What may not be added. See [`Entry`].
    pub ban: Vec<Entry>,
    /// Phrases that must stand in the answer, as whole words in any case.
    pub must_include: Vec<String>,
    /// Regexes of pieces of the input that are kept from the model and put back.
    pub protect: Vec<String>,
    /// Whose tokens a budget counts: see [`Target::open`](crate::target::Target::open).
    pub target: Option<String>,
    /// The longest answer in the target's tokens, the user's text included (default: what the target
    /// reads, if there is one; a budget without a target counts CLIP's tokens).
    pub budget: Option<usize>,
    /// How far apart answers to an input are at least, 0 to 1. See [`distance`](super::distance()).
    pub min_distance: Option<f64>,
    /// One answer for each seed, in their order, each as it comes alone.
    pub seeds: Vec<u64>,
    /// How much is added: 0 nothing, 1 all (default). Between, the first share of the phrases.
    pub strength: Option<f64>,
    /// Whether each added phrase is explained.
    pub explain: bool,
}

/// [`AdaptRequest`] over the model's defaults: complete and checked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AdaptSettings {
    /// The search.
    #[serde(flatten)]
    pub decoding: DecodingSettings,
    /// What becomes of the user's words.
    pub keep: Keep,
    /// How hard additions are pushed to fit the input; 1 is not at all.
    pub guidance_scale: f32,
    /// Whether outputs pass the filter.
    pub filter: bool,
    /// Whether artists whom the input does not name are taken out.
    pub no_artists: bool,
    /// Whether row i is sampled with seed + i.
    pub vary_rows: bool,
    /// What may not be added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ban: Vec<Entry>,
    /// Phrases that must stand in the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub must_include: Vec<String>,
    /// Regexes of pieces that are kept from the model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protect: Vec<String>,
    /// Whose tokens the budget counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The longest answer in the target's tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<usize>,
    /// How far apart answers to an input are at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_distance: Option<f64>,
    /// One answer for each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<u64>,
    /// How much is added.
    #[serde(default = "all")]
    pub strength: f64,
    /// Whether each added phrase is explained.
    #[serde(default, skip_serializing_if = "is_false")]
    pub explain: bool,
    /// What the model computes in: the model's, not to be changed here.
    pub precision: Precision,
    /// What the rules above are compiled to.
    #[serde(skip)]
    pub(crate) rules: Arc<Rules>,
}

impl Prompter {
    /// `request` over the model's own settings over the defaults.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting and the rule that it breaks.
    pub fn settings(&self, request: &AdaptRequest) -> Result<AdaptSettings> {
        let decoding = request.decoding.clone().or(self.defaults.decoding.clone()).resolve()?;
        let ours = &self.defaults.ours;
        let guidance_scale = request.guidance_scale.or(ours.guidance_scale).unwrap_or(1.0);
        if !(0.0..=20.0).contains(&guidance_scale) {
            return Err(Error::config("guidance_scale", format!("{guidance_scale} is not in 0..=20")));
        }
        let strength = request.strength.unwrap_or(1.0);
        for (key, value) in [("strength", Some(strength)), ("min_distance", request.min_distance)] {
            if let Some(value) = value.filter(|value| !(0.0..=1.0).contains(value)) {
                return Err(Error::config(key, format!("{value} is not in 0..=1")));
            }
        }
        let mut settings = AdaptSettings {
            decoding,
            keep: request.keep.or(ours.keep).unwrap_or_default(),
            guidance_scale,
            filter: request.filter,
            no_artists: request.no_artists,
            vary_rows: request.vary_rows,
            ban: request.ban.clone(),
            must_include: request.must_include.clone(),
            protect: request.protect.clone(),
            target: request.target.clone(),
            budget: request.budget,
            min_distance: request.min_distance,
            seeds: request.seeds.clone(),
            strength,
            explain: request.explain,
            precision: self.precision(),
            rules: Arc::default(),
        };
        if !settings.seeds.is_empty() {
            if settings.vary_rows {
                let reason = "each seed is given, so rows cannot have seeds of their own";
                return Err(Error::config("vary_rows", reason));
            }
            let not_with_seeds = |key: &str, why: &str| Err(Error::config(key, why.to_owned()));
            if settings.min_distance.is_some() {
                return not_with_seeds(
                    "min_distance",
                    "answers of their own seeds know nothing of each other",
                );
            }
            if !settings.decoding.do_sample {
                return not_with_seeds("seeds", "needs sampling: a search gives every seed the same answer");
            }
            if request.decoding.num_return_sequences.is_some_and(|n| n != 1) {
                return not_with_seeds("num_return_sequences", "each seed has one answer");
            }
            settings.decoding.num_return_sequences = 1;
        }
        if let (true, Some(must)) =
            (settings.filter, settings.must_include.iter().find(|must| safety::check(must).is_some()))
        {
            let reason = format!("`{must}` is unsafe and the filter takes it out; turn the filter off");
            return Err(Error::config("must_include", reason));
        }
        self.compiled(settings)
    }

    /// Settings that were written down, ready to be used again.
    ///
    /// # Errors
    /// [`Error::Config`] if a rule no longer compiles, as when a target's folder is gone.
    pub fn compiled(&self, settings: AdaptSettings) -> Result<AdaptSettings> {
        let rules = Arc::new(Rules::compile(&settings, &self.tokenizer)?);
        Ok(AdaptSettings { rules, ..settings })
    }
}

impl AdaptSettings {
    /// Checks that the rules are those that were compiled: settings can be changed, or read from a file.
    ///
    /// # Errors
    /// [`Error::Config`] saying how to compile them.
    pub(super) fn check_rules(&self) -> Result<()> {
        match self.rules.are_of(self) {
            true => Ok(()),
            false => Err(Error::config("settings", "their rules are not compiled: see `Prompter::compiled`")),
        }
    }

    /// The target, and the style that it answers best; none without a target. No prompter here is trained
    /// to write in several: what it adds is of its own style.
    pub fn target_style(&self) -> Option<(&str, Style)> {
        let budget = self.rules.of_answer.as_ref()?.budget.as_ref()?;
        Some((budget.target.name(), budget.target.style()))
    }
}

fn all() -> f64 {
    1.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !value
}
