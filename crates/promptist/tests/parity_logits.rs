//! Logits against transformers: whole sequences, and left-padded batches through the cache.
//!
//! Golden files: `tools/reference/logits.py`; the 124M shape on demand, `full_size.py`.

#![allow(clippy::print_stdout, clippy::print_stderr)] // --nocapture shows the errors seen

mod common;

use std::path::{Path, PathBuf};

use common::{Tensors, golden, max_difference};
use promptist::decoding::LanguageModel;
use promptist::gpt2::folder;

/// Absolute. Seen on flex: 1.4e-5 for the tiny models, whose logits reach 14 and whose f32 in
/// transformers is up to 1.1e-5 from f64; 1.6e-5 for the 124M shape.
const TOLERANCE: f32 = 1e-4;

#[test]
fn logits_of_the_plain_shape_equal_transformers() {
    check("gpt2_tiny_a", "logits_a.safetensors");
}

#[test]
fn logits_with_n_inner_another_epsilon_and_unprefixed_keys_equal_transformers() {
    check("gpt2_tiny_b", "logits_b.safetensors");
}

#[test]
fn logits_with_attention_scaled_by_layer_and_three_heads_equal_transformers() {
    check("gpt2_tiny_c", "logits_c.safetensors");
}

/// Wants `PROMPTIST_SLOW_TESTS=1` and `PROMPTIST_FULL_SIZE=DIR`, a folder of `full_size.py`.
#[test]
fn logits_of_the_124m_shape_equal_transformers() {
    if !common::slow_tests_are_wanted() {
        eprintln!("skipped: PROMPTIST_SLOW_TESTS is not 1");
        return;
    }
    let folder = std::env::var_os("PROMPTIST_FULL_SIZE").expect("PROMPTIST_FULL_SIZE names a folder");
    let folder = PathBuf::from(folder);
    let logits = folder.join("logits.safetensors");
    compare(&folder, &logits);
    common::mark_slow_test("parity_logits_124m");
}

#[track_caller]
fn check(model: &str, logits: &str) {
    compare(&golden(model), &golden(logits));
}

/// The model on every device, and in the engine on every instruction set.
#[track_caller]
fn compare(folder: &Path, logits: &Path) {
    let reference = Reference::read(logits);
    for (device_name, device) in common::devices() {
        let model = folder::open(folder, &device).expect("a model folder");
        let whole = |token_ids: &[u32]| common::whole_sequence_logits(&model, token_ids);
        reference.compare(device_name, &model, whole);
    }
    for isa in common::isas() {
        let engine = common::engine(folder, isa);
        let whole = |token_ids: &[u32]| engine.logits(token_ids).expect("tokens of the model");
        reference.compare(&format!("engine {isa}"), &engine, whole);
    }
}

/// What transformers computed for a left-padded batch and six tokens a row after it.
struct Reference {
    prompts: Vec<Vec<u32>>,
    continuations: Vec<Vec<u32>>,
    /// By row and position of the prompt: `[V]`.
    prompt_logits: Vec<Vec<Vec<f32>>>,
    /// By row and token of the continuation: `[V]`.
    continuation_logits: Vec<Vec<Vec<f32>>>,
}

impl Reference {
    fn read(path: &Path) -> Self {
        let tensors = Tensors::read(path);
        let (_, mask) = tensors.ints("attention_mask");
        let (shape, input_ids) = tensors.ints("input_ids");
        let [b, t] = shape[..] else { panic!("input_ids: {shape:?}") };
        let rows_of_ids = |ids: &[i64], columns: usize| -> Vec<Vec<u32>> {
            let row = |row: &[i64]| row.iter().map(|&id| id as u32).collect();
            ids.chunks(columns).map(row).collect()
        };
        let rows_of_logits = |name: &str| -> Vec<Vec<Vec<f32>>> {
            let (shape, values) = tensors.floats(name);
            let [_, t, v] = shape[..] else { panic!("{name}: {shape:?}") };
            let row = |row: &[f32]| row.chunks(v).map(<[f32]>::to_vec).collect();
            values.chunks(t * v).map(row).collect()
        };
        let (shape, continuation_ids) = tensors.ints("continuation_ids");
        let continuations = rows_of_ids(&continuation_ids, shape[1]);
        let mut prompts = rows_of_ids(&input_ids, t);
        let mut prompt_logits = rows_of_logits("logits");
        for row in 0..b {
            let padding = mask[row * t..][..t].iter().filter(|&&real| real == 0).count();
            prompts[row].drain(..padding);
            prompt_logits[row].drain(..padding);
        }
        assert!(prompts.iter().any(|prompt| prompt.len() < t), "nothing is padded");
        Self {
            prompts,
            continuations,
            prompt_logits,
            continuation_logits: rows_of_logits("continuation_logits"),
        }
    }

    #[track_caller]
    fn compare<M: LanguageModel>(&self, name: &str, model: &M, whole: impl Fn(&[u32]) -> Vec<Vec<f32>>) {
        let (whole, cached) = (self.whole_sequence_error(whole), self.cached_error(model));
        println!("{name}: whole sequences {whole:.1e}, left-padded and cached {cached:.1e}");
        assert!(whole <= TOLERANCE && cached <= TOLERANCE, "{name}");
    }

    /// Prompt and continuation in one pass, a row at a time.
    fn whole_sequence_error(&self, whole: impl Fn(&[u32]) -> Vec<Vec<f32>>) -> f32 {
        let mut error = 0.0_f32;
        for (row, prompt) in self.prompts.iter().enumerate() {
            let token_ids = [prompt.as_slice(), &self.continuations[row]].concat();
            let found = whole(&token_ids);
            let expected = self.prompt_logits[row].iter().chain(&self.continuation_logits[row]);
            assert_eq!(found.len(), expected.clone().count());
            for (found, expected) in found.iter().zip(expected) {
                error = error.max(max_difference(found, expected));
            }
        }
        error
    }

    /// The padded batch through the cache: what prefill returns, then every step.
    fn cached_error<M: LanguageModel>(&self, model: &M) -> f32 {
        let steps = self.continuations[0].len();
        let mut cache = model.new_cache();
        let logits = common::append_all(model, &mut cache, &self.prompts).expect("prompts fit");
        let mut error = 0.0_f32;
        for (row, expected) in self.prompt_logits.iter().enumerate() {
            let last = expected.last().expect("no empty prompt");
            error = error.max(max_difference(&logits[row], last));
        }
        for step in 0..steps {
            let token_ids: Vec<&[u32]> = self.continuations.iter().map(|ids| &ids[step..=step]).collect();
            let logits = common::append_all(model, &mut cache, &token_ids).expect("a token a row");
            for (row, expected) in self.continuation_logits.iter().enumerate() {
                error = error.max(max_difference(&logits[row], &expected[step]));
            }
        }
        error
    }
}
