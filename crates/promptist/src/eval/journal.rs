//! What a run has done so far: JSON Lines that grow by whole chunks, so that a run that was killed goes on where it
//! stopped.
//!
//! Each stage of a cell (a system on a set) has a file of its own, a line for each of its inputs. Chunks have fixed
//! borders: whoever resumes works on the same chunks, so what comes out is the same, byte for byte. A chunk is
//! flushed to the disk before the next one begins; a tail that is torn or no whole chunk is cut off on opening.

use std::fs::{self, File};
use std::io::Write;
use std::marker::PhantomData;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// A stage's file.
pub struct Journal<T> {
    path: PathBuf,
    file: File,
    done: usize,
    total: usize,
    chunk_len: usize,
    entries: PhantomData<T>,
}

impl<T: Serialize + DeserializeOwned> Journal<T> {
    /// Opens a file, or makes it: `total` lines are to come, `chunk_len` at a time.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::File`] if it has more lines than there can be: it is of other inputs.
    pub fn open(path: &Path, total: usize, chunk_len: usize) -> Result<Self> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::io(path)(error)),
        };
        let chunk_len = chunk_len.max(1);
        let ends = whole_lines::<T>(&bytes);
        if ends.len() > total {
            return Err(Error::file(path, format!("{} lines, of {total} that there can be", ends.len())));
        }
        let done = if ends.len() == total { total } else { ends.len() / chunk_len * chunk_len };
        let keep = done.checked_sub(1).map_or(0, |last| ends[last]);
        if keep < bytes.len() {
            tracing::info!(path = %path.display(), lines = done, "cut back to the last whole chunk");
        }
        let open = || {
            let mut options = File::options();
            let file = options.create(true).append(true).open(path)?;
            file.set_len(keep as u64)?;
            file.sync_all()?;
            Ok(file)
        };
        let file = open().map_err(Error::io(path))?;
        Ok(Self { path: path.to_owned(), file, done, total, chunk_len, entries: PhantomData })
    }

    /// Lines that are there.
    pub fn done(&self) -> usize {
        self.done
    }

    /// The next chunk, if there is one.
    pub fn next_chunk(&self) -> Option<Range<usize>> {
        (self.done < self.total).then(|| self.done..(self.done + self.chunk_len).min(self.total))
    }

    /// Keeps the entries of [`next_chunk`](Self::next_chunk).
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Shape`] if they are not as many as the chunk has.
    pub fn append(&mut self, entries: &[T]) -> Result<()> {
        let expected = self.next_chunk().map_or(0, |chunk| chunk.len());
        if entries.len() != expected {
            return Err(Error::Shape(format!("{} entries for a chunk of {expected}", entries.len())));
        }
        let mut lines = Vec::new();
        let written = entries.iter().try_for_each(|entry| {
            serde_json::to_writer(&mut lines, entry)?;
            lines.push(b'\n');
            Ok::<_, std::io::Error>(())
        });
        let kept = written.and_then(|()| self.file.write_all(&lines)).and_then(|()| self.file.sync_data());
        kept.map_err(Error::io(&self.path))?;
        self.done += entries.len();
        Ok(())
    }

    /// All entries, as they were written: a run that was not interrupted reads what one that was would read.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Line`] for a line that somebody else changed; [`Error::File`] if they are not all there are.
    pub fn entries(&self) -> Result<Vec<T>> {
        let bytes = fs::read(&self.path).map_err(Error::io(&self.path))?;
        let lines = bytes.split_inclusive(|&byte| byte == b'\n');
        let parse = |(number, line): (usize, &[u8])| {
            serde_json::from_slice(line).map_err(|error| Error::line(&self.path, number, error.to_string()))
        };
        let entries: Vec<T> = (1..).zip(lines).map(parse).collect::<Result<_>>()?;
        match entries.len() == self.total {
            true => Ok(entries),
            false => {
                let reason =
                    format!("{} lines, expected {}: another process writes it", entries.len(), self.total);
                Err(Error::file(&self.path, reason))
            }
        }
    }
}

/// Where each line ends, up to the first that is torn or no `T`.
fn whole_lines<T: DeserializeOwned>(bytes: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut end = 0;
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        if !line.ends_with(b"\n") || serde_json::from_slice::<T>(line).is_err() {
            break;
        }
        end += line.len();
        ends.push(end);
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(folder: &tempfile::TempDir, total: usize) -> Journal<Vec<f64>> {
        Journal::open(&folder.path().join("a.jsonl"), total, 2).expect("writable")
    }

    fn fill(journal: &mut Journal<Vec<f64>>, chunks: usize) {
        for _ in 0..chunks {
            let chunk = journal.next_chunk().expect("more to do");
            let entries: Vec<Vec<f64>> = chunk.map(|at| vec![at as f64 / 3.0]).collect();
            journal.append(&entries).expect("writable");
        }
    }

    #[test]
    fn whatever_was_torn_is_done_again_and_comes_out_alike() {
        let whole = {
            let folder = tempfile::tempdir().expect("writable");
            fill(&mut journal(&folder, 5), 3);
            fs::read(folder.path().join("a.jsonl")).expect("there")
        };
        for cut in 0..=whole.len() {
            let folder = tempfile::tempdir().expect("writable");
            fs::write(folder.path().join("a.jsonl"), &whole[..cut]).expect("writable");
            let mut journal = journal(&folder, 5);
            assert_eq!(journal.done() % 2 * (5 - journal.done()), 0, "whole chunks");
            while journal.next_chunk().is_some() {
                fill(&mut journal, 1);
            }
            assert_eq!(fs::read(folder.path().join("a.jsonl")).expect("there"), whole, "cut at {cut}");
            assert_eq!(journal.entries().expect("whole")[4], [4.0 / 3.0]);
        }
    }

    #[test]
    fn a_tail_of_other_bytes_is_cut_off() {
        let folder = tempfile::tempdir().expect("writable");
        fill(&mut journal(&folder, 5), 1);
        let path = folder.path().join("a.jsonl");
        let mut bytes = fs::read(&path).expect("there");
        bytes.extend([0; 40]);
        bytes.extend(b"\n[1.0]\n");
        fs::write(&path, bytes).expect("writable");
        assert_eq!(journal(&folder, 5).done(), 2);
    }

    #[test]
    fn more_lines_than_inputs_are_of_another_run() {
        let folder = tempfile::tempdir().expect("writable");
        fill(&mut journal(&folder, 5), 3);
        let error = Journal::<Vec<f64>>::open(&folder.path().join("a.jsonl"), 3, 2).err().expect("refused");
        assert!(error.to_string().contains("5 lines, of 3"), "{error}");
        assert!(matches!(journal(&folder, 5).append(&[vec![]]), Err(Error::Shape(_))));
    }
}
