//! `promptist train reward`, and a comparison that it judges, end to end on tiny models with random weights.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use burn::tensor::Device;
use promptist::gpt2::{Gpt2, Gpt2Config, folder};
use promptist::tokenizer::Tokenizer;
use serde_json::{Value, json};

const STYLES: [&str; 6] = ["8k", "oil painting", "sharp focus", "artstation", "soft light", "concept art"];

/// Two models, pairs, plain text, ratings, and the configs of both verbs.
fn prepare(folder: &Path) {
    let line = |number: usize| {
        let x = format!("a {} of number {number}", ["cat", "castle", "robot"][number % 3]);
        let y = format!("{x}, {}, {}", STYLES[number % 6], STYLES[(number + 1) % 6]);
        json!({"x": x, "y": y, "kind": "MC"}).to_string()
    };
    let lines: Vec<String> = (0..300).map(line).collect();
    let write = |name: &str, text: String| fs::write(folder.join(name), text).expect("writable");
    write("train.jsonl", lines[..240].join("\n"));
    write("validation.jsonl", lines[240..270].join("\n"));
    write("test.jsonl", lines[270..].join("\n"));
    write("plain.txt", (0..60).map(|i| format!("two men on street number {i} in may\n")).collect());
    write("inputs.txt", (0..9).map(|i| format!("a {} at {i}\n", ["dog", "barn", "king"][i % 3])).collect());
    let rating = |i: usize| {
        let modifier = if i.is_multiple_of(2) { "" } else { "sharp" };
        format!("one_{i}.jpg,\"a cat {i}, {modifier}\",{modifier},,,{}\n", 1 + i % 2)
    };
    let ratings: String = (0..20).map(rating).collect();
    write("ratings.csv", format!("name,prompt,adj1,adj2,style,mos_quality\n{ratings}"));
    write(
        "reward.toml",
        "seed = 5\nfamily = \"ngrams\"\nhalf = \"a\"\nmodel = \"before\"\nratings = \"ratings.csv\"\n\
         resamples = 50\n[data]\ntrain = \"train.jsonl\"\nvalidation = \"validation.jsonl\"\n\
         test = \"test.jsonl\"\nplain = [\"plain.txt\"]\n"
            .to_owned(),
    );
    write(
        "compare.toml",
        "resamples = 50\nsamples = 2\n\
         [[systems]]\nname = \"before\"\nkind = \"model\"\nmodel = \"before\"\n\
         [[systems]]\nname = \"after\"\nkind = \"model\"\nmodels = [\"after\", \"before\"]\n\
         [[sets]]\nname = \"few\"\npath = \"inputs.txt\"\n\
         [[reward]]\nname = \"text\"\nkind = \"text\"\nmodel = \"reward\"\n\
         [[reward]]\nname = \"kept\"\nkind = \"retention\"\n\
         [judges]\nhuman_text = [\"human.txt\"]\nhalf = \"b\"\nratings = \"ratings.csv\"\n"
            .to_owned(),
    );
    write("human.txt", (0..40).map(|i| format!("a boat {i}, {}, 8k\n", STYLES[i % 6])).collect());

    let json = Tokenizer::train(lines.iter().map(String::as_str), 320).expect("trains");
    let tokenizer = Tokenizer::from_json(json.as_bytes()).expect("reads what it wrote");
    let config = Gpt2Config {
        vocab_size: tokenizer.vocab_size(),
        n_positions: 128,
        n_embd: 16,
        n_layer: 1,
        n_head: 2,
        bos_token_id: tokenizer.eos_token_id(),
        eos_token_id: tokenizer.eos_token_id(),
        ..Gpt2Config::default()
    };
    let settings = r#"{"do_sample": true, "max_new_tokens": 8, "promptist": {"keep": "exact"}}"#;
    let files =
        [("tokenizer.json".into(), json.into_bytes()), ("generation_config.json".into(), settings.into())];
    for (name, seed) in [("before", 1), ("after", 2)] {
        let model = Gpt2::random(&config, seed, &Device::flex()).expect("possible");
        fs::create_dir(folder.join(name)).expect("writable");
        folder::save(&model, &folder.join(name), &files).expect("writable");
    }
}

fn promptist(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_promptist"))
        .args(args)
        .current_dir(folder)
        .env("HF_HUB_OFFLINE", "1")
        .env_remove("PROMPTIST_DATA")
        .env_remove("PROMPTIST_LOG")
        .output()
        .expect("the program starts")
}

#[track_caller]
fn succeed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

#[test]
fn a_fitted_reward_judges_models_side_by_side() {
    let folder = tempfile::tempdir().expect("writable");
    let folder = folder.path();
    prepare(folder);
    let fit = ["train", "reward", "--config", "reward.toml", "--out", "reward"];
    let printed = succeed(&promptist(folder, &fit));
    assert_eq!(Path::new(printed.trim()), Path::new("reward").join("model"));
    let card = fs::read_to_string(folder.join("reward/card.md")).expect("a card");
    assert!(card.contains("It is a proxy"), "{card}");
    let again = promptist(folder, &fit);
    assert_eq!(again.status.code(), Some(1), "a run is not written over");
    succeed(&promptist(folder, &[&fit[..], &["--resume"]].concat()));

    let compare = ["eval", "--config", "compare.toml", "--out", "compared", "--json"];
    let report: Value = serde_json::from_str(&succeed(&promptist(folder, &compare))).expect("JSON");
    let titles: Vec<&str> =
        report["measures"].as_array().expect("measures").iter().filter_map(|m| m["title"].as_str()).collect();
    for title in
        ["reward `text` (proxy)", "reward `kept` (proxy)", "quality foretold from words", "degenerate"]
    {
        assert!(titles.contains(&title), "{title}: {titles:?}");
    }
    // The second model after is the one before: half of every difference is 0.
    let number = |value: &Value| value.as_f64().expect("a number");
    let cell = |measure: &str, system: &str| {
        let cells = report["cells"].as_array().expect("cells").iter();
        let mut of_both = cells.filter(|cell| cell["measure"] == measure && cell["system"] == system);
        of_both.next().expect("a cell")
    };
    let (before, each) = (
        number(&cell("reward_text", "before")["interval"]["mean"]),
        &cell("reward_text", "after")["by_model"],
    );
    assert!((number(&each[1]) - before).abs() < 1e-9);
    let half = (number(&each[0]) - before) / 2.0;
    let comparisons = report["comparisons"].as_array().expect("comparisons");
    let found = comparisons.iter().find(|found| found["measure"] == "reward_text").expect("a comparison");
    assert_eq!((&found["system"], &found["against"]), (&"after".into(), &"before".into()));
    assert!((number(&found["difference"]["mean"]) - half).abs() < 1e-9);
    assert_eq!(cell("reward_kept", "before")["interval"]["mean"], 1.0, "words are kept");
    let markdown = fs::read_to_string(folder.join("compared/report.md")).expect("a report");
    assert!(markdown.contains("not picked"), "{markdown}");
    assert_eq!(promptist(folder, &compare).status.code(), Some(1), "a report is not written over");
}
