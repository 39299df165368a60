//! `promptist generate`: images of a prompt, by our own Stable Diffusion or by image servers.

mod plan;

use std::collections::BTreeMap;
use std::io::{Write, stdout};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::Result;
use promptist::Error;
use promptist::diffusion::pipeline::Drawing;
use promptist::generator::built_in::BuiltIn;
use promptist::generator::http::HttpSettings;
use promptist::generator::png::{self, Provenance};
use promptist::generator::spec::GeneratorSpec;
use promptist::generator::{Cancel, Generator, ImageRequest, ImageSettings};
use promptist::progress::Progress;
use serde_json::{Value, json};

use self::plan::{Plan, plan, usage};
use crate::generators;
use crate::models::DeviceChoice;
use crate::progress::Bars;
use crate::signals;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  promptist generate \"a lighthouse at dusk\" -g models/stable-diffusion-v1-5 -o dusk.png
  promptist generate \"a lighthouse at dusk\" -g CompVis/stable-diffusion-v1-4 -o dusk.png -n 4
  promptist generate \"a cat\" -g models/sd -o cat.png --seed 7 --scheduler ddim --width 768
  promptist generate \"$(promptist adapt 'a cat')\" -g models/sd -o cat.png
  promptist generate \"a cat\" -g models/sd -o cat.png --latents noise.safetensors
  promptist generate \"a cat\" -g a1111+http://localhost:7860 -o cat.png
  promptist generate \"a cat\" -g comfy+http://gpu1:8188,comfy+http://gpu2:8188 -o cat.png -n 8

A generator is a folder of a diffusers pipeline (Stable Diffusion 1.x, 2.x), a Hub id, or
servers: a1111+URL (AUTOMATIC1111, Forge, SD.Next), comfy+URL (ComfyUI), openai+URL, sdcpp+URL
(stable-diffusion.cpp); several, separated by commas, share the work. The key of an openai+
server is read from OPENAI_API_KEY, and goes to no other kind.

With -n 4 --seed 7 -o dusk.png there are dusk-1.png to dusk-4.png, of seeds 7 to 10. An image
is written as soon as it is made, and Ctrl-C leaves those that are. Each file says how it was
made, in the text that AUTOMATIC1111 writes and readers of it know, and as JSON.
With --json each image gives one line: path, prompt, seed, settings, generator, version,
elapsed_ms.")]
pub struct Args {
    /// What to draw.
    #[arg(value_name = "TEXT")]
    text: String,
    /// Who draws: a folder, a Hub id, or kind+URL of a server.
    #[arg(long, short = 'g', value_name = "G")]
    generator: String,
    /// The image file; of several images, F.png becomes F-1.png, F-2.png, ...
    #[arg(long, short = 'o', value_name = "F.png")]
    out: PathBuf,
    /// One JSON object a line for each image.
    #[arg(long)]
    json: bool,

    /// What not to draw.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    negative_prompt: String,
    /// Seed of the first image; the one after it has the next.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// How many images [default: 1, or as many as --latents has]
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    num_images_per_prompt: Option<u32>,
    /// Denoising steps: more take longer and change less and less.
    #[arg(long, value_name = "N", default_value_t = ImageSettings::default().num_inference_steps)]
    num_inference_steps: usize,
    /// How hard the image is pushed towards the prompt: 1 is not at all.
    #[arg(long, value_name = "S", default_value_t = ImageSettings::default().guidance_scale)]
    guidance_scale: f64,
    /// In pixels, a multiple of 8.
    #[arg(long, value_name = "PIXELS", default_value_t = ImageSettings::default().height)]
    height: usize,
    /// In pixels, a multiple of 8.
    #[arg(long, value_name = "PIXELS", default_value_t = ImageSettings::default().width)]
    width: usize,
    /// dpm++, ddim or euler; of a server, what it calls its own [default: the generator's]
    #[arg(long, value_name = "S")]
    scheduler: Option<String>,
    /// Start from this noise: tensor `latents`, f32 [B, 4, height / 8, width / 8], unit normal.
    #[arg(long, value_name = "F.safetensors", conflicts_with = "seed")]
    latents: Option<PathBuf>,

    /// Where a folder's model computes.
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,

    /// The model that a server is to use [default: the one it has loaded]
    #[arg(long, value_name = "NAME", help_heading = "Servers")]
    server_model: Option<String>,
    /// A ComfyUI workflow in API format with placeholders, instead of the built-in one.
    #[arg(long, value_name = "F.json", help_heading = "Servers")]
    workflow: Option<PathBuf>,
}

/// An image that is on the disk.
struct Made {
    index: usize,
    provenance: Provenance,
    elapsed: Duration,
}

pub fn run(args: Args) -> Result<()> {
    let spec: GeneratorSpec = args.generator.parse().map_err(usage)?;
    let plan = plan(&args, &spec)?;
    // A signal before this ends the program at once: nothing is made yet, and a download is continued next time.
    let painter = Painter::open(&args, &spec)?;
    let stop = signals::stop_flag()?;
    painter.warn(&plan)?;

    let bar = RunBar::new(&painter, plan.paths.len());
    let mut printer = Printer { json: args.json, paths: &plan.paths, next: 0, waiting: BTreeMap::new() };
    let result = make_all(&plan, &painter, &bar, &stop, |made| {
        bar.image_is_made();
        bar.bars.aside(|| printer.print(made))
    });
    bar.bars.end();
    printer.print_rest()?;
    result
}

/// Makes every image and writes it as soon as it is there; `on_made` hears of each, in any order. After a
/// failure no further image is begun, and those that are under way are still written.
fn make_all(
    plan: &Plan,
    painter: &Painter,
    bar: &RunBar,
    stop: &Arc<AtomicBool>,
    mut on_made: impl FnMut(Made) -> Result<()>,
) -> Result<()> {
    let cancel = Cancel::following(Arc::clone(stop));
    let (next, has_failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let num_workers = painter.generator().parallelism().clamp(1, plan.paths.len());
    let (sender, receiver) = mpsc::channel();
    let worker = |sender: mpsc::Sender<promptist::Result<Made>>| {
        while !has_failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= plan.paths.len() {
                return;
            }
            let made = cancel.check().and_then(|()| make(plan, index, painter, bar, &cancel));
            if made.is_err() {
                has_failed.store(true, Ordering::Relaxed);
            }
            // Nobody listens once `on_made` has failed; the image is on the disk all the same.
            let _ = sender.send(made);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..num_workers {
            let sender = sender.clone();
            scope.spawn(|| worker(sender));
        }
        drop(sender);
        let mut result = Ok(());
        for made in receiver {
            let outcome = made.map_err(anyhow::Error::from).and_then(&mut on_made);
            if outcome.is_err() {
                has_failed.store(true, Ordering::Relaxed);
            }
            // The first failure is the cause; a signal may have made the others.
            result = result.and(outcome);
        }
        result
    })
}

/// Makes one image and writes it.
fn make(
    plan: &Plan,
    index: usize,
    painter: &Painter,
    bar: &RunBar,
    cancel: &Cancel,
) -> promptist::Result<Made> {
    let start = Instant::now();
    let (prompt, settings) = (plan.prompt.as_str(), &plan.settings);
    let images = match painter {
        Painter::BuiltIn(model) => {
            let noise = &plan.starts.noise(index);
            model.draw(Drawing { prompt, noise, settings }, bar, cancel)?
        }
        Painter::Servers(servers) => {
            let seed = plan.starts.seed(index);
            servers.generate(&ImageRequest { prompt, seeds: seed.as_slice(), settings }, cancel)?
        }
    };
    let identity = painter.generator().identity();
    let provenance = Provenance {
        prompt: prompt.to_owned(),
        seed: plan.starts.seed(index).filter(|_| identity.takes_seeds),
        latents_sha256: plan.starts.sha256().map(str::to_owned),
        settings: settings.clone(),
        generator: identity.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let path = &plan.paths[index];
    let [image] = &images[..] else {
        return Err(Error::file(path, format!("expected 1 image, the generator gave {}", images.len())));
    };
    png::write(path, image, &provenance)?;
    Ok(Made { index, provenance, elapsed: start.elapsed() })
}

/// Who makes the images. Our own model takes noise and tells its steps, beyond what every generator does.
enum Painter {
    BuiltIn(Box<BuiltIn>),
    Servers(Box<dyn Generator>),
}

impl Painter {
    fn open(args: &Args, spec: &GeneratorSpec) -> Result<Self> {
        if let GeneratorSpec::BuiltIn(name) = spec {
            return Ok(Self::BuiltIn(Box::new(generators::built_in(name, args.device)?)));
        }
        let settings = HttpSettings {
            model: args.server_model.clone(),
            workflow: args.workflow.clone(),
            ..HttpSettings::default()
        };
        generators::open(spec, &settings, args.device).map(Self::Servers)
    }

    fn generator(&self) -> &dyn Generator {
        match self {
            Self::BuiltIn(model) => model.as_ref(),
            Self::Servers(servers) => servers.as_ref(),
        }
    }

    /// Says what the images will not be, although it was asked for.
    fn warn(&self, plan: &Plan) -> Result<()> {
        let identity = self.generator().identity();
        if !identity.takes_seeds {
            eprintln!("{} takes no seeds: these images cannot be made again", identity.name);
        }
        let Self::BuiltIn(model) = self else { return Ok(()) };
        for (what, text) in
            [("the prompt", &plan.prompt), ("the negative prompt", &plan.settings.negative_prompt)]
        {
            let (num_tokens, limit) = model.num_tokens(text)?;
            if num_tokens > limit {
                eprintln!("{what} has {num_tokens} tokens: the model reads the first {limit}");
            }
        }
        Ok(())
    }
}

/// One bar for the whole run: of the steps of all images where each is told, else of images.
struct RunBar {
    bars: Bars,
    num_images: u64,
    num_made: AtomicU64,
    counts_steps: bool,
    has_begun: AtomicBool,
}

impl RunBar {
    fn new(painter: &Painter, num_images: usize) -> Self {
        let (bars, num_images) = (Bars::default(), num_images as u64);
        let counts_steps = matches!(painter, Painter::BuiltIn(_));
        if !counts_steps && num_images > 1 {
            bars.begin("generate", Some(num_images), "images");
        }
        Self {
            bars,
            num_images,
            num_made: AtomicU64::new(0),
            counts_steps,
            has_begun: AtomicBool::new(false),
        }
    }

    fn image_is_made(&self) {
        let num_made = self.num_made.fetch_add(1, Ordering::Relaxed) + 1;
        match self.counts_steps {
            true if self.num_images > 1 => {
                self.bars.advance(0, &format!("{num_made} of {} images", self.num_images));
            }
            true => {}
            false => self.bars.advance(1, ""),
        }
    }
}

/// What the model tells of one image.
impl Progress for RunBar {
    fn begin(&self, _stage: &str, total: Option<u64>, unit: &str) {
        if !self.has_begun.swap(true, Ordering::Relaxed) {
            self.bars.begin("generate", total.map(|steps| steps * self.num_images), unit);
        }
    }

    fn advance(&self, n: u64, note: &str) {
        self.bars.advance(n, note);
    }

    fn end(&self) {}
}

/// Prints images in their order, whichever is ready first.
struct Printer<'a> {
    json: bool,
    paths: &'a [PathBuf],
    next: usize,
    waiting: BTreeMap<usize, Made>,
}

impl Printer<'_> {
    fn print(&mut self, made: Made) -> Result<()> {
        self.waiting.insert(made.index, made);
        while let Some(made) = self.waiting.remove(&self.next) {
            self.print_one(&made)?;
            self.next += 1;
        }
        Ok(())
    }

    /// Those that wait for one that never came.
    fn print_rest(&mut self) -> Result<()> {
        for made in std::mem::take(&mut self.waiting).into_values() {
            self.print_one(&made)?;
        }
        Ok(())
    }

    fn print_one(&self, made: &Made) -> Result<()> {
        let path = self.paths[made.index].display().to_string();
        let mut stdout = stdout().lock();
        match self.json {
            true => writeln!(stdout, "{}", json_line(&path, made)?)?,
            false => writeln!(stdout, "{path}")?,
        }
        Ok(stdout.flush()?)
    }
}

/// What the file says of itself, with its path and how long it took.
fn json_line(path: &str, made: &Made) -> Result<Value> {
    let mut line = json!({"path": path});
    if let (Value::Object(line), Value::Object(provenance)) =
        (&mut line, serde_json::to_value(&made.provenance)?)
    {
        line.extend(provenance);
        line.insert("elapsed_ms".to_owned(), json!(made.elapsed.as_secs_f64() * 1e3));
    }
    Ok(line)
}
