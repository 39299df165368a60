//! `promptist replay`: makes recorded answers again, and says what differs.

use std::collections::BTreeMap;
use std::io::{Write, stdout};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use anyhow::{Result, bail};
use promptist::progress::Progress;
use promptist::prompter::{Difference, Prompter, Record};
use serde_json::json;

use crate::input::read_lines;
use crate::models::{self, ComputeArgs};
use crate::progress::Bars;
use crate::signals;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  promptist adapt --input prompts.txt --json --output answers.jsonl
  promptist replay answers.jsonl

Each line is made again with the model, precision, settings and seed that it records. A line that is
the same is counted; of the others it is said what differs: the program's version, the hashes of
model, tokenizer and settings, the text, the ids, the score. The exit code is 1 if any does.")]
pub struct Args {
    /// Lines of `adapt --json`; - for stdin.
    #[arg(value_name = "FILE")]
    input: PathBuf,
    /// Use this model instead of the recorded one: mini, a folder, or a Hub id.
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// One JSON object a line: line, same, differences.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: ComputeArgs,
}

pub fn run(args: Args) -> Result<()> {
    let (name, lines) = read_lines(&args.input)?;
    let stop = signals::stop_flag()?;
    let mut prompters: BTreeMap<(String, String), Prompter> = BTreeMap::new();
    let bars = Bars::default();
    bars.begin("replay", Some(lines.len() as u64), "answers");
    let (mut differing, mut failed) = (0, 0);
    let mut out = stdout().lock();
    for (number, line) in (1..).zip(&lines) {
        if stop.load(Ordering::Relaxed) {
            return Err(promptist::Error::Interrupted.into());
        }
        let place = format!("{}:{number}", name.display());
        match replay(line, &args, &mut prompters) {
            Err(error) => {
                failed += 1;
                eprintln!("{place}: {error:#}");
            }
            Ok(differences) => {
                differing += usize::from(!differences.is_empty());
                if args.json {
                    let same = differences.is_empty();
                    let line = json!({"line": number, "same": same, "differences": differences});
                    writeln!(out, "{line}")?;
                } else {
                    for Difference { what, recorded, now } in &differences {
                        writeln!(out, "{place}: {what}: recorded {recorded}, now {now}")?;
                    }
                }
            }
        }
        bars.advance(1, "");
    }
    bars.end();
    let same = lines.len() - differing - failed;
    if !args.json {
        writeln!(out, "{same} of {} answers are the same", lines.len())?;
    }
    if same < lines.len() {
        bail!("{differing} differ, {failed} could not be made again");
    }
    Ok(())
}

fn replay(
    line: &str,
    args: &Args,
    prompters: &mut BTreeMap<(String, String), Prompter>,
) -> Result<Vec<Difference>> {
    let record = Record::parse(line)?;
    let model = args.model.clone().unwrap_or_else(|| record.model.name.clone());
    let precision = record.settings.precision;
    let prompter = match prompters.entry((model.clone(), precision.to_string())) {
        std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
        std::collections::btree_map::Entry::Vacant(place) => {
            place.insert(Prompter::open(&models::files(&model)?, &args.compute.backend_in(precision)?)?)
        }
    };
    Ok(prompter.replay(&record)?)
}
