//! Many requests through one engine: each gets, bit for bit, the answers that it gets alone, whatever
//! searches are beside it, whenever it joined and on any number of threads.
//!
//! `decoding/batch_loop.rs` holds the loop to this over a toy model, and `engine.rs` the engine's rows
//! over tokens drawn at random; here is what users run.

mod common;

use std::collections::{HashMap, HashSet};

use common::{engine_with, golden, isas};
use promptist::decoding::{
    BatchLoop, EarlyStopping, Finish, Guided, Hypothesis, LanguageModel, LengthNormalization,
    RawDecodingSettings, Request, RequestId, generate,
};
use promptist::engine::{Engine, EngineOptions, Isa, Precision};

const MODELS: [&str; 3] = ["gpt2_tiny_a", "gpt2_tiny_b", "gpt2_tiny_c"];
const NUM_REQUESTS: usize = 32;
/// Fewer than all requests take together, so that some wait until others have left.
const MAX_ROWS: usize = 60;

/// One of each kind of search, and of each setting that changes what a row is asked.
fn searches() -> [RawDecodingSettings; 16] {
    let beams = |num_beams, length_penalty, early_stopping| RawDecodingSettings {
        num_beams: Some(num_beams),
        length_penalty: Some(length_penalty),
        early_stopping: Some(early_stopping),
        ..Default::default()
    };
    let greedy = || beams(1, 1.0, EarlyStopping::False);
    let diverse = |num_beams, num_beam_groups, diversity_penalty| RawDecodingSettings {
        num_beam_groups: Some(num_beam_groups),
        diversity_penalty: Some(diversity_penalty),
        ..beams(num_beams, -1.0, EarlyStopping::False)
    };
    let sample = |temperature| RawDecodingSettings {
        do_sample: Some(true),
        temperature: Some(temperature),
        top_k: Some(0),
        seed: Some(7),
        ..Default::default()
    };
    [
        greedy(),
        RawDecodingSettings { no_repeat_ngram_size: Some(2), min_new_tokens: Some(9), ..greedy() },
        RawDecodingSettings { repetition_penalty: Some(1.3), ..greedy() },
        beams(2, 1.0, EarlyStopping::False),
        RawDecodingSettings { num_return_sequences: Some(4), ..beams(4, -1.0, EarlyStopping::True) },
        RawDecodingSettings { no_repeat_ngram_size: Some(3), ..beams(4, 0.6, EarlyStopping::Never) },
        RawDecodingSettings { num_return_sequences: Some(2), ..beams(8, -1.0, EarlyStopping::False) },
        RawDecodingSettings {
            length_normalization: Some(LengthNormalization::Total),
            min_new_tokens: Some(6),
            ..beams(8, 2.0, EarlyStopping::Never)
        },
        RawDecodingSettings {
            repetition_penalty: Some(1.5),
            suppress_tokens: Some(vec![3, 5, 8, 13]),
            ..beams(8, 0.0, EarlyStopping::True)
        },
        diverse(4, 2, 0.5),
        RawDecodingSettings { num_return_sequences: Some(6), ..diverse(6, 3, 1.0) },
        RawDecodingSettings { no_repeat_ngram_size: Some(2), min_new_tokens: Some(4), ..diverse(8, 8, 2.5) },
        sample(1.0),
        RawDecodingSettings { top_k: Some(5), num_return_sequences: Some(3), ..sample(0.7) },
        RawDecodingSettings { top_p: Some(0.8), repetition_penalty: Some(1.2), ..sample(1.5) },
        RawDecodingSettings {
            min_p: Some(0.05),
            top_p: Some(0.9),
            num_return_sequences: Some(2),
            min_new_tokens: Some(5),
            ..sample(1.2)
        },
    ]
}

/// Each search twice, with prompts and answers of other lengths.
fn requests(vocab_size: usize) -> Vec<Request> {
    let searches = searches();
    let request = |idx: usize| {
        // Often enough an end token that answers end at every length.
        let end_tokens = (0..vocab_size as u32).step_by(11).collect();
        let lengths = RawDecodingSettings {
            max_new_tokens: Some(9 + idx % 7),
            eos_token_id: Some(end_tokens),
            ..Default::default()
        };
        let settings = searches[idx % searches.len()].clone().or(lengths).resolve();
        let token_id = |position: usize| (31 * idx * idx + 17 * position * (idx + position) + 1) % vocab_size;
        Request {
            prompt: (0..1 + idx * 7 % 23).map(|position| token_id(position) as u32).collect(),
            settings: settings.expect("possible settings"),
            sample_key: idx as u64,
            guide: None,
        }
    };
    (0..NUM_REQUESTS).map(request).collect()
}

/// Answers, their scores as bits.
type Answers = Vec<(Vec<u32>, u32, Finish)>;

fn bits(answers: Vec<Hypothesis>) -> Answers {
    answers.into_iter().map(|answer| (answer.token_ids, answer.score.to_bits(), answer.finish)).collect()
}

fn alone<M: LanguageModel>(model: &M, requests: &[Request]) -> Vec<Answers> {
    let answers = |Request { prompt, settings, sample_key, .. }: &Request| {
        let answers = generate(model, std::slice::from_ref(prompt), settings, &[*sample_key]);
        bits(answers.expect("decoding").concat())
    };
    requests.iter().map(answers).collect()
}

/// All requests through one loop, a few joining before each of the first steps.
fn together<M: LanguageModel>(model: &M, requests: &[Request]) -> Vec<Answers> {
    let mut batch = BatchLoop::new(model, MAX_ROWS);
    let mut places: HashMap<RequestId, usize> = HashMap::new();
    let mut answers = vec![Answers::new(); requests.len()];
    let (mut most_running, mut have_waited) = (0, false);
    let joins_at = |idx: usize| idx * 5 % 9;
    let mut step = 0;
    while places.len() < requests.len() || !batch.is_idle() {
        for (idx, request) in requests.iter().enumerate().filter(|&(idx, _)| joins_at(idx) == step) {
            places.insert(batch.add(request.clone()).expect("a possible request"), idx);
        }
        for finished in batch.step() {
            answers[places[&finished.id]] = bits(finished.answers.expect("decoding"));
        }
        most_running = most_running.max(batch.num_running());
        have_waited |= batch.num_waiting() > 0;
        step += 1;
    }
    assert!(most_running >= 8 && have_waited, "{most_running} requests at once are no batch");
    answers
}

fn open(model: &str, precision: Precision, isa: Isa, num_threads: usize) -> Engine {
    engine_with(&golden(model), EngineOptions { precision, isa: Some(isa), num_threads })
}

#[track_caller]
fn check<M: LanguageModel>(model: &M, requests: &[Request], expected: &[Answers], what: &str) {
    for (idx, (found, expected)) in together(model, requests).iter().zip(expected).enumerate() {
        assert_eq!(found, expected, "{what}, request {idx}: {:?}", requests[idx].settings);
    }
}

/// What is compared below is worth comparing.
#[test]
fn answers_end_in_both_ways_and_at_many_lengths() {
    for model in MODELS {
        let engine = open(model, Precision::F32, Isa::detect(), 1);
        let answers = alone(&engine, &requests(engine.vocab_size())).concat();
        let count = |finish| answers.iter().filter(|answer| answer.2 == finish).count();
        let lengths: HashSet<usize> = answers.iter().map(|answer| answer.0.len()).collect();
        assert!(count(Finish::Eos) > 5 && count(Finish::Length) > 5 && lengths.len() > 8, "{model}");
    }
}

#[test]
fn a_batch_of_32_mixed_requests_is_32_batches_of_one() {
    for model in MODELS {
        for precision in Precision::ALL {
            for isa in isas() {
                let engine = open(model, precision, isa, 1);
                let requests = requests(engine.vocab_size());
                let expected = alone(&engine, &requests);
                check(&engine, &requests, &expected, &format!("{model} {precision} {isa}, 1 thread"));
                let engine = open(model, precision, isa, 2);
                check(&engine, &requests, &expected, &format!("{model} {precision} {isa}, 2 threads"));
            }
        }
    }
}

#[test]
fn guided_requests_are_the_same_alone_and_in_a_batch() {
    for precision in Precision::ALL {
        let [one, two] = [1, 2].map(|num_threads| open(MODELS[1], precision, Isa::detect(), num_threads));
        let requests = requests(one.vocab_size());
        for scale in [1.0, 3.0] {
            let [one, two] =
                [&one, &two].map(|model| Guided { model, scale, neutral_prompt: (&[4, 2]).into() });
            let expected = alone(&one, &requests);
            check(&one, &requests, &expected, &format!("{precision}, guided by {scale}, 1 thread"));
            check(&two, &requests, &expected, &format!("{precision}, guided by {scale}, 2 threads"));
        }
    }
}
