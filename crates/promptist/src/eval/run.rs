//! A whole evaluation. Start reading at [`Evaluation::run`].

use std::path::Path;
use std::time::Instant;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::card::Cards;
use super::config::EvalConfig;
use super::images::EvalImages;
use super::inputs;
use super::judges::Judges;
use super::leakage::leakage;
use super::likelihood;
use super::measures::catalogue::{self, Available};
use super::measures::text::{References, known_words};
use super::report::{EvalReport, Failure, InputId, LeakageReport, Measure, SCHEMA, SetLeakage};
use super::rows::EvalRow;
use super::sources::Sources;
use super::stage::Stages;
use super::summary::{self, EvalSet, Summary};
use super::systems::System;
use super::table::Table;
use crate::atomic::write_atomic;
use crate::data::lines;
use crate::error::{Error, Result};
use crate::generator::Cancel;
use crate::progress::Progress;
use crate::prompter::Prompter;
use crate::reward::WeightedSum;
use crate::train::run_folder;

/// The report's file in a run's folder. It is written last: a folder that has it is whole.
pub const REPORT: &str = "report.json";

/// The rows' file in a run's folder.
pub const ROWS: &str = "rows.jsonl";

/// What an evaluation is of. Whatever the config names is opened already.
pub struct Evaluation<'a> {
    /// What to measure.
    pub config: &'a EvalConfig,
    /// The folder to work in.
    pub run: &'a Path,
    /// Whether to go on with a run that is there.
    pub resume: bool,
    /// Who adapts, in the config's order.
    pub systems: &'a [System],
    /// The model before supervised fine-tuning, if the config names it.
    pub before_sft: Option<&'a Prompter>,
    /// The config's rewards, if it names any.
    pub rewards: Option<&'a WeightedSum>,
    /// The reward through images, if the config asks for it.
    pub images: Option<&'a EvalImages<'a>>,
    /// Is told how far the work is.
    pub progress: &'a dyn Progress,
    /// Raised from outside to stop.
    pub cancel: &'a Cancel,
}

/// What an evaluation finds.
pub struct Findings {
    /// The numbers.
    pub report: EvalReport,
    /// What they are of.
    pub rows: Vec<EvalRow>,
}

impl Evaluation<'_> {
    /// Does everything that the config asks for, and writes `config.toml`, `rows.jsonl` and `report.json`.
    ///
    /// What is costly is kept as soon as it is done: whoever is stopped and called again with `resume` does the rest,
    /// and writes the same.
    ///
    /// # Errors
    /// Naming the file that is missing or wrong, the setting that is impossible, what of a resumed run has changed;
    /// [`Error::Interrupted`] if it was stopped.
    pub fn run(&self) -> Result<Findings> {
        let started = Instant::now();
        // What a config gets wrong is said before there is a folder.
        self.check_files()?;
        let training_texts = self.training_texts()?;
        let references = self.references(&training_texts)?;
        let sets = self.sets(&references)?;
        let judges = Judges::open(self.config)?;

        run_folder::open(self.run, self.config, self.resume)?;
        let _alone = run_folder::lock(self.run)?;
        Sources::of(self.config, self.systems, &sets, self.images)?.check(self.run)?;
        let measures = catalogue::measures(self.config, self.available(&references, &judges));
        let stages = Stages::open(self.run, self.progress, self.cancel)?;

        let table = Table { of: self, references: &references, judges: &judges, stages: &stages };
        let rows = table.rows(&sets)?;
        write_rows(&self.run.join(ROWS), &rows)?;
        let cards = Cards { of: self, training_texts: &training_texts }.measure()?;

        let mut report = self.summarise(&sets, &rows, measures)?;
        report.judges = judges.report();
        report.leakage = self.leakage(&sets)?;
        report.cards = cards.into_iter().map(|card| card.checked(&report)).collect();
        report.elapsed_secs = started.elapsed().as_secs_f64();
        write_report(&self.run.join(REPORT), &report)?;
        Ok(Findings { report, rows })
    }

    /// Whether files that are read late are there.
    fn check_files(&self) -> Result<()> {
        let config = self.config;
        let leakage = config.leakage.iter().flat_map(|part| &part.training);
        let categories = config.categories.iter().flat_map(|part| [&part.landscape, &part.portrait]);
        let likelihood = config.likelihood.iter().map(|part| &part.targets);
        for path in leakage.chain(categories).chain(likelihood) {
            std::fs::metadata(path).map_err(Error::io(path))?;
        }
        Ok(())
    }

    /// The sets with their inputs' lengths.
    fn sets(&self, references: &References) -> Result<Vec<EvalSet>> {
        let read = |set: &super::config::SetConfig| {
            let inputs = inputs::read(&set.path, set.limit)?;
            let count = |input: &inputs::Input| references.target.count(input.user_input.trim());
            let tokens = inputs.iter().map(count).collect::<Result<_>>()?;
            Ok(EvalSet { config: set.clone(), inputs, tokens })
        };
        self.config.sets.iter().map(read).collect()
    }

    fn training_texts(&self) -> Result<Vec<String>> {
        match &self.config.likelihood {
            Some(config) => likelihood::training_texts(config),
            None => Ok(Vec::new()),
        }
    }

    fn references(&self, training_texts: &[String]) -> Result<References> {
        let known = known_words(training_texts.iter().map(String::as_str));
        let known = (!training_texts.is_empty()).then_some(known);
        References::open(&self.config.target, self.config.artists.as_deref(), known)
    }

    fn available(&self, references: &References, judges: &Judges) -> Available {
        Available {
            artists: references.artists.is_some(),
            known_words: references.known_words.is_some(),
            pick_score: self.images.is_some_and(EvalImages::has_pick_score),
            ngrams: judges.ngrams.is_some(),
            quality: judges.quality.is_some(),
        }
    }

    /// What of the sets stands in what systems were trained on.
    fn leakage(&self, sets: &[EvalSet]) -> Result<Option<LeakageReport>> {
        /// Examples that the report shows of a set.
        const MOST: usize = 20;
        let Some(config) = &self.config.leakage else { return Ok(None) };
        let mut texts = Vec::new();
        for path in &config.training {
            texts.extend(training_texts(path)?);
        }
        self.progress.begin("leakage", Some(sets.len() as u64), "sets");
        let of_set = |set: &EvalSet| {
            self.cancel.check()?;
            let inputs: Vec<&str> = set.inputs.iter().map(|input| input.user_input.as_str()).collect();
            let found = leakage(&inputs, &texts, MOST);
            self.progress.advance(1, "");
            Ok(SetLeakage { set: set.config.name.clone(), found })
        };
        let found = sets.iter().map(of_set).collect::<Result<_>>()?;
        self.progress.end();
        Ok(Some(LeakageReport {
            training: config.training.iter().map(|path| path.display().to_string()).collect(),
            training_texts: texts.len(),
            sets: found,
        }))
    }

    fn summarise(&self, sets: &[EvalSet], rows: &[EvalRow], measures: Vec<Measure>) -> Result<EvalReport> {
        let systems: Vec<&str> = self.systems.iter().map(System::name).collect();
        let views = summary::views(sets, &systems, rows);
        let summary = Summary { config: self.config, systems, measures: &measures, views };
        self.progress.begin("statistics", Some(3), "parts");
        let part_done = || {
            self.progress.advance(1, "");
            self.cancel.check()
        };
        let cells = summary::cells(&summary);
        part_done()?;
        let (comparisons, families) = summary::comparisons(&summary);
        part_done()?;
        let breakdowns = summary::breakdowns(&summary);
        part_done()?;
        self.progress.end();
        Ok(EvalReport {
            schema: SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config: self.config.clone(),
            baseline: self.config.baseline().to_owned(),
            systems: self.systems.iter().map(System::report).collect(),
            sets: summary.views.iter().map(|view| view.report.clone()).collect(),
            cells,
            fallen: summary::fallen(&summary, &comparisons),
            breakdowns,
            additions: summary::additions(&summary),
            families,
            comparisons,
            judges: None,
            images: self.images.map(EvalImages::report),
            leakage: None,
            cards: Vec::new(),
            failures: failures(rows),
            samples: self.samples(sets),
            elapsed_secs: 0.0,
            measures,
        })
    }

    /// Inputs that nobody picked: the first of a shuffle.
    fn samples(&self, sets: &[EvalSet]) -> Vec<InputId> {
        let of_set = |set: &EvalSet| {
            let id = |index| InputId { set: set.config.name.clone(), index };
            (0..set.inputs.len()).map(id).collect::<Vec<_>>()
        };
        let mut all: Vec<InputId> = sets.iter().flat_map(of_set).collect();
        all.shuffle(&mut ChaCha8Rng::seed_from_u64(self.config.seed));
        all.truncate(self.config.samples);
        all
    }
}

/// The texts of a training file: lines of a `.txt`; of a `.jsonl` `text`, or the inputs `x` of pairs.
fn training_texts(path: &Path) -> Result<Vec<String>> {
    let is_jsonl = path.extension().is_some_and(|extension| extension == "jsonl");
    if !is_jsonl {
        return lines::read_texts(path, "text");
    }
    let text = |(number, line): (usize, &String)| {
        lines::text_of(path, number, line, "text").or_else(|_| lines::text_of(path, number, line, "x"))
    };
    (1..).zip(&lines::read(path)?).map(text).collect()
}

/// Rows without a rewrite, and measures that failed.
fn failures(rows: &[EvalRow]) -> Vec<Failure> {
    let of_row = |row: &EvalRow| {
        let failed = row.rewrites.iter().flat_map(|rewrite| &rewrite.failures);
        let reasons = row.missing.iter().cloned().chain(failed.map(|(what, why)| format!("{what}: {why}")));
        reasons.map(|reason| Failure { row_id: row.row_id.clone(), reason }).collect::<Vec<_>>()
    };
    rows.iter().flat_map(of_row).collect()
}

fn write_rows(path: &Path, rows: &[EvalRow]) -> Result<()> {
    write_atomic(path, |file| {
        rows.iter().try_for_each(|row| {
            serde_json::to_writer(&mut *file, row)?;
            file.write_all(b"\n")
        })
    })
}

fn write_report(path: &Path, report: &EvalReport) -> Result<()> {
    write_atomic(path, |file| {
        serde_json::to_writer_pretty(&mut *file, report)?;
        file.write_all(b"\n")
    })
}

/// Reads the report and the rows of a run that is done.
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] and [`Error::Line`] for what is no report and no row.
pub fn read(run: &Path) -> Result<Findings> {
    let path = run.join(REPORT);
    let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
    let report: EvalReport =
        serde_json::from_slice(&bytes).map_err(|error| Error::file(&path, error.to_string()))?;
    if report.schema != SCHEMA {
        return Err(Error::file(&path, format!("its schema is {}, expected {SCHEMA}", report.schema)));
    }
    let path = run.join(ROWS);
    let parse = |(number, line): (usize, &String)| {
        serde_json::from_str(line).map_err(|error| Error::line(&path, number, error.to_string()))
    };
    let rows = (1..).zip(&lines::read(&path)?).map(parse).collect::<Result<_>>()?;
    Ok(Findings { report, rows })
}
