//! `promptist score`: the reward of pairs of user input and adapted prompt, through images.

use std::collections::BTreeMap;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn::tensor::{DType, TensorCreationOptions};
use promptist::clip::Clip;
use promptist::clip::aesthetic::AestheticHead;
use promptist::config_file::ConfigFile;
use promptist::generator::Cancel;
use promptist::generator::spec::GeneratorSpec;
use promptist::reward::image::cache::ImageCache;
use promptist::reward::image::gallery;
use promptist::reward::{ImageReward, Pair, PairScore, RewardConfig, Summary};
use serde_json::{Value, json};

use crate::input::read_lines;
use crate::models::{self, DeviceChoice};
use crate::progress::Bars;
use crate::{generators, signals};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  promptist score --input pairs.jsonl --config configs/score.toml
  promptist score --input pairs.jsonl --config configs/score.toml --gallery gallery.html
  promptist adapt --input prompts.txt --json | promptist score --input - --config score.toml --json

A line of the input is an object with user_input and adapted_prompt, or a line of adapt --json.

The reward is the paper's: how much more beautiful the images of the adapted prompt are than those
of the input, by the aesthetic head, less a charge for each image whose CLIP cosine with the input
is below 0.28:
  mean over images of  A(y) - mean A(x) + min(20 * max(cos(x, y), 0) - 5.6, 0)
Image j of both prompts starts from the same noise. The config names generator, CLIP model and head.

Images and what the judges saw in them are kept (config: [cache]): an input's own images are made
once, the same line costs nothing the second time, and after Ctrl-C the same command goes on where
it stopped. A pair whose image failed has no score: it is counted, and the exit code is 1.

With --json each pair gives one line, in input order: user_input, adapted_prompt, score,
standard_error, relevance, aesthetic_gain, clip_cosine, aesthetic, aesthetic_baseline, seeds,
generator, cached; or user_input, adapted_prompt, error.")]
pub struct Args {
    /// Pairs: a .jsonl file, or - for stdin.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Who makes the images and who judges them: TOML, as configs/score.toml
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Write the rows to a file, whole or not at all, instead of stdout.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// One JSON object a line for each pair.
    #[arg(long)]
    json: bool,
    /// Also write a page with the images of every pair and their numbers.
    #[arg(long, value_name = "FILE.html")]
    gallery: Option<PathBuf>,
    /// Where CLIP, and the generator if it is a folder's model, compute.
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
}

/// A line of the input: a pair, or why it is none.
type Row = std::result::Result<Pair, (Value, String)>;

pub fn run(args: Args) -> Result<()> {
    let config = read_config(&args.config)?;
    let rows = read_rows(&args.input)?;
    let stop = signals::stop_flag()?;
    let reward = open(&config, args.device)?;
    let identity = reward.generator().identity();
    if !identity.takes_seeds {
        eprintln!("{} takes no seeds: images of a pair do not share their noise", identity.name);
    }

    // The pairs that can be scored, and where each stands in the input.
    let places: Vec<usize> = (0..rows.len()).filter(|&place| rows[place].is_ok()).collect();
    let pairs: Vec<Pair> = rows.iter().flatten().cloned().collect();
    let mut scores: Vec<Option<Outcome>> = vec![None; pairs.len()];
    let mut writer = RowWriter::new(&args, &rows);
    writer.advance()?;
    let summary = reward.score(&pairs, &Bars::default(), &Cancel::following(stop), |pair_idx, score| {
        if let Err(reason) = &score {
            eprintln!("{}:{}: {reason}", args.input.display(), places[pair_idx] + 1);
        }
        scores[pair_idx] = Some(score.clone());
        writer.put(places[pair_idx], score).map_err(|error| promptist::Error::Io {
            path: writer.path(),
            source: std::io::Error::other(error),
        })
    })?;
    writer.finish()?;
    if let Some(path) = &args.gallery {
        let scores: Vec<Outcome> = scores.into_iter().flatten().collect();
        let page = gallery::page(&reward, &pairs, &scores, &summary)?;
        promptist::atomic::write_atomic(path, |file| file.write_all(page.as_bytes()))?;
    }
    report(&summary, &config)?;
    let failed = rows.len() - summary.scored;
    if failed > 0 {
        bail!("{failed} of {} pairs have no score", rows.len());
    }
    Ok(())
}

type Outcome = std::result::Result<PairScore, String>;

/// The file `--config` or another config names; its head may lie in `PROMPTIST_DATA`.
pub fn read_config(path: &Path) -> Result<RewardConfig> {
    let config = RewardConfig::read(path)?;
    Ok(match models::data_folder() {
        Some(folder) => config.with_data_folder(&folder),
        None => config,
    })
}

/// Generator, judges and cache, as the config says. What is small is opened first, so that its mistakes do
/// not wait for what is large.
pub fn open(config: &RewardConfig, device: DeviceChoice) -> Result<ImageReward> {
    let spec: GeneratorSpec = config.generator.parse()?;
    let aesthetic = AestheticHead::open(&config.aesthetic)?;
    let folder = match &config.cache.folder {
        Some(folder) => folder.clone(),
        None => default_cache()?,
    };
    let cache = ImageCache::open(folder, config.cache.max_bytes())?;
    let options = TensorCreationOptions::new(device.device()).with_dtype(DType::F32);
    let clip = |model: &str| -> Result<Clip> { Ok(Clip::open(&models::files(model)?, &options)?) };
    let judges = (clip(&config.clip)?, aesthetic);
    let pick_score = config.pick_score.as_deref().map(clip).transpose()?;
    let generator = generators::open(&spec, &config.servers, device)?;
    let mut images = config.images.clone();
    if images.scheduler.is_none() && matches!(spec, GeneratorSpec::BuiltIn(_)) {
        // The released code's sampler, whatever the folder's file says.
        images.scheduler = Some("dpm++".to_owned());
    }
    let seeds = config.seed..config.seed + config.images_per_prompt as u64;
    Ok(ImageReward::new(generator, images, seeds, judges, pick_score, cache)?)
}

/// `promptist/images` in the user's cache folder.
fn default_cache() -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(std::env::home_dir()?.join(".cache")));
    let cache = cache.context("no home folder for the image cache: set cache.folder in the config")?;
    Ok(cache.join("promptist").join("images"))
}

fn read_rows(input: &Path) -> Result<Vec<Row>> {
    let (name, lines) = read_lines(input)?;
    let rows: Vec<Row> = (1..)
        .zip(&lines)
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(number, line)| {
            let wrong = |reason: &str| promptist::Error::line(&name, number, reason);
            let value: Value = serde_json::from_str(line).map_err(|error| wrong(&error.to_string()))?;
            row(value)
                .ok_or_else(|| wrong("expected user_input and adapted_prompt, or a line of adapt --json"))
        })
        .collect::<promptist::Result<_>>()?;
    if rows.is_empty() {
        bail!("{}: holds no pair", name.display());
    }
    Ok(rows)
}

/// The pair in a line; none if it is no such line.
fn row(value: Value) -> Option<Row> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let user_input = text(&value["user_input"])?;
    if let Some(error) = text(&value["error"]) {
        return Some(Err((value, error)));
    }
    let adapted_prompt = text(&value["adapted_prompt"]).or_else(|| text(&value["outputs"][0]["text"]))?;
    if user_input.trim().is_empty() {
        return Some(Err((value, promptist::Error::EmptyPrompt.to_string())));
    }
    Some(Ok(Pair { user_input, adapted_prompt }))
}

/// Writes rows in the order of the input, each as soon as those before it are there.
struct RowWriter<'a> {
    args: &'a Args,
    rows: &'a [Row],
    next: usize,
    waiting: BTreeMap<usize, Outcome>,
    /// What goes to `--output` at the end.
    file: String,
}

impl<'a> RowWriter<'a> {
    fn new(args: &'a Args, rows: &'a [Row]) -> Self {
        Self { args, rows, next: 0, waiting: BTreeMap::new(), file: String::new() }
    }

    fn path(&self) -> PathBuf {
        self.args.output.clone().unwrap_or_else(|| PathBuf::from("<stdout>"))
    }

    fn put(&mut self, place: usize, outcome: Outcome) -> Result<()> {
        self.waiting.insert(place, outcome);
        self.advance()
    }

    /// Writes what is due: up to the first pair that is not done.
    fn advance(&mut self) -> Result<()> {
        while let Some(row) = self.rows.get(self.next) {
            let line = match row {
                Err((value, reason)) => {
                    let user_input = &value["user_input"];
                    self.line(&json!({"user_input": user_input, "error": reason}), String::new)
                }
                Ok(pair) => {
                    let Some(outcome) = self.waiting.remove(&self.next) else { return Ok(()) };
                    let mut value = serde_json::to_value(pair)?;
                    let more = match &outcome {
                        Ok(score) => serde_json::to_value(score)?,
                        Err(reason) => json!({"error": reason}),
                    };
                    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
                        value.extend(more);
                    }
                    self.line(&value, || plain_line(pair, &outcome))
                }
            };
            match &self.args.output {
                Some(_) => self.file += &line,
                None => {
                    let mut stdout = stdout().lock();
                    stdout.write_all(line.as_bytes())?;
                    stdout.flush()?;
                }
            }
            self.next += 1;
        }
        Ok(())
    }

    fn line(&self, value: &Value, plain: impl FnOnce() -> String) -> String {
        if self.args.json { format!("{value}\n") } else { plain() + "\n" }
    }

    fn finish(self) -> Result<()> {
        if let Some(path) = &self.args.output {
            promptist::atomic::write_atomic(path, |file| file.write_all(self.file.as_bytes()))?;
        }
        Ok(())
    }
}

/// Empty for a pair without a score, so that lines stay aligned with the input.
fn plain_line(pair: &Pair, outcome: &Outcome) -> String {
    let Ok(PairScore { score, .. }) = outcome else { return String::new() };
    let error = score.standard_error.map_or(String::new(), |error| format!(" ± {error:.3}"));
    let adapted = pair.adapted_prompt.split_whitespace().collect::<Vec<_>>().join(" ");
    format!(
        "{:+.3}{error}  gain {:+.3}  relevance {:+.3}  {adapted}",
        score.score, score.aesthetic_gain, score.relevance
    )
}

fn report(summary: &Summary, config: &RewardConfig) -> Result<()> {
    let Summary { scored, failed, images_made, images_cached, .. } = summary;
    if let Some(mean) = summary.mean_score {
        let error = summary.standard_error.map_or(String::new(), |error| format!(" ± {error:.3}"));
        eprint!("mean reward {mean:+.3}{error} over {scored} pairs; ");
    }
    eprintln!(
        "{failed} failed; {images_made} images made, {images_cached} were there ({} each)",
        config.images_per_prompt
    );
    Ok(())
}
