//! `promptist`: parses the command line, sends it to the verb's file, prints errors once.
//!
//! stdout carries data only; progress, notes and errors go to stderr.

mod adapt;
mod categories;
mod data;
mod eval;
mod exit;
mod generate;
mod generators;
mod input;
mod model;
mod models;
mod precision;
mod progress;
mod replay;
mod score;
mod score_image;
mod serve;
mod signals;
mod study;
mod terms;
mod train;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Turns what people type into the prompts that text-to-image models answer best.
#[derive(Parser)]
#[command(name = "promptist", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Turn what you type into a prompt that image models answer best.
    Adapt(Box<adapt::Args>),
    /// Make recorded answers again, and say what differs.
    Replay(replay::Args),
    /// List the categories that --ban knows by name.
    Categories(categories::Args),
    /// Make training data.
    Data(data::Args),
    /// Train a prompter.
    Train(train::Args),
    /// Make images of a prompt.
    Generate(generate::Args),
    /// Score rewrites by their images: more beautiful, and still what was asked for?
    Score(score::Args),
    /// Score pictures: how well they fit a text, how beautiful they are.
    ScoreImage(score_image::Args),
    /// Measure how good a prompter is.
    Eval(eval::Args),
    /// Ask people whose images they would rather have: a blinded study.
    Study(study::Args),
    /// Answer prompts over HTTP: an API, a web page, and what other programs already speak.
    Serve(serve::Args),
    /// List, fetch, describe, convert and check models.
    Model(model::Args),
}

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("PROMPTIST_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .without_time()
        .init();
    let result = match Cli::parse().command {
        Command::Adapt(args) => adapt::run(*args),
        Command::Replay(args) => replay::run(args),
        Command::Categories(args) => categories::run(args),
        Command::Data(args) => data::run(args),
        Command::Train(args) => train::run(args),
        Command::Generate(args) => generate::run(args),
        Command::Score(args) => score::run(args),
        Command::ScoreImage(args) => score_image::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Study(args) => study::run(args),
        Command::Serve(args) => serve::run(&args),
        Command::Model(args) => model::run(args),
    };
    exit::report(result)
}
