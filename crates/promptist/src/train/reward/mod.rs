//! `promptist train reward`: fits a text reward and says how good it is.
//!
//! ```text
//! pairs, plain text -> half -> people's answers, spoilt ones, the prompter's own -> features -> fit
//!     -> calibrate on other targets -> report on yet others, and on human ratings -> card
//! ```
//!
//! A run is a folder: `config.toml`, `report.json`, `card.md`, `examples.jsonl` (what was reported on, with its
//! scores) and `model/`, which is renamed into place last: a run with it is whole. A fit takes minutes and keeps
//! nothing in between; resumed, it begins again and comes to the same bits.

pub mod card;
pub mod config;
pub mod examples;
pub mod measures;
pub mod ratings;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use serde_json::json;

use self::config::{Half, RewardFitConfig};
use self::examples::{Kind, RewardExample, Texts, drawn, of_every_kind};
use self::measures::{Classification, Scored, auc, calibrate};
use self::ratings::RatingReport;
use crate::atomic::write_atomic;
use crate::decoding::RawDecodingSettings;
use crate::error::{Error, Result};
use crate::eval::text::commonest;
use crate::model_source::ModelFiles;
use crate::progress::Progress;
use crate::prompter::{AdaptRequest, Backend, ModelIdentity, Prompter};
use crate::reward::text::additions::AddedText;
use crate::reward::text::mlp::{Labelled, Mlp, MlpFit};
use crate::reward::text::ngrams::{self, Linear, LinearFit};
use crate::reward::text::trunk::Trunk;
use crate::reward::text::{Calibration, Family, RewardInfo, Scorer, bounded};
use crate::reward::{Pair, Retention, TextReward};
use crate::statistics::{Interval, bootstrap_mean};
use crate::train::run_folder;

/// Examples read between two looks at the stop flag.
const CHUNK: usize = 64;

/// The low temperature.
const COLD: f64 = 0.3;

/// What a run needs beside its config.
pub struct FitContext<'a> {
    /// The run folder.
    pub run: &'a Path,
    /// Whether the folder is an earlier run.
    pub resume: bool,
    /// The files of the config's `model`.
    pub model: &'a ModelFiles,
    /// Threads of the engine. No result depends on them.
    pub num_threads: usize,
    /// Told how far the work is.
    pub progress: &'a dyn Progress,
    /// Set to stop at the next chance with [`Error::Interrupted`].
    pub stop: &'a AtomicBool,
}

/// `report.json`.
#[derive(Debug, Clone, Serialize)]
pub struct FitReport {
    /// Of this program.
    pub version: &'static str,
    /// What was asked for.
    pub config: RewardFitConfig,
    /// The prompter.
    pub model: ModelIdentity,
    /// Examples fitted on, calibrated on, reported on.
    pub examples: [usize; 3],
    /// Targets fitted on, calibrated on, reported on.
    pub targets: [usize; 3],
    /// Lines like one that must stay unseen, left out.
    pub excluded: usize,
    /// On targets that the fit never saw.
    pub held_out: Option<Classification>,
    /// The same on what it was fitted on; far better than `held_out` is overfitting.
    pub fitted: Option<Classification>,
    /// Scores by where an answer comes from, on held-out targets.
    pub kinds: Vec<KindReport>,
    /// Scores by how many stock phrases are put behind an input: a reward that rises with them is easy to cheat.
    pub stuffing: Vec<StuffingReport>,
    /// Against what people thought of pictures.
    pub ratings: Option<RatingReport>,
}

/// Scores of answers of one kind.
#[derive(Debug, Clone, Serialize)]
pub struct KindReport {
    /// Where they come from.
    pub kind: Kind,
    /// Mean score, with its interval.
    pub score: Option<Interval>,
    /// Chance that a person's answer scores higher; none for people's own.
    pub auc: Option<f64>,
}

/// Scores of inputs with a number of stock phrases.
#[derive(Debug, Clone, Serialize)]
pub struct StuffingReport {
    /// The commonest phrases of the fitted targets, the commonest first.
    pub phrases: usize,
    /// Mean score behind held-out inputs of targets.
    pub inputs: Option<Interval>,
    /// Mean score behind plain text.
    pub plain: Option<Interval>,
}

/// Fits a reward and returns its folder.
///
/// # Errors
/// [`Error::Config`] or [`Error::File`] if the run folder exists and is not to be resumed, or holds another
/// config; [`Error::Interrupted`] after `stop`; whatever reading and writing run into.
pub fn fit(config: &RewardFitConfig, context: &FitContext) -> Result<PathBuf> {
    run_folder::open(context.run, config, context.resume)?;
    let model_folder = context.run.join("model");
    if model_folder.exists() {
        return TextReward::open(&model_folder, context.num_threads).map(|_| model_folder);
    }
    let texts = Texts::read(&config.data, config.half, config.seed, context.progress)?;
    let with_model = config.contrast.model_weight > 0.0;
    let seed = |part: u64| config.seed.wrapping_mul(1000).wrapping_add(part);
    let mut train = drawn(&texts.train, &texts.plain, &config.contrast, seed(1));
    let mut validation = drawn(&texts.validation, &texts.plain, &config.contrast, seed(2));
    let mut test = of_every_kind(&texts.test, &texts.plain, with_model, seed(3));
    let sampler = Sampler::open(context, seed(4))?;
    for examples in [&mut train, &mut validation, &mut test] {
        sampler.fill(examples)?;
    }

    let (scorer, fitted) = match config.family {
        Family::Trunk => fit_trunk(config, context, &train)?,
        Family::Ngrams => fit_ngrams(config, &train),
    };
    let raw = score(&scorer, &validation, "calibrate", context)?;
    let calibration = calibrate(&scored(&validation, &raw));
    let (trunk_name, trunk_sha256) = match &scorer {
        Scorer::Trunk { trunk, .. } => (Some(trunk.name().to_owned()), Some(trunk.sha256().to_owned())),
        Scorer::Ngrams(_) => (None, None),
    };
    let half = match config.half {
        Half::A => "a",
        Half::B => "b",
    };
    let reward = TextReward {
        scorer,
        calibration,
        info: RewardInfo {
            family: config.family,
            half: half.to_owned(),
            seed: config.seed,
            trunk_sha256,
            trunk_name,
        },
    };

    let log_odds = |raw: Vec<f64>| raw.into_iter().map(|z| calibration.a * z + calibration.b).collect();
    let test_log_odds: Vec<f64> = log_odds(score(&reward.scorer, &test, "report", context)?);
    let fitted: Vec<f64> = log_odds(fitted);
    let report = FitReport {
        version: env!("CARGO_PKG_VERSION"),
        config: config.clone(),
        model: sampler.prompter.identity().clone(),
        examples: [train.len(), validation.len(), test.len()],
        targets: [texts.train.len(), texts.validation.len(), texts.test.len()],
        excluded: texts.excluded,
        held_out: Classification::of(&scored(&test, &test_log_odds)),
        fitted: Classification::of(&scored(&train, &fitted)),
        kinds: kinds(&test, &test_log_odds, config),
        stuffing: stuffing(&reward, &texts, config, context)?,
        ratings: rating_report(&reward, config, context)?,
    };
    write_run(context, &reward, &report, &test, &test_log_odds, calibration)
}

/// Writes answers that are no person's: the prompter's, at temperature 1 without guidance, as a policy explores; as
/// users get them; and at a low temperature. Guided answers fit their inputs better than people's own do; without them among
/// what is told apart, a reward takes ever more of that for ever better. Cold answers are stock phrases, much the same
/// for any input; without them a policy is paid for collapsing. (Greedy ones teach less: they repeat themselves, and a
/// reward learns that instead.)
struct Sampler<'a> {
    prompter: Prompter,
    context: &'a FitContext<'a>,
    seed: u64,
}

impl<'a> Sampler<'a> {
    fn open(context: &'a FitContext<'a>, seed: u64) -> Result<Self> {
        let backend = Backend::Engine { precision: None, isa: None, num_threads: context.num_threads };
        Ok(Self { prompter: Prompter::open(context.model, &backend)?, context, seed })
    }

    /// Samples the answers that are still missing.
    fn fill(&self, examples: &mut [RewardExample]) -> Result<()> {
        for kind in Kind::SAMPLED {
            self.fill_kind(kind, examples)?;
        }
        Ok(())
    }

    fn fill_kind(&self, kind: Kind, examples: &mut [RewardExample]) -> Result<()> {
        let unguided = |decoding: RawDecodingSettings| AdaptRequest {
            decoding: RawDecodingSettings {
                num_beams: Some(1),
                seed: Some(self.seed),
                top_p: Some(1.0),
                top_k: Some(0),
                ..decoding
            },
            guidance_scale: Some(1.0),
            vary_rows: true,
            ..AdaptRequest::default()
        };
        let settings = self.prompter.settings(&match kind {
            Kind::Guided => AdaptRequest {
                decoding: RawDecodingSettings { seed: Some(self.seed), ..RawDecodingSettings::default() },
                filter: true,
                vary_rows: true,
                ..AdaptRequest::default()
            },
            Kind::Cold => unguided(RawDecodingSettings {
                do_sample: Some(true),
                temperature: Some(COLD),
                ..RawDecodingSettings::default()
            }),
            _ => unguided(RawDecodingSettings {
                do_sample: Some(true),
                temperature: Some(1.0),
                ..RawDecodingSettings::default()
            }),
        })?;
        let mut missing: Vec<&mut RewardExample> =
            examples.iter_mut().filter(|example| example.kind == kind).collect();
        let progress = self.context.progress;
        progress.begin("sample the prompter", Some(missing.len() as u64), "prompts");
        let mut first_row = 0;
        for batch in missing.chunks_mut(CHUNK) {
            check(self.context)?;
            let inputs: Vec<String> = batch.iter().map(|e| e.pair.user_input.clone()).collect();
            let answers = self.prompter.adapt(&inputs, &settings, first_row);
            first_row += inputs.len() as u64;
            for (example, answer) in batch.iter_mut().zip(answers) {
                // An input too long to be adapted stays as it is.
                let output = answer.ok().and_then(|adapted| adapted.outputs.into_iter().next());
                example.pair.adapted_prompt =
                    output.map_or_else(|| example.pair.user_input.clone(), |output| output.text);
            }
            progress.advance(batch.len() as u64, "");
        }
        progress.end();
        Ok(())
    }
}

/// The fitted head, and its raw numbers for what it was fitted on.
fn fit_trunk(
    config: &RewardFitConfig,
    context: &FitContext,
    train: &[RewardExample],
) -> Result<(Scorer, Vec<f64>)> {
    let trunk = Box::new(Trunk::open(context.model, context.num_threads)?);
    let mut features = Vec::with_capacity(train.len());
    context.progress.begin("read examples", Some(train.len() as u64), "pairs");
    for examples in train.chunks(CHUNK) {
        check(context)?;
        features.extend(trunk.features(&added(examples))?);
        context.progress.advance(examples.len() as u64, "");
    }
    context.progress.end();
    let labelled: Vec<Labelled> = features
        .iter()
        .zip(train)
        .map(|(features, example)| Labelled { features, label: example.label(), weight: example.weight })
        .collect();
    let head = &config.trunk;
    let settings = MlpFit {
        hidden: head.hidden,
        epochs: head.epochs,
        batch_size: head.batch_size,
        learning_rate: head.learning_rate,
        weight_decay: head.weight_decay,
        seed: config.seed,
    };
    let head = Mlp::fit(&labelled, &settings);
    let raw = features.iter().map(|features| head.forward(features)).collect();
    Ok((Scorer::Trunk { trunk, head }, raw))
}

fn fit_ngrams(config: &RewardFitConfig, train: &[RewardExample]) -> (Scorer, Vec<f64>) {
    let examples: Vec<(ngrams::Sparse, f64, f64)> = train
        .iter()
        .map(|example| (ngrams::features(&AddedText::of(&example.pair)), example.label(), example.weight))
        .collect();
    let ngrams = &config.ngrams;
    let settings = LinearFit {
        epochs: ngrams.epochs,
        learning_rate: ngrams.learning_rate,
        l2: ngrams.l2,
        seed: config.seed,
    };
    let linear = Linear::fit(&examples, &settings);
    let raw = examples.iter().map(|(features, _, _)| linear.forward(features)).collect();
    (Scorer::Ngrams(linear), raw)
}

fn added(examples: &[RewardExample]) -> Vec<AddedText> {
    examples.iter().map(|example| AddedText::of(&example.pair)).collect()
}

fn score(scorer: &Scorer, examples: &[RewardExample], stage: &str, context: &FitContext) -> Result<Vec<f64>> {
    let mut raw = Vec::with_capacity(examples.len());
    context.progress.begin(stage, Some(examples.len() as u64), "pairs");
    for examples in examples.chunks(CHUNK) {
        check(context)?;
        raw.extend(scorer.raw(&added(examples))?);
        context.progress.advance(examples.len() as u64, "");
    }
    context.progress.end();
    Ok(raw)
}

fn scored(examples: &[RewardExample], log_odds: &[f64]) -> Vec<Scored> {
    examples
        .iter()
        .zip(log_odds)
        .map(|(example, &log_odds)| Scored { log_odds, label: example.label(), weight: example.weight })
        .collect()
}

fn kinds(examples: &[RewardExample], log_odds: &[f64], config: &RewardFitConfig) -> Vec<KindReport> {
    let mut by_kind: BTreeMap<Kind, Vec<f64>> = BTreeMap::new();
    for (example, &log_odds) in examples.iter().zip(log_odds) {
        by_kind.entry(example.kind).or_default().push(log_odds);
    }
    let human = by_kind.get(&Kind::Human).cloned().unwrap_or_default();
    let against = |others: &[f64]| {
        let scored = |values: &[f64], label: f64| -> Vec<Scored> {
            values.iter().map(|&log_odds| Scored { log_odds, label, weight: 1.0 }).collect()
        };
        auc(&[scored(&human, 1.0), scored(others, 0.0)].concat())
    };
    by_kind
        .iter()
        .map(|(&kind, values)| {
            let scores: Vec<f64> = values.iter().map(|&log_odds| bounded(log_odds)).collect();
            KindReport {
                kind,
                score: bootstrap_mean(&scores, config.resamples, config.seed),
                auc: if kind == Kind::Human { None } else { against(values) },
            }
        })
        .collect()
}

/// The most common phrases, more and more of them, behind inputs of both sorts.
fn stuffing(
    reward: &TextReward,
    texts: &Texts,
    config: &RewardFitConfig,
    context: &FitContext,
) -> Result<Vec<StuffingReport>> {
    const COUNTS: [usize; 8] = [0, 1, 2, 4, 8, 12, 16, 24];
    const INPUTS: usize = 64;
    let phrases: Vec<Vec<String>> = texts
        .train
        .iter()
        .map(|target| target.phrases.iter().map(|phrase| phrase.to_lowercase()).collect())
        .collect();
    let most = COUNTS.last().copied().unwrap_or(0);
    let stock = commonest(phrases.iter().map(|phrases| phrases.iter()), phrases.len(), most);
    let score = |inputs: &[&str], count: usize| -> Result<Option<Interval>> {
        check(context)?;
        let addition: String = stock.iter().take(count).map(|common| format!(", {}", common.text)).collect();
        let pair = |input: &&str| Pair {
            user_input: (*input).to_owned(),
            adapted_prompt: format!("{input}{addition}"),
        };
        let log_odds = reward.log_odds(&inputs.iter().map(pair).collect::<Vec<_>>())?;
        let scores: Vec<f64> = log_odds.into_iter().map(bounded).collect();
        Ok(bootstrap_mean(&scores, config.resamples, config.seed))
    };
    let inputs: Vec<&str> = texts.test.iter().take(INPUTS).map(|t| t.user_input.as_str()).collect();
    let plain: Vec<&str> = texts.plain.iter().take(INPUTS).map(String::as_str).collect();
    COUNTS
        .iter()
        .map(|&count| {
            Ok(StuffingReport {
                phrases: count,
                inputs: score(&inputs, count)?,
                plain: score(&plain, count)?,
            })
        })
        .collect()
}

/// `None` where the file of ratings is missing.
fn rating_report(
    reward: &TextReward,
    config: &RewardFitConfig,
    context: &FitContext,
) -> Result<Option<RatingReport>> {
    let Some(path) = &config.ratings else {
        return Ok(None);
    };
    if !path.is_file() {
        tracing::warn!(path = %path.display(), "no such file: nothing is said of human ratings");
        return Ok(None);
    }
    let ratings = ratings::read(path)?;
    let mut prompts: Vec<&Pair> = ratings.iter().map(|rating| &rating.pair).collect();
    prompts.sort_unstable_by(|a, b| a.adapted_prompt.cmp(&b.adapted_prompt));
    prompts.dedup();
    let mut scores: BTreeMap<&str, f64> = BTreeMap::new();
    for pairs in prompts.chunks(CHUNK) {
        check(context)?;
        let owned: Vec<Pair> = pairs.iter().map(|&pair| pair.clone()).collect();
        for (pair, log_odds) in pairs.iter().zip(reward.log_odds(&owned)?) {
            scores.insert(&pair.adapted_prompt, log_odds);
        }
    }
    let scores: Vec<f64> = ratings.iter().map(|rating| scores[rating.pair.adapted_prompt.as_str()]).collect();
    Ok(Some(RatingReport::of(&ratings, &scores, config.resamples, config.seed)))
}

fn write_run(
    context: &FitContext,
    reward: &TextReward,
    report: &FitReport,
    test: &[RewardExample],
    log_odds: &[f64],
    calibration: Calibration,
) -> Result<PathBuf> {
    let run = context.run;
    write_atomic(run.join("examples.jsonl"), |file| {
        test.iter().zip(log_odds).try_for_each(|(example, &log_odds)| {
            let line = json!({
                "kind": example.kind,
                "user_input": example.pair.user_input,
                "adapted_prompt": example.pair.adapted_prompt,
                "log_odds": log_odds,
                "score": bounded(log_odds),
                "retention": Retention::of(&example.pair),
            });
            writeln!(file, "{line}")
        })
    })?;
    let json = serde_json::to_vec_pretty(report).map_err(|e| Error::file(run, e.to_string()))?;
    write_atomic(run.join("report.json"), |file| file.write_all(&json))?;
    let card = card::render(report, calibration);
    write_atomic(run.join("card.md"), |file| file.write_all(card.as_bytes()))?;

    let (folder, unfinished) = (run.join("model"), run.join("model.unfinished"));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(Error::io(&unfinished))?;
    }
    reward.save(&unfinished, Some(context.model))?;
    fs::rename(&unfinished, &folder).map_err(Error::io(&folder))?;
    crate::atomic::sync_folder(run).map_err(Error::io(run))?;
    Ok(folder)
}

fn check(context: &FitContext) -> Result<()> {
    match context.stop.load(Ordering::Relaxed) {
        true => Err(Error::Interrupted),
        false => Ok(()),
    }
}
