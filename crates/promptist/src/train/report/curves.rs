//! Numbers by name, over the steps of runs laid end to end, and the charts that they make.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::error::Result;
use crate::plot::{Line, LineChart, LineStyle};
use crate::train::metrics::step_of;

/// Steps of a running mean.
const SMOOTHED: usize = 25;
/// Rounds are few and each is a mean: so many are drawn as they are.
const UNSMOOTHED_ROUNDS: usize = 200;
/// Points that a curve of every step is thinned to, so that a page of many steps stays small.
const MOST_POINTS: usize = 1500;

/// Numbers by metric, over steps that go on from run to run.
#[derive(Debug, Default)]
pub(super) struct Curves {
    /// Full name (`train/loss`) to `(step, value)`.
    points: BTreeMap<String, Vec<(f64, f64)>>,
    /// The last step.
    pub steps: u64,
}

impl Curves {
    /// Adds the rows of the next run. What is no number is left out.
    pub fn append<'a>(&mut self, rows: impl IntoIterator<Item = &'a Map<String, Value>>) {
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

    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Every metric's full name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.points.keys().map(String::as_str)
    }

    /// What follows the slash in the names.
    pub fn short_names(&self) -> BTreeSet<&str> {
        self.names().map(short).collect()
    }

    /// The points of a metric; none if it was never measured.
    pub fn points(&self, name: &str) -> &[(f64, f64)] {
        self.points.get(name).map_or(&[], Vec::as_slice)
    }

    /// A metric's last value.
    pub fn last(&self, name: &str) -> Option<f64> {
        self.points(name).last().map(|point| point.1)
    }

    /// A metric's first value.
    pub fn first(&self, name: &str) -> Option<f64> {
        self.points(name).first().map(|point| point.1)
    }

    /// The sum of a metric's values; none if it was never measured.
    pub fn total(&self, name: &str) -> Option<f64> {
        let points = self.points(name);
        (!points.is_empty()).then(|| points.iter().map(|point| point.1).sum())
    }

    /// The chart of everything of that short name.
    pub fn chart_of_short_name(&self, name: &str, size: (u32, u32)) -> Result<Option<String>> {
        let mut lines = Vec::new();
        for (full_name, points) in self.points.iter().filter(|(full_name, _)| short(full_name) == name) {
            let is_sparse = (points.len() as u64) * 10 < self.steps;
            if is_sparse || points.len() <= SMOOTHED {
                let style = if is_sparse { LineStyle::Dotted } else { LineStyle::Main };
                lines.push(line(full_name, points.clone(), style));
                continue;
            }
            add_smoothed(&mut lines, full_name, points);
        }
        LineChart { title: name, x_label: "step", size, lines }.to_svg()
    }

    /// The chart of those metrics, each with a band of one standard error where that was measured too.
    /// What is measured now and then, `validation/` and `held_out/`, has dots.
    pub fn chart(&self, title: &str, names: &[&str], size: (u32, u32)) -> Result<Option<String>> {
        let mut lines = Vec::new();
        for &name in names {
            let points = self.points(name);
            let is_dotted = name.starts_with("validation/") || name.starts_with("held_out/");
            match points.len() {
                0 => {}
                // A line of few points may hardly be seen.
                few if is_dotted || few <= 3 => {
                    let band = self.band(name);
                    let label = if band.is_empty() { name.to_owned() } else { format!("{name} ± 1 SE") };
                    lines.push(Line { band, ..line(&label, points.to_vec(), LineStyle::Dotted) });
                }
                some if some <= UNSMOOTHED_ROUNDS => lines.push(line(name, points.to_vec(), LineStyle::Main)),
                _ => add_smoothed(&mut lines, name, points),
            }
        }
        // One line has no legend to say what its band is.
        let title = match &lines[..] {
            [only] if !only.band.is_empty() => format!("{title} ± 1 SE"),
            _ => title.to_owned(),
        };
        LineChart { title: &title, x_label: "round", size, lines }.to_svg()
    }

    /// One standard error to either side, of the steps that have one.
    fn band(&self, name: &str) -> Vec<(f64, f64, f64)> {
        let errors: BTreeMap<u64, f64> = self
            .points(&format!("{name}_standard_error"))
            .iter()
            .map(|&(step, error)| (step as u64, error))
            .collect();
        let around = |&(step, value): &(f64, f64)| {
            let error = errors.get(&(step as u64))?;
            Some((step, value - error, value + error))
        };
        self.points(name).iter().filter_map(around).collect()
    }
}

/// Clocks and counters say nothing as a curve.
fn is_drawn(name: &str) -> bool {
    name.contains('/') && !matches!(name, "perf/unix_time" | "train/target_tokens" | "train/epoch")
}

fn short(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, short)| short)
}

fn line(name: &str, points: Vec<(f64, f64)>, style: LineStyle) -> Line {
    Line { name: name.to_owned(), points, band: Vec::new(), style }
}

/// A metric of many steps: every step in grey underneath, their running mean on top.
fn add_smoothed(lines: &mut Vec<Line>, name: &str, points: &[(f64, f64)]) {
    let smoothed = format!("{name}, mean of {SMOOTHED} steps");
    lines.insert(0, line(name, thinned(points), LineStyle::Raw));
    lines.push(line(&smoothed, running_mean(points), LineStyle::Main));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_mean_lags_and_does_not_invent() {
        let points: Vec<(f64, f64)> = (0..30).map(|i| (f64::from(i), f64::from(i))).collect();
        let means = running_mean(&points);
        assert_eq!((means[0], means.len()), ((24.0, 12.0), 6));
    }

    #[test]
    fn a_band_is_where_an_error_was_measured() {
        let rows = [
            serde_json::json!({"step": 0, "held_out/a": 1.0, "held_out/a_standard_error": 0.5}),
            serde_json::json!({"step": 10, "held_out/a": 2.0, "held_out/a_standard_error": null}),
        ];
        let mut curves = Curves::default();
        curves.append(rows.iter().filter_map(Value::as_object));
        assert_eq!(curves.band("held_out/a"), [(0.0, 0.5, 1.5)]);
        assert_eq!((curves.first("held_out/a"), curves.last("held_out/a")), (Some(1.0), Some(2.0)));
    }
}
