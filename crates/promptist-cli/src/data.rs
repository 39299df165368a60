//! `promptist data`: training pairs from engineered prompts.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Subcommand, ValueEnum};
use promptist::data::pairs::{self, LateContent, PairsConfig};
use promptist::data::plain_text::{self, PlainTextConfig};
use promptist::data::sources::Rephrase;
use promptist::template::Keep;
use promptist::tokenizer::Tokenizer;

use crate::exit::UsageError;
use crate::progress::Bars;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Supervised pairs: what a user might type, and the engineered prompt it should become.
    #[command(after_help = "\
Writes train.jsonl, validation.jsonl, test.jsonl ({\"x\", \"y\", \"kind\", \"source\"} a line) and report.json
to the folder --out, and prints the report. The same files, flags and seed give the same bytes.

Examples:
  promptist data pairs --targets prompts.jsonl --out data/pairs --seed 1
  promptist data pairs --targets a.jsonl b.txt --out data/pairs --artist-share 0.1 \\
      --exclude eval/lexica.txt eval/parti.txt
  OPENAI_API_KEY=... promptist data pairs --targets a.jsonl --out data/pairs \\
      --rephrase-url https://api.openai.com/v1 --rephrase-model gpt-4o-mini")]
    Pairs(PairsArgs),
    /// Plain text, a line each, for the language-model stage and for a tokenizer.
    #[command(after_help = "\
Normalises, drops junk, unsafe and degenerate lines, and writes each other line once. Lines of --exclude
files, and whatever nearly repeats them, are left out.

Example:
  promptist data text --inputs prompts.jsonl captions.txt --exclude eval.txt --out text.txt")]
    Text(TextArgs),
    /// A byte-level BPE tokenizer learned from text.
    #[command(after_help = "\
Example:
  promptist data tokenizer --text text.txt --vocab-size 8192 --out tokenizer")]
    Tokenizer(TokenizerArgs),
}

#[derive(clap::Args)]
struct TextArgs {
    /// .txt, a text a line, or .jsonl with the field `text`, or `y` for pairs.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    inputs: Vec<PathBuf>,
    /// Text to leave out, such as validation, test and evaluation sets. Same formats.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    exclude: Vec<PathBuf>,
    /// The .txt file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(clap::Args)]
struct TokenizerArgs {
    /// Text to learn from, a line each.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    text: Vec<PathBuf>,
    /// Entries of the vocabulary, the end token among them.
    #[arg(long, value_name = "V", default_value_t = 8192)]
    vocab_size: usize,
    /// The folder to write tokenizer.json to; made if it is missing.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(clap::Args)]
struct PairsArgs {
    /// Engineered prompts: .jsonl (see --field) or .txt, one a line.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    targets: Vec<PathBuf>,
    /// The folder to write to; made if it is missing.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Seed of the split and of every draw.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Prompts not to train on, such as evaluation sets: targets with the same or nearly the same main content go.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    exclude: Vec<PathBuf>,
    /// The field of a .jsonl line that holds the prompt.
    #[arg(long, default_value = "text")]
    field: String,
    /// Share of main contents for validation.
    #[arg(long, value_name = "P", default_value_t = 0.02)]
    validation_share: f64,
    /// Share of main contents for test.
    #[arg(long, value_name = "P", default_value_t = 0.02)]
    test_share: f64,
    /// Of the targets that credit artists, the share that keeps the credit.
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    artist_share: f64,
    /// Fewest modifiers of a target.
    #[arg(long, value_name = "N", default_value_t = 1)]
    min_modifiers: usize,
    /// Answers open with their source's words and add the modifiers it lacks, for a prompter that
    /// keeps the user's text; without it the answer is the whole target, as in the paper.
    #[arg(long)]
    keep_exact: bool,
    /// What becomes of content that stands behind modifiers.
    #[arg(long, value_enum, default_value_t = Late::Keep)]
    late_content: Late,
    /// An OpenAI-compatible API that rephrases, instead of rules; its key from OPENAI_API_KEY.
    #[arg(long, value_name = "URL", requires = "rephrase_model")]
    rephrase_url: Option<String>,
    /// The model that rephrases.
    #[arg(long, value_name = "NAME", requires = "rephrase_url")]
    rephrase_model: Option<String>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Late {
    /// As written; sources made from the main content lack it (the paper's data).
    Keep,
    /// Moved up behind the main content, in sources and targets.
    MoveUp,
    /// Left out.
    Drop,
}

pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Pairs(args) => run_pairs(args),
        Command::Text(args) => run_text(args),
        Command::Tokenizer(args) => run_tokenizer(args),
    }
}

fn run_text(args: TextArgs) -> Result<()> {
    let config = PlainTextConfig { inputs: args.inputs, exclude: args.exclude };
    let report = plain_text::make(&config, &args.out, &Bars::default())?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

fn run_tokenizer(args: TokenizerArgs) -> Result<()> {
    let mut lines = Vec::new();
    for path in &args.text {
        lines.extend(promptist::data::lines::read(path)?);
    }
    let json = Tokenizer::train(lines.iter().map(String::as_str), args.vocab_size)?;
    std::fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let path = args.out.join("tokenizer.json");
    promptist::atomic::write_atomic(&path, |file| file.write_all(json.as_bytes()))?;
    println!("{}", path.display());
    Ok(())
}

fn run_pairs(args: PairsArgs) -> Result<()> {
    let config = PairsConfig {
        targets: args.targets,
        exclude: args.exclude,
        field: args.field,
        seed: args.seed,
        validation_share: args.validation_share,
        test_share: args.test_share,
        artist_share: args.artist_share,
        min_modifiers: args.min_modifiers,
        keep: if args.keep_exact { Keep::Exact } else { Keep::Free },
        late_content: match args.late_content {
            Late::Keep => LateContent::Keep,
            Late::MoveUp => LateContent::MoveUp,
            Late::Drop => LateContent::Drop,
        },
    };
    config.validate().map_err(|error| UsageError(error.to_string()))?;
    let rephraser = match (&args.rephrase_url, &args.rephrase_model) {
        (Some(url), Some(model)) => Some(rephraser(url, model)?),
        _ => None,
    };
    let report = pairs::make(&config, &args.out, rephraser.as_deref(), &Bars::default())?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}

#[cfg(feature = "http")]
fn rephraser(url: &str, model: &str) -> Result<Box<dyn Rephrase>> {
    use promptist::data::rephrase_http::RephraseOverHttp;
    Ok(Box::new(RephraseOverHttp::new(url, model, std::env::var("OPENAI_API_KEY").ok())))
}

#[cfg(not(feature = "http"))]
fn rephraser(_url: &str, _model: &str) -> Result<Box<dyn Rephrase>> {
    Err(UsageError("--rephrase-url needs a build with the feature `http`".to_owned()).into())
}
