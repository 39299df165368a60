//! What `adapt` is asked: its flags, and the request that they make.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{ArgAction, ValueEnum};
use promptist::constraints::Entry;
use promptist::decoding::{EarlyStopping, LengthNormalization, RawDecodingSettings};
use promptist::prompter::{AdaptRequest, AdaptSettings, Prompter};
use promptist::template::Keep;

use crate::exit::UsageError;

/// Everything about an answer but the model.
#[derive(clap::Args)]
pub struct RequestArgs {
    #[command(flatten)]
    search: SearchArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    content: ContentArgs,
    #[command(flatten)]
    rules: RuleArgs,
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
    /// One answer for each seed, as many images of one input want: 7,8,9 or 7..10, which are the same
    /// three; each is the answer that --seed gives alone.
    #[arg(long, value_name = "LIST", value_parser = Seeds::parse, conflicts_with = "seed")]
    seeds: Option<Seeds>,
    /// Sample row i with seed + i, so that equal inputs get different answers.
    #[arg(long, conflicts_with = "seeds")]
    vary_rows: bool,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Content")]
struct ContentArgs {
    /// exact: your text opens the answer, byte for byte; words: the same, but closing flags and tags
    /// stay behind what is added; free: the model writes all of it, unless your text has prompt syntax
    /// or words that --ban has
    /// [default: the model's choice, exact for mini]
    #[arg(long, value_enum, value_name = "HOW")]
    keep: Option<KeepChoice>,
    /// Push additions to fit the input: 1 not at all, 1.5 gently, 3 hard; doubles the work
    /// [default: the model's choice, else 1]
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    guidance: Option<f32>,
    /// How much to add: 0 nothing, 1 all; between, the first share of the phrases [default: 1]
    #[arg(long, value_name = "S")]
    strength: Option<f64>,
    /// Answers to an input are at least this far apart, 0 to 1: 1 less the share of the added words that
    /// two have in common. Fewer answers than asked for are said.
    #[arg(long, value_name = "D")]
    min_distance: Option<f64>,
    /// Say of each added phrase what it is, and what the score would be without it: a table, or `phrases`
    /// in the JSON.
    #[arg(long)]
    explain: bool,
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
    Words,
    Free,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Rules, kept by the search and checked on the answer")]
struct RuleArgs {
    /// What may not be added; may be given several times.
    #[arg(long, value_name = "ENTRY")]
    ban: Vec<String>,
    /// A file of bans, one a line; # begins a comment.
    #[arg(long, value_name = "FILE")]
    ban_file: Vec<PathBuf>,
    /// A phrase that must stand in the answer; may be given several times.
    #[arg(long, value_name = "PHRASE")]
    must_include: Vec<String>,
    /// A regex of pieces of your text that the model does not see and that are put back as they are.
    #[arg(long, value_name = "REGEX")]
    protect: Vec<String>,
    /// The image model whose tokens --budget counts: sd15, sdxl, sd3=FOLDER, flux=FOLDER,
    /// qwen-image=FOLDER, or the FOLDER of a diffusers pipeline or of a tokenizer.
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// Longest answer in the target's tokens, your text included [default: what the target reads, as 75
    /// for sd15, if there is a --target; with a budget alone, the target is sd15]
    #[arg(long, value_name = "N")]
    budget: Option<usize>,
}

/// A list of seeds.
#[derive(Debug, Clone)]
struct Seeds(Vec<u64>);

impl Seeds {
    /// `1,2,5..8` are 1, 2, 5, 6, 7.
    fn parse(text: &str) -> Result<Self, String> {
        const MOST: usize = 4096;
        let number = |text: &str| text.trim().parse::<u64>().map_err(|e| format!("`{text}`: {e}"));
        let mut seeds = Vec::new();
        for part in text.split(',') {
            match part.split_once("..") {
                None => seeds.push(number(part)?),
                Some((first, end)) => seeds.extend((number(first)?..number(end)?).take(MOST + 1)),
            }
            if seeds.len() > MOST {
                return Err(format!("more than {MOST} seeds"));
            }
        }
        match seeds.is_empty() {
            true => Err("no seed".to_owned()),
            false => Ok(Self(seeds)),
        }
    }
}

impl RequestArgs {
    /// The settings of these flags over the model's own.
    pub fn settings(&self, prompter: &Prompter) -> Result<AdaptSettings> {
        let request = self.request()?;
        prompter.settings(&request).map_err(|error| UsageError(error.to_string()).into())
    }

    fn request(&self) -> Result<AdaptRequest> {
        let (search, sampling, content, rules) = (&self.search, &self.sampling, &self.content, &self.rules);
        let usage = |error: promptist::Error| UsageError(error.to_string());
        let mut ban = Vec::new();
        for entry in &rules.ban {
            ban.push(Entry::parse(entry).map_err(usage)?);
        }
        for path in &rules.ban_file {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            ban.extend(Entry::parse_lines(&text, path)?);
        }
        Ok(AdaptRequest {
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
                KeepChoice::Words => Keep::Words,
                KeepChoice::Free => Keep::Free,
            }),
            guidance_scale: content.guidance,
            filter: content.filter,
            no_artists: content.no_artists,
            vary_rows: sampling.vary_rows,
            ban,
            must_include: rules.must_include.clone(),
            protect: rules.protect.clone(),
            target: rules.target.clone(),
            budget: rules.budget,
            min_distance: content.min_distance,
            seeds: sampling.seeds.clone().map(|Seeds(seeds)| seeds).unwrap_or_default(),
            strength: content.strength,
            explain: content.explain,
        })
    }
}
