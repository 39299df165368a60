//! A training run of seconds, both stages and from scratch, and what of it must not depend on how
//! often it was interrupted.

#![allow(dead_code)] // every test binary uses its part of it

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use promptist::tokenizer::Tokenizer;
use serde_json::{Map, Value};

/// Optimiser steps of each of the two stages.
#[derive(Debug, Clone, Copy)]
pub struct Steps {
    pub language_model: u64,
    pub sft: u64,
    pub checkpoint_every: u64,
}

/// Writes text, pairs, a tokenizer and the config of a run into `folder`; returns the config's path.
pub fn write_inputs(folder: &Path, steps: Steps) -> PathBuf {
    let subjects = ["a cat", "an old castle", "the sea at night", "two robots", "a red kite"];
    let styles = ["highly detailed", "oil on canvas", "artstation", "8k", "soft light", "sharp focus"];
    let mut texts = Vec::new();
    let mut pairs = Vec::new();
    for (i, subject) in subjects.iter().enumerate() {
        for (j, style) in styles.iter().enumerate() {
            let another = styles[(i + 2 * j + 1) % styles.len()];
            texts.push(format!("{subject}, {style}, {another}"));
            let pair = serde_json::json!({"x": subject, "y": format!("{subject}, {style}, {another}")});
            pairs.push(pair.to_string());
        }
    }
    let json = Tokenizer::train(texts.iter().map(String::as_str), 300).expect("trains");
    for (name, content) in [
        ("tokenizer.json", json),
        ("text.txt", texts[..25].join("\n")),
        ("text_validation.txt", texts[25..].join("\n")),
        ("pairs.jsonl", pairs[..25].join("\n")),
        ("pairs_validation.jsonl", pairs[25..].join("\n")),
    ] {
        fs::write(folder.join(name), content + "\n").expect("a writable folder");
    }
    let Steps { language_model, sft, checkpoint_every } = steps;
    // Single quotes: TOML takes the paths literally.
    let folder_name = folder.display();
    let training = |steps: u64| {
        format!(
            "steps = {steps}\nbatch_size = 4\nmicro_batch_tokens = 64\nlearning_rate = 3e-3\n\
             warmup_steps = 2\nvalidate_every = 3\ncheckpoint_every = {checkpoint_every}\n"
        )
    };
    let config = format!(
        "seed = 7\n\n[scratch]\ntokenizer = '{folder_name}'\nn_positions = 48\nn_embd = 32\n\
         n_layer = 2\nn_head = 2\n\n\
         [language_model]\ntext = ['{folder_name}/text.txt']\n\
         validation = ['{folder_name}/text_validation.txt']\nblock_size = 24\n\n\
         [language_model.training]\n{}\n\
         [sft]\ntrain = '{folder_name}/pairs.jsonl'\n\
         validation = '{folder_name}/pairs_validation.jsonl'\n\n[sft.training]\n{}",
        training(language_model),
        training(sft)
    );
    let path = folder.join("config.toml");
    fs::write(&path, config).expect("a writable folder");
    path
}

/// What a finished run must have in common with any other of the same config.
pub struct Outcome {
    /// Every file of the exported model and of the latest checkpoint.
    files: BTreeMap<String, Vec<u8>>,
    /// The rows of `metrics.jsonl`, without those fields that speak of clocks.
    metrics: Vec<Map<String, Value>>,
}

impl Outcome {
    /// Of the run in `run`.
    pub fn read(run: &Path) -> Self {
        let mut files = BTreeMap::new();
        for folder in [run.join("model"), latest_checkpoint(run)] {
            for entry in fs::read_dir(&folder).expect("a finished run") {
                let path = entry.expect("a readable folder").path();
                let name = path.strip_prefix(run).expect("inside the run");
                let bytes = fs::read(&path).expect("a readable file");
                files.insert(name.display().to_string(), bytes);
            }
        }
        let metrics = fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
        let row = |line: &str| {
            let mut row: Map<String, Value> = serde_json::from_str(line).expect("a row");
            row.retain(|name, _| !name.starts_with("perf/"));
            row
        };
        let metrics = metrics.lines().map(row).collect();
        Self { files, metrics }
    }

    /// Asserts that `other` is the same, bit for bit.
    #[track_caller]
    pub fn assert_same(&self, other: &Self, what: &str) {
        let names = |outcome: &Self| outcome.files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(self), names(other), "{what}");
        for (name, bytes) in &self.files {
            assert!(*bytes == other.files[name], "{what}: {name} differs");
        }
        assert_eq!(self.metrics.len(), other.metrics.len(), "{what}: rows");
        for (ours, theirs) in self.metrics.iter().zip(&other.metrics) {
            assert_eq!(ours, theirs, "{what}");
        }
    }

    /// Rows of metrics.
    pub fn rows(&self) -> usize {
        self.metrics.len()
    }
}

/// The checkpoint folder that `latest` names.
pub fn latest_checkpoint(run: &Path) -> PathBuf {
    let checkpoints = run.join("checkpoints");
    let latest = fs::read_to_string(checkpoints.join("latest")).expect("a checkpoint");
    checkpoints.join(latest.trim())
}
