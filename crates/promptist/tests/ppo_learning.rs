//! Reinforcement learning learns: a task whose best is known, from three seeds; what the weight of the
//! KL charge does; and that a policy which cheats is stopped. The curves are left in the target folder's
//! `tmp`.

#[path = "common/tiny_world.rs"]
mod tiny_world;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use burn::tensor::Device;
use promptist::config_file::ConfigFile;
use promptist::generator::Cancel;
use promptist::progress::NoProgress;
use promptist::reward::{EndsWith, Pair, Retention, Reward, Term, TermConfig, TermKind, WeightedSum};
use promptist::template::Keep;
use promptist::train::ppo::config::PpoConfig;
use promptist::train::ppo::evaluation::Judges;
use promptist::train::ppo::guard::Stop;
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
    let model = tiny_world::prompter(folder.path(), "exact", 150);
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

/// Trains on the task and returns the rows of its metrics.
fn run(name: &str, config: &PpoConfig) -> Vec<Map<String, Value>> {
    let reward = sum(vec![term("phrase", 1.0, EndsWith::new(PHRASE))]);
    let run = train_in(name, config, &WORLD.model, Judges { reward: &reward, held_out: None });
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    metrics.lines().map(|line| serde_json::from_str(line).expect("a row")).collect()
}

fn term(name: &str, weight: f64, reward: impl Reward + 'static) -> Term {
    Term { name: name.to_owned(), weight, reward: Box::new(reward) }
}

fn sum(terms: Vec<Term>) -> WeightedSum {
    WeightedSum::new(terms).expect("terms")
}

/// Trains in a folder called `name`, which is kept, and draws the curves there.
fn train_in(name: &str, config: &PpoConfig, model_folder: &Path, judges: Judges) -> PathBuf {
    let run = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ppo-learning").join(name);
    let _ = fs::remove_dir_all(&run);
    let context = PpoContext {
        run: &run,
        resume: false,
        model_folder,
        judges,
        device: Device::flex(),
        num_threads: 1,
        progress: &NoProgress,
        cancel: &Cancel::default(),
    };
    train(config, &context).expect("trains");
    let report = promptist::train::report::render(&[&run]).expect("a report");
    fs::write(run.join("report.html"), report.html).expect("a writable folder");
    run
}

/// A metric's values over the rows that have it.
fn curve(rows: &[Map<String, Value>], name: &str) -> Vec<f64> {
    rows.iter().filter_map(|row| row.get(name)?.as_f64()).collect()
}

#[test]
fn three_seeds_reach_the_best_reward() {
    for seed in 1..=3 {
        let mut config = config("sampling", seed, 60, 0.02);
        // What the policy has learned, without the luck of drawing.
        config.evaluation.decoding.do_sample = Some(false);
        let rows = run(&format!("seed-{seed}"), &config);
        let rewards = curve(&rows, "validation/reward");
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
        (kl[kl.len() - 1], reward[reward.len() - 1])
    };
    let (free, free_reward) = kl(0.0);
    let (held, held_reward) = kl(5.0);
    assert!(held.abs() < 0.3 && free > 1.0, "drifts by {free} freely, by {held} held");
    assert!(free_reward > held_reward, "{free_reward} freely, {held_reward} held");
}

/// The share of words that are a style's: to be had by adding styles, and by leaving the input out.
fn share_of_style(pair: &Pair) -> f64 {
    let styles: Vec<&str> = tiny_world::STYLES.iter().flat_map(|style| style.split(' ')).collect();
    let words: Vec<&str> = pair.adapted_prompt.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    words.iter().filter(|word| styles.contains(word)).count() as f64 / words.len().max(1) as f64
}

#[test]
fn a_policy_that_leaves_the_input_for_reward_is_stopped_by_name() {
    let folder = TempDir::new().expect("a temporary folder");
    let model = tiny_world::prompter(folder.path(), "free", 400);
    let mut config = config("sampling", 1, 30, 0.0);
    config.keep = Some(Keep::Free);
    config.exploration.max_new_tokens = (16, 24);
    config.evaluation.decoding.max_new_tokens = Some(24);
    config.prompts.sources[0].path = folder.path().join("prompts.txt");
    config.held_out = vec![TermConfig::new("kept", TermKind::Retention)];
    let watched = sum(vec![term("kept", 1.0, Retention)]);

    // Without the retention term.
    let reward = sum(vec![term("style", 1.0, share_of_style)]);
    let judges = Judges { reward: &reward, held_out: Some(&watched) };
    let run = train_in("cheating", &config, &model, judges);
    let stop = fs::read_to_string(run.join("stop.json")).expect("the guard stops the run");
    let stop: Stop = serde_json::from_str(&stop).expect("a reason");
    assert_eq!(stop.measure, "kept");
    assert!(stop.step < 30 && stop.best_step < stop.step);
    // What is kept is the best by the held-out measure, not the last.
    let best = run.join(format!("checkpoints/step-{}/model.safetensors", stop.best_step));
    let kept = fs::read(run.join("model/model.safetensors")).expect("a model");
    assert!(fs::read(best).expect("its checkpoint") == kept);

    // With it the run goes to its end.
    let reward = sum(vec![term("style", 1.0, share_of_style), term("retention", 2.0, Retention)]);
    let judges = Judges { reward: &reward, held_out: Some(&watched) };
    let run = train_in("not-cheating", &config, &model, judges);
    assert!(!run.join("stop.json").exists());
}
