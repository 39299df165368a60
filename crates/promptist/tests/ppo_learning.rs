//! Reinforcement learning learns: a task whose best is known, from three seeds, and what the weight of
//! the KL charge does. The curves are left in the target folder's `tmp`.

#[path = "common/tiny_world.rs"]
mod tiny_world;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use burn::tensor::Device;
use promptist::config_file::ConfigFile;
use promptist::generator::Cancel;
use promptist::progress::NoProgress;
use promptist::reward::{EndsWith, Term, WeightedSum};
use promptist::train::ppo::config::PpoConfig;
use promptist::train::ppo::evaluation::Judges;
use promptist::train::ppo::run::{PpoContext, train};
use serde_json::{Map, Value};
use tempfile::TempDir;

/// The task: end with one of eight styles.
const PHRASE: &str = "soft light";

/// The share of the best reward, 1, that is to be reached.
const GOAL: f64 = 0.95;

struct World {
    _folder: TempDir,
    model: PathBuf,
    prompts: PathBuf,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let folder = TempDir::new().expect("a temporary folder");
    let model = tiny_world::prompter(folder.path());
    World { model, prompts: folder.path().join("prompts.txt"), _folder: folder }
});

fn config(method: &str, seed: u64, rounds: u64, kl: f64) -> PpoConfig {
    PpoConfig::from_toml(&format!(
        "model = 'tiny'\nseed = {seed}\nrounds = {rounds}\nkeep = 'exact'\ncheckpoint_every = {rounds}\n\
         [prompts]\nround_size = 32\nvalidation = 24\n[[prompts.sources]]\npath = '{}'\n\
         [exploration]\nmethod = '{method}'\nmax_new_tokens = [8, 16]\n\
         [kl]\ncoefficient = {kl}\n[optimizer]\nlearning_rate = 1e-3\n\
         [evaluation]\nevery = 5\n[evaluation.decoding]\ndo_sample = true\nnum_beams = 1\nmax_new_tokens = 16\n\
         [[reward]]\nname = 'phrase'\nkind = 'phrase'\nphrase = '{PHRASE}'\n",
        WORLD.prompts.display()
    ))
    .expect("a valid config")
}

/// Trains and returns the rows of its metrics; they and their curve are kept under `name`.
fn run(name: &str, config: &PpoConfig) -> Vec<Map<String, Value>> {
    let run = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ppo-learning").join(name);
    let _ = fs::remove_dir_all(&run);
    let term = Term { name: "phrase".into(), weight: 1.0, reward: Box::new(EndsWith::new(PHRASE)) };
    let reward = WeightedSum::new(vec![term]).expect("a term");
    let context = PpoContext {
        run: &run,
        resume: false,
        model_folder: &WORLD.model,
        judges: Judges { reward: &reward, held_out: None },
        device: Device::flex(),
        num_threads: 1,
        progress: &NoProgress,
        cancel: &Cancel::default(),
    };
    train(config, &context).expect("trains");
    let report = promptist::train::report::render(&[&run]).expect("a report");
    fs::write(run.join("report.html"), report.html).expect("a writable folder");
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    metrics.lines().map(|line| serde_json::from_str(line).expect("a row")).collect()
}

/// A metric's values over the rows that have it.
fn curve(rows: &[Map<String, Value>], name: &str) -> Vec<f64> {
    rows.iter().filter_map(|row| row.get(name)?.as_f64()).collect()
}

#[test]
fn three_seeds_reach_the_best_reward() {
    for seed in 1..=3 {
        let rows = run(&format!("seed-{seed}"), &config("sampling", seed, 60, 0.02));
        let rewards = curve(&rows, "validation/reward");
        eprintln!("seed {seed}: {rewards:?}");
        // The last four evaluations, 96 prompts.
        let first = rewards[0];
        let last = rewards[rewards.len() - 4..].iter().sum::<f64>() / 4.0;
        assert!(first < 0.5, "seed {seed} has nothing to learn: {rewards:?}");
        assert!(last >= GOAL, "seed {seed}: {rewards:?}");
        assert!(curve(&rows, "validation/kept").iter().all(|&kept| kept == 1.0));
    }
}

#[test]
fn the_kl_charge_holds_the_policy_near_the_reference() {
    let kl = |coefficient: f64| {
        let rows = run(&format!("kl-{coefficient}"), &config("sampling", 1, 15, coefficient));
        let (kl, reward) = (curve(&rows, "validation/kl"), curve(&rows, "validation/reward"));
        eprintln!("kl weight {coefficient}: kl {kl:?} reward {reward:?}");
        (kl[kl.len() - 1], reward[reward.len() - 1])
    };
    let (free, free_reward) = kl(0.0);
    let (held, held_reward) = kl(5.0);
    assert!(held.abs() < 0.3 && free > 1.0, "drifts by {free} freely, by {held} held");
    assert!(free_reward > held_reward, "{free_reward} freely, {held_reward} held");
}
