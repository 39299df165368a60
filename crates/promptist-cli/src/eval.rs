//! `promptist eval`: whether learned adaptation beats what people write, in numbers that anyone can measure again.

mod page;
mod plan;
mod replay;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use promptist::atomic::write_atomic;
use promptist::config_file::ConfigFile;
use promptist::eval::config::EvalConfig;
use promptist::eval::images::EvalImages;
use promptist::eval::markdown;
use promptist::eval::run::{Evaluation, Findings};
use promptist::eval::systems::System;
use promptist::generator::Cancel;
use promptist::http::{Auth, Secret};
use promptist::prompter::Prompter;
use promptist::reward::{ImageReward, RewardConfig};

use crate::models::{self, ComputeArgs};
use crate::progress::Bars;
use crate::terms::Opener;
use crate::{score, signals};

#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  promptist eval --config configs/eval-quick.toml --out runs/quick
  promptist eval --config configs/eval-text.toml --out runs/eval
  promptist eval --config configs/eval-text.toml --out runs/eval --resume
  promptist eval --config configs/eval.toml --out runs/images --dry-run
  promptist eval replay runs/eval coco300:7:mini

The config names systems (the user's text as it is, a human's prompt, prompters, files of rewrites, chat
models), prompt sets, and what to measure. Every system adapts every set; differences are taken on the
same inputs and tested, corrected for their number.

Writes to the folder --out: config.toml (resolved), rows.jsonl (every rewrite with its measures, images
and seeds), report.json (every number; docs/eval-report.md explains it), report.html (a page: tables,
plots, losses and wins) and report.md, and prints the tables. What was done is kept: after Ctrl-C or a
crash the same command with --resume goes on, and writes what it would have written.

configs/eval-quick.toml needs nothing but the repository. PROMPTIST_DATA names a folder to read in the
place of ../shared/data; OPENAI_API_KEY is sent to systems of kind openai."
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// What to measure on what, TOML; configs/eval.toml explains every key.
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// The folder to write to; made if it is missing.
    #[arg(long, value_name = "RUN", required = true)]
    out: Option<PathBuf>,
    /// Go on with a run that was interrupted.
    #[arg(long)]
    resume: bool,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: ComputeArgs,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make a row of a run again, and say what differs.
    Replay(replay::Args),
    /// Draw the page of a run again.
    Page(page::Args),
}

pub fn run(args: Args) -> Result<()> {
    match (&args.command, &args.config, &args.out) {
        (Some(Command::Replay(replay)), ..) => replay::run(replay),
        (Some(Command::Page(page)), ..) => page::run(page),
        (None, Some(config), Some(out)) => evaluate(&args, config, out),
        // clap has asked for both.
        _ => Ok(()),
    }
}

fn evaluate(args: &Args, config: &Path, out: &Path) -> Result<()> {
    let mut config = EvalConfig::read(config)?;
    if let Some(folder) = models::data_folder() {
        config = config.with_data_folder(&folder);
    }
    let stop = signals::stop_flag()?;
    let opened = Opened::open(&config, args)?;
    let images = opened.images(&config, out);
    if args.dry_run {
        return plan::print(&config, &opened.systems, images.as_ref());
    }
    let rewards = Opener::new(args.compute.device(), args.compute.num_threads()).open(&config.reward)?;
    eprintln!("{}", config.to_toml()?);
    let findings = Evaluation {
        config: &config,
        run: out,
        resume: args.resume,
        systems: &opened.systems,
        before_sft: opened.before_sft.as_ref(),
        rewards: rewards.as_ref(),
        images: images.as_ref(),
        progress: &Bars::default(),
        cancel: &Cancel::following(stop),
    }
    .run()?;
    write(out, &findings)?;
    let mut stdout = std::io::stdout().lock();
    match args.json {
        true => writeln!(stdout, "{}", serde_json::to_string(&findings.report)?)?,
        false => write!(stdout, "{}", markdown::tables(&findings.report))?,
    }
    Ok(())
}

/// What a config names, opened.
struct Opened {
    systems: Vec<System>,
    before_sft: Option<Prompter>,
    images: Option<(ImageReward, RewardConfig)>,
}

impl Opened {
    fn open(config: &EvalConfig, args: &Args) -> Result<Self> {
        // What is small is opened first, so that its mistakes do not wait for what is large.
        let images = match &config.images {
            Some(images) => {
                let reward = score::read_config(&images.config)?;
                Some((score::open(&reward, args.compute.device())?, reward))
            }
            None => None,
        };
        let backend = args.compute.backend()?;
        let open =
            |model: &str| -> Result<Prompter> { Ok(Prompter::open(&models::files(model)?, &backend)?) };
        let before_sft = config.likelihood.as_ref().and_then(|part| part.before_sft.as_deref());
        let before_sft = before_sft.map(open).transpose()?;
        let systems = config.systems.iter().map(|system| {
            // The library asks for a model; what goes wrong here may be the Hub's.
            let mut failed = None;
            let mut open_model = |model: &str| {
                open(model).map_err(|error| {
                    let shown = promptist::Error::config("model", format!("{error:#}"));
                    failed = Some(error);
                    shown
                })
            };
            let opened = System::open(system, &mut open_model, &auth());
            opened.map_err(|error| failed.unwrap_or_else(|| error.into()))
        });
        let with_name = |(opened, system): (Result<System>, &promptist::eval::config::SystemConfig)| {
            opened.with_context(|| format!("system `{}`", system.name))
        };
        let systems = systems.zip(&config.systems).map(with_name).collect::<Result<_>>()?;
        Ok(Self { systems, before_sft, images })
    }

    fn images(&self, config: &EvalConfig, out: &Path) -> Option<EvalImages<'_>> {
        let keep = config.images.as_ref().is_some_and(|images| images.keep);
        self.images.as_ref().map(|(reward, config)| EvalImages::new(reward, config, out, keep))
    }
}

/// The key of chat servers, if `OPENAI_API_KEY` holds one.
fn auth() -> Auth {
    match std::env::var("OPENAI_API_KEY") {
        Ok(key) if !key.is_empty() => Auth::Bearer(Secret(key)),
        _ => Auth::None,
    }
}

/// Writes what people read; the numbers are written already.
fn write(out: &Path, findings: &Findings) -> Result<()> {
    let markdown = markdown::render(findings);
    write_atomic(out.join("report.md"), |file| file.write_all(markdown.as_bytes()))?;
    page::write(out, findings)
}
