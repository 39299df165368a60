//! `promptist score-image` end to end on a tiny model with random weights.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../promptist/tests/golden/clip").join(name)
}

fn score_image(arguments: &[&str], pictures: &[&str]) -> Output {
    let pictures = pictures.iter().map(|name| golden("images").join(name));
    Command::new(assert_cmd::cargo::cargo_bin!("promptist"))
        .arg("score-image")
        .args(arguments)
        .args(pictures)
        .arg("--clip")
        .arg(golden("quick_gelu"))
        .output()
        .expect("runs")
}

fn rows(output: &Output) -> Vec<Value> {
    let stdout = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn chain() -> String {
    golden("heads/chain.pth").display().to_string()
}

#[test]
fn every_picture_has_its_scores_whoever_is_beside_it() {
    let pictures = ["rgba.png", "rgb420.jpg", "lossless.webp", "rgb_wide.png", "bilevel.png"];
    let output = score_image(&["--text", "a cat", "--aesthetic", &chain(), "--json"], &pictures);
    assert!(output.status.success(), "{}", stderr(&output));
    let together = rows(&output);
    assert_eq!(together.len(), pictures.len());
    for (row, name) in together.iter().zip(pictures) {
        assert!(row["image"].as_str().expect("a path").ends_with(name));
        let cosine = row["clip_cosine"].as_f64().expect("a number");
        assert!((-1.0..=1.0).contains(&cosine));
        let alone = &rows(&score_image(&["--text", "a cat", "--aesthetic", &chain(), "--json"], &[name]))[0];
        assert!((alone["clip_cosine"].as_f64().expect("a number") - cosine).abs() < 1e-5);
        let aesthetic = |row: &Value| row["aesthetic"].as_f64().expect("a number");
        assert!((aesthetic(alone) - aesthetic(row)).abs() < 1e-4);
    }
    assert!(together.windows(2).all(|pair| pair[0]["aesthetic"] != pair[1]["aesthetic"]));
}

#[test]
fn what_is_not_asked_for_is_null_and_plain_lines_name_their_numbers() {
    let row = &rows(&score_image(&["--text", "a cat", "--json"], &["l.png"]))[0];
    assert!(row["clip_cosine"].is_f64() && row["aesthetic"].is_null());
    let output = score_image(&["--aesthetic", &chain()], &["l.png"]);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(stdout.contains("l.png\taesthetic ") && !stdout.contains("clip_cosine"), "{stdout}");
}

#[test]
fn a_bad_picture_carries_its_error_and_the_others_go_on() {
    let output =
        score_image(&["--text", "a cat", "--json"], &["l.png", "absent.png", "../texts.json", "la.png"]);
    assert_eq!(output.status.code(), Some(1));
    let rows = rows(&output);
    let errors: Vec<bool> = rows.iter().map(|row| row.get("error").is_some()).collect();
    assert_eq!(errors, [false, true, true, false]);
    assert!(rows[2]["error"].as_str().expect("text").contains("expected PNG, JPEG or WebP"));
    assert!(stderr(&output).contains("2 of 4 pictures could not be scored"), "{}", stderr(&output));
}

#[test]
fn a_long_text_is_cut_and_said_so() {
    let long = "the cat ".repeat(60);
    let output = score_image(&["--text", &long], &["l.png"]);
    assert!(output.status.success());
    assert!(stderr(&output).contains("122 tokens: CLIP reads the first 77"), "{}", stderr(&output));
}

#[test]
fn exit_codes_tell_bad_flags_from_bad_files() {
    assert_eq!(score_image(&[], &["l.png"]).status.code(), Some(2));
    assert_eq!(score_image(&["--text", "a cat"], &[]).status.code(), Some(2));
    let empty = score_image(&["--text", "  "], &["l.png"]);
    assert_eq!(empty.status.code(), Some(1));
    assert!(stderr(&empty).contains("the prompt is empty"));
    let activations = golden("heads/activations.pth").display().to_string();
    let output = score_image(&["--aesthetic", &activations], &["l.png"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("an activation is among them"), "{}", stderr(&output));
    let mini = Command::new(assert_cmd::cargo::cargo_bin!("promptist"))
        .args(["score-image", "x.png", "--text", "a cat", "--clip", "mini"])
        .output()
        .expect("runs");
    assert_eq!(mini.status.code(), Some(1));
    assert!(stderr(&mini).contains("expected `clip`"), "{}", stderr(&mini));
}
