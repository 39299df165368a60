//! `promptist eval page`: the page of a run, drawn again.

use std::path::{Path, PathBuf};

use anyhow::Result;
use promptist::atomic::write_atomic;
use promptist::eval::page::render;
use promptist::eval::run::{self, Findings};

#[derive(clap::Args)]
#[command(after_help = "\
Example:
  promptist eval page runs/eval

Draws report.html from the run's report.json and rows.jsonl, as `promptist eval` does at its end: for a run
whose images lie elsewhere by now, or that an older program made.")]
pub struct Args {
    /// The run's folder.
    #[arg(value_name = "RUN")]
    run: PathBuf,
}

pub fn run(args: &Args) -> Result<()> {
    write(&args.run, &run::read(&args.run)?)
}

/// Writes `report.html`.
pub fn write(run: &Path, findings: &Findings) -> Result<()> {
    let images_root = findings.report.images.as_ref().map(|images| run.join(&images.root));
    let html = render(&findings.report, &findings.rows, images_root.as_deref())?;
    let path = run.join("report.html");
    write_atomic(&path, |file| file.write_all(html.as_bytes()))?;
    eprintln!("{}", path.display());
    Ok(())
}
