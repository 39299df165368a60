//! Training by the program itself, killed, interrupted and out of disk: `--resume` gives the final
//! weights and metrics of an uninterrupted run, bit for bit. One process that stops politely is the
//! library's `tests/resume.rs`.

#![cfg(unix)]

#[path = "../../promptist/tests/common/tiny_run.rs"]
mod tiny_run;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::LazyLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tiny_run::{Outcome, Steps, latest_checkpoint, write_inputs};

const STEPS: Steps = Steps { language_model: 30, sft: 30, checkpoint_every: 4 };

/// Inputs, config and an uninterrupted run, made once for all tests.
struct Reference {
    _folder: TempDir,
    config: PathBuf,
    outcome: Outcome,
}

static REFERENCE: LazyLock<Reference> = LazyLock::new(|| {
    let folder = TempDir::new().expect("a temporary folder");
    let config = write_inputs(folder.path(), STEPS);
    let run = folder.path().join("uninterrupted");
    let output = command(&config, &run, false).output().expect("starts");
    assert!(output.status.success(), "{}", stderr(&output));
    let outcome = Outcome::read(&run);
    assert_eq!(outcome.rows() as u64, STEPS.language_model + STEPS.sft);
    Reference { outcome, config, _folder: folder }
});

fn command(config: &Path, run: &Path, resume: bool) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_promptist"));
    command.args(["train", "sft", "--config"]).arg(config).arg("--out").arg(run);
    if resume {
        command.arg("--resume");
    }
    command.stdin(Stdio::null());
    command
}

/// A training process of the reference's config, its output thrown away.
fn start(run: &Path, resume: bool) -> Child {
    let mut command = command(&REFERENCE.config, run, resume);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts")
}

/// Resumes `run` to its end and compares it with the reference.
#[track_caller]
fn finish(run: &Path, what: &str) {
    let output = command(&REFERENCE.config, run, true).output().expect("starts");
    assert!(output.status.success(), "{what}: {}", stderr(&output));
    Outcome::read(run).assert_same(&REFERENCE.outcome, what);
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Rows of metrics so far.
fn rows(run: &Path) -> usize {
    fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |text| text.lines().count())
}

/// Waits until `condition` holds; the process must still run then.
#[track_caller]
fn wait_until(child: &mut Child, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !condition() {
        let status = child.try_wait().expect("a child");
        assert!(status.is_none() && Instant::now() < deadline, "the run ended first: {status:?}");
        sleep(Duration::from_millis(1));
    }
}

/// Sends a signal by its name to a process that is ours.
fn signal(child: &Child, name: &str) {
    let script = format!("kill -s {name} {}", child.id());
    let status = Command::new("sh").args(["-c", &script]).status();
    assert!(status.expect("sh is everywhere").success());
}

#[test]
fn a_run_killed_at_five_moments_and_resumed_equals_an_uninterrupted_one() {
    let folder = TempDir::new().expect("a temporary folder");
    let run = folder.path().join("run");
    // A linear congruential generator. All moments leave a fast machine a third of the run to go.
    let mut state = 2026_u64;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for kill in 0..5 {
        let after_rows = (9 * kill + draw(7)) as usize;
        let pause = Duration::from_micros(draw(5_000));
        let mut child = start(&run, kill > 0);
        wait_until(&mut child, || rows(&run) >= after_rows);
        sleep(pause);
        child.kill().expect("a child");
        let status = child.wait().expect("a child");
        assert_eq!(status.signal(), Some(9), "kill {kill} came too late: {status}");
        println!("killed after {after_rows} rows and {pause:?}");
    }
    finish(&run, "five kills");
}

#[test]
fn sigint_and_sigterm_save_and_exit_with_their_codes() {
    let folder = TempDir::new().expect("a temporary folder");
    let run = folder.path().join("run");
    for (idx, (name, code, after_rows)) in [("INT", 130, 5), ("TERM", 143, 25)].into_iter().enumerate() {
        let mut child = start(&run, idx > 0);
        wait_until(&mut child, || rows(&run) >= after_rows);
        signal(&child, name);
        let status: ExitStatus = child.wait().expect("a child");
        assert_eq!(status.code(), Some(code), "{status}");
        // Everything is saved: the last row of the metrics is the checkpoint's step.
        let checkpoint = latest_checkpoint(&run);
        assert!(checkpoint.ends_with(format!("step-{}", rows(&run))), "{}", checkpoint.display());
    }
    finish(&run, "two signals");
}

/// The limit on the size of files stands for a disk that is full: with its signal ignored, a write
/// beyond it fails as one on a full disk does. Weights fit under it, the moments do not.
#[test]
fn a_full_disk_leaves_the_last_checkpoint_whole() {
    let folder = TempDir::new().expect("a temporary folder");
    let run = folder.path().join("run");
    let mut child = start(&run, false);
    wait_until(&mut child, || run.join("checkpoints/latest").exists());
    child.kill().expect("a child");
    child.wait().expect("a child");
    let latest = latest_checkpoint(&run);
    let size = |name: &str| fs::metadata(latest.join(name)).expect("a checkpoint").len();
    let limit = size("model.safetensors") + 4096;
    assert!(size("optimizer.safetensors") > limit, "the limit would not be met");

    let limited = command(&REFERENCE.config, &run, true);
    let mut shell = Command::new("sh");
    // POSIX counts in blocks of 512 bytes; 25 is SIGXFSZ.
    let script = format!("ulimit -f {}; trap '' 25; exec \"$@\"", limit.div_ceil(512));
    shell.args(["-c", &script, "sh"]).arg(limited.get_program()).args(limited.get_args());
    let output = shell.stdin(Stdio::null()).output().expect("sh is everywhere");
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    let line = message.lines().last().unwrap_or_default();
    assert!(line.contains("optimizer.safetensors: File too large"), "{line}");

    assert_eq!(latest_checkpoint(&run), latest, "the last checkpoint is still the last");
    let leftovers = fs::read_dir(run.join("checkpoints")).expect("a folder");
    let names: Vec<String> =
        leftovers.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect();
    assert!(!names.iter().any(|name| name.ends_with(".tmp")), "its space is given back: {names:?}");
    finish(&run, "a full disk");
}

#[test]
fn an_existing_run_is_an_error_without_resume_and_a_missing_config_names_its_path() {
    let folder = TempDir::new().expect("a temporary folder");
    let run = folder.path().join("run");
    fs::create_dir(&run).expect("writable");
    let config = fs::read_to_string(&REFERENCE.config).expect("the config");
    let mut child = start(&run, false);
    wait_until(&mut child, || run.join("config.toml").exists());
    child.kill().expect("a child");
    child.wait().expect("a child");

    let check = |mut command: Command, expected: &str| {
        let output = command.output().expect("starts");
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.lines().last().is_some_and(|line| line.contains(expected)), "{message}");
    };
    check(command(&REFERENCE.config, &run, false), "is a run already");
    let another = folder.path().join("another.toml");
    fs::write(&another, config.replace("seed = 7", "seed = 8")).expect("writable");
    check(command(&another, &run, true), "another config");
    check(command(&folder.path().join("absent.toml"), &run, true), "absent.toml");
}
