//! `promptist model`: what models there are, fetching, looking at, converting and checking them.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Subcommand, ValueEnum};
use promptist::hub::{self, HubId};
use promptist::model_folder::{self, ConvertSettings, ModelInfo};
use promptist::model_source::MINI;
use promptist::weights::Dtype;
use serde_json::json;

use crate::models;
use crate::precision;
use crate::progress::Bars;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the models at hand: mini, and what the Hub's cache holds.
    List(ListArgs),
    /// Fetch a model from the Hub, or bring it up to date.
    #[command(after_help = "\
Examples:
  promptist model pull microsoft/Promptist
  promptist model pull owner/name@v1.0
  HF_ENDPOINT=https://a.mirror promptist model pull owner/name

Prints the folder. Broken downloads go on where they broke, and checksums are compared. Files lie
in the cache that transformers uses: HF_HOME, HF_HUB_CACHE, HF_TOKEN and HF_HUB_OFFLINE work.")]
    Pull(PullArgs),
    /// Describe a model: config, parameters, tokenizer, files, SHA-256.
    Info(ModelArgs),
    /// Write a model as a folder of safetensors that transformers loads.
    #[command(after_help = "\
Examples:
  promptist model convert microsoft/Promptist --out promptist-bf16 --dtype bf16
  promptist model convert old-folder --out new-folder --max-shard-size 200MB")]
    Convert(ConvertArgs),
    /// Measure how far bf16 and int8 are from f32, for --precision auto to go by.
    #[command(after_help = "\
Examples:
  promptist model precision runs/sft/model --input prompts.txt
  promptist model precision mini --input a.txt b.txt --limit 300 --output precision.json

Answers are drawn from the f32 model, and each approximation is asked about every token of them.
Then all adapt the inputs with the model's own settings.")]
    Precision(precision::Args),
    /// Check a model: sums, header, shapes, finite values, tokenizer. Exit code 1 if it fails.
    Verify(ModelArgs),
}

#[derive(clap::Args)]
struct ListArgs {
    /// Print JSON Lines.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct PullArgs {
    /// owner/name, or owner/name@revision.
    #[arg(value_name = "ID", value_parser = parse_id)]
    id: HubId,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct ModelArgs {
    /// mini, a model folder, or a Hub id.
    #[arg(value_name = "MODEL")]
    model: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct ConvertArgs {
    /// mini, a model folder, or a Hub id.
    #[arg(value_name = "MODEL")]
    model: String,
    /// The folder to write; it must not exist, or be empty.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How to store the weights; as they are if absent.
    #[arg(long, value_enum)]
    dtype: Option<DtypeChoice>,
    /// The most bytes in one file of weights (500MB, 2GB); one file if absent.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_shard_size: Option<u64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum DtypeChoice {
    F32,
    F16,
    Bf16,
}

impl From<DtypeChoice> for Dtype {
    fn from(choice: DtypeChoice) -> Self {
        match choice {
            DtypeChoice::F32 => Self::F32,
            DtypeChoice::F16 => Self::F16,
            DtypeChoice::Bf16 => Self::BF16,
        }
    }
}

pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::List(args) => list(&args),
        Command::Pull(args) => pull(&args),
        Command::Info(args) => info(&args),
        Command::Convert(args) => convert(&args),
        Command::Precision(args) => precision::run(&args),
        Command::Verify(args) => verify(&args),
    }
}

fn list(args: &ListArgs) -> Result<()> {
    let mut rows = Vec::new();
    if let Some(mini) = promptist::mini::embedded() {
        let bytes: usize = mini.files.iter().map(|(_, bytes)| bytes.len()).sum();
        rows.push((MINI.to_owned(), bytes as u64, "inside this program".to_owned()));
    }
    for model in hub::cached_models(&models::hub_config()?.cache)? {
        // A commit that no branch points to any more can still be named.
        let revision = match model.revisions.iter().any(|revision| revision == hub::DEFAULT_REVISION) {
            true => String::new(),
            false => format!("@{}", model.revisions.first().unwrap_or(&model.commit)),
        };
        rows.push((format!("{}{revision}", model.repo), model.bytes, model.folder.display().to_string()));
    }

    let mut out = io::stdout().lock();
    if args.json {
        for (model, bytes, place) in rows {
            writeln!(out, "{}", json!({"model": model, "bytes": bytes, "path": place}))?;
        }
        return Ok(());
    }
    let width = rows.iter().map(|(model, ..)| model.len()).max().unwrap_or(0);
    for (model, bytes, place) in rows {
        writeln!(out, "{model:width$}  {:>9}  {place}", size(bytes))?;
    }
    Ok(())
}

fn pull(args: &PullArgs) -> Result<()> {
    let folder = hub::pull(&models::hub_config()?, &args.id, &Bars::default())?;
    let mut out = io::stdout().lock();
    match args.json {
        true => writeln!(out, "{}", json!({"model": args.id.to_string(), "path": folder}))?,
        false => writeln!(out, "{}", folder.display())?,
    }
    Ok(())
}

fn info(args: &ModelArgs) -> Result<()> {
    let info = model_folder::info(&models::files(&args.model)?)?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&info)?)?;
        return Ok(());
    }
    print_info(&mut out, &info)?;
    Ok(())
}

fn print_info(out: &mut impl Write, info: &ModelInfo) -> io::Result<()> {
    let mut row = |name: &str, value: &dyn Display| writeln!(out, "{name:12}{value}");
    let config = &info.config;
    row("model", &info.name)?;
    row("path", &info.path.display())?;
    row("type", &config.model_type)?;
    row("parameters", &format_args!("{:.1} million", info.parameters as f64 / 1e6))?;
    row(
        "shape",
        &format_args!(
            "n_layer {}, n_embd {}, n_head {}, n_positions {}, vocab_size {}",
            config.n_layer, config.n_embd, config.n_head, config.n_positions, config.vocab_size
        ),
    )?;
    let dtypes: Vec<String> =
        info.dtypes.iter().map(|(dtype, count)| format!("{dtype} ({count} tensors)")).collect();
    row("dtype", &dtypes.join(", "))?;
    row("tokenizer", &format_args!("{}, {} entries", info.tokenizer.source, info.tokenizer.vocab_size))?;
    row("sha256", &info.sha256)?;
    for (name, bytes) in &info.files {
        row("file", &format_args!("{:>9}  {name}", size(*bytes)))?;
    }
    Ok(())
}

fn convert(args: &ConvertArgs) -> Result<()> {
    let settings =
        ConvertSettings { dtype: args.dtype.map(Dtype::from), max_shard_bytes: args.max_shard_size };
    let files = models::files(&args.model)?;
    model_folder::convert(&files, &args.out, &settings, &Bars::default())
        .with_context(|| format!("converting {}", files.name()))?;
    writeln!(io::stdout(), "{}", args.out.display())?;
    Ok(())
}

fn verify(args: &ModelArgs) -> Result<()> {
    let files = models::files(&args.model)?;
    let faults = model_folder::verify(&files, &Bars::default());
    let mut out = io::stdout().lock();
    if args.json {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        writeln!(out, "{}", json!({"model": files.name(), "ok": faults.is_empty(), "faults": faults}))?;
    } else {
        for fault in &faults {
            writeln!(out, "{fault}")?;
        }
    }
    match faults.len() {
        0 if args.json => Ok(()),
        0 => Ok(writeln!(out, "{}: ok", files.name())?),
        1 => bail!("{}: 1 fault", files.name()),
        count => bail!("{}: {count} faults", files.name()),
    }
}

fn parse_id(text: &str) -> Result<HubId> {
    HubId::parse(text).ok_or_else(|| anyhow!("expected owner/name or owner/name@revision"))
}

/// `500MB`, `2GB`, `1000000`: decimal units, as huggingface_hub has them.
fn parse_size(text: &str) -> Result<u64> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        unit => bail!("unknown unit `{unit}`: expected KB, MB or GB"),
    };
    let number: u64 = digits.trim().parse().context("expected a number and a unit, such as 500MB")?;
    match number.checked_mul(unit) {
        Some(0) | None => bail!("{text} is no size for a file"),
        Some(bytes) => Ok(bytes),
    }
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal_and_checked() {
        for (text, expected) in [("500MB", 500_000_000), ("2gb", 2_000_000_000), ("7", 7), ("1 KB", 1_000)] {
            assert_eq!(parse_size(text).unwrap(), expected);
        }
        for text in ["", "MB", "5TB", "-1MB", "0GB", "1.5GB", "99999999999GB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
