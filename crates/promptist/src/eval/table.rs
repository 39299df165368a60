//! From systems and sets to rows: every system adapts every set, and every rewrite is measured.

use std::collections::BTreeMap;
use std::ops::Range;

use super::additions::Additions;
use super::config::SystemKind;
use super::diversity::Spread;
use super::fit::{FitPair, fit_pairs};
use super::inputs::{Input, targets};
use super::judges::Judges;
use super::measures::catalogue::reward_key;
use super::measures::text::{References, Subject};
use super::rows::{EvalRow, RewriteImages, RewriteRow, row_id};
use super::run::Evaluation;
use super::stage::{Stage, Stages};
use super::summary::EvalSet;
use super::systems::{Outcome, System};
use crate::decoding::RawDecodingSettings;
use crate::error::Result;
use crate::prompter::AdaptSettings;
use crate::reward::Pair;
use crate::statistics;

/// Inputs of which the images are made between two looks at the stop flag.
const IMAGE_CHUNK: usize = 8;

/// Inputs that rewards score together.
const REWARD_CHUNK: usize = 64;

/// What is measured of several answers to an input.
const CANDIDATE_MEASURES: [&str; 4] = ["vendi", "diverse", "different_candidates", "distinct_candidates"];

/// Batches of a chunk of adaptations: inputs of like length within it are adapted together.
const BATCHES: usize = 4;

/// What rows are made with.
pub struct Table<'a> {
    /// Systems, rewards, images.
    pub of: &'a Evaluation<'a>,
    /// What texts are measured against.
    pub references: &'a References,
    /// Judges of texts.
    pub judges: &'a Judges,
    /// Where costly work is kept.
    pub stages: &'a Stages<'a>,
}

/// A system on a set.
#[derive(Clone, Copy)]
struct Cell<'a> {
    set: &'a EvalSet,
    system: &'a System,
}

/// The rows of a cell, by input.
type Rows = Vec<EvalRow>;

impl Table<'_> {
    /// All rows, by set, input and system.
    ///
    /// # Errors
    /// As [`Evaluation::run`].
    pub fn rows(&self, sets: &[EvalSet]) -> Result<Rows> {
        let mut all = Vec::new();
        for set in sets {
            let systems = self.of.systems.iter().filter(|system| system.covers(&set.inputs));
            let cells: Vec<Rows> =
                systems.map(|system| self.cell(Cell { set, system })).collect::<Result<_>>()?;
            let mut cells: Vec<_> = cells.into_iter().map(Vec::into_iter).collect();
            for _ in &set.inputs {
                all.extend(cells.iter_mut().filter_map(Iterator::next));
            }
        }
        Ok(all)
    }

    /// The stages of a cell, one after the other.
    fn cell(&self, cell: Cell) -> Result<Rows> {
        let rewrites = self.rewrites(cell)?;
        let mut rows = self.measured_texts(cell, &rewrites);
        self.add_candidates(cell, &mut rows)?;
        self.add_fit(cell, &mut rows)?;
        self.add_rewards(cell, &mut rows)?;
        self.add_images(cell, &mut rows)?;
        self.add_judges(&mut rows)?;
        rows.iter_mut().for_each(finish);
        Ok(rows)
    }

    /// By input, then by model.
    fn rewrites(&self, cell: Cell) -> Result<Vec<Vec<Outcome>>> {
        let Cell { set, system } = cell;
        let batch_size = self.of.config.batch_size;
        self.stages.run(stage(cell, "rewrites", set.inputs.len(), BATCHES * batch_size), |chunk| {
            let inputs = &set.inputs[chunk];
            let by_model: Vec<Vec<Outcome>> = (0..system.num_rewrites())
                .map(|model| {
                    in_batches(inputs, batch_size, |batch| system.rewrite(batch, model, self.of.cancel))
                })
                .collect::<Result<_>>()?;
            Ok(transposed(by_model, inputs.len()))
        })
    }

    fn measured_texts(&self, cell: Cell, rewrites: &[Vec<Outcome>]) -> Rows {
        let Cell { set, system } = cell;
        let targets = targets(&set.inputs);
        let inputs = set.inputs.iter().zip(&set.tokens).zip(rewrites).enumerate();
        let row = |(index, ((input, &input_tokens), outcomes)): (usize, ((&Input, _), &Vec<Outcome>))| {
            let measured = outcomes.iter().enumerate().map(|(model, outcome)| {
                let subject = Subject {
                    user_input: &input.user_input,
                    rewrite: outcome.as_ref().map_err(String::clone)?,
                    model,
                    is_input: system.kind() == SystemKind::Input,
                    refuses: system.models().get(model).map(|model| model.refuses(&input.user_input)),
                };
                self.references.measure(subject).map_err(|error| error.to_string())
            });
            let (rewrites, errors): (Vec<_>, Vec<_>) = measured.partition(Result::is_ok);
            EvalRow {
                row_id: row_id(&set.config.name, index, system.name()),
                set: set.config.name.clone(),
                index,
                system: system.name().to_owned(),
                user_input: input.user_input.clone(),
                input_tokens,
                category: input.category.clone(),
                source_kind: input.source_kind.clone(),
                target: input.human_prompt.as_ref().map(|_| targets[index]),
                rewrites: rewrites.into_iter().flatten().collect(),
                values: BTreeMap::new(),
                missing: errors.into_iter().find_map(Result::err),
            }
        };
        inputs.map(row).collect()
    }

    /// How several answers to an input differ, of systems with a model.
    fn add_candidates(&self, cell: Cell, rows: &mut [EvalRow]) -> Result<()> {
        let (Some(config), false) = (&self.of.config.diversity, cell.system.models().is_empty()) else {
            return Ok(());
        };
        let settings: Vec<AdaptSettings> = cell
            .system
            .models()
            .iter()
            .map(|model| {
                model.settings_with(RawDecodingSettings {
                    num_beams: Some(config.groups),
                    num_beam_groups: Some(config.groups),
                    num_return_sequences: Some(config.groups),
                    diversity_penalty: Some(config.diversity_penalty),
                    ..RawDecodingSettings::default()
                })
            })
            .collect::<Result<_>>()?;
        let total = config.limit.unwrap_or(usize::MAX).min(rows.len());
        let batch_size = self.of.config.batch_size;
        let stage = stage(cell, "candidates", total, BATCHES * batch_size);
        let candidates: Vec<Vec<Result<Vec<String>, String>>> = self.stages.run(stage, |chunk| {
            let inputs = &cell.set.inputs[chunk];
            let models = cell.system.models().iter().zip(&settings);
            let by_model = models.map(|(model, settings)| {
                in_batches(inputs, batch_size, |batch| {
                    self.of.cancel.check()?;
                    Ok(model.candidates(batch, settings))
                })
            });
            Ok(transposed(by_model.collect::<Result<_>>()?, inputs.len()))
        })?;
        for (row, mut candidates) in rows.iter_mut().zip(candidates) {
            for rewrite in &mut row.rewrites {
                let Some(found) = candidates.get_mut(rewrite.model) else { continue };
                let texts = match std::mem::replace(found, Ok(Vec::new())) {
                    Ok(texts) => texts,
                    Err(reason) => {
                        for key in CANDIDATE_MEASURES {
                            rewrite.failures.insert(key.to_owned(), reason.clone());
                        }
                        continue;
                    }
                };
                let additions: Vec<Additions> =
                    texts.iter().map(|text| Additions::of(&row.user_input, text)).collect();
                let spread = Spread::of(&additions);
                rewrite.set("vendi", spread.vendi);
                rewrite.set("diverse", Some(f64::from(u8::from(spread.is_diverse()))));
                rewrite.set("different_candidates", Some(spread.different as f64));
                rewrite.set("distinct_candidates", Some(spread.distinct as f64));
                rewrite.candidates = texts;
            }
        }
        Ok(())
    }

    /// Whether additions fit their inputs, of systems with a model.
    fn add_fit(&self, cell: Cell, rows: &mut [EvalRow]) -> Result<()> {
        if self.of.config.fit.is_none() || cell.system.models().is_empty() {
            return Ok(());
        }
        // One chunk: additions are shuffled over the whole set.
        let stage = stage(cell, "fit", rows.len(), rows.len());
        let pairs: Vec<Vec<Option<FitPair>>> = self.stages.run(stage, |_| {
            let of_model = |(idx, model): (usize, &super::systems::SystemModel)| {
                let added = |row: &'_ EvalRow| {
                    let rewrite = row.rewrites.iter().find(|rewrite| rewrite.model == idx);
                    rewrite.map_or(String::new(), |rewrite| rewrite.added_text.clone())
                };
                let added: Vec<String> = rows.iter().map(added).collect();
                let pairs: Vec<(&str, &str)> = rows
                    .iter()
                    .zip(&added)
                    .map(|(row, added)| (row.user_input.as_str(), added.as_str()))
                    .collect();
                fit_pairs(model.prompter(), &pairs, self.of.config.seed)
            };
            let by_model = cell.system.models().iter().enumerate().map(of_model).collect::<Result<_>>()?;
            Ok(transposed(by_model, rows.len()))
        })?;
        for (row, pairs) in rows.iter_mut().zip(pairs) {
            for rewrite in &mut row.rewrites {
                let gain = pairs[rewrite.model].map(|pair| pair.own - pair.other);
                rewrite.set("fit_gain", gain);
                rewrite.set("fit_own_likelier", gain.map(|gain| f64::from(u8::from(gain > 0.0))));
            }
        }
        Ok(())
    }

    /// What each reward gives, before its weight.
    fn add_rewards(&self, cell: Cell, rows: &mut [EvalRow]) -> Result<()> {
        let Some(rewards) = self.of.rewards else { return Ok(()) };
        let stage = stage(cell, "rewards", rows.len(), REWARD_CHUNK);
        let scores: Vec<Vec<Vec<Result<f64, String>>>> = self.stages.run(stage, |chunk| {
            let (pairs, places) = pairs(&rows[chunk.clone()]);
            let by_term = rewards.score_each(&pairs, self.of.cancel)?;
            let mut scores = vec![Vec::new(); chunk.len()];
            for (pair, place) in places.into_iter().enumerate() {
                scores[place].push(by_term.iter().map(|(_, scores)| scores[pair].clone()).collect());
            }
            Ok(scores)
        })?;
        let keys: Vec<String> = self.of.config.reward.iter().map(reward_key).collect();
        for (row, scores) in rows.iter_mut().zip(scores) {
            for (rewrite, scores) in row.rewrites.iter_mut().zip(scores) {
                for (key, score) in keys.iter().zip(scores) {
                    match score {
                        Ok(score) => rewrite.set(key, Some(score)),
                        Err(reason) => _ = rewrite.failures.insert(key.clone(), reason),
                    }
                }
            }
        }
        Ok(())
    }

    /// The reward through images and its parts.
    fn add_images(&self, cell: Cell, rows: &mut [EvalRow]) -> Result<()> {
        let Some(images) = self.of.images else { return Ok(()) };
        let stage = stage(cell, "images", rows.len(), IMAGE_CHUNK);
        let scores: Vec<Vec<Result<RewriteImages, String>>> =
            self.stages.run(stage, |chunk: Range<usize>| {
                let (pairs, places) = pairs(&rows[chunk.clone()]);
                let mut scores = vec![Vec::new(); chunk.len()];
                for (score, place) in images.score(&pairs, self.of.cancel)?.into_iter().zip(places) {
                    scores[place].push(score);
                }
                Ok(scores)
            })?;
        for (row, scores) in rows.iter_mut().zip(scores) {
            for (rewrite, score) in row.rewrites.iter_mut().zip(scores) {
                let values = score.and_then(|images| {
                    let values = images.values().map_err(|error| error.to_string())?;
                    rewrite.images = Some(images);
                    Ok(values)
                });
                match values {
                    Ok(values) => values.into_iter().for_each(|(key, value)| rewrite.set(key, Some(value))),
                    Err(reason) => _ = rewrite.failures.insert("images".to_owned(), reason),
                }
            }
        }
        Ok(())
    }

    /// What judges that no reward is made of find.
    fn add_judges(&self, rows: &mut [EvalRow]) -> Result<()> {
        for row in rows {
            for rewrite in &mut row.rewrites {
                if let Some(ngrams) = &self.judges.ngrams {
                    let bits = ngrams.bits_per_byte(&row.user_input, &rewrite.added_text)?;
                    rewrite.set("human_bits_per_byte", bits);
                }
                if let Some(quality) = &self.judges.quality {
                    rewrite.set("foretold_quality", Some(quality.judge(&rewrite.adapted_prompt)));
                }
            }
        }
        Ok(())
    }
}

impl RewriteRow {
    fn set(&mut self, key: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.values.insert(key.to_owned(), value);
        }
    }
}

fn stage<'a>(cell: Cell<'a>, name: &'a str, total: usize, chunk_len: usize) -> Stage<'a> {
    Stage { name, set: &cell.set.config.name, system: cell.system.name(), total, chunk_len }
}

/// All rewrites of some rows, and the place of the row of each.
fn pairs(rows: &[EvalRow]) -> (Vec<Pair>, Vec<usize>) {
    let of_row = |(place, row): (usize, &EvalRow)| {
        let pair = |rewrite: &RewriteRow| Pair {
            user_input: row.user_input.clone(),
            adapted_prompt: rewrite.adapted_prompt.clone(),
        };
        row.rewrites.iter().map(|rewrite| (pair(rewrite), place)).collect::<Vec<_>>()
    };
    rows.iter().enumerate().flat_map(of_row).unzip()
}

/// A row's values: the means over its rewrites, if none is missing.
fn finish(row: &mut EvalRow) {
    let Some((first, _)) = row.rewrites.split_first().filter(|_| row.missing.is_none()) else { return };
    let mean = |key: &String| {
        let values: Option<Vec<f64>> =
            row.rewrites.iter().map(|rewrite| rewrite.values.get(key).copied()).collect();
        Some((key.clone(), statistics::mean(&values?)?))
    };
    row.values = first.values.keys().filter_map(mean).collect();
}

/// Works on inputs in batches of like length, and gives what comes out in the inputs' order.
fn in_batches<T>(
    inputs: &[Input],
    batch_size: usize,
    mut work: impl FnMut(&[Input]) -> Result<Vec<T>>,
) -> Result<Vec<T>> {
    let mut order: Vec<usize> = (0..inputs.len()).collect();
    order.sort_by_key(|&idx| inputs[idx].user_input.len());
    let mut done: Vec<(usize, T)> = Vec::with_capacity(inputs.len());
    for batch in order.chunks(batch_size) {
        let of_batch: Vec<Input> = batch.iter().map(|&idx| inputs[idx].clone()).collect();
        done.extend(batch.iter().copied().zip(work(&of_batch)?));
    }
    done.sort_by_key(|(idx, _)| *idx);
    Ok(done.into_iter().map(|(_, found)| found).collect())
}

/// By input, what is given by model.
fn transposed<T>(by_model: Vec<Vec<T>>, inputs: usize) -> Vec<Vec<T>> {
    let mut models: Vec<_> = by_model.into_iter().map(Vec::into_iter).collect();
    (0..inputs).map(|_| models.iter_mut().filter_map(Iterator::next).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_the_mean_of_its_models_where_all_have_a_value() {
        let rewrite = |model: usize, values: &[(&str, f64)]| -> RewriteRow {
            let values: serde_json::Map<String, serde_json::Value> =
                values.iter().map(|&(key, value)| (key.to_owned(), value.into())).collect();
            serde_json::from_value(serde_json::json!({
                "model": model, "adapted_prompt": "a", "added_text": "", "added_phrases": [], "values": values,
            }))
            .expect("a rewrite")
        };
        let mut row: EvalRow = serde_json::from_value(serde_json::json!({
            "row_id": "s:0:x", "set": "s", "index": 0, "system": "x", "user_input": "a", "input_tokens": 1,
            "rewrites": [], "values": {},
        }))
        .expect("a row");
        row.rewrites = vec![rewrite(0, &[("a", 1.0), ("b", 1.0)]), rewrite(1, &[("a", 2.0)])];
        let mut missing = row.clone();
        finish(&mut row);
        assert_eq!(row.values, [("a".to_owned(), 1.5)].into());
        missing.missing = Some("one failed".to_owned());
        finish(&mut missing);
        assert!(missing.values.is_empty());
    }

    #[test]
    fn batches_are_of_like_length_and_order_is_kept() {
        let input = |text: &str| Input {
            user_input: text.to_owned(),
            human_prompt: None,
            category: None,
            source_kind: None,
        };
        let inputs: Vec<Input> = ["ccc", "a", "bb", "dddd", "e"].map(input).to_vec();
        let mut batches = Vec::new();
        let found = in_batches(&inputs, 2, |batch| {
            batches.push(batch.len());
            Ok(batch.iter().map(|input| input.user_input.clone()).collect())
        });
        assert_eq!(found.expect("no error"), ["ccc", "a", "bb", "dddd", "e"]);
        assert_eq!(batches, [2, 2, 1]);
    }

    #[test]
    fn by_model_becomes_by_input() {
        assert_eq!(transposed(vec![vec![1, 2], vec![3, 4]], 2), [[1, 3], [2, 4]]);
    }
}
