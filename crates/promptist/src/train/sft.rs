//! `promptist train sft`: the run.
//!
//! A run is a folder: `config.toml`, `metrics.jsonl`, `events/`, `checkpoints/`, and at the end
//! `model/`, the best checkpoint as a model folder. [`train`] is one flat loop over the stages'
//! steps. All that a step depends on is the config, the step's number, the weights and the moments,
//! so a run that died continues as if it had not.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::data::lines;
use crate::error::{Error, Result};
use crate::gpt2::Gpt2;
use crate::gpt2::folder::{self, CompanionFiles};
use crate::progress::Progress;
use crate::tokenizer::{END_OF_TEXT, Tokenizer};
use crate::train::adamw::{AdamW, AdamWConfig, Decay, Gradients};
use crate::train::checkpoint::{Checkpoints, load_optimizer, load_state, save_optimizer, save_state};
use crate::train::config::{SftConfig, TrainingConfig};
use crate::train::examples::{BatchPlan, Example, micro_batches, read_pairs, stage_seed, text_blocks};
use crate::train::gradients;
use crate::train::metrics::Metrics;
use crate::train::run_folder;
use crate::train::trainable::Trainable;
use crate::train::trunk::{self, KeepMemory};

/// What a run needs beside its config.
pub struct RunContext<'a> {
    /// The run folder.
    pub run: &'a Path,
    /// Whether the folder is an earlier run to continue.
    pub resume: bool,
    /// The folder that the config's `model` resolved to, if it names one.
    pub model_folder: Option<PathBuf>,
    /// Where to compute.
    pub device: Device,
    /// Told of every step.
    pub progress: &'a dyn Progress,
    /// Set to finish the step, save and return [`Error::Interrupted`].
    pub stop: &'a AtomicBool,
}

/// Trains, and returns the folder of the best model.
///
/// # Errors
/// [`Error::Config`] if the run folder exists and is not to be resumed, or holds another config;
/// [`Error::Interrupted`] after `stop`; whatever reading, training and saving run into. What was
/// saved before stays.
pub fn train(config: &SftConfig, context: &RunContext) -> Result<PathBuf> {
    run_folder::open(context.run, config, context.resume)?;
    let checkpoints = Checkpoints::new(context.run)?;
    let resumed = if context.resume { load_latest(&checkpoints, &context.device)? } else { None };
    let (mut model, tokenizer, files, mut optimizer, mut state) = match resumed {
        Some((model, optimizer, state, path)) => {
            (model, Tokenizer::open(&path)?, folder::companion_files(&path)?, optimizer, state)
        }
        None => {
            let (model, tokenizer, files) = start(config, context)?;
            let state = TrainState { step: 0, optimizer_step: 0, target_tokens: 0, best: None };
            (model, tokenizer, files, AdamW::default(), state)
        }
    };
    let (token_ids, vocab_size) = (tokenizer.vocab_size(), model.config().vocab_size);
    if token_ids > vocab_size {
        return Err(Error::Tokenizer(format!("{token_ids} token ids for a model of {vocab_size}")));
    }
    let mut metrics = Metrics::open(context.run, Some(state.step))?;
    let _keep_memory = KeepMemory::new();

    let mut stage_start = 0;
    for kind in StageKind::of(config) {
        let steps = kind.training(config).steps;
        let stage_end = stage_start + steps;
        if state.step >= stage_end {
            stage_start = stage_end;
            continue;
        }
        if state.step == stage_start {
            optimizer = AdamW::default();
            state.best = None;
        }
        let mut stage = Stage::open(kind, config, &tokenizer, model.config().n_positions)?;
        context.progress.begin(kind.name(), Some(steps), "steps");
        context.progress.advance(state.step - stage_start, "");

        while state.step < stage_end {
            let local_step = state.step - stage_start;
            let started = Instant::now();
            let (updated, mut row) = stage.step(model, &mut optimizer, local_step)?;
            model = updated;
            state.step += 1;
            state.optimizer_step = optimizer.step;
            state.target_tokens += row.target_tokens;
            let seconds = started.elapsed().as_secs_f64();
            let note = format!("loss {:.3} · {:.0} tokens/s", row.loss, row.input_tokens as f64 / seconds);

            let is_last = state.step == stage_end;
            let stopped = context.stop.load(Ordering::Relaxed);
            let mut improved = false;
            if is_last || (local_step + 1).is_multiple_of(stage.training.validate_every) {
                let loss = stage.validate(&model)?;
                improved = state.best.as_ref().is_none_or(|best| loss < best.validation_loss);
                if improved {
                    state.best =
                        Some(Best { stage: kind.name().into(), step: state.step, validation_loss: loss });
                }
                row.validation = Some((loss, stage.bits_per_byte(loss)));
            }
            metrics.write(row.to_json(&state, kind.name(), seconds))?;
            let due = (local_step + 1).is_multiple_of(stage.training.checkpoint_every);
            if improved || is_last || due || stopped {
                metrics.sync()?;
                save(&checkpoints, &model, &optimizer, &state, &files)?;
                let best = state.best.as_ref().map(|best| best.step);
                checkpoints.prune(config.keep_checkpoints, best)?;
            }
            context.progress.advance(1, &note);
            if stopped {
                context.progress.end();
                return Err(Error::Interrupted);
            }
        }
        context.progress.end();
        stage_start = stage_end;
    }
    checkpoints.export(context.run, state.best.as_ref().map_or(state.step, |best| best.step))
}

/// The model and tokenizer that training starts from, and the files that go along.
fn start(config: &SftConfig, context: &RunContext) -> Result<(Gpt2, Tokenizer, CompanionFiles)> {
    if let Some(scratch) = &config.scratch {
        let tokenizer = Tokenizer::open(&scratch.tokenizer)?;
        let gpt2 = scratch.gpt2(tokenizer.vocab_size(), tokenizer.eos_token_id());
        let model = Gpt2::random(&gpt2, config.seed, &context.device)?;
        let mut files = folder::companion_files(&scratch.tokenizer)?;
        if !files.iter().any(|(name, _)| name == "tokenizer_config.json") {
            let json = json!({
                "tokenizer_class": "PreTrainedTokenizerFast",
                "eos_token": END_OF_TEXT,
                "bos_token": END_OF_TEXT,
                "pad_token": END_OF_TEXT,
                "model_max_length": scratch.n_positions,
                "clean_up_tokenization_spaces": false,
            });
            files.push(("tokenizer_config.json".into(), format!("{json:#}\n").into_bytes()));
        }
        return Ok((model, tokenizer, files));
    }
    let Some(path) = &context.model_folder else {
        return Err(Error::config("model", "was not resolved to a folder"));
    };
    let model = folder::open(path, &context.device)?;
    Ok((model, Tokenizer::open(path)?, folder::companion_files(path)?))
}

/// The moments in a checkpoint.
const OPTIMIZER: &str = "optimizer.safetensors";

/// Where a run stands, beside weights and moments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainState {
    /// Steps done over all stages. The order of examples is a function of it and the seed.
    pub step: u64,
    /// Updates of the optimiser.
    pub optimizer_step: u64,
    /// Target tokens learned from, over all stages.
    pub target_tokens: u64,
    /// The last stage's best validation so far.
    pub best: Option<Best>,
}

/// The best checkpoint of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// The stage, `language_model` or `sft`.
    pub stage: String,
    /// After this step.
    pub step: u64,
    /// Its validation loss, nats a target token.
    pub validation_loss: f64,
}

/// What the latest checkpoint holds, and its folder; none if there is none.
///
/// # Errors
/// As [`Checkpoints::latest`]; [`Error::Tensor`] if the moments do not cover every parameter.
pub fn load_latest(
    checkpoints: &Checkpoints,
    device: &Device,
) -> Result<Option<(Gpt2, AdamW, TrainState, PathBuf)>> {
    let Some(path) = checkpoints.latest()? else { return Ok(None) };
    let state: TrainState = load_state(&path)?;
    let model = folder::open(&path, device)?;
    let optimizer =
        load_optimizer(&path.join(OPTIMIZER), &model, Trainable::All, state.optimizer_step, device)?;
    Ok(Some((model, optimizer, state, path)))
}

/// Writes a checkpoint and makes it the latest; `files` go along with the model.
///
/// # Errors
/// As [`Checkpoints::save`].
pub fn save(
    checkpoints: &Checkpoints,
    model: &Gpt2,
    optimizer: &AdamW,
    state: &TrainState,
    files: &CompanionFiles,
) -> Result<()> {
    checkpoints.save(state.step, |path| {
        folder::save(model, path, files)?;
        save_optimizer(&path.join(OPTIMIZER), optimizer)?;
        save_state(path, state)
    })?;
    Ok(())
}

/// The stages of a run, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StageKind {
    LanguageModel,
    Sft,
}

impl StageKind {
    fn of(config: &SftConfig) -> impl Iterator<Item = Self> {
        let language_model = config.language_model.as_ref().map(|_| Self::LanguageModel);
        language_model.into_iter().chain(config.sft.as_ref().map(|_| Self::Sft))
    }

    fn name(self) -> &'static str {
        match self {
            Self::LanguageModel => "language_model",
            Self::Sft => "sft",
        }
    }

    fn training(self, config: &SftConfig) -> TrainingConfig {
        match self {
            Self::LanguageModel => config.language_model.as_ref().map(|stage| stage.training.clone()),
            Self::Sft => config.sft.as_ref().map(|stage| stage.training.clone()),
        }
        .unwrap_or_default()
    }
}

/// A stage with its data.
struct Stage {
    training: TrainingConfig,
    examples: Vec<Example>,
    plan: BatchPlan,
    validation: Vec<Example>,
    validation_targets: usize,
    /// Bytes of the validation's target text.
    validation_bytes: usize,
}

impl Stage {
    fn open(kind: StageKind, config: &SftConfig, tokenizer: &Tokenizer, n_positions: usize) -> Result<Self> {
        let training = kind.training(config);
        let seed = stage_seed(config.seed, kind.name());
        let (examples, mut validation) = match (kind, &config.language_model, &config.sft) {
            (StageKind::LanguageModel, Some(stage), _) => {
                if stage.block_size > n_positions {
                    return Err(Error::config(
                        "language_model.block_size",
                        format!("{} is over the context of {n_positions}", stage.block_size),
                    ));
                }
                let blocks = |paths: &[PathBuf]| -> Result<Vec<Example>> {
                    let mut texts = Vec::new();
                    for path in paths {
                        texts.extend(lines::read_texts(path, "text")?);
                    }
                    let blocks = text_blocks(&texts, tokenizer, stage.block_size, seed)?;
                    match (blocks.is_empty(), paths.first()) {
                        (true, Some(path)) => Err(Error::file(path, "no text")),
                        _ => Ok(blocks),
                    }
                };
                (blocks(&stage.text)?, blocks(&stage.validation)?)
            }
            (_, _, Some(stage)) => {
                let max_length = stage.max_length.min(n_positions + 1);
                let (examples, too_long) = read_pairs(&stage.train, tokenizer, max_length, stage.keep)?;
                if too_long > 0 {
                    tracing::warn!(too_long, max_length, "pairs left out for their length");
                }
                (examples, read_pairs(&stage.validation, tokenizer, max_length, stage.keep)?.0)
            }
            _ => return Err(Error::config(kind.name(), "is missing")),
        };
        if training.validation_examples > 0 {
            validation.truncate(training.validation_examples);
        }
        validation.sort_by_key(Example::input_len);
        let mut validation_bytes = 0;
        for example in &validation {
            validation_bytes += tokenizer.decode(&example.token_ids[example.loss_from..])?.len();
        }
        Ok(Self {
            plan: BatchPlan::new(&examples, training.batch_size, seed),
            validation_targets: validation.iter().map(Example::num_targets).sum(),
            validation_bytes,
            training,
            examples,
            validation,
        })
    }

    /// One update: gradients over the step's batch, then the optimiser.
    fn step(&mut self, model: Gpt2, optimizer: &mut AdamW, step: u64) -> Result<(Gpt2, Row)> {
        let batch: Vec<&Example> = self.plan.batch(step).iter().map(|&idx| &self.examples[idx]).collect();
        let target_tokens: usize = batch.iter().map(|example| example.num_targets()).sum();
        let mut gradients = Gradients::new();
        let mut loss_sum = 0.0;
        for micro_batch in micro_batches(&batch, self.training.micro_batch_tokens) {
            loss_sum += gradients::accumulate(&model, &micro_batch, &mut gradients)?;
        }
        let training = &self.training;
        let factor = training.lr_schedule.factor(step, training.warmup_steps, training.steps);
        let lr = training.learning_rate * factor;
        let adamw = AdamWConfig {
            betas: training.adam_betas,
            eps: training.adam_eps,
            weight_decay: training.weight_decay,
            max_grad_norm: training.max_grad_norm,
            decay: Decay::Matrices,
            trainable: Trainable::All,
        };
        let scale = 1.0 / target_tokens as f64;
        let (model, grad_norm) = optimizer.update(model, &gradients, scale, lr, &adamw)?;
        trunk::recycle(gradients);
        let row = Row {
            loss: loss_sum * scale,
            lr,
            grad_norm,
            epoch: step as f64 / self.plan.steps_per_epoch() as f64,
            target_tokens: target_tokens as u64,
            input_tokens: batch.iter().map(|example| example.input_len() as u64).sum(),
            validation: None,
        };
        Ok((model, row))
    }

    /// Nats a target token over the validation examples. A loss that is no number is an error, so that
    /// no checkpoint is written of a model that gives one.
    fn validate(&self, model: &Gpt2) -> Result<f64> {
        let examples: Vec<&Example> = self.validation.iter().collect();
        let mut loss_sum = 0.0;
        for micro_batch in micro_batches(&examples, self.training.micro_batch_tokens) {
            loss_sum += gradients::loss(model, &micro_batch)?;
        }
        let loss = loss_sum / self.validation_targets.max(1) as f64;
        match loss.is_finite() {
            true => Ok(loss),
            false => Err(Error::NotFinite(format!("the validation loss is {loss}"))),
        }
    }

    /// The validation loss in bits for each byte of the targets' text, ends of text included.
    fn bits_per_byte(&self, loss: f64) -> f64 {
        let bits = loss * self.validation_targets as f64 / std::f64::consts::LN_2;
        bits / self.validation_bytes.max(1) as f64
    }
}

/// What a step has to say.
struct Row {
    loss: f64,
    lr: f64,
    grad_norm: f64,
    epoch: f64,
    target_tokens: u64,
    input_tokens: u64,
    /// Nats a token and bits a byte.
    validation: Option<(f64, f64)>,
}

impl Row {
    fn to_json(&self, state: &TrainState, stage: &str, seconds: f64) -> Map<String, Value> {
        let mut row = Map::new();
        row.insert("step".into(), json!(state.step));
        row.insert("stage".into(), json!(stage));
        row.insert("train/loss".into(), json!(self.loss));
        row.insert("train/lr".into(), json!(self.lr));
        row.insert("train/grad_norm".into(), json!(self.grad_norm));
        row.insert("train/epoch".into(), json!(self.epoch));
        row.insert("train/target_tokens".into(), json!(state.target_tokens));
        if let Some((loss, bits_per_byte)) = self.validation {
            row.insert("validation/loss".into(), json!(loss));
            row.insert("validation/bits_per_byte".into(), json!(bits_per_byte));
        }
        row.insert("perf/seconds".into(), json!(seconds));
        row.insert("perf/tokens_per_second".into(), json!(self.input_tokens as f64 / seconds));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
        row.insert("perf/unix_time".into(), json!(now));
        row
    }
}
