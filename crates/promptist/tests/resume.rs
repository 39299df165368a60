//! Interrupted training, in this process: a run that was stopped and resumed equals one that was not,
//! bit for bit, and what cannot be resumed is refused. Processes that die are the CLI's
//! `tests/resume.rs`.

mod common;
#[path = "common/tiny_run.rs"]
mod tiny_run;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use burn::tensor::Device;
use promptist::config_file::ConfigFile;
use promptist::progress::{NoProgress, Progress};
use promptist::train::config::SftConfig;
use promptist::train::sft::{self, RunContext};
use promptist::weights::{TensorInfo, Weights, f32_to_bytes, hex, write_safetensors};
use promptist::{Error, Result};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tiny_run::{Outcome, Steps, latest_checkpoint, write_inputs};

/// A checkpoint every other step; validation, and so a best checkpoint, every third.
const STEPS: Steps = Steps { language_model: 6, sft: 7, checkpoint_every: 2 };

/// Inputs, config and an uninterrupted run, made once for all tests.
struct Reference {
    _folder: TempDir,
    config: SftConfig,
    outcome: Outcome,
}

static REFERENCE: LazyLock<Reference> = LazyLock::new(|| {
    let folder = TempDir::new().expect("a temporary folder");
    let config = SftConfig::read(&write_inputs(folder.path(), STEPS)).expect("a valid config");
    let run = folder.path().join("uninterrupted");
    train(&config, &run, false, None).expect("trains");
    Reference { outcome: Outcome::read(&run), config, _folder: folder }
});

/// Asks to stop once `steps_left` more steps are done; the step after them is the last.
struct StopAfter<'a> {
    steps_left: AtomicU64,
    stop: &'a AtomicBool,
}

impl Progress for StopAfter<'_> {
    fn begin(&self, _stage: &str, _total: Option<u64>, _unit: &str) {}

    fn advance(&self, _n: u64, note: &str) {
        // The report of steps that were done earlier comes without a note.
        if !note.is_empty() && self.steps_left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn end(&self) {}
}

/// Trains in `run`, at most `steps` (2 or more) steps if they are given.
fn train(config: &SftConfig, run: &Path, resume: bool, steps: Option<u64>) -> Result<PathBuf> {
    let stop = AtomicBool::new(steps == Some(1));
    let stop_after = StopAfter {
        steps_left: AtomicU64::new(steps.map_or(u64::MAX, |steps| steps.saturating_sub(1))),
        stop: &stop,
    };
    let context = RunContext {
        run,
        resume,
        model_folder: None,
        device: Device::flex(),
        progress: if steps.is_some() { &stop_after } else { &NoProgress },
        stop: &stop,
    };
    sft::train(config, &context)
}

/// A run that was stopped after each of these numbers of further steps, not resumed yet.
fn stopped(run: &Path, steps: &[u64]) {
    for (idx, &steps) in steps.iter().enumerate() {
        let result = train(&REFERENCE.config, run, idx > 0, Some(steps));
        assert!(matches!(result, Err(Error::Interrupted)), "{result:?}");
    }
}

fn resume(run: &Path) -> Result<PathBuf> {
    train(&REFERENCE.config, run, true, None)
}

#[test]
fn a_run_stopped_anywhere_and_resumed_equals_an_uninterrupted_one() {
    // After the first step, between checkpoints, at one, at a stage's end, in the second stage, at
    // the very end, and again and again.
    let all = STEPS.language_model + STEPS.sft;
    assert_eq!(REFERENCE.outcome.rows() as u64, all);
    for stops in [&[1][..], &[3], &[4], &[6], &[9], &[all], &[1, 1, 3, 2, 4, 1]] {
        let folder = TempDir::new().expect("a temporary folder");
        stopped(folder.path(), stops);
        resume(folder.path()).expect("resumes");
        let outcome = Outcome::read(folder.path());
        outcome.assert_same(&REFERENCE.outcome, &format!("stops after {stops:?}"));
    }
}

#[test]
fn resuming_a_finished_run_changes_nothing() {
    let folder = TempDir::new().expect("a temporary folder");
    train(&REFERENCE.config, folder.path(), false, None).expect("trains");
    resume(folder.path()).expect("nothing is left to do");
    Outcome::read(folder.path()).assert_same(&REFERENCE.outcome, "twice");
}

#[test]
fn what_a_dying_process_leaves_is_no_obstacle() {
    let folder = TempDir::new().expect("a temporary folder");
    let run = folder.path();
    // Before the first file was in place ...
    fs::write(run.join(".config.toml.x1y2.tmp"), "seed = ").expect("writable");
    stopped(run, &[3]);
    // ... in the middle of a checkpoint, after its rename but before `latest`, and in a row.
    let checkpoints = run.join("checkpoints");
    fs::create_dir(checkpoints.join(".step-4.tmp")).expect("writable");
    fs::write(checkpoints.join(".step-4.tmp/config.json"), "{").expect("writable");
    fs::create_dir(checkpoints.join("step-5")).expect("writable");
    fs::write(checkpoints.join(".latest.x1y2.tmp"), "step").expect("writable");
    let metrics = run.join("metrics.jsonl");
    let rows = fs::read_to_string(&metrics).expect("metrics");
    let later = r#"{"step": 4, "train/loss": 0}"#;
    fs::write(&metrics, format!("{rows}{later}\n{{\"step\": 5, \"trai")).expect("writable");

    resume(run).expect("resumes");
    Outcome::read(run).assert_same(&REFERENCE.outcome, "leftovers");
}

#[test]
fn a_changed_byte_anywhere_in_a_checkpoint_is_refused_by_name() {
    let folder = TempDir::new().expect("a temporary folder");
    stopped(folder.path(), &[3]);
    let checkpoint = latest_checkpoint(folder.path());
    let mut count = 0;
    for entry in fs::read_dir(&checkpoint).expect("a folder") {
        let path = entry.expect("a readable folder").path();
        let whole = fs::read(&path).expect("a readable file");
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, changed).expect("writable");
            let error = resume(folder.path()).expect_err("a changed byte").to_string();
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            let expected = if name == "SHA256SUMS" { "step-3" } else { &name };
            assert!(error.contains(expected), "{name}, byte {at}: {error}");
            count += 1;
        }
        fs::write(&path, &whole[..whole.len() / 2]).expect("writable");
        assert!(resume(folder.path()).is_err(), "{}, cut", path.display());
        fs::remove_file(&path).expect("writable");
        let error = resume(folder.path()).expect_err("a missing file").to_string();
        assert!(error.contains("step-3"), "{error}");
        fs::write(&path, whole).expect("writable");
    }
    assert!(count >= 18, "fewer files than a checkpoint has");
    fs::write(checkpoint.join("SHA256SUMS"), "").expect("writable");
    let error = resume(folder.path()).expect_err("no sums").to_string();
    assert!(error.contains("has no SHA-256 sum"), "{error}");
}

#[test]
fn a_resume_that_lacks_moments_of_a_parameter_is_refused() {
    let folder = TempDir::new().expect("a temporary folder");
    stopped(folder.path(), &[3]);
    let checkpoint = latest_checkpoint(folder.path());
    let path = checkpoint.join("optimizer.safetensors");
    let whole = fs::read(&path).expect("a readable file");
    let lacking = ["m.wte.weight", "v.h.1.mlp.c_proj.bias"];
    for name in lacking {
        rewrite_without(&path, &whole, name);
        write_sum(&checkpoint, "optimizer.safetensors");
        match resume(folder.path()) {
            Err(Error::Tensor { tensor, found, .. }) => {
                assert_eq!((tensor.as_str(), found.as_str()), (name, "nothing"));
            }
            other => panic!("without {name}: {other:?}"),
        }
    }
}

/// Writes the tensors of a checkpoint's file again, all but one.
fn rewrite_without(path: &Path, whole: &[u8], lacking: &str) {
    fs::write(path, whole).expect("writable");
    let weights = Weights::open_file(path).expect("an optimiser's moments");
    let names = weights.names().filter(|&name| name != lacking);
    let info = |name: &str| TensorInfo::f32(name, weights.shape(name).expect("its name"));
    let infos: Vec<TensorInfo> = names.map(info).collect();
    let values: BTreeMap<String, Vec<f32>> = infos
        .iter()
        .map(|info| (info.name.clone(), weights.get_f32(&info.name, &info.shape).expect("f32")))
        .collect();
    write_safetensors(path, &infos, &BTreeMap::new(), |info| Ok(f32_to_bytes(&values[&info.name])))
        .expect("writable");
}

/// Puts the sum of a file that was changed into the checkpoint's sums.
fn write_sum(checkpoint: &Path, name: &str) {
    let path = checkpoint.join("SHA256SUMS");
    let sums = fs::read_to_string(&path).expect("sums");
    let bytes = fs::read(checkpoint.join(name)).expect("a readable file");
    let sum = hex(&Sha256::digest(&bytes));
    let line = |line: &str| match line.ends_with(&format!("  {name}")) {
        true => format!("{sum}  {name}\n"),
        false => format!("{line}\n"),
    };
    fs::write(&path, sums.lines().map(line).collect::<String>()).expect("writable");
}

#[test]
fn an_existing_run_another_config_and_a_strange_folder_are_refused() {
    let folder = TempDir::new().expect("a temporary folder");
    let run = folder.path().join("run");
    stopped(&run, &[2]);
    let before = fs::read(run.join("metrics.jsonl")).expect("metrics");

    let check = |config: &SftConfig, run: &Path, resume: bool, expected: &str| {
        let error = train(config, run, resume, None).expect_err(expected).to_string();
        assert!(error.contains(&run.display().to_string()), "{error}");
        assert!(error.contains(expected), "{error}");
    };
    check(&REFERENCE.config, &run, false, "is a run already");
    let mut another = REFERENCE.config.clone();
    another.seed += 1;
    check(&another, &run, true, "another config");
    fs::write(folder.path().join("holiday.txt"), "").expect("writable");
    check(&REFERENCE.config, folder.path(), true, "is not a run");

    let after = fs::read(run.join("metrics.jsonl")).expect("metrics");
    assert_eq!(before, after, "a refusal changes nothing");
    resume(&run).expect("resumes");
    Outcome::read(&run).assert_same(&REFERENCE.outcome, "after refusals");
}
