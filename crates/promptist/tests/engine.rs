//! The engine against itself: a row is the same bits whatever is beside it, however it came there and
//! on any number of threads, in every precision and on every instruction set.
//!
//! Against transformers it is held by `parity_logits.rs` and `parity_decoding.rs`.

use std::path::{Path, PathBuf};

use promptist::decoding::{Allowed, Answer, Answers, LanguageModel, Queries, Query, TokenLogit};
use promptist::engine::{Engine, EngineOptions, Isa, Precision};
use promptist::error::Error;
use promptist::gpt2::Gpt2Config;
use promptist::weights::Weights;

const MODELS: [&str; 3] = ["gpt2_tiny_a", "gpt2_tiny_b", "gpt2_tiny_c"];

fn folder(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(model)
}

fn open(model: &str, precision: Precision, isa: Isa, num_threads: usize) -> Engine {
    let config = Gpt2Config::read(&folder(model).join("config.json")).expect("a config");
    let weights = Weights::open(folder(model)).expect("weights");
    let options = EngineOptions { precision, isa: Some(isa), num_threads };
    Engine::open(&config, &weights, options).expect("an engine")
}

fn available_isas() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available())
}

/// A linear congruential generator: the same draws everywhere.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound
    }

    fn token_ids(&mut self, vocab_size: usize, len: usize) -> Vec<u32> {
        (0..len).map(|_| self.below(vocab_size) as u32).collect()
    }
}

/// All that was answered about a row, its numbers as bits.
fn bits(answer: &Answer<'_>) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    let of = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let top = answer.top.iter().flat_map(|top| [top.token_id, top.logit.to_bits()]);
    let normalizer = [answer.normalizer.max.to_bits(), answer.normalizer.log_sum.to_bits()];
    (top.chain(normalizer).collect(), of(answer.asked), of(answer.logits))
}

/// Rows join, are repeated, permuted and dropped; each is compared at every step with its whole text
/// read by an engine of one thread, alone and at once.
fn check_random_batches(model: &str, precision: Precision, isa: Isa, num_threads: usize) {
    let (engine, reference) = (open(model, precision, isa, num_threads), open(model, precision, isa, 1));
    let (v, n_positions) = (engine.vocab_size(), engine.n_positions());
    let mut draws = Draws(num_threads as u64);
    let mut cache = engine.new_cache();
    let mut texts: Vec<Vec<u32>> = Vec::new();
    let (mut answers, mut alone) = (Answers::default(), Answers::default());
    for step in 0..12 {
        if step > 0 {
            let num_rows = if step == 7 { 0 } else { 1 + draws.below(9) };
            let rows: Vec<usize> = (0..num_rows).map(|_| draws.below(texts.len())).collect();
            engine.reorder(&mut cache, &rows).expect("rows that are there");
            texts = rows.iter().map(|&row| texts[row].clone()).collect();
        }
        let num_old = texts.len();
        let mut appended: Vec<Vec<u32>> = (0..num_old).map(|_| draws.token_ids(v, 1)).collect();
        for _ in 0..if num_old == 0 { 3 } else { draws.below(3) } {
            let len = 1 + draws.below(n_positions / 2);
            appended.push(draws.token_ids(v, len));
        }
        texts.resize(appended.len(), Vec::new());
        texts.iter_mut().zip(&appended).for_each(|(text, appended)| text.extend(appended));

        let mut queries = Queries::default();
        for row in 0..texts.len() {
            match row % 3 {
                0 => queries.push(Query::All),
                _ => {
                    let (count, len) = (draws.below(40), draws.below(4));
                    queries.push(Query::Top {
                        count,
                        allowed: Allowed::ALL,
                        token_ids: &draws.token_ids(v, len),
                    });
                }
            }
        }
        let token_ids: Vec<&[u32]> = appended.iter().map(Vec::as_slice).collect();
        engine.append(&mut cache, &token_ids, &queries, &mut answers).expect("tokens of the model");
        assert_eq!(answers.len(), texts.len());
        for (row, text) in texts.iter().enumerate() {
            let mut query = Queries::default();
            query.push(queries.row(row));
            reference.append(&mut reference.new_cache(), &[text], &query, &mut alone).expect("a prompt");
            assert_eq!(
                bits(&answers.row(row)),
                bits(&alone.row(0)),
                "{model} {precision} {isa}, {num_threads} threads, step {step}, row {row}"
            );
        }
    }
}

#[test]
fn a_row_is_the_same_bits_alone_and_in_any_batch_on_any_number_of_threads() {
    for model in MODELS {
        for precision in Precision::ALL {
            for isa in available_isas() {
                for num_threads in [1, 2, 3] {
                    check_random_batches(model, precision, isa, num_threads);
                }
            }
        }
    }
}

/// More rows than are read at once, so that a prompt is cut into several steps.
#[test]
fn a_long_prompt_is_the_same_bits_as_its_tokens_one_by_one() {
    let (model, isa) = ("gpt2_tiny_b", Isa::detect());
    for precision in Precision::ALL {
        let engine = open(model, precision, isa, 2);
        let mut draws = Draws(5);
        let prompts: Vec<Vec<u32>> = (0..6).map(|_| draws.token_ids(engine.vocab_size(), 90)).collect();
        let token_ids: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let mut together = Answers::default();
        let mut cache = engine.new_cache();
        engine.append(&mut cache, &token_ids, &Queries::all(6), &mut together).expect("prompts");

        let mut answers = Answers::default();
        let mut cache = engine.new_cache();
        for position in 0..90 {
            let token_ids: Vec<&[u32]> = prompts.iter().map(|prompt| &prompt[position..=position]).collect();
            engine.append(&mut cache, &token_ids, &Queries::all(6), &mut answers).expect("tokens");
        }
        for row in 0..6 {
            assert_eq!(bits(&together.row(row)), bits(&answers.row(row)), "{precision}, row {row}");
        }
    }
}

#[test]
fn what_is_kept_of_logits_is_what_the_logits_say() {
    for model in MODELS {
        for precision in Precision::ALL {
            let engine = open(model, precision, Isa::detect(), 2);
            let v = engine.vocab_size();
            let prompt = Draws(9).token_ids(v, 20);
            let token_ids = [v as u32 - 1, 0, 7, 0];
            let mut queries = Queries::default();
            queries.push(Query::All);
            for count in [0, 1, 13, v - 1, v + 5] {
                queries.push(Query::Top { count, allowed: Allowed::ALL, token_ids: &token_ids });
            }
            let prompts = vec![prompt.as_slice(); queries.len()];
            let mut answers = Answers::default();
            engine.append(&mut engine.new_cache(), &prompts, &queries, &mut answers).expect("prompts");

            let all = answers.row(0);
            let mut sorted: Vec<TokenLogit> =
                all.logits.iter().zip(0..).map(|(&logit, token_id)| TokenLogit { token_id, logit }).collect();
            sorted.sort_by(|a, b| b.logit.total_cmp(&a.logit).then(a.token_id.cmp(&b.token_id)));
            let max = sorted[0].logit;
            let sum: f64 = all.logits.iter().map(|&logit| (f64::from(logit) - f64::from(max)).exp()).sum();
            assert_eq!((all.normalizer.max, all.logits.len()), (max, v));
            assert!((f64::from(all.normalizer.log_sum) - sum.ln()).abs() < 1e-6 * sum.ln().abs().max(1.0));
            for (row, count) in (1..).zip([0, 1, 13, v - 1, v + 5]) {
                let answer = answers.row(row);
                assert_eq!(answer.top, &sorted[..count.min(v)], "{model} {precision}, {count} of {v}");
                assert_eq!(answer.asked, token_ids.map(|id| all.logits[id as usize]));
                assert_eq!(answer.normalizer, all.normalizer);
            }
        }
    }
}

/// On the logits of one prompt; int8 on models this small and this random is as far as it gets.
#[test]
fn approximations_stay_near_f32() {
    for model in MODELS {
        let prompt = Draws(3).token_ids(open(model, Precision::F32, Isa::Portable, 1).vocab_size(), 40);
        let logits = |precision| {
            let rows = open(model, precision, Isa::detect(), 1).logits(&prompt).expect("a prompt");
            rows.concat()
        };
        let exact = logits(Precision::F32);
        let norm = |values: &[f32]| values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        for (precision, tolerance) in [(Precision::Bf16, 0.01), (Precision::Int8, 0.04)] {
            let difference: Vec<f32> = logits(precision).iter().zip(&exact).map(|(a, b)| a - b).collect();
            let relative = norm(&difference) / norm(&exact);
            assert!(relative <= tolerance, "{model} {precision}: {relative}");
        }
    }
}

#[test]
fn what_cannot_be_appended_is_an_error_and_changes_nothing() {
    let engine = open("gpt2_tiny_a", Precision::F32, Isa::Portable, 1);
    let other = open("gpt2_tiny_b", Precision::F32, Isa::Portable, 1);
    let mut cache = engine.new_cache();
    let mut answers = Answers::default();
    let (v, n_positions) = (engine.vocab_size() as u32, engine.n_positions());
    let mut append = |cache: &mut _, token_ids: &[&[u32]]| {
        engine.append(cache, token_ids, &Queries::all(token_ids.len()), &mut answers)
    };
    append(&mut cache, &[&[1, 2], &[3]]).expect("prompts");
    assert!(matches!(append(&mut cache, &[&[1]]), Err(Error::Shape(_))));
    assert!(matches!(append(&mut cache, &[&[1], &[1, 2]]), Err(Error::Shape(_))));
    assert!(matches!(append(&mut cache, &[&[1], &[1], &[]]), Err(Error::EmptyPrompt)));
    assert!(matches!(append(&mut cache, &[&[1], &[v]]), Err(Error::Tokenizer(_))));
    let long = vec![0; n_positions + 1];
    assert!(matches!(append(&mut cache, &[&[1], &[1], &long]), Err(Error::PromptTooLong { .. })));
    assert!(matches!(append(&mut other.new_cache(), &[&[1]]), Err(Error::Shape(_))));
    assert!(matches!(engine.reorder(&mut cache, &[2]), Err(Error::Shape(_))));

    append(&mut cache, &[&[1], &[1], &long[1..]]).expect("the rows are as they were");
    assert!(matches!(append(&mut cache, &[&[1], &[1], &[1]]), Err(Error::Shape(_))), "the third is full");

    let unasked = Query::Top { count: 1, allowed: Allowed::ALL, token_ids: &[v] };
    let mut queries = Queries::default();
    queries.push(unasked);
    let result = engine.append(&mut engine.new_cache(), &[&[1]], &queries, &mut Answers::default());
    assert!(matches!(result, Err(Error::Shape(_))));
}
