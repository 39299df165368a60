//! `report.json`: everything that an evaluation found. `docs/eval-report.md` explains every key; a page needs this
//! and [`EvalRow`](super::rows::EvalRow)s, nothing else.
//!
//! Every list is flat and names what it is about (`set`, `system`, `measure`), so that a reader picks rows instead of
//! walking trees. A mean never stands without its n and its interval.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::card::Card;
use super::config::{Domain, EvalConfig, OpenAiSettings, SystemKind};
use super::judges::QualityReport;
use super::leakage::Leakage;
pub use super::text::Common;
use crate::generator::ImageSettings;
use crate::prompter::{AdaptSettings, ModelIdentity, Receipt};
use crate::statistics::Interval;

/// What [`EvalReport::schema`] says. A change that breaks readers changes the number.
pub const SCHEMA: &str = "promptist.eval/1";

/// An evaluation's result.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EvalReport {
    /// [`SCHEMA`].
    pub schema: String,
    /// Of this program.
    pub version: String,
    /// What was asked for.
    pub config: EvalConfig,
    /// The system that the others are held against.
    pub baseline: String,
    /// Who adapted, in the config's order.
    pub systems: Vec<SystemReport>,
    /// On what: the config's sets, each followed by its source kinds, then the pools.
    pub sets: Vec<SetReport>,
    /// What was measured, in the order of tables: images, text, proxies, judges.
    pub measures: Vec<Measure>,
    /// By set, measure and system: what was found.
    pub cells: Vec<Cell>,
    /// Which comparisons were corrected for together.
    pub families: Vec<Family>,
    /// By set and measure: one system against another on the same inputs.
    pub comparisons: Vec<Comparison>,
    /// The baseline and what holds against it, by the input's length and category.
    pub breakdowns: Vec<Breakdown>,
    /// Judges of another family by which a system is worse than the baseline over all sets: the interval of the
    /// difference leaves out 0. An alarm, so nothing is corrected for.
    pub fallen: Vec<Fallen>,
    /// By set and system: what was added, and how rewrites were broken.
    pub additions: Vec<AdditionsReport>,
    /// What the judges are.
    pub judges: Option<JudgesReport>,
    /// How images were made.
    pub images: Option<ImagesReport>,
    /// Whether the sets were trained on.
    pub leakage: Option<LeakageReport>,
    /// Systems with a model: what is asked of the default model, and what was measured beside the sets.
    pub cards: Vec<Card>,
    /// Rows without a rewrite or without a measure that they ought to have.
    pub failures: Vec<Failure>,
    /// Inputs that nobody picked, to be read.
    pub samples: Vec<InputId>,
    /// Clock time of the last start; outside every equality.
    pub elapsed_secs: f64,
}

/// Who adapted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SystemReport {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: SystemKind,
    /// Of kind `model`: each model with its settings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ModelRun>,
    /// Of kind `file`: which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileIdentity>,
    /// Of kind `openai`: who, and what it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openai: Option<OpenAiSettings>,
}

/// A model, and how it answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ModelRun {
    /// Name and SHA-256 of its weights.
    pub identity: ModelIdentity,
    /// Settings of the measured answers.
    pub settings: AdaptSettings,
    /// Hashes of what they are made of.
    pub receipt: Receipt,
}

/// A file of rewrites.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    /// As the config names it.
    pub path: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Rewrites in it.
    pub rewrites: usize,
}

/// A prompt set, a part of one, or several together.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SetReport {
    /// `name`, `name/MC` of a part, `in-domain`, `out-of-domain` or `all` of a pool.
    pub name: String,
    /// Which of these it is.
    pub kind: SetKind,
    /// The sets whose inputs it has: itself, of a part the whole, of a pool its members.
    pub of: Vec<String>,
    /// Of a part: the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_kind: Option<String>,
    /// How it stands to what systems were trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<Domain>,
    /// Inputs.
    pub n: usize,
    /// Targets of those: inputs that were made of one human prompt have one, any other has its own. Intervals and tests take
    /// targets as independent, not inputs.
    pub targets: usize,
    /// Inputs with a human's engineered prompt.
    pub human_prompts: usize,
    /// Of a set: SHA-256 of its inputs as they were used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Inputs by length.
    pub lengths: Vec<Counted>,
    /// Inputs by category, the commonest first; empty if the file names none.
    pub categories: Vec<Counted>,
}

/// What a [`SetReport`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetKind {
    /// A set of the config.
    Set,
    /// The inputs of one source kind of a set.
    SourceKind,
    /// Sets of one domain, every input once.
    Domain,
    /// All sets, every input once.
    All,
}

/// Inputs with something in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// What: a category, or a length such as `10-20` (10 to 19 tokens) or `40+`.
    pub name: String,
    /// How many.
    pub n: usize,
}

/// Something that is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// Its name in rows, cells and comparisons.
    pub key: String,
    /// Its name for people.
    pub title: String,
    /// What it is, in a sentence.
    pub description: String,
    /// What its numbers are.
    pub unit: Unit,
    /// Which way is better.
    pub better: Better,
    /// Which table it belongs to: images and proxies never share one.
    pub family: MeasureFamily,
    /// Whether the claim is judged by it. Primary measures are corrected for together.
    pub is_primary: bool,
    /// What it is of.
    pub level: Level,
}

/// What the numbers of a measure are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// 0 to 1, printed in per cent.
    Share,
    /// A number of things.
    Count,
    /// Tokens of the target's text encoder.
    Tokens,
    /// Bits a byte.
    BitsPerByte,
    /// Nats a token.
    NatsPerToken,
    /// −1 to 1.
    Cosine,
    /// The aesthetic head's scale, about 1 to 10.
    Aesthetic,
    /// A score of no other scale.
    Score,
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
    /// Neither.
    Neither,
}

/// Which table a measure belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeasureFamily {
    /// Seen in images.
    Image,
    /// Counted in texts.
    Text,
    /// A reward that reads text and stands in for images.
    Proxy,
    /// A judge that no reward is made of.
    Judge,
}

/// What a measure is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Each row has a value: intervals are of the mean, by bootstrap over inputs; differences are paired.
    Row,
    /// Only a set has one (distinct words): intervals are by the jackknife over inputs, and there is no test.
    Set,
}

/// What was found of one system on one set by one measure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Of [`EvalReport::sets`].
    pub set: String,
    /// Of [`EvalReport::measures`].
    pub measure: String,
    /// Of [`EvalReport::systems`].
    pub system: String,
    /// Inputs with a value. An input counts once, whatever the number of models: its value is the mean over them.
    pub n: usize,
    /// Inputs without a rewrite, or whose measure failed.
    pub missing: usize,
    /// Inputs of which the measure says nothing: bits a byte of what was added where nothing was.
    pub undefined: usize,
    /// The mean with its 95 % interval; none without values.
    pub interval: Option<Interval>,
    /// The means by model, of a system with several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_model: Vec<f64>,
    /// The distribution over inputs; none of shares of 0 and 1, and of [`Level::Set`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<Distribution>,
}

/// How values are distributed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// The least value, the nine deciles, the greatest: 11 numbers.
    pub deciles: Vec<f64>,
    /// Where the histogram begins; the same for all systems of a set.
    pub low: f64,
    /// Where it ends.
    pub high: f64,
    /// Values in each of as many equal parts; the last holds `high` too.
    pub counts: Vec<usize>,
}

/// Comparisons that are corrected for together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Family {
    /// `primary`, `secondary:KEY`, `pairs:KEY`.
    pub name: String,
    /// What is in it.
    pub title: String,
    /// `holm`.
    pub method: String,
    /// How many p-values.
    pub comparisons: usize,
}

/// Two systems on the same inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// On which set.
    pub set: String,
    /// By which measure.
    pub measure: String,
    /// Who.
    pub system: String,
    /// Against whom.
    pub against: String,
    /// Inputs with a value of both.
    pub n: usize,
    /// Mean of the inputs' differences, `system` less `against`; none without inputs.
    pub difference: Option<Interval>,
    /// Inputs, by which system is better; where neither way is better, by which has more. Of [`Level::Row`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// Two-sided p of a mean difference of 0, by random signs; none of [`Level::Set`].
    pub p: Option<f64>,
    /// The same, corrected for the family's comparisons.
    pub p_adjusted: Option<f64>,
    /// The family's name.
    pub family: Option<String>,
    /// What the difference amounts to.
    pub verdict: Verdict,
}

/// Inputs by who is better.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// `system`.
    pub wins: usize,
    /// Both alike.
    pub ties: usize,
    /// `against`.
    pub losses: usize,
}

/// What a difference amounts to: significant where the corrected p is below 0.05 (of [`Level::Set`]: where the
/// interval leaves out 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Significant, for `system`.
    Better,
    /// Significant, for `against`.
    Worse,
    /// Significant, and neither way is better.
    Different,
    /// Not significant.
    Unclear,
}

/// A measure over the inputs of one length or category.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Breakdown {
    /// On which set.
    pub set: String,
    /// By which measure.
    pub measure: String,
    /// Of whom.
    pub system: String,
    /// By what inputs are parted.
    pub by: BreakdownBy,
    /// Which part: see [`Counted::name`].
    pub part: String,
    /// Inputs with a value.
    pub n: usize,
    /// Their mean.
    pub interval: Option<Interval>,
    /// Mean of the inputs' differences to the baseline; none of the baseline itself. No test: parts are looked at,
    /// not decided by.
    pub difference: Option<Interval>,
}

/// By what inputs are parted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakdownBy {
    /// The paper's buckets of the input's tokens.
    Length,
    /// The set's own categories.
    Category,
}

/// A judge that found a system worse than the baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fallen {
    /// Who.
    pub system: String,
    /// By which measure.
    pub measure: String,
    /// By how much.
    pub difference: Interval,
}

/// What a system added on a set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdditionsReport {
    /// On which set.
    pub set: String,
    /// Who.
    pub system: String,
    /// Rewrites that were looked at: of every model of the system.
    pub rewrites: usize,
    /// Distinct phrases among all that were added, by model.
    pub distinct_phrases: Vec<usize>,
    /// The phrases added most often.
    pub commonest_phrases: Vec<Common>,
    /// The artists added most often, of either list.
    pub commonest_artists: Vec<Common>,
    /// How rewrites were broken, and how many.
    pub flaws: BTreeMap<String, usize>,
    /// Added words that the training text never has, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown_words: Vec<String>,
}

/// What the judges are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgesReport {
    /// People's prompts that the n-gram model has read.
    pub ngram_texts: usize,
    /// How good the judge of quality is.
    pub quality: Option<QualityReport>,
}

/// How images were made and judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImagesReport {
    /// Where the paths of rows begin; relative to the run's folder, or the cache's.
    pub root: String,
    /// Who made them.
    pub generator: String,
    /// Hash of its weights, or what a server says of its model.
    pub generator_model: String,
    /// Whether images of two prompts share their noise.
    pub takes_seeds: bool,
    /// Image j of every prompt has `seeds[j]`.
    pub seeds: Vec<u64>,
    /// How they were made.
    pub settings: ImageSettings,
    /// The CLIP model and SHA-256 of its weights.
    pub clip: JudgeIdentity,
    /// SHA-256 of the aesthetic head's file.
    pub aesthetic: JudgeIdentity,
    /// The PickScore model, if it judges.
    pub pick_score: Option<JudgeIdentity>,
}

/// A model that judges images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgeIdentity {
    /// As the config names it.
    pub name: String,
    /// SHA-256 of its weights.
    pub sha256: String,
}

/// How much of the sets' text the training text has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeakageReport {
    /// Training files.
    pub training: Vec<String>,
    /// Texts in them.
    pub training_texts: usize,
    /// By set of the config.
    pub sets: Vec<SetLeakage>,
}

/// How much of a set's text the training text has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetLeakage {
    /// Its name.
    pub set: String,
    /// What was found.
    #[serde(flatten)]
    pub found: Leakage,
}

/// A row that lacks something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Which.
    pub row_id: String,
    /// What went wrong.
    pub reason: String,
}

/// An input of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputId {
    /// The set.
    pub set: String,
    /// Its place.
    pub index: usize,
}

impl EvalReport {
    /// What was found of a system on a set by a measure.
    pub fn cell(&self, set: &str, measure: &str, system: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.set == set && cell.measure == measure && cell.system == system)
    }

    /// A system against another.
    pub fn comparison(&self, set: &str, measure: &str, system: &str, against: &str) -> Option<&Comparison> {
        self.comparisons.iter().find(|found| {
            found.set == set && found.measure == measure && found.system == system && found.against == against
        })
    }

    /// The set that stands for all: the pool of all sets, or the only one.
    pub fn headline_set(&self) -> Option<&str> {
        let pool = self.sets.iter().find(|set| set.kind == SetKind::All);
        pool.or(self.sets.first()).map(|set| set.name.as_str())
    }

    /// A measure by its key.
    pub fn measure(&self, key: &str) -> Option<&Measure> {
        self.measures.iter().find(|measure| measure.key == key)
    }
}

impl Measure {
    /// Whether rows have a value.
    pub fn is_of_rows(&self) -> bool {
        self.level == Level::Row
    }
}
