//! Costly work on the inputs of a cell, chunk by chunk through a [`Journal`].

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::journal::Journal;
use crate::error::{Error, Result};
use crate::generator::Cancel;
use crate::progress::Progress;

/// Where stages keep what they have done, and whom they tell.
pub struct Stages<'a> {
    folder: PathBuf,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
}

/// One stage of one cell.
#[derive(Debug, Clone, Copy)]
pub struct Stage<'a> {
    /// What is done.
    pub name: &'a str,
    /// Of which set.
    pub set: &'a str,
    /// By whom.
    pub system: &'a str,
    /// Inputs.
    pub total: usize,
    /// Inputs between two looks at the stop flag. Chunks are what is lost by a kill.
    pub chunk_len: usize,
}

impl<'a> Stages<'a> {
    /// Stages of a run, whose journals lie in its folder `journal`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(run: &Path, progress: &'a dyn Progress, cancel: &'a Cancel) -> Result<Self> {
        let folder = run.join("journal");
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        Ok(Self { folder, progress, cancel })
    }

    /// Does what is not done of a stage, and gives everything that it has done, an entry for each input.
    ///
    /// # Errors
    /// [`Error::Interrupted`] between two chunks; whatever `work` returns; as [`Journal`].
    pub fn run<T: Serialize + DeserializeOwned>(
        &self,
        stage: Stage,
        mut work: impl FnMut(Range<usize>) -> Result<Vec<T>>,
    ) -> Result<Vec<T>> {
        let Stage { name, set, system, total, chunk_len } = stage;
        let path = self.folder.join(format!("{set}.{system}.{name}.jsonl"));
        let mut journal = Journal::open(&path, total, chunk_len)?;
        if journal.next_chunk().is_some() {
            self.progress.begin(&format!("{name} {system} {set}"), Some(total as u64), "inputs");
            self.progress.advance(journal.done() as u64, "");
            while let Some(chunk) = journal.next_chunk() {
                self.cancel.check()?;
                let len = chunk.len() as u64;
                journal.append(&work(chunk)?)?;
                self.progress.advance(len, "");
            }
            self.progress.end();
        }
        journal.entries()
    }
}
