//! `promptist eval` end to end on a tiny model with random weights.

use std::path::Path;
use std::process::{Command, Output};

use burn::tensor::Device;
use promptist::gpt2::{Gpt2, Gpt2Config, folder};
use promptist::tokenizer::Tokenizer;
use serde_json::Value;

const TEXT: [&str; 4] = [
    "a cat on a mat, highly detailed, 8k, artstation",
    "a castle at dusk, oil painting, sharp focus",
    "portrait of a king, digital painting, smooth, sharp focus",
    "a field of wheat, golden hour, 35mm, highly detailed",
];

/// A model of random weights that keeps its user's words, and the files of a config.
fn prepare(folder: &Path) {
    let json = Tokenizer::train(TEXT.iter().copied().cycle().take(40), 300).expect("trains");
    let tokenizer = Tokenizer::from_json(json.as_bytes()).expect("reads what it wrote");
    let config = Gpt2Config {
        vocab_size: tokenizer.vocab_size(),
        n_positions: 96,
        n_embd: 16,
        n_layer: 1,
        n_head: 2,
        bos_token_id: tokenizer.eos_token_id(),
        eos_token_id: tokenizer.eos_token_id(),
        ..Gpt2Config::default()
    };
    let model = Gpt2::random(&config, 5, &Device::flex()).expect("possible");
    let settings = r#"{"num_beams": 2, "max_new_tokens": 8, "promptist": {"keep": "exact"}}"#;
    let files =
        [("tokenizer.json".into(), json.into_bytes()), ("generation_config.json".into(), settings.into())];
    std::fs::create_dir(folder.join("model")).expect("writable");
    folder::save(&model, &folder.join("model"), &files).expect("writable");
    let write = |name: &str, lines: &[&str]| {
        std::fs::write(folder.join(name), lines.join("\n") + "\n").expect("writable");
    };
    write("a.txt", &["a cat", "a dog", "a cat", "", "a red house"]);
    write("b.txt", &["a tree (tall", "water"]);
    write("long.txt", &["a fox", &"fox ".repeat(200)]);
    write("text.txt", &TEXT);
    write(
        "pairs.jsonl",
        &[
            r#"{"x": "a cat", "y": "a cat, oil painting, sharp focus", "kind": "MC", "source": "rules"}"#,
            r#"{"x": "a log", "y": "a log, 8k, moody", "kind": "MC", "source": "rules"}"#,
        ],
    );
    write(
        "eval.toml",
        &[
            r#"model = "model""#,
            "samples = 3",
            r#"artists = "absent.txt""#,
            "[[sets]]\nname = \"a\"\npath = \"a.txt\"",
            "[[sets]]\nname = \"b\"\npath = \"b.txt\"",
            "[[sets]]\nname = \"long\"\npath = \"long.txt\"",
            "[fit]\nresamples = 50",
            "[diversity]\ngroups = 4\nlimit = 2",
            "[categories]\nlandscape = \"a.txt\"\nportrait = \"b.txt\"",
            "[likelihood]\ntargets = \"pairs.jsonl\"\nbefore_sft = \"model\"\nngram_text = [\"text.txt\"]",
        ],
    );
}

fn eval(folder: &Path, out: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_promptist"))
        .args(["eval", "--config", "eval.toml", "--out", out, "--json"])
        .current_dir(folder)
        .env("HF_HUB_OFFLINE", "1")
        .env_remove("PROMPTIST_DATA")
        .env_remove("PROMPTIST_LOG")
        .output()
        .expect("the program starts")
}

#[test]
fn a_run_measures_everything_and_says_so_in_three_files() {
    let folder = tempfile::tempdir().expect("writable");
    let folder = folder.path();
    prepare(folder);
    let output = eval(folder, "run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let mut report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let file = std::fs::read_to_string(folder.join("run/report.json")).expect("written");
    assert_eq!(report, serde_json::from_str::<Value>(&file).expect("JSON"));
    let counts = |at: &str| {
        report["sets"].as_array().expect("sets").iter().map(|s| s.pointer(at).cloned()).collect::<Vec<_>>()
    };
    assert_eq!(report["target_fit"]["gain"]["n"], 2);
    // An input twice is one input; an empty line is none; one that is too long fails alone.
    assert_eq!(counts("/text/n"), [3, 2, 1].map(|n| Some(n.into())));
    assert_eq!(counts("/diversity/n"), [2, 2, 1].map(|n| Some(n.into())));
    assert_eq!(report["sets"][2]["failed"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&report["all"]["text"]["n"], &report["all"]["text"]["content_kept"]),
        (&6.into(), &1.0.into())
    );
    assert_eq!(report["all"]["text"]["artists"], Value::Null);
    let likelihood = report["likelihood"].as_array().expect("measures");
    let bits = |idx: usize| likelihood[idx]["bits_per_byte"].as_f64().expect("a number");
    assert_eq!(likelihood.len(), 4);
    assert_eq!(bits(0), bits(1), "the same model, asked the same way");
    assert!(bits(3) < bits(2), "random weights know less than five tokens' counts");
    assert_eq!(likelihood[0]["unseen"], 1);
    // Six a set and for all, one for the categories; fewer where a random model's additions are such
    // nonsense that the filter leaves none to measure.
    let checks = report["checks"].as_array().map_or(0, Vec::len);
    assert!((4 * 3..=4 * 6).contains(&checks), "{checks} checks");

    let rows = std::fs::read_to_string(folder.join("run/outputs.jsonl")).expect("written");
    let rows: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(rows.len(), 6);
    assert!(rows.iter().all(|row| row["output"].as_str() >= row["user_input"].as_str()));
    let markdown = std::fs::read_to_string(folder.join("run/report.md")).expect("written");
    assert!(markdown.contains("## 3 outputs, not picked"), "{markdown}");

    // A folder with a report is not written over; another run gives the same numbers.
    assert_eq!(eval(folder, "run").status.code(), Some(1));
    let mut again: Value = serde_json::from_slice(&eval(folder, "again").stdout).expect("JSON");
    for report in [&mut report, &mut again] {
        report.as_object_mut().expect("an object").remove("elapsed_secs");
    }
    assert_eq!(report, again);
}
