//! Times a round of PPO for `bench/peers/ppo_round.py`: a line on standard input is answered by a round, as JSON.
//!
//! ```sh
//! cargo run --release --example time_ppo_round -- CHECKPOINT VALUE_HEAD.safetensors SETTINGS.json
//! ```

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs;
use std::io::stdin;
use std::path::Path;
use std::time::Instant;

use burn::tensor::Device;
use promptist::config_file::ConfigFile;
use promptist::engine::{EngineOptions, Precision};
use promptist::gpt2::{Gpt2, folder};
use promptist::model_source::ModelFiles;
use promptist::nn::Parameters;
use promptist::prompter::{Backend, Prompter};
use promptist::template::Keep;
use promptist::train::examples::Example;
use promptist::train::ppo::config::PpoConfig;
use promptist::train::ppo::experience::{Experience, Models, collect};
use promptist::train::ppo::rollout::Explorer;
use promptist::train::ppo::state;
use promptist::train::ppo::update::Learner;
use promptist::weights::Weights;
use serde::{Deserialize, Serialize};

/// What both sides are told.
#[derive(Deserialize)]
struct Settings {
    device: String,
    new_tokens: usize,
    num_beams: usize,
    chunk_size: usize,
    trainable_layers: usize,
    micro_batch_rows: usize,
    end_token: u32,
}

#[derive(Deserialize)]
struct Prompts {
    texts: Vec<String>,
    ids: Vec<Vec<u32>>,
}

#[derive(Deserialize)]
struct Request {
    round: u64,
    num_prompts: usize,
    epochs: usize,
    /// Answers to learn from instead of those that were found.
    responses: Option<Vec<Vec<u32>>>,
}

#[derive(Serialize)]
struct Answer {
    explore_seconds: f64,
    score_seconds: f64,
    update_seconds: f64,
    peak_bytes: u64,
    /// Without the end token.
    responses: Vec<Vec<u32>>,
    /// Policy and value loss of each epoch.
    losses: Vec<[f64; 2]>,
}

struct Bench {
    settings: Settings,
    config: PpoConfig,
    prompts: Prompts,
    explorer: Explorer,
    reference: Gpt2,
    learner: Option<Learner>,
    device: Device,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [checkpoint, head, settings] = &arguments[..] else {
        return Err("expected: CHECKPOINT VALUE_HEAD SETTINGS".into());
    };
    let settings = serde_json::from_slice(&fs::read(settings)?)?;
    let mut bench = Bench::open(Path::new(checkpoint), Path::new(head), settings)?;
    println!("{{\"ready\": true}}");
    for line in stdin().lines() {
        let answer = bench.round(&serde_json::from_str(&line?)?)?;
        println!("{}", serde_json::to_string(&answer)?);
    }
    Ok(())
}

impl Bench {
    fn open(checkpoint: &Path, head: &Path, settings: Settings) -> Result<Self, Box<dyn Error>> {
        let prompts: Prompts = serde_json::from_slice(&fs::read(checkpoint.join("prompts.json"))?)?;
        let model = checkpoint.join("hf");
        let device = device(&settings.device)?;
        let backend = match settings.device.as_str() {
            "cpu" => {
                let EngineOptions { isa, num_threads, .. } = EngineOptions::default();
                Backend::Engine { precision: Some(Precision::F32), isa, num_threads }
            }
            _ => Backend::TensorLibrary(device.clone()),
        };
        let prompter = Prompter::open(&ModelFiles::folder(&model), &backend)?;
        for (text, ids) in prompts.texts.iter().zip(&prompts.ids) {
            if prompter.prompt_for(text, Keep::Free)? != *ids {
                return Err(format!("other tokens of {text:?}").into());
            }
        }
        let mut config = PpoConfig::from_toml(
            r#"
            model = "hf"
            prompts.sources = [{ path = "prompts.json" }]
            reward = [{ name = "constant", kind = "phrase", phrase = "unused" }]
            "#,
        )?;
        config.exploration.chunk_size = settings.chunk_size;
        config.exploration.num_beams = settings.num_beams;
        config.exploration.max_new_tokens = (settings.new_tokens, settings.new_tokens);
        config.exploration.suppress_tokens = vec![settings.end_token];
        config.ppo.trainable_layers = Some(settings.trainable_layers);
        // What a row feeds to the model: prompt and answer; the end token is only a target.
        config.ppo.micro_batch_tokens =
            settings.micro_batch_rows * (prompts.ids[0].len() + settings.new_tokens);
        let explorer = Explorer::new(prompter, Keep::Free, config.exploration.clone(), config.seed)?;

        let mut learner = state::start(&model, false, config.seed, &device)?;
        let head = Weights::open_file(head)?;
        learner.value.head = learner.value.head.load(|name, shape| head.get_f32(name, shape))?;
        let reference = folder::open(&model, &device)?;
        Ok(Self { settings, config, prompts, explorer, reference, learner: Some(learner), device })
    }

    fn round(&mut self, request: &Request) -> Result<Answer, Box<dyn Error>> {
        let mut learner = self.learner.take().ok_or("a round failed before")?;
        let texts = &self.prompts.texts[..request.num_prompts];

        let exploring = Instant::now();
        self.explorer.refresh(&learner.policy)?;
        let mut found = Vec::with_capacity(texts.len());
        for (idx, chunk) in texts.chunks(self.settings.chunk_size).enumerate() {
            found.extend(self.explorer.explore(chunk, request.round, idx)?);
        }
        let explore_seconds = exploring.elapsed().as_secs_f64();
        let mut examples: Vec<Example> = found.into_iter().map(|response| response.example).collect();
        let responses = examples.iter().map(answer).collect();
        if let Some(given) = &request.responses {
            examples = texts
                .iter()
                .zip(given)
                .map(|(text, ids)| self.explorer.example(text, ids))
                .collect::<Result<_, _>>()?;
        }

        let scoring = Instant::now();
        let scores = vec![1.0; examples.len()];
        let models = Models { policy: &learner.policy, reference: &self.reference, value: &learner.value };
        let experiences = collect(models, examples, &scores, self.config.kl.coefficient, &self.config)?;
        let score_seconds = scoring.elapsed().as_secs_f64();

        let updating = Instant::now();
        let experiences: Vec<&Experience> = experiences.iter().collect();
        let mut losses = Vec::with_capacity(request.epochs);
        for _ in 0..request.epochs {
            let step;
            (learner, step) = learner.step(&experiences, true, &self.config)?;
            losses.push([step.policy_loss, step.value_loss]);
        }
        self.device.sync().map_err(|error| format!("{error:?}"))?;
        let update_seconds = updating.elapsed().as_secs_f64();
        self.learner = Some(learner);
        let peak_bytes = peak_bytes()?;
        Ok(Answer { explore_seconds, score_seconds, update_seconds, peak_bytes, responses, losses })
    }
}

/// The answer's tokens without the end token.
fn answer(example: &Example) -> Vec<u32> {
    example.token_ids[example.loss_from..example.token_ids.len() - 1].to_vec()
}

fn device(name: &str) -> Result<Device, Box<dyn Error>> {
    match name {
        "cpu" => Ok(Device::flex()),
        #[cfg(feature = "vulkan")]
        "vulkan" => Ok(Device::vulkan(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(0)),
        _ => Err(format!("this build has no device `{name}`").into()),
    }
}

/// The most memory that this process ever had, as Linux counts it.
fn peak_bytes() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
