//! What `promptist generate` is to make: flags and files looked at before anything is loaded or asked.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use promptist::Error;
use promptist::checksums::sha256_of;
use promptist::diffusion::noise::{GivenNoise, LATENTS, Noise};
use promptist::diffusion::scheduler::SchedulerKind;
use promptist::generator::ImageSettings;
use promptist::generator::spec::GeneratorSpec;
use promptist::weights::Weights;

use super::Args;
use crate::exit::UsageError;

/// What to make, checked: nothing in it can fail but the work itself.
pub struct Plan {
    pub prompt: String,
    pub settings: ImageSettings,
    pub starts: Starts,
    /// A file for each image.
    pub paths: Vec<PathBuf>,
}

/// What each image starts from.
pub enum Starts {
    Seeds(Vec<u64>),
    /// Noise for each, and the SHA-256 of the file that it was read from.
    Latents {
        rows: Vec<GivenNoise>,
        sha256: String,
    },
}

/// Everything that can be wrong with the flags and files, found before anything is loaded or asked.
pub fn plan(args: &Args, spec: &GeneratorSpec) -> Result<Plan> {
    if args.text.trim().is_empty() {
        return Err(Error::EmptyPrompt.into());
    }
    let settings = ImageSettings {
        negative_prompt: args.negative_prompt.clone(),
        width: args.width,
        height: args.height,
        num_inference_steps: args.num_inference_steps,
        guidance_scale: args.guidance_scale,
        scheduler: args.scheduler.clone(),
    };
    settings.check().map_err(usage)?;
    match spec {
        GeneratorSpec::BuiltIn(_) => {
            if let Some(scheduler) = &args.scheduler {
                scheduler.parse::<SchedulerKind>().map_err(usage)?;
            }
            for (flag, is_given) in
                [("--server-model", args.server_model.is_some()), ("--workflow", args.workflow.is_some())]
            {
                if is_given {
                    return Err(
                        UsageError(format!("{flag} is for servers, not for a folder or Hub id")).into()
                    );
                }
            }
        }
        GeneratorSpec::Servers(_) if args.latents.is_some() => {
            return Err(UsageError(
                "--latents needs a folder or Hub id: servers draw their own noise".into(),
            )
            .into());
        }
        GeneratorSpec::Servers(_) => {}
    }
    let latents = args.latents.as_deref().map(|path| read_latents(path, &settings)).transpose()?;
    let num_images = match (args.num_images_per_prompt.map(|n| n as usize), &latents) {
        (Some(wanted), Some(latents)) if wanted != latents.len() => {
            let path = args.latents.as_deref().unwrap_or(Path::new(""));
            bail!(
                "{}: tensor `latents` holds {} images, --num-images-per-prompt asks for {wanted}",
                path.display(),
                latents.len(),
            );
        }
        (Some(wanted), _) => wanted,
        (None, Some(latents)) => latents.len(),
        (None, None) => 1,
    };
    let starts = match (latents, &args.latents) {
        (Some(rows), Some(path)) => Starts::Latents { rows, sha256: sha256_of(path)? },
        _ => {
            let seeds: Option<Vec<u64>> = (0..num_images as u64).map(|j| args.seed.checked_add(j)).collect();
            let refuse = || UsageError(format!("--seed: {} and more leave 64 bits", args.seed));
            Starts::Seeds(seeds.ok_or_else(refuse)?)
        }
    };
    let paths = paths(&args.out, num_images)?;
    Ok(Plan { prompt: args.text.clone(), settings, starts, paths })
}

/// The noise of each image.
fn read_latents(path: &Path, settings: &ImageSettings) -> Result<Vec<GivenNoise>> {
    let weights = Weights::open_file(path)?;
    let [channels, height, width] = [4, settings.height / 8, settings.width / 8];
    let num_images = weights.shape(LATENTS).and_then(<[usize]>::first).copied().unwrap_or(1).max(1);
    let values = weights.get_f32(LATENTS, &[num_images, channels, height, width])?;
    if !values.iter().all(|value| value.is_finite()) {
        bail!("{}: tensor `{LATENTS}` is not finite", path.display());
    }
    let rows = values.chunks(channels * height * width);
    Ok(rows
        .map(|row| GivenNoise::new([1, channels, height, width], row.to_vec()))
        .collect::<Result<_, _>>()?)
}

/// A file for each image, in a folder that can be written to.
fn paths(out: &Path, num_images: usize) -> Result<Vec<PathBuf>> {
    let is_png = out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
    let Some(stem) = out.file_stem().filter(|_| is_png) else {
        return Err(
            UsageError(format!("--out: expected a name that ends in .png, found {}", out.display())).into()
        );
    };
    let paths: Vec<PathBuf> = match num_images {
        1 => vec![out.to_owned()],
        _ => {
            let name = |number| format!("{}-{number}.png", stem.to_string_lossy());
            (1..=num_images).map(|number| out.with_file_name(name(number))).collect()
        }
    };
    if let Some(folder) = paths.iter().find(|path| path.is_dir()) {
        bail!("{}: is a folder", folder.display());
    }
    // The way of every later write: a temporary file beside the first image.
    let probe = paths[0].with_file_name(format!(".{}.writable", stem.to_string_lossy()));
    promptist::atomic::write_atomic(&probe, |_| Ok(()))
        .with_context(|| format!("--out {}", out.display()))?;
    std::fs::remove_file(&probe).with_context(|| probe.display().to_string())?;
    Ok(paths)
}

impl Starts {
    pub fn seed(&self, index: usize) -> Option<u64> {
        match self {
            Self::Seeds(seeds) => Some(seeds[index]),
            Self::Latents { .. } => None,
        }
    }

    pub fn sha256(&self) -> Option<&str> {
        match self {
            Self::Seeds(_) => None,
            Self::Latents { sha256, .. } => Some(sha256),
        }
    }

    pub fn noise(&self, index: usize) -> Noise {
        match self {
            Self::Seeds(seeds) => Noise::Seeds(vec![seeds[index]]),
            Self::Latents { rows, .. } => Noise::Given(rows[index].clone()),
        }
    }
}

/// A setting that cannot be is a flag that cannot be.
pub fn usage(error: Error) -> anyhow::Error {
    UsageError(error.to_string()).into()
}
