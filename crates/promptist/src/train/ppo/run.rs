//! `promptist train ppo`: the run.
//!
//! A run is a folder: `config.toml`, `metrics.jsonl` (a row a round), `events/`, `samples.jsonl` (each
//! evaluation), `checkpoints/`, `stop.json` if the guard stopped it, and at the end `model/`, the best
//! checkpoint as a model folder.

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use burn::tensor::Device;
use serde_json::{Map, Value, json};

use super::config::PpoConfig;
use super::evaluation::{Evaluation, Judges};
use super::experience::{self, Experience, Models};
use super::guard::Stop;
use super::kl::{self, Controller};
use super::prompts::Prompts;
use super::rollout::{Explorer, Response};
use super::scoring::{ScoredRound, explore_and_score};
use super::state::{self, PpoState};
use super::text_statistics::TextStatistics;
use super::update::{Learner, StepLosses};
use crate::atomic::write_atomic;
use crate::engine::EngineOptions;
use crate::error::{Error, Result};
use crate::generator::Cancel;
use crate::gpt2::Gpt2;
use crate::gpt2::folder::{self, CompanionFiles};
use crate::model_source::ModelFiles;
use crate::nn::cpu;
use crate::progress::Progress;
use crate::prompter::{Backend, Prompter};
use crate::reward::{Pair, TermScores};
use crate::train::checkpoint::Checkpoints;
use crate::train::metrics::{Metrics, RowFile};
use crate::train::run_folder;
use crate::train::trunk::KeepMemory;

/// What a run needs beside its config.
pub struct PpoContext<'a> {
    /// The run folder.
    pub run: &'a Path,
    /// Whether the folder is an earlier run to continue.
    pub resume: bool,
    /// The folder that the config's `model` resolved to.
    pub model_folder: &'a Path,
    /// What is paid for and what is watched.
    pub judges: Judges<'a>,
    /// Where to train.
    pub device: Device,
    /// Threads of the decoder on a CPU.
    pub num_threads: usize,
    /// Told of every round.
    pub progress: &'a dyn Progress,
    /// Raised to stop: what is saved then is the last round that was finished.
    pub cancel: &'a Cancel,
}

/// Trains, and returns the folder of the best model.
///
/// # Errors
/// [`Error::Config`] if a setting does not fit the model; [`Error::File`] if the run folder exists and is not
/// to be resumed, or holds another config; [`Error::Interrupted`] if `cancel` was raised; whatever exploring,
/// scoring, learning and saving run into. What was saved before stays.
pub fn train(config: &PpoConfig, context: &PpoContext) -> Result<PathBuf> {
    run_folder::open(context.run, config, context.resume)?;
    let mut run = Run::open(config, context)?;
    context.progress.begin("ppo", Some(config.rounds), "rounds");
    context.progress.advance(run.state.step, "");
    if !run.is_saved {
        let mut row = run.row();
        run.evaluate(&mut row)?;
        run.metrics.write(row)?;
        run.save()?;
    }
    while run.state.step < config.rounds && run.state.stop.is_none() {
        run.round()?;
    }
    context.progress.end();
    if let Some(stop) = &run.state.stop {
        let json = serde_json::to_vec_pretty(stop).map_err(|e| Error::file(context.run, e.to_string()))?;
        write_atomic(context.run.join("stop.json"), |file| file.write_all(&json))?;
        tracing::warn!(step = stop.step, measure = stop.measure, "stopped: {}", stop.reason);
    }
    run.checkpoints.export(context.run, run.best_round())
}

/// A run under way.
struct Run<'a> {
    config: &'a PpoConfig,
    context: &'a PpoContext<'a>,
    checkpoints: Checkpoints,
    metrics: Metrics,
    samples: RowFile,
    prompts: Prompts,
    explorer: Explorer,
    reference: Gpt2,
    /// Taken while it learns.
    learner: Option<Learner>,
    state: PpoState,
    files: CompanionFiles,
    /// Whether the latest checkpoint is of this state.
    is_saved: bool,
}

impl<'a> Run<'a> {
    fn open(config: &'a PpoConfig, context: &'a PpoContext<'a>) -> Result<Self> {
        let backend = match cpu::is_cpu(&context.device) {
            true => Backend::Engine {
                precision: Some(config.exploration.precision),
                isa: EngineOptions::default().isa,
                num_threads: context.num_threads,
            },
            false => Backend::TensorLibrary(context.device.clone()),
        };
        let prompter = Prompter::open(&ModelFiles::folder(context.model_folder), &backend)?;
        let reference_sha256 = prompter.identity().sha256.clone();
        let keep = config.keep.unwrap_or(prompter.default_keep());
        let explorer = Explorer::new(prompter, keep, config.exploration.clone(), config.seed)?;
        let reference = folder::open(context.model_folder, &context.device)?;
        let prompts = open_prompts(config, &explorer)?;

        let checkpoints = Checkpoints::new(context.run)?;
        let (shared_trunk, trainable) = (config.ppo.shared_trunk, config.ppo.trainable());
        let resumed = match context.resume {
            true => state::load_latest(
                &checkpoints,
                (shared_trunk, trainable),
                &reference_sha256,
                &context.device,
            )?,
            false => None,
        };
        let is_saved = resumed.is_some();
        let (learner, state, files) = match resumed {
            Some(resumed) => resumed,
            None => {
                let learner = state::start(context.model_folder, shared_trunk, config.seed, &context.device)?;
                let state = PpoState {
                    step: 0,
                    policy_updates: 0,
                    value_updates: 0,
                    samples: 0,
                    dropped: 0,
                    kl: Controller { coefficient: config.kl.coefficient },
                    guard: Default::default(),
                    stop: None,
                    reference_sha256,
                };
                (learner, state, folder::companion_files(context.model_folder)?)
            }
        };
        let step = is_saved.then_some(state.step);
        Ok(Self {
            config,
            context,
            checkpoints,
            metrics: Metrics::open(context.run, step)?,
            samples: RowFile::open(&context.run.join("samples.jsonl"), step)?.0,
            prompts,
            explorer,
            reference,
            learner: Some(learner),
            state,
            files,
            is_saved,
        })
    }

    fn learner(&self) -> Result<&Learner> {
        self.learner.as_ref().ok_or_else(|| Error::Shape("a round failed while it was learned from".into()))
    }

    /// One round, from its prompts to its checkpoint.
    fn round(&mut self) -> Result<()> {
        let (config, cancel) = (self.config, self.context.cancel);
        let started = Instant::now();
        let round = self.state.step;
        let prompts = self.prompts.round(round);

        let policy = self.learner()?.policy.clone();
        self.explorer.refresh(&policy)?;
        drop(policy);
        let scored = explore_and_score(
            &self.explorer,
            self.context.judges.reward,
            (&prompts, round, config.exploration.chunk_size),
            self.context.progress,
            cancel,
        );
        let scored = match scored {
            // Nothing has moved since the last round: that is what is kept.
            Err(error) => return self.save().and(Err(error)),
            Ok(scored) => scored,
        };

        let learning = Instant::now();
        let (responses, scores) = split_scored(&scored)?;
        let learner = self.learner()?;
        let experiences = experience::collect(
            Models { policy: &learner.policy, reference: &self.reference, value: &learner.value },
            responses.iter().map(|response| response.example.clone()).collect(),
            &scores.iter().map(|scores| scores.total).collect::<Vec<_>>(),
            self.state.kl.coefficient,
            config,
        )?;
        let kl_coefficient = self.state.kl.coefficient;
        let losses = self.learn(&experiences, round)?;
        let update_seconds = learning.elapsed().as_secs_f64();

        self.state.step += 1;
        self.state.samples += experiences.len() as u64;
        self.state.dropped += (scored.responses.len() - experiences.len()) as u64;
        self.is_saved = false;
        let mut row = self.row();
        self.describe(&mut row, &scored, &scores, &responses);
        describe_update(&mut row, &experiences, &losses, kl_coefficient);
        row.insert("perf/generate_seconds".into(), json!(scored.generate_seconds));
        row.insert("perf/score_seconds".into(), json!(scored.score_seconds));
        row.insert("perf/score_wait_seconds".into(), json!(scored.wait_seconds));
        row.insert("perf/update_seconds".into(), json!(update_seconds));
        let is_last = self.state.step == config.rounds;
        let is_measured = is_last || self.state.step.is_multiple_of(config.evaluation.every);
        if is_measured {
            self.evaluate(&mut row)?;
        }
        let seconds = started.elapsed().as_secs_f64();
        row.insert("perf/seconds".into(), json!(seconds));
        row.insert("perf/samples_per_second".into(), json!(scored.responses.len() as f64 / seconds));
        let note = format!(
            "reward {:.3} · kl {:.2} · {:.1} samples/s",
            row["reward/mean"].as_f64().unwrap_or(f64::NAN),
            row["ppo/kl"].as_f64().unwrap_or(f64::NAN),
            scored.responses.len() as f64 / seconds
        );
        self.metrics.write(row)?;
        let is_due = self.state.step.is_multiple_of(config.checkpoint_every);
        if is_measured || is_due || self.state.stop.is_some() {
            self.save()?;
        }
        self.context.progress.advance(1, &note);
        if cancel.is_raised() {
            self.save()?;
            return Err(Error::Interrupted);
        }
        Ok(())
    }

    /// The epochs over a round; returns the losses of every step.
    fn learn(&mut self, experiences: &[Experience], round: u64) -> Result<Vec<StepLosses>> {
        let config = self.config;
        let (epochs, minibatches) = (config.ppo.epochs, config.ppo.minibatches);
        let learn_policy = round >= config.ppo.value_warmup_rounds;
        let all: Vec<&Experience> = experiences.iter().collect();
        let _keep_memory = KeepMemory::new();
        let mut losses = Vec::with_capacity(epochs * minibatches);
        for epoch in 0..epochs {
            for minibatch in all.chunks(all.len().div_ceil(minibatches)) {
                let done = losses.len() + 1;
                let note = format!("round {}: update {done}/{}", round + 1, epochs * minibatches);
                self.context.progress.advance(0, &note);
                let Some(learner) = self.learner.take() else {
                    return Err(Error::Shape("a learner is at work already".into()));
                };
                let (learner, step) = learner.step(minibatch, learn_policy, config)?;
                self.learner = Some(learner);
                self.state.policy_updates += u64::from(learn_policy);
                self.state.value_updates += 1;
                losses.push(step);
            }
            let kl = &config.kl;
            if kl.adaptive && config.compat.kl_to_old_policy {
                let to_old = losses.last().map_or(0.0, |losses| losses.kl_to_old);
                self.state.kl.update(to_old, experiences.len(), kl.target, kl.horizon);
            } else if kl.adaptive && epoch + 1 == epochs {
                let to_reference = mean(experiences.iter().map(kl_of));
                self.state.kl.update(to_reference, experiences.len(), kl.target, kl.horizon);
            }
        }
        Ok(losses)
    }

    /// Measures the policy on the validation prompts, asks the guard, and writes samples.
    fn evaluate(&mut self, row: &mut Map<String, Value>) -> Result<()> {
        let config = self.config;
        if self.prompts.validation().is_empty() {
            return Ok(());
        }
        self.context.progress.advance(0, &format!("round {}: evaluation", self.state.step));
        let policy = self.learner()?.policy.clone();
        self.explorer.refresh(&policy)?;
        let evaluation = Evaluation::run(
            &self.explorer,
            (&policy, &self.reference),
            self.prompts.validation(),
            &self.context.judges,
            &config.evaluation,
            config.ppo.micro_batch_tokens,
            self.context.cancel,
        )?;
        evaluation.add_to(row);
        for sample in evaluation.samples(self.state.step) {
            self.samples.write(&sample)?;
        }
        let step = self.state.step;
        let fall = self.state.guard.observe(step, &evaluation.reward(), &evaluation.held_out);
        if let Some(fall) = fall.filter(|_| config.evaluation.stop) {
            let best_step = self.best_round();
            self.state.stop = Some(Stop { step, measure: fall.measure, reason: fall.reason, best_step });
        }
        Ok(())
    }

    /// The round whose checkpoint is the model: the best by the first held-out measure, else by the reward;
    /// the last if nothing was measured.
    fn best_round(&self) -> u64 {
        let first = self.config.held_out.first().map(|term| term.name.as_str());
        self.state.guard.best_round(first).unwrap_or(self.state.step)
    }

    /// Saves what there is, unless that was done.
    fn save(&mut self) -> Result<()> {
        if self.is_saved {
            return Ok(());
        }
        self.metrics.sync()?;
        self.samples.sync()?;
        state::save(&self.checkpoints, self.learner()?, &self.state, &self.files)?;
        self.checkpoints.prune(self.config.keep_checkpoints, Some(self.best_round()))?;
        self.is_saved = true;
        Ok(())
    }

    fn row(&self) -> Map<String, Value> {
        let mut row = Map::new();
        row.insert("step".into(), json!(self.state.step));
        row.insert("stage".into(), json!("ppo"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
        row.insert("perf/unix_time".into(), json!(now));
        row
    }

    /// What the round's answers were like and worth.
    fn describe(
        &self,
        row: &mut Map<String, Value>,
        round: &ScoredRound,
        scores: &[&TermScores],
        responses: &[&Response],
    ) {
        let totals: Vec<Option<f64>> = scores.iter().map(|scores| Some(scores.total)).collect();
        if let Some((mean, error)) = super::guard::mean_and_error(&totals) {
            row.insert("reward/mean".into(), json!(mean));
            row.insert("reward/standard_error".into(), json!(error));
        }
        for (idx, name) in self.context.judges.reward.names().enumerate() {
            let term = mean(scores.iter().map(|scores| scores.terms[idx]));
            row.insert(format!("reward/{name}"), json!(term));
        }
        row.insert("reward/dropped".into(), json!(round.responses.len() - scores.len()));
        if let Some(reason) = round.scores.iter().find_map(|score| score.as_ref().err()) {
            row.insert("reward/first_failure".into(), json!(reason));
        }
        let pairs: Vec<&Pair> = responses.iter().map(|response| &response.pair).collect();
        let texts = TextStatistics::of(pairs.into_iter());
        let lengths = responses.iter().map(|response| response.example.num_targets() as f64);
        let cut = responses.iter().filter(|response| response.is_cut).count();
        for (name, value) in [
            ("length", mean(lengths)),
            ("cut_share", cut as f64 / responses.len().max(1) as f64),
            ("distinct_1", texts.distinct_1),
            ("distinct_2", texts.distinct_2),
            ("artist_share", texts.artist_share),
            ("kept", texts.kept),
            ("degenerate", texts.degenerate),
        ] {
            row.insert(format!("text/{name}"), json!(value));
        }
        row.insert("text/top_phrases".into(), json!(texts.top_phrases));
    }
}

/// The prompts that leave room for the longest answer.
fn open_prompts(config: &PpoConfig, explorer: &Explorer) -> Result<Prompts> {
    let n_positions = explorer.prompter().config().n_positions;
    // One more for the state after the last token, which `compat.value_after_token` looks at.
    let room = n_positions.saturating_sub(config.exploration.max_new_tokens.1 + 1);
    if room < 2 {
        let reason = format!("leaves no room for a prompt in a context of {n_positions}");
        return Err(Error::config("exploration.max_new_tokens", reason));
    }
    let mut limits = config.prompts.clone();
    limits.max_tokens = limits.max_tokens.min(room);
    let keep = explorer.keep();
    let prompts =
        Prompts::open(&limits, config.seed, |text| Ok(explorer.prompter().prompt_for(text, keep)?.len()))?;
    let left_out = prompts.left_out();
    tracing::info!(
        prompts = prompts.num_training(),
        validation = prompts.validation().len(),
        left_out.too_long,
        left_out.not_safe,
        left_out.repeated,
        "prompts"
    );
    Ok(prompts)
}

/// The responses that have scores, and these.
fn split_scored(round: &ScoredRound) -> Result<(Vec<&Response>, Vec<&TermScores>)> {
    let scored = round.responses.iter().zip(&round.scores);
    let (responses, scores): (Vec<&Response>, Vec<&TermScores>) =
        scored.filter_map(|(response, score)| Some((response, score.as_ref().ok()?))).unzip();
    match (responses.is_empty(), round.scores.iter().find_map(|score| score.as_ref().err())) {
        (true, reason) => {
            let reason = reason.map_or("there is none", String::as_str);
            Err(Error::Decoding(format!("no answer of the round could be scored: {reason}")))
        }
        _ => Ok((responses, scores)),
    }
}

/// What the update did.
fn describe_update(
    row: &mut Map<String, Value>,
    experiences: &[Experience],
    losses: &[StepLosses],
    kl_coefficient: f64,
) {
    let tokens: usize = experiences.iter().map(|experience| experience.example.num_targets()).sum();
    let kl = mean(experiences.iter().map(kl_of));
    let over_steps = |value: &dyn Fn(&StepLosses) -> f64| mean(losses.iter().map(value));
    let last = losses.last().copied().unwrap_or_default();
    for (name, value) in [
        ("policy_loss", over_steps(&|step| step.policy_loss)),
        ("value_loss", over_steps(&|step| step.value_loss)),
        ("kl", kl),
        ("kl_per_token", kl * experiences.len() as f64 / tokens.max(1) as f64),
        ("kl_coefficient", kl_coefficient),
        ("approx_kl_old", last.approx_kl),
        ("clip_fraction", over_steps(&|step| step.clip_fraction)),
        ("value_clip_fraction", over_steps(&|step| step.value_clip_fraction)),
        ("entropy", losses.first().map_or(0.0, |step| step.entropy)),
        ("explained_variance", explained_variance(experiences)),
        ("grad_norm", over_steps(&|step| step.grad_norm)),
        ("value_grad_norm", over_steps(&|step| step.value_grad_norm)),
    ] {
        row.insert(format!("ppo/{name}"), json!(value));
    }
}

fn kl_of(experience: &Experience) -> f64 {
    kl::of_response(&experience.logprobs, &experience.reference_logprobs)
}

/// `1 − Var(R − V) / Var(R)` over tokens: 1 if values foretell returns, 0 if a constant would do as well.
fn explained_variance(experiences: &[Experience]) -> f64 {
    let variance = |values: &[f64]| {
        let mean = mean(values.iter().copied());
        values.iter().map(|value| (value - mean).powi(2)).sum::<f64>()
    };
    let returns: Vec<f64> = experiences.iter().flat_map(|experience| experience.returns.clone()).collect();
    let errors: Vec<f64> = experiences
        .iter()
        .flat_map(|experience| experience.returns.iter().zip(&experience.values).map(|(r, v)| r - v))
        .collect();
    let of_returns = variance(&returns);
    if of_returns > 0.0 { 1.0 - variance(&errors) / of_returns } else { 0.0 }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut n) = (0.0, 0);
    for value in values {
        sum += value;
        n += 1;
    }
    sum / f64::from(n.max(1))
}
