//! `promptist study`: flags to a config, then the study of `promptist-study`.

use std::io::{Write, stdout};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Subcommand, ValueEnum};
use promptist::atomic::write_atomic;
use promptist::config_file::ConfigFile;
use promptist_study::{Enrolment, Format, InputFile, Listener, ReportFormat, Study, StudyConfig};
use tokio::runtime::Runtime;

use crate::exit::UsageError;
use crate::signals;

/// Threads that speak HTTP and wait for the database.
const THREADS: usize = 2;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a study of rewrites and their images.
    #[command(after_help = "\
Examples:
  promptist study new --input rewrites.jsonl --out studies/first
  promptist study new --config configs/study.toml --out studies/first
  promptist study new --input runs/eval/rows.jsonl --out studies/first
  promptist study new --input sft=sft.jsonl --input ppo=ppo.jsonl --cache ~/.cache/promptist/images \\
    --user-input-as input --out studies/first

A line of the input is {\"id\"?, \"user_input\", \"system\", \"adapted_prompt\", \"images\": [PNG, JPEG or WebP
files, relative to the input file], \"seeds\"?}: two systems or more, the same inputs for each, the
same number and size of images. A line without images and with seeds, as `promptist score --json`
prints them, has its images looked up in --cache; NAME=FILE names the system of such lines.
The rows.jsonl of an evaluation with images is an input as it is: rows keep their names, so that the
study's report and the evaluation's speak of the same ones.

Raters see two systems' images of an input side by side, and are asked which they would rather have.
The study's folder has the images as pixels alone, and a SQLite database; answers go to PostgreSQL
instead where the config names one.")]
    New(NewArgs),
    /// Make links for raters.
    #[command(after_help = "\
Examples:
  promptist study invite studies/first --count 5
  promptist study invite studies/first --count 20 --url https://study.example.com

One link a rater: whoever has it answers as that rater, and goes on where they stopped.")]
    Invite(InviteArgs),
    /// Ask raters, until a signal comes.
    #[command(after_help = "\
Examples:
  promptist study serve studies/first
  promptist study serve studies/first --addr 0.0.0.0:7799

An answer is on the disk before it is acknowledged; a page whose answer was not acknowledged sends it
again until it is. The server can be stopped, killed and started again at any time. For raters
elsewhere put a proxy with TLS before it: links are keys.")]
    Serve(ServeArgs),
    /// Say who is preferred, how surely, and how well raters looked.
    #[command(after_help = "\
Examples:
  promptist study report studies/first
  promptist study report studies/first --html report.html
  promptist study report studies/first --json > report.json")]
    Report(ReportArgs),
    /// Write the answers for other programs.
    #[command(after_help = "\
Examples:
  promptist study export studies/first --format csv > answers.csv
  promptist study export studies/first --format dpo --output preferences.jsonl

dpo: a line for each question with a majority, {\"prompt\": \"USER INPUT Rephrase:\", \"chosen\", \"rejected\",
\"majority\", \"minority\", \"ties\", \"margin\", ...}: the explicit-prompt preference format that TRL's
DPOTrainer reads, and the texts that the prompter is trained on. Answers of raters that the study's
rules exclude are not in it.")]
    Export(ExportArgs),
    /// Print questions with prompts, images, seeds and answers.
    #[command(after_help = "\
Examples:
  promptist study show studies/first 12
  promptist study show studies/first coco:17:ppo
  promptist study show studies/first coco:17
  promptist study show studies/first input:17     (where 17 is a question too)")]
    Show(ShowArgs),
}

#[derive(clap::Args)]
struct NewArgs {
    /// What to ask, whom, and who counts: TOML, as configs/study.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Rewrites and images: JSONL; NAME=FILE names the system of lines that name none. May be given several times.
    #[arg(long, value_name = "[NAME=]FILE")]
    input: Vec<String>,
    /// The image cache of `promptist score`, for lines without images.
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,
    /// Also compare the user's input as it is, under this name; its images come from --cache.
    #[arg(long, value_name = "NAME")]
    user_input_as: Option<String>,
    /// Keep answers in this PostgreSQL database: postgres://USER@HOST/DATABASE; the password in PGPASSWORD or ~/.pgpass
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// The study's folder, made new.
    #[arg(long, value_name = "STUDY")]
    out: PathBuf,
}

#[derive(clap::Args)]
struct InviteArgs {
    /// The study's folder.
    study: PathBuf,
    /// How many raters.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
    /// Where raters reach the server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7799")]
    url: String,
}

#[derive(clap::Args)]
struct ServeArgs {
    /// The study's folder.
    study: PathBuf,
    /// Address and port to listen on; port 0 for any that is free. The URL is printed on stdout.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7799")]
    addr: SocketAddr,
}

#[derive(clap::Args)]
struct ReportArgs {
    /// The study's folder.
    study: PathBuf,
    /// One JSON object with every number.
    #[arg(long)]
    json: bool,
    /// Also write the report as a page.
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
}

#[derive(clap::Args)]
struct ExportArgs {
    /// The study's folder.
    study: PathBuf,
    /// What to write.
    #[arg(long, value_enum, default_value_t = FormatChoice::Csv)]
    format: FormatChoice,
    /// Write to a file, whole or not at all, instead of stdout.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatChoice {
    /// Every answer, a line each.
    Csv,
    /// Every answer, an object each.
    Jsonl,
    /// Preference pairs.
    Dpo,
}

#[derive(clap::Args)]
struct ShowArgs {
    /// The study's folder.
    study: PathBuf,
    /// A question's number, a row INPUT:SYSTEM, or an input's id.
    id: String,
}

pub fn run(args: Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .context("starting threads")?;
    match args.command {
        Command::New(args) => args.run(&runtime),
        Command::Invite(args) => args.run(&runtime),
        Command::Serve(args) => args.run(&runtime),
        Command::Report(args) => args.run(&runtime),
        Command::Export(args) => args.run(&runtime),
        Command::Show(args) => args.run(&runtime),
    }
}

impl NewArgs {
    fn run(self, runtime: &Runtime) -> Result<()> {
        if self.config.is_none() && self.input.is_empty() {
            return Err(
                UsageError("neither --input nor --config: there is nothing to compare".to_owned()).into()
            );
        }
        let out = self.out.clone();
        let config = self.config()?;
        let summary = runtime.block_on(promptist_study::create(&config, &out))?;
        eprintln!(
            "{}: {} systems ({}), {} inputs, {} questions, {} checks",
            out.display(),
            summary.systems.len(),
            summary.systems.join(", "),
            summary.inputs,
            summary.questions,
            summary.checks
        );
        if summary.dropped > 0 {
            eprintln!("{} inputs are left out: a system lacks them", summary.dropped);
        }
        if summary.the_same > 0 {
            eprintln!("{} pairs are not asked: both sides have the same images", summary.the_same);
        }
        match config.raters.enrolment {
            Enrolment::Invited => eprintln!("next: promptist study invite {} --count N", out.display()),
            Enrolment::Open => eprintln!("next: promptist study serve {}", out.display()),
        }
        Ok(())
    }

    /// Flags over the file.
    fn config(self) -> Result<StudyConfig> {
        let mut config = match &self.config {
            Some(path) => StudyConfig::read(path)?,
            None => StudyConfig::default(),
        };
        if !self.input.is_empty() {
            config.input = self.input.iter().map(|input| input_file(input)).collect();
        }
        config.cache = self.cache.or(config.cache);
        config.user_input_as = self.user_input_as.or(config.user_input_as);
        config.database = self.database.or(config.database);
        config.check()?;
        Ok(config)
    }
}

/// `NAME=FILE`, or a file; a file whose own name has a `=` is taken for one if it is there.
fn input_file(text: &str) -> InputFile {
    match text.split_once('=') {
        Some((system, file)) if !Path::new(text).exists() => {
            InputFile { file: PathBuf::from(file), system: Some(system.to_owned()) }
        }
        _ => InputFile { file: PathBuf::from(text), system: None },
    }
}

impl InviteArgs {
    fn run(self, runtime: &Runtime) -> Result<()> {
        let tokens = runtime.block_on(async {
            let study = Study::open(&self.study).await?;
            let tokens = study.invite(self.count as usize).await;
            study.close().await;
            tokens
        })?;
        let mut out = stdout().lock();
        for token in tokens {
            writeln!(out, "{}/?rater={token}", self.url.trim_end_matches('/'))?;
        }
        Ok(())
    }
}

impl ServeArgs {
    fn run(self, runtime: &Runtime) -> Result<()> {
        let listener = Listener::bind(self.addr).with_context(|| format!("listening on {}", self.addr))?;
        let study = runtime.block_on(Study::open(&self.study))?;
        let stop = signals::stop_flag()?;
        let mut out = stdout();
        writeln!(out, "http://{}", listener.local_addr().context("the address")?)
            .and_then(|()| out.flush())?;
        match study.config().raters.enrolment {
            Enrolment::Invited => eprintln!("raters need links: promptist study invite; Ctrl-C stops"),
            Enrolment::Open => eprintln!("whoever opens the page may rate; Ctrl-C stops"),
        }
        runtime.block_on(promptist_study::serve(study, listener, async {
            signals::raised(&stop).await;
            eprintln!("stopping: answers that are under way are kept first");
        }))?;
        Ok(())
    }
}

impl ReportArgs {
    fn run(self, runtime: &Runtime) -> Result<()> {
        let report = runtime.block_on(async {
            let study = Study::open(&self.study).await?;
            let report = promptist_study::report(&study).await;
            study.close().await;
            report
        })?;
        if let Some(path) = &self.html {
            let page = report.print(ReportFormat::Html);
            write_atomic(path, |file| file.write_all(page.as_bytes()))?;
        }
        let format = if self.json { ReportFormat::Json } else { ReportFormat::Text };
        stdout().write_all(report.print(format).as_bytes())?;
        Ok(())
    }
}

impl ExportArgs {
    fn run(self, runtime: &Runtime) -> Result<()> {
        let format = match self.format {
            FormatChoice::Csv => Format::Csv,
            FormatChoice::Jsonl => Format::Jsonl,
            FormatChoice::Dpo => Format::Dpo,
        };
        let text = runtime.block_on(async {
            let study = Study::open(&self.study).await?;
            let text = promptist_study::export(&study, format).await;
            study.close().await;
            text
        })?;
        match &self.output {
            Some(path) => write_atomic(path, |file| file.write_all(text.as_bytes()))?,
            None => stdout().write_all(text.as_bytes())?,
        }
        Ok(())
    }
}

impl ShowArgs {
    fn run(self, runtime: &Runtime) -> Result<()> {
        let text = runtime.block_on(async {
            let study = Study::open(&self.study).await?;
            let text = promptist_study::show(&study, &self.id).await;
            study.close().await;
            text
        })?;
        stdout().write_all(text.as_bytes())?;
        Ok(())
    }
}
