//! Checkpoints in every form that PyTorch and transformers write, and what we save.
//!
//! Golden files: `tools/reference/checkpoints.py` and `hostile_pickles.py`. The other way round,
//! transformers reading ours, is `tools/reference/check_roundtrip.py` on what
//! `examples/write_roundtrip.rs` writes.

mod common;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use common::{Tensors, golden};
use half::{bf16, f16};
use promptist::gpt2::{Gpt2, Gpt2Config, folder};
use promptist::nn::Parameters;
use promptist::weights::Weights;
use tempfile::TempDir;

/// One model in every form; `model.safetensors` is the truth.
const FORMS: [&str; 18] = [
    "model.safetensors",
    "model_f16.safetensors",
    "model_bf16.safetensors",
    "sharded/model.safetensors.index.json",
    "sharded_bin/pytorch_model.bin.index.json",
    "zip_f32.bin",
    "zip_f16.bin",
    "zip_bf16.bin",
    "zip_tied_f32.bin",
    "zip_no_prefix_f32.bin",
    "zip_mask_buffers_f32.bin",
    "zip_views_f32.bin",
    "legacy_f32.bin",
    "legacy_f16.bin",
    "legacy_bf16.bin",
    "legacy_tied_f32.bin",
    "legacy_views_f32.bin",
    "hand_made.bin",
];

#[test]
fn every_form_of_a_checkpoint_gives_the_same_weights() {
    let pickle = golden("pickle");
    let config = Gpt2Config::read(&pickle.join("config.json")).expect("a config");
    let truth = Tensors::read(&pickle.join("model.safetensors"));
    for form in FORMS.iter().filter(|&&form| form != "hand_made.bin") {
        let weights = Weights::open_file(pickle.join(form)).expect(form);
        let model = folder::from_weights(&config, &weights, &Device::flex()).expect(form);
        let parameters = model.to_parameters().expect("readable");
        assert_eq!(parameters.len(), truth.names().len(), "{form}");
        let round = |value: f32| match form {
            form if form.contains("bf16") => bf16::from_f32(value).to_f32(),
            form if form.contains("f16") => f16::from_f32(value).to_f32(),
            _ => value,
        };
        for (name, shape, found) in parameters {
            let (expected_shape, expected) = truth.floats(&format!("transformer.{name}"));
            assert_eq!(shape, expected_shape, "{form}: {name}");
            let expected: Vec<u32> = expected.iter().map(|&v| round(v).to_bits()).collect();
            assert_eq!(bits(&found), expected, "{form}: {name}");
        }
    }
}

#[test]
fn an_honest_pickle_made_by_hand_opens() {
    let weights = Weights::open_file(golden("pickle/hand_made.bin")).expect("honest");
    let values = weights.get_f32("transformer.wte.weight", &[2, 4]).expect("one tensor");
    assert_eq!(values, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
}

#[test]
fn sharded_folders_open_as_models() {
    for name in ["pickle/sharded", "pickle/sharded_bin"] {
        let model = folder::open(&golden(name), &Device::flex()).expect(name);
        assert_eq!(model.config().n_layer, 2, "{name}");
    }
}

#[test]
fn no_golden_checkpoint_is_left_out() {
    let mut found: Vec<PathBuf> = files(&golden("pickle"));
    found.retain(|path| path.extension().is_some_and(|e| e == "bin" || e == "safetensors"));
    // Two of the forms are shard indices in folders of their own.
    assert_eq!(found.len(), FORMS.len() - 2, "{found:?}");
}

#[test]
fn every_hostile_pickle_is_refused_by_name() {
    let hostile = files(&golden("pickle/hostile"));
    assert!(hostile.len() >= 36, "the golden folder has lost its files");
    for path in hostile {
        match Weights::open_file(&path) {
            // A dictionary without entries, which asks for nothing and gives nothing.
            Ok(weights) => {
                assert!(path.ends_with("huge_memo_index.bin"), "{}", path.display());
                assert_eq!(weights.names().count(), 0);
            }
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains(&path.display().to_string()), "{error}");
            }
        }
    }
}

#[test]
fn what_is_saved_opens_with_the_same_bits() {
    for (device_name, device) in common::devices() {
        for name in ["gpt2_tiny_a", "gpt2_tiny_b", "gpt2_tiny_c"] {
            let golden = golden(name);
            let model = folder::open(&golden, &device).expect("a model folder");
            let files = folder::companion_files(&golden).expect("readable");
            assert_eq!(files.len(), 1, "generation_config.json");
            let saved = TempDir::new().expect("a temporary folder");
            folder::save(&model, saved.path(), &files).expect("saves");
            let again = folder::open(saved.path(), &device).expect("opens");
            assert_eq!(model.config(), again.config(), "{device_name} {name}");
            assert_eq!(all_bits(&model), all_bits(&again), "{device_name} {name}");
            assert_eq!(files, folder::companion_files(saved.path()).expect("readable"));
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a golden folder");
    let paths = entries.map(|entry| entry.expect("readable").path());
    paths.filter(|path| path.is_file()).collect()
}

fn all_bits(model: &Gpt2) -> Vec<(String, Vec<usize>, Vec<u32>)> {
    let parameters = model.to_parameters().expect("readable").into_iter();
    parameters.map(|(name, shape, values)| (name, shape, bits(&values))).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
