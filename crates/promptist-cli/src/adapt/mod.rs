//! `promptist adapt`: from what people type to what image models answer best.

mod request;
mod show;

use std::path::PathBuf;

use anyhow::{Result, bail};
use promptist::data::lines;
use promptist::progress::Progress;

use self::request::RequestArgs;
use self::show::Output;
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
  promptist adapt \"a (red:1.2) cat <lora:ink:0.8> --ar 16:9\" --keep words
  promptist adapt \"my character\" --ban @clothing --ban \"greg rutkowski\" --must-include \"soft light\"
  promptist adapt \"a lighthouse\" --target sdxl --budget 75
  promptist adapt \"a lighthouse\" -n 4 --min-distance 0.6 --explain
  promptist adapt \"a lighthouse\" --seeds 7,8,9,10

A setting is the flag's, else the model's (generation_config.json), else the default named here.
With --json each input gives one line: user_input, outputs (text, score, token_ids, finish; filtered
where a filter changed the text; rules where some were asked for), model, settings, seed, receipt,
version, elapsed_ms; an input that cannot be adapted gives user_input and error, the others go on,
and the exit code is 1. `promptist replay` makes such lines again and says what differs.

Prompt syntax (weights, LoRA and other tags, wildcards, BREAK, prompt editing, flags, quotations,
numbers) is kept from the model and stands in the answer byte for byte.

A ban is a phrase (whole words, any case, plurals too), a \"quoted phrase\" (as it is), a word with *
at an end, a /regex/, or an @category; `promptist categories` lists those. Bans are about what is
added: your own words stay.")]
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
    /// Inputs decoded together. Changes speed and memory, not the answers.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    batch_size: u32,

    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    request: RequestArgs,
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
    let settings = args.request.settings(&prompter)?;
    show::style_note(&settings);
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
            match &answer {
                Err(error) => {
                    failed += 1;
                    eprintln!("{}: {error}", row.place);
                }
                Ok(adapted) => show::notes(&row.place, adapted, &settings),
            }
            let text = match args.json {
                true => show::json_line(row, answer, &prompter, &settings)?,
                false => show::plain_lines(row, &answer, rows.len(), out.is_terminal()),
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
