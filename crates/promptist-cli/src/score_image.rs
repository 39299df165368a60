//! `promptist score-image`: how well pictures fit a text, and how beautiful people would find them.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use anyhow::{Result, bail};
use burn::tensor::{DType, TensorCreationOptions};
use promptist::clip::aesthetic::AestheticHead;
use promptist::clip::{Clip, cosine, image_file};
use promptist::progress::Progress;
use serde::Serialize;
use serde_json::json;

use crate::exit::UsageError;
use crate::models::{self, DeviceChoice};
use crate::progress::Bars;
use crate::signals;

/// Pictures decoded and encoded together.
const BATCH: usize = 4;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  promptist score-image cat.png --text \"a cat\" --clip openai/clip-vit-large-patch14
  promptist score-image out/*.png --text \"a cat\" --clip ./clip-vit-large-patch14 \\
      --aesthetic sac+logos+ava1-l14-linearMSE.pth
  promptist score-image a.jpg b.webp --clip ./clip-vit-large-patch14 --aesthetic head.pth --json

clip_cosine is the cosine between picture and text: about 0.2 to 0.35 where they fit, 0.1 where they
have nothing to do with each other. Promptist's reward takes from 0.28 up as a full fit. A text of
more than 77 tokens is cut, and said so on stderr.

aesthetic is the head's score, about 1 to 10; 5 is ordinary. A head belongs to one CLIP model: the
paper's (sac+logos+ava1-l14-linearMSE.pth) to openai/clip-vit-large-patch14.

PNG, JPEG and WebP. With --json each picture gives one line: image, clip_cosine, aesthetic (null if
not asked for). A picture that cannot be read gives image and error, the others go on, and the exit
code is 1.")]
pub struct Args {
    /// Pictures to score.
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    /// What the pictures should show.
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// The CLIP model: a folder, or a Hub id such as openai/clip-vit-large-patch14
    #[arg(long, value_name = "MODEL")]
    clip: String,
    /// An aesthetic head for that model: .pth or .safetensors, linear or a chain of linear layers.
    #[arg(long, value_name = "FILE")]
    aesthetic: Option<PathBuf>,
    /// Where to compute.
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// One JSON object a line for each picture.
    #[arg(long)]
    json: bool,
}

/// A line of `--json`.
#[derive(Serialize)]
struct Row<'a> {
    image: &'a str,
    #[serde(flatten)]
    scores: &'a Scores,
}

/// What was asked for of one picture.
#[derive(Serialize)]
struct Scores {
    clip_cosine: Option<f32>,
    aesthetic: Option<f32>,
}

pub fn run(args: Args) -> Result<()> {
    if args.text.is_none() && args.aesthetic.is_none() {
        return Err(UsageError("give --text, --aesthetic or both".into()).into());
    }
    if args.text.as_ref().is_some_and(|text| text.trim().is_empty()) {
        return Err(promptist::Error::EmptyPrompt.into());
    }
    // The head first: it is small, and a wrong one should not wait for the model.
    let head = args.aesthetic.as_ref().map(AestheticHead::open).transpose()?;
    let options = TensorCreationOptions::new(args.device.device()).with_dtype(DType::F32);
    let clip = Clip::open(&models::files(&args.clip)?, &options)?;
    if let Some(head) = &head {
        head.check_width(clip.config().projection_dim)?;
    }
    let text = args.text.as_deref().map(|text| encode_text(&clip, text)).transpose()?;
    let stop = signals::stop_flag()?;

    let bars = Bars::default();
    if args.images.len() > BATCH {
        bars.begin("score", Some(args.images.len() as u64), "pictures");
    }
    let (mut done, mut failed) = (0, 0);
    for batch in args.images.chunks(BATCH) {
        for (path, scores) in batch.iter().zip(score(&clip, text.as_deref(), head.as_ref(), batch)) {
            let place = path.display().to_string();
            if let Err(error) = &scores {
                failed += 1;
                // Errors about a file say which; others do not.
                let error = error.to_string();
                eprintln!("{}", if error.contains(&place) { error } else { format!("{place}: {error}") });
            }
            let mut stdout = stdout().lock();
            match (&scores, args.json) {
                (Err(error), true) => {
                    writeln!(stdout, "{}", json!({"image": place, "error": error.to_string()}))?
                }
                (Err(_), false) => {}
                (Ok(scores), true) => {
                    writeln!(stdout, "{}", serde_json::to_string(&Row { image: &place, scores })?)?;
                }
                (Ok(scores), false) => writeln!(stdout, "{}", plain_line(&place, scores))?,
            }
        }
        bars.advance(batch.len() as u64, "");
        done += batch.len();
        if stop.load(Ordering::Relaxed) && done < args.images.len() {
            return Err(promptist::Error::Interrupted.into());
        }
    }
    bars.end();
    if failed > 0 {
        bail!("{failed} of {} pictures could not be scored", args.images.len());
    }
    Ok(())
}

fn encode_text(clip: &Clip, text: &str) -> Result<Vec<f32>> {
    let row = clip.tokenizer().encode(text)?;
    if row.num_tokens > row.ids.len() {
        eprintln!("the text has {} tokens: CLIP reads the first {}", row.num_tokens, row.ids.len());
    }
    Ok(clip.encode_texts(&[text])?.remove(0))
}

/// The scores of each picture; one that fails does not keep the others from theirs.
fn score(
    clip: &Clip,
    text: Option<&[f32]>,
    head: Option<&AestheticHead>,
    paths: &[PathBuf],
) -> Vec<promptist::Result<Scores>> {
    let of_feature = |feature: &[f32]| {
        Ok(Scores {
            clip_cosine: text.map(|text| cosine(text, feature)).transpose()?,
            aesthetic: head.map(|head| head.score(feature)).transpose()?,
        })
    };
    let mut pictures = Vec::with_capacity(paths.len());
    let read: Vec<promptist::Result<()>> =
        paths.iter().map(|path| image_file::read_rgb(path).map(|picture| pictures.push(picture))).collect();
    // A picture that the model fails on fails alone.
    let features: Vec<promptist::Result<Vec<f32>>> = match clip.encode_images(&pictures) {
        Ok(features) => features.into_iter().map(Ok).collect(),
        Err(_) => pictures.chunks(1).map(|one| Ok(clip.encode_images(one)?.remove(0))).collect(),
    };
    let mut features = features.into_iter();
    let scores = read.into_iter().map(|read| {
        read?;
        let feature = features.next().expect("a feature for each picture that was read")?;
        of_feature(&feature)
    });
    scores.collect()
}

/// `IMAGE`, then name and value of each score, between tabs.
fn plain_line(place: &str, scores: &Scores) -> String {
    let named = [("clip_cosine", scores.clip_cosine), ("aesthetic", scores.aesthetic)];
    let values = named.iter().filter_map(|(name, score)| Some(format!("\t{name} {:.4}", (*score)?)));
    values.fold(place.to_owned(), |line, value| line + &value)
}
