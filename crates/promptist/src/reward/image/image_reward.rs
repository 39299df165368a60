//! The reward through images: what to make, who makes it, and what becomes of a failure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, SyncSender};

use image::RgbImage;
use serde::Serialize;

use super::cache::{ImageCache, ImageKey};
use super::score::{ImageScores, Noise, Score};
use crate::clip::aesthetic::AestheticHead;
use crate::clip::pick_score::pick_score;
use crate::clip::{Clip, cosine};
use crate::error::{Error, Result};
use crate::generator::png::Provenance;
use crate::generator::{Cancel, Generator, ImageRequest, ImageSettings};
use crate::progress::Progress;
use crate::reward::Pair;

/// Scores pairs of user input and adapted prompt through the images of both.
pub struct ImageReward {
    generator: Box<dyn Generator>,
    /// How images are made.
    images: ImageSettings,
    seeds: Vec<u64>,
    clip: Clip,
    aesthetic: AestheticHead,
    pick_score: Option<Clip>,
    cache: ImageCache,
}

/// A pair's reward, its parts, and what was seen of each image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairScore {
    /// The reward and its parts.
    #[serde(flatten)]
    pub score: Score,
    /// Of each image of the adapted prompt with the user's input.
    pub clip_cosine: Vec<f32>,
    /// Of each image of the adapted prompt.
    pub aesthetic: Vec<f32>,
    /// Of each image of the user's input.
    pub aesthetic_baseline: Vec<f32>,
    /// PickScore of each image of the adapted prompt with the user's input, if there is such a judge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pick_score: Option<Vec<f32>>,
    /// PickScore of each image of the user's input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pick_score_baseline: Option<Vec<f32>>,
    /// Of image j of both prompts; none if the generator takes no seeds, and then images are not paired.
    pub seeds: Option<Vec<u64>>,
    /// Who made the images.
    pub generator: String,
    /// Whether no image had to be made.
    pub cached: bool,
}

/// How a run went.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Pairs with a score.
    pub scored: usize,
    /// Pairs without one, because an image failed. They are counted, and are never a score of 0.
    pub failed: usize,
    /// Images made.
    pub images_made: usize,
    /// Images that were there already.
    pub images_cached: usize,
    /// Mean of the scores.
    pub mean_score: Option<f64>,
    /// Of `mean_score`, over pairs.
    pub standard_error: Option<f64>,
}

/// The images of one prompt: each as its features if those were kept, else as the image.
struct PromptImages {
    images: Vec<(ImageKey, Seen)>,
    made: usize,
}

enum Seen {
    Features(Features),
    Image(RgbImage),
}

/// What the judges see in one image.
#[derive(Clone)]
struct Features {
    clip: Vec<f32>,
    pick_score: Option<Vec<f32>>,
}

/// The features of one prompt's images, or why there are none.
struct Judged {
    features: Result<Vec<Features>, String>,
    made: usize,
}

impl ImageReward {
    /// Puts generator and judges together. Image j of every prompt has seed `first_seed + j`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the head does not fit the CLIP model.
    pub fn new(
        generator: Box<dyn Generator>,
        images: ImageSettings,
        seeds: std::ops::Range<u64>,
        (clip, aesthetic): (Clip, AestheticHead),
        pick_score: Option<Clip>,
        cache: ImageCache,
    ) -> Result<Self> {
        aesthetic.check_width(clip.config().projection_dim)?;
        images.check()?;
        if seeds.is_empty() {
            return Err(Error::config("images_per_prompt", "must be 1 or more"));
        }
        Ok(Self { generator, images, seeds: seeds.collect(), clip, aesthetic, pick_score, cache })
    }

    /// Who makes the images.
    pub fn generator(&self) -> &dyn Generator {
        self.generator.as_ref()
    }

    /// Whether PickScore judges too.
    pub fn has_pick_score(&self) -> bool {
        self.pick_score.is_some()
    }

    /// How images are made.
    pub fn image_settings(&self) -> &ImageSettings {
        &self.images
    }

    /// Of image j of every prompt.
    pub fn seeds(&self) -> &[u64] {
        &self.seeds
    }

    /// SHA-256 of the weights of CLIP, of the aesthetic head, and of PickScore, if it judges.
    pub fn judges(&self) -> (&str, &str, Option<&str>) {
        (self.clip.sha256(), self.aesthetic.sha256(), self.pick_score.as_ref().map(Clip::sha256))
    }

    /// Where images are kept.
    pub fn cache_folder(&self) -> &Path {
        self.cache.folder()
    }

    /// Where the images of a prompt lie, or would, by seed.
    pub fn image_paths(&self, prompt: &str) -> Vec<PathBuf> {
        self.keys(prompt).iter().map(|key| self.cache.image_path(key)).collect()
    }

    /// The images of a prompt that are in the cache now, by seed.
    pub fn cached_images(&self, prompt: &str) -> Vec<Option<RgbImage>> {
        self.keys(prompt).iter().map(|key| self.cache.image(key)).collect()
    }

    /// What is drawn for a pair: the user's input, and the adapted prompt or, if that is empty, the input again.
    pub fn prompts_of(pair: &Pair) -> [&str; 2] {
        let is_empty = pair.adapted_prompt.trim().is_empty();
        let adapted = if is_empty { &pair.user_input } else { &pair.adapted_prompt };
        [&pair.user_input, adapted]
    }

    /// Scores pairs. Every image is made once, however many pairs need it, and kept as soon as it is made:
    /// whoever stops this and calls it again loses only the images that were under way.
    ///
    /// `on_scored` hears of each pair by its place, in the order in which they are done; an image that failed
    /// makes its pairs failures, the others go on.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if `cancel` was raised; [`Error::ImageServersGone`] if no server is left;
    /// [`Error::Io`] if the cache cannot be written; whatever `on_scored` returns.
    pub fn score(
        &self,
        pairs: &[Pair],
        progress: &dyn Progress,
        cancel: &Cancel,
        mut on_scored: impl FnMut(usize, Result<PairScore, String>) -> Result<()>,
    ) -> Result<Summary> {
        let plan = Plan::of(pairs);
        progress.begin("score", Some((plan.prompts.len() * self.seeds.len()) as u64), "images");
        let mut tally = Tally::default();
        let mut judged: HashMap<usize, Judged> = HashMap::new();
        let mut texts: HashMap<&str, TextFeatures> = HashMap::new();
        self.make_all(&plan.prompts, cancel, |prompt_idx, images| {
            let images = self.judge(images)?;
            tally.images(&images, self.seeds.len());
            progress.advance(self.seeds.len() as u64, "");
            judged.insert(prompt_idx, images);
            for &pair_idx in &plan.pairs_of[prompt_idx] {
                let [x, y] = plan.prompts_of[pair_idx];
                let (Some(of_x), Some(of_y)) = (judged.get(&x), judged.get(&y)) else { continue };
                let text = match texts.entry(plan.prompts[x]) {
                    std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
                    std::collections::hash_map::Entry::Vacant(entry) => {
                        entry.insert(self.text_features(plan.prompts[x])?)
                    }
                };
                let score = match self.pair_score(text, of_x, of_y) {
                    // Of this pair alone: weights that overflow on one picture.
                    Err(Error::NotFinite(reason)) => Err(reason),
                    score => score?,
                };
                tally.pair(&score);
                on_scored(pair_idx, score)?;
            }
            Ok(())
        })?;
        progress.end();
        Ok(tally.summary())
    }

    /// Makes the images of all prompts, on as many threads as the generator works on, in their order.
    /// `on_made` hears of each on this thread.
    fn make_all(
        &self,
        prompts: &[&str],
        cancel: &Cancel,
        mut on_made: impl FnMut(usize, Result<PromptImages>) -> Result<()>,
    ) -> Result<()> {
        let (next, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let num_workers = self.generator.parallelism().clamp(1, prompts.len().max(1));
        // Bounded: images that wait for the judges take memory.
        let (sender, receiver) = mpsc::sync_channel(num_workers);
        let worker = |sender: SyncSender<(usize, Result<PromptImages>)>| {
            while !is_over.load(Ordering::Relaxed) {
                let prompt_idx = next.fetch_add(1, Ordering::Relaxed);
                let Some(prompt) = prompts.get(prompt_idx) else { return };
                let images = self.images_of(prompt, cancel);
                if sender.send((prompt_idx, images)).is_err() {
                    return;
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..num_workers {
                let sender = sender.clone();
                scope.spawn(|| worker(sender));
            }
            drop(sender);
            let mut outcome = Ok(());
            for (prompt_idx, images) in receiver {
                // What is still under way is waited for, so that its images are kept.
                if outcome.is_ok() {
                    outcome = on_made(prompt_idx, images);
                    is_over.store(outcome.is_err(), Ordering::Relaxed);
                }
            }
            outcome
        })
    }

    /// The images of one prompt, those made that are not there.
    fn images_of(&self, prompt: &str, cancel: &Cancel) -> Result<PromptImages> {
        let keys = self.keys(prompt);
        let mut seen: Vec<Option<Seen>> = keys.iter().map(|key| self.look_up(key)).collect();
        let mut made = 0;
        if seen.iter().any(Option::is_none) {
            // Seeds of a prompt are made under one claim: a second process finds them afterwards.
            let _claim = self.cache.claim(&keys[0], cancel)?;
            for (seen, key) in seen.iter_mut().zip(&keys).filter(|(seen, _)| seen.is_none()) {
                *seen = self.look_up(key);
            }
            let missing: Vec<usize> = (0..keys.len()).filter(|&j| seen[j].is_none()).collect();
            let seeds: Vec<u64> = missing.iter().map(|&j| self.seeds[j]).collect();
            if !seeds.is_empty() {
                let request = ImageRequest { prompt, seeds: &seeds, settings: &self.images };
                let images = self.generator.generate(&request, cancel)?;
                if images.len() != seeds.len() {
                    return Err(Error::Shape(format!("{} images of {} seeds", images.len(), seeds.len())));
                }
                made = images.len();
                for (j, image) in missing.into_iter().zip(images) {
                    self.cache.put_image(&keys[j], &image, &self.provenance(prompt, self.seeds[j]))?;
                    seen[j] = Some(Seen::Image(image));
                }
            }
        }
        let images = keys.into_iter().zip(seen).filter_map(|(key, seen)| Some((key, seen?))).collect();
        Ok(PromptImages { images, made })
    }

    /// An image's features, or the image.
    fn look_up(&self, key: &ImageKey) -> Option<Seen> {
        let features = self.cache.feature(self.clip.sha256(), key).and_then(|clip| {
            let pick_score = match &self.pick_score {
                None => None,
                Some(judge) => Some(self.cache.feature(judge.sha256(), key)?),
            };
            Some(Features { clip, pick_score })
        });
        features.map(Seen::Features).or_else(|| self.cache.image(key).map(Seen::Image))
    }

    /// Shows images to the judges. A generator's failure becomes a reason; what ends the run is an error.
    fn judge(&self, images: Result<PromptImages>) -> Result<Judged> {
        let PromptImages { images, made } = match images {
            Ok(images) => images,
            Err(error @ (Error::Interrupted | Error::ImageServersGone { .. } | Error::Io { .. })) => {
                return Err(error);
            }
            Err(error) => return Ok(Judged { features: Err(error.to_string()), made: 0 }),
        };
        let mut features: Vec<Option<Features>> = Vec::with_capacity(images.len());
        let (mut keys, mut unseen) = (Vec::new(), Vec::new());
        for (key, seen) in images {
            match seen {
                Seen::Features(known) => features.push(Some(known)),
                Seen::Image(image) => {
                    features.push(None);
                    keys.push(key);
                    unseen.push(image);
                }
            }
        }
        let encoded = self.encode(&self.clip, &keys, &unseen).and_then(|by_clip| {
            let by_pick_score = match &self.pick_score {
                Some(judge) => self.encode(judge, &keys, &unseen)?.into_iter().map(Some).collect(),
                None => vec![None; unseen.len()],
            };
            Ok((by_clip, by_pick_score))
        });
        let (by_clip, by_pick_score) = match encoded {
            Err(Error::NotFinite(reason)) => return Ok(Judged { features: Err(reason), made }),
            encoded => encoded?,
        };
        let mut new =
            by_clip.into_iter().zip(by_pick_score).map(|(clip, pick_score)| Features { clip, pick_score });
        let features = features.into_iter().filter_map(|known| known.or_else(|| new.next())).collect();
        Ok(Judged { features: Ok(features), made })
    }

    fn encode(&self, judge: &Clip, keys: &[ImageKey], images: &[RgbImage]) -> Result<Vec<Vec<f32>>> {
        let features = judge.encode_images(images)?;
        for (key, feature) in keys.iter().zip(&features) {
            self.cache.put_feature(judge.sha256(), key, feature)?;
        }
        Ok(features)
    }

    fn text_features(&self, text: &str) -> Result<TextFeatures> {
        let encode = |clip: &Clip| Ok(clip.encode_texts(&[text])?.concat());
        Ok(TextFeatures {
            clip: encode(&self.clip)?,
            pick_score: self.pick_score.as_ref().map(encode).transpose()?,
        })
    }

    /// The reward of a pair, or the reason why it has none.
    fn pair_score(
        &self,
        text: &TextFeatures,
        of_x: &Judged,
        of_y: &Judged,
    ) -> Result<Result<PairScore, String>> {
        let (x, y) = match (&of_x.features, &of_y.features) {
            (Ok(x), Ok(y)) => (x, y),
            (Err(reason), _) => return Ok(Err(format!("no image of the user's input: {reason}"))),
            (_, Err(reason)) => return Ok(Err(format!("no image of the adapted prompt: {reason}"))),
        };
        let aesthetic_of = |features: &[Features]| -> Result<Vec<f32>> {
            features.iter().map(|features| self.aesthetic.score(&features.clip)).collect()
        };
        let pick_score_of = |features: &[Features]| -> Result<Option<Vec<f32>>> {
            let (Some(judge), Some(text)) = (&self.pick_score, &text.pick_score) else { return Ok(None) };
            let images = features.iter().filter_map(|features| features.pick_score.as_ref());
            images.map(|image| pick_score(judge, text, image)).collect::<Result<_>>().map(Some)
        };
        let clip_cosine: Vec<f32> =
            y.iter().map(|features| cosine(&text.clip, &features.clip)).collect::<Result<_>>()?;
        let (aesthetic, aesthetic_baseline) = (aesthetic_of(y)?, aesthetic_of(x)?);
        let takes_seeds = self.generator.identity().takes_seeds;
        let score = Score::of(ImageScores {
            clip_cosine: &clip_cosine,
            aesthetic: &aesthetic,
            aesthetic_baseline: &aesthetic_baseline,
            noise: if takes_seeds { Noise::Paired } else { Noise::Independent },
        })?;
        Ok(Ok(PairScore {
            score,
            clip_cosine,
            aesthetic,
            aesthetic_baseline,
            pick_score: pick_score_of(y)?,
            pick_score_baseline: pick_score_of(x)?,
            seeds: takes_seeds.then(|| self.seeds.clone()),
            generator: self.generator.identity().name.clone(),
            cached: of_x.made + of_y.made == 0,
        }))
    }

    fn keys(&self, prompt: &str) -> Vec<ImageKey> {
        let identity = self.generator.identity();
        self.seeds.iter().map(|&seed| ImageKey::new(identity, prompt, seed, &self.images)).collect()
    }

    fn provenance(&self, prompt: &str, seed: u64) -> Provenance {
        let generator = self.generator.identity().clone();
        Provenance {
            prompt: prompt.to_owned(),
            seed: generator.takes_seeds.then_some(seed),
            latents_sha256: None,
            settings: self.images.clone(),
            generator,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// What the judges see in a user's input.
struct TextFeatures {
    clip: Vec<f32>,
    pick_score: Option<Vec<f32>>,
}

/// Which prompts are to be drawn, each once, and whom each is for.
struct Plan<'a> {
    prompts: Vec<&'a str>,
    /// Of each pair: the places of its two prompts.
    prompts_of: Vec<[usize; 2]>,
    /// Of each prompt: the pairs that wait for it.
    pairs_of: Vec<Vec<usize>>,
}

impl<'a> Plan<'a> {
    fn of(pairs: &'a [Pair]) -> Self {
        let mut plan = Self { prompts: Vec::new(), prompts_of: Vec::new(), pairs_of: Vec::new() };
        let mut places: HashMap<&str, usize> = HashMap::new();
        for (pair_idx, pair) in pairs.iter().enumerate() {
            let prompts_of = ImageReward::prompts_of(pair).map(|prompt| {
                *places.entry(prompt).or_insert_with(|| {
                    plan.prompts.push(prompt);
                    plan.pairs_of.push(Vec::new());
                    plan.prompts.len() - 1
                })
            });
            for place in prompts_of.into_iter().collect::<HashSet<_>>() {
                plan.pairs_of[place].push(pair_idx);
            }
            plan.prompts_of.push(prompts_of);
        }
        plan
    }
}

/// Counts as a run goes.
#[derive(Default)]
struct Tally {
    scores: Vec<f64>,
    failed: BTreeMap<String, usize>,
    images_made: usize,
    images_cached: usize,
}

impl Tally {
    fn images(&mut self, judged: &Judged, wanted: usize) {
        self.images_made += judged.made;
        if judged.features.is_ok() {
            self.images_cached += wanted - judged.made;
        }
    }

    fn pair(&mut self, score: &Result<PairScore, String>) {
        match score {
            Ok(score) => self.scores.push(f64::from(score.score.score)),
            Err(reason) => *self.failed.entry(reason.clone()).or_default() += 1,
        }
    }

    fn summary(mut self) -> Summary {
        // Pairs are done in any order; the sum is not to depend on it.
        self.scores.sort_by(f64::total_cmp);
        let count = self.scores.len() as f64;
        let mean = (count > 0.0).then(|| self.scores.iter().sum::<f64>() / count);
        let standard_error = mean.filter(|_| count > 1.0).map(|mean| {
            let squares: f64 = self.scores.iter().map(|score| (score - mean).powi(2)).sum();
            (squares / (count - 1.0) / count).sqrt()
        });
        Summary {
            scored: self.scores.len(),
            failed: self.failed.values().sum(),
            images_made: self.images_made,
            images_cached: self.images_cached,
            mean_score: mean,
            standard_error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(user_input: &str, adapted_prompt: &str) -> Pair {
        Pair { user_input: user_input.to_owned(), adapted_prompt: adapted_prompt.to_owned() }
    }

    #[test]
    fn every_prompt_is_drawn_once_and_an_empty_rewrite_is_the_input() {
        let pairs = [pair("a", "a, 8k"), pair("a", ""), pair("b", "a"), pair("b", " \n")];
        let plan = Plan::of(&pairs);
        assert_eq!(plan.prompts, ["a", "a, 8k", "b"]);
        assert_eq!(plan.prompts_of, [[0, 1], [0, 0], [2, 0], [2, 2]]);
        assert_eq!(plan.pairs_of, [vec![0, 1, 2], vec![0], vec![2, 3]]);
    }
}
