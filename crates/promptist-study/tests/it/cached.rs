//! Rows as `promptist score --json` prints them: their images are those in its cache.

use std::fs;
use std::path::Path;

use promptist::generator::png::{self, Provenance};
use promptist::generator::{GeneratorIdentity, ImageSettings};
use promptist_study::{InputFile, Study, StudyConfig};
use serde_json::json;

use crate::test_study::{pattern, plain, runtime};

const SEEDS: [u64; 2] = [3, 4];

/// Keeps an image as the cache does: in a folder of two letters, with what it was made of.
fn keep(cache: &Path, name: &str, prompt: &str, seed: u64, which: usize, settings: ImageSettings) {
    let folder = cache.join("images").join(&name[..2]);
    fs::create_dir_all(&folder).expect("made");
    let generator = GeneratorIdentity { name: "tiny".into(), model: "abc".into(), takes_seeds: true };
    let provenance = Provenance {
        prompt: prompt.to_owned(),
        seed: Some(seed),
        latents_sha256: None,
        settings,
        generator,
        version: "0".to_owned(),
    };
    png::write(&folder.join(format!("{name}.png")), &pattern(0, which), &provenance).expect("written");
}

/// Two inputs and their rewrites in a cache, and the lines of a score of them.
fn scored(folder: &Path) -> StudyConfig {
    let cache = folder.join("cache");
    let mut lines = String::new();
    for input in 0..2 {
        // The cache knows the prompt as it was typed.
        let (user_input, adapted) = (format!(" request {input}"), format!("request {input}, 8k"));
        for (at, prompt) in [&user_input, &adapted].into_iter().enumerate() {
            for seed in SEEDS {
                let which = input * 4 + at * 2 + (seed % 2) as usize;
                keep(&cache, &format!("{which:02}ef"), prompt, seed, which, ImageSettings::default());
            }
        }
        let line = json!({
            "user_input": user_input, "adapted_prompt": adapted, "score": 0.5, "seeds": SEEDS,
            "generator": "tiny", "cached": true,
        });
        lines += &format!("{line}\n");
    }
    // What is not ours is passed over.
    fs::write(cache.join("images").join("00").join("notes.txt"), "x").expect("written");
    let file = folder.join("scores.jsonl");
    fs::write(&file, lines).expect("written");
    StudyConfig {
        input: vec![InputFile { file, system: Some("ppo".to_owned()) }],
        cache: Some(cache),
        user_input_as: Some("as typed".to_owned()),
        ..plain()
    }
}

#[test]
fn scored_rows_find_their_images() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = scored(folder.path());
    let out = folder.path().join("study");
    let summary = runtime().block_on(promptist_study::create(&config, &out)).expect("a study");
    assert_eq!((summary.systems, summary.questions), (vec!["ppo".to_owned(), "as typed".to_owned()], 2));
    let runtime = runtime();
    let shown = runtime.block_on(async {
        let study = Study::open(&out).await.expect("opens");
        let shown = promptist_study::show(&study, "0").await.expect("a question");
        study.close().await;
        shown
    });
    assert!(shown.contains(", 8k") && shown.contains("seeds   3, 4"), "{shown}");
    assert_eq!(shown.lines().filter(|line| line.trim().starts_with("image ")).count(), 4);
}

#[test]
fn what_the_cache_lacks_or_has_twice_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = scored(folder.path());
    let refused = |expected: &str| {
        let out = folder.path().join("study");
        let error = runtime().block_on(promptist_study::create(&config, &out)).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
    };
    let cache = folder.path().join("cache");
    fs::remove_file(cache.join("images").join("02").join("02ef.png")).expect("was there");
    refused("holds no image of `request 0, 8k` from seed 4");
    let settings = ImageSettings { num_inference_steps: 7, ..ImageSettings::default() };
    keep(&cache, "02ef", "request 0, 8k", 4, 2, ImageSettings::default());
    keep(&cache, "ff00", "request 0, 8k", 4, 2, settings);
    refused("by another generator or with other settings");
}
