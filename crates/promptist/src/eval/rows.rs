//! `rows.jsonl`: what each system made of each input, and every measure of it. Whatever `report.json` says is
//! computed from these lines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::content::Loss;
use crate::decoding::Finish;
use crate::output_filter::FilterRule;

/// One input under one system: a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalRow {
    /// `set:index:system`: what `promptist eval replay` takes.
    pub row_id: String,
    /// The prompt set.
    pub set: String,
    /// The input's place in the set, from 0. The same input of another system has the same.
    pub index: usize,
    /// Who adapted.
    pub system: String,
    /// What the user typed.
    pub user_input: String,
    /// Its length in the target's tokens, special ones not counted.
    pub input_tokens: usize,
    /// Of the set's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Of the set's file: MC, MCM, RMC, RTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_kind: Option<String>,
    /// Of an input that was made of a human prompt: the place in the set of the first that was made of it. Rows of one target
    /// count as one where chance is reckoned with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<usize>,
    /// One for each model of a system with several, one of any other system; fewer if an adaptation is missing.
    pub rewrites: Vec<RewriteRow>,
    /// By a measure's key: the mean over the rewrites. A measure that a rewrite lacks is not here.
    pub values: BTreeMap<String, f64>,
    /// Why there is no rewrite, or one too few: no line in a file of rewrites, no human prompt, a prompt that is
    /// too long, a server's failure. Such a row has no values; it is counted, and is never a 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// One rewrite of an input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RewriteRow {
    /// Which model made it, by its place in the system's list.
    pub model: usize,
    /// The adapted prompt.
    pub adapted_prompt: String,
    /// How a prompter came to it; none of other systems.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoded: Option<Decoded>,
    /// The part of it that the input lacks.
    pub added_text: String,
    /// The phrases of that part which the input lacks, each once.
    pub added_phrases: Vec<String>,
    /// What of the input it lacks, by what was lost: `objects`, `attributes`, `counts`, `negations`, `names`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lost: BTreeMap<String, Vec<Loss>>,
    /// How the system's doing broke it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flaw: Option<String>,
    /// How it is broken, the user's own flaws included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole_flaw: Option<String>,
    /// Artists of the config's file that the input does not name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artists: Vec<String>,
    /// Artists of the embedded list that the input does not name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listed_artists: Vec<String>,
    /// The rule of the safety filter that it breaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsafe_rule: Option<String>,
    /// Added words that the training text has nowhere, where there is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown_words: Vec<String>,
    /// Several answers to the same input, if they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<String>,
    /// By a measure's key.
    pub values: BTreeMap<String, f64>,
    /// What was drawn for it, if images were asked for and none failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<RewriteImages>,
    /// What failed, and why: `images` if one was not made, the key of a reward that a server refused. Such measures
    /// have no value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failures: BTreeMap<String, String>,
}

/// How a prompter came to a rewrite: with the system's settings in `report.json`, all that it takes to make it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decoded {
    /// The hypothesis score.
    pub score: f32,
    /// The generated ids.
    pub token_ids: Vec<u32>,
    /// How it came to its end.
    pub finish: Finish,
    /// Rules of the output filter that changed the text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filtered: Vec<FilterRule>,
    /// What the model's own answer lost of the input and was put back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restored: Vec<String>,
    /// The seed that it was drawn with, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// The images of a rewrite and those of the input that they are held against: image j of both has the same seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RewriteImages {
    /// Of image j of both prompts; none if the generator takes no seeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seeds: Option<Vec<u64>>,
    /// Of the adapted prompt: paths under [`ImagesReport::root`](super::report::ImagesReport::root).
    pub adapted: Vec<String>,
    /// Of the user's input.
    pub user_input: Vec<String>,
    /// Of each image of the adapted prompt with the user's input.
    pub clip_cosine: Vec<f32>,
    /// Of each image of the adapted prompt.
    pub aesthetic: Vec<f32>,
    /// Of each image of the user's input.
    pub aesthetic_baseline: Vec<f32>,
    /// PickScore of each image of the adapted prompt with the user's input, if it judges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pick_score: Option<Vec<f32>>,
    /// PickScore of each image of the user's input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pick_score_baseline: Option<Vec<f32>>,
}

/// The name of a row.
pub fn row_id(set: &str, index: usize, system: &str) -> String {
    format!("{set}:{index}:{system}")
}

impl EvalRow {
    /// The first rewrite: the only one but of a system with several models.
    pub fn first(&self) -> Option<&RewriteRow> {
        self.rewrites.first()
    }

    /// The value of a measure.
    pub fn value(&self, measure: &str) -> Option<f64> {
        self.values.get(measure).copied()
    }
}
