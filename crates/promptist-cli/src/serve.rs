//! `promptist serve`: flags to limits, then the server of `promptist-server` until a signal comes.

use std::io::{Write, stdout};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use burn::tensor::{DType, TensorCreationOptions};
use promptist::clip::Clip;
use promptist::clip::aesthetic::AestheticHead;
use promptist::config_file::ConfigFile;
use promptist::generator::ImageSettings;
use promptist::generator::http::HttpSettings;
use promptist::generator::spec::GeneratorSpec;
use promptist::reward::{TermConfig, WeightedSum};
use promptist_server::{Images, Listener, Painter, ServerConfig, Services, Token};
use serde::{Deserialize, Serialize};

use crate::exit::UsageError;
use crate::models::{self, DeviceChoice, ModelArgs};
use crate::terms::Opener;
use crate::{generators, signals};

/// Threads that speak HTTP. They wait most of the time; the decoder has its own.
const HTTP_THREADS: usize = 2;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  promptist serve
  promptist serve --port 8080 --model microsoft/Promptist --precision int8
  PROMPTIST_TOKEN=secret promptist serve --host 0.0.0.0
  promptist serve --cors-origin https://example.com
  promptist serve --generator models/stable-diffusion-v1-5
  promptist serve --generator a1111+http://localhost:7860
  promptist serve --reward reward.toml

  curl http://127.0.0.1:7788/v1/adapt -H 'Content-Type: application/json' \\
    -d '{\"user_input\": \"a lighthouse at dusk\", \"n\": 2, \"ban\": [\"@artists\"]}'

The web page is at /. POST /v1/adapt takes the settings of `promptist adapt --json` by name and answers
with its objects, or as a stream; /openapi.json describes every path. Programs that ask a language model
are served by URL alone: OpenAI's /v1/chat/completions and /v1/completions (base URL
http://127.0.0.1:7788/v1, any key, any model name), SD.Next's /sdapi/v1/prompt-enhance, mold's
/api/expand, and with --reward OpenRLHF's /get_reward.

All connections share one batch, which requests join and leave between two tokens; no answer depends on
that. What is more than --max-pending is refused at once (429, Retry-After); what a client no longer
waits for is dropped. /healthz and /readyz are for whoever watches, /metrics for Prometheus;
PROMPTIST_LOG=info logs a line a request. The first SIGINT or SIGTERM ends the server once all accepted
requests are answered, the second at once.

With a token, requests need `Authorization: Bearer TOKEN` everywhere but at /healthz and /readyz; a
browser cannot send it, so the page is then for those behind a proxy that adds it.")]
pub struct Args {
    /// Address to listen on; 0.0.0.0 for all of this machine's.
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port to listen on; 0 for any that is free. The URL is printed on stdout.
    #[arg(long, value_name = "PORT", default_value_t = 7788)]
    port: u16,
    /// A file with the token that clients have to bring; else PROMPTIST_TOKEN, else none is asked for.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// An origin whose pages may use this server from a browser; may be given several times.
    #[arg(long, value_name = "ORIGIN")]
    cors_origin: Vec<String>,
    /// Also serve a reward to trainers: a TOML file with [[reward]] tables, as configs/ppo.toml has them.
    #[arg(long, value_name = "FILE")]
    reward: Option<PathBuf>,

    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    images: ImageArgs,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Rows of the model's cache: a beam each, a sampled sequence each, twice as many under guidance.
    /// More is more memory and more throughput.
    #[arg(long, value_name = "N", default_value_t = ServerConfig::default().max_rows as u32,
          value_parser = clap::value_parser!(u32).range(1..=65536))]
    max_rows: u32,
    /// Inputs that are accepted and not answered; those beyond are refused with 429.
    #[arg(long, value_name = "N", default_value_t = ServerConfig::default().max_pending as u32,
          value_parser = clap::value_parser!(u32).range(1..=65536))]
    max_pending: u32,
    /// Seconds that a request may take; then it is cancelled with 504.
    #[arg(long, value_name = "SECONDS", default_value_t = ServerConfig::default().deadline.as_secs_f64())]
    deadline: f64,
    /// Largest body of a request in bytes; larger ones get 413.
    #[arg(long, value_name = "BYTES", default_value_t = ServerConfig::default().max_body_bytes)]
    max_body: usize,
    /// Connections that are open at once; others wait.
    #[arg(long, value_name = "N", default_value_t = ServerConfig::default().max_connections as u32,
          value_parser = clap::value_parser!(u32).range(1..=65536))]
    max_connections: u32,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Images of both prompts on the page")]
struct ImageArgs {
    /// Who draws: a folder, a Hub id, or kind+URL of a server, as for `promptist generate`.
    #[arg(long, short = 'g', value_name = "G")]
    generator: Option<String>,
    /// Denoising steps.
    #[arg(long, value_name = "N", requires = "generator", default_value_t = ImageSettings::default().num_inference_steps)]
    num_inference_steps: usize,
    /// How hard images are pushed towards the prompt: 1 is not at all.
    #[arg(long, value_name = "S", requires = "generator", default_value_t = ImageSettings::default().guidance_scale)]
    guidance_scale: f64,
    /// In pixels, a multiple of 8.
    #[arg(long, value_name = "PIXELS", requires = "generator", default_value_t = ImageSettings::default().height)]
    height: usize,
    /// In pixels, a multiple of 8.
    #[arg(long, value_name = "PIXELS", requires = "generator", default_value_t = ImageSettings::default().width)]
    width: usize,
    /// Score the images with this CLIP model: a folder or a Hub id.
    #[arg(long, value_name = "MODEL", requires_all = ["generator", "aesthetic"])]
    clip: Option<String>,
    /// And with this aesthetic head for it.
    #[arg(long, value_name = "FILE", requires = "clip")]
    aesthetic: Option<PathBuf>,
}

/// The file of `--reward`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RewardFile {
    reward: Vec<TermConfig>,
}

impl ConfigFile for RewardFile {
    fn check(&self) -> promptist::Result<()> {
        TermConfig::check_all(&self.reward, "reward")
    }
}

pub fn run(args: &Args) -> Result<()> {
    let config = args.config()?;
    let address = SocketAddr::new(args.host, args.port);
    // First what fails at once: a port that is taken need not wait for a model.
    let listener = Listener::bind(address).with_context(|| format!("listening on {address}"))?;
    let reward = args.reward.as_deref().map(|path| args.open_reward(path)).transpose()?;
    let images = args.images.open(args.model.compute().device())?;
    let prompter = Arc::new(args.model.open()?);

    // From here on the first signal stops the server; a second ends the process at once.
    let stop = signals::stop_flag()?;
    if config.token.is_none() && !args.host.is_loopback() {
        eprintln!(
            "warning: {} may be reached from outside, and no token is asked for: see --token-file",
            args.host
        );
    }
    let url = format!("http://{}", listener.local_addr().context("the address")?);
    let mut out = stdout();
    writeln!(out, "{url}").and_then(|()| out.flush())?;
    eprintln!("serving {} in {}; Ctrl-C stops", prompter.identity().name, prompter.precision());

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(HTTP_THREADS)
        .enable_all()
        .build()
        .context("starting the HTTP threads")?;
    let services = Services { prompter, reward, images };
    runtime.block_on(promptist_server::serve(services, config, listener, async {
        signals::raised(&stop).await;
        eprintln!("stopping: accepted requests are answered first");
    }))?;
    Ok(())
}

impl Args {
    fn config(&self) -> Result<ServerConfig> {
        let limits = &self.limits;
        let deadline = Duration::try_from_secs_f64(limits.deadline).ok().filter(|time| !time.is_zero());
        let Some(deadline) = deadline else {
            return Err(UsageError(format!("--deadline: {} is no time", limits.deadline)).into());
        };
        let cors_origins = self.cors_origin.iter().map(|origin| {
            let is_origin =
                origin.split_once("://").is_some_and(|(_, host)| !host.is_empty() && !host.contains('/'));
            let value = origin.parse().ok().filter(|_| is_origin);
            value.ok_or_else(|| {
                UsageError(format!("--cors-origin: `{origin}` is none, as https://example.com"))
            })
        });
        Ok(ServerConfig {
            max_rows: limits.max_rows as usize,
            max_pending: limits.max_pending as usize,
            max_body_bytes: limits.max_body,
            max_connections: limits.max_connections as usize,
            deadline,
            token: self.token()?,
            cors_origins: cors_origins.collect::<Result<_, _>>()?,
            ..ServerConfig::default()
        })
    }

    /// The token of the file or of the environment; there is no flag, for every user of a machine sees the
    /// flags of its processes.
    fn token(&self) -> Result<Option<Token>> {
        let text = match &self.token_file {
            Some(path) => std::fs::read_to_string(path).with_context(|| path.display().to_string())?,
            None => match std::env::var("PROMPTIST_TOKEN") {
                Ok(text) if !text.is_empty() => text,
                _ => return Ok(None),
            },
        };
        // An empty token would be a door left open by mistake.
        let token = Token::new(&text).ok_or_else(|| UsageError("the token is empty".to_owned()))?;
        Ok(Some(token))
    }

    fn open_reward(&self, path: &Path) -> Result<WeightedSum> {
        let RewardFile { reward } = RewardFile::read(path)?;
        let (device, num_threads) = (self.model.compute().device(), self.model.compute().num_threads());
        let sum = Opener::new(device, num_threads).open(&reward)?;
        sum.with_context(|| format!("{}: no [[reward]] table", path.display()))
    }
}

impl ImageArgs {
    /// What is small first, so that a wrong one does not wait for the models.
    fn open(&self, device: DeviceChoice) -> Result<Option<Images>> {
        let Some(generator) = &self.generator else { return Ok(None) };
        let usage = |error: promptist::Error| UsageError(error.to_string());
        let spec: GeneratorSpec = generator.parse().map_err(usage)?;
        let settings = ImageSettings {
            num_inference_steps: self.num_inference_steps,
            guidance_scale: self.guidance_scale,
            height: self.height,
            width: self.width,
            ..ImageSettings::default()
        };
        settings.check().map_err(usage)?;
        let head = self.aesthetic.as_ref().map(AestheticHead::open).transpose()?;
        let options = TensorCreationOptions::new(device.device()).with_dtype(DType::F32);
        let clip = self
            .clip
            .as_deref()
            .map(|clip| Ok::<_, anyhow::Error>(Clip::open(&models::files(clip)?, &options)?));
        let judges = clip.transpose()?.zip(head);
        if let Some((clip, head)) = &judges {
            head.check_width(clip.config().projection_dim)?;
        }
        let painter = match &spec {
            GeneratorSpec::BuiltIn(name) => Painter::BuiltIn(Box::new(generators::built_in(name, device)?)),
            GeneratorSpec::Servers(_) => {
                Painter::Servers(generators::open(&spec, &HttpSettings::default(), device)?)
            }
        };
        Ok(Some(Images { painter, settings, judges }))
    }
}
