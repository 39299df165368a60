//! `promptist train sft`.

use anyhow::Result;
use promptist::config_file::ConfigFile;
use promptist::train::config::SftConfig;
use promptist::train::sft::{self, RunContext};

use super::{RunArgs, start_folder};
use crate::models::DeviceChoice;
use crate::progress::Bars;
use crate::signals;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// Where to compute.
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
}

pub fn run(args: Args) -> Result<()> {
    let config = SftConfig::read(&args.run.config)?;
    let model_folder = config.model.as_deref().map(start_folder).transpose()?;
    let stop = signals::stop_flag()?;
    let context = RunContext {
        run: &args.run.out,
        resume: args.run.resume,
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
