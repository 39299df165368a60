//! `promptist train`: runs that checkpoint, resume and can be looked at.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Subcommand;
use promptist::config_file::ConfigFile;
use promptist::model_source::ModelFiles;
use promptist::train::config::SftConfig;
use promptist::train::sft::{self, RunContext};

use crate::models::{self, DeviceChoice};
use crate::progress::Bars;
use crate::signals;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Supervised fine-tuning on pairs; for a new model, on plain text first.
    #[command(after_help = "\
Examples:
  promptist train sft --config configs/sft.toml --out runs/sft
  promptist train sft --config configs/sft.toml --out runs/sft --resume
  tail -f runs/sft/metrics.jsonl
  tensorboard --logdir runs/sft/events

Ctrl-C finishes the step, saves and exits with 130; --resume goes on from there, to the same
weights as if nothing had happened.")]
    Sft(SftArgs),
}

#[derive(clap::Args)]
struct SftArgs {
    /// What to train on what, TOML; configs/sft.toml explains every key.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The run folder: config, metrics, checkpoints and, at the end, the best model.
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// Go on with a run that was interrupted.
    #[arg(long)]
    resume: bool,
    /// Where to compute.
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
}

pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Sft(args) => run_sft(args),
    }
}

fn run_sft(args: SftArgs) -> Result<()> {
    let config = SftConfig::read(&args.config)?;
    let model_folder = match &config.model {
        Some(model) => match models::files(model)? {
            ModelFiles::Folder { path, .. } => Some(path),
            ModelFiles::Embedded(_) => bail!("training starts from a folder or a Hub id, not from `{model}`"),
        },
        None => None,
    };
    let stop = signals::stop_flag()?;
    let context = RunContext {
        run: &args.out,
        resume: args.resume,
        model_folder,
        device: args.device.device(),
        progress: &Bars::default(),
        stop: &stop,
    };
    eprintln!("{}", config.to_toml()?);
    let model = sft::train(&config, &context)?;
    println!("{}", model.display());
    Ok(())
}
