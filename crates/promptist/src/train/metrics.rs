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
        let rows = match fs::exists(&path).map_err(Error::io(&path))? {
            true => read_rows(&path)?.into_iter().filter(|row| step_of(row) <= step).collect(),
            false => Vec::new(),
        };
        write_atomic(&path, |file| {
            rows.iter().try_for_each(|row| writeln!(file, "{}", Value::Object(row.clone())))
        })?;
        let file = OpenOptions::new().append(true).open(&path).map_err(Error::io(&path))?;
        let mut events = EventWriter::create(&run.join("events"))?;
        for row in &rows {
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
}

/// The rows of a `metrics.jsonl`; a last line that is cut short is left out.
///
/// # Errors
/// [`Error::Io`]; [`Error::Line`] for any other line that is not a JSON object.
pub fn read_rows(path: &Path) -> Result<Vec<Map<String, Value>>> {
    let lines = lines::read(path)?;
    let mut rows = Vec::with_capacity(lines.len());
    for (idx, line) in lines.iter().enumerate() {
        match serde_json::from_str(line) {
            Ok(row) => rows.push(row),
            Err(_) if idx + 1 == lines.len() => break,
            Err(e) => return Err(Error::line(path, idx + 1, e.to_string())),
        }
    }
    Ok(rows)
}

/// A row's `step`.
pub fn step_of(row: &Map<String, Value>) -> u64 {
    row.get("step").and_then(Value::as_u64).unwrap_or(0)
}
