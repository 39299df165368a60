//! `docs/eval-report.md` names every key of `report.json` and of `rows.jsonl`, and no key that is not there.

use std::collections::BTreeSet;

use promptist::eval::run::read;
use serde_json::Value;

use crate::world::everything;

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
    let world = everything();
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
