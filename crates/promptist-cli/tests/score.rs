//! `promptist score` as people run it: a web UI that draws, tiny judges with random weights.

#[allow(dead_code, reason = "the library's tests use the rest")]
#[path = "../../promptist/tests/generators/fake.rs"]
mod fake;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use fake::{Question, Reply, Server, base64, drawing, png};
use serde_json::{Value, json};
use tempfile::TempDir;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../promptist/tests/golden").join(name)
}

/// A web UI that draws every prompt, except those with `refused` in them; slowly if asked.
fn webui(refused: &'static str, pause: Duration) -> Server {
    Server::start(move |question: &Question| {
        if question.is("GET", "/sdapi/v1/options") {
            return Reply::Json(json!({"sd_model_checkpoint": "v1-5", "sd_checkpoint_hash": "6ce0161689"}));
        }
        if !question.is("POST", "/sdapi/v1/txt2img") {
            return Reply::status(404);
        }
        let body = question.json();
        let number = |key: &str| body[key].as_u64().expect(key);
        let prompt = body["prompt"].as_str().expect("a prompt");
        if !refused.is_empty() && prompt.contains(refused) {
            return Reply::status(422);
        }
        std::thread::sleep(pause);
        let (width, height) = (number("width") as u32, number("height") as u32);
        let seeds: Vec<u64> = (0..number("batch_size")).map(|j| number("seed") + j).collect();
        let images: Vec<String> =
            seeds.iter().map(|&seed| base64(&png(&drawing(prompt, seed, width, height)))).collect();
        let info = json!({"all_seeds": seeds, "index_of_first_image": 0, "width": width, "height": height});
        Reply::Json(json!({"images": images, "info": info.to_string()}))
    })
}

/// How many images the server was asked for.
fn images_asked(server: &Server) -> usize {
    let questions = server.asked("POST", "/sdapi/v1/txt2img");
    questions.iter().map(|question| question.json()["batch_size"].as_u64().expect("a number") as usize).sum()
}

/// A folder with a config for that generator.
fn workplace(generator: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    let config = format!(
        "generator = {generator:?}\nclip = {:?}\naesthetic = {:?}\nseed = 3\n\
         [images]\nwidth = 32\nheight = 32\nnum_inference_steps = 2\n[cache]\nfolder = {:?}\n",
        golden("clip/quick_gelu"),
        golden("clip/heads/chain.pth"),
        folder.path().join("cache"),
    );
    std::fs::write(folder.path().join("score.toml"), config).expect("writable");
    folder
}

fn a1111(servers: &[&Server]) -> String {
    servers.iter().map(|server| format!("a1111+{}", server.url())).collect::<Vec<_>>().join(",")
}

fn write_pairs(folder: &Path, count: usize) {
    let pair = |i| json!({"user_input": format!("cat {i}"), "adapted_prompt": format!("cat {i}, 8k")});
    let lines: String = (0..count).map(|i| format!("{}\n", pair(i))).collect();
    std::fs::write(folder.join("pairs.jsonl"), lines).expect("writable");
}

fn score(folder: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_promptist"));
    command
        .args(["score", "--input", "pairs.jsonl", "--config", "score.toml"])
        .args(more)
        .current_dir(folder)
        .env_remove("PROMPTIST_LOG")
        .env("HF_HUB_OFFLINE", "1")
        .stdin(Stdio::null());
    command
}

fn run(folder: &Path, more: &[&str]) -> Output {
    score(folder, more).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

fn rows(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn the_second_run_of_a_hundred_pairs_makes_no_image() {
    let servers = [webui("", Duration::ZERO), webui("", Duration::ZERO)];
    let folder = workplace(&a1111(&[&servers[0], &servers[1]]));
    write_pairs(folder.path(), 100);
    let first = run(folder.path(), &["--json"]);
    assert!(first.status.success(), "{}", text(&first.stderr));
    let asked = || servers.iter().map(images_asked).sum::<usize>();
    assert_eq!(asked(), 400);
    assert!(text(&first.stderr).contains("400 images made, 0 were there"), "{}", text(&first.stderr));

    let second = run(folder.path(), &["--json"]);
    assert!(second.status.success(), "{}", text(&second.stderr));
    assert_eq!(asked(), 400, "the second run made images");
    let (first, second) = (rows(&first), rows(&second));
    assert_eq!(first.len(), 100);
    for (place, (first, mut second)) in first.into_iter().zip(second).enumerate() {
        assert_eq!(first["user_input"], format!("cat {place}"), "rows are in the order of the input");
        assert_eq!(first["seeds"], json!([3, 4]));
        assert_eq!((&first["cached"], &second["cached"]), (&json!(false), &json!(true)));
        let number = |key: &str| first[key].as_f64().expect(key);
        assert!((number("score") - number("relevance") - number("aesthetic_gain")).abs() < 1e-5);
        second["cached"] = json!(false);
        assert_eq!(first, second);
    }
}

#[test]
fn a_kill_loses_at_most_the_images_under_way() {
    let server = webui("", Duration::from_millis(30));
    let folder = workplace(&a1111(&[&server]));
    write_pairs(folder.path(), 20);
    let mut child = score(folder.path(), &["--json"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    while images_asked(&server) < 24 {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("SIGKILL");
    child.wait().expect("it ends");
    let output = run(folder.path(), &["--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(rows(&output).len(), 20);
    // 80 images, and again the two of one prompt that were under way, and two that were made and not yet kept.
    let asked = images_asked(&server);
    assert!((80..=84).contains(&asked), "{asked} images were asked for");
}

#[test]
fn a_failure_is_a_row_with_its_reason_and_exit_code_1() {
    let server = webui("cursed", Duration::ZERO);
    let folder = workplace(&a1111(&[&server]));
    let lines = [
        json!({"user_input": "a cat", "adapted_prompt": "a cursed cat"}),
        json!({"user_input": " ", "adapted_prompt": "a cat"}),
        json!({"user_input": "a cat", "outputs": [{"text": "a cat, 8k", "score": -1.0}], "seed": null}),
        json!({"user_input": "a dog", "error": "the prompt has 2000 tokens"}),
        json!({"user_input": "a dog", "adapted_prompt": ""}),
    ];
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(folder.path().join("pairs.jsonl"), lines).expect("writable");
    let output = run(folder.path(), &["--json", "--output", "rows.jsonl"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty());
    let content = std::fs::read_to_string(folder.path().join("rows.jsonl")).expect("a file");
    let rows: Vec<Value> = content.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(rows.len(), 5);
    for place in [0, 1, 3] {
        assert!(rows[place]["error"].is_string() && rows[place]["score"].is_null(), "{}", rows[place]);
    }
    assert_eq!(rows[2]["adapted_prompt"], "a cat, 8k");
    assert!(rows[2]["score"].is_f64());
    // An empty rewrite is drawn as the input: nothing gained.
    assert_eq!(rows[4]["aesthetic_gain"], 0.0);
    assert!(text(&output.stderr).contains("3 of 5 pairs have no score"), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("pairs.jsonl:1:"), "{}", text(&output.stderr));
}

#[test]
fn the_gallery_is_one_file_with_every_image() {
    let server = webui("", Duration::ZERO);
    let folder = workplace(&a1111(&[&server]));
    let pair = json!({"user_input": "a <b> cat", "adapted_prompt": "a <b> cat, \"8k\""});
    std::fs::write(folder.path().join("pairs.jsonl"), format!("{pair}\n")).expect("writable");
    let output = run(folder.path(), &["--gallery", "gallery.html"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("gain"), "{}", text(&output.stdout));
    let page = std::fs::read_to_string(folder.path().join("gallery.html")).expect("a page");
    assert_eq!(page.matches("data:image/jpeg;base64,").count(), 4);
    assert!(page.contains("a &lt;b&gt; cat<mark>, &quot;8k&quot;</mark>"));
    assert!(!page.contains("{{") && !page.contains("src=\"http") && !page.contains("href="));
}

#[test]
fn our_own_stable_diffusion_is_scored_too() {
    let folder = workplace(golden("diffusion_v1").to_str().expect("UTF-8"));
    write_pairs(folder.path(), 2);
    let output = run(folder.path(), &["--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let scored = rows(&output);
    assert_eq!(scored.len(), 2);
    assert_ne!(scored[0]["score"], scored[1]["score"]);
    assert_eq!(rows(&run(folder.path(), &["--json"]))[1]["score"], scored[1]["score"]);
}

#[test]
fn what_is_wrong_is_named_before_any_work() {
    let server = webui("", Duration::ZERO);
    let folder = workplace(&a1111(&[&server]));
    let path = folder.path();
    let config = std::fs::read_to_string(path.join("score.toml")).expect("a config");
    let check = |pairs: &str, config: &str, expected: &str| {
        std::fs::write(path.join("pairs.jsonl"), pairs).expect("writable");
        std::fs::write(path.join("score.toml"), config).expect("writable");
        let output = run(path, &[]);
        assert_eq!(output.status.code(), Some(1), "{expected}");
        assert!(text(&output.stderr).contains(expected), "{expected}: {}", text(&output.stderr));
    };
    let good = "{\"user_input\": \"a cat\", \"adapted_prompt\": \"a cat, 8k\"}\n";
    check(&format!("{good}{{\"user_input\": 3}}\n"), &config, "pairs.jsonl:2: expected user_input");
    check(&format!("{good}nonsense\n"), &config, "pairs.jsonl:2:");
    check("\n", &config, "holds no pair");
    check(good, &config.replace("seed = 3", "sede = 3"), "sede");
    check(good, &config.replace("chain.pth", "absent.pth"), "absent.pth");
    check(good, &config.replace("width = 32", "width = 33"), "width");
    check(good, &config.replace("a1111+", "a1112+"), "a1111");
    assert!(server.questions().is_empty());
}
