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

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use burn::tensor::{DType, Device};
use fake::{Server, hurried, until};
use promptist::config_file::ConfigFile;
use promptist::generator::built_in::BuiltIn;
use promptist::generator::{Cancel, Generator, ImageRequest};
use promptist::progress::NoProgress;
use promptist::reward::{Term, WeightedSum};
use promptist::train::ppo::config::PpoConfig;
use promptist::train::ppo::evaluation::Judges;
use promptist::train::ppo::run::{PpoContext, train};
use serde_json::Value;
use tempfile::TempDir;
use tiny_run::Outcome;

const TXT2IMG: &str = "/sdapi/v1/txt2img";

/// How many standard errors the rise of the reward must be above 0.
const SURE: f64 = 3.0;

struct World {
    folder: TempDir,
    model: PathBuf,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let folder = TempDir::new().expect("a temporary folder");
    world::write_clip(&folder.path().join("clip"));
    let model = tiny_world::prompter(folder.path());
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
         [[reward]]\nname = 'image'\nkind = 'image'\nweight = {WEIGHT}\nconfig = 'score.toml'\n",
        WORLD.folder.path().join("prompts.txt").display()
    ))
    .expect("a valid config")
}

/// Of the image reward: the differences that random judges see are small beside the KL charge.
const WEIGHT: f64 = 10.0;

/// Trains on images of `generator` in a folder of its own, which holds the run and the images.
fn run(length: Length, generator: Box<dyn Generator>) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    let image = world::reward(WORLD.folder.path(), generator, &folder.path().join("images"));
    let term = Term { name: "image".to_owned(), weight: WEIGHT, reward: Box::new(image) };
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
    folder
}

fn run_folder(folder: &TempDir) -> PathBuf {
    folder.path().join("run")
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

/// The reward of each held-out prompt before the first round, and after the last.
fn rewards(run: &Path, length: Length) -> (Vec<f64>, Vec<f64>) {
    let samples = fs::read_to_string(run.join("samples.jsonl")).expect("samples");
    let samples: Vec<Value> =
        samples.lines().map(|line| serde_json::from_str(line).expect("a row")).collect();
    let after = |round: u64| {
        let of_round = samples.iter().filter(|sample| sample["step"] == round);
        let by_input = of_round.map(|sample| (sample["user_input"].to_string(), sample["reward"].as_f64()));
        by_input.collect::<HashMap<_, _>>()
    };
    let (first, last) = (after(0), after(length.rounds));
    assert_eq!((first.len(), last.len()), (length.validation, length.validation));
    first.iter().map(|(input, first)| (first.expect("scored"), last[input].expect("scored"))).unzip()
}

/// A paired test that training on images raised the reward of prompts that it never saw.
#[track_caller]
fn assert_risen(name: &str, run: &Path, length: Length) {
    let (before, after) = rewards(run, length);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let rises: Vec<f64> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
    let rise = mean(&rises);
    let n = rises.len() as f64;
    let variance = rises.iter().map(|value| (value - rise).powi(2)).sum::<f64>() / (n - 1.0);
    let error = (variance / n).sqrt();
    println!(
        "{name}: reward {:.3} before, {:.3} after {} rounds; rise {rise:.3} ± {error:.3} over {n} held-out prompts",
        mean(&before),
        mean(&after),
        length.rounds
    );
    assert!(rise > SURE * error, "{name}: rise {rise} ± {error}");
}

/// What the server was asked to draw, each prompt once for each time that it was.
fn drawn(server: &Server) -> Vec<String> {
    let asked = server.asked("POST", TXT2IMG).into_iter();
    asked.map(|question| question.json()["prompt"].as_str().expect("a prompt").to_owned()).collect()
}

#[test]
fn better_prompts_are_found_through_a_server_and_no_image_is_made_twice() {
    let server = painter();
    let folder = run(LONG, pool(&server));
    assert_risen("a server that paints", &run_folder(&folder), LONG);

    let drawn = drawn(&server);
    let distinct: HashSet<&String> = drawn.iter().collect();
    println!("{} prompts drawn for {} samples", drawn.len(), LONG.rounds as usize * LONG.round_size + 48);
    assert_eq!(distinct.len(), drawn.len(), "a prompt was drawn twice");
    let inputs = tiny_world::user_inputs();
    assert!(inputs.iter().all(|input| distinct.contains(input)), "every user's input was drawn, once");
}

#[test]
fn a_server_killed_and_restarted_costs_time_and_no_data() {
    let mut server = painter();
    let unbroken = run(SHORT, pool(&server));
    let needed = drawn(&server).len();
    let expected = Outcome::read(&run_folder(&unbroken));
    for share in [0.2, 0.7] {
        let before = drawn(&server).len();
        let at = before + (needed as f64 * share) as usize;
        let broken = thread::scope(|scope| {
            let generator = pool(&server);
            let training = scope.spawn(move || run(SHORT, generator));
            until(|| drawn(&server).len() >= at);
            server.kill();
            // Long enough that the run meets a closed port more often than it may try an image.
            thread::sleep(Duration::from_millis(200));
            server.revive();
            training.join().expect("no panic")
        });
        Outcome::read(&run_folder(&broken)).assert_same(&expected, &format!("killed at {share}"));
        let samples = |folder: &TempDir| fs::read(run_folder(folder).join("samples.jsonl")).expect("samples");
        assert_eq!(samples(&broken), samples(&unbroken));
    }
}

/// The built-in pipeline, and a server that draws with it.
fn both_ways(length: Length) -> [TempDir; 2] {
    let built_in = run(length, Box::new(stable_diffusion()));
    let pipeline = Arc::new(stable_diffusion());
    let server = Server::start(move |question| {
        world::webui(question, |prompt, seeds| {
            let settings = world::settings();
            let request = ImageRequest { prompt, seeds, settings: &settings };
            pipeline.generate(&request, &Cancel::default()).expect("images")
        })
    });
    let served = run(length, pool(&server));
    Outcome::read(&run_folder(&served)).assert_same(&Outcome::read(&run_folder(&built_in)), "over HTTP");
    [built_in, served]
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
    let [built_in, served] = both_ways(LONG);
    assert_risen("Stable Diffusion", &run_folder(&built_in), LONG);
    assert_risen("Stable Diffusion over HTTP", &run_folder(&served), LONG);
    common::mark_slow_test("better_prompts_are_found_on_stable_diffusion");
}
