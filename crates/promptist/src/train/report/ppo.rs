//! What a run of reinforcement learning looks like: whether the reward rose, what it cost, what the guards
//! saw, and how prompts read before and after.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::curves::Curves;
use super::samples;
use crate::error::{Error, Result};
use crate::html::escape;
use crate::plot::{FULL, HALF};

/// A group of charts: its title, and for each chart a title and the metrics that it shows.
type Group = (&'static str, &'static [(&'static str, &'static [&'static str])]);

/// A chart's title and its metrics.
type Chart = (String, Vec<String>);

/// Charts whose metrics are known by name, in the order of the page. Terms and held-out rewards, whose names a
/// config gives, stand between the first two.
const GROUPS: [Group; 4] = [
    (
        "KL to the reference",
        &[
            ("nats a response", &["ppo/kl", "validation/kl"]),
            ("nats a token", &["ppo/kl_per_token"]),
            ("weight of the charge", &["ppo/kl_coefficient"]),
            ("to the policy that explored", &["ppo/approx_kl_old"]),
        ],
    ),
    (
        "Losses",
        &[
            ("policy loss", &["ppo/policy_loss"]),
            ("value loss", &["ppo/value_loss"]),
            ("share clipped", &["ppo/clip_fraction", "ppo/value_clip_fraction"]),
            ("entropy, nats a token", &["ppo/entropy"]),
            ("variance that the value explains", &["ppo/explained_variance"]),
            ("gradient norm", &["ppo/grad_norm", "ppo/value_grad_norm"]),
        ],
    ),
    (
        "Text",
        &[
            ("length, tokens", &["text/length", "validation/length"]),
            ("share of answers cut", &["text/cut_share"]),
            (
                "distinct n-grams",
                &["text/distinct_1", "text/distinct_2", "validation/distinct_1", "validation/distinct_2"],
            ),
            ("share of outputs with an artist", &["text/artist_share", "validation/artist_share"]),
            ("the input's content words kept", &["text/kept", "validation/kept"]),
            ("share of degenerate outputs", &["text/degenerate", "validation/degenerate"]),
        ],
    ),
    (
        "Time",
        &[
            (
                "seconds a round, by phase",
                &[
                    "perf/generate_seconds",
                    "perf/score_seconds",
                    "perf/score_wait_seconds",
                    "perf/update_seconds",
                    "perf/seconds",
                ],
            ),
            ("samples a second", &["perf/samples_per_second"]),
        ],
    ),
];

/// Metrics of the evaluation that are no reward.
const VALIDATION: [&str; 10] = [
    "reward",
    "reward_standard_error",
    "kl",
    "length",
    "distinct_1",
    "distinct_2",
    "artist_share",
    "kept",
    "degenerate",
    "dropped",
];

/// `stop.json`: why a run stopped by itself.
#[derive(Debug, Deserialize)]
struct Stop {
    step: u64,
    measure: String,
    reason: String,
    best_step: u64,
}

/// Rounds of one or several runs, and what else of those runs the page shows.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    pub curves: Curves,
    first_phrases: Option<Phrases>,
    last_phrases: Option<Phrases>,
    /// What stands above the charts, and below.
    notes: String,
    samples: String,
}

#[derive(Debug, Clone)]
struct Phrases {
    round: u64,
    /// With the share of outputs that have it.
    phrases: Vec<(String, f64)>,
}

impl Rounds {
    /// Adds the rounds of the next run.
    pub fn append(&mut self, run: &Path, rows: &[Map<String, Value>]) -> Result<()> {
        let before = self.curves.steps;
        self.curves.append(rows);
        // Of the same inputs before and after, where there were evaluations.
        let of =
            |name: &str| rows.iter().filter_map(|row| Phrases::of(row, name, before)).collect::<Vec<_>>();
        let phrases = Some(of("validation/top_phrases")).filter(|found| !found.is_empty());
        for phrases in phrases.unwrap_or_else(|| of("text/top_phrases")) {
            self.first_phrases.get_or_insert(phrases.clone());
            self.last_phrases = Some(phrases);
        }
        let mut of_this_run = Curves::default();
        of_this_run.append(rows);
        let stop = read_stop(run)?;
        if let Some(stop) = &stop {
            let _ = writeln!(
                self.notes,
                "<p class=\"note\"><b>Stopped after round {}</b> by <code>{}</code>: {}. The best weights are \
                 those of round {}.</p>",
                stop.step,
                escape(&stop.measure),
                escape(stop.reason.trim_end_matches('.')),
                stop.best_step
            );
        }
        let best = stop.map(|stop| stop.best_step).or_else(|| best_step(&of_this_run));
        self.samples += &samples::table(&samples::read(run)?, best);
        Ok(())
    }

    /// The reward over all rounds.
    pub fn reward_curve(&self) -> Result<Option<String>> {
        self.curves.chart("reward", &["reward/mean", "validation/reward"], FULL)
    }

    /// One line of numbers.
    pub fn summary(&self) -> String {
        let curves = &self.curves;
        let mut parts = vec![format!("{} rounds", curves.steps)];
        let mut change = |name: &str, label: &str| {
            if let Some((first, last)) = curves.first(name).zip(curves.last(name)) {
                parts.push(format!("{label} {first:+.3} → {last:+.3}"));
            }
        };
        let reward =
            if curves.points("validation/reward").is_empty() { "reward/mean" } else { "validation/reward" };
        change(reward, reward);
        for name in self.held_out() {
            change(&name, &name);
        }
        if let Some(dropped) = curves.total("reward/dropped") {
            parts.push(format!("{dropped} samples dropped"));
        }
        let minutes: Vec<String> = ["generate", "score", "update"]
            .into_iter()
            .filter_map(|phase| {
                let seconds = curves.total(&format!("perf/{phase}_seconds"))?;
                Some(format!("{phase} {:.1}", seconds / 60.0))
            })
            .collect();
        if !minutes.is_empty() {
            parts.push(format!("minutes: {}", minutes.join(", ")));
        }
        parts.iter().map(|part| escape(part)).collect::<Vec<_>>().join(" · ")
    }

    /// Everything below the summary.
    pub fn body(&self) -> Result<String> {
        let mut html = self.notes.clone();
        let held_out: Vec<_> = self.held_out().into_iter().map(|name| (name.clone(), vec![name])).collect();
        let mut groups = vec![("Reward", self.rewards()), ("Held out: measured, never trained on", held_out)];
        for (title, charts) in GROUPS {
            let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
            groups.push((
                title,
                charts.iter().map(|(title, names)| ((*title).to_owned(), owned(names))).collect(),
            ));
        }
        let mut drawn: BTreeSet<String> = BTreeSet::new();
        for (title, charts) in &groups {
            html += &self.group(title, charts)?;
            for name in charts.iter().flat_map(|(_, names)| names) {
                drawn.extend([name.clone(), format!("{name}_standard_error")]);
            }
        }
        // What nobody foresaw is drawn too.
        drawn.insert("reward/standard_error".to_owned());
        let others = self.curves.names().filter(|name| !drawn.contains(*name)).map(str::to_owned);
        let others: Vec<_> = others.map(|name| (name.clone(), vec![name])).collect();
        html += &self.group("Other", &others)?;
        html += &self.phrases();
        html += &self.samples;
        Ok(html)
    }

    /// A headline and its charts; nothing if none of their metrics was measured.
    fn group(&self, title: &str, charts: &[Chart]) -> Result<String> {
        let mut svgs = String::new();
        for (title, names) in charts {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            svgs += &self.curves.chart(title, &names, HALF)?.unwrap_or_default();
        }
        Ok(match svgs.is_empty() {
            true => svgs,
            false => format!("<h2>{title}</h2>\n<div class=\"charts\">\n{svgs}</div>\n"),
        })
    }

    /// The sum, then each of its terms, then what was dropped.
    fn rewards(&self) -> Vec<Chart> {
        let of = |prefix: &'static str, known: &'static [&'static str]| {
            let short = self.curves.names().filter_map(move |name| name.strip_prefix(prefix));
            short.filter(move |name| !known.contains(name) && !name.ends_with("_standard_error"))
        };
        let in_training = of("reward/", &["mean", "standard_error", "dropped"]);
        let terms: BTreeSet<&str> = in_training.chain(of("validation/", &VALIDATION)).collect();
        let both = |training: &str, validation: &str| {
            vec![format!("reward/{training}"), format!("validation/{validation}")]
        };
        let mut charts = vec![("the weighted sum".to_owned(), both("mean", "reward"))];
        charts.extend(terms.into_iter().map(|term| (format!("{term}, before its weight"), both(term, term))));
        charts.push((
            "samples dropped".to_owned(),
            vec!["reward/dropped".to_owned(), "validation/dropped".to_owned()],
        ));
        charts
    }

    fn held_out(&self) -> Vec<String> {
        let names = self.curves.names().filter(|name| name.starts_with("held_out/"));
        names.filter(|name| !name.ends_with("_standard_error")).map(str::to_owned).collect()
    }

    /// The commonest additions of the first round and the last.
    fn phrases(&self) -> String {
        let (Some(first), Some(last)) = (&self.first_phrases, &self.last_phrases) else {
            return String::new();
        };
        let mut html = String::from("<h2>Commonest additions</h2>\n<div class=\"charts\">\n");
        let both = if first.round == last.round { vec![last] } else { vec![first, last] };
        for Phrases { round, phrases } in both {
            let _ = write!(
                html,
                "<table><thead><tr><th>round {round}</th><th>of outputs</th></tr></thead><tbody>"
            );
            for (phrase, share) in phrases {
                let _ = write!(html, "<tr><td>{}</td><td>{:.1} %</td></tr>", escape(phrase), 100.0 * share);
            }
            html += "</tbody></table>\n";
        }
        html + "</div>\n"
    }
}

impl Phrases {
    fn of(row: &Map<String, Value>, name: &str, rounds_before: u64) -> Option<Self> {
        let phrases = row.get(name)?.as_array()?.iter();
        let phrases = phrases.filter_map(|pair| {
            let [phrase, share] = &pair.as_array()?[..] else { return None };
            Some((phrase.as_str()?.to_owned(), share.as_f64()?))
        });
        let round = rounds_before + crate::train::metrics::step_of(row);
        Some(Self { round, phrases: phrases.collect() })
    }
}

fn read_stop(run: &Path) -> Result<Option<Stop>> {
    let path = run.join("stop.json");
    match std::fs::read(&path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map(Some).map_err(|error| Error::file(&path, error.to_string()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(&path)(error)),
    }
}

/// The round whose evaluation was best: by the first held-out reward, or without one by the reward itself.
fn best_step(curves: &Curves) -> Option<u64> {
    let held_out = curves.names().find(|name| name.starts_with("held_out/"));
    let points = curves.points(held_out.unwrap_or("validation/reward")).iter();
    points.max_by(|a, b| a.1.total_cmp(&b.1)).map(|point| point.0 as u64)
}
