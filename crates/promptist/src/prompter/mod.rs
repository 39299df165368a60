//! From what a user types to adapted prompts: start reading here.
//!
//! [`Prompter::adapt`] is the whole path: layout, template, tokenizer, search, tokenizer, output filter,
//! rules. `request` is what is asked; `layout` what the model sees of an input and where the input
//! stands in the answer; `rules` and `guide` are bans, musts and budgets, compiled and as the search
//! follows them; `answer` makes an output of a hypothesis and checks it; `variants`, `explain` and
//! `receipt` are what their names say; `session` answers inputs that come and go. A row's answer depends
//! on its text, the model, the settings and the seed; never on the rows beside it.

mod answer;
mod explain;
mod guide;
mod layout;
mod receipt;
mod request;
mod rules;
mod session;
mod variants;

use std::sync::Arc;
use std::time::Instant;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::decoding::teacher_forcing::{self, ForcedText, Observation};
use crate::decoding::{
    self, DecodingSettings, Finish, Guide, Guided, Hypothesis, LanguageModel, RawDecodingSettings, Request,
    sample_key,
};
use crate::engine::precision_report::{PRECISION_REPORT, PrecisionReport};
use crate::engine::{Engine, EngineOptions, Isa, Precision};
use crate::error::{Error, Result};
use crate::gpt2::{Gpt2, Gpt2Config, folder};
use crate::model_source::ModelFiles;
use crate::nn::Parameters;
use crate::syntax::Protect;
use crate::template::{self, Keep};
use crate::tokenizer::Tokenizer;

pub use self::answer::{KeptRules, Output, TokenUse};
pub use self::explain::PhraseEffect;
pub use self::receipt::{Difference, Receipt, Record};
pub use self::request::{AdaptRequest, AdaptSettings};
pub use self::session::{Session, TicketId};
pub use self::variants::{added_words, distance};

use self::guide::AnswerGuide;
use self::layout::Layout;

/// A language model that adapts prompts, with its tokenizer and its own default settings.
pub struct Prompter {
    model: Model,
    tokenizer: Tokenizer,
    defaults: ModelDefaults,
    identity: ModelIdentity,
    tokenizer_sha256: String,
}

/// What a prompter computes with.
#[derive(Debug, Clone)]
pub enum Backend {
    /// Our own decoder, on the CPU.
    Engine {
        /// `None` picks the fastest that the model's own report of precisions allows, else f32.
        precision: Option<Precision>,
        /// `None` for the best that the CPU has.
        isa: Option<Isa>,
        /// Threads that compute a step.
        num_threads: usize,
    },
    /// The tensor library, on any of its devices.
    TensorLibrary(Device),
}

impl Default for Backend {
    /// The engine on every core, in the precision that the model's report allows.
    fn default() -> Self {
        let EngineOptions { isa, num_threads, .. } = EngineOptions::default();
        Self::Engine { precision: None, isa, num_threads }
    }
}

/// A language model on its backend.
enum Model {
    Engine(Box<Engine>),
    TensorLibrary(Box<Gpt2>),
}

/// Which model answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelIdentity {
    /// What the user called it: `mini`, a folder, a Hub id.
    pub name: String,
    /// SHA-256 of its weights.
    pub sha256: String,
}

/// What a model folder's `generation_config.json` asks for.
#[derive(Debug, Clone, Default)]
struct ModelDefaults {
    decoding: RawDecodingSettings,
    ours: OurDefaults,
}

/// Our own part of `generation_config.json`, an object of its own beside transformers' keys:
/// `"promptist": {"keep": "exact", "guidance_scale": 1.5, "neutral_input": "an image"}`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct OurDefaults {
    keep: Option<Keep>,
    guidance_scale: Option<f32>,
    neutral_input: Option<String>,
}

/// The input that says nothing, where a model names no other.
const NEUTRAL_INPUT: &str = "an image";

/// The answers to one input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Adapted {
    /// What the user typed, as it was given.
    pub user_input: String,
    /// Adapted prompts, best first.
    pub outputs: Vec<Output>,
    /// The seed that was drawn with; none without sampling.
    pub seed: Option<u64>,
    /// How many outputs were asked for, if there are fewer that far apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<usize>,
    /// Decoding time of the batch that the input was in.
    pub elapsed_ms: f64,
}

impl Prompter {
    /// Opens a model.
    ///
    /// # Errors
    /// Naming the file that is missing or wrong, and what was expected; [`Error::Config`] if the CPU
    /// lacks the backend's instruction set.
    pub fn open(files: &ModelFiles, backend: &Backend) -> Result<Self> {
        let config_path = files.path("config.json");
        let config = files.read("config.json")?;
        let config =
            std::str::from_utf8(&config).map_err(|e| Error::file(&config_path, e.to_string())).and_then(
                |text| Gpt2Config::from_json(text).map_err(|e| Error::file(&config_path, e.to_string())),
            )?;
        let weights = files.weights()?;
        let identity = ModelIdentity { name: files.name().to_owned(), sha256: weights.sha256() };
        let model = match backend {
            Backend::TensorLibrary(device) => {
                Model::TensorLibrary(Box::new(folder::from_weights(&config, &weights, device)?))
            }
            &Backend::Engine { precision, isa, num_threads } => {
                let precision = match precision {
                    Some(precision) => precision,
                    None => pick_precision(files, &identity.sha256)?,
                };
                let options = EngineOptions { precision, isa, num_threads };
                Model::Engine(Box::new(Engine::open(&config, &weights, options)?))
            }
        };
        let tokenizer = match files {
            ModelFiles::Embedded(_) => Tokenizer::from_json(&files.read("tokenizer.json")?)?,
            ModelFiles::Folder { path, .. } => Tokenizer::open(path)?,
        };
        let tokenizer_sha256 = receipt::tokenizer_sha256(files)?;
        if tokenizer.vocab_size() > config.vocab_size {
            return Err(Error::file(
                &config_path,
                format!(
                    "vocab_size is {}, but the tokenizer has {} entries",
                    config.vocab_size,
                    tokenizer.vocab_size()
                ),
            ));
        }
        let mut defaults = ModelDefaults::read(files)?;
        if defaults.decoding.eos_token_id.is_none() {
            let eos_token_id = config.eos_token_id.or(tokenizer.eos_token_id());
            defaults.decoding.eos_token_id = eos_token_id.map(|id| vec![id]);
        }
        Ok(Self { model, tokenizer, defaults, identity, tokenizer_sha256 })
    }

    /// Which model this is.
    pub fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The precision of the weight products; f32 on the tensor library.
    pub fn precision(&self) -> Precision {
        match &self.model {
            Model::Engine(engine) => engine.options().precision,
            Model::TensorLibrary(_) => Precision::F32,
        }
    }

    /// The model's shape.
    pub fn config(&self) -> &Gpt2Config {
        match &self.model {
            Model::Engine(engine) => engine.config(),
            Model::TensorLibrary(model) => model.config(),
        }
    }

    /// What the model thinks of texts that are given: see [`teacher_forcing::observe`].
    ///
    /// # Errors
    /// As there.
    pub fn observe(&self, texts: &[ForcedText]) -> Result<Vec<Vec<Observation>>> {
        match &self.model {
            Model::Engine(engine) => teacher_forcing::observe(&**engine, texts),
            Model::TensorLibrary(model) => teacher_forcing::observe(&**model, texts),
        }
    }

    /// What the model reads before it answers `user_input`, under its own default settings.
    ///
    /// # Errors
    /// [`Error::EmptyPrompt`]; [`Error::Tokenizer`].
    pub fn prompt(&self, user_input: &str) -> Result<Vec<u32>> {
        self.prompt_for(user_input, self.default_keep())
    }

    /// What the model reads before it answers `user_input` with its words kept, or not.
    ///
    /// # Errors
    /// As [`prompt`](Self::prompt).
    pub fn prompt_for(&self, user_input: &str, keep: Keep) -> Result<Vec<u32>> {
        let trimmed = user_input.trim();
        if trimmed.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        self.prompt_ids(&Layout::new(trimmed, keep, &Protect::default(), self.neutral_input()))
    }

    /// What becomes of the user's words if a request does not say.
    pub fn default_keep(&self) -> Keep {
        self.defaults.ours.keep.unwrap_or_default()
    }

    /// Takes other weights of the same shape, as a policy that has been trained on.
    ///
    /// # Errors
    /// [`Error::Shape`] for a parameter that is missing or of another shape; the old weights stay then.
    pub fn reload(&mut self, weights: &Gpt2) -> Result<()> {
        match &mut self.model {
            Model::Engine(engine) => engine.reload(&weights.to_parameters()?),
            Model::TensorLibrary(model) if model.config() == weights.config() => {
                **model = weights.clone();
                Ok(())
            }
            Model::TensorLibrary(_) => Err(Error::Shape("weights of a model of another shape".to_owned())),
        }
    }

    /// Adapts a batch of inputs; `first_row` is the number of the first among all rows, for
    /// `vary_rows`. An input that cannot be adapted carries its error, the others go on.
    pub fn adapt(
        &self,
        user_inputs: &[String],
        settings: &AdaptSettings,
        first_row: u64,
    ) -> Vec<Result<Adapted>> {
        let started = Instant::now();
        let prepared: Vec<Result<Prepared>> = (first_row..)
            .zip(user_inputs)
            .map(|(row, user_input)| self.prepare(user_input, settings, row))
            .collect();
        let rows: Vec<&Prepared> = prepared.iter().flatten().collect();
        let outputs = match settings.min_distance {
            Some(min_distance) => self.variants(&rows, settings, min_distance),
            None => self.outputs(&rows, settings, 0),
        };
        let mut outputs = match outputs {
            Ok(outputs) => outputs.into_iter(),
            Err(error) => return all_failed(prepared, &error),
        };
        let elapsed_ms = started.elapsed().as_secs_f64() * 1e3;
        let adapted = |prepared: Result<Prepared>| {
            let prepared = prepared?;
            let outputs = outputs.next().unwrap_or_else(|| Ok(Vec::new()))?;
            self.adapted(prepared, outputs, settings, elapsed_ms)
        };
        prepared.into_iter().map(adapted).collect()
    }

    /// What is said of an input whose outputs are made.
    fn adapted(
        &self,
        prepared: Prepared,
        mut outputs: Vec<Output>,
        settings: &AdaptSettings,
        elapsed_ms: f64,
    ) -> Result<Adapted> {
        if settings.explain {
            for output in &mut outputs {
                output.phrases = self.explain(&prepared, output, settings)?;
            }
        }
        let asked = settings.decoding.num_return_sequences;
        let is_short = settings.min_distance.is_some() && outputs.len() < asked;
        Ok(Adapted {
            user_input: prepared.user_input,
            outputs,
            seed: settings.decoding.do_sample.then_some(prepared.seed),
            asked: is_short.then_some(asked),
            elapsed_ms,
        })
    }

    /// The outputs of each row, best first; of seeds, in their order. Another `round` draws others.
    ///
    /// # Errors
    /// What ends the whole batch; a row's own errors are inside.
    fn outputs(
        &self,
        rows: &[&Prepared],
        settings: &AdaptSettings,
        round: u64,
    ) -> Result<Vec<Result<Vec<Output>>>> {
        if settings.adds_nothing() {
            return Ok(rows.iter().map(|row| Ok(vec![identity(row)])).collect());
        }
        let mut answers = self.decode(rows, settings, round)?.into_iter();
        let num_requests = settings.seeds.len().max(1);
        let mut row_outputs =
            |row: &&Prepared| self.row_outputs(row, settings, answers.by_ref().take(num_requests));
        Ok(rows.iter().map(&mut row_outputs).collect())
    }

    /// The outputs of a row: `answers` are those to its [`requests`](Self::requests).
    fn row_outputs(
        &self,
        row: &Prepared,
        settings: &AdaptSettings,
        answers: impl Iterator<Item = Vec<Hypothesis>>,
    ) -> Result<Vec<Output>> {
        let mut outputs = Vec::new();
        for (at, mut hypotheses) in answers.enumerate() {
            if hypotheses.is_empty() && row.guide.as_ref().is_some_and(|guide| guide.may_end()) {
                hypotheses.push(Hypothesis { token_ids: Vec::new(), score: 0.0, finish: Finish::Budget });
            }
            let made = hypotheses.into_iter().map(|hypothesis| self.output(row, hypothesis, settings));
            let made = made.map(|output| {
                output.map(|output| Output { seed: settings.seeds.get(at).copied(), ..output })
            });
            outputs.extend(good_or_first_error(made)?);
        }
        Ok(outputs)
    }

    /// The ids that the model continues, checked against its context.
    fn prepare(&self, user_input: &str, settings: &AdaptSettings, row: u64) -> Result<Prepared> {
        let trimmed = user_input.trim();
        if trimmed.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        let layout = Layout::new(trimmed, settings.keep, &settings.rules.protect, self.neutral_input());
        let prompt_ids = self.prompt_ids(&layout)?;
        let neutral_prompt = match settings.guidance_scale == 1.0 {
            true => None,
            false => {
                let keep = settings.keep;
                let neutral = Layout::new(self.neutral_input(), keep, &Protect::default(), NEUTRAL_INPUT);
                Some(self.prompt_ids(&neutral)?)
            }
        };
        // The neutral prompt is continued beside the input's, by the same tokens.
        let prompt_tokens = prompt_ids.len().max(neutral_prompt.as_ref().map_or(0, Vec::len));
        let (max_new_tokens, n_positions) = (settings.decoding.max_new_tokens, self.config().n_positions);
        if prompt_tokens.saturating_add(max_new_tokens) > n_positions {
            return Err(Error::PromptTooLong { prompt_tokens, max_new_tokens, n_positions });
        }
        let guide = AnswerGuide::new(&settings.rules, layout.kept.as_ref(), settings.filter)?;
        let offset = if settings.vary_rows { row } else { 0 };
        Ok(Prepared {
            user_input: user_input.to_owned(),
            layout,
            prompt_ids,
            neutral_prompt,
            guide: guide.map(Arc::new),
            seed: settings.decoding.seed.wrapping_add(offset),
        })
    }

    /// The input under the template and, where they are kept, its words as the answer's beginning.
    fn prompt_ids(&self, layout: &Layout) -> Result<Vec<u32>> {
        let mut prompt_ids = self.tokenizer.encode(&template::prompt(&layout.plain))?;
        if let Some(kept) = &layout.kept {
            prompt_ids.extend(self.tokenizer.encode(&template::answer(&kept.for_model))?);
        }
        Ok(prompt_ids)
    }

    fn neutral_input(&self) -> &str {
        self.defaults.ours.neutral_input.as_deref().unwrap_or(NEUTRAL_INPUT)
    }

    /// The answers to each row, by whatever computes.
    fn decode(
        &self,
        rows: &[&Prepared],
        settings: &AdaptSettings,
        round: u64,
    ) -> Result<Vec<Vec<Hypothesis>>> {
        match &self.model {
            Model::Engine(engine) => self.decode_with(&**engine, rows, settings, round),
            Model::TensorLibrary(model) => self.decode_with(&**model, rows, settings, round),
        }
    }

    fn decode_with<M: LanguageModel>(
        &self,
        model: &M,
        rows: &[&Prepared],
        settings: &AdaptSettings,
        round: u64,
    ) -> Result<Vec<Vec<Hypothesis>>> {
        let requests = rows.iter().flat_map(|row| self.requests(row, settings, round));
        let Some(neutral_prompt) = rows.first().and_then(|row| row.neutral_prompt.as_deref()) else {
            return decoding::generate_each(model, requests);
        };
        let guided = Guided { model, scale: settings.guidance_scale, neutral_prompt: neutral_prompt.into() };
        decoding::generate_each(&guided, requests)
    }

    /// What a row asks of the model: one request, or one a seed.
    fn requests(&self, row: &Prepared, settings: &AdaptSettings, round: u64) -> Vec<Request> {
        let request = |seed: u64| Request {
            prompt: row.prompt_ids.clone(),
            settings: DecodingSettings { seed, ..settings.decoding.clone() },
            sample_key: sample_key(row.layout.input.as_str()).wrapping_add(round),
            guide: row.guide.clone().map(|guide| -> Arc<dyn Guide> { guide }),
        };
        match settings.seeds.as_slice() {
            [] => vec![request(row.seed)],
            seeds => seeds.iter().map(|&seed| request(seed)).collect(),
        }
    }
}

/// An input ready to be decoded.
struct Prepared {
    user_input: String,
    layout: Layout,
    prompt_ids: Vec<u32>,
    /// What guidance compares with; none without guidance.
    neutral_prompt: Option<Vec<u32>>,
    /// The rules before the answer's first token.
    guide: Option<Arc<AnswerGuide>>,
    seed: u64,
}

/// The answer that adds nothing.
fn identity(prepared: &Prepared) -> Output {
    Output {
        text: prepared.layout.input.clone(),
        score: 0.0,
        token_ids: Vec::new(),
        finish: Finish::Eos,
        filtered: Vec::new(),
        seed: None,
        restored: Vec::new(),
        rules: None,
        phrases: Vec::new(),
    }
}

/// Those outputs that were made; the first error if there are none.
fn good_or_first_error(outputs: impl Iterator<Item = Result<Output>>) -> Result<Vec<Output>> {
    let (mut good, mut first_error) = (Vec::new(), None);
    for output in outputs {
        match output {
            Ok(output) => good.push(output),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    match (good.is_empty(), first_error) {
        (true, Some(error)) => Err(error),
        (true, None) => Err(Error::Rules("the search found no way to keep to all of them".to_owned())),
        _ => Ok(good),
    }
}

/// What the model's report of precisions allows; f32 without one.
fn pick_precision(files: &ModelFiles, sha256: &str) -> Result<Precision> {
    match files.read_optional(PRECISION_REPORT)? {
        Some(bytes) => Ok(PrecisionReport::parse(&files.path(PRECISION_REPORT), &bytes)?.pick(sha256)),
        None => Ok(Precision::F32),
    }
}

impl ModelDefaults {
    /// transformers' keys and ours.
    fn read(files: &ModelFiles) -> Result<Self> {
        const NAME: &str = "generation_config.json";
        let path = files.path(NAME);
        let Some(bytes) = files.read_optional(NAME)? else { return Ok(Self::default()) };
        let text = std::str::from_utf8(&bytes).map_err(|e| Error::file(&path, e.to_string()))?;
        let decoding = RawDecodingSettings::from_generation_config(&path, text)?;

        let json: Value = serde_json::from_str(text).map_err(|e| Error::file(&path, e.to_string()))?;
        let ours = match json.get("promptist") {
            Some(ours) => serde_json::from_value(ours.clone())
                .map_err(|e| Error::file(&path, format!("`promptist`: {e}")))?,
            None => OurDefaults::default(),
        };
        Ok(Self { decoding, ours })
    }
}

/// Every row that was ready fails as the batch did; the others keep their own error.
fn all_failed(prepared: Vec<Result<Prepared>>, error: &Error) -> Vec<Result<Adapted>> {
    let failed = |prepared: Result<Prepared>| {
        Err(prepared.err().unwrap_or_else(|| Error::Decoding(error.to_string())))
    };
    prepared.into_iter().map(failed).collect()
}
