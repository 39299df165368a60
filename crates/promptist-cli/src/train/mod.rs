//! `promptist train`: runs that checkpoint, resume and can be looked at.

mod ppo;
mod report;
mod reward;
mod sft;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Subcommand;
use promptist::model_source::ModelFiles;

use crate::models;

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
    Sft(sft::Args),
    /// Reinforcement learning by PPO: explore better prompts, as a reward has it.
    #[command(after_help = "\
Examples:
  promptist train ppo --config configs/ppo.toml --out runs/ppo
  promptist train ppo --config configs/ppo.toml --out runs/ppo --resume
  promptist train report runs/ppo

A round explores an answer to each of its prompts, scores the answers (while others are explored),
and learns from them. The config names the reward, a weighted sum of terms: through images (an image
model of yours, in a folder or behind servers), of text, from a server that speaks OpenRLHF's reward
contract (its token in PROMPTIST_REWARD_TOKEN); and measures that are held out of it. When one of
those falls while the reward still rises, the policy is learning to cheat: the run stops, says which
in stop.json, and keeps the best checkpoint.

Every round is a line of metrics.jsonl; every evaluation adds lines to samples.jsonl: read them.
Ctrl-C saves the last round and exits with 130; --resume goes on from there, to the same weights as
if nothing had happened. Answers whose images failed are dropped and counted.
PROMPTIST_DATA names a folder to read in the place of ../shared/data.")]
    Ppo(ppo::Args),
    /// Fit the text reward, which serves where no image model is at hand.
    #[command(after_help = "\
Examples:
  promptist train reward --config configs/reward.toml --out runs/reward
  promptist train reward --config configs/reward-heldout.toml --out runs/reward-heldout
  cat runs/reward/card.md

It learns to tell what people wrote for an input from what they would not have: additions of another
input, stuffed, repeated, shuffled or cut ones, the prompter's own. Writes card.md (read it first),
report.json, examples.jsonl and the reward itself, model/, to the folder --out. Takes minutes; a run
that was interrupted begins again with --resume and comes to the same reward.
PROMPTIST_DATA names a folder to read in the place of ../shared/data.")]
    Reward(reward::Args),
    /// What a run looks like: one HTML page with its curves.
    #[command(after_help = "\
Examples:
  promptist train report runs/sft
  promptist train report runs/language-model runs/prompter --output report.html --curve curve.svg

Several runs are stages of one training: their steps are laid end to end. A run that still goes on
can be looked at.")]
    Report(report::Args),
}

/// What every run is told.
#[derive(clap::Args)]
struct RunArgs {
    /// What to train on what, TOML; the files in configs/ explain every key.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The run folder: config, metrics, checkpoints and, at the end, the model.
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// Go on with a run that was interrupted.
    #[arg(long)]
    resume: bool,
}

pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Sft(args) => sft::run(args),
        Command::Ppo(args) => ppo::run(args),
        Command::Reward(args) => reward::run(args),
        Command::Report(args) => report::run(args),
    }
}

/// The folder of the model that training starts from: one, or the Hub's in the cache.
fn start_folder(model: &str) -> Result<PathBuf> {
    match models::files(model)? {
        ModelFiles::Folder { path, .. } => Ok(path),
        ModelFiles::Embedded(_) => bail!("training starts from a folder or a Hub id, not from `{model}`"),
    }
}
