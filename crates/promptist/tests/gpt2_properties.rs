//! GPT-2 and its cache against themselves, on random models and prompts.

mod common;

use burn::tensor::Device;
use common::{append_all, max_difference, whole_sequence_logits};
use promptist::Error;
use promptist::decoding::{Finish, LanguageModel, RawDecodingSettings, generate};
use promptist::gpt2::{Gpt2, Gpt2Config};
use promptist::nn::{ParameterMap, Parameters};
use promptist::train::adamw::{AdamW, AdamWConfig, Decay, Gradients};
use promptist::train::checkpoint::Checkpoints;
use promptist::train::examples::Example;
use promptist::train::gradients::accumulate;
use promptist::train::sft::{self, Best, TrainState};
use promptist::train::trainable::Trainable;
use proptest::prelude::*;
use tempfile::TempDir;

const VOCAB_SIZE: u32 = 23;
const EOS: u32 = 22;

/// Absolute; logits are of the order of 1. Seen: 1.4e-6.
const TOLERANCE: f32 = 1e-5;

/// A model of random shape and weights large enough that attention and order matter.
fn any_model() -> impl Strategy<Value = Gpt2> {
    let shape = (1..4_usize, 1..4_usize, 1..5_usize, any::<bool>(), any::<u64>());
    shape.prop_map(|(n_layer, n_head, head_dim, by_layer, seed)| {
        let config = Gpt2Config {
            vocab_size: VOCAB_SIZE as usize,
            n_positions: 32,
            n_embd: n_head * head_dim * 2,
            n_layer,
            n_head,
            scale_attn_by_inverse_layer_idx: by_layer,
            initializer_range: 0.4,
            bos_token_id: Some(EOS),
            eos_token_id: Some(EOS),
            ..Gpt2Config::default()
        };
        Gpt2::random(&config, seed, &Device::flex()).expect("a possible shape")
    })
}

fn any_prompts() -> impl Strategy<Value = Vec<Vec<u32>>> {
    let prompt = prop::collection::vec(0..VOCAB_SIZE, 1..12);
    prop::collection::vec(prompt, 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    /// Rows are repeated, permuted and dropped on the way, as a beam search does, and prompts join.
    #[test]
    fn the_cache_gives_the_logits_of_the_whole_sequence(
        model in any_model(),
        prompts in any_prompts(),
        steps in prop::collection::vec(
            (
                prop::collection::vec((any::<prop::sample::Index>(), 0..VOCAB_SIZE), 1..6),
                prop::collection::vec(prop::collection::vec(0..VOCAB_SIZE, 1..12), 0..2),
            ),
            1..6,
        ),
    ) {
        let mut sequences = prompts.clone();
        let mut cache = model.new_cache();
        check(&model, &sequences, &append_all(&model, &mut cache, &prompts).expect("fits"))?;
        for (step, joins) in &steps {
            let rows: Vec<usize> = step.iter().map(|(row, _)| row.index(sequences.len())).collect();
            let mut token_ids: Vec<Vec<u32>> = step.iter().map(|&(_, id)| vec![id]).collect();
            sequences = rows.iter().map(|&row| sequences[row].clone()).collect();
            model.reorder(&mut cache, &rows).expect("rows of the cache");
            token_ids.extend_from_slice(joins);
            sequences.resize(token_ids.len(), Vec::new());
            for (sequence, token_ids) in sequences.iter_mut().zip(&token_ids) {
                sequence.extend_from_slice(token_ids);
            }
            let logits = append_all(&model, &mut cache, &token_ids).expect("a token a row, and prompts");
            check(&model, &sequences, &logits)?;
        }
    }

    /// One beam is greedy: at each step the likeliest token, without a cache.
    #[test]
    fn one_beam_takes_the_likeliest_token_each_time(model in any_model(), prompts in any_prompts()) {
        let raw = RawDecodingSettings {
            num_beams: Some(1),
            max_new_tokens: Some(6),
            eos_token_id: Some(vec![EOS]),
            ..RawDecodingSettings::default()
        };
        let settings = raw.resolve().expect("possible settings");
        let found = generate(&model, &prompts, &settings, &[]).expect("decodes");
        for (prompt, found) in prompts.iter().zip(&found) {
            let mut sequence = prompt.clone();
            let mut finish = Finish::Length;
            for _ in 0..settings.max_new_tokens {
                let logits = whole_sequence_logits(&model, &sequence);
                let last = logits.last().expect("no empty prompt");
                let best = (0..VOCAB_SIZE).max_by(|&a, &b| last[a as usize].total_cmp(&last[b as usize]));
                let best = best.expect("a vocabulary");
                if best == EOS {
                    finish = Finish::Eos;
                    break;
                }
                sequence.push(best);
            }
            prop_assert_eq!(&found[0].token_ids, &sequence[prompt.len()..]);
            prop_assert_eq!(found[0].finish, finish);
        }
    }

    /// Weights, moments and state come back bit for bit.
    #[test]
    fn a_checkpoint_round_trips(model in any_model(), prompts in any_prompts(), step in 1..u64::MAX, loss: f64) {
        let examples: Vec<Example> = prompts
            .into_iter()
            .map(|prompt| Example { token_ids: [prompt, vec![EOS]].concat(), loss_from: 1 })
            .collect();
        let examples: Vec<&Example> = examples.iter().collect();
        let mut gradients = Gradients::new();
        accumulate(&model, &examples, &mut gradients).expect("examples with targets");
        let config = AdamWConfig {
            betas: (0.9, 0.999),
            eps: 1e-6,
            weight_decay: 0.1,
            decay: Decay::Matrices,
            max_grad_norm: 1.0,
            trainable: Trainable::All,
        };
        let mut optimizer = AdamW::default();
        let (model, _) = optimizer.update(model, &gradients, 1.0, 1e-3, &config).expect("finite");
        let best = Best { stage: "sft".into(), step, validation_loss: loss };
        let best = loss.is_finite().then_some(best);
        let state = TrainState { step, optimizer_step: 1, target_tokens: u64::MAX, best };

        let run = TempDir::new().expect("a temporary folder");
        let checkpoints = Checkpoints::new(run.path()).expect("writable");
        let files = vec![("merges.txt".to_owned(), b"#version: 0.2\n".to_vec())];
        sft::save(&checkpoints, &model, &optimizer, &state, &files).expect("saves");
        let (model_again, optimizer_again, state_again, _) =
            sft::load_latest(&checkpoints, &Device::flex()).expect("whole").expect("there is one");
        prop_assert_eq!(state, state_again);
        prop_assert_eq!(model.config(), model_again.config());
        prop_assert_eq!(bits(&model), bits(&model_again));
        prop_assert_eq!(optimizer.step, optimizer_again.step);
        prop_assert_eq!(moments(&optimizer), moments(&optimizer_again));
    }
}

#[test]
fn a_full_context_and_tokens_for_other_rows_are_errors() {
    let config = Gpt2Config {
        vocab_size: VOCAB_SIZE as usize,
        n_positions: 4,
        n_embd: 4,
        n_layer: 1,
        n_head: 1,
        eos_token_id: None,
        ..Gpt2Config::default()
    };
    let model = Gpt2::random(&config, 1, &Device::flex()).expect("a possible shape");
    let append = |cache: &mut _, token_ids: &[&[u32]]| append_all(&model, cache, token_ids).map(drop);
    let read = |prompt: &[u32]| append(&mut model.new_cache(), &[prompt]);
    assert!(matches!(read(&[1; 5]), Err(Error::PromptTooLong { prompt_tokens: 5, .. })));
    assert!(matches!(read(&[]), Err(Error::EmptyPrompt)));
    assert!(matches!(read(&[VOCAB_SIZE]), Err(Error::Tokenizer(_))));

    let mut cache = model.new_cache();
    append(&mut cache, &[&[1, 2, 3], &[4]]).expect("fits");
    assert!(matches!(append(&mut cache, &[&[1]]), Err(Error::Shape(_))));
    assert!(matches!(append(&mut cache, &[&[1], &[1, 1]]), Err(Error::Shape(_))));
    assert!(matches!(model.reorder(&mut cache, &[0, 2]), Err(Error::Shape(_))));
    append(&mut cache, &[&[1], &[1]]).expect("the last position");
    assert!(matches!(append(&mut cache, &[&[1], &[1]]), Err(Error::Shape(_))));
}

#[test]
fn a_walk_over_the_parameters_meets_each_once_by_its_checkpoint_name() {
    struct Names(Vec<String>);
    impl ParameterMap for Names {
        fn map<const D: usize>(
            &mut self,
            name: &str,
            tensor: burn::tensor::Tensor<D>,
        ) -> promptist::Result<burn::tensor::Tensor<D>> {
            self.0.push(name.to_owned());
            Ok(tensor)
        }
    }
    let config = Gpt2Config {
        vocab_size: 5,
        n_positions: 4,
        n_embd: 4,
        n_layer: 2,
        n_head: 2,
        eos_token_id: None,
        ..Gpt2Config::default()
    };
    let model = Gpt2::random(&config, 1, &Device::flex()).expect("a possible shape");
    let mut names = Names(Vec::new());
    model.visit_parameters(&mut names).expect("no error of its own");
    let shape = promptist::weights::gpt2_layout::Gpt2Shape {
        vocab_size: 5,
        n_positions: 4,
        n_embd: 4,
        n_inner: 16,
        n_layer: 2,
    };
    let expected = promptist::weights::gpt2_layout::expected_tensors(&shape).expect("a possible shape");
    assert_eq!(names.0, expected.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>());
    assert_eq!(model.parameter_shapes().expect("shapes"), expected);
}

/// Each row's logits against the whole sequence's last.
fn check(model: &Gpt2, sequences: &[Vec<u32>], logits: &[Vec<f32>]) -> Result<(), TestCaseError> {
    prop_assert_eq!(logits.len(), sequences.len());
    for (sequence, found) in sequences.iter().zip(logits) {
        let expected = whole_sequence_logits(model, sequence);
        let expected = expected.last().expect("no empty sequence");
        let error = max_difference(found, expected);
        let scale = common::max_abs(expected).max(1.0);
        prop_assert!(error <= TOLERANCE * scale, "{:e} of {}", error, scale);
    }
    Ok(())
}

fn bits(model: &Gpt2) -> Vec<(String, Vec<u32>)> {
    let parameters = model.to_parameters().expect("readable").into_iter();
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
    parameters.map(|(name, _, values)| (name, bits(values))).collect()
}

fn moments(optimizer: &AdamW) -> Vec<(String, Vec<u32>)> {
    let bits = |tensor: &burn::tensor::Tensor<1>| -> Vec<u32> {
        common::floats(tensor.clone()).into_iter().map(f32::to_bits).collect()
    };
    let both = |(name, (m, v)): (&String, &_)| (name.clone(), [bits(m), bits(v)].concat());
    optimizer.moments.iter().map(both).collect()
}
