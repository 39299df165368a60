//! `promptist generate` as people run it, with the built-in Stable Diffusion on tiny random weights.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use promptist::checksums::sha256_of;
use promptist::generator::png::{Provenance, read_provenance, read_text};
use serde_json::{Value, json};
use tempfile::TempDir;

const FEW: [&str; 6] = ["--width", "32", "--height", "24", "--num-inference-steps", "3"];

/// Levels of 255 by which a byte may differ from diffusers' image, as in the library's `parity_pipeline.rs`. Seen: 1.
const MAX_TOLERANCE: u8 = 2;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../promptist/tests/golden").join(name)
}

fn promptist(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_promptist"));
    command.args(args).env_remove("PROMPTIST_LOG").env("HF_HUB_OFFLINE", "1").stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

fn utf8(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// `promptist generate` by the model in `folder` into `out`.
fn generate(folder: &Path, prompt: &str, out: &Path, more: &[&str]) -> Output {
    let args = ["generate", prompt, "--generator", utf8(folder), "--out", utf8(out)];
    promptist(&[&args[..], more].concat()).output().expect("the program starts")
}

#[track_caller]
fn succeed(output: Output) -> Output {
    assert!(output.status.success(), "{}", text(&output.stderr));
    output
}

#[track_caller]
fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("a file")
}

#[track_caller]
fn pixels(path: &Path) -> image::RgbImage {
    image::open(path).expect("a picture").into_rgb8()
}

/// Names of the folder's files, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a writable folder");
    for name in names(from) {
        let (from, to) = (from.join(&name), to.join(&name));
        match from.is_dir() {
            true => copy_folder(&from, &to),
            false => std::fs::copy(from, to).map(drop).expect("a copy"),
        }
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

#[test]
fn several_images_equal_those_of_single_runs_and_say_how_they_were_made() {
    let folder = folder();
    let model = golden("diffusion_v2");
    let more = ["--seed", "7", "--guidance-scale", "3", "--negative-prompt", "the dog", "--json"];
    let more = [&FEW[..], &more].concat();
    let out = folder.path().join("cat.png");
    let output = succeed(generate(&model, "a cat", &out, &[&more[..], &["-n", "3"]].concat()));
    assert_eq!(names(folder.path()), ["cat-1.png", "cat-2.png", "cat-3.png"]);
    assert_eq!(text(&output.stderr), "", "nothing to say of a model whose scheduler is ours");

    let lines: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 3);
    for (line, number) in lines.iter().zip(1_u64..) {
        let path = folder.path().join(format!("cat-{number}.png"));
        let seed = 6 + number;
        assert_eq!((&line["path"], &line["seed"]), (&json!(utf8(&path)), &json!(seed)));
        assert!(line["elapsed_ms"].as_f64().expect("a time") > 0.0);
        let provenance = read_provenance(&path).expect("a PNG").expect("a provenance");
        let said: Provenance = serde_json::from_value(line.clone()).expect("the line holds a provenance");
        assert_eq!(provenance, said);
        assert_eq!(provenance.generator.name, utf8(&model));
        assert!(provenance.generator.model.ends_with(" f32"), "{}", provenance.generator.model);
        assert_eq!(provenance.latents_sha256, None);
        let parameters = read_text(&path, "parameters").expect("a PNG").expect("a text");
        assert!(parameters.starts_with("a cat\nNegative prompt: the dog\nSteps: 3, CFG scale: 3, "));
        assert_eq!(pixels(&path).dimensions(), (32, 24));

        // The same seed alone, in a run of its own: the same file.
        let alone = folder.path().join("alone.png");
        let seed = seed.to_string();
        let mut single = more.clone();
        single[FEW.len() + 1] = &seed;
        succeed(generate(&model, "a cat", &alone, &single));
        assert!(read(&alone) == read(&path), "seed {seed} alone is another file");
    }
    assert_ne!(pixels(&folder.path().join("cat-1.png")), pixels(&folder.path().join("cat-2.png")));
}

#[test]
fn a_scheduler_that_we_lack_is_told_once_unless_another_is_named() {
    let folder = folder();
    let run = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        let output = succeed(generate(&golden("diffusion_v1"), "a cat", &out, &[&FEW[..], more].concat()));
        text(&output.stderr).to_owned()
    };
    let said = run("own.png", &["-n", "2"]);
    assert_eq!(said.matches("PNDMScheduler").count(), 1, "{said}");
    assert_eq!(said.matches("DPM-Solver++").count(), 1, "{said}");
    assert_eq!(run("dpm.png", &["--scheduler", "dpm++"]), "");
    assert_eq!(run("ddim.png", &["--scheduler", "ddim"]), "");
    let image = |name: &str| pixels(&folder.path().join(name));
    assert_eq!(image("own-1.png"), image("dpm.png"));
    assert_ne!(image("dpm.png"), image("ddim.png"));
}

/// A case of the library's `parity_pipeline.rs`, through the program: a flag that was lost would show.
#[test]
fn given_latents_make_the_images_of_diffusers() {
    let cases: Value = serde_json::from_slice(&read(&golden("pipeline/cases.json"))).expect("JSON");
    let case = cases["cases"].as_array().expect("cases").iter().find(|case| case["name"] == "v2_own_file");
    let case = case.expect("a case of the model as it is");
    let word = |key: &str| case[key].as_str().expect(key).to_owned();
    let number = |key: &str| case[key].to_string();
    let expected = golden("pipeline").join(word("name"));
    let latents = expected.join("latents.safetensors");
    let (negative, scale) = (word("negative_prompt"), number("guidance_scale"));
    let (steps, width, height) = (number("num_inference_steps"), number("width"), number("height"));
    let mut more = vec!["--latents", utf8(&latents), "--json", "--negative-prompt", &negative];
    more.extend(["--guidance-scale", &scale, "--num-inference-steps", &steps]);
    more.extend(["--width", &width, "--height", &height]);

    let folder = folder();
    let out = folder.path().join("cat.png");
    let output = succeed(generate(&golden(&word("model")), &word("prompt"), &out, &more));
    assert_eq!(names(folder.path()), ["cat-1.png", "cat-2.png"]);
    for idx in 0..2 {
        let path = folder.path().join(format!("cat-{}.png", idx + 1));
        let (found, expected) = (pixels(&path), pixels(&expected.join(format!("{idx}.png"))));
        assert_eq!(found.dimensions(), expected.dimensions());
        let differences = found.as_raw().iter().zip(expected.as_raw()).map(|(a, b)| a.abs_diff(*b));
        let difference = differences.max().expect("pixels");
        assert!(difference <= MAX_TOLERANCE, "image {idx}: {difference}");
        let provenance = read_provenance(&path).expect("a PNG").expect("a provenance");
        assert_eq!(provenance.seed, None);
        assert_eq!(provenance.latents_sha256, Some(sha256_of(&latents).expect("a file")));
        let parameters = read_text(&path, "parameters").expect("a PNG").expect("a text");
        assert!(!parameters.contains("Seed: "), "{parameters}");
    }
    for line in text(&output.stdout).lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert!(line["seed"].is_null() && line["latents_sha256"].is_string(), "{line}");
    }

    let mut wrong = more;
    *wrong.last_mut().expect("the height") = "8";
    let output = generate(&golden(&word("model")), "a cat", &folder.path().join("wrong.png"), &wrong);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("tensor `latents`: expected [2, 4, 1, "), "{output:?}");
}

/// Exit code and message, and nothing is written.
#[track_caller]
fn check_refused(model: &Path, prompt: &str, more: &[&str], code: i32, reason: &str) {
    let folder = folder();
    let output = generate(model, prompt, &folder.path().join("cat.png"), more);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(reason), "{stderr}");
    assert!(output.stdout.is_empty());
    assert!(names(folder.path()).is_empty());
}

#[test]
fn what_cannot_be_is_refused_and_named() {
    let model = golden("diffusion_v1");
    check_refused(&model, "a cat", &["--width", "60"], 2, "`width`: must be a multiple of 8");
    check_refused(&model, " \t", &[], 1, "the prompt is empty");
    check_refused(&model.join("model_index.json"), "a cat", &[], 1, "is a file: expected the folder");
    check_refused(&golden("gpt2_tiny_a"), "a cat", &[], 1, "model_index.json");
    check_refused(
        Path::new("./absent"),
        "a cat",
        &[],
        1,
        "./absent: neither a folder that exists, nor a Hub id",
    );
    check_refused(Path::new("owner/absent"), "a cat", &[], 1, "there is no folder `owner/absent` either");

    for component in ["unet", "vae", "text_encoder", "tokenizer", "scheduler"] {
        let folder = folder();
        copy_folder(&model, folder.path());
        std::fs::remove_dir_all(folder.path().join(component)).expect("it was there");
        check_refused(folder.path(), "a cat", &FEW, 1, utf8(&folder.path().join(component)));
    }
}

#[test]
fn a_place_that_cannot_be_written_to_is_named_before_the_model_is_loaded() {
    let folder = folder();
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("writable");
    let output = generate(Path::new("./absent"), "a cat", &file.join("cat.png"), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(utf8(&file.join("cat.png"))), "{}", text(&output.stderr));
}

#[test]
fn a_prompt_that_is_too_long_is_drawn_as_far_as_it_is_read_and_this_is_said() {
    let folder = folder();
    let prompt = "cat ".repeat(400);
    let more = [&FEW[..], &["--scheduler", "euler"]].concat();
    let output = succeed(generate(&golden("diffusion_v1"), &prompt, &folder.path().join("cat.png"), &more));
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("the prompt has ") && stderr.contains("reads the first "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[test]
fn a_hub_id_means_the_pipeline_in_the_cache() {
    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    let folder = folder();
    let repo = folder.path().join("hub/models--owner--tiny");
    copy_folder(&golden("diffusion_v2"), &repo.join("snapshots").join(COMMIT));
    std::fs::create_dir_all(repo.join("refs")).expect("writable");
    std::fs::write(repo.join("refs/main"), COMMIT).expect("writable");
    let (by_id, by_folder) = (folder.path().join("id.png"), folder.path().join("folder.png"));
    let args = ["generate", "a cat", "-g", "owner/tiny", "-o", utf8(&by_id)];
    let mut command = promptist(&[&args[..], &FEW].concat());
    succeed(command.env("HF_HUB_CACHE", folder.path().join("hub")).output().expect("the program starts"));
    succeed(generate(&golden("diffusion_v2"), "a cat", &by_folder, &FEW));
    assert_eq!(pixels(&by_id), pixels(&by_folder));
    let provenance = read_provenance(&by_id).expect("a PNG").expect("a provenance");
    assert_eq!(provenance.generator.name, "owner/tiny");
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_finished_images_and_exits_with_130() {
    let folder = folder();
    let out = folder.path().join("cat.png");
    let model = golden("diffusion_v2");
    let args = ["generate", "a cat", "-g", utf8(&model), "-o", utf8(&out), "-n", "10000"];
    let child = promptist(&[&args[..], &FEW].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    while !folder.path().join("cat-2.png").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupt.expect("kill runs").success());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("interrupted"), "{}", text(&output.stderr));
    let told: Vec<PathBuf> = text(&output.stdout).lines().map(PathBuf::from).collect();
    assert!((2..10_000).contains(&told.len()));
    assert_eq!(names(folder.path()).len(), told.len(), "no file is left that is no image");
    for (path, seed) in told.iter().zip(0..) {
        assert_eq!(pixels(path).dimensions(), (32, 24));
        assert_eq!(read_provenance(path).expect("a PNG").expect("a provenance").seed, Some(seed));
    }
}
