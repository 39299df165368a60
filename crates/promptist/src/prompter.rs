//! From what a user types to adapted prompts: start reading here.
//!
//! [`Prompter::adapt`] is the whole path: template, tokenizer, search, tokenizer, output filter.
//! A row's answer depends on its text, the model, the settings and the seed; never on the rows
//! beside it.

use std::time::Instant;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::decoding::teacher_forcing::{self, ForcedText, Observation};
use crate::decoding::{
    self, DecodingSettings, Finish, Guided, Hypothesis, LanguageModel, RawDecodingSettings, Request,
    sample_key,
};
use crate::engine::precision_report::{PRECISION_REPORT, PrecisionReport};
use crate::engine::{Engine, EngineOptions, Isa, Precision};
use crate::error::{Error, Result};
use crate::gpt2::{Gpt2, Gpt2Config, folder};
use crate::model_source::ModelFiles;
use crate::nn::Parameters;
use crate::output_filter::{self, FilterRule};
use crate::template::{self, Keep};
use crate::tokenizer::Tokenizer;

/// A language model that adapts prompts, with its tokenizer and its own default settings.
pub struct Prompter {
    model: Model,
    tokenizer: Tokenizer,
    defaults: ModelDefaults,
    identity: ModelIdentity,
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

/// How to adapt, beside the model.
#[derive(Debug, Clone, Default)]
pub struct AdaptRequest {
    /// Decoding settings that override the model's.
    pub decoding: RawDecodingSettings,
    /// What becomes of the user's words; the model's own choice if absent, else free.
    pub keep: Option<Keep>,
    /// How hard additions are pushed to fit the input; the model's own choice if absent, else 1,
    /// which is not at all. See [`Guided`].
    pub guidance_scale: Option<f32>,
    /// Whether outputs pass the filter.
    pub filter: bool,
    /// Whether artists whom the input does not name are taken out of outputs.
    pub no_artists: bool,
    /// Whether row i is sampled with seed + i.
    pub vary_rows: bool,
}

/// [`AdaptRequest`] over the model's defaults: complete and checked.
#[derive(Debug, Clone, Serialize)]
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
    /// What the model computes in: the model's, not to be changed here.
    pub precision: Precision,
}

/// The answers to one input.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Adapted {
    /// What the user typed, as it was given.
    pub user_input: String,
    /// Adapted prompts, best first.
    pub outputs: Vec<Output>,
    /// The seed that was drawn with; none without sampling.
    pub seed: Option<u64>,
    /// Decoding time of the batch that the input was in.
    pub elapsed_ms: f64,
}

/// One adapted prompt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Output {
    /// The adapted prompt.
    pub text: String,
    /// The hypothesis score that ranks the outputs.
    pub score: f32,
    /// The generated ids, before the filter: no prompt, no kept words, no end token.
    pub token_ids: Vec<u32>,
    /// How it came to its end.
    pub finish: Finish,
    /// Rules of the output filter that changed the text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filtered: Vec<FilterRule>,
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
        Ok(Self { model, tokenizer, defaults, identity })
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
        self.prompt_ids(trimmed, kept_words(trimmed, keep).as_ref())
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
        Ok(AdaptSettings {
            decoding,
            keep: request.keep.or(ours.keep).unwrap_or_default(),
            guidance_scale,
            filter: request.filter,
            no_artists: request.no_artists,
            vary_rows: request.vary_rows,
            precision: self.precision(),
        })
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
        let mut answers = match self.decode(&rows, settings) {
            Ok(answers) => answers.into_iter(),
            Err(error) => return all_failed(prepared, &error),
        };
        let elapsed_ms = started.elapsed().as_secs_f64() * 1e3;
        prepared
            .into_iter()
            .map(|prepared| {
                let prepared = prepared?;
                let hypotheses = answers.next().unwrap_or_default();
                let outputs = hypotheses
                    .into_iter()
                    .map(|hypothesis| self.output(&prepared, hypothesis, settings))
                    .collect::<Result<_>>()?;
                Ok(Adapted {
                    user_input: prepared.user_input,
                    outputs,
                    seed: settings.decoding.do_sample.then_some(prepared.seed),
                    elapsed_ms,
                })
            })
            .collect()
    }

    /// The ids that the model continues, checked against its context.
    fn prepare(&self, user_input: &str, settings: &AdaptSettings, row: u64) -> Result<Prepared> {
        let trimmed = user_input.trim();
        if trimmed.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        let kept = kept_words(trimmed, settings.keep);
        let prompt_ids = self.prompt_ids(trimmed, kept.as_ref())?;
        let (max_new_tokens, n_positions) = (settings.decoding.max_new_tokens, self.config().n_positions);
        if prompt_ids.len() + max_new_tokens > n_positions {
            return Err(Error::PromptTooLong {
                prompt_tokens: prompt_ids.len(),
                max_new_tokens,
                n_positions,
            });
        }
        let offset = if settings.vary_rows { row } else { 0 };
        Ok(Prepared {
            user_input: user_input.to_owned(),
            prompt_ids,
            kept,
            seed: settings.decoding.seed.wrapping_add(offset),
        })
    }

    /// The input under the template and, where they are kept, its words as the answer's beginning.
    fn prompt_ids(&self, trimmed: &str, kept: Option<&KeptWords>) -> Result<Vec<u32>> {
        let mut prompt_ids = self.tokenizer.encode(&template::prompt(trimmed))?;
        if let Some(kept) = kept {
            prompt_ids.extend(self.tokenizer.encode(&template::answer(&kept.for_model))?);
        }
        Ok(prompt_ids)
    }

    /// The answers to each row, by whatever computes.
    fn decode(&self, rows: &[&Prepared], settings: &AdaptSettings) -> Result<Vec<Vec<Hypothesis>>> {
        match &self.model {
            Model::Engine(engine) => self.decode_with(&**engine, rows, settings),
            Model::TensorLibrary(model) => self.decode_with(&**model, rows, settings),
        }
    }

    fn decode_with<M: LanguageModel>(
        &self,
        model: &M,
        rows: &[&Prepared],
        settings: &AdaptSettings,
    ) -> Result<Vec<Vec<Hypothesis>>> {
        let requests = rows.iter().map(|row| Request {
            prompt: row.prompt_ids.clone(),
            settings: DecodingSettings { seed: row.seed, ..settings.decoding.clone() },
            sample_key: sample_key(row.user_input.trim()),
            guide: None,
        });
        if settings.guidance_scale == 1.0 {
            return decoding::generate_each(model, requests);
        }
        let neutral_input = self.defaults.ours.neutral_input.as_deref().unwrap_or(NEUTRAL_INPUT);
        let neutral_kept = kept_words(neutral_input, settings.keep);
        let neutral_prompt = &self.prompt_ids(neutral_input, neutral_kept.as_ref())?;
        let guided = Guided { model, scale: settings.guidance_scale, neutral_prompt };
        decoding::generate_each(&guided, requests)
    }

    fn output(
        &self,
        prepared: &Prepared,
        hypothesis: Hypothesis,
        settings: &AdaptSettings,
    ) -> Result<Output> {
        let answer = self.tokenizer.decode(&hypothesis.token_ids)?;
        let mut filtered = Vec::new();
        let mut text = answer.trim().to_owned();
        if settings.filter || settings.no_artists {
            let filter = output_filter::Filter {
                tidy: settings.filter,
                no_artists: settings.no_artists,
                user_input: prepared.user_input.trim(),
                is_cut: hypothesis.finish == Finish::Length,
                has_head: prepared.kept.is_none(),
            };
            (text, filtered) = filter.apply(&text);
        }
        if let Some(kept) = &prepared.kept {
            text = kept.with(&text);
        }
        Ok(Output {
            text,
            score: hypothesis.score,
            token_ids: hypothesis.token_ids,
            finish: hypothesis.finish,
            filtered,
        })
    }
}

/// An input ready to be decoded.
struct Prepared {
    user_input: String,
    prompt_ids: Vec<u32>,
    kept: Option<KeptWords>,
    seed: u64,
}

/// The user's words as they open the answer.
#[derive(Debug, Clone, PartialEq)]
struct KeptWords {
    /// Byte for byte what was typed, white space around it aside.
    text: String,
    /// What the model sees as the answer's beginning: the words without their closing punctuation,
    /// and a comma, after which it can only add a phrase.
    for_model: String,
}

/// The user's words as they open the answer, where they do.
fn kept_words(user_input: &str, keep: Keep) -> Option<KeptWords> {
    match keep {
        Keep::Exact => Some(KeptWords::new(user_input)),
        Keep::Free => None,
    }
}

/// What the model's report of precisions allows; f32 without one.
fn pick_precision(files: &ModelFiles, sha256: &str) -> Result<Precision> {
    match files.read_optional(PRECISION_REPORT)? {
        Some(bytes) => Ok(PrecisionReport::parse(&files.path(PRECISION_REPORT), &bytes)?.pick(sha256)),
        None => Ok(Precision::F32),
    }
}

impl KeptWords {
    fn new(user_input: &str) -> Self {
        let for_model = format!("{},", template::kept_words(user_input));
        Self { text: user_input.to_owned(), for_model }
    }

    /// The kept words and what the model added.
    fn with(&self, addition: &str) -> String {
        let addition = addition.trim_start_matches([',', ' ']);
        if addition.is_empty() {
            return self.text.clone();
        }
        let separator = match self.text.ends_with([',', '.', ';', ':', '!', '?']) {
            true => " ",
            false => ", ",
        };
        format!("{}{separator}{addition}", self.text)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_words_open_the_answer_byte_for_byte() {
        let cases = [
            ("a cat", "a cat,", "a cat, 8k"),
            ("A cat sits.", "A cat sits,", "A cat sits. 8k"),
            ("a cat, (red:1.2),", "a cat, (red:1.2),", "a cat, (red:1.2), 8k"),
            ("why?", "why?,", "why? 8k"),
        ];
        for (input, for_model, expected) in cases {
            let kept = KeptWords::new(input);
            assert_eq!(kept.for_model, for_model);
            assert_eq!(kept.with(" 8k"), expected);
            assert_eq!(kept.with(""), input);
        }
    }
}
