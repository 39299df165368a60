//! A text reward from pairs to scores: fitted on a tiny random prompter, saved, opened, and told to be wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use promptist::Error;
use promptist::config_file::ConfigFile;
use promptist::generator::Cancel;
use promptist::gpt2::{Gpt2, Gpt2Config, folder};
use promptist::model_source::ModelFiles;
use promptist::progress::NoProgress;
use promptist::reward::text::LIMIT;
use promptist::reward::{Pair, Reward, TextReward};
use promptist::tokenizer::Tokenizer;
use promptist::train::reward::config::RewardFitConfig;
use promptist::train::reward::{FitContext, fit};
use serde_json::{Value, json};

/// Subjects, each with the words that people put behind it.
const WORLD: [(&str, [&str; 5]); 4] = [
    ("cat", ["soft fur", "studio photo", "bokeh", "85mm", "cute"]),
    ("castle", ["matte painting", "wide shot", "fog", "artstation", "epic"]),
    ("robot", ["octane render", "neon", "hard surface", "8k", "sci-fi"]),
    ("queen", ["oil painting", "portrait", "elegant", "baroque", "candlelight"]),
];

/// A prompter of random weights, pairs and plain text.
fn prepare(folder: &Path) {
    let mut lines = Vec::new();
    for number in 0..480_usize {
        let (subject, words) = WORLD[number % 4];
        let x = format!("a {subject} named {}{}", ["ann", "bob", "cy", "di"][number / 4 % 4], number / 16);
        // Three to five of the five, in an order of their own.
        let picked: Vec<&str> = (0..3 + number / 4 % 3).map(|i| words[(number / 7 + 2 * i) % 5]).collect();
        lines.push(json!({"x": x, "y": format!("{x}, {}", picked.join(", ")), "kind": "MC"}).to_string());
    }
    let write = |name: &str, lines: &[String]| {
        fs::write(folder.join(name), lines.join("\n") + "\n").expect("writable");
    };
    write("train.jsonl", &lines[..400]);
    write("validation.jsonl", &lines[400..440]);
    write("test.jsonl", &lines[440..]);
    let plain: Vec<String> =
        (0..80).map(|i| format!("two people walk along street number {i} on a day in june")).collect();
    write("plain.txt", &plain);
    write("ratings.csv", &ratings());

    let json = Tokenizer::train(lines.iter().map(String::as_str), 400).expect("trains");
    let tokenizer = Tokenizer::from_json(json.as_bytes()).expect("reads what it wrote");
    let config = Gpt2Config {
        vocab_size: tokenizer.vocab_size(),
        n_positions: 128,
        n_embd: 32,
        n_layer: 1,
        n_head: 2,
        bos_token_id: tokenizer.eos_token_id(),
        eos_token_id: tokenizer.eos_token_id(),
        ..Gpt2Config::default()
    };
    let model = Gpt2::random(&config, 5, &Device::flex()).expect("possible");
    let settings = r#"{"max_new_tokens": 8, "promptist": {"keep": "exact"}}"#;
    let files =
        [("tokenizer.json".into(), json.into_bytes()), ("generation_config.json".into(), settings.into())];
    fs::create_dir(folder.join("prompter")).expect("writable");
    folder::save(&model, &folder.join("prompter"), &files).expect("writable");
}

/// Pictures of two generators; people like what has modifiers.
fn ratings() -> Vec<String> {
    let mut rows = vec!["name,prompt,adj1,adj2,style,mos_quality".to_owned()];
    for number in 0..20 {
        let (prompt, modifier) = match number % 2 {
            0 => (format!("a cat named c{number}"), ""),
            _ => (format!("\"a cat named c{number}, soft fur\""), "soft fur"),
        };
        for (generator, base) in [("one", 1.0), ("two", 3.0)] {
            let quality = base + f64::from(number % 2) / 2.0;
            rows.push(format!("{generator}_{number}.jpg,{prompt},{modifier},,,{quality}"));
        }
    }
    rows
}

fn config(folder: &Path, family: &str, half: &str) -> RewardFitConfig {
    let at = folder.display();
    let text = format!(
        "seed = 3\nfamily = \"{family}\"\nhalf = \"{half}\"\nmodel = '{at}/prompter'\n\
         ratings = '{at}/ratings.csv'\nresamples = 200\n\
         [data]\ntrain = '{at}/train.jsonl'\nvalidation = '{at}/validation.jsonl'\n\
         test = '{at}/test.jsonl'\nplain = ['{at}/plain.txt']\n\
         [contrast]\nper_target = 3\n[trunk]\nhidden = 8\nepochs = 12\nlearning_rate = 0.01\n\
         weight_decay = 0.01\n[ngrams]\nl2 = 0.0\n"
    );
    RewardFitConfig::from_toml(&text).expect("a good config")
}

fn run(config: &RewardFitConfig, run: &Path, resume: bool) -> promptist::Result<PathBuf> {
    let model = ModelFiles::folder(&config.model);
    let (progress, stop) = (&NoProgress, &AtomicBool::new(false));
    fit(config, &FitContext { run, resume, model: &model, num_threads: 1, progress, stop })
}

fn pair(user_input: &str, adapted_prompt: &str) -> Pair {
    Pair { user_input: user_input.to_owned(), adapted_prompt: adapted_prompt.to_owned() }
}

fn report(run: &Path) -> Value {
    let text = fs::read_to_string(run.join("report.json")).expect("a report");
    serde_json::from_str(&text).expect("JSON")
}

/// Pairs that people would and would not have made, each with one that is worse.
fn judged() -> Vec<(Pair, Pair)> {
    let x = "a castle named ann99";
    let good = pair(x, &format!("{x}, matte painting, fog, epic"));
    [
        x.to_owned(),
        format!("{x}, two people walk along street number 7 on a day in june"),
        format!("{x}, fog, fog, fog, epic, matte painting, epic"),
        format!("{x}, epic painting fog, matte wide, shot matte"),
    ]
    .into_iter()
    .map(|worse| (good.clone(), pair(x, &worse)))
    .collect()
}

#[track_caller]
fn check_fit(family: &str, half: &str, least_auc: f64) {
    let folder = tempfile::tempdir().expect("temporary folder");
    prepare(folder.path());
    let config = config(folder.path(), family, half);
    let first = folder.path().join("first");
    let model = run(&config, &first, false).expect("fits");
    assert_eq!(model, first.join("model"));

    // What it says of itself.
    let report = report(&first);
    let auc = report["held_out"]["auc"].as_f64().expect("a number");
    assert!(auc > least_auc, "{auc}");
    assert!(report["ratings"]["within_text"].is_null());
    let card = fs::read_to_string(first.join("card.md")).expect("a card");
    let opening = card.lines().nth(2).expect("three lines");
    assert!(opening.contains("correlation with human quality"), "{opening}");

    // What it says of pairs, alone and together, from the run and from its model.
    let reward = TextReward::open(&first, 1).expect("whole");
    let pairs: Vec<Pair> = judged().into_iter().flat_map(|(good, worse)| [good, worse]).collect();
    let scores: Vec<f64> = reward
        .score(&pairs, &Cancel::default())
        .expect("texts")
        .into_iter()
        .map(|score| score.expect("a text has a score"))
        .collect();
    for (pair, scores) in judged().iter().zip(scores.chunks_exact(2)) {
        assert!(scores[0] > scores[1], "{family}: {scores:?} {pair:?}");
        assert!(scores.iter().all(|score| score.abs() < LIMIT));
    }
    let opened = TextReward::open(&model, 2).expect("whole");
    for (pair, score) in pairs.iter().zip(&scores) {
        let alone = opened.score(std::slice::from_ref(pair), &Cancel::default()).expect("a text");
        assert_eq!(alone, [Ok(*score)], "{pair:?}");
    }

    // The same bits again; a finished run is not fitted again.
    let second = folder.path().join("second");
    run(&config, &second, false).expect("fits");
    let bytes = |run: &Path| fs::read(run.join("model/reward.safetensors")).expect("a file");
    assert_eq!(bytes(&first), bytes(&second));
    let modified =
        |run: &Path| fs::metadata(run.join("report.json")).and_then(|m| m.modified()).expect("a file");
    let before = modified(&first);
    run(&config, &first, true).expect("a whole run");
    assert_eq!(modified(&first), before);
}

#[test]
fn a_head_on_a_trunk_learns_what_people_write() {
    check_fit("trunk", "a", 0.75);
}

#[test]
fn a_linear_model_learns_it_too_on_the_other_half() {
    check_fit("ngrams", "b", 0.75);
}

#[test]
fn runs_and_folders_that_are_not_whole_are_refused() {
    let folder = tempfile::tempdir().expect("temporary folder");
    prepare(folder.path());
    let config = config(folder.path(), "ngrams", "a");
    let out = folder.path().join("run");
    let model = run(&config, &out, false).expect("fits");
    let refused = |result: promptist::Result<PathBuf>, expected: &str| {
        let error = result.expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    };
    refused(run(&config, &out, false), "is a run already");
    let other = RewardFitConfig { seed: 4, ..config.clone() };
    refused(run(&other, &out, true), "started with another config");
    refused(run(&config, folder.path(), false), "exists and is not a run");

    // A run that died before its model was in place begins again.
    let bytes = fs::read(model.join("reward.safetensors")).expect("a file");
    fs::rename(&model, out.join("model.unfinished")).expect("renames");
    run(&config, &out, true).expect("fits again");
    assert_eq!(fs::read(model.join("reward.safetensors")).expect("a file"), bytes);

    let open = |expected: &str| {
        let error = TextReward::open(&out, 1).err().expect(expected).to_string();
        assert!(error.contains(expected), "{error}");
    };
    let path = model.join("reward.safetensors");
    fs::write(&path, &bytes[..bytes.len() - 1]).expect("writable");
    open("reward.safetensors: expected SHA-256");
    fs::write(&path, &bytes).expect("writable");
    let header = fs::read_to_string(model.join("reward.json")).expect("a file");
    fs::write(model.join("reward.json"), header.replace("\"version\": 1", "\"version\": 9"))
        .expect("writable");
    open("expected version 1, found 9");
    fs::write(model.join("reward.json"), header.replace("\"half\"", "\"hlf\"")).expect("writable");
    open("hlf");
    fs::write(model.join("reward.json"), &header).expect("writable");
    fs::remove_file(model.join("SHA256SUMS")).expect("there");
    open("SHA256SUMS: expected the sums");
}

#[test]
fn a_raised_flag_stops_a_fit_and_a_scoring() {
    let folder = tempfile::tempdir().expect("temporary folder");
    prepare(folder.path());
    let config = config(folder.path(), "ngrams", "a");
    let (out, model) = (folder.path().join("run"), ModelFiles::folder(&config.model));
    let stop = AtomicBool::new(true);
    let context = FitContext {
        run: &out,
        resume: false,
        model: &model,
        num_threads: 1,
        progress: &NoProgress,
        stop: &stop,
    };
    assert!(matches!(fit(&config, &context), Err(Error::Interrupted)));
    assert!(!out.join("model").exists());
    let resumed = run(&config, &out, true).expect("begins again");
    let reward = TextReward::open(&resumed, 1).expect("whole");
    let cancel = Cancel::following(Arc::new(AtomicBool::new(true)));
    assert!(matches!(reward.score(&[pair("a", "a, b")], &cancel), Err(Error::Interrupted)));
}
