//! Reinforcement learning by the program itself, killed in each of its phases, interrupted and out of disk:
//! `--resume` gives the metrics, samples and weights of an uninterrupted run, bit for bit. The reward is a server of
//! this process, which knows when scoring begins and can hold its answers back.

#![cfg(unix)]

#[allow(dead_code)] // what image servers need
#[path = "../../promptist/tests/generators/fake.rs"]
mod fake;
#[path = "../../promptist/tests/common/tiny_run.rs"]
mod tiny_run;
#[path = "../../promptist/tests/common/tiny_world.rs"]
mod tiny_world;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

use fake::{Question, Reply, Server};
use serde_json::json;
use tempfile::TempDir;
use tiny_run::{Outcome, latest_checkpoint};

const ROUNDS: u64 = 8;
const ROUND_SIZE: usize = 16;
const VALIDATION: usize = 8;
/// SIGXFSZ: a file would grow beyond the limit.
const FILE_TOO_LARGE: i32 = 25;

/// The model to start from and an uninterrupted run, made once for all tests.
struct Reference {
    folder: TempDir,
    model: PathBuf,
    outcome: Outcome,
    samples: String,
}

static REFERENCE: LazyLock<Reference> = LazyLock::new(|| {
    let folder = TempDir::new().expect("a temporary folder");
    let model = tiny_world::prompter(folder.path(), "exact", 60);
    let world = World::at(folder.path(), &model, &folder.path().join("prompts.txt"));
    let output = world.command(true).output().expect("starts");
    assert!(output.status.success(), "{}", stderr(&output));
    let outcome = Outcome::read(&world.run);
    assert_eq!(outcome.rows() as u64, ROUNDS + 1);
    let samples = fs::read_to_string(world.run.join("samples.jsonl")).expect("samples");
    Reference { outcome, samples, model, folder }
});

/// What the reward server has seen of the process under test, and from when on it holds its answers back.
#[derive(Default)]
struct Script {
    asked: AtomicUsize,
    answered: AtomicUsize,
    /// Pairs that are answered; none: all.
    hold_after: AtomicUsize,
}

impl Script {
    fn answer(&self, question: &Question) -> Reply {
        let body = question.json();
        let queries = body["query"].as_array().expect("queries");
        let asked = self.asked.fetch_add(queries.len(), Ordering::SeqCst) + queries.len();
        let hold_after = self.hold_after.load(Ordering::SeqCst);
        if hold_after > 0 && asked > hold_after {
            return Reply::Hang;
        }
        let reward =
            |query: &serde_json::Value| query.as_str().map(|text| text.matches('l').count() as f64 / 4.0);
        let rewards: Vec<Option<f64>> = queries.iter().map(reward).collect();
        self.answered.fetch_add(queries.len(), Ordering::SeqCst);
        Reply::Json(json!({"rewards": rewards}))
    }
}

/// A config, its reward server and the folder of a run.
struct World {
    run: PathBuf,
    config: PathBuf,
    script: Arc<Script>,
    _server: Server,
}

impl World {
    fn new(folder: &Path) -> Self {
        Self::at(folder, &REFERENCE.model, &REFERENCE.folder.path().join("prompts.txt"))
    }

    fn at(folder: &Path, model: &Path, prompts: &Path) -> Self {
        let script = Arc::new(Script::default());
        let answering = Arc::clone(&script);
        let server = Server::start(move |question| answering.answer(question));
        // Single quotes: TOML takes the paths literally. The held-out measure puts the guard into checkpoints.
        let config = format!(
            "model = '{}'\nseed = 3\nrounds = {ROUNDS}\nkeep = 'exact'\n\
             [prompts]\nround_size = {ROUND_SIZE}\nvalidation = {VALIDATION}\n\
             [[prompts.sources]]\npath = '{}'\n\
             [exploration]\nmethod = 'sampling'\nchunk_size = 4\nmax_new_tokens = [4, 12]\n\
             [kl]\nadaptive = true\n[optimizer]\nlearning_rate = 1e-3\n\
             [evaluation]\nevery = {ROUNDS}\n[evaluation.decoding]\nnum_beams = 1\nmax_new_tokens = 12\n\
             [[reward]]\nname = 'server'\nkind = 'http'\n[reward.http]\nurls = ['{}/get_reward']\n\
             [[held_out]]\nname = 'kept'\nkind = 'retention'\n",
            model.display(),
            prompts.display(),
            server.url()
        );
        let path = folder.join("ppo.toml");
        fs::write(&path, config).expect("a writable folder");
        Self { run: folder.join("run"), config: path, script, _server: server }
    }

    /// The process; the first one of a run is fresh.
    fn command(&self, fresh: bool) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_promptist"));
        command.args(["train", "ppo", "--threads", "1", "--config"]).arg(&self.config);
        command.arg("--out").arg(&self.run);
        if !fresh {
            command.arg("--resume");
        }
        command.stdin(Stdio::null());
        command
    }

    /// Starts a process whose answers are held back after so many rounds, if after any.
    fn start(&self, hold_after: Option<usize>) -> Process<'_> {
        let fresh = !self.run.join("config.toml").exists();
        // A fresh run evaluates before its first round.
        let first = if fresh { VALIDATION } else { 0 };
        let held = hold_after.map_or(0, |rounds| first + rounds * ROUND_SIZE);
        self.script.hold_after.store(held, Ordering::SeqCst);
        self.script.asked.store(0, Ordering::SeqCst);
        self.script.answered.store(0, Ordering::SeqCst);
        let mut command = self.command(fresh);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
        Process { world: self, child, first, saved_before: self.saved() }
    }

    /// Rounds of the latest checkpoint; none if there is no checkpoint.
    fn saved(&self) -> Option<u64> {
        let latest = fs::read_to_string(self.run.join("checkpoints/latest")).ok()?;
        latest.trim().strip_prefix("step-")?.parse().ok()
    }

    /// Rounds that the metrics tell of.
    fn logged(&self) -> u64 {
        let metrics = fs::read_to_string(self.run.join("metrics.jsonl")).unwrap_or_default();
        (metrics.lines().count() as u64).saturating_sub(1)
    }

    /// Resumes the run to its end and compares it with the reference.
    #[track_caller]
    fn finish(&self, what: &str) {
        self.script.hold_after.store(0, Ordering::SeqCst);
        assert!(self.saved().is_some_and(|saved| saved < ROUNDS), "{what}: nothing was left to do");
        let output = self.command(false).output().expect("starts");
        assert!(output.status.success(), "{what}: {}", stderr(&output));
        Outcome::read(&self.run).assert_same(&REFERENCE.outcome, what);
        let samples = fs::read_to_string(self.run.join("samples.jsonl")).expect("samples");
        assert_eq!(samples, REFERENCE.samples, "{what}");
    }
}

/// A training process.
struct Process<'a> {
    world: &'a World,
    child: Child,
    first: usize,
    saved_before: Option<u64>,
}

impl Process<'_> {
    /// Pairs of this process's first `rounds` rounds.
    fn pairs(&self, rounds: usize) -> usize {
        self.first + rounds * ROUND_SIZE
    }

    fn asked(&self) -> usize {
        self.world.script.asked.load(Ordering::SeqCst)
    }

    fn answered(&self) -> usize {
        self.world.script.answered.load(Ordering::SeqCst)
    }

    /// Waits until `condition` holds; the process must still run then.
    #[track_caller]
    fn wait_until(&mut self, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !condition(self) {
            let status = self.child.try_wait().expect("a child");
            assert!(status.is_none() && Instant::now() < deadline, "the run ended first: {status:?}");
            sleep(Duration::from_micros(200));
        }
    }

    #[track_caller]
    fn kill(&mut self) {
        self.child.kill().expect("a child");
        let status = self.child.wait().expect("a child");
        assert_eq!(status.signal(), Some(9), "the kill came too late: {status}");
    }

    /// Sends a signal by its name; returns the exit code.
    fn signal(mut self, name: &str) -> Option<i32> {
        let script = format!("kill -s {name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &script]).status();
        assert!(status.expect("sh is everywhere").success());
        self.child.wait().expect("a child").code()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Kills a process in a phase, again with a new one if the kill came too late for it: a round is gone then.
#[track_caller]
fn kill_until(what: &str, mut was_in_phase: impl FnMut() -> bool) {
    for tries in 1..=3 {
        if was_in_phase() {
            println!("killed in the {what} at try {tries}");
            return;
        }
    }
    panic!("every kill came too late for the {what}");
}

#[test]
fn a_run_killed_in_each_phase_and_resumed_equals_an_uninterrupted_one() {
    let folder = TempDir::new().expect("a temporary folder");
    let world = World::new(folder.path());

    // Scoring: the second round's first answer does not come.
    let mut process = world.start(Some(1));
    process.wait_until(|process| process.asked() > process.pairs(1));
    process.kill();
    assert_eq!((world.saved(), world.logged()), (Some(1), 1));

    // Update: all scores of a round are there, its row of metrics is not.
    kill_until("update", || {
        let mut process = world.start(None);
        let before = world.logged();
        process.wait_until(|process| process.answered() == process.pairs(1));
        process.kill();
        world.logged() == before
    });

    // Rollout: the next round has begun, and nothing of it was to be scored yet.
    kill_until("rollout", || {
        let mut process = world.start(None);
        process.wait_until(|process| world.saved() > process.saved_before);
        process.kill();
        process.asked() == process.pairs(1)
    });
    world.finish("kills in three phases");
}

/// `sh` that sets a limit on the size of files and then becomes the training process.
fn limited(world: &World, limit: u64, trap: &str) -> Command {
    let training = world.command(false);
    let mut shell = Command::new("sh");
    // POSIX counts in blocks of 512 bytes.
    let script = format!("ulimit -c 0; ulimit -f {}; {trap} exec \"$@\"", limit.div_ceil(512));
    shell.args(["-c", &script, "sh"]).arg(training.get_program()).args(training.get_args());
    shell.stdin(Stdio::null());
    shell
}

/// A run with a checkpoint, and a size that the policy's weights keep and the value network's do not.
fn started(world: &World) -> u64 {
    let mut process = world.start(Some(2));
    process.wait_until(|process| process.asked() > process.pairs(2));
    process.kill();
    world.script.hold_after.store(0, Ordering::SeqCst);
    let latest = latest_checkpoint(&world.run);
    let size = |name: &str| fs::metadata(latest.join(name)).expect("a checkpoint").len();
    let limit = size("model.safetensors") + 4096;
    assert!(size("value.safetensors") > limit, "the limit would not be met");
    limit
}

fn unfinished(world: &World) -> Vec<String> {
    let names = fs::read_dir(world.run.join("checkpoints")).expect("a folder");
    let names = names.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".tmp")).collect()
}

/// The system's own signal at a write kills as surely as 9 does, and always in the middle of a file.
#[test]
fn a_run_killed_in_the_middle_of_a_checkpoint_goes_on_from_the_one_before() {
    let folder = TempDir::new().expect("a temporary folder");
    let world = World::new(folder.path());
    let limit = started(&world);
    let latest = latest_checkpoint(&world.run);
    let status = limited(&world, limit, "").stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert_eq!(status.expect("sh is everywhere").signal(), Some(FILE_TOO_LARGE));
    assert_eq!(latest_checkpoint(&world.run), latest);
    assert_eq!(unfinished(&world).len(), 1, "it died while it wrote a checkpoint");
    world.finish("killed in a checkpoint");
}

/// The limit stands for a disk that is full: with its signal ignored, a write beyond it fails as one there does.
#[test]
fn a_full_disk_leaves_the_last_checkpoint_whole() {
    let folder = TempDir::new().expect("a temporary folder");
    let world = World::new(folder.path());
    let limit = started(&world);
    let latest = latest_checkpoint(&world.run);
    let output = limited(&world, limit, &format!("trap '' {FILE_TOO_LARGE};")).output();
    let output = output.expect("sh is everywhere");
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    let line = message.lines().last().unwrap_or_default();
    assert!(line.contains("value.safetensors: File too large"), "{line}");
    assert_eq!(latest_checkpoint(&world.run), latest, "the last checkpoint is still the last");
    assert!(unfinished(&world).is_empty(), "its space is given back");
    world.finish("a full disk");
}

#[test]
fn sigint_and_sigterm_save_and_exit_with_their_codes() {
    let folder = TempDir::new().expect("a temporary folder");
    let world = World::new(folder.path());
    // While scores are waited for that never come: the round is given up, those before it are saved.
    let mut process = world.start(Some(2));
    process.wait_until(|process| process.asked() > process.pairs(2));
    assert_eq!(process.signal("INT"), Some(130));
    assert_eq!((world.saved(), world.logged()), (Some(2), 2));
    // While it learns, or soon after: whatever was finished is saved.
    let mut process = world.start(None);
    process.wait_until(|process| process.answered() == process.pairs(1));
    assert_eq!(process.signal("TERM"), Some(143));
    assert_eq!(world.saved(), Some(world.logged()));
    world.finish("two signals");
}
