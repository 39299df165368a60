//! Progress bars on stderr; nothing when it is not a terminal.

use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use promptist::progress::Progress;

/// Draws one bar at a time.
#[derive(Default)]
pub struct Bars(Mutex<Option<ProgressBar>>);

impl Progress for Bars {
    fn begin(&self, stage: &str, total: Option<u64>, unit: &str) {
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::new_spinner(),
        };
        let (is_bytes, is_countless) = (unit == "B", total.is_none() && unit.is_empty());
        let count = match (total.is_some(), is_bytes) {
            (true, true) => "{bytes}/{total_bytes} {bytes_per_sec}, {eta} left",
            (true, false) => "{human_pos}/{human_len} {unit}, {per_sec}, {elapsed} gone, {eta} left",
            (false, true) => "{bytes} {bytes_per_sec}",
            (false, false) => "{human_pos} {unit}, {elapsed} gone",
        };
        let template = match is_countless {
            true => "{prefix:.bold} {spinner} {elapsed}".to_owned(),
            false => format!("{{prefix:.bold}} {{bar:24}} {} {{msg}}", count.replace("{unit}", unit)),
        };
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        bar.set_prefix(stage.to_owned());
        bar.enable_steady_tick(Duration::from_millis(250));
        self.replace(Some(bar));
    }

    fn advance(&self, n: u64, note: &str) {
        if let Ok(bar) = self.0.lock()
            && let Some(bar) = bar.as_ref()
        {
            bar.inc(n);
            if !note.is_empty() {
                bar.set_message(note.to_owned());
            }
        }
    }

    fn end(&self) {
        self.replace(None);
    }
}

impl Bars {
    /// Does what writes to the terminal, the bar out of its way.
    pub fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        match self.0.lock() {
            Ok(bar) => match bar.as_ref() {
                Some(bar) => bar.suspend(write),
                None => write(),
            },
            Err(_) => write(),
        }
    }

    fn replace(&self, next: Option<ProgressBar>) {
        if let Ok(mut bar) = self.0.lock() {
            if let Some(bar) = bar.take() {
                bar.finish();
            }
            *bar = next;
        }
    }
}
