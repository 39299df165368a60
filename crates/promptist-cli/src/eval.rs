//! `promptist eval`: how good a prompter is, in numbers that anyone can measure again.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use promptist::atomic::write_atomic;
use promptist::config_file::ConfigFile;
use promptist::eval::compare::config::CompareConfig;
use promptist::eval::compare::{self, Comparison};
use promptist::eval::old_config::EvalConfig;
use promptist::eval::markdown;
use promptist::eval::run::{Evaluation, Findings};
use promptist::prompter::Prompter;

use crate::models::{self, ComputeArgs};
use crate::progress::Bars;
use crate::signals;
use crate::terms::Opener;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  promptist eval --config configs/eval-mini.toml --out runs/eval-mini
  promptist eval --config configs/eval-mini.toml --out runs/eval-mini --json | jq .checks
  promptist eval --config configs/compare.toml --out runs/compare

A config with `before` and `after` sets models side by side on the same inputs, by rewards and by
judges that no reward is made of. Writes report.json (every number, with the model's hash and the settings), report.md (tables) and
outputs.jsonl (every output with its own measures; not of a comparison) to the folder --out, and prints the tables.
PROMPTIST_DATA names a folder to read in the place of ../shared/data.")]
pub struct Args {
    /// What to measure on what, TOML; configs/eval-mini.toml and compare.toml explain every key.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The folder to write to; made if it is missing.
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: ComputeArgs,
}

pub fn run(args: Args) -> Result<()> {
    let text = std::fs::read_to_string(&args.config).with_context(|| args.config.display().to_string())?;
    if CompareConfig::is_asked_for_by(&text) {
        return compare(args);
    }
    let mut config = EvalConfig::read(&args.config)?;
    if let Some(folder) = models::data_folder() {
        config = config.with_data_folder(&folder);
    }
    make_folder(&args.out)?;
    let backend = args.compute.backend()?;
    let prompter = Prompter::open(&models::files(&config.model)?, &backend)?;
    let before_sft = match config.likelihood.as_ref().and_then(|part| part.before_sft.as_ref()) {
        Some(model) => Some(Prompter::open(&models::files(model)?, &backend)?),
        None => None,
    };
    let stop = signals::stop_flag()?;
    eprintln!("{}", config.to_toml()?);
    let findings = Evaluation {
        config: &config,
        prompter: &prompter,
        before_sft: before_sft.as_ref(),
        progress: &Bars::default(),
        stop: &stop,
    }
    .run()?;
    let (json, markdown) = write(&args.out, &findings)?;
    let mut stdout = std::io::stdout().lock();
    match args.json {
        true => writeln!(stdout, "{json}")?,
        false => write!(stdout, "{markdown}")?,
    }
    Ok(())
}

/// Sets models side by side.
fn compare(args: Args) -> Result<()> {
    let mut config = CompareConfig::read(&args.config)?;
    if let Some(folder) = models::data_folder() {
        config = config.with_data_folder(&folder);
    }
    make_folder(&args.out)?;
    let backend = args.compute.backend()?;
    let open = |model: &String| -> Result<Prompter> { Ok(Prompter::open(&models::files(model)?, &backend)?) };
    let before = open(&config.before)?;
    let after: Vec<Prompter> = config.after.iter().map(open).collect::<Result<_>>()?;
    let rewards = Opener::new(args.compute.device(), args.compute.num_threads()).open(&config.reward)?;
    let stop = signals::stop_flag()?;
    eprintln!("{}", config.to_toml()?);
    let report = Comparison {
        config: &config,
        before: &before,
        after: &after,
        rewards: rewards.as_ref(),
        progress: &Bars::default(),
        stop: &stop,
    }
    .run()?;
    let markdown = compare::markdown::render(&report);
    write_atomic(args.out.join("report.md"), |file| file.write_all(markdown.as_bytes()))?;
    let pretty = serde_json::to_vec_pretty(&report)?;
    write_atomic(args.out.join("report.json"), |file| file.write_all(&pretty))?;
    let mut stdout = std::io::stdout().lock();
    match args.json {
        true => writeln!(stdout, "{}", serde_json::to_string(&report)?)?,
        false => write!(stdout, "{markdown}")?,
    }
    Ok(())
}

/// Makes the run's folder, if it does not hold a report already.
fn make_folder(out: &Path) -> Result<()> {
    if out.join("report.json").exists() {
        bail!("{}: holds a report already; name another folder", out.display());
    }
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())
}

/// Writes the run's files; `report.json` last, so that a folder with it is whole. Returns the report
/// as one line of JSON and as Markdown.
fn write(out: &Path, findings: &Findings) -> Result<(String, String)> {
    write_atomic(out.join("outputs.jsonl"), |file| {
        findings.rows.iter().try_for_each(|row| {
            serde_json::to_writer(&mut *file, row)?;
            file.write_all(b"\n")
        })
    })?;
    let markdown = markdown::render(findings);
    write_atomic(out.join("report.md"), |file| file.write_all(markdown.as_bytes()))?;
    let pretty = serde_json::to_vec_pretty(&findings.report)?;
    write_atomic(out.join("report.json"), |file| file.write_all(&pretty))?;
    Ok((serde_json::to_string(&findings.report)?, markdown))
}
