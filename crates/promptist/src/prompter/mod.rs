//! From what a user types to adapted prompts: start reading here.
//!
//! [`Prompter::adapt`] is the whole path: layout, template, tokenizer, search, tokenizer, output filter,
//! rules. `request` is what is asked; `layout` what the model sees of an input and where the input
//! stands in the answer; `rules` and `guide` are bans, musts and budgets, compiled and as the search
//! follows them; `session` leads inputs through the model, each a `job`, which has as many rounds as it
//! takes; `answer` makes an output of a hypothesis and checks it; `distance`, `explain` and `receipt`
//! are what their names say. An input's answer depends on its text, the model, the settings and the
//! seed; never on the inputs beside it.

mod answer;
mod distance;
mod explain;
mod guide;
mod job;
mod layout;
mod receipt;
mod request;
mod rules;
mod session;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::decoding::RawDecodingSettings;
use crate::decoding::teacher_forcing::{self, ForcedText, Observation};
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
pub use self::distance::{added_words, distance};
pub use self::explain::PhraseEffect;
pub use self::receipt::{Difference, Receipt, Record};
pub use self::request::{AdaptRequest, AdaptSettings};
pub use self::session::{Session, TicketId};

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
    /// The seed that was drawn with; none if nothing was drawn, or with seeds of the outputs' own.
    pub seed: Option<u64>,
    /// How many outputs were asked for, if there are fewer.
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
        let settings = Arc::new(settings.clone());
        let mut session = Session::new(self, usize::MAX);
        let rows = (first_row..).zip(user_inputs);
        let tickets: Vec<Result<TicketId>> =
            rows.map(|(row, user_input)| session.add(user_input, Arc::clone(&settings), row)).collect();
        let mut answers = BTreeMap::new();
        while !session.is_idle() {
            answers.extend(session.step());
        }
        let elapsed_ms = started.elapsed().as_secs_f64() * 1e3;
        let answer = |ticket: Result<TicketId>| {
            let adapted = answers.remove(&ticket?).expect("an idle session has answered all")?;
            Ok(Adapted { elapsed_ms, ..adapted })
        };
        tickets.into_iter().map(answer).collect()
    }

    /// The ids that the model continues, checked against its context.
    fn prepare(&self, user_input: &str, settings: &AdaptSettings, row: u64) -> Result<Prepared> {
        let trimmed = user_input.trim();
        if trimmed.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        settings.check_rules()?;
        let protect = &settings.rules.protect;
        let mut layout = Layout::new(trimmed, settings.keep, protect, self.neutral_input());
        if settings.rules.ban_some_of(trimmed) && layout.kept.is_none() {
            // The model could not say it, and it is not ours to drop.
            layout.kept = Some(layout.keeping_words(protect));
        }
        let prompt_ids = self.prompt_ids(&layout)?;
        let neutral_prompt = match settings.guidance_scale == 1.0 {
            true => Vec::new(),
            false => {
                let keep = if layout.kept.is_some() { Keep::Exact } else { Keep::Free };
                let neutral = Layout::new(self.neutral_input(), keep, &Protect::default(), NEUTRAL_INPUT);
                self.prompt_ids(&neutral)?
            }
        };
        // The neutral prompt is continued beside the input's, by the same tokens.
        let prompt_tokens = prompt_ids.len().max(neutral_prompt.len());
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
}

/// An input ready to be decoded.
struct Prepared {
    user_input: String,
    layout: Layout,
    prompt_ids: Vec<u32>,
    /// What guidance compares with; empty without guidance.
    neutral_prompt: Vec<u32>,
    /// The rules before the answer's first token.
    guide: Option<Arc<AnswerGuide>>,
    seed: u64,
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
