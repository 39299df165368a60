//! `metrics.jsonl`: one JSON object a line, flushed as it is written, and the same numbers as
//! TensorBoard events.
//!
//! Every row has `step` and `stage`. Names under `perf/` speak of clocks and are outside every
//! equality between runs.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::atomic::write_atomic;
use crate::data::lines;
use crate::error::{Error, Result};
use crate::train::tensorboard::EventWriter;

/// Appends rows to a run's metrics.
pub struct Metrics {
    rows: RowFile,
    events: EventWriter,
}

/// A file of JSON objects, one a line, each with its `step`.
pub struct RowFile {
    path: PathBuf,
    file: File,
}

impl RowFile {
    /// Opens `path` to append, cut back to rows of at most `step` steps, or emptied without one. Returns the
    /// rows that are left.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Line`] for a line before the last that is not a JSON object.
    pub fn open(path: &Path, step: Option<u64>) -> Result<(Self, Vec<Map<String, Value>>)> {
        let mut kept = Vec::new();
        if fs::exists(path).map_err(Error::io(path))? {
            let rows = read_lines_and_rows(path)?;
            kept.extend(rows.into_iter().filter(|(_, row)| step.is_some_and(|step| step_of(row) <= step)));
        }
        // The lines as they stand: a number read and written again may end in another digit.
        write_atomic(path, |file| kept.iter().try_for_each(|(line, _)| writeln!(file, "{line}")))?;
        let file = OpenOptions::new().append(true).open(path).map_err(Error::io(path))?;
        Ok((Self { path: path.to_owned(), file }, kept.into_iter().map(|(_, row)| row).collect()))
    }

    /// Appends a row.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&mut self, row: &Map<String, Value>) -> Result<()> {
        let mut line = serde_json::to_vec(row).map_err(|e| Error::file(&self.path, e.to_string()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(Error::io(&self.path))
    }

    /// Flushes the rows to the disk.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::io(&self.path))
    }
}

impl Metrics {
    /// Opens the metrics of `run`, cut back to the rows up to the checkpoint after `step` that it is resumed
    /// from, or to none if it starts anew: what a process wrote after that will be written again. A line
    /// that a dying process left half is dropped.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(run: &Path, step: Option<u64>) -> Result<Self> {
        let (rows, kept) = RowFile::open(&run.join("metrics.jsonl"), step)?;
        let mut events = EventWriter::create(&run.join("events"))?;
        for row in &kept {
            events.write(row)?;
        }
        Ok(Self { rows, events })
    }

    /// Appends a row.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&mut self, row: Map<String, Value>) -> Result<()> {
        self.events.write(&row)?;
        self.rows.write(&row)
    }

    /// Flushes the rows to the disk: those up to a checkpoint must outlive what the checkpoint does.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sync(&self) -> Result<()> {
        self.rows.sync()
    }
}

/// The rows of a `metrics.jsonl`; a last line that is cut short is left out.
///
/// # Errors
/// [`Error::Io`]; [`Error::Line`] for any other line that is not a JSON object.
pub fn read_rows(path: &Path) -> Result<Vec<Map<String, Value>>> {
    Ok(read_lines_and_rows(path)?.into_iter().map(|(_, row)| row).collect())
}

/// The rows, each after the line that it was read from.
fn read_lines_and_rows(path: &Path) -> Result<Vec<(String, Map<String, Value>)>> {
    let lines = lines::read(path)?;
    let count = lines.len();
    let mut rows = Vec::with_capacity(count);
    for (number, line) in (1..).zip(lines) {
        match serde_json::from_str(&line) {
            Ok(row) => rows.push((line, row)),
            Err(_) if number == count => break,
            Err(e) => return Err(Error::line(path, number, e.to_string())),
        }
    }
    Ok(rows)
}

/// A row's `step`.
pub fn step_of(row: &Map<String, Value>) -> u64 {
    row.get("step").and_then(Value::as_u64).unwrap_or(0)
}
