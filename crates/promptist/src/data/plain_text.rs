//! Plain text for the language-model stage and for tokenizers: every usable line of many files, once,
//! without what must stay unseen.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::near_duplicates::{NearDuplicates, THRESHOLD};
use super::normalize::normalize;
use super::{degenerate, lines, safety};
use crate::atomic::write_atomic;
use crate::progress::Progress;
use crate::{Error, Result};

/// What [`make`] is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct PlainTextConfig {
    /// `.txt`, a text a line, or `.jsonl` with one of the fields `text`, `y`.
    pub inputs: Vec<PathBuf>,
    /// Files whose lines, and whatever nearly repeats them, are left out. Same formats.
    pub exclude: Vec<PathBuf>,
}

/// What became of the lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PlainTextReport {
    /// Lines read.
    pub read: usize,
    /// Lines written.
    pub kept: usize,
    /// No text: see [`super::normalize::Junk`].
    pub junk: usize,
    /// By [`safety::check`].
    pub unsafe_text: usize,
    /// By [`degenerate::check`].
    pub degenerate: usize,
    /// Written already, upper and lower case alike.
    pub repeated: usize,
    /// Like a line of `exclude`.
    pub excluded: usize,
}

/// Writes the usable lines of `config.inputs`, normalised, to the `.txt` file `out`.
///
/// # Errors
/// [`Error::Io`] and [`Error::Line`] naming the file; [`Error::File`] if nothing is left.
pub fn make(config: &PlainTextConfig, out: &Path, progress: &dyn Progress) -> Result<PlainTextReport> {
    let mut unseen = NearDuplicates::new(THRESHOLD);
    for path in &config.exclude {
        let texts = read(path)?;
        progress.begin("read text to exclude", Some(texts.len() as u64), "lines");
        for text in texts {
            if let Ok(text) = normalize(&text) {
                unseen.insert(&text);
            }
            progress.advance(1, "");
        }
        progress.end();
    }

    let mut report = PlainTextReport::default();
    let mut seen = HashSet::new();
    let mut kept = Vec::new();
    for path in &config.inputs {
        let texts = read(path)?;
        progress.begin("read text", Some(texts.len() as u64), "lines");
        for text in texts {
            report.read += 1;
            progress.advance(1, "");
            let Ok(text) = normalize(&text) else {
                report.junk += 1;
                continue;
            };
            if safety::check(&text).is_some() {
                report.unsafe_text += 1;
            } else if degenerate::check(&text).is_some() {
                report.degenerate += 1;
            } else if unseen.find(&text).is_some() {
                report.excluded += 1;
            } else if !seen.insert(text.to_lowercase()) {
                report.repeated += 1;
            } else {
                kept.push(text);
            }
        }
        progress.end();
    }
    if kept.is_empty() {
        return Err(Error::file(out, format!("nothing to write: {report:?}")));
    }
    report.kept = kept.len();
    write_atomic(out, |file| kept.iter().try_for_each(|text| writeln!(file, "{text}")))?;
    Ok(report)
}

/// The texts of a file; of a `.jsonl`, the field `text` or, in a file of pairs, `y`.
fn read(path: &Path) -> Result<Vec<String>> {
    match lines::read_texts(path, "text") {
        Err(Error::Line { line: 1, .. }) => lines::read_texts(path, "y"),
        texts => texts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::NoProgress;

    #[test]
    fn keeps_each_usable_line_once_and_none_to_be_left_out() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).expect("writable");
            path
        };
        let config = PlainTextConfig {
            inputs: vec![
                file("a.txt", "a red fox in the snow\nA red fox in the snow\nan 8 k photo of a barn\n\n"),
                file("b.jsonl", "{\"x\": \"a\", \"y\": \"a tall ship at sea, oil on canvas\"}\n"),
            ],
            exclude: vec![file("eval.txt", "a tall ship at sea, oil on canvas\n")],
        };
        let out = folder.path().join("out.txt");
        let report = make(&config, &out, &NoProgress).expect("something is left");
        assert_eq!(
            std::fs::read_to_string(&out).expect("written"),
            "a red fox in the snow\nan 8k photo of a barn\n"
        );
        let counts = (report.read, report.kept, report.junk, report.repeated, report.excluded);
        assert_eq!(counts, (5, 2, 1, 1, 1));
    }
}
