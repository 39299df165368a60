//! `promptist adapt` as people run it, with the model inside the program.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn promptist(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_promptist"));
    command.args(args).env_remove("PROMPTIST_LOG").env("HF_HUB_OFFLINE", "1");
    command
}

fn run(args: &[&str]) -> Output {
    promptist(args).stdin(Stdio::null()).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

fn json_lines(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn write(folder: &Path, name: &str, content: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("writable");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_text_gives_one_line_that_opens_with_it() {
    let output = run(&["adapt", "a rabbit is wearing a space suit"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let line = text(&output.stdout).strip_suffix('\n').expect("a line");
    let addition = line.strip_prefix("a rabbit is wearing a space suit, ").expect("the words kept");
    assert!(!addition.is_empty() && !line.contains('\n') && !line.contains('\x1b'), "{line}");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn json_says_everything() {
    let output = run(&["adapt", "--json", "a lighthouse at dusk", "-n", "3", "--num-beams", "3"]);
    let lines = json_lines(&output);
    assert_eq!(lines.len(), 1);
    let row = &lines[0];
    assert_eq!(row["user_input"], "a lighthouse at dusk");
    assert_eq!(row["outputs"].as_array().expect("outputs").len(), 3);
    assert_eq!(row["model"]["name"], "mini");
    assert_eq!(row["model"]["sha256"].as_str().expect("a sum").len(), 64);
    assert_eq!(row["settings"]["num_beams"], 3);
    assert_eq!(row["seed"], Value::Null);
    assert!(row["elapsed_ms"].as_f64().expect("a time") > 0.0);
    let scores: Vec<f64> = row["outputs"]
        .as_array()
        .expect("outputs")
        .iter()
        .map(|o| o["score"].as_f64().expect("a score"))
        .collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "best first: {scores:?}");
    for output in row["outputs"].as_array().expect("outputs") {
        assert!(output["finish"] == "eos" || output["finish"] == "length");
        assert!(!output["token_ids"].as_array().expect("ids").is_empty());
    }
}

#[test]
fn a_bad_row_carries_its_error_and_the_others_go_on() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let long = "word ".repeat(2000);
    let input = write(folder.path(), "in.txt", format!("a cat\n   \n{long}\na dog\n").as_bytes());
    let output = run(&["adapt", "--json", "--input", &input, "--batch-size", "4"]);
    assert_eq!(output.status.code(), Some(1));
    let lines = json_lines(&output);
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[1]["error"], "the prompt is empty");
    let too_long = lines[2]["error"].as_str().expect("an error");
    assert!(too_long.contains("context holds 384"), "{too_long}");
    for (line, words) in [(0, "a cat"), (3, "a dog")] {
        assert!(lines[line]["outputs"][0]["text"].as_str().expect("a text").starts_with(words));
    }
    let stderr = text(&output.stderr);
    assert!(stderr.contains("in.txt:2: the prompt is empty") && stderr.contains("2 of 4 inputs"), "{stderr}");
}

#[test]
fn answers_do_not_depend_on_the_batch() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let inputs = "a cat\nportrait of an old fisherman with a pipe, oil painting\n\
                  a man and a woman ride two horses through a river at sunset while it rains\na cat\n";
    let input = write(folder.path(), "in.txt", inputs.as_bytes());
    for search in [&["--num-beams", "4"][..], &["--sample", "--seed", "3"]] {
        let texts = |batch_size: &str| {
            let args = [&["adapt", "--input", &input, "--batch-size", batch_size], search].concat();
            text(&run(&args).stdout).to_owned()
        };
        let alone = texts("1");
        assert_eq!(alone, texts("4"));
        let lines: Vec<&str> = alone.lines().collect();
        assert_eq!((lines.len(), lines[0]), (4, lines[3]));
    }
}

#[test]
fn seeds_repeat_and_rows_vary_on_request() {
    let args =
        ["adapt", "--json", "--sample", "--temperature", "1.5", "--seed", "7", "a cat", "a cat", "a cat"];
    let same = json_lines(&run(&args));
    let varied = json_lines(&run(&[&args[..], &["--vary-rows"]].concat()));
    let texts = |rows: &[Value]| -> Vec<String> {
        rows.iter().map(|row| row["outputs"][0]["text"].to_string()).collect()
    };
    let seeds = |rows: &[Value]| -> Vec<u64> {
        rows.iter().map(|row| row["seed"].as_u64().expect("a seed")).collect()
    };
    assert_eq!(seeds(&same), [7, 7, 7]);
    assert_eq!(seeds(&varied), [7, 8, 9]);
    assert!(texts(&same).windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(texts(&varied)[0], texts(&same)[0]);
    assert!(texts(&varied)[1..].iter().any(|other| *other != texts(&same)[0]));
}

#[test]
fn inputs_come_from_jsonl_and_stdin_and_go_to_a_file() {
    use std::io::Write;

    let folder = tempfile::tempdir().expect("temporary folder");
    let input = write(folder.path(), "in.jsonl", b"{\"caption\": \"a red barn\"}\n");
    let out = folder.path().join("out.txt");
    let output =
        run(&["adapt", "--input", &input, "--field", "caption", "--output", out.to_str().expect("UTF-8")]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "");
    assert!(std::fs::read_to_string(&out).expect("written").starts_with("a red barn, "));

    let mut child = promptist(&["adapt", "--input", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().expect("piped").write_all(b"a blue barn\n").expect("written");
    let output = child.wait_with_output().expect("ends");
    assert!(text(&output.stdout).starts_with("a blue barn, "));
}

#[test]
fn bad_files_and_flags_are_named() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = |name: &str, content: &[u8]| write(folder.path(), name, content);
    let latin1 = path("latin1.txt", b"a cat\ncaf\xe9\n");
    let broken = path("broken.jsonl", b"{\"user_input\": \"a cat\"}\n{\"user_input\": \n");
    let other = path("other.jsonl", b"{\"text\": \"a cat\"}\n");
    let csv = path("in.csv", b"a cat\n");
    let cases: [(&[&str], i32, &str); 14] = [
        (&["adapt"], 2, "give a TEXT or --input FILE"),
        (&["adapt", "a", "--input", "b.txt"], 2, "cannot be used with"),
        (
            &["adapt", "a", "--num-beams", "6", "--num-beam-groups", "4", "--diversity-penalty", "1"],
            2,
            "num_beam_groups",
        ),
        (&["adapt", "a", "-n", "9", "--num-beams", "4"], 2, "num_return_sequences"),
        (&["adapt", "a", "--sample", "--temperature", "0"], 2, "temperature"),
        (&["adapt", "a", "--guidance", "-3"], 2, "guidance"),
        (&["adapt", "a", "--early-stopping", "maybe"], 2, "early-stopping"),
        (&["adapt", "a", "--precision", "int3"], 2, "precision"),
        (&["adapt", "   "], 1, "the prompt is empty"),
        (&["adapt", "--input", "absent.txt"], 1, "absent.txt"),
        (&["adapt", "--input", &latin1], 1, "latin1.txt:2: not UTF-8"),
        (&["adapt", "--input", &broken], 1, "broken.jsonl:2: "),
        (&["adapt", "--input", &other], 1, "other.jsonl:1: no text in the field `user_input`"),
        (&["adapt", "--input", &csv], 1, "expected a .txt or a .jsonl file"),
    ];
    for (args, code, message) in cases {
        let output = run(args);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(stderr.contains(message), "{args:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
    }
    let missing = run(&["adapt", "a", "--model", "./absent"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("./absent"), "{}", text(&missing.stderr));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = promptist(&["adapt", "a cat", "a dog", "a bird"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success(), "{}", text(&output.stderr));
}
