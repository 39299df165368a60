//! `promptist model precision`: how far the decoder's approximations are from f32, on a model's own
//! work.

use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::{Result, bail};
use promptist::atomic::write_atomic;
use promptist::data::lines;
use promptist::engine::Precision;
use promptist::engine::precision_report::{
    MAX_PERPLEXITY_CHANGE, MIN_CLEAR_TOP1, MIN_TOP1, PRECISION_REPORT, PrecisionReport,
};
use promptist::eval::precision::measure;
use promptist::model_source::ModelFiles;
use promptist::prompter::{Backend, Prompter};

use crate::models;
use crate::progress::Bars;
use crate::signals;

#[derive(clap::Args)]
pub struct Args {
    /// mini, a model folder, or a Hub id.
    #[arg(value_name = "MODEL")]
    model: String,
    /// Inputs to adapt: .txt with one a line, or .jsonl with the field user_input; several files.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    input: Vec<PathBuf>,
    /// The first inputs of each file only.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Where to write the report; precision.json in the model's folder if absent, where --precision
    /// auto looks for it.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let files = models::files(&args.model)?;
    let output = match (&args.output, &files) {
        (Some(output), _) => Some(output.clone()),
        (None, ModelFiles::Folder { path, .. }) => Some(path.join(PRECISION_REPORT)),
        (None, ModelFiles::Embedded(_)) => None,
    };
    let mut user_inputs = Vec::new();
    for path in &args.input {
        let inputs = lines::read_texts(path, "user_input")?;
        user_inputs.extend(inputs.into_iter().take(args.limit.unwrap_or(usize::MAX)));
    }
    if user_inputs.is_empty() {
        bail!("{}: no inputs", args.input[0].display());
    }
    let (isa, num_threads) = (models::isa()?, std::thread::available_parallelism().map_or(1, usize::from));
    let open =
        |precision| Prompter::open(&files, &Backend::Engine { precision: Some(precision), isa, num_threads });
    let reference = open(Precision::F32)?;
    let candidates = [Precision::Bf16, Precision::Int8]
        .map(|precision| open(precision).map(|prompter| (precision, prompter)));
    let candidates = candidates.into_iter().collect::<promptist::Result<Vec<_>>>()?;
    let stop = signals::stop_flag()?;
    let report = measure(&reference, &candidates, &user_inputs, &Bars::default(), &stop)?;

    if let Some(output) = output {
        let json = serde_json::to_vec_pretty(&report)?;
        write_atomic(&output, |file| {
            file.write_all(&json)?;
            file.write_all(b"\n")
        })?;
        eprintln!("{}", output.display());
    }
    let mut out = stdout().lock();
    match args.json {
        true => writeln!(out, "{}", serde_json::to_string(&report)?)?,
        false => write!(out, "{}", table(&report))?,
    }
    Ok(())
}

/// The report for people.
fn table(report: &PrecisionReport) -> String {
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let mut text = format!(
        "| against f32, {} texts | perplexity | same likeliest token | the same where it leads by 0.1 nat | same prompts | may be picked |\n\
         |---|---|---|---|---|---|\n",
        report.texts
    );
    for row in &report.precisions {
        let found = &row.agreement;
        text += &format!(
            "| {} | {:+.3} % | {} | {} | {} | {} |\n",
            row.precision,
            100.0 * found.perplexity_change(),
            percent(found.top1),
            percent(found.clear_top1),
            percent(row.same_prompts),
            if found.holds() { "yes" } else { "no" },
        );
    }
    text += &format!(
        "| asked | ±{} % | ≥ {} | ≥ {} | | |\n",
        100.0 * MAX_PERPLEXITY_CHANGE,
        percent(MIN_TOP1),
        percent(MIN_CLEAR_TOP1)
    );
    text
}
