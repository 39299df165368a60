//! `promptist train report`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use promptist::atomic::write_atomic;
use promptist::train::report;

#[derive(clap::Args)]
pub struct Args {
    /// Run folders, first stage first.
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// The page; report.html in the last run if absent.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The loss or reward curve alone, as SVG.
    #[arg(long, value_name = "FILE")]
    curve: Option<PathBuf>,
}

pub fn run(args: Args) -> Result<()> {
    let runs: Vec<&Path> = args.runs.iter().map(PathBuf::as_path).collect();
    let report = report::render(&runs)?;
    let last = runs.last().copied().unwrap_or(Path::new("."));
    let output = args.output.unwrap_or_else(|| last.join("report.html"));
    write_atomic(&output, |file| file.write_all(report.html.as_bytes()))?;
    if let Some(curve) = args.curve {
        write_atomic(curve, |file| file.write_all(report.curve.as_bytes()))?;
    }
    println!("{}", output.display());
    Ok(())
}
