//! `promptist adapt`: from what people type to what image models answer best.

use std::io::{IsTerminal, Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{ArgAction, ValueEnum};
use promptist::data::lines;
use promptist::decoding::{EarlyStopping, LengthNormalization, RawDecodingSettings};
use promptist::progress::Progress;
use promptist::prompter::{AdaptRequest, AdaptSettings, Adapted, Prompter};
use promptist::template::Keep;
use serde_json::{Value, json};

use crate::exit::UsageError;
use crate::input::read_lines;
use crate::models::ModelArgs;
use crate::progress::Bars;
use crate::signals;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  promptist adapt \"a rabbit is wearing a space suit\"
  promptist adapt \"a lighthouse at dusk\" --num-return-sequences 4
  promptist adapt \"a lighthouse at dusk\" --sample --seed 7 --no-artists
  promptist adapt --input prompts.txt --output adapted.jsonl --json
  echo \"a cat\" | promptist adapt --input -
  promptist adapt \"a cat\" --model microsoft/Promptist

A setting is the flag's, else the model's (generation_config.json), else the default named here.
With --json each input gives one line: user_input, outputs (text, score, token_ids, finish, and
filtered where a filter changed the text), model, settings, seed, version, elapsed_ms; an input
that cannot be adapted gives user_input and error, the others go on, and the exit code is 1.")]
pub struct Args {
    /// What you would type into the image model; several are several inputs.
    #[arg(value_name = "TEXT")]
    text: Vec<String>,
    /// Read inputs: a .txt with one a line, a .jsonl with one in a field of each, or - for stdin.
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    input: Option<PathBuf>,
    /// The field of a .jsonl that holds the input.
    #[arg(long, value_name = "NAME", default_value = "user_input")]
    field: String,
    /// Write the answers to a file, whole or not at all, instead of stdout.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// One JSON object a line for each input.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    search: SearchArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    content: ContentArgs,

    /// Inputs decoded together. Changes speed and memory, not the answers.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    batch_size: u32,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Search")]
struct SearchArgs {
    /// Hypotheses kept at each step; 1 is greedy [default: 8]
    #[arg(long, value_name = "K")]
    num_beams: Option<usize>,
    /// Answers for each input, best first [default: 1]
    #[arg(long, short = 'n', value_name = "N")]
    num_return_sequences: Option<usize>,
    /// Longest answer in tokens [default: 75]
    #[arg(long, value_name = "N")]
    max_new_tokens: Option<usize>,
    /// Score = log-probability / length^penalty: above 0 favours long answers [default: -1.0]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    length_penalty: Option<f64>,
    /// When beam search may stop: false, true or never [default: false]
    #[arg(long, value_name = "WHEN")]
    early_stopping: Option<EarlyStopping>,
    /// Which length that is; total counts the prompt too, as transformers 4.23.1 did
    /// [default: generated]
    #[arg(long, value_name = "WHICH")]
    length_normalization: Option<LengthNormalization>,
    /// Diverse beam search in this many groups; divides the number of beams [default: 1]
    #[arg(long, value_name = "G")]
    num_beam_groups: Option<usize>,
    /// What a group pays for a token that an earlier group chose at the same step
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    diversity_penalty: Option<f64>,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Sampling")]
struct SamplingArgs {
    /// Draw tokens instead of searching for the likeliest.
    #[arg(long)]
    sample: bool,
    /// Divides the logits before drawing [default: 1.0]
    #[arg(long, value_name = "T")]
    temperature: Option<f64>,
    /// Draw among this many likeliest tokens, 0 for all [default: 50]
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Draw among the likeliest tokens that together have this probability [default: 1.0]
    #[arg(long, value_name = "P")]
    top_p: Option<f64>,
    /// Draw among tokens at least this probable relative to the likeliest [default: 0.0]
    #[arg(long, value_name = "P")]
    min_p: Option<f64>,
    /// Seed of the draws: the same seed and input give the same answer [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Sample row i with seed + i, so that equal inputs get different answers.
    #[arg(long)]
    vary_rows: bool,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Content")]
struct ContentArgs {
    /// exact: your words open the answer, byte for byte; free: the model writes all of it
    /// [default: the model's choice, exact for mini]
    #[arg(long, value_enum, value_name = "HOW")]
    keep: Option<KeepChoice>,
    /// Push additions to fit the input: 1 not at all, 1.5 gently, 3 hard; doubles the work
    /// [default: the model's choice, else 1]
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    guidance: Option<f32>,
    /// Take out artists' names that the input does not have.
    #[arg(long)]
    no_artists: bool,
    /// Let outputs through as they are: unsafe words, repeated, cut and broken phrases too.
    #[arg(long = "no-filter", action = ArgAction::SetFalse)]
    filter: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum KeepChoice {
    Exact,
    Free,
}

/// An input, or why there is none.
struct Row {
    user_input: String,
    /// Where it stands, for errors.
    place: String,
}

pub fn run(args: Args) -> Result<()> {
    let rows = read_rows(&args)?;
    let prompter = args.model.open()?;
    let settings = settings(&args, &prompter)?;
    let stop = signals::stop_flag()?;

    let bars = Bars::default();
    let show_progress = rows.len() > 1;
    if show_progress {
        bars.begin("adapt", Some(rows.len() as u64), "prompts");
    }
    let mut out = Output::new(args.output.as_deref());
    let mut failed = 0;
    let mut first_row = 0;
    for batch in rows.chunks(args.batch_size as usize) {
        let inputs: Vec<String> = batch.iter().map(|row| row.user_input.clone()).collect();
        let answers = prompter.adapt(&inputs, &settings, first_row);
        for (row, answer) in batch.iter().zip(answers) {
            if let Err(error) = &answer {
                failed += 1;
                eprintln!("{}: {error}", row.place);
            }
            let text = match args.json {
                true => json_line(row, &answer, &prompter, &settings)?,
                false => plain_lines(row, &answer, rows.len(), out.is_terminal()),
            };
            out.write(&text)?;
        }
        if show_progress {
            bars.advance(batch.len() as u64, "");
        }
        first_row += batch.len() as u64;
        if stop.load(std::sync::atomic::Ordering::Relaxed) && (first_row as usize) < rows.len() {
            return Err(promptist::Error::Interrupted.into());
        }
    }
    bars.end();
    out.finish()?;
    if failed > 0 {
        bail!("{failed} of {} inputs could not be adapted", rows.len());
    }
    Ok(())
}

fn read_rows(args: &Args) -> Result<Vec<Row>> {
    let row = |place: String, user_input: String| Row { place, user_input };
    let Some(input) = &args.input else {
        if args.text.is_empty() {
            return Err(UsageError("give a TEXT or --input FILE; see promptist adapt --help".into()).into());
        }
        let rows = (1..).zip(&args.text).map(|(number, text)| row(format!("input {number}"), text.clone()));
        return Ok(rows.collect());
    };
    let is_stdin = input.as_os_str() == "-";
    let (name, lines) = read_lines(input)?;
    // stdin is JSON Lines if its first line is a JSON object.
    let is_jsonl = match name.extension().and_then(|extension| extension.to_str()) {
        Some("jsonl") => true,
        Some("txt") => false,
        _ if is_stdin => lines.first().is_some_and(|line| line.starts_with('{')),
        _ => bail!("{}: expected a .txt or a .jsonl file", name.display()),
    };
    let mut rows = Vec::with_capacity(lines.len());
    for (number, line) in (1..).zip(lines) {
        let user_input = match is_jsonl {
            true => lines::text_of(&name, number, &line, &args.field)?,
            false => line,
        };
        rows.push(row(format!("{}:{number}", name.display()), user_input));
    }
    Ok(rows)
}

fn settings(args: &Args, prompter: &Prompter) -> Result<AdaptSettings> {
    let (search, sampling, content) = (&args.search, &args.sampling, &args.content);
    let request = AdaptRequest {
        decoding: RawDecodingSettings {
            num_beams: search.num_beams,
            num_beam_groups: search.num_beam_groups,
            diversity_penalty: search.diversity_penalty,
            length_penalty: search.length_penalty,
            length_normalization: search.length_normalization,
            early_stopping: search.early_stopping,
            max_new_tokens: search.max_new_tokens,
            num_return_sequences: search.num_return_sequences,
            do_sample: sampling.sample.then_some(true),
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            seed: sampling.seed,
            ..RawDecodingSettings::default()
        },
        keep: content.keep.map(|keep| match keep {
            KeepChoice::Exact => Keep::Exact,
            KeepChoice::Free => Keep::Free,
        }),
        guidance_scale: content.guidance,
        filter: content.filter,
        no_artists: content.no_artists,
        vary_rows: sampling.vary_rows,
    };
    prompter.settings(&request).map_err(|error| UsageError(error.to_string()).into())
}

fn json_line(
    row: &Row,
    answer: &promptist::Result<Adapted>,
    prompter: &Prompter,
    settings: &AdaptSettings,
) -> Result<String> {
    let value: Value = match answer {
        Err(error) => json!({"user_input": row.user_input, "error": error.to_string()}),
        Ok(adapted) => json!({
            "user_input": adapted.user_input,
            "outputs": adapted.outputs,
            "model": prompter.identity(),
            "settings": settings,
            "seed": adapted.seed,
            "version": env!("CARGO_PKG_VERSION"),
            "elapsed_ms": adapted.elapsed_ms,
        }),
    };
    Ok(format!("{value}\n"))
}

/// A line an answer; on a terminal, with several inputs or answers, under what it answers.
fn plain_lines(row: &Row, answer: &promptist::Result<Adapted>, num_rows: usize, is_terminal: bool) -> String {
    // A line for a line: an input that failed leaves an empty one, so that files stay aligned.
    let Ok(adapted) = answer else { return "\n".into() };
    if !is_terminal {
        return adapted.outputs.iter().map(|output| format!("{}\n", one_line(&output.text))).collect();
    }
    let (dim, bold, reset) = ("\x1b[2m", "\x1b[1m", "\x1b[0m");
    let mut text = String::new();
    if num_rows > 1 {
        text += &format!("{dim}{}{reset}\n", row.user_input.trim());
    }
    let several = adapted.outputs.len() > 1;
    for output in &adapted.outputs {
        if several {
            text += &format!("{dim}{:>8.3}{reset}  ", output.score);
        }
        // The user's own words stand out from what was added.
        match output.text.strip_prefix(row.user_input.trim()) {
            Some(addition) => text += &format!("{bold}{}{reset}{addition}\n", row.user_input.trim()),
            None => text += &format!("{}\n", output.text),
        }
    }
    if num_rows > 1 {
        text.push('\n');
    }
    text
}

/// Answers are lines; a model may still write a line break.
fn one_line(text: &str) -> String {
    text.split(['\n', '\r']).collect::<Vec<_>>().join(" ")
}

/// stdout as the answers come, or a file written at the end.
struct Output<'a> {
    file: Option<(&'a Path, String)>,
}

impl<'a> Output<'a> {
    fn new(path: Option<&'a Path>) -> Self {
        Self { file: path.map(|path| (path, String::new())) }
    }

    fn is_terminal(&self) -> bool {
        self.file.is_none() && stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
    }

    fn write(&mut self, text: &str) -> Result<()> {
        match &mut self.file {
            Some((_, content)) => content.push_str(text),
            None => {
                let mut stdout = stdout().lock();
                stdout.write_all(text.as_bytes())?;
                stdout.flush()?;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<()> {
        if let Some((path, content)) = self.file {
            promptist::atomic::write_atomic(path, |file| file.write_all(content.as_bytes()))?;
        }
        Ok(())
    }
}
