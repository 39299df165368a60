//! A world of forty-eight things and eight styles, and a prompter of seconds that knows them: what
//! reinforcement learning is tried on.

#![allow(dead_code)] // every test binary uses its part of it

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use promptist::config_file::ConfigFile;
use promptist::progress::NoProgress;
use promptist::tokenizer::Tokenizer;
use promptist::train::config::SftConfig;
use promptist::train::sft::{self, RunContext};

const ADJECTIVES: [&str; 6] = ["red", "old", "tiny", "golden", "lonely", "huge"];
const NOUNS: [&str; 8] = ["cat", "castle", "robot", "kite", "forest", "ship", "garden", "tower"];

/// The styles that the prompter adds, each as likely as the others.
pub const STYLES: [&str; 8] = [
    "highly detailed",
    "oil on canvas",
    "artstation",
    "sharp focus",
    "soft light",
    "watercolor",
    "wide angle",
    "concept art",
];

/// What users type there.
pub fn user_inputs() -> Vec<String> {
    let of = |adjective: &&str| NOUNS.map(|noun| format!("a {adjective} {noun}"));
    ADJECTIVES.iter().flat_map(of).collect()
}

/// Trains the prompter in `folder` and writes its users' inputs to `prompts.txt`. Returns the model's folder. It
/// adds one to three styles to the input, which it writes itself if `keep` is `free`.
pub fn prompter(folder: &Path, keep: &str, steps: u64) -> PathBuf {
    let inputs = user_inputs();
    let mut pairs = Vec::new();
    for (i, input) in inputs.iter().enumerate() {
        for j in 0..STYLES.len() {
            let style = |k: usize| STYLES[(i * (k + 1) + j * (2 * k + 1)) % STYLES.len()];
            let added: Vec<&str> = (0..1 + (i + j) % 3).map(style).collect();
            pairs.push(serde_json::json!({"x": input, "y": format!("{input}, {}", added.join(", "))}));
        }
    }
    let pairs: Vec<String> = pairs.iter().map(ToString::to_string).collect();
    let json = Tokenizer::train(pairs.iter().map(String::as_str), 360).expect("trains");
    fs::create_dir_all(folder).expect("a writable folder");
    for (name, content) in
        [("tokenizer.json", json), ("pairs.jsonl", pairs.join("\n")), ("prompts.txt", inputs.join("\n"))]
    {
        fs::write(folder.join(name), content + "\n").expect("a writable folder");
    }
    let name = folder.display();
    let config = SftConfig::from_toml(&format!(
        "seed = 3\n[scratch]\ntokenizer = '{name}'\nn_positions = 64\nn_embd = 32\nn_layer = 2\nn_head = 2\n\
         [sft]\ntrain = '{name}/pairs.jsonl'\nvalidation = '{name}/pairs.jsonl'\nkeep = '{keep}'\n\
         [sft.training]\nsteps = {steps}\nbatch_size = 32\nmicro_batch_tokens = 4096\nlearning_rate = 5e-3\n\
         warmup_steps = 10\nvalidate_every = {steps}\ncheckpoint_every = {steps}\nvalidation_examples = 64\n"
    ))
    .expect("a valid config");
    let run = folder.join("sft");
    let context = RunContext {
        run: &run,
        resume: false,
        model_folder: None,
        device: Device::flex(),
        progress: &NoProgress,
        stop: &Default::default(),
    };
    sft::train(&config, &context).expect("trains")
}
