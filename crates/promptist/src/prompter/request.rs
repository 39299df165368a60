//! What is asked of a prompter: the one request type of the crate, the command line and the server.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::rules::Rules;
use crate::constraints::Entry;
use crate::decoding::{DecodingSettings, RawDecodingSettings};
use crate::engine::Precision;
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
    /// How far apart answers to an input are at least, 0 to 1. See [`distance`](super::distance).
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

fn all() -> f64 {
    1.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !value
}
