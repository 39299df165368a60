//! `promptist train ppo`.

use anyhow::{Result, bail};
use promptist::config_file::ConfigFile;
use promptist::generator::Cancel;
use promptist::train::ppo::config::PpoConfig;
use promptist::train::ppo::evaluation::Judges;
use promptist::train::ppo::run::{self, PpoContext};

use super::{RunArgs, start_folder};
use crate::models::{self, DeviceChoice};
use crate::progress::Bars;
use crate::signals;
use crate::terms::Opener;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// Instead of the config's seed: runs of several seeds from one file.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Where to train.
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// CPU threads; all cores if absent. A run is bit for bit the same only with as many.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
}

pub fn run(args: Args) -> Result<()> {
    let mut config = PpoConfig::read(&args.run.config)?;
    if let Some(folder) = models::data_folder() {
        config = config.with_data_folder(&folder);
    }
    config.seed = args.seed.unwrap_or(config.seed);
    let model_folder = start_folder(&config.model)?;
    let num_threads = match args.threads {
        Some(threads) => threads as usize,
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let _ = rayon::ThreadPoolBuilder::new().num_threads(num_threads).build_global();
    let stop = signals::stop_flag()?;
    let mut opener = Opener::new(args.device, num_threads);
    let Some(reward) = opener.open(&config.reward)? else { bail!("the config names no reward") };
    let held_out = opener.open(&config.held_out)?;
    eprintln!("{}", config.to_toml()?);
    let model = run::train(
        &config,
        &PpoContext {
            run: &args.run.out,
            resume: args.run.resume,
            model_folder: &model_folder,
            judges: Judges { reward: &reward, held_out: held_out.as_ref() },
            device: args.device.device(),
            num_threads,
            progress: &Bars::default(),
            cancel: &Cancel::following(stop),
        },
    )?;
    println!("{}", model.display());
    Ok(())
}
