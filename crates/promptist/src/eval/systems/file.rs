//! Rewrites that somebody made before, looked up by what the user typed.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::data::lines;
use crate::error::{Error, Result};
use crate::eval::report::FileIdentity;
use crate::weights::hex;

/// A file of rewrites: lines of `adapt --json`, or with `user_input` and `adapted_prompt`.
pub struct FileRewrites {
    rewrites: HashMap<String, Rewritten>,
    identity: FileIdentity,
}

/// A rewrite, or the error that its line carries.
type Rewritten = std::result::Result<String, String>;

impl FileRewrites {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Line`] for a line of another form, and for an input that was rewritten in another way
    /// before: which of them is meant?
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let mut rewrites = HashMap::new();
        for (number, line) in (1..).zip(lines::parse(path, &bytes)?) {
            if line.trim().is_empty() {
                continue;
            }
            let wrong = |reason: &str| Error::line(path, number, reason);
            let value: Value = serde_json::from_str(&line).map_err(|error| wrong(&error.to_string()))?;
            let (user_input, rewritten) = parse(&value)
                .ok_or_else(|| wrong("expected user_input and adapted_prompt, or a line of adapt --json"))?;
            if rewrites.get(&user_input).is_some_and(|before| *before != rewritten) {
                return Err(wrong("its user_input stands before, with another rewrite"));
            }
            rewrites.insert(user_input, rewritten);
        }
        if rewrites.is_empty() {
            return Err(Error::file(path, "holds no rewrite"));
        }
        let identity = FileIdentity {
            path: path.display().to_string(),
            sha256: hex(&Sha256::digest(&bytes)),
            rewrites: rewrites.len(),
        };
        Ok(Self { rewrites, identity })
    }

    /// Which file it is.
    pub fn identity(&self) -> &FileIdentity {
        &self.identity
    }

    /// The rewrite of an input, or why there is none.
    pub fn rewrite(&self, user_input: &str) -> Rewritten {
        let found = self.rewrites.get(user_input.trim()).cloned();
        found.unwrap_or_else(|| Err("the file has no rewrite of it".to_owned()))
    }
}

/// The input of a line, trimmed, and its rewrite; none if it is no such line.
fn parse(value: &Value) -> Option<(String, Rewritten)> {
    let user_input = value["user_input"].as_str()?.trim().to_owned();
    let rewrite = value["adapted_prompt"].as_str().or_else(|| value["outputs"][0]["text"].as_str());
    let rewritten = match (rewrite, value["error"].as_str()) {
        (Some(rewrite), _) => Ok(rewrite.to_owned()),
        (None, Some(error)) => Err(error.to_owned()),
        (None, None) => return None,
    };
    Some((user_input, rewritten))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<FileRewrites> {
        let folder = tempfile::tempdir().expect("writable");
        let path = folder.path().join("r.jsonl");
        std::fs::write(&path, text).expect("writable");
        FileRewrites::read(&path)
    }

    #[test]
    fn both_forms_are_read_and_what_is_missing_is_said() {
        let file = read(
            "{\"user_input\": \" a cat\", \"adapted_prompt\": \"a cat, 8k\"}\n\
             {\"user_input\": \"a dog\", \"outputs\": [{\"text\": \"a dog, hd\"}, {\"text\": \"no\"}]}\n\n\
             {\"user_input\": \"a fox\", \"error\": \"too long\"}\n\
             {\"user_input\": \"a cat\", \"adapted_prompt\": \"a cat, 8k\"}\n",
        )
        .expect("a good file");
        assert_eq!(file.rewrite("a cat ").as_deref(), Ok("a cat, 8k"));
        assert_eq!(file.rewrite("a dog").as_deref(), Ok("a dog, hd"));
        assert_eq!(file.rewrite("a fox"), Err("too long".to_owned()));
        assert!(file.rewrite("a hen").expect_err("not there").contains("no rewrite"));
        assert_eq!(file.identity().rewrites, 3);
    }

    #[test]
    fn a_line_that_cannot_be_meant_is_named() {
        let good = "{\"user_input\": \"a cat\", \"adapted_prompt\": \"a cat, 8k\"}\n";
        for line in
            ["{", "{\"user_input\": \"a\"}", "{\"user_input\": \"a cat\", \"adapted_prompt\": \"hd\"}"]
        {
            let error = read(&format!("{good}{line}\n")).err().expect("refused").to_string();
            assert!(error.contains("r.jsonl:2: "), "{error}");
        }
        assert!(read("\n").is_err());
    }
}
