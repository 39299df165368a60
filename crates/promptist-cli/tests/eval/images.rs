//! The path through images on tiny random weights: our own Stable Diffusion, CLIP and a head.

use std::process::Command;

use serde_json::Value;

use crate::world::{FEW, INPUT, TINY, World, cell, golden, text};

fn world() -> World {
    let world = World::new();
    world.write("a.txt", &["a cat", "a red house", "two dogs"]);
    let score = format!(
        "generator = {:?}\nclip = {:?}\naesthetic = {:?}\npick_score = {:?}\nseed = 3\n\
         [images]\nwidth = 32\nheight = 32\nnum_inference_steps = 2\n[cache]\nfolder = \"cache\"\n",
        golden("diffusion_v1"),
        golden("clip/quick_gelu"),
        golden("clip/heads/chain.pth"),
        golden("clip/gelu"),
    );
    world.write("score.toml", &[&score]);
    let images = "[images]\nconfig = \"score.toml\"\n";
    world.write("eval.toml", &[FEW, INPUT, TINY, "[[sets]]\nname = \"a\"\npath = \"a.txt\"\n", images]);
    world
}

#[test]
fn images_are_measured_linked_and_shared_with_score() {
    let world = world();
    world.succeed("run", &[]);
    let report = world.report("run");
    for measure in
        ["image_reward", "aesthetic_gain", "relevance", "aesthetic", "clip_cosine", "pick_score_gain"]
    {
        for system in ["input", "tiny"] {
            let found = cell(&report, "a", measure, system);
            assert_eq!((&found["n"], &found["missing"]), (&3.into(), &0.into()), "{measure}");
        }
    }
    let gain = cell(&report, "a", "aesthetic_gain", "input")["interval"]["mean"].as_f64().expect("a mean");
    assert!(gain.abs() < 1e-6, "the input against itself: {gain}");
    assert_eq!(report["images"]["seeds"], serde_json::json!([3, 4]));

    let rows = world.rows("run");
    for row in &rows {
        let images = &row["rewrites"][0]["images"];
        for whose in ["adapted", "user_input"] {
            let paths = images[whose].as_array().expect("paths");
            assert_eq!(paths.len(), 2);
            for path in paths {
                let path = world.path("run").join(path.as_str().expect("a path"));
                assert_eq!(image::open(&path).expect("an image").width(), 32);
            }
        }
    }

    // `score` of the same pairs finds every image made, and says the same.
    let pairs: String = rows
        .iter()
        .map(|row| {
            let adapted_prompt = &row["rewrites"][0]["adapted_prompt"];
            format!(
                "{}\n",
                serde_json::json!({"user_input": row["user_input"], "adapted_prompt": adapted_prompt})
            )
        })
        .collect();
    std::fs::write(world.path("pairs.jsonl"), pairs).expect("writable");
    let output = Command::new(env!("CARGO_BIN_EXE_promptist"))
        .args(["score", "--input", "pairs.jsonl", "--config", "score.toml", "--json"])
        .current_dir(world.path("."))
        .output()
        .expect("the program starts");
    assert!(text(&output.stderr).contains(" 0 images made"), "{}", text(&output.stderr));
    let scores = text(&output.stdout).lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    for (row, score) in rows.iter().zip(scores) {
        let (ours, theirs) = (&row["values"]["image_reward"], &score["score"]);
        let difference = ours.as_f64().expect("a number") - theirs.as_f64().expect("a number");
        assert!(difference.abs() < 1e-6, "{ours} {theirs}");
        // The one prints f32, the other the same as f64.
        let cosines = |of: &Value| -> Vec<f32> {
            let cosines = of["clip_cosine"].as_array().expect("cosines").iter();
            cosines.map(|cosine| cosine.as_f64().expect("a number") as f32).collect()
        };
        assert_eq!(cosines(&row["rewrites"][0]["images"]), cosines(&score));
    }
    let replay = world.command(&["replay", "run", "a:1:tiny"]).output().expect("the program starts");
    let printed = text(&replay.stdout);
    assert!(printed.contains("made again: the same") && printed.contains("seed 4: run/images/"), "{printed}");
}

#[test]
fn a_dry_run_counts_the_images_to_be_made() {
    let world = world();
    let output = world.succeed("run", &["--dry-run"]);
    let printed = text(&output.stdout);
    assert!(
        printed.contains("images: 6 of inputs are to be made, and at most 6 of rewrites (2 each)"),
        "{printed}"
    );
}
