//! `promptist train reward`.

use anyhow::Result;
use promptist::config_file::ConfigFile;
use promptist::train::reward::config::RewardFitConfig;
use promptist::train::reward::{self, FitContext};

use super::RunArgs;
use crate::models;
use crate::progress::Bars;
use crate::signals;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// Threads; all cores if absent. The result does not depend on it.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

pub fn run(args: Args) -> Result<()> {
    let mut config = RewardFitConfig::read(&args.run.config)?;
    if let Some(folder) = models::data_folder() {
        config = config.with_data_folder(&folder);
    }
    let stop = signals::stop_flag()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    eprintln!("{}", config.to_toml()?);
    let folder = reward::fit(
        &config,
        &FitContext {
            run: &args.run.out,
            resume: args.run.resume,
            model: &models::files(&config.model)?,
            num_threads: args.threads.unwrap_or(cores).max(1),
            progress: &Bars::default(),
            stop: &stop,
        },
    )?;
    println!("{}", folder.display());
    Ok(())
}
