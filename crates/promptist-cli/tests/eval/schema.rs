//! `docs/eval-report.md` names every key of `report.json` and of `rows.jsonl`, and no key that is not there.

use std::collections::BTreeSet;

use promptist::eval::run::read;
use serde_json::Value;

use crate::world::{FEW, INPUT, TEXT, TINY, World, golden};

/// What is under these has the caller's names, or is documented where it comes from.
const OPAQUE: [&str; 9] = [
    "report.config",
    "report.systems[].models[].settings",
    "report.systems[].models[].receipt",
    "report.images.settings",
    "report.additions[].flaws",
    "row.values",
    "row.rewrites[].values",
    "row.rewrites[].failures",
    "row.rewrites[].lost",
];

#[test]
fn every_key_is_documented_and_every_documented_key_is_there() {
    let world = World::new();
    world.add_model("other", 6);
    world.write(
        "a.jsonl",
        &[
            r#"{"user_input": "a cat by alphonse", "human_prompt": "a dog, 8k, art by greg rutkowski, nude, 8k", "category": "animals", "source_kind": "MC"}"#,
            r#"{"user_input": "a red house", "human_prompt": "a red house, xkjhgfdq", "category": "places", "source_kind": "RMC"}"#,
        ],
    );
    world.write("b.txt", &["a tree", "water", &"fox ".repeat(200)]);
    world.write("r.jsonl", &[r#"{"user_input": "a tree", "adapted_prompt": "a tree, 8k"}"#]);
    world.write("artists.txt", &["Greg Rutkowski"]);
    world.write("text.txt", &TEXT);
    world.write("leak.txt", &["a red house"]);
    world.write(
        "pairs.jsonl",
        &[
            r#"{"x": "a cat", "y": "a cat, oil painting, sharp focus"}"#,
            r#"{"x": "a log", "y": "a log, 8k, moody"}"#,
        ],
    );
    world.write(
        "score.toml",
        &[&format!(
            "generator = {:?}\nclip = {:?}\naesthetic = {:?}\npick_score = {:?}\n\
             [images]\nwidth = 32\nheight = 32\nnum_inference_steps = 1\n[cache]\nfolder = \"cache\"\n",
            golden("diffusion_v1"),
            golden("clip/quick_gelu"),
            golden("clip/heads/chain.pth"),
            golden("clip/gelu"),
        )],
    );
    world.write(
        "eval.toml",
        &[
            FEW,
            "artists = \"artists.txt\"",
            INPUT,
            "[[systems]]\nname = \"human\"\nkind = \"human\"",
            &TINY.replace("model = \"model\"", "models = [\"model\", \"other\"]"),
            "[[systems]]\nname = \"file\"\nkind = \"file\"\npath = \"r.jsonl\"",
            "[[sets]]\nname = \"a\"\npath = \"a.jsonl\"\ndomain = \"in\"",
            "[[sets]]\nname = \"b\"\npath = \"b.txt\"\ndomain = \"out\"",
            "[images]\nconfig = \"score.toml\"",
            "[[reward]]\nname = \"kept\"\nkind = \"retention\"",
            "[judges]\nhuman_text = [\"text.txt\"]",
            "[leakage]\ntraining = [\"leak.txt\"]",
            "[fit]",
            "[diversity]\ngroups = 4",
            "[categories]\nlandscape = \"b.txt\"\nportrait = \"b.txt\"",
            "[likelihood]\ntargets = \"pairs.jsonl\"\nbefore_sft = \"model\"\nngram_text = [\"text.txt\"]",
        ],
    );
    world.succeed("run", &[]);
    let mut found = BTreeSet::new();
    paths("report", &world.json("run/report.json"), &mut found);
    world.rows("run").iter().for_each(|row| paths("row", row, &mut found));

    let document = include_str!("../../../../docs/eval-report.md");
    let (_, keys) = document.split_once("## `report.json`").expect("a section of keys");
    let documented: BTreeSet<String> = keys
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(path, _)| path.to_owned()))
        .filter(|path| path.starts_with("report.") || path.starts_with("row."))
        .collect();
    let missing: Vec<&String> = found.difference(&documented).collect();
    assert!(missing.is_empty(), "not in docs/eval-report.md: {missing:#?}");
    // Some keys need what no test has at hand: a chat server, ratings, a restored or cut answer.
    let optional =
        |path: &&String| document.contains(&format!("| `{path}` | (if ")) || path.contains(".openai");
    let gone: Vec<&String> = documented.difference(&found).filter(|path| !optional(path)).collect();
    assert!(gone.is_empty(), "in docs/eval-report.md and nowhere else: {gone:#?}");

    // What is written can be read again, and says the same.
    let findings = read(&world.path("run")).expect("its own output");
    assert_eq!(serde_json::to_value(&findings.report).expect("JSON"), world.json("run/report.json"));
    assert_eq!(findings.rows.len(), world.rows("run").len());
}

/// The paths of a value's keys; `[]` stands for the places of a list.
fn paths(path: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                let path = format!("{path}.{key}");
                found.insert(path.clone());
                if !OPAQUE.contains(&path.as_str()) {
                    paths(&path, value, found);
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| paths(&format!("{path}[]"), value, found)),
        _ => {}
    }
}
