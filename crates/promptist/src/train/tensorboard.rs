//! TensorBoard event files: TFRecords of `Event` messages with scalar summaries.
//!
//! Sixty lines instead of a crate: the two that exist pull in a protobuf compiler or are abandoned.
//! Formats: TensorFlow `core/lib/io/record_writer.cc`, `core/util/event.proto`,
//! `core/framework/summary.proto`.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Writes one event file.
pub struct EventWriter {
    path: PathBuf,
    file: File,
}

impl EventWriter {
    /// Starts the event file of `folder` anew; rows of earlier processes come from `metrics.jsonl`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let path = folder.join("events.out.tfevents.0.promptist");
        let file = File::create(&path).map_err(Error::io(&path))?;
        let mut writer = Self { path, file };
        let mut event = Message::default();
        event.double(1, 0.0);
        event.bytes(3, b"brain.Event:2");
        writer.record(&event.0)?;
        Ok(writer)
    }

    /// Writes the numbers of a metrics row as scalars at its `step`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&mut self, row: &Map<String, Value>) -> Result<()> {
        let mut summary = Message::default();
        for (tag, value) in row {
            let Some(value) = value.as_f64().filter(|_| tag != "step") else { continue };
            let mut scalar = Message::default();
            scalar.bytes(1, tag.as_bytes());
            scalar.float(2, value as f32);
            summary.bytes(1, &scalar.0);
        }
        let mut event = Message::default();
        event.double(1, row.get("perf/unix_time").and_then(Value::as_f64).unwrap_or(0.0));
        event.varint_field(2, super::metrics::step_of(row));
        event.bytes(5, &summary.0);
        self.record(&event.0)
    }

    fn record(&mut self, data: &[u8]) -> Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(data.len() + 16);
        record.extend(length);
        record.extend(masked_crc(&length).to_le_bytes());
        record.extend(data);
        record.extend(masked_crc(data).to_le_bytes());
        self.file.write_all(&record).map_err(Error::io(&self.path))
    }
}

fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A protobuf message under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn varint_field(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.varint(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.varint(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_framed_and_checksummed() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut writer = EventWriter::create(folder.path()).expect("writable");
        // What is no number is no scalar.
        let row = serde_json::json!({
            "step": 300, "stage": "ppo", "reward/mean": null, "text/top_phrases": [["8k", 0.5]], "train/loss": 2.5,
        });
        writer.write(row.as_object().expect("object")).expect("writable");
        let bytes = fs::read(&writer.path).expect("written");

        let mut rest = bytes.as_slice();
        let mut records = Vec::new();
        while let Some((length, tail)) = rest.split_first_chunk::<8>() {
            let n = u64::from_le_bytes(*length) as usize;
            assert_eq!(tail[..4], masked_crc(length).to_le_bytes());
            let data = &tail[4..4 + n];
            assert_eq!(tail[4 + n..8 + n], masked_crc(data).to_le_bytes());
            records.push(data.to_vec());
            rest = &tail[8 + n..];
        }
        assert_eq!(records.len(), 2);
        assert!(records[0].ends_with(b"brain.Event:2"));
        // step 300 as a varint, then a summary holding the tag and 2.5f32.
        assert!(records[1].windows(3).any(|w| w == [0x10, 0xac, 0x02]));
        assert!(records[1].windows(10).any(|w| w == b"train/loss"));
        assert!(!records[1].windows(5).any(|w| w == b"text/" || w == b"rewar" || w == b"stage"));
        assert!(records[1].ends_with(&2.5f32.to_le_bytes()));
        assert_eq!(masked_crc(b"123456789"), 0xe306_9283u32.rotate_right(15).wrapping_add(0xa282_ead8));
    }
}
