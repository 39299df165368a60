//! Rows of rewrites: read, and grouped by input so that every system answers the same ones.
//!
//! A row is `{"id"?, "user_input", "system", "adapted_prompt", "images"?, "seeds"?}`; other fields are
//! ignored, so that lines of `promptist score --json` are rows too. So are lines of an evaluation's `rows.jsonl`,
//! under the names that they have there: a row of a study's report is the row of that name of the evaluation's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use promptist::data::lines;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::config::{Incomplete, InputFile};
use crate::error::{Error, Result};

/// What a system made of an input.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) input_id: String,
    pub(crate) user_input: String,
    pub(crate) system: String,
    pub(crate) adapted_prompt: String,
    /// Empty if they are to be looked up by the seeds.
    pub(crate) images: Vec<PathBuf>,
    pub(crate) seeds: Vec<u64>,
    /// Who drew them, if the row says so; told apart where a cache has images of several.
    pub(crate) generator: Option<String>,
}

/// Rows by input, in the order of the first appearance; in each the systems in theirs.
#[derive(Debug, PartialEq)]
pub(crate) struct Rows {
    pub(crate) systems: Vec<String>,
    pub(crate) inputs: Vec<Vec<Row>>,
    /// Inputs that were left out because a system lacks them.
    pub(crate) dropped: usize,
}

#[derive(Deserialize)]
struct Line {
    id: Option<Id>,
    user_input: String,
    system: Option<String>,
    adapted_prompt: Option<String>,
    #[serde(default)]
    images: Vec<PathBuf>,
    seeds: Option<Vec<u64>>,
    generator: Option<String>,
    error: Option<String>,
    /// What follows is an evaluation's.
    set: Option<String>,
    index: Option<u64>,
    rewrites: Option<Vec<Rewrite>>,
    missing: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(i64),
}

/// A rewrite of an evaluation's row.
#[derive(Deserialize)]
struct Rewrite {
    adapted_prompt: String,
    images: Option<RewriteImages>,
}

#[derive(Deserialize)]
struct RewriteImages {
    seeds: Option<Vec<u64>>,
    adapted: Vec<PathBuf>,
}

/// The part of an evaluation's `report.json` that says where its images are.
#[derive(Deserialize)]
struct EvalReport {
    images: Option<EvalImages>,
}

#[derive(Deserialize)]
struct EvalImages {
    root: PathBuf,
}

/// The rows of a file.
pub(crate) fn read(input: &InputFile) -> Result<Vec<Row>> {
    let lines = lines::read(&input.file)?;
    let root = images_root(&input.file)?;
    let mut rows = Vec::with_capacity(lines.len());
    for (number, line) in (1..).zip(&lines).filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |reason| promptist::Error::line(&input.file, number, reason);
        rows.extend(parse(line, input, &root).map_err(wrong)?);
    }
    Ok(rows)
}

/// Where paths of images in a file begin: its own folder, unless an evaluation's report beside it says that its
/// images stayed in the cache.
fn images_root(file: &Path) -> Result<PathBuf> {
    let folder = file.parent().unwrap_or(Path::new("")).to_owned();
    let report = folder.join("report.json");
    if file.file_name().is_none_or(|name| name != "rows.jsonl") || !report.is_file() {
        return Ok(folder);
    }
    let text = std::fs::read_to_string(&report).map_err(promptist::Error::io(&report))?;
    let said: EvalReport = serde_json::from_str(&text)
        .map_err(|error| promptist::Error::file(&report, format!("an evaluation's report: {error}")))?;
    match said.images {
        Some(EvalImages { root }) if root != Path::new(".") => Ok(root),
        _ => Ok(folder),
    }
}

/// The row of a line; none if it is one of an evaluation whose system had no answer.
fn parse(line: &str, input: &InputFile, root: &Path) -> Result<Option<Row>, String> {
    let mut line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if let Some(error) = line.error {
        return Err(format!("the row failed where it was made: {error}"));
    }
    if line.missing.is_some() {
        return Ok(None);
    }
    // Of a system with several models, the first stands for it.
    if let Some(rewrite) = line.rewrites.take().and_then(|rewrites| rewrites.into_iter().next()) {
        line.adapted_prompt = Some(rewrite.adapted_prompt);
        if let Some(images) = rewrite.images {
            (line.images, line.seeds) = (images.adapted, images.seeds);
        }
    }
    let user_input = line.user_input.trim().to_owned();
    if user_input.is_empty() {
        return Err("`user_input` is empty".to_owned());
    }
    let system = line.system.or_else(|| input.system.clone());
    let system = system.ok_or("no `system`: name it in the row, or with --input NAME=FILE")?;
    if system.trim().is_empty() {
        return Err("`system` is empty".to_owned());
    }
    let adapted_prompt = line.adapted_prompt.ok_or("no `adapted_prompt`")?;
    // PostgreSQL's texts have none.
    if [&user_input, &system, &adapted_prompt].iter().any(|text| text.contains('\0')) {
        return Err("a text has a NUL in it".to_owned());
    }
    let seeds = line.seeds.unwrap_or_default();
    if !line.images.is_empty() && !seeds.is_empty() && line.images.len() != seeds.len() {
        return Err(format!("{} images and {} seeds", line.images.len(), seeds.len()));
    }
    let input_id = match (line.id, line.set.zip(line.index)) {
        (Some(Id::Text(id)), _) if !id.trim().is_empty() => id,
        (Some(Id::Number(id)), _) => id.to_string(),
        (_, Some((set, index))) => format!("{set}:{index}"),
        _ => id_of(&user_input),
    };
    let images = line.images.iter().map(|image| root.join(image)).collect();
    Ok(Some(Row { input_id, user_input, system, adapted_prompt, images, seeds, generator: line.generator }))
}

/// The id of an input that has none: the beginning of its SHA-256.
fn id_of(user_input: &str) -> String {
    Sha256::digest(user_input).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Rows by input. `user_input_as` adds the input as it is as a system.
pub(crate) fn group(mut rows: Vec<Row>, user_input_as: Option<&str>, incomplete: Incomplete) -> Result<Rows> {
    if rows.is_empty() {
        return Err(Error::NoRows);
    }
    if let Some(system) = user_input_as {
        let mut seen = BTreeSet::new();
        let firsts = rows.iter().filter(|row| seen.insert(row.input_id.clone()));
        let as_it_is = |row: &Row| Row {
            system: system.to_owned(),
            adapted_prompt: row.user_input.clone(),
            images: Vec::new(),
            ..row.clone()
        };
        let added: Vec<Row> = firsts.map(as_it_is).collect();
        rows.extend(added);
    }
    let systems = in_order(rows.iter().map(|row| row.system.as_str()));
    if let [only] = systems.as_slice() {
        return Err(Error::OneSystem(only.clone()));
    }
    let order = in_order(rows.iter().map(|row| row.input_id.as_str()));
    let mut by_input: BTreeMap<String, BTreeMap<String, Row>> = BTreeMap::new();
    for row in rows {
        let of_input = by_input.entry(row.input_id.clone()).or_default();
        if let Some(other) = of_input.values().find(|other| other.user_input != row.user_input) {
            let (first, second) = (other.user_input.clone(), row.user_input);
            return Err(Error::TwoTexts { input_id: row.input_id, first, second });
        }
        if let Some(Row { input_id, system, .. }) = of_input.insert(row.system.clone(), row) {
            return Err(Error::TwoRows { input_id, system });
        }
    }
    let is_whole = |id: &String| by_input[id].len() == systems.len();
    let (whole, broken): (Vec<String>, Vec<String>) = order.into_iter().partition(is_whole);
    if incomplete == Incomplete::Refuse && !broken.is_empty() {
        return Err(unequal(&systems, &broken, &by_input));
    }
    if whole.is_empty() {
        return Err(Error::NoInputs);
    }
    let take = |id: String| {
        let mut of_input = by_input.remove(&id).unwrap_or_default();
        systems.iter().filter_map(|system| of_input.remove(system)).collect()
    };
    let inputs = whole.into_iter().map(take).collect();
    Ok(Rows { systems, inputs, dropped: broken.len() })
}

/// The error for the system that lacks most.
fn unequal(
    systems: &[String],
    broken: &[String],
    by_input: &BTreeMap<String, BTreeMap<String, Row>>,
) -> Error {
    let lacks = |system: &String| {
        let lacked = broken.iter().filter(|&id| !by_input[id].contains_key(system));
        let lacked: Vec<&String> = lacked.collect();
        (lacked.len(), lacked.first().map_or(String::new(), |&id| id.clone()), system.clone())
    };
    let worst = systems.iter().map(lacks).max_by_key(|(lacking, ..)| *lacking);
    let (lacking, input_id, system) = worst.unwrap_or_default();
    Error::UnequalInputs { system, lacking, input_id }
}

/// Each text once, in the order of the first appearance.
fn in_order<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    texts.filter(|&text| seen.insert(text)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(input: &str, system: &str) -> Row {
        Row {
            input_id: input.to_owned(),
            user_input: format!("text of {input}"),
            system: system.to_owned(),
            adapted_prompt: format!("{system} of {input}"),
            images: vec![PathBuf::from("x.png")],
            seeds: vec![7],
            generator: None,
        }
    }

    #[track_caller]
    fn check_refused(rows: Vec<Row>, expected: &str) {
        let error = group(rows, None, Incomplete::Refuse).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_line_of_score_is_a_row() {
        let input = InputFile { file: PathBuf::from("some/ppo.jsonl"), system: Some("ppo".to_owned()) };
        let line =
            r#"{"user_input": " a cat ", "adapted_prompt": "a cat, 8k", "score": 0.5, "seeds": [3, 4]}"#;
        let row = parse(line, &input, Path::new("some")).expect("a line").expect("a row");
        assert_eq!((row.user_input.as_str(), row.system.as_str()), ("a cat", "ppo"));
        assert_eq!((row.images.len(), row.seeds.as_slice()), (0, [3, 4].as_slice()));
        assert_eq!(row.input_id, id_of("a cat"));
        let line =
            r#"{"id": 7, "user_input": "a cat", "system": "b", "adapted_prompt": "", "images": ["a.png"]}"#;
        let row = parse(line, &input, Path::new("some")).expect("a line").expect("a row");
        assert_eq!((row.input_id.as_str(), row.system.as_str()), ("7", "b"));
        assert_eq!(row.images, [PathBuf::from("some/a.png")]);
    }

    #[test]
    fn a_line_of_an_evaluation_is_a_row() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("rows.jsonl");
        let line = serde_json::json!({
            "row_id": "coco:3:ppo", "set": "coco", "index": 3, "system": "ppo", "user_input": "a cat",
            "input_tokens": 2, "values": {"length": 7.0},
            "rewrites": [{
                "model": 0, "adapted_prompt": "a cat, 8k", "added_text": "8k", "added_phrases": ["8k"], "values": {},
                "images": {"seeds": [5], "adapted": ["images/ab/cd.png"], "user_input": ["images/ef/01.png"],
                           "clip_cosine": [0.3], "aesthetic": [5.0], "aesthetic_baseline": [5.0]},
            }],
        });
        let missing = serde_json::json!({
            "row_id": "coco:4:ppo", "set": "coco", "index": 4, "system": "ppo", "user_input": "a dog",
            "input_tokens": 2, "values": {}, "rewrites": [], "missing": "too long",
        });
        std::fs::write(&file, format!("{line}\n{missing}\n")).expect("written");
        let input = InputFile { file, system: None };
        let read = |root: &str| {
            let report = serde_json::json!({"images": {"root": root, "generator": "tiny"}, "sets": []});
            std::fs::write(folder.path().join("report.json"), report.to_string()).expect("written");
            let rows = read(&input).expect("rows");
            assert_eq!(rows.len(), 1);
            rows[0].clone()
        };
        let row = read(".");
        assert_eq!(crate::build::questions::row_id(&row), "coco:3:ppo");
        assert_eq!((row.adapted_prompt.as_str(), row.seeds.as_slice()), ("a cat, 8k", [5].as_slice()));
        assert_eq!(row.images, [folder.path().join("images/ab/cd.png")]);
        assert_eq!(read("cache").images, [PathBuf::from("cache/images/ab/cd.png")]);
    }

    #[test]
    fn a_line_that_is_no_row_says_why() {
        let input = InputFile { file: PathBuf::from("a.jsonl"), system: None };
        let cases = [
            ("{", "EOF"),
            (r#"{"user_input": " ", "system": "a", "adapted_prompt": "x"}"#, "`user_input` is empty"),
            (r#"{"user_input": "x", "adapted_prompt": "x"}"#, "no `system`"),
            (r#"{"user_input": "x", "system": "a"}"#, "no `adapted_prompt`"),
            (r#"{"user_input": "x", "error": "the server is gone"}"#, "the server is gone"),
            (
                r#"{"user_input": "x", "system": "a", "adapted_prompt": "x", "images": ["i"], "seeds": [1, 2]}"#,
                "1 images and 2 seeds",
            ),
        ];
        for (line, expected) in cases {
            let error = parse(line, &input, Path::new("")).expect_err(line);
            assert!(error.contains(expected), "{line}: {error}");
        }
    }

    #[test]
    fn every_system_answers_every_input() {
        let rows = vec![row("1", "a"), row("2", "a"), row("2", "b"), row("1", "b")];
        let grouped = group(rows, None, Incomplete::Refuse).expect("whole");
        assert_eq!((grouped.systems.len(), grouped.inputs.len(), grouped.dropped), (2, 2, 0));
        let systems: Vec<&str> = grouped.inputs[1].iter().map(|row| row.system.as_str()).collect();
        assert_eq!(systems, ["a", "b"]);
    }

    #[test]
    fn what_cannot_be_compared_is_refused_by_name() {
        check_refused(vec![], "no rows");
        check_refused(vec![row("1", "a"), row("2", "a")], "all rows are of one system, `a`");
        check_refused(vec![row("1", "a"), row("1", "b"), row("1", "a")], "`a` has two rows");
        let other = Row { user_input: "another".to_owned(), ..row("1", "b") };
        check_refused(vec![row("1", "a"), other], "`text of 1` in one row and `another`");
        let lacking = vec![row("1", "a"), row("1", "b"), row("2", "a"), row("3", "a"), row("4", "b")];
        check_refused(lacking.clone(), "`b` lacks 2, the first of them `2`");
        let dropped = group(lacking, None, Incomplete::Drop).expect("one is whole");
        assert_eq!((dropped.inputs.len(), dropped.dropped), (1, 3));
        let none = group(vec![row("1", "a"), row("2", "b")], None, Incomplete::Drop);
        assert!(matches!(none, Err(Error::NoInputs)));
    }

    #[test]
    fn the_input_as_it_is_can_be_a_system() {
        let grouped = group(vec![row("1", "a"), row("2", "a")], Some("input"), Incomplete::Refuse);
        let grouped = grouped.expect("two systems");
        assert_eq!(grouped.systems, ["a", "input"]);
        let added = &grouped.inputs[0][1];
        assert_eq!(added.adapted_prompt, "text of 1");
        assert!(added.images.is_empty() && added.seeds == [7]);
    }
}
