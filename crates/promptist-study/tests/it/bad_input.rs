//! What no study can be made of is refused by name, and leaves nothing behind.

use std::fs;
use std::path::Path;

use image::RgbImage;
use promptist_study::{InputFile, Study, StudyConfig};
use serde_json::{Value, json};

use crate::test_study::{plain, runtime, write_inputs};

fn row(id: &str, system: &str, image: &str) -> Value {
    json!({"id": id, "user_input": id, "system": system, "adapted_prompt": "x", "images": [image]})
}

#[track_caller]
fn refused(folder: &Path, rows: &[Value], expected: &str) {
    let file = folder.join("rows.jsonl");
    fs::write(&file, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).expect("written");
    let config = StudyConfig { input: vec![InputFile { file, system: None }], ..plain() };
    refused_config(folder, &config, expected);
}

#[track_caller]
fn refused_config(folder: &Path, config: &StudyConfig, expected: &str) {
    let before = fs::read_dir(folder).expect("a folder").count();
    let out = folder.join("study");
    let error = runtime().block_on(promptist_study::create(config, &out)).expect_err(expected).to_string();
    assert!(error.contains(expected), "{error}");
    assert!(!out.exists());
    assert_eq!(fs::read_dir(folder).expect("a folder").count(), before, "something was left behind");
}

#[test]
fn what_cannot_be_compared_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    for (name, width) in [("a.png", 8), ("b.png", 8), ("wide.png", 16)] {
        RgbImage::from_pixel(width, 8, image::Rgb([name.len() as u8, width as u8, 0]))
            .save(path.join(name))
            .expect("saved");
    }
    fs::write(path.join("text.png"), "no picture").expect("written");
    fs::write(path.join("rows.jsonl"), "").expect("written");

    refused(path, &[], "no rows");
    refused(path, &[row("1", "x", "a.png")], "all rows are of one system, `x`");
    refused(path, &[row("1", "x", "a.png"), row("1", "y", "none.png")], "none.png");
    refused(path, &[row("1", "x", "a.png"), row("1", "y", "text.png")], "text.png: not a picture");
    let unequal = [row("1", "x", "a.png"), row("1", "y", "b.png"), row("2", "x", "a.png")];
    refused(path, &unequal, "`y` lacks 1, the first of them `2`");
    refused(path, &[row("1", "x", "a.png"), row("1", "y", "wide.png")], "images of 8x8 and `y` of 16x8");
    let mut two = row("1", "y", "b.png");
    two["images"] = json!(["a.png", "b.png"]);
    refused(path, &[row("1", "x", "a.png"), two], "`x` has 1 images and `y` has 2");
    let mut none = row("1", "y", "b.png");
    none["images"] = json!([]);
    refused(path, &[row("1", "x", "a.png"), none], "neither `images`, nor `seeds`");
    refused(path, &[row("1", "x", "a.png"), row("1", "y", "a.png")], "the same images");
    refused(path, &[json!({"user_input": "x"})], "rows.jsonl:1: no `system`");
}

#[test]
fn what_is_there_is_not_written_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = write_inputs(folder.path(), 2, 1);
    let config = StudyConfig { input: vec![InputFile { file, system: None }], ..plain() };
    let out = folder.path().join("study");
    fs::create_dir(&out).expect("made");
    let error = runtime().block_on(promptist_study::create(&config, &out)).expect_err("is there");
    assert!(error.to_string().contains("is there already"), "{error}");
}

#[test]
fn a_database_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = write_inputs(folder.path(), 2, 1);
    let input = vec![InputFile { file, system: None }];
    // Nobody listens on port 9 of this machine.
    let database = Some("postgres://nobody@127.0.0.1:9/none?sslmode=disable".to_owned());
    refused_config(folder.path(), &StudyConfig { input, database, ..plain() }, "database: ");
}

#[test]
fn a_folder_that_is_no_study_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = || runtime().block_on(Study::open(folder.path())).expect_err("no study").to_string();
    assert!(open().contains("is no study: study.json"), "{}", open());
    fs::write(folder.path().join("study.json"), r#"{"id": "x; DROP SCHEMA public"}"#).expect("written");
    assert!(open().contains("is no id"), "{}", open());
}
