//! A whole evaluation: adapt every set, measure, report. Start reading at [`Evaluation::run`].

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::additions::Additions;
use super::artist_names::ArtistNames;
use super::categories::CategoryMeasure;
use super::config::{CategoriesConfig, DiversityConfig, EvalConfig, SetConfig};
use super::diversity::{DiversityMeasure, Spread};
use super::fit::{FitMeasure, FitPair, fit_pairs};
use super::likelihood::{self, Layout, LikelihoodMeasure, Targets};
use super::report::{Failure, Report, SetReport, checks};
use super::text::{Answer, References, Row, TextMeasures, known_words};
use crate::data::lines;
use crate::data::safety;
use crate::decoding::{Finish, RawDecodingSettings};
use crate::error::{Error, Result};
use crate::output_filter::FilterRule;
use crate::progress::Progress;
use crate::prompter::{AdaptRequest, AdaptSettings, Adapted, Output, Prompter};
use crate::template;

/// Order of the n-gram model.
const NGRAM_ORDER: usize = 5;

/// What an evaluation is of.
pub struct Evaluation<'a> {
    /// What to measure.
    pub config: &'a EvalConfig,
    /// What is measured.
    pub prompter: &'a Prompter,
    /// The model before supervised fine-tuning.
    pub before_sft: Option<&'a Prompter>,
    /// Is told how far the work is.
    pub progress: &'a dyn Progress,
    /// Set from outside to stop.
    pub stop: &'a AtomicBool,
}

/// What an evaluation finds.
pub struct Findings {
    /// The numbers.
    pub report: Report,
    /// Every output of the sets, in order, with its own measures.
    pub rows: Vec<Row>,
}

impl Findings {
    /// `count` outputs that nobody picked: the first of a shuffle.
    pub fn samples(&self, count: usize, seed: u64) -> Vec<&Row> {
        let mut order: Vec<&Row> = self.rows.iter().collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        order.truncate(count);
        order
    }
}

/// One set, adapted and scored.
struct SetRows {
    name: String,
    rows: Vec<Row>,
    failed: Vec<Failure>,
    fit: Vec<FitPair>,
    spreads: Vec<Spread>,
}

impl Evaluation<'_> {
    /// Does everything that the config asks for.
    ///
    /// # Errors
    /// Naming the file that is missing or wrong, the setting that is impossible;
    /// [`Error::Interrupted`] if it was stopped.
    pub fn run(&self) -> Result<Findings> {
        let started = Instant::now();
        let config = self.config;
        let settings = self.settings(RawDecodingSettings::default())?;
        let diversity_settings = self.diversity_settings()?;
        let texts = self.training_texts()?;
        let references = self.references(&texts)?;

        let mut sets = Vec::with_capacity(config.sets.len());
        for set in &config.sets {
            let inputs = read_inputs(&set.path, set.limit)?;
            let (rows, failed) = self.rows(&set.name, &inputs, &settings, &references)?;
            let fit = match &config.fit {
                Some(_) => fit_pairs(self.prompter, &added(&rows), config.seed)?,
                None => Vec::new(),
            };
            let spreads = match (&config.diversity, &diversity_settings) {
                (Some(diversity), Some(settings)) => self.spreads(set, &inputs, diversity, settings)?,
                _ => Vec::new(),
            };
            sets.push(SetRows { name: set.name.clone(), rows, failed, fit, spreads });
        }
        let categories = match &config.categories {
            Some(categories) => Some(self.categories(categories, &settings, &references)?),
            None => None,
        };
        let targets = self.targets(&settings, &texts)?;
        let (likelihood, target_fit) = match &targets {
            Some(targets) => (self.likelihood(targets, &texts)?, self.target_fit(targets)?),
            None => (Vec::new(), None),
        };

        let reports: Vec<SetReport> =
            sets.iter().map(|set| self.set_report(&set.name, &[set], &references)).collect();
        let all = self.set_report("all", &sets.iter().collect::<Vec<_>>(), &references);
        let report = Report {
            version: env!("CARGO_PKG_VERSION"),
            model: self.prompter.identity().clone(),
            before_sft: self.before_sft.map(|before| before.identity().clone()),
            settings,
            diversity_settings,
            config: config.clone(),
            checks: checks(reports.iter().chain([&all]), categories.as_ref()),
            sets: reports,
            all,
            categories,
            target_fit,
            likelihood,
            elapsed_secs: started.elapsed().as_secs_f64(),
        };
        Ok(Findings { report, rows: sets.into_iter().flat_map(|set| set.rows).collect() })
    }

    fn settings(&self, decoding: RawDecodingSettings) -> Result<AdaptSettings> {
        self.prompter.settings(&AdaptRequest {
            decoding: decoding.or(self.config.decoding.clone()),
            filter: true,
            ..AdaptRequest::default()
        })
    }

    fn diversity_settings(&self) -> Result<Option<AdaptSettings>> {
        let Some(diversity) = &self.config.diversity else {
            return Ok(None);
        };
        let settings = self.settings(RawDecodingSettings {
            num_beams: Some(diversity.groups),
            num_beam_groups: Some(diversity.groups),
            num_return_sequences: Some(diversity.groups),
            diversity_penalty: Some(diversity.diversity_penalty),
            ..RawDecodingSettings::default()
        })?;
        Ok(Some(settings))
    }

    fn training_texts(&self) -> Result<Vec<String>> {
        let paths = self.config.likelihood.iter().flat_map(|likelihood| &likelihood.ngram_text);
        let mut texts = Vec::new();
        for path in paths {
            texts.extend(lines::read_texts(path, "text")?);
        }
        Ok(texts)
    }

    fn references(&self, texts: &[String]) -> Result<References> {
        let artists = match &self.config.artists {
            Some(path) if path.is_file() => Some(ArtistNames::read(path)?),
            Some(path) => {
                tracing::warn!(path = %path.display(), "no such file: artists are those of the embedded list alone");
                None
            }
            None => None,
        };
        let known_words = (!texts.is_empty()).then(|| known_words(texts.iter().map(String::as_str)));
        Ok(References { artists, known_words })
    }

    /// Adapts inputs, one output each, and measures the outputs.
    fn rows(
        &self,
        set: &str,
        inputs: &[String],
        settings: &AdaptSettings,
        references: &References,
    ) -> Result<(Vec<Row>, Vec<Failure>)> {
        let tokenizer = self.prompter.tokenizer();
        let count_tokens = |text: &str| tokenizer.encode(&template::answer(text)).map_or(0, |ids| ids.len());
        let (mut rows, mut failed) = (Vec::new(), Vec::new());
        let answers = self.adapt(&format!("adapt {set}"), inputs, settings)?;
        for (user_input, answer) in inputs.iter().zip(answers) {
            let answer = answer.and_then(|adapted| match adapted.outputs.into_iter().next() {
                Some(output) => self.answer(user_input, output),
                None => Err(Error::Decoding("no output".into())),
            });
            match answer {
                Ok(answer) => rows.push(Row::new(set, user_input, answer, references, count_tokens)),
                Err(error) => {
                    failed.push(Failure { user_input: user_input.clone(), error: error.to_string() })
                }
            }
        }
        Ok((rows, failed))
    }

    fn answer(&self, user_input: &str, output: Output) -> Result<Answer> {
        // Where the filter took the cut phrase out, the output ends with a whole one.
        let was_mended = output.filtered.contains(&FilterRule::CutPhrase);
        let cut_answer = match output.finish {
            Finish::Length if !was_mended => Some(self.prompter.tokenizer().decode(&output.token_ids)?),
            _ => None,
        };
        Ok(Answer {
            output: output.text,
            cut_answer,
            // The filter adds nothing to an unsafe input.
            refused: safety::check(user_input).is_some(),
        })
    }

    /// Adapts inputs in batches of like length, and gives the answers in the inputs' order.
    fn adapt(
        &self,
        stage: &str,
        inputs: &[String],
        settings: &AdaptSettings,
    ) -> Result<Vec<Result<Adapted>>> {
        let mut order: Vec<usize> = (0..inputs.len()).collect();
        order.sort_by_key(|&idx| inputs[idx].len());
        let mut answers: Vec<Option<Result<Adapted>>> = inputs.iter().map(|_| None).collect();
        self.progress.begin(stage, Some(inputs.len() as u64), "prompts");
        for batch in order.chunks(self.config.batch_size) {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let batch_inputs: Vec<String> = batch.iter().map(|&idx| inputs[idx].clone()).collect();
            for (&idx, answer) in batch.iter().zip(self.prompter.adapt(&batch_inputs, settings, 0)) {
                answers[idx] = Some(answer);
            }
            self.progress.advance(batch.len() as u64, "");
        }
        self.progress.end();
        let missing = || Err(Error::Decoding("no answer".into()));
        Ok(answers.into_iter().map(|answer| answer.unwrap_or_else(missing)).collect())
    }

    /// How the candidates of each input differ; inputs that cannot be adapted are left out.
    fn spreads(
        &self,
        set: &SetConfig,
        inputs: &[String],
        diversity: &DiversityConfig,
        settings: &AdaptSettings,
    ) -> Result<Vec<Spread>> {
        let inputs = &inputs[..diversity.limit.unwrap_or(usize::MAX).min(inputs.len())];
        let answers = self.adapt(&format!("diversity {}", set.name), inputs, settings)?;
        let spread = |adapted: Adapted| {
            let candidates: Vec<Additions> = adapted
                .outputs
                .iter()
                .map(|output| Additions::of(&adapted.user_input, &output.text))
                .collect();
            Spread::of(&candidates)
        };
        Ok(answers.into_iter().flatten().map(spread).collect())
    }

    fn categories(
        &self,
        config: &CategoriesConfig,
        settings: &AdaptSettings,
        references: &References,
    ) -> Result<CategoryMeasure> {
        let rows = |name: &str, path: &Path| -> Result<Vec<Row>> {
            Ok(self.rows(name, &read_inputs(path, None)?, settings, references)?.0)
        };
        let landscapes = rows("landscapes", &config.landscape)?;
        let portraits = rows("portraits", &config.portrait)?;
        Ok(CategoryMeasure::of(&landscapes, &portraits))
    }

    fn targets(&self, settings: &AdaptSettings, texts: &[String]) -> Result<Option<Targets>> {
        let Some(config) = &self.config.likelihood else {
            return Ok(None);
        };
        let mut pairs = likelihood::read_pairs(&config.targets)?;
        pairs.truncate(config.limit.unwrap_or(usize::MAX));
        Ok(Some(Targets::new(pairs, settings.keep, texts)))
    }

    fn target_fit(&self, targets: &Targets) -> Result<Option<FitMeasure>> {
        let Some(fit) = &self.config.fit else {
            return Ok(None);
        };
        let pairs = fit_pairs(self.prompter, &targets.additions(), self.config.seed)?;
        Ok(FitMeasure::of(&pairs, fit.resamples, self.config.seed))
    }

    /// The measured model first, then what it is held against.
    fn likelihood(&self, targets: &Targets, texts: &[String]) -> Result<Vec<LikelihoodMeasure>> {
        let of = |prompter: &Prompter, layout| {
            likelihood::of_prompter(&prompter.identity().name, prompter, targets, layout)
        };
        self.progress.begin("likelihood", None, "models");
        let mut measures = vec![of(self.prompter, Layout::Prompter)?];
        self.progress.advance(1, "");
        if let Some(before) = self.before_sft {
            measures.push(of(before, Layout::Prompter)?);
            measures.push(of(before, Layout::Text)?);
            self.progress.advance(1, "");
        }
        if !texts.is_empty() {
            let tokenizer = self.prompter.tokenizer();
            let ngrams = likelihood::train_ngrams(texts, tokenizer, NGRAM_ORDER)?;
            let name = format!("{NGRAM_ORDER}-gram");
            measures.push(likelihood::of_ngrams(&name, &ngrams, tokenizer, targets)?);
            self.progress.advance(1, "");
        }
        self.progress.end();
        Ok(measures)
    }

    fn set_report(&self, name: &str, sets: &[&SetRows], references: &References) -> SetReport {
        let rows: Vec<&Row> = sets.iter().flat_map(|set| &set.rows).collect();
        let pairs: Vec<FitPair> = sets.iter().flat_map(|set| &set.fit).copied().collect();
        let spreads: Vec<Spread> = sets.iter().flat_map(|set| &set.spreads).copied().collect();
        let fit = self.config.fit.as_ref();
        SetReport {
            name: name.to_owned(),
            failed: sets.iter().flat_map(|set| set.failed.clone()).collect(),
            text: TextMeasures::of(&rows, references),
            fit: fit.and_then(|fit| FitMeasure::of(&pairs, fit.resamples, self.config.seed)),
            diversity: (!spreads.is_empty()).then(|| DiversityMeasure::of(&spreads)),
        }
    }
}

/// Inputs with what was added to each.
fn added(rows: &[Row]) -> Vec<(&str, &str)> {
    rows.iter().map(|row| (row.user_input.as_str(), row.added.text.as_str())).collect()
}

/// The inputs of a set, each once, empty lines left out.
fn read_inputs(path: &Path, limit: Option<usize>) -> Result<Vec<String>> {
    let mut seen = HashSet::new();
    let mut inputs = lines::read_texts(path, "user_input")?;
    inputs.retain(|input| !input.trim().is_empty() && seen.insert(input.trim().to_owned()));
    inputs.truncate(limit.unwrap_or(usize::MAX));
    match inputs.is_empty() {
        true => Err(Error::file(path, "no input")),
        false => Ok(inputs),
    }
}
