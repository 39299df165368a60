//! `promptist model` as a program: exit codes, what goes to stdout, and that the cache is the one
//! the environment names.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../promptist/tests/golden").join(name)
}

/// `promptist model`, with no network and an empty cache.
fn model(cache: &Path) -> Command {
    let mut command = Command::cargo_bin("promptist").unwrap();
    command.arg("model").env("HF_HOME", cache).env("HF_HUB_OFFLINE", "1").env_remove("HF_HUB_CACHE");
    command
}

#[test]
fn info_describes_a_folder_in_text_and_json() {
    let cache = tempfile::tempdir().unwrap();
    let folder = golden("pickle/sharded");
    model(cache.path()).arg("info").arg(&folder).assert().success().stdout(contains("vocab_size 64"));
    let output = model(cache.path()).arg("info").arg(&folder).arg("--json").assert().success();
    let info: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    assert_eq!(info["config"]["n_embd"], 16);
    assert_eq!(info["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(info["files"].as_object().unwrap().len(), 6);
}

#[test]
fn verify_says_what_is_wrong_and_exits_with_1() {
    let cache = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(golden("pickle").join(file), folder.path().join(file)).unwrap();
    }
    let weights = folder.path().join("model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() - 1]).unwrap();
    model(cache.path())
        .arg("verify")
        .arg(folder.path())
        .assert()
        .code(1)
        .stdout(contains("model.safetensors: not a well-formed safetensors file"))
        .stderr(contains("faults"));
    let output = model(cache.path()).arg("verify").arg(folder.path()).arg("--json").assert().code(1);
    let verdict: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    assert_eq!(verdict["ok"], false);
}

#[test]
fn convert_writes_a_folder_once() {
    let cache = tempfile::tempdir().unwrap();
    let out = cache.path().join("out");
    let convert = || {
        let mut command = model(cache.path());
        command.arg("convert").arg(golden("pickle/sharded_bin")).args(["--dtype", "bf16", "--out"]).arg(&out);
        command
    };
    convert().assert().success().stdout(contains("out"));
    assert!(out.join("model.safetensors").is_file());
    convert().assert().code(1).stderr(contains("expected a folder that does not exist yet or is empty"));
    convert().args(["--max-shard-size", "lots"]).assert().code(2);
}

#[test]
fn list_shows_what_the_cache_holds() {
    let cache = tempfile::tempdir().unwrap();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let repo = cache.path().join("hub/models--owner--name");
    let snapshot = repo.join("snapshots").join(commit);
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(repo.join("refs")).unwrap();
    fs::write(repo.join("refs/main"), commit).unwrap();
    model(cache.path()).arg("list").assert().success().stdout(contains("owner/name").not());
    for file in ["config.json", "model.safetensors"] {
        fs::copy(golden("pickle").join(file), snapshot.join(file)).unwrap();
    }
    model(cache.path()).arg("list").assert().success().stdout(contains("owner/name "));
    model(cache.path()).args(["pull", "owner/name"]).assert().success().stdout(contains(commit));
    model(cache.path()).args(["info", "owner/name"]).assert().success();
}

#[test]
fn a_model_that_is_nowhere_is_an_error_with_what_was_tried() {
    let cache = tempfile::tempdir().unwrap();
    model(cache.path()).args(["info", "nobody/nothing"]).assert().code(1).stderr(
        contains("https://huggingface.co/nobody/nothing").and(contains("no folder `nobody/nothing`")),
    );
    model(cache.path())
        .args(["info", "./absent"])
        .assert()
        .code(1)
        .stderr(contains("nor a folder that exists"));
    model(cache.path()).args(["pull", "not an id"]).assert().code(2);
}
