//! The image loop end to end: a prompter of seconds, a tiny random Stable Diffusion or a server that paints, a tiny
//! random CLIP and the released aesthetic head (a random one of its shape where `../shared/data` is not at hand).
//! Better prompts are found, no image is made twice, and a server that dies costs time and nothing else.
//! `PROMPTIST_SLOW_TESTS=1` learns on Stable Diffusion too; `--nocapture` shows the rewards seen.

#![cfg(all(feature = "flex", feature = "http"))]
#![allow(clippy::print_stdout)]

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code)] // what only tests of generators need
#[path = "../generators/fake.rs"]
mod fake;
#[path = "../common/tiny_run.rs"]
mod tiny_run;
#[path = "../common/tiny_world.rs"]
mod tiny_world;
mod world;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use burn::tensor::{DType, Device};
use fake::{Server, hurried, until};
use promptist::config_file::ConfigFile;
use promptist::decoding::RawDecodingSettings;
use promptist::generator::built_in::BuiltIn;
use promptist::generator::{Cancel, Generator, ImageRequest};
use promptist::model_source::ModelFiles;
use promptist::progress::NoProgress;
use promptist::prompter::{AdaptRequest, Backend, Prompter};
use promptist::reward::{ImageMeasure, ImageReward, ImageTerm, Pair, Reward, Term, WeightedSum};
use promptist::template::Keep;
use promptist::train::ppo::config::PpoConfig;
use promptist::train::ppo::evaluation::Judges;
use promptist::train::ppo::run::{PpoContext, train};
use serde_json::Value;
use tempfile::TempDir;
use tiny_run::Outcome;

const TXT2IMG: &str = "/sdapi/v1/txt2img";

/// How many standard errors the rise of the reward must be above 0.
const SURE: f64 = 3.0;
/// Answers to each held-out prompt that are compared.
const ANSWERS: usize = 4;

struct World {
    folder: TempDir,
    model: PathBuf,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let folder = TempDir::new().expect("a temporary folder");
    world::write_clip(&folder.path().join("clip"));
    let model = tiny_world::prompter(folder.path(), "exact", 150);
    World { model, folder }
});

/// How long to train.
#[derive(Clone, Copy)]
struct Length {
    rounds: u64,
    round_size: usize,
    validation: usize,
}

const SHORT: Length = Length { rounds: 2, round_size: 8, validation: 4 };
/// Enough where styles differ as much as they do to the server that paints.
const MEDIUM: Length = Length { rounds: 10, round_size: 32, validation: 24 };
/// Enough for Stable Diffusion, to whose random weights a style matters less than a subject.
const LONG: Length = Length { rounds: 20, round_size: 32, validation: 24 };

fn config(length: Length) -> PpoConfig {
    let Length { rounds, round_size, validation } = length;
    PpoConfig::from_toml(&format!(
        "model = 'tiny'\nseed = 5\nrounds = {rounds}\nkeep = 'exact'\ncheckpoint_every = {rounds}\n\
         [prompts]\nround_size = {round_size}\nvalidation = {validation}\n\
         [[prompts.sources]]\npath = '{}'\n\
         [exploration]\nmethod = 'sampling'\nmax_new_tokens = [8, 16]\n\
         [kl]\ncoefficient = 0.02\n[optimizer]\nlearning_rate = 1e-3\n\
         [evaluation]\nevery = {rounds}\n\
         [evaluation.decoding]\ndo_sample = true\nnum_beams = 1\nmax_new_tokens = 16\n\
         [[reward]]\nname = 'image'\nkind = 'image'\nconfig = 'score.toml'\n",
        WORLD.folder.path().join("prompts.txt").display()
    ))
    .expect("a valid config")
}

/// A run, and the reward that it was paid, whose images it made.
struct Trained {
    folder: TempDir,
    reward: Arc<ImageReward>,
}

impl Trained {
    /// Trains on images of `generator`.
    fn on(generator: Box<dyn Generator>, length: Length) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let images = world::reward(WORLD.folder.path(), generator, &folder.path().join("images"));
        let images = Arc::new(images);
        let term = ImageTerm::new(Arc::clone(&images), ImageMeasure::Score).expect("needs no other judge");
        let term = Term { name: "image".to_owned(), weight: 1.0, reward: Box::new(term) };
        let reward = WeightedSum::new(vec![term]).expect("a term");
        let context = PpoContext {
            run: &folder.path().join("run"),
            resume: false,
            model_folder: &WORLD.model,
            judges: Judges { reward: &reward, held_out: None },
            device: Device::flex(),
            num_threads: 1,
            progress: &NoProgress,
            cancel: &Cancel::default(),
        };
        train(&config(length), &context).expect("trains");
        Self { folder, reward: images }
    }

    fn run(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    fn outcome(&self) -> Outcome {
        Outcome::read(&self.run())
    }

    fn samples(&self) -> String {
        fs::read_to_string(self.run().join("samples.jsonl")).expect("samples")
    }

    /// The prompts that no round had.
    fn held_out(&self) -> Vec<String> {
        let samples = self.samples();
        let samples = samples.lines().map(|line| serde_json::from_str::<Value>(line).expect("a row"));
        let first = samples.filter(|sample| sample["step"] == 0);
        first.map(|sample| sample["user_input"].as_str().expect("text").to_owned()).collect()
    }

    /// The mean reward of several answers of `model` to each of `prompts`.
    fn rewards_of(&self, model: &Path, prompts: &[String]) -> Vec<f64> {
        let backend = Backend::Engine { precision: None, isa: None, num_threads: 1 };
        let prompter = Prompter::open(&ModelFiles::folder(model), &backend).expect("a model");
        let decoding = RawDecodingSettings {
            do_sample: Some(true),
            num_beams: Some(1),
            num_return_sequences: Some(ANSWERS),
            max_new_tokens: Some(16),
            seed: Some(1),
            ..RawDecodingSettings::default()
        };
        let request = AdaptRequest { decoding, keep: Some(Keep::Exact), ..AdaptRequest::default() };
        let settings = prompter.settings(&request).expect("possible settings");
        let adapted = prompter.adapt(prompts, &settings, 0).into_iter().map(|row| row.expect("adapts"));
        let pairs: Vec<Pair> = adapted
            .flat_map(|row| {
                let user_input = row.user_input;
                let outputs = row.outputs.into_iter();
                outputs
                    .map(move |output| Pair { user_input: user_input.clone(), adapted_prompt: output.text })
            })
            .collect();
        assert_eq!(pairs.len(), prompts.len() * ANSWERS);
        let scores = Reward::score(self.reward.as_ref(), &pairs, &Cancel::default()).expect("scores");
        let scores: Vec<f64> = scores.into_iter().map(|score| score.expect("every image is made")).collect();
        scores.chunks(ANSWERS).map(mean).collect()
    }

    /// A paired test that training raised the reward of prompts that it never saw, against the model that it
    /// began with.
    #[track_caller]
    fn assert_better_than_sft(&self, name: &str) {
        let prompts = self.held_out();
        let before = self.rewards_of(&WORLD.model, &prompts);
        let after = self.rewards_of(&self.run().join("model"), &prompts);
        let rises: Vec<f64> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
        let (rise, n) = (mean(&rises), rises.len() as f64);
        let variance = rises.iter().map(|value| (value - rise).powi(2)).sum::<f64>() / (n - 1.0);
        let error = (variance / n).sqrt();
        println!(
            "{name}: reward {:.3} of the SFT model, {:.3} after PPO; rise {rise:.3} ± {error:.3} over {n} \
             held-out prompts",
            mean(&before),
            mean(&after),
        );
        assert!(rise > SURE * error, "{name}: rise {rise} ± {error}");
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// A server of the webui's contract that paints.
fn painter() -> Server {
    Server::start(|question| {
        world::webui(question, |prompt, seeds| {
            seeds.iter().map(|&seed| world::picture(prompt, seed)).collect()
        })
    })
}

fn pool(server: &Server) -> Box<dyn Generator> {
    Box::new(fake::pool("a1111", &[server], &hurried()).expect("a pool"))
}

fn stable_diffusion() -> BuiltIn {
    let folder = common::golden("diffusion_v1");
    BuiltIn::open("tiny", &folder, &Device::flex(), DType::F32).expect("a golden pipeline")
}

/// What the server was asked to draw, each prompt once for each time that it was.
fn drawn(server: &Server) -> Vec<String> {
    let asked = server.asked("POST", TXT2IMG).into_iter();
    asked.map(|question| question.json()["prompt"].as_str().expect("a prompt").to_owned()).collect()
}

#[test]
fn better_prompts_are_found_through_a_server_and_no_image_is_made_twice() {
    let server = painter();
    let trained = Trained::on(pool(&server), MEDIUM);
    trained.assert_better_than_sft("a server that paints");

    let drawn = drawn(&server);
    let distinct: HashSet<&String> = drawn.iter().collect();
    println!("{} prompts were drawn", drawn.len());
    assert_eq!(distinct.len(), drawn.len(), "a prompt was drawn twice");
    let inputs = tiny_world::user_inputs();
    assert!(inputs.iter().all(|input| distinct.contains(input)), "every user's input was drawn, and so once");
}

#[test]
fn a_server_killed_and_restarted_costs_time_and_no_data() {
    let mut server = painter();
    let unbroken = Trained::on(pool(&server), SHORT);
    let needed = drawn(&server).len();
    for share in [0.2, 0.7] {
        let at = drawn(&server).len() + (needed as f64 * share) as usize;
        let generator = pool(&server);
        let broken = thread::scope(|scope| {
            let training = scope.spawn(move || Trained::on(generator, SHORT));
            until(|| drawn(&server).len() >= at);
            server.kill();
            // Long enough that the run meets a closed port more often than it may try an image.
            thread::sleep(Duration::from_millis(200));
            server.revive();
            training.join().expect("no panic")
        });
        broken.outcome().assert_same(&unbroken.outcome(), &format!("killed at {share}"));
        assert_eq!(broken.samples(), unbroken.samples());
    }
}

/// Trains on the built-in pipeline, and through a server that draws with it: the same to the last bit.
fn both_ways(length: Length) -> Trained {
    let built_in = Trained::on(Box::new(stable_diffusion()), length);
    let pipeline = stable_diffusion();
    let server = Server::start(move |question| {
        world::webui(question, |prompt, seeds| {
            let settings = world::settings();
            let request = ImageRequest { prompt, seeds, settings: &settings };
            pipeline.generate(&request, &Cancel::default()).expect("images")
        })
    });
    let served = Trained::on(pool(&server), length);
    served.outcome().assert_same(&built_in.outcome(), "over HTTP");
    assert_eq!(served.samples(), built_in.samples());
    built_in
}

#[test]
fn the_built_in_pipeline_and_a_server_that_draws_with_it_train_the_same() {
    both_ways(SHORT);
}

#[test]
fn better_prompts_are_found_on_stable_diffusion() {
    if !common::slow_tests_are_wanted() {
        return;
    }
    both_ways(LONG).assert_better_than_sft("Stable Diffusion");
    common::mark_slow_test("better_prompts_are_found_on_stable_diffusion");
}
