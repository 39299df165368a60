//! `promptist train report`: what a run's metrics look like, as one page.
//!
//! It reads `metrics.jsonl` and `config.toml` and knows no trainer: every number that a step wrote is
//! drawn, those of one name under `train/` and `validation/` in one chart. Several runs are stages
//! of one training, and their steps are laid end to end.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::html::escape;
use crate::plot::{Line, LineChart, LineStyle};
use crate::train::metrics::{self, step_of};

/// The page and the chart that cards show.
#[derive(Debug, Clone, PartialEq)]
pub struct RunReport {
    /// A page that needs no other file.
    pub html: String,
    /// The loss over all steps, as SVG.
    pub loss_curve: String,
}

/// Reads runs and draws them, first to last.
///
/// # Errors
/// [`Error::Io`] if a run has no `metrics.jsonl`, [`Error::Line`] if it is malformed,
/// [`Error::File`] if it has no row with a loss.
pub fn render(runs: &[&Path]) -> Result<RunReport> {
    let mut curves = Curves::default();
    let mut configs = String::new();
    for run in runs {
        let path = run.join("metrics.jsonl");
        let rows = metrics::read_rows(&path)?;
        if rows.is_empty() {
            return Err(Error::file(&path, "has no steps yet"));
        }
        curves.append(&rows);
        if let Ok(config) = std::fs::read_to_string(run.join("config.toml")) {
            let name = escape(&run.display().to_string());
            let _ = writeln!(
                configs,
                "<details><summary>{name}/config.toml</summary><pre>{}</pre></details>",
                escape(&config)
            );
        }
    }
    let Some(loss_curve) = curves.chart("loss")? else {
        return Err(Error::file(runs.first().copied().unwrap_or(Path::new("")), "its steps have no loss"));
    };
    let mut charts = loss_curve.clone();
    for name in curves.names().filter(|name| *name != "loss") {
        charts += &curves.chart(name)?.unwrap_or_default();
    }
    let titles: Vec<String> = runs.iter().map(|run| escape(&run.display().to_string())).collect();
    let html = page(&titles.join(" → "), &curves.summary(), &charts, &configs);
    Ok(RunReport { html, loss_curve })
}

/// Numbers by metric, over steps that go on from run to run.
#[derive(Debug, Default)]
struct Curves {
    /// Full name (`train/loss`) to `(step, value)`.
    points: BTreeMap<String, Vec<(f64, f64)>>,
    steps: u64,
}

impl Curves {
    /// Adds the rows of the next run.
    fn append(&mut self, rows: &[Map<String, Value>]) {
        let before = self.steps;
        for row in rows {
            let step = before + step_of(row);
            self.steps = self.steps.max(step);
            for (name, value) in row.iter().filter(|(name, _)| is_drawn(name)) {
                if let Some(value) = value.as_f64() {
                    self.points.entry(name.clone()).or_default().push((step as f64, value));
                }
            }
        }
    }

    /// The names of charts: what follows the slash.
    fn names(&self) -> impl Iterator<Item = &str> {
        let names: std::collections::BTreeSet<&str> = self.points.keys().map(|name| short(name)).collect();
        names.into_iter()
    }

    /// The chart of everything of that short name.
    fn chart(&self, name: &str) -> Result<Option<String>> {
        let mut lines = Vec::new();
        for (full_name, points) in self.points.iter().filter(|(full_name, _)| short(full_name) == name) {
            let is_sparse = (points.len() as u64) * 10 < self.steps;
            if is_sparse || points.len() <= SMOOTHED {
                let style = if is_sparse { LineStyle::Dotted } else { LineStyle::Main };
                lines.push(Line { name: full_name.clone(), points: points.clone(), style });
                continue;
            }
            let smoothed = format!("{full_name}, mean of {SMOOTHED} steps");
            lines.insert(0, Line { name: full_name.clone(), points: thinned(points), style: LineStyle::Raw });
            lines.push(Line { name: smoothed, points: running_mean(points), style: LineStyle::Main });
        }
        LineChart { title: name, x_label: "step", lines }.to_svg()
    }

    /// One line of numbers on top of the page.
    fn summary(&self) -> String {
        let last = |name: &str| self.points.get(name).and_then(|points| points.last()).map(|point| point.1);
        let mut parts = vec![format!("{} steps", self.steps)];
        if let Some(loss) = last("validation/loss") {
            parts.push(format!("validation loss {loss:.4}"));
        }
        if let Some(seconds) = self.points.get("perf/seconds") {
            let total: f64 = seconds.iter().map(|point| point.1).sum();
            parts.push(format!("{:.1} minutes of steps", total / 60.0));
        }
        if let Some(rate) = self.points.get("perf/tokens_per_second") {
            let mut rates: Vec<f64> = rate.iter().map(|point| point.1).collect();
            rates.sort_unstable_by(f64::total_cmp);
            parts.push(format!("{:.0} tokens/s (median)", rates[rates.len() / 2]));
        }
        parts.join(" · ")
    }
}

/// Steps of a running mean.
const SMOOTHED: usize = 25;
/// Points that a curve of every step is thinned to, so that a page of many steps stays small.
const MOST_POINTS: usize = 1500;

/// Clocks and counters say nothing as a curve.
fn is_drawn(name: &str) -> bool {
    name.contains('/') && !matches!(name, "perf/unix_time" | "train/target_tokens" | "train/epoch")
}

fn short(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, short)| short)
}

fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    points.iter().step_by(points.len().div_ceil(MOST_POINTS)).copied().collect()
}

/// The mean of each point and those before it, [`SMOOTHED`] in all, from the first full window on.
fn running_mean(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let means: Vec<_> = points
        .windows(SMOOTHED)
        .map(|window| {
            let sum: f64 = window.iter().map(|point| point.1).sum();
            (window[SMOOTHED - 1].0, sum / SMOOTHED as f64)
        })
        .collect();
    thinned(&means)
}

fn page(title: &str, summary: &str, charts: &str, configs: &str) -> String {
    format!(
        "<!doctype html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 900px; margin: 2rem auto; padding: 0 1rem; color: #1c2024; background: #fff }}
h1 {{ font-size: 1.25rem; overflow-wrap: anywhere }}
svg {{ max-width: 100%; height: auto; display: block; margin: 1.5rem 0; border: 1px solid #e6e8eb; border-radius: 6px }}
pre {{ overflow-x: auto; background: #f6f7f8; padding: 1rem; border-radius: 6px; font-size: 0.85rem }}
summary {{ cursor: pointer }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{summary}</p>
{charts}
{configs}</body>
</html>
"
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn run(folder: &Path, rows: &str) {
        fs::create_dir_all(folder).expect("a folder");
        fs::write(folder.join("metrics.jsonl"), rows).expect("a file");
    }

    #[test]
    fn runs_are_laid_end_to_end_and_every_number_is_drawn() {
        let folder = tempfile::tempdir().expect("a folder");
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        let mut rows = String::new();
        for step in 1..=100 {
            let validation = if step == 100 { ",\"validation/loss\":3.5" } else { "" };
            let _ = writeln!(
                rows,
                "{{\"step\":{step},\"stage\":\"sft\",\"train/loss\":{},\"train/lr\":0.1{validation},\"perf/unix_time\":1}}",
                5.0 / f64::from(step)
            );
        }
        run(&first, &rows);
        run(&second, "{\"step\":1,\"train/loss\":2.0,\"perf/seconds\":30.0}\n{\"step\":2,\"train/loss\"");
        fs::write(first.join("config.toml"), "seed = 1 # <none>").expect("a file");

        let report = render(&[&first, &second]).expect("two runs");
        assert!(report.html.contains("101 steps · validation loss 3.5000 · 0.5 minutes"), "{}", report.html);
        assert!(report.html.contains("seed = 1 # &lt;none&gt;"));
        for name in ["train/loss, mean of 25 steps", "validation/loss", "\nlr\n"] {
            assert!(report.html.contains(name), "{name}");
        }
        assert!(!report.html.contains("unix_time"));
        assert!(report.html.contains(&report.loss_curve));
    }

    #[test]
    fn a_run_without_steps_or_losses_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run");
        assert!(matches!(render(&[&path]), Err(Error::Io { .. })));
        run(&path, "");
        assert!(render(&[&path]).expect_err("empty").to_string().contains("no steps"));
        run(&path, "{\"step\":1}\n");
        assert!(render(&[&path]).expect_err("no loss").to_string().contains("no loss"));
    }

    #[test]
    fn a_running_mean_lags_and_does_not_invent() {
        let points: Vec<(f64, f64)> = (0..30).map(|i| (f64::from(i), f64::from(i))).collect();
        let means = running_mean(&points);
        assert_eq!((means[0], means.len()), ((24.0, 12.0), 6));
    }
}
