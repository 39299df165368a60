//! The reward through images: against a number computed in Python from the same pictures, and what is made,
//! kept and made again.
#![cfg(feature = "flex")]
#![allow(clippy::print_stdout)] // --nocapture shows the errors seen

mod common;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use burn::tensor::{DType, Device};
use common::{golden, golden_json};
use image::RgbImage;
use promptist::Error;
use promptist::clip::aesthetic::AestheticHead;
use promptist::clip::{Clip, image_file};
use promptist::generator::{Cancel, Generator, GeneratorIdentity, ImageRequest, ImageSettings};
use promptist::model_source::ModelFiles;
use promptist::progress::NoProgress;
use promptist::reward::image::cache::ImageCache;
use promptist::reward::{ImageMeasure, ImageReward, ImageTerm, Pair, PairScore, Reward, Summary};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::Deserialize;

/// Draws what it is told, or noise; counts.
#[derive(Clone)]
struct Painter {
    identity: GeneratorIdentity,
    parallelism: usize,
    pictures: Arc<HashMap<(String, u64), RgbImage>>,
    /// Every image that was asked for, in order.
    asked: Arc<Mutex<Vec<(String, u64)>>>,
    /// Prompts with this in them cannot be drawn.
    refused: Option<String>,
    /// Raised after this many requests.
    stop: Option<(usize, Arc<AtomicBool>)>,
    requests: Arc<AtomicUsize>,
}

impl Painter {
    fn new() -> Self {
        Self {
            identity: GeneratorIdentity { name: "painter".into(), model: "1".into(), takes_seeds: true },
            parallelism: 1,
            pictures: Arc::default(),
            asked: Arc::default(),
            refused: None,
            stop: None,
            requests: Arc::default(),
        }
    }

    fn asked(&self) -> Vec<(String, u64)> {
        let mut asked = self.asked.lock().expect("nobody panicked").clone();
        asked.sort();
        asked
    }
}

impl Generator for Painter {
    fn identity(&self) -> &GeneratorIdentity {
        &self.identity
    }

    fn parallelism(&self) -> usize {
        self.parallelism
    }

    fn generate(&self, request: &ImageRequest<'_>, cancel: &Cancel) -> promptist::Result<Vec<RgbImage>> {
        cancel.check()?;
        let count = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some((after, flag)) = &self.stop {
            flag.fetch_or(count >= *after, Ordering::Relaxed);
        }
        if self.refused.as_ref().is_some_and(|refused| request.prompt.contains(refused)) {
            return Err(Error::ImageFailed { failures: Vec::new() });
        }
        let mut asked = self.asked.lock().expect("nobody panicked");
        let images = request.seeds.iter().map(|&seed| {
            asked.push((request.prompt.to_owned(), seed));
            let known = self.pictures.get(&(request.prompt.to_owned(), seed));
            known.cloned().unwrap_or_else(|| noise(request.prompt, seed))
        });
        Ok(images.collect())
    }
}

fn noise(prompt: &str, seed: u64) -> RgbImage {
    let mut state = prompt.bytes().fold(seed + 1, |hash, byte| hash.wrapping_mul(31) ^ u64::from(byte));
    RgbImage::from_fn(24, 24, |_, _| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        image::Rgb([(state >> 40) as u8, (state >> 48) as u8, (state >> 56) as u8])
    })
}

fn clip(name: &str) -> Clip {
    let files = ModelFiles::folder(golden("clip").join(name));
    Clip::open(&files, &(&Device::flex(), DType::F32).into()).expect("a model folder")
}

fn reward(painter: &Painter, folder: &Path, num_images: u64) -> ImageReward {
    let head = AestheticHead::open(golden("clip/heads/chain.pth")).expect("a head");
    let cache = ImageCache::open(folder, u64::MAX).expect("a folder");
    let generator = Box::new(painter.clone());
    let judges = (clip("quick_gelu"), head);
    ImageReward::new(generator, ImageSettings::default(), 0..num_images, judges, None, cache)
        .expect("they fit")
}

fn pair(user_input: &str, adapted_prompt: &str) -> Pair {
    Pair { user_input: user_input.to_owned(), adapted_prompt: adapted_prompt.to_owned() }
}

/// Every pair's outcome in the order of the pairs, and the summary.
fn score(reward: &ImageReward, pairs: &[Pair]) -> (Vec<Result<PairScore, String>>, Summary) {
    let mut scores: Vec<Option<Result<PairScore, String>>> = vec![None; pairs.len()];
    let summary = reward
        .score(pairs, &NoProgress, &Cancel::default(), |pair_idx, score| {
            assert!(scores[pair_idx].replace(score).is_none(), "pair {pair_idx} came twice");
            Ok(())
        })
        .expect("a run");
    (scores.into_iter().map(|score| score.expect("every pair comes")).collect(), summary)
}

#[test]
fn the_released_formula_on_the_same_pictures() {
    #[derive(Deserialize)]
    struct Golden {
        pairs: Vec<Expected>,
    }
    #[derive(Deserialize)]
    struct Expected {
        user_input: String,
        images_x: Vec<String>,
        images_y: Vec<String>,
        clip_cosine: Vec<f32>,
        aesthetic: Vec<f32>,
        aesthetic_baseline: Vec<f32>,
        score: f32,
        relevance: f32,
    }
    // Seen: cosines 2.7e-7, scores, which go to 20, 3.1e-5.
    const COSINE: f32 = 5e-6;
    const SCORE: f32 = 5e-4;

    let golden_rewards: Golden = golden_json("reward.json");
    let read =
        |name: &String| image_file::read_rgb(&golden("clip/images").join(name)).expect("a golden picture");
    let mut worst = [0.0_f32; 2];
    for expected in golden_rewards.pairs {
        let prompts =
            [(expected.user_input.clone(), &expected.images_x), ("y".to_owned(), &expected.images_y)];
        let pictures = prompts.iter().flat_map(|(prompt, names)| {
            (0..).zip(*names).map(|(seed, name)| ((prompt.clone(), seed), read(name)))
        });
        let painter = Painter { pictures: Arc::new(pictures.collect()), ..Painter::new() };
        let folder = tempfile::tempdir().expect("temporary folder");
        let (scores, _) = score(&reward(&painter, folder.path(), 2), &[pair(&expected.user_input, "y")]);
        let found = scores[0].clone().expect("a score");
        worst[0] = worst[0].max(common::max_difference(&found.clip_cosine, &expected.clip_cosine));
        for (found, expected) in [
            (&found.aesthetic[..], &expected.aesthetic[..]),
            (&found.aesthetic_baseline, &expected.aesthetic_baseline),
            (&[found.score.score, found.score.relevance], &[expected.score, expected.relevance]),
        ] {
            worst[1] = worst[1].max(common::max_difference(found, expected));
        }
    }
    println!("largest differences: cosines {:e}, scores {:e}", worst[0], worst[1]);
    assert!(worst[0] < COSINE && worst[1] < SCORE, "{worst:?}");
}

#[test]
fn an_image_is_made_once_whoever_needs_it_and_never_again() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let painter = Painter { parallelism: 3, ..Painter::new() };
    let pairs =
        [pair("a cat", "a cat, 8k"), pair("a cat", "a cat, art"), pair("a dog", ""), pair("a dog", "a cat")];
    let (first, summary) = score(&reward(&painter, folder.path(), 2), &pairs);
    let prompts = ["a cat", "a cat, 8k", "a cat, art", "a dog"];
    let expected: Vec<_> =
        prompts.iter().flat_map(|prompt| [0, 1].map(|seed| (prompt.to_string(), seed))).collect();
    assert_eq!(painter.asked(), expected);
    assert_eq!((summary.scored, summary.images_made, summary.images_cached), (4, 8, 0));
    let scores: Vec<f64> =
        first.iter().map(|score| f64::from(score.as_ref().expect("a score").score.score)).collect();
    let mean = scores.iter().sum::<f64>() / 4.0;
    assert!((summary.mean_score.expect("scores") - mean).abs() < 1e-9);
    // An empty rewrite is the input: nothing gained.
    assert_eq!(first[2].as_ref().expect("a score").score.aesthetic_gain, 0.0);

    let (second, summary) = score(&reward(&painter, folder.path(), 2), &pairs);
    assert_eq!(painter.asked().len(), 8, "the second run made images");
    assert_eq!((summary.images_made, summary.images_cached), (0, 8));
    for (first, second) in first.into_iter().zip(second) {
        let (first, second) = (first.expect("a score"), second.expect("a score"));
        assert!(second.cached);
        assert_eq!(PairScore { cached: first.cached, ..second }, first);
    }

    // One image more of each prompt: only those are made.
    let (_, summary) = score(&reward(&painter, folder.path(), 3), &pairs);
    assert_eq!((summary.images_made, summary.images_cached), (4, 8));
}

#[test]
fn a_failed_image_is_a_failure_and_no_score() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let painter = Painter { refused: Some("cursed".into()), ..Painter::new() };
    let pairs = [pair("a cat", "a cursed cat"), pair("a cursed dog", "a dog"), pair("a cat", "a cat, 8k")];
    let (scores, summary) = score(&reward(&painter, folder.path(), 2), &pairs);
    assert!(scores[0].as_ref().is_err_and(|reason| reason.contains("adapted prompt")), "{:?}", scores[0]);
    assert!(scores[1].as_ref().is_err_and(|reason| reason.contains("user's input")), "{:?}", scores[1]);
    let kept = scores[2].as_ref().expect("a score").score.score;
    assert_eq!((summary.scored, summary.failed), (1, 2));
    assert_eq!(summary.mean_score, Some(f64::from(kept)));

    // Once it can be drawn, only what failed is made.
    let painter = Painter::new();
    let (scores, _) = score(&reward(&painter, folder.path(), 2), &pairs);
    assert!(scores.iter().all(Result::is_ok));
    let prompts: Vec<String> = painter.asked().into_iter().map(|(prompt, _)| prompt).collect();
    assert_eq!(prompts, ["a cursed cat", "a cursed cat", "a cursed dog", "a cursed dog"]);
}

#[test]
fn an_interrupted_run_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let pairs: Vec<Pair> = (0..10).map(|i| pair(&format!("cat {i}"), &format!("cat {i}, 8k"))).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let painter = Painter { stop: Some((7, Arc::clone(&stop))), parallelism: 2, ..Painter::new() };
    let outcome = reward(&painter, folder.path(), 2).score(
        &pairs,
        &NoProgress,
        &Cancel::following(stop),
        |_, _| Ok(()),
    );
    assert!(matches!(outcome, Err(Error::Interrupted)), "{outcome:?}");
    let done = painter.asked().len();
    assert!((14..=16).contains(&done), "{done}");
    let painter = Painter::new();
    let (_, summary) = score(&reward(&painter, folder.path(), 2), &pairs);
    assert_eq!((painter.asked().len(), summary.scored), (40 - done, 10));
}

#[test]
fn two_runs_at_once_make_nothing_twice() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let pairs: Vec<Pair> = (0..8).map(|i| pair(&format!("cat {i}"), &format!("cat {i}, 8k"))).collect();
    let painter = Painter { parallelism: 2, ..Painter::new() };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| score(&reward(&painter, folder.path(), 2), &pairs));
        }
    });
    assert_eq!(painter.asked().len(), 32);
}

#[test]
fn without_seeds_images_are_not_paired_and_the_row_says_so() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut painter = Painter::new();
    painter.identity.takes_seeds = false;
    let (scores, _) = score(&reward(&painter, folder.path(), 3), &[pair("a cat", "a cat, 8k")]);
    let score = scores[0].as_ref().expect("a score");
    assert_eq!(score.seeds, None);
    let standard_error = score.score.standard_error.expect("three images");
    let variance = |values: &[f32]| {
        let mean = values.iter().sum::<f32>() / 3.0;
        values.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / 2.0 / 3.0
    };
    let relevance = |cosine: f32| promptist::reward::relevance(cosine);
    let gained: Vec<f32> =
        score.aesthetic.iter().zip(&score.clip_cosine).map(|(a, &c)| a + relevance(c)).collect();
    let expected = (variance(&gained) + variance(&score.aesthetic_baseline)).sqrt();
    assert!((standard_error - expected).abs() < 1e-4 * expected, "{standard_error} for {expected}");
}

#[test]
fn a_second_judge_is_asked_and_not_paid() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let head = || AestheticHead::open(golden("clip/heads/chain.pth")).expect("a head");
    let open = |judge: Option<Clip>| {
        let cache = ImageCache::open(folder.path(), u64::MAX).expect("a folder");
        let judges = (clip("quick_gelu"), head());
        ImageReward::new(Box::new(Painter::new()), ImageSettings::default(), 0..2, judges, judge, cache)
            .expect("they fit")
    };
    let pairs = [pair("a cat", "a cat, 8k")];
    let (alone, _) = score(&open(None), &pairs);
    let (both, summary) = score(&open(Some(clip("gelu"))), &pairs);
    let (alone, both) = (alone[0].clone().expect("a score"), both[0].clone().expect("a score"));
    assert_eq!(summary.images_made, 0, "the images are kept: only the second judge looks at them");
    assert_eq!(both.score, alone.score);
    assert_eq!(alone.pick_score, None);
    assert_eq!(
        (both.pick_score.map(|s| s.len()), both.pick_score_baseline.map(|s| s.len())),
        (Some(2), Some(2))
    );
}

#[test]
fn as_terms_of_training_all_measures_share_the_images() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let painter = Painter { refused: Some("cursed".into()), parallelism: 2, ..Painter::new() };
    let open = |judge: Option<Clip>| {
        let cache = ImageCache::open(folder.path(), u64::MAX).expect("a folder");
        let head = AestheticHead::open(golden("clip/heads/chain.pth")).expect("a head");
        let (generator, images) = (Box::new(painter.clone()), ImageSettings::default());
        ImageReward::new(generator, images, 0..2, (clip("quick_gelu"), head), judge, cache).expect("they fit")
    };
    let pairs = [
        pair("a cat", "a cat, 8k"),
        pair("a cat", "a cursed cat"),
        pair("a dog", "a dog, art"),
        pair("a cat", ""),
    ];
    let images = Arc::new(open(Some(clip("gelu"))));
    let (expected, _) = score(&images, &pairs);
    let made = painter.asked().len();
    assert_eq!(made, 8, "four prompts that can be drawn, two images each");

    let term = |measure| ImageTerm::new(Arc::clone(&images), measure).expect("the judge is there");
    let of = |reward: &dyn Reward| reward.score(&pairs, &Cancel::default()).expect("scores");
    let scores = of(&term(ImageMeasure::Score));
    assert_eq!(scores, of(images.as_ref()), "the reward alone is the same");
    let gains = of(&term(ImageMeasure::PickScoreGain));
    for ((expected, score), gain) in expected.iter().zip(&scores).zip(&gains) {
        let Ok(expected) = expected else {
            assert!(score.as_ref().is_err_and(|reason| reason.contains("adapted prompt")), "{score:?}");
            assert!(gain.is_err());
            continue;
        };
        assert_eq!(score, &Ok(f64::from(expected.score.score)));
        let mean = |values: &Option<Vec<f32>>| {
            let values = values.as_ref().expect("PickScore judged");
            values.iter().copied().map(f64::from).sum::<f64>() / values.len() as f64
        };
        assert_eq!(gain, &Ok(mean(&expected.pick_score) - mean(&expected.pick_score_baseline)));
    }
    assert_eq!(gains[3], Ok(0.0), "an empty rewrite is the input");
    assert_eq!(painter.asked().len(), made, "nothing is made twice");

    let stopped = Cancel::following(Arc::new(AtomicBool::new(true)));
    let outcome = Reward::score(images.as_ref(), &[pair("a new cat", "")], &stopped);
    assert!(matches!(outcome, Err(Error::Interrupted)), "{outcome:?}");
    let without = ImageTerm::new(Arc::new(open(None)), ImageMeasure::PickScoreGain).err().expect("no judge");
    assert!(without.to_string().contains("pick_score"), "{without}");
}

#[test]
fn a_head_of_another_model_is_refused() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let cache = ImageCache::open(folder.path(), u64::MAX).expect("a folder");
    let path = folder.path().join("head.safetensors");
    let values: Vec<u8> = [0.5_f32; 5].iter().flat_map(|value| value.to_le_bytes()).collect();
    let weight = TensorView::new(Dtype::F32, vec![1, 5], &values).expect("five values");
    safetensors::serialize_to_file([("weight", weight)], None, &path).expect("a file");
    let judges = (clip("quick_gelu"), AestheticHead::open(&path).expect("a head"));
    let refused =
        ImageReward::new(Box::new(Painter::new()), ImageSettings::default(), 0..2, judges, None, cache);
    assert!(matches!(refused.err(), Some(Error::Shape(_))));
}
