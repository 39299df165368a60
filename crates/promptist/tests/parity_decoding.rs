//! Greedy, beam and diverse beam search of the GPT-2 on burn against transformers'.
//!
//! Golden files: `tools/reference/beam_search.py` (transformers 5.23) and `diverse_beam_search.py`
//! (4.56.2). No prompt in them is near a tie, so no difference is excused.

#![allow(clippy::print_stdout)] // --nocapture shows the errors seen

mod common;

use std::collections::HashMap;

use common::golden;
use promptist::decoding::{
    DecodingSettings, EarlyStopping, Finish, Hypothesis, LanguageModel, RawDecodingSettings, generate,
};
use promptist::gpt2::folder;
use serde::Deserialize;

/// Of `max(1, |score|)`, the design's. Seen on flex: 2.8e-6.
const TOLERANCE: f64 = 1e-4;
/// Of a batch's scores to its single runs', relative, on the tensor library; in the engine there is no
/// difference. Seen on flex: 1.9e-6.
const BATCH_TOLERANCE: f64 = 1e-5;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    model: String,
    max_new_tokens: usize,
    num_beams: usize,
    num_return_sequences: usize,
    length_penalty: f64,
    early_stopping: EarlyStopping,
    num_beam_groups: usize,
    diversity_penalty: f64,
    eos_token_ids: Vec<u32>,
    prompts: Vec<Prompt>,
}

#[derive(Deserialize)]
struct Prompt {
    input_ids: Vec<u32>,
    /// Best first, with the end token where there is one.
    sequences: Vec<Vec<u32>>,
    scores: Vec<f64>,
}

#[derive(Debug, Default)]
struct Seen {
    prompts: usize,
    answers: usize,
    max_error: f64,
    max_batch_error: f64,
}

#[test]
fn greedy_and_beam_search_equal_transformers_5_23() {
    check("beam.json", 200);
}

#[test]
fn diverse_beam_search_equals_transformers_4_56_2() {
    check("diverse_beam.json", 100);
}

/// On every device, and in the engine on every instruction set.
#[track_caller]
fn check(file: &str, at_least: usize) {
    let golden_file: Golden = common::golden_json(file);
    for (device_name, device) in common::devices() {
        let open = |model: &str| folder::open(&golden(model), &device).expect("a model folder");
        let seen = golden_file.compare(open, BATCH_TOLERANCE);
        println!("{device_name} {file}: {seen:?}");
        assert!(seen.prompts >= at_least, "{file} has lost its prompts: {seen:?}");
    }
    for isa in common::isas() {
        let seen = golden_file.compare(|model| common::engine(&golden(model), isa), 0.0);
        println!("engine {isa} {file}: {seen:?}");
        assert!(seen.prompts >= at_least, "{file} has lost its prompts: {seen:?}");
    }
}

impl Golden {
    #[track_caller]
    fn compare<M: LanguageModel>(&self, open: impl Fn(&str) -> M, batch_tolerance: f64) -> Seen {
        let mut models: HashMap<&str, M> = HashMap::new();
        let mut seen = Seen::default();
        for case in &self.cases {
            let model = models.entry(&case.model).or_insert_with(|| open(&case.model));
            case.compare(model, batch_tolerance, &mut seen);
        }
        seen
    }
}

impl Case {
    fn settings(&self) -> DecodingSettings {
        let raw = RawDecodingSettings {
            num_beams: Some(self.num_beams),
            num_beam_groups: Some(self.num_beam_groups),
            diversity_penalty: Some(self.diversity_penalty),
            length_penalty: Some(self.length_penalty),
            early_stopping: Some(self.early_stopping),
            max_new_tokens: Some(self.max_new_tokens),
            num_return_sequences: Some(self.num_return_sequences),
            eos_token_id: Some(self.eos_token_ids.clone()),
            ..RawDecodingSettings::default()
        };
        raw.resolve().expect("settings that transformers takes")
    }

    /// The batch against transformers, then every row alone against the batch.
    fn compare<M: LanguageModel>(&self, model: &M, batch_tolerance: f64, seen: &mut Seen) {
        let settings = self.settings();
        let prompts: Vec<Vec<u32>> = self.prompts.iter().map(|p| p.input_ids.clone()).collect();
        let batch = generate(model, &prompts, &settings, &[]).expect("decodes");
        assert_eq!(batch.len(), prompts.len());
        for (idx, (found, expected)) in batch.iter().zip(&self.prompts).enumerate() {
            let place = format!("{}, prompt {idx}", self.name);
            let error = self.error(found, expected, &place);
            seen.max_error = seen.max_error.max(error);
            seen.prompts += 1;
            seen.answers += found.len();

            let alone = generate(model, &prompts[idx..=idx], &settings, &[]).expect("decodes");
            let batch_error = difference_in_scores(found, &alone[0], &place);
            assert!(batch_error <= batch_tolerance, "{place}: {batch_error:e}");
            seen.max_batch_error = seen.max_batch_error.max(batch_error);
        }
    }

    /// Asserts that the ids are the same, and the scores within tolerance; returns the error seen.
    #[track_caller]
    fn error(&self, found: &[Hypothesis], expected: &Prompt, place: &str) -> f64 {
        assert_eq!(found.len(), expected.sequences.len(), "{place}");
        let mut max_error = 0.0_f64;
        for (rank, found) in found.iter().enumerate() {
            let (sequence, score) = (&expected.sequences[rank], expected.scores[rank]);
            let (token_ids, finish) = match sequence.split_last() {
                Some((last, before)) if self.eos_token_ids.contains(last) => (before, Finish::Eos),
                _ => (sequence.as_slice(), Finish::Length),
            };
            assert_eq!(found.token_ids, token_ids, "{place}, rank {rank}");
            assert_eq!(found.finish, finish, "{place}, rank {rank}");
            let error = (f64::from(found.score) - score).abs() / score.abs().max(1.0);
            assert!(error <= TOLERANCE, "{place}, rank {rank}: {} for {score}", found.score);
            max_error = max_error.max(error);
        }
        max_error
    }
}

/// The largest relative difference in scores; ids and ends must be the same.
#[track_caller]
fn difference_in_scores(found: &[Hypothesis], expected: &[Hypothesis], place: &str) -> f64 {
    let ids = |answers: &[Hypothesis]| -> Vec<(Vec<u32>, Finish)> {
        answers.iter().map(|answer| (answer.token_ids.clone(), answer.finish)).collect()
    };
    assert_eq!(ids(found), ids(expected), "{place}: a batch and its single runs");
    let pairs = found.iter().zip(expected);
    pairs
        .map(|(a, b)| f64::from((a.score - b.score).abs() / b.score.abs().max(f32::MIN_POSITIVE)))
        .fold(0.0, f64::max)
}
