//! Control over an answer, as people ask for it on the command line.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_promptist"));
    command.args(args).env("HF_HUB_OFFLINE", "1").stdin(Stdio::null());
    command.output().expect("the program starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// What a run that goes well prints.
#[track_caller]
fn printed(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

/// The exit code and the message of one that does not.
#[track_caller]
fn refused(args: &[&str]) -> (i32, String) {
    let output = run(args);
    assert!(!output.status.success(), "{args:?}");
    (output.status.code().expect("no signal"), text(&output.stderr).to_owned())
}

fn write(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("writable");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn syntax_comes_back_where_it_stood() {
    let input = "a (red:1.2) cat <lora:ink:0.8> --ar 16:9";
    let words = printed(&["adapt", input, "--keep", "words"]);
    assert!(words.starts_with("a (red:1.2) cat, "), "{words}");
    assert!(words.ends_with(" <lora:ink:0.8> --ar 16:9\n"), "{words}");
    assert!(printed(&["adapt", input]).starts_with(&format!("{input}, ")));
}

#[test]
fn bans_come_from_flags_files_and_categories() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = write(folder.path(), "bans.txt", "# what I am tired of\n\nartstation\n/\\d+k/\n@artists\n");
    let rows = printed(&["adapt", "a castle", "-n", "6", "--ban-file", &file, "--ban", "fantasy*", "--json"]);
    let row: Value = serde_json::from_str(&rows).expect("JSON");
    let outputs = row["outputs"].as_array().expect("outputs");
    assert_eq!(outputs.len(), 6);
    for output in outputs {
        let text = output["text"].as_str().expect("a text").to_lowercase();
        assert!(!text.contains("artstation") && !text.contains("4k") && !text.contains("fantasy"), "{text}");
        assert_eq!(output["rules"]["bans"], 4);
    }
    let own = run(&["adapt", "a castle", "--ban", "castle"]);
    assert!(
        text(&own.stderr).contains("your own text has what is banned, and keeps it: castle"),
        "{}",
        text(&own.stderr)
    );

    let bad = write(folder.path(), "bad.txt", "hat\n@hats\n");
    let (code, message) = refused(&["adapt", "a cat", "--ban-file", &bad]);
    assert!(code == 1 && message.contains("bad.txt:2:") && message.contains("@artists"), "{message}");
    let (code, message) = refused(&["adapt", "a cat", "--ban", "/(/"]);
    assert!(code == 2 && message.contains("`ban`"), "{message}");
    let (_, message) = refused(&["adapt", "a cat", "--ban", "light", "--must-include", "soft light"]);
    assert!(message.contains("impossible"), "{message}");
}

#[test]
fn categories_are_listed_with_their_entries() {
    assert!(printed(&["categories"]).contains("@clothing"));
    assert!(printed(&["categories", "@websites"]).lines().any(|line| line == "artstation"));
    assert_eq!(refused(&["categories", "hats"]).0, 2);
}

#[test]
fn a_budget_is_said_with_what_it_is_counted_in() {
    let row = printed(&["adapt", "a castle on a hill", "--target", "sdxl", "--budget", "24", "--json"]);
    let row: Value = serde_json::from_str(&row).expect("JSON");
    let tokens = &row["outputs"][0]["rules"]["tokens"];
    assert_eq!((&tokens["target"], &tokens["budget"]), (&"sdxl".into(), &24.into()));
    assert!(tokens["used"].as_u64().expect("a number") <= 24);
    let (code, message) = refused(&["adapt", "a castle", "--target", "flux"]);
    assert!(code == 2 && message.contains("flux=FOLDER"), "{message}");
    let (code, message) = refused(&["adapt", "a castle on a hill", "--budget", "2"]);
    assert!(code == 1 && message.contains("the input takes"), "{message}");
}

#[test]
fn variants_seeds_and_explanations() {
    let lines = printed(&["adapt", "a castle", "--seeds", "7..10"]);
    let alone = printed(&["adapt", "a castle", "--seed", "8"]);
    assert_eq!(lines.lines().nth(1), Some(alone.trim_end()));
    assert_eq!(lines.lines().count(), 3);
    assert_eq!(refused(&["adapt", "a castle", "--seeds", "7..7"]).0, 2);
    assert_eq!(refused(&["adapt", "a castle", "--seeds", "1,x"]).0, 2);

    let far = run(&["adapt", "a castle", "-n", "60", "--min-distance", "1"]);
    assert!(text(&far.stderr).contains("of 60 answers are that far apart"), "{}", text(&far.stderr));
    let table = printed(&["adapt", "a castle", "--explain"]);
    assert!(table.contains("category") && table.contains("effect"), "{table}");
    assert_eq!(printed(&["adapt", "a castle", "--strength", "0"]), "a castle\n");
}

#[test]
fn a_replay_is_the_same_or_says_what_differs() {
    let folder = tempfile::tempdir().expect("a folder");
    let answers = folder.path().join("answers.jsonl");
    let answers = answers.to_str().expect("UTF-8");
    printed(&[
        "adapt",
        "a cat",
        "two dogs",
        "--json",
        "--vary-rows",
        "--threads",
        "1",
        "--must-include",
        "bokeh",
        "--output",
        answers,
    ]);
    assert_eq!(printed(&["replay", answers, "--threads", "2"]), "2 of 2 answers are the same\n");

    let forged = std::fs::read_to_string(answers).expect("written").replace("bokeh", "boats");
    let forged = write(folder.path(), "forged.jsonl", &forged);
    let output = run(&["replay", &forged]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("settings: recorded"), "{}", text(&output.stdout));
    let (code, message) = refused(&["replay", &write(folder.path(), "x.jsonl", "{\"a\": 1}\n")]);
    assert!(code == 1 && message.contains("no line of `adapt --json`"), "{message}");
}
