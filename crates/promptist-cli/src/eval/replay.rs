//! `promptist eval replay`: a row of a run made again.

use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::{Result, bail};
use promptist::eval::replay::{Replayed, replay};
use promptist::eval::report::ModelRun;
use promptist::eval::rows::{EvalRow, RewriteImages};
use promptist::eval::run;
use promptist::prompter::Prompter;
use serde_json::json;

use crate::models::{self, ComputeArgs};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  promptist eval replay runs/eval coco300:7:mini
  promptist eval replay runs/eval coco300:7:mini --json

A row's id stands in report and rows.jsonl: set, place of the input, system. Prints the input, each rewrite
made again with the model, settings and seed of the run, and its images with their seeds. The exit code
is 1 if anything differs.")]
pub struct Args {
    /// The run's folder.
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// The row: set:index:system
    #[arg(value_name = "ROW_ID")]
    row_id: String,
    /// One JSON object: the row, and what differs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: ComputeArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let findings = run::read(&args.run)?;
    let row = findings.row(&args.row_id)?;
    let mut open_model = |run: &ModelRun| -> promptist::Result<Prompter> {
        let opened = models::files(&run.identity.name)
            .and_then(|files| Ok(Prompter::open(&files, &args.compute.backend_in(run.settings.precision)?)?));
        opened.map_err(|error| promptist::Error::config("model", format!("{error:#}")))
    };
    let replayed = replay(&findings.report, row, &mut open_model)?;
    let root = findings.report.images.as_ref().map(|images| match images.root.as_str() {
        "." => args.run.clone(),
        root => args.run.join(root),
    });
    let mut out = stdout().lock();
    if args.json {
        writeln!(out, "{}", json!({"row": row, "replayed": replayed, "images_root": root}))?;
    } else {
        print(&mut out, row, &replayed, root.as_deref())?;
    }
    let differing = replayed.iter().filter(|rewrite| !rewrite.differences.is_empty()).count();
    if differing > 0 {
        bail!("{differing} of {} rewrites differ", replayed.len());
    }
    Ok(())
}

fn print(
    out: &mut impl Write,
    row: &EvalRow,
    replayed: &[Replayed],
    root: Option<&std::path::Path>,
) -> Result<()> {
    writeln!(out, "{}\n  {}", row.row_id, row.user_input)?;
    if let Some(missing) = &row.missing {
        writeln!(out, "  no rewrite: {missing}")?;
    }
    for (rewrite, again) in row.rewrites.iter().zip(replayed) {
        let who = again.model.as_deref().unwrap_or(&row.system);
        writeln!(out, "\n{who}\n  {}", rewrite.adapted_prompt)?;
        match (again.made_again, again.differences.is_empty()) {
            (true, true) => writeln!(out, "  made again: the same")?,
            (false, _) => writeln!(out, "  as recorded: nothing here makes it")?,
            (true, false) => {
                for difference in &again.differences {
                    let (what, recorded, now) = (&difference.what, &difference.recorded, &difference.now);
                    writeln!(out, "  {what}: recorded {recorded}, now {now}")?;
                }
            }
        }
        if let (Some(images), Some(root)) = (&rewrite.images, root) {
            print_images(out, images, root)?;
        }
    }
    Ok(())
}

fn print_images(out: &mut impl Write, images: &RewriteImages, root: &std::path::Path) -> Result<()> {
    for (whose, paths) in [("input", &images.user_input), ("rewrite", &images.adapted)] {
        for (j, path) in paths.iter().enumerate() {
            let seed = images.seeds.as_ref().map_or("none".to_owned(), |seeds| seeds[j].to_string());
            writeln!(out, "  image of the {whose}, seed {seed}: {}", root.join(path).display())?;
        }
    }
    Ok(())
}
