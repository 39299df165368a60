//! A prompter before and after a training, on the same inputs: rewards, judges that no reward is made of, and what
//! evaluation counts. Start reading at [`Comparison::run`].
//!
//! ```text
//! before, after (a model a seed) -> evaluation, each -> outputs -> rewards, judges -> paired differences -> report
//! ```
//!
//! Every input counts once: its value after is the mean over the models after. Inputs that a model cannot adapt, or
//! to which nothing was added where a measure needs an addition, are in neither column of that measure.

pub mod config;
pub mod markdown;
pub mod quality;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use self::config::CompareConfig;
use self::quality::{QualityJudge, QualityReport};
use super::likelihood::train_ngrams;
use super::ngram::NgramModel;
use super::run::Evaluation;
use super::text::Row;
use crate::data::lexicon::words;
use crate::data::lines;
use crate::data::normalize::normalize;
use crate::error::{Error, Result};
use crate::generator::Cancel;
use crate::progress::Progress;
use crate::prompter::{ModelIdentity, Prompter};
use crate::reward::{Pair, WeightedSum};
use crate::statistics::{Interval, bootstrap_mean};
use crate::template;
use crate::tokenizer::Tokenizer;
use crate::train::reward::examples::half_of;
use crate::train::reward::ratings;

/// Order of the judge's n-gram model.
const NGRAM_ORDER: usize = 4;

/// Pairs scored between two looks at the stop flag.
const CHUNK: usize = 64;

/// What a comparison is of.
pub struct Comparison<'a> {
    /// What to compare on what.
    pub config: &'a CompareConfig,
    /// The prompter before.
    pub before: &'a Prompter,
    /// The prompters after, at least one.
    pub after: &'a [Prompter],
    /// The config's rewards, if it names any.
    pub rewards: Option<&'a WeightedSum>,
    /// Is told how far the work is.
    pub progress: &'a dyn Progress,
    /// Set from outside to stop.
    pub stop: &'a AtomicBool,
}

/// `report.json`.
#[derive(Debug, Clone, Serialize)]
pub struct CompareReport {
    /// Of this program.
    pub version: &'static str,
    /// What was asked for.
    pub config: CompareConfig,
    /// The prompter before.
    pub before: ModelIdentity,
    /// The prompters after.
    pub after: Vec<ModelIdentity>,
    /// Texts that the n-gram model has read.
    pub ngram_texts: usize,
    /// How good the judge of quality is.
    pub quality: Option<QualityReport>,
    /// Judges of another family that found it worse, over all sets: their intervals leave out 0.
    pub fallen: Vec<String>,
    /// By set.
    pub sets: Vec<SetComparison>,
    /// Over all sets, every input once.
    pub all: SetComparison,
    /// Inputs with all answers, not picked.
    pub samples: Vec<Sample>,
    /// Clock time; outside every equality.
    pub elapsed_secs: f64,
}

/// A set before and after.
#[derive(Debug, Clone, Serialize)]
pub struct SetComparison {
    /// Its name.
    pub name: String,
    /// Inputs that every model adapted.
    pub n: usize,
    /// What was measured of every output.
    pub measures: Vec<MeasureComparison>,
    /// Distinct phrases among all that were added, before.
    pub distinct_before: usize,
    /// The same, by model after.
    pub distinct_after: Vec<usize>,
}

/// One measure before and after.
#[derive(Debug, Clone, Serialize)]
pub struct MeasureComparison {
    /// Its name.
    pub name: String,
    /// Which way is better.
    pub better: Better,
    /// Whether it is a judge of another family than the rewards.
    pub is_judge: bool,
    /// Mean before.
    pub before: Interval,
    /// Mean after, over inputs and models.
    pub after: Interval,
    /// Means by model after.
    pub after_each: Vec<f64>,
    /// Mean of the inputs' differences, after less before.
    pub difference: Interval,
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
    /// Neither.
    Neither,
}

/// An input and its answers.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// The prompt set.
    pub set: String,
    /// What the user typed.
    pub user_input: String,
    /// The answer before.
    pub before: String,
    /// The answers after.
    pub after: Vec<String>,
}

/// What is measured of every output.
#[derive(Debug, Clone, PartialEq)]
struct MeasureName {
    name: String,
    better: Better,
    is_judge: bool,
}

/// An output and what was measured of it, in the order of the names; `None` where nothing can be.
struct Measured {
    row: Row,
    values: Vec<Option<f64>>,
}

/// By set and input.
type Outputs = HashMap<(String, String), Measured>;

/// Judges of another family.
struct Judges<'a> {
    tokenizer: &'a Tokenizer,
    ngrams: Option<NgramModel>,
    ngram_texts: usize,
    quality: Option<QualityJudge>,
}

impl Comparison<'_> {
    /// Does everything that the config asks for.
    ///
    /// # Errors
    /// Naming the file that is missing or wrong, the setting that is impossible; [`Error::Interrupted`] if it was
    /// stopped.
    pub fn run(&self) -> Result<CompareReport> {
        let started = Instant::now();
        let config = self.config;
        let judges = self.judges()?;
        let names = self.names(&judges);
        let (before, order) = self.measured(&config.before, self.before, &judges)?;
        let after: Vec<Outputs> = config
            .after
            .iter()
            .zip(self.after)
            .map(|(model, prompter)| Ok(self.measured(model, prompter, &judges)?.0))
            .collect::<Result<_>>()?;

        // Inputs that all models adapted, in the sets' order.
        let keys: Vec<&(String, String)> = order
            .iter()
            .filter(|key| before.contains_key(*key) && after.iter().all(|after| after.contains_key(*key)))
            .collect();
        let set = |name: &str, keys: &[&(String, String)]| self.compare(name, keys, &names, &before, &after);
        let sets: Vec<SetComparison> = config
            .sets
            .iter()
            .map(|of| {
                let keys: Vec<_> = keys.iter().copied().filter(|(name, _)| *name == of.name).collect();
                set(&of.name, &keys)
            })
            .collect();
        let all = set("all", &keys);
        let mut shuffled = keys.clone();
        shuffled.shuffle(&mut ChaCha8Rng::seed_from_u64(config.seed));
        let samples = shuffled.iter().take(config.samples).map(|key| Sample {
            set: key.0.clone(),
            user_input: key.1.clone(),
            before: before[*key].row.output.clone(),
            after: after.iter().map(|after| after[*key].row.output.clone()).collect(),
        });
        Ok(CompareReport {
            version: env!("CARGO_PKG_VERSION"),
            config: config.clone(),
            before: self.before.identity().clone(),
            after: self.after.iter().map(|after| after.identity().clone()).collect(),
            ngram_texts: judges.ngram_texts,
            quality: judges.quality.map(|quality| quality.report),
            fallen: all
                .measures
                .iter()
                .filter(|measure| measure.is_judge && measure.is_worse())
                .map(|measure| measure.name.clone())
                .collect(),
            samples: samples.collect(),
            sets,
            all,
            elapsed_secs: started.elapsed().as_secs_f64(),
        })
    }

    fn judges(&self) -> Result<Judges<'_>> {
        let config = &self.config.judges;
        let tokenizer = self.before.tokenizer();
        let mut texts = Vec::new();
        for path in &config.human_text {
            let read = lines::read_texts(path, "text")?;
            texts.extend(read.iter().filter_map(|text| normalize(text).ok()));
        }
        texts.retain(|text| config.half.is_none_or(|half| half_of(text) == half));
        let ngrams = match texts.is_empty() {
            true => None,
            false => Some(train_ngrams(&texts, tokenizer, NGRAM_ORDER)?),
        };
        let quality = match &config.ratings {
            Some(path) if path.is_file() => {
                Some(QualityJudge::fit(&ratings::read(path)?, self.config.resamples, self.config.seed))
            }
            Some(path) => {
                tracing::warn!(path = %path.display(), "no such file: no judge of quality");
                None
            }
            None => None,
        };
        Ok(Judges { tokenizer, ngrams, ngram_texts: texts.len(), quality })
    }

    /// The measures that there are, in the order of [`Measured::values`].
    fn names(&self, judges: &Judges) -> Vec<MeasureName> {
        let name = |name: &str, better, is_judge| MeasureName { name: name.to_owned(), better, is_judge };
        let mut names: Vec<MeasureName> = self
            .rewards
            .iter()
            .flat_map(|rewards| rewards.names())
            .map(|term| name(&format!("reward `{term}`"), Better::Higher, false))
            .collect();
        if judges.ngrams.is_some() {
            names.push(name("bits a byte of what is added, under people's n-grams", Better::Lower, true));
        }
        if judges.quality.is_some() {
            names.push(name("quality foretold from words", Better::Higher, true));
        }
        names.push(name("share of inputs that an added phrase goes to", Better::Lower, true));
        names.push(name("content words kept", Better::Higher, false));
        names.push(name("degenerate", Better::Lower, false));
        names.push(name("adding an artist's name", Better::Lower, false));
        names.push(name("added phrases", Better::Neither, false));
        names.push(name("added words", Better::Neither, false));
        names
    }

    /// One model's outputs with their measures, and the inputs in the sets' order.
    fn measured(
        &self,
        model: &str,
        prompter: &Prompter,
        judges: &Judges,
    ) -> Result<(Outputs, Vec<(String, String)>)> {
        let findings = Evaluation {
            config: &self.config.evaluation(model),
            prompter,
            before_sft: None,
            progress: self.progress,
            stop: self.stop,
        }
        .run()?;
        let rows = findings.rows;
        let rewards = self.scores(&rows)?;
        let commonness = commonness(&rows);
        let order: Vec<(String, String)> =
            rows.iter().map(|row| (row.set.clone(), row.user_input.clone())).collect();
        let mut outputs = HashMap::with_capacity(rows.len());
        for ((row, mut values), commonness) in rows.into_iter().zip(rewards).zip(commonness) {
            if let Some(ngrams) = &judges.ngrams {
                values.push(bits_per_byte(ngrams, judges.tokenizer, &row)?);
            }
            values.extend(judges.quality.as_ref().map(|quality| Some(quality.judge(&row.output))));
            let share = |holds: bool| Some(f64::from(u8::from(holds)));
            values.extend([
                commonness,
                Some(f64::from(row.content_kept)),
                share(row.flaw.is_some()),
                share(!row.artists.is_empty() || !row.listed_artists.is_empty()),
                Some(row.added.phrases.len() as f64),
                Some(words(&row.added.text).len() as f64),
            ]);
            outputs.insert((row.set.clone(), row.user_input.clone()), Measured { row, values });
        }
        Ok((outputs, order))
    }

    /// What each reward gives each output, before its weight.
    fn scores(&self, rows: &[Row]) -> Result<Vec<Vec<Option<f64>>>> {
        let Some(rewards) = self.rewards else {
            return Ok(vec![Vec::new(); rows.len()]);
        };
        let num_terms = rewards.names().count();
        let mut scores = Vec::with_capacity(rows.len());
        self.progress.begin("score", Some(rows.len() as u64), "pairs");
        for rows in rows.chunks(CHUNK) {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let pairs: Vec<Pair> = rows
                .iter()
                .map(|row| Pair { user_input: row.user_input.clone(), adapted_prompt: row.output.clone() })
                .collect();
            for score in rewards.score(&pairs, &Cancel::default())? {
                scores.push(match score {
                    Ok(score) => score.terms.into_iter().map(Some).collect(),
                    Err(reason) => {
                        tracing::warn!(reason, "an output without a score");
                        vec![None; num_terms]
                    }
                });
            }
            self.progress.advance(rows.len() as u64, "");
        }
        self.progress.end();
        Ok(scores)
    }

    fn compare(
        &self,
        name: &str,
        keys: &[&(String, String)],
        names: &[MeasureName],
        before: &Outputs,
        after: &[Outputs],
    ) -> SetComparison {
        let measures = names.iter().enumerate().filter_map(|(at, name)| {
            let paired: Vec<(f64, Vec<f64>)> = keys
                .iter()
                .filter_map(|key| {
                    let each = after.iter().map(|after| after[*key].values[at]).collect::<Option<_>>()?;
                    Some((before[*key].values[at]?, each))
                })
                .collect();
            MeasureComparison::of(name, &paired, self.config.resamples, self.config.seed)
        });
        let distinct = |outputs: &Outputs| {
            let keys = keys.iter().flat_map(|key| outputs[*key].row.added.keys());
            keys.collect::<HashSet<_>>().len()
        };
        SetComparison {
            name: name.to_owned(),
            n: keys.len(),
            measures: measures.collect(),
            distinct_before: distinct(before),
            distinct_after: after.iter().map(distinct).collect(),
        }
    }
}

impl MeasureComparison {
    /// Compares inputs' values before with those of every model after; `None` without inputs.
    fn of(name: &MeasureName, paired: &[(f64, Vec<f64>)], resamples: usize, seed: u64) -> Option<Self> {
        let num_models = paired.first()?.1.len();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let before: Vec<f64> = paired.iter().map(|(before, _)| *before).collect();
        let after: Vec<f64> = paired.iter().map(|(_, each)| mean(each)).collect();
        let differences: Vec<f64> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
        let each = |model: usize| mean(&paired.iter().map(|(_, each)| each[model]).collect::<Vec<_>>());
        Some(Self {
            name: name.name.clone(),
            better: name.better,
            is_judge: name.is_judge,
            before: bootstrap_mean(&before, resamples, seed)?,
            after: bootstrap_mean(&after, resamples, seed)?,
            after_each: (0..num_models).map(each).collect(),
            difference: bootstrap_mean(&differences, resamples, seed)?,
        })
    }

    /// Whether the interval of the difference lies on the wrong side of 0.
    pub fn is_worse(&self) -> bool {
        match self.better {
            Better::Higher => self.difference.high < 0.0,
            Better::Lower => self.difference.low > 0.0,
            Better::Neither => false,
        }
    }

    /// Whether the interval of the difference lies on the right side of 0.
    pub fn is_better(&self) -> bool {
        match self.better {
            Better::Higher => self.difference.low > 0.0,
            Better::Lower => self.difference.high < 0.0,
            Better::Neither => false,
        }
    }
}

/// −log2 p a byte of what an output adds, read after the words that it is added to; `None` if nothing is.
fn bits_per_byte(ngrams: &NgramModel, tokenizer: &Tokenizer, row: &Row) -> Result<Option<f64>> {
    let added = row.added.text.trim();
    if added.is_empty() {
        return Ok(None);
    }
    let end = tokenizer.eos_token_id().into_iter().collect::<Vec<_>>();
    let kept = format!("{},", template::kept_words(&row.user_input));
    let mut ids = [end, tokenizer.encode(&template::answer(&kept))?].concat();
    let from = ids.len();
    let added = template::answer(added);
    ids.extend(tokenizer.encode(&added)?);
    let bits: f64 = (from..ids.len()).map(|at| -ngrams.probability(&ids[..at], ids[at]).log2()).sum();
    Ok(Some(bits / added.len() as f64))
}

/// Of each output, the mean over its added phrases of the share of the set's outputs that have the phrase too: 1 if
/// everything gets the same, 1 / n if nothing comes twice.
fn commonness(rows: &[Row]) -> Vec<Option<f64>> {
    let mut counts: HashMap<(&str, &str), f64> = HashMap::new();
    let mut sizes: HashMap<&str, f64> = HashMap::new();
    for row in rows {
        *sizes.entry(&row.set).or_default() += 1.0;
        for key in row.added.keys() {
            *counts.entry((&row.set, key)).or_default() += 1.0;
        }
    }
    rows.iter()
        .map(|row| {
            let shares: f64 = {
                let mut shares: Vec<f64> =
                    row.added.keys().into_iter().map(|key| counts[&(row.set.as_str(), key)]).collect();
                // A set has no order, and a sum has one.
                shares.sort_by(f64::total_cmp);
                shares.iter().sum()
            };
            let n = row.added.phrases.len();
            (n > 0).then(|| shares / sizes[row.set.as_str()] / n as f64)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::text::{Answer, References};

    fn row(user_input: &str, output: &str) -> Row {
        let answer = Answer { output: output.to_owned(), cut_answer: None, refused: false };
        Row::new("set", user_input, answer, &References::default(), |_| 0)
    }

    #[test]
    fn a_phrase_for_everything_is_common() {
        let rows = [row("a cat", "a cat, 8k, fur"), row("a dog", "a dog, 8k"), row("a fox", "a fox")];
        assert_eq!(commonness(&rows), [Some((2.0 / 3.0 + 1.0 / 3.0) / 2.0), Some(2.0 / 3.0), None]);
    }

    #[test]
    fn inputs_are_paired_and_models_averaged() {
        let name = MeasureName { name: "m".to_owned(), better: Better::Higher, is_judge: true };
        let paired: Vec<(f64, Vec<f64>)> =
            (0..50).map(|i| (f64::from(i), vec![f64::from(i) + 1.0, f64::from(i) + 3.0])).collect();
        let compared = MeasureComparison::of(&name, &paired, 200, 1).expect("inputs");
        assert_eq!(compared.after_each, [25.5, 27.5]);
        assert_eq!(
            (compared.difference.mean, compared.difference.low, compared.difference.high),
            (2.0, 2.0, 2.0)
        );
        assert!(compared.is_better() && !compared.is_worse());
        let lower = MeasureComparison { better: Better::Lower, ..compared };
        assert!(lower.is_worse() && !lower.is_better());
        assert!(MeasureComparison::of(&name, &[], 200, 1).is_none());
    }

    #[test]
    fn what_people_write_takes_fewer_bits() {
        let tokenizer = Tokenizer::gpt2().expect("embedded");
        let texts: Vec<String> = (0..30).map(|i| format!("subject {i}, sharp focus, 8k")).collect();
        let ngrams = train_ngrams(&texts, &tokenizer, NGRAM_ORDER).expect("texts");
        let bits = |output: &str| bits_per_byte(&ngrams, &tokenizer, &row("a cat", output)).expect("a text");
        assert!(bits("a cat, sharp focus, 8k") < bits("a cat, xylophone, 8k"));
        assert_eq!(bits("a cat"), None);
    }
}
