//! The searches against transformers', over the toy model: `tools/reference/toy_beam.py`.

use promptist::decoding::{Finish, RawDecodingSettings, generate};
use serde::Deserialize;

use crate::toy::Toy;

/// Of `max(1, |score|)`; the largest error seen is 2.7e-7, two units in the last place.
const TOLERANCE: f64 = 1e-5;

#[derive(Deserialize)]
struct Golden {
    vocab_size: usize,
    eos_bias: f32,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    seed: u64,
    settings: RawDecodingSettings,
    prompts: Vec<Vec<u32>>,
    answers: Vec<Vec<Answer>>,
}

#[derive(Deserialize)]
struct Answer {
    token_ids: Vec<u32>,
    score: f64,
    finish: Finish,
}

#[test]
fn greedy_and_beam_search_equal_transformers_5_23() {
    check(include_str!("../golden/toy_beam.json"));
}

#[test]
fn diverse_beam_search_equals_transformers_4_56_2_and_total_length_4_23_1() {
    check(include_str!("../golden/toy_diverse_beam.json"));
}

fn check(golden: &str) {
    let golden: Golden = serde_json::from_str(golden).expect("golden file");
    let mut num_answers = 0;
    for case in &golden.cases {
        let settings = case.settings.clone().resolve().expect("possible settings");
        let model = Toy::new(golden.vocab_size, case.seed, &settings.eos_token_id, golden.eos_bias);
        let found = generate(&model, &case.prompts, &settings, &[]).expect("decoding");
        for (prompt_idx, (found, expected)) in found.iter().zip(&case.answers).enumerate() {
            let name = || format!("seed {}, prompt {prompt_idx}, {settings:?}", case.seed);
            assert_eq!(found.len(), expected.len(), "{}", name());
            for (found, expected) in found.iter().zip(expected) {
                assert_eq!(found.token_ids, expected.token_ids, "{}", name());
                assert_eq!(found.finish, expected.finish, "{}", name());
                let error = (f64::from(found.score) - expected.score).abs() / expected.score.abs().max(1.0);
                assert!(error <= TOLERANCE, "{} for {}: {}", found.score, expected.score, name());
                num_answers += 1;
            }
        }
    }
    assert!(num_answers > 700, "the golden file has lost its cases");
}
