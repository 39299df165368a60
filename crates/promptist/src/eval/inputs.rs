//! The inputs of a set, with what its file says of each.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::data::lines;
use crate::error::{Error, Result};
use crate::weights::hex;

/// An input of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// What a user typed, white space around it included.
    pub user_input: String,
    /// The prompt that a person engineered for the same picture.
    pub human_prompt: Option<String>,
    /// What it asks for.
    pub category: Option<String>,
    /// How it was made from the human prompt: MC, MCM, RMC, RTP.
    pub source_kind: Option<String>,
}

/// A line of a `.jsonl`. Other keys are not ours to mind.
#[derive(Deserialize)]
struct Line {
    #[serde(alias = "x")]
    user_input: String,
    #[serde(default, alias = "y")]
    human_prompt: Option<String>,
    #[serde(default)]
    category: Option<String>,
    #[serde(default, alias = "kind")]
    source_kind: Option<String>,
}

/// Of each input the place of the first that was made of the same human prompt; its own where it has none. What was made of
/// one prompt is measured alike, and says less together than as many inputs of their own.
pub fn targets(inputs: &[Input]) -> Vec<usize> {
    let mut first: HashMap<&str, usize> = HashMap::new();
    inputs
        .iter()
        .enumerate()
        .map(|(idx, input)| match &input.human_prompt {
            Some(prompt) => *first.entry(prompt.as_str()).or_insert(idx),
            None => idx,
        })
        .collect()
}

/// Reads a set: `.txt` with an input a line, or `.jsonl` with `user_input` and, where there are such, `human_prompt`,
/// `category` and `source_kind`; the pairs of `promptist data pairs` (`x`, `y`, `kind`) are such lines too.
///
/// Empty inputs are left out, and those that stand there before: a second one of the same source kind would count
/// one thing twice.
///
/// # Errors
/// [`Error::Line`] naming the line; [`Error::File`] if the file holds no input or a source kind that would not do
/// as a name.
pub fn read(path: &Path, limit: Option<usize>) -> Result<Vec<Input>> {
    let lines = lines::read(path)?;
    let parsed = (1..).zip(&lines).map(|(number, line)| match extension(path) {
        "txt" => Ok(Input::plain(line)),
        "jsonl" => parse(line).map_err(|reason| Error::line(path, number, reason)),
        _ => Err(Error::file(path, "expected a .txt or a .jsonl file")),
    });
    let mut inputs = parsed.collect::<Result<Vec<_>>>()?;
    let mut seen = HashSet::new();
    inputs.retain(|input| {
        let trimmed = input.user_input.trim();
        !trimmed.is_empty() && seen.insert((trimmed.to_owned(), input.source_kind.clone()))
    });
    inputs.truncate(limit.unwrap_or(usize::MAX));
    match inputs.is_empty() {
        true => Err(Error::file(path, "no input")),
        false => Ok(inputs),
    }
}

/// The source kinds of a set, in the order of the alphabet.
pub fn source_kinds(inputs: &[Input]) -> BTreeSet<&str> {
    inputs.iter().filter_map(|input| input.source_kind.as_deref()).collect()
}

/// SHA-256 of inputs as they are used.
pub fn sha256(inputs: &[Input]) -> String {
    let mut hasher = Sha256::new();
    for Input { user_input, human_prompt, category, source_kind } in inputs {
        let parts = [Some(user_input), human_prompt.as_ref(), category.as_ref(), source_kind.as_ref()];
        for part in parts {
            // No text has these bytes, so no two lists of inputs hash alike.
            hasher.update(part.map_or(&b"\xfe"[..], |part| part.as_bytes()));
            hasher.update(b"\xff");
        }
    }
    hex(&hasher.finalize())
}

impl Input {
    fn plain(user_input: &str) -> Self {
        Self { user_input: user_input.to_owned(), human_prompt: None, category: None, source_kind: None }
    }
}

fn parse(line: &str) -> std::result::Result<Input, String> {
    let Line { user_input, human_prompt, category, source_kind } =
        serde_json::from_str(line).map_err(|error| error.to_string())?;
    let stated = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    let source_kind = stated(source_kind);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if let Some(kind) = source_kind.as_ref().filter(|kind| !kind.chars().all(is_plain)) {
        return Err(format!("source_kind must be letters, digits, _ and -, is {kind:?}"));
    }
    Ok(Input { user_input, human_prompt: stated(human_prompt), category: stated(category), source_kind })
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("writable");
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("writable");
        (folder, path)
    }

    #[test]
    fn a_text_file_is_an_input_a_line_each_once() {
        let (_folder, path) = file("a.txt", "a cat\n\na dog\n a cat \n");
        let inputs = read(&path, None).expect("a set");
        let texts: Vec<&str> = inputs.iter().map(|input| input.user_input.as_str()).collect();
        assert_eq!(texts, ["a cat", "a dog"]);
        assert_eq!(read(&path, Some(1)).expect("a set").len(), 1);
        let (_folder, path) = file("a.txt", "\n \n");
        assert!(read(&path, None).expect_err("empty").to_string().ends_with("no input"));
        let (_folder, path) = file("a.csv", "a\n");
        assert!(read(&path, None).is_err());
    }

    #[test]
    fn lines_say_more_and_the_same_words_of_another_kind_count() {
        let (_folder, path) = file(
            "a.jsonl",
            "{\"user_input\": \"a cat\", \"human_prompt\": \"a cat, 8k\", \"category\": \"animals\", \"source_kind\": \"MC\"}\n\
             {\"x\": \"a cat\", \"y\": \"a cat, 8k\", \"kind\": \"RMC\", \"source\": \"rules\"}\n\
             {\"user_input\": \"a cat\", \"source_kind\": \"MC\"}\n{\"user_input\": \"a dog\", \"human_prompt\": \" \"}\n",
        );
        let inputs = read(&path, None).expect("a set");
        assert_eq!(inputs.len(), 3);
        assert_eq!(inputs[0].category.as_deref(), Some("animals"));
        assert_eq!(inputs[1].human_prompt.as_deref(), Some("a cat, 8k"));
        assert_eq!(inputs[2], Input::plain("a dog"));
        assert_eq!(source_kinds(&inputs), ["MC", "RMC"].into());
        assert_ne!(sha256(&inputs), sha256(&inputs[..2]));
    }

    #[test]
    fn a_bad_line_is_named() {
        for line in ["{", "{\"user\": \"a\"}", "{\"user_input\": \"a\", \"source_kind\": \"M/C\"}"] {
            let (_folder, path) = file("a.jsonl", &format!("{{\"x\": \"a cat\"}}\n{line}\n"));
            let error = read(&path, None).expect_err(line).to_string();
            assert!(error.contains("a.jsonl:2: "), "{error}");
        }
    }
}
