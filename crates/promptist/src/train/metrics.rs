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
    path: PathBuf,
    file: File,
    events: EventWriter,
}

impl Metrics {
    /// Opens the metrics of `run`, cut back to rows of at most `step` steps: what a process wrote
    /// after the checkpoint it is resumed from will be written again. A line that a dying process
    /// left half is dropped.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(run: &Path, step: u64) -> Result<Self> {
        let path = run.join("metrics.jsonl");
        let mut kept = Vec::new();
        if fs::exists(&path).map_err(Error::io(&path))? {
            let rows = read_lines_and_rows(&path)?;
            kept.extend(rows.into_iter().filter(|(_, row)| step_of(row) <= step));
        }
        // The lines as they stand: a number read and written again may end in another digit.
        write_atomic(&path, |file| kept.iter().try_for_each(|(line, _)| writeln!(file, "{line}")))?;
        let file = OpenOptions::new().append(true).open(&path).map_err(Error::io(&path))?;
        let mut events = EventWriter::create(&run.join("events"))?;
        for (_, row) in &kept {
            events.write(row)?;
        }
        Ok(Self { path, file, events })
    }

    /// Appends a row.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&mut self, row: Map<String, Value>) -> Result<()> {
        self.events.write(&row)?;
        let line = format!("{}\n", Value::Object(row));
        self.file.write_all(line.as_bytes()).map_err(Error::io(&self.path))
    }

    /// Flushes the rows to the disk: those up to a checkpoint must outlive what the checkpoint does.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::io(&self.path))
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
