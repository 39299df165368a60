//! `promptist train report`: what a run looks like, as one page.
//!
//! It reads `metrics.jsonl` and `config.toml`. Of supervised training every number that a step wrote is drawn, those
//! of one name under `train/` and `validation/` in one chart; of reinforcement learning (`stage` is `ppo`) also
//! `samples.jsonl` and `stop.json`, in groups: see `ppo`. Several runs are stages of one training, and the steps
//! of those of one kind are laid end to end.

mod curves;
mod ppo;
mod samples;

use std::fmt::Write;
use std::path::Path;

use curves::Curves;
use ppo::Rounds;

use crate::error::{Error, Result};
use crate::html::escape;
use crate::plot::FULL;
use crate::train::metrics;

/// The page and the chart that cards show.
#[derive(Debug, Clone, PartialEq)]
pub struct RunReport {
    /// A page that needs no other file.
    pub html: String,
    /// Of the last kind of training the curve that matters most, as SVG: the reward, or the loss.
    pub curve: String,
}

/// Reads runs and draws them, first to last. A run may still be going on.
///
/// # Errors
/// [`Error::Io`] if a run has no `metrics.jsonl`, [`Error::Line`] if it or `samples.jsonl` is malformed,
/// [`Error::File`] if no row has a loss or a reward, or `stop.json` is malformed.
pub fn render(runs: &[&Path]) -> Result<RunReport> {
    let mut curves = Curves::default();
    let mut rounds = Rounds::default();
    let mut configs = String::new();
    for run in runs {
        let path = run.join("metrics.jsonl");
        let rows = metrics::read_rows(&path)?;
        if rows.is_empty() {
            return Err(Error::file(&path, "has no steps yet"));
        }
        let (ppo, supervised): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| row.get("stage").is_some_and(|stage| stage == "ppo"));
        curves.append(&supervised);
        if !ppo.is_empty() {
            rounds.append(run, &ppo)?;
        }
        if let Ok(config) = std::fs::read_to_string(run.join("config.toml")) {
            let name = escape(&run.display().to_string());
            let _ = writeln!(
                configs,
                "<details><summary>{name}/config.toml</summary><pre>{}</pre></details>",
                escape(&config)
            );
        }
    }
    let mut body = String::new();
    let mut curve = None;
    if !curves.is_empty() {
        let loss_curve = curves.chart_of_short_name("loss", FULL)?;
        let _ = writeln!(body, "<p>{}</p>\n{}", summary(&curves), loss_curve.as_deref().unwrap_or_default());
        for name in curves.short_names().into_iter().filter(|name| *name != "loss") {
            body += &curves.chart_of_short_name(name, FULL)?.unwrap_or_default();
        }
        curve = loss_curve;
    }
    if !rounds.curves.is_empty() {
        let _ = writeln!(body, "<p>{}</p>\n{}", rounds.summary(), rounds.body()?);
        curve = rounds.reward_curve()?.or(curve);
    }
    let Some(curve) = curve else {
        let first = runs.first().copied().unwrap_or(Path::new(""));
        return Err(Error::file(first, "its steps have no loss and no reward"));
    };
    let titles: Vec<String> = runs.iter().map(|run| escape(&run.display().to_string())).collect();
    Ok(RunReport { html: page(&titles.join(" → "), &body, &configs), curve })
}

/// One line of numbers about supervised training.
fn summary(curves: &Curves) -> String {
    let mut parts = vec![format!("{} steps", curves.steps)];
    if let Some(loss) = curves.last("validation/loss") {
        parts.push(format!("validation loss {loss:.4}"));
    }
    if let Some(total) = curves.total("perf/seconds") {
        parts.push(format!("{:.1} minutes of steps", total / 60.0));
    }
    let mut rates: Vec<f64> = curves.points("perf/tokens_per_second").iter().map(|point| point.1).collect();
    if !rates.is_empty() {
        rates.sort_unstable_by(f64::total_cmp);
        parts.push(format!("{:.0} tokens/s (median)", rates[rates.len() / 2]));
    }
    parts.join(" · ")
}

fn page(title: &str, body: &str, configs: &str) -> String {
    let (head, foot) =
        include_str!("page.html").split_once("{{body}}").expect("the page has a place for its body");
    head.replace("{{title}}", title) + body + &foot.replace("{{configs}}", configs)
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
        assert!(report.html.contains(&report.curve));
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

    /// Twelve rounds, evaluated before the first and after each sixth; the guard stopped them.
    fn write_ppo(folder: &Path) {
        let mut rows = String::new();
        for round in 0..=12 {
            let mut row = serde_json::json!({"step": round, "stage": "ppo", "perf/unix_time": 1.0});
            let mut set = |name: &str, value: serde_json::Value| row[name] = value;
            if round > 0 {
                set("reward/mean", (0.1 * f64::from(round)).into());
                set("reward/standard_error", 0.05.into());
                set("reward/style", 0.5.into());
                set("reward/dropped", 2.into());
                set("ppo/policy_loss", (-0.01).into());
                set("ppo/something_new", 1.into());
                set("text/top_phrases", serde_json::json!([["8k <b>", 0.25], ["odd"], 3]));
                set("perf/generate_seconds", 30.0.into());
            }
            if round % 6 == 0 {
                set("validation/reward", 0.5.into());
                set("validation/reward_standard_error", 0.1.into());
                set("validation/style_standard_error", 0.1.into());
                set("validation/style", 0.6.into());
                set("held_out/guard", (1.0 - 0.05 * f64::from(round)).into());
                set("held_out/guard_standard_error", 0.1.into());
            }
            let _ = writeln!(rows, "{row}");
        }
        run(folder, &rows);
        let sample = |round: u64, text: &str| {
            let scores = serde_json::json!({"guard": 0.5});
            let sample = serde_json::json!({
                "step": round, "user_input": "a cat", "adapted_prompt": text, "reward": 0.5,
                "terms": {"style": 0.5}, "held_out": scores,
            });
            sample.to_string()
        };
        let samples = [sample(0, "a cat, old"), sample(6, "a cat, mid"), sample(12, "a cat, new")];
        // The last line is being written.
        fs::write(folder.join("samples.jsonl"), samples.join("\n") + "\n{\"step\": 12").expect("a file");
        let stop = r#"{"step": 12, "measure": "held_out/guard", "reason": "fell & fell.", "best_step": 6}"#;
        fs::write(folder.join("stop.json"), stop).expect("a file");
    }

    #[test]
    fn a_reinforced_run_shows_rewards_guards_and_samples() {
        let folder = tempfile::tempdir().expect("a folder");
        write_ppo(folder.path());
        let RunReport { html, curve } = render(&[folder.path()]).expect("a run");
        for expected in [
            "12 rounds · validation/reward +0.500 → +0.500 · held_out/guard +1.000 → +0.400 · 24 samples dropped \
             · minutes: generate 6.0",
            "<b>Stopped after round 12</b> by <code>held_out/guard</code>: fell &amp; fell. The best weights are \
             those of round 6.",
            "\nstyle, before its weight\n",
            "held_out/guard ± 1 SE",
            "validation/reward ± 1 SE",
            "<h2>Other</h2>",
            "ppo/something_new",
            "<td>8k &lt;b&gt;</td><td>25.0 %</td>",
            "before (round 0)",
            "best (round 6)",
            "a cat, <mark>new</mark>",
        ] {
            assert!(html.contains(expected), "{expected}");
        }
        assert!(!html.contains("style_standard_error"), "an error is a band, not a curve");
        assert!(curve.contains("reward/mean") && !html.contains("KL to the reference"));
    }

    #[test]
    fn stages_of_two_kinds_keep_their_own_axes() {
        let folder = tempfile::tempdir().expect("a folder");
        let (first, second) = (folder.path().join("sft"), folder.path().join("ppo"));
        run(&first, "{\"step\":500,\"stage\":\"sft\",\"train/loss\":2.0}\n");
        write_ppo(&second);
        let report = render(&[&first, &second]).expect("two runs");
        assert!(report.html.contains("<p>500 steps</p>") && report.html.contains("<p>12 rounds"));
        assert!(report.curve.contains("reward/mean"));
    }

    #[test]
    fn a_stop_that_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        write_ppo(folder.path());
        fs::write(folder.path().join("stop.json"), "{}").expect("a file");
        assert!(render(&[folder.path()]).expect_err("malformed").to_string().contains("stop.json"));
    }
}
