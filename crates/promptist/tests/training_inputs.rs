//! Text, pairs and tokenizers that cannot be trained on are errors that name them, before the first
//! step.

#[path = "common/tiny_run.rs"]
mod tiny_run;

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use promptist::config_file::ConfigFile;
use promptist::gpt2::{Gpt2, Gpt2Config, folder};
use promptist::progress::NoProgress;
use promptist::train::config::SftConfig;
use promptist::train::sft::{self, RunContext};
use tempfile::TempDir;
use tiny_run::{Steps, write_inputs};

const STEPS: Steps = Steps { language_model: 2, sft: 2, checkpoint_every: 1 };

/// Spoils one input of a run and expects its error.
#[track_caller]
fn check(file: &str, content: &[u8], expected: &str) {
    let folder = TempDir::new().expect("a temporary folder");
    let mut config = SftConfig::read(&write_inputs(folder.path(), STEPS)).expect("a valid config");
    if file.starts_with("pairs") {
        config.language_model = None;
    }
    let path = folder.path().join(file);
    fs::write(&path, content).expect("writable");
    let error = train(&config, &folder.path().join("run"), None).expect_err(file);
    assert!(error.starts_with(&path.display().to_string()), "{error}");
    assert!(error.contains(expected), "{error}");
}

fn train(config: &SftConfig, run: &Path, model_folder: Option<&Path>) -> Result<(), String> {
    let context = RunContext {
        run,
        resume: false,
        model_folder: model_folder.map(Path::to_owned),
        device: Device::flex(),
        progress: &NoProgress,
        stop: &AtomicBool::new(false),
    };
    sft::train(config, &context).map(drop).map_err(|error| error.to_string())
}

#[test]
fn text_and_pairs_that_are_none_are_refused_by_file_and_line() {
    check("text.txt", b"", "no text");
    check("text_validation.txt", b"", "no text");
    check("text.txt", b"a cat\n\xff\xfe\n", ":2: not UTF-8");
    check("pairs.jsonl", b"", "no pair");
    check("pairs_validation.jsonl", b"", "no pair");
    check("pairs.jsonl", b"{\"x\": \"a\", \"y\": \"b\"}\n{\"x\": \"a\"}\n", ":2: missing field `y`");
    check("pairs.jsonl", b"{\"x\": \"a\", \"y\":\n", ":1: EOF");
    check("tokenizer.json", b"{}", "tokenizer");
}

#[test]
fn a_tokenizer_larger_than_its_model_is_refused() {
    let folder = TempDir::new().expect("a temporary folder");
    let mut config = SftConfig::read(&write_inputs(folder.path(), STEPS)).expect("a valid config");
    let model = Gpt2Config {
        vocab_size: 100,
        n_positions: 48,
        n_embd: 8,
        n_layer: 1,
        n_head: 1,
        eos_token_id: Some(0),
        ..Gpt2Config::default()
    };
    let model = Gpt2::random(&model, 1, &Device::flex()).expect("a possible shape");
    let model_folder = folder.path().join("model");
    fs::create_dir(&model_folder).expect("writable");
    let files = folder::companion_files(folder.path()).expect("readable");
    folder::save(&model, &model_folder, &files).expect("saves");
    config.scratch = None;
    config.model = Some("model".into());
    let error = train(&config, &folder.path().join("run"), Some(&model_folder));
    let error = error.expect_err("ids beyond the embedding");
    assert!(error.contains("token ids for a model of 100"), "{error}");
}
