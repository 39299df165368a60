//! The image reward as an evaluation uses it: scores with the images that they are of.

use std::fs;
use std::path::{Path, PathBuf};

use super::report::{ImagesReport, JudgeIdentity};
use super::rows::RewriteImages;
use crate::error::{Error, Result};
use crate::generator::Cancel;
use crate::progress::NoProgress;
use crate::reward::{ImageReward, Pair, PairScore, RewardConfig};

/// An opened image reward.
pub struct EvalImages<'a> {
    reward: &'a ImageReward,
    config: &'a RewardConfig,
    /// Where the run keeps its images; if nowhere, rows point into the cache.
    kept_in: Option<PathBuf>,
}

impl<'a> EvalImages<'a> {
    /// The reward that `config` describes. With `keep`, the images are kept in the run's folder too.
    pub fn new(reward: &'a ImageReward, config: &'a RewardConfig, run: &Path, keep: bool) -> Self {
        Self { reward, config, kept_in: keep.then(|| run.to_owned()) }
    }

    /// Whether PickScore judges.
    pub fn has_pick_score(&self) -> bool {
        self.reward.has_pick_score()
    }

    /// P.
    pub fn images_per_prompt(&self) -> usize {
        self.reward.seeds().len()
    }

    /// Images of `prompts` that are still to be made.
    pub fn missing<'p>(&self, prompts: impl Iterator<Item = &'p str>) -> usize {
        let paths = prompts.flat_map(|prompt| self.reward.image_paths(prompt));
        let paths: std::collections::HashSet<PathBuf> = paths.collect();
        paths.iter().filter(|path| !path.is_file()).count()
    }

    /// What the report says of them.
    pub fn report(&self) -> ImagesReport {
        let identity = self.reward.generator().identity();
        let (clip, aesthetic, pick_score) = self.reward.judges();
        let judge =
            |name: &str, sha256: &str| JudgeIdentity { name: name.to_owned(), sha256: sha256.to_owned() };
        let pick_score_name = self.config.pick_score.as_deref().unwrap_or_default();
        ImagesReport {
            root: match self.kept_in {
                Some(_) => ".".to_owned(),
                // Whoever reads the report may stand elsewhere.
                None => {
                    let folder = self.reward.cache_folder();
                    std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()).display().to_string()
                }
            },
            generator: identity.name.clone(),
            generator_model: identity.model.clone(),
            takes_seeds: identity.takes_seeds,
            seeds: self.reward.seeds().to_vec(),
            settings: self.reward.image_settings().clone(),
            clip: judge(&self.config.clip, clip),
            aesthetic: judge(&self.config.aesthetic.display().to_string(), aesthetic),
            pick_score: pick_score.map(|sha256| judge(pick_score_name, sha256)),
        }
    }

    /// Scores pairs, in their order; a pair whose image failed has the reason.
    ///
    /// # Errors
    /// As [`ImageReward::score`]; [`Error::Io`] if an image cannot be kept.
    pub fn score(&self, pairs: &[Pair], cancel: &Cancel) -> Result<Vec<Result<RewriteImages, String>>> {
        let mut scores = vec![Err("was not scored".to_owned()); pairs.len()];
        self.reward.score(pairs, &NoProgress, cancel, |pair, score| {
            scores[pair] = score;
            Ok(())
        })?;
        let with_images = |(pair, score): (&Pair, Result<PairScore, String>)| match score {
            Ok(score) => self.with_images(pair, score).map(Ok),
            Err(reason) => Ok(Err(reason)),
        };
        pairs.iter().zip(scores).map(with_images).collect()
    }

    fn with_images(&self, pair: &Pair, score: PairScore) -> Result<RewriteImages> {
        let [user_input, adapted] = ImageReward::prompts_of(pair).map(|prompt| self.keep(prompt));
        Ok(RewriteImages {
            seeds: score.seeds,
            adapted: adapted?,
            user_input: user_input?,
            clip_cosine: score.clip_cosine,
            aesthetic: score.aesthetic,
            aesthetic_baseline: score.aesthetic_baseline,
            pick_score: score.pick_score,
            pick_score_baseline: score.pick_score_baseline,
        })
    }

    /// The paths of a prompt's images under the report's root, the images put there if need be.
    fn keep(&self, prompt: &str) -> Result<Vec<String>> {
        let cache = self.reward.cache_folder();
        let paths = self.reward.image_paths(prompt);
        let kept = paths.iter().map(|path| {
            let inside = path.strip_prefix(cache).unwrap_or(path);
            if let Some(run) = &self.kept_in {
                link(path, &run.join(inside))?;
            }
            Ok(inside
                .components()
                .map(|part| part.as_os_str().to_string_lossy())
                .collect::<Vec<_>>()
                .join("/"))
        });
        kept.collect()
    }
}

/// Puts a file in a second place: as a link, or where the file system has none, as a copy.
fn link(from: &Path, to: &Path) -> Result<()> {
    if to.is_file() {
        return Ok(());
    }
    let make = || {
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(|_| ()))
    };
    match make() {
        // The cache keeps features longer than images.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %from.display(), "the image is no longer in the cache: its scores are, and count");
            Ok(())
        }
        made => made.map_err(Error::io(to)),
    }
}

impl RewriteImages {
    /// The reward and its parts by their measures' keys.
    ///
    /// # Errors
    /// As [`Score::of`](crate::reward::Score::of).
    pub fn values(&self) -> Result<Vec<(&'static str, f64)>> {
        use crate::reward::{ImageScores, Noise, Score};
        let mean = |values: &[f32]| values.iter().copied().map(f64::from).sum::<f64>() / values.len() as f64;
        let score = Score::of(ImageScores {
            clip_cosine: &self.clip_cosine,
            aesthetic: &self.aesthetic,
            aesthetic_baseline: &self.aesthetic_baseline,
            noise: if self.seeds.is_some() { Noise::Paired } else { Noise::Independent },
        })?;
        let mut values = vec![
            ("image_reward", f64::from(score.score)),
            ("aesthetic_gain", f64::from(score.aesthetic_gain)),
            ("relevance", f64::from(score.relevance)),
            ("aesthetic", mean(&self.aesthetic)),
            ("clip_cosine", mean(&self.clip_cosine)),
        ];
        if let (Some(of), Some(baseline)) = (&self.pick_score, &self.pick_score_baseline) {
            values.push(("pick_score_gain", mean(of) - mean(baseline)));
            values.push(("pick_score", mean(of)));
        }
        Ok(values)
    }
}
