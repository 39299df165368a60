//! `promptist generate` as people run it, before servers that speak AUTOMATIC1111's contract.

#[allow(dead_code, reason = "the library's tests use the rest")]
#[path = "../../promptist/tests/generators/fake.rs"]
mod fake;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fake::{Question, Reply, Server, base64, drawing, png};
use promptist::generator::png::{Provenance, read_provenance, read_text};
use serde_json::{Value, json};

const SIZE: [&str; 4] = ["--width", "24", "--height", "16"];

fn promptist(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_promptist"));
    command
        .args(args)
        .env_remove("PROMPTIST_LOG")
        .env_remove("OPENAI_API_KEY")
        .env("HF_HUB_OFFLINE", "1")
        .stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    promptist(args).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// A web UI that draws what it is asked for, except where `fault` says otherwise of a seed.
fn webui(fault: impl Fn(u64) -> Option<Reply> + Send + Sync + 'static) -> Server {
    Server::start(move |question: &Question| {
        if question.is("GET", "/sdapi/v1/options") {
            return Reply::Json(json!({"sd_model_checkpoint": "v1-5", "sd_checkpoint_hash": "6ce0161689"}));
        }
        if !question.is("POST", "/sdapi/v1/txt2img") {
            return Reply::status(404);
        }
        let body = question.json();
        let number = |key: &str| body[key].as_u64().expect(key);
        let seed = number("seed");
        fault(seed).unwrap_or_else(|| {
            let (width, height) = (number("width") as u32, number("height") as u32);
            let image = drawing(body["prompt"].as_str().expect("a prompt"), seed, width, height);
            let info =
                json!({"all_seeds": [seed], "index_of_first_image": 0, "width": width, "height": height});
            Reply::Json(json!({"images": [base64(&png(&image))], "info": info.to_string()}))
        })
    })
}

/// `promptist generate` of that prompt into `out`, small.
fn generate(server: &str, prompt: &str, out: &Path, more: &[&str]) -> Output {
    let out = out.to_str().expect("UTF-8");
    run(&[&["generate", prompt, "--generator", server, "--out", out][..], &SIZE, more].concat())
}

fn a1111(servers: &[&Server]) -> String {
    servers.iter().map(|server| format!("a1111+{}", server.url())).collect::<Vec<_>>().join(",")
}

#[track_caller]
fn assert_image(path: &Path, prompt: &str, seed: u64) {
    let image = image::open(path).expect("a picture").to_rgb8();
    assert!(image == drawing(prompt, seed, 24, 16), "{} is another picture", path.display());
}

/// Names of the folder's files, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn one_image_is_the_file_that_was_named() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let out = folder.path().join("cat.png");
    std::fs::write(&out, "an older file").expect("writable");
    let output = generate(&a1111(&[&webui(|_| None)]), "a cat", &out, &["--seed", "7"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), format!("{}\n", out.display()));
    assert_image(&out, "a cat", 7);
    assert_eq!(names(folder.path()), ["cat.png"]);
}

#[test]
fn several_images_take_seeds_in_a_row_and_say_how_they_were_made() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let servers = [webui(|_| None), webui(|_| None)];
    let server = a1111(&[&servers[0], &servers[1]]);
    let more = ["--seed", "5", "-n", "4", "--json", "--negative-prompt", "grey", "--guidance-scale", "3"];
    let output = generate(&server, "a 猫", &folder.path().join("cat.png"), &more);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(names(folder.path()), ["cat-1.png", "cat-2.png", "cat-3.png", "cat-4.png"]);

    let lines: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 4);
    for (line, number) in lines.iter().zip(1..) {
        let path = folder.path().join(format!("cat-{number}.png"));
        let seed = 4 + number;
        assert_eq!(line["path"], path.to_str().expect("UTF-8"), "lines are in the images' order");
        assert_eq!(line["seed"], seed);
        assert_eq!(line["settings"]["guidance_scale"], 3.0);
        assert_eq!(line["generator"]["takes_seeds"], true);
        assert!(line["elapsed_ms"].as_f64().expect("a time") > 0.0);
        assert_image(&path, "a 猫", seed);

        let provenance = read_provenance(&path).expect("a PNG").expect("a provenance");
        let said: Provenance = serde_json::from_value(line.clone()).expect("the line holds a provenance");
        assert_eq!(provenance, said);
        let parameters = read_text(&path, "parameters").expect("a PNG").expect("a text");
        let opening = "a 猫\nNegative prompt: grey\nSteps: 20, CFG scale: 3, ";
        assert!(parameters.starts_with(&format!("{opening}Seed: {seed}, Size: 24x16, ")), "{parameters}");
    }
}

#[test]
fn a_failure_leaves_the_images_before_it_and_is_named() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = webui(|seed| (seed == 2).then(|| Reply::status(422)));
    let output = generate(&a1111(&[&server]), "a cat", &folder.path().join("cat.png"), &["-n", "5"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("as the test wants it"), "{}", text(&output.stderr));
    assert_eq!(names(folder.path()), ["cat-1.png", "cat-2.png"]);
    assert_eq!(text(&output.stdout).lines().count(), 2);
    assert!(server.asked("POST", "/sdapi/v1/txt2img").len() >= 3);
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_finished_images_and_exits_with_130() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = webui(|seed| (seed == 2).then_some(Reply::Hang));
    let out = folder.path().join("cat.png");
    let generator = a1111(&[&server]);
    let args = ["generate", "a cat", "-g", &generator, "-o", out.to_str().expect("UTF-8"), "-n", "5"];
    let child = promptist(&[&args[..], &SIZE].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    while server.asked("POST", "/sdapi/v1/txt2img").len() < 3 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupt.expect("kill runs").success());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert_eq!(names(folder.path()), ["cat-1.png", "cat-2.png"]);
    assert_image(&folder.path().join("cat-2.png"), "a cat", 1);
}

#[test]
fn a_server_without_seeds_says_so_and_alone_gets_the_key() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let openai = Server::start(|question| match question.is("POST", "/v1/images/generations") {
        true => Reply::Json(json!({"data": [{"b64_json": base64(&png(&drawing("a cat", 1, 24, 16)))}]})),
        false => Reply::Json(json!({"data": [{"id": "gpt-image-1", "owned_by": "system"}]})),
    });
    let webui = webui(|_| None);
    let out = folder.path().join("cat.png");
    for (kind, server) in [("openai", &openai), ("a1111", &webui)] {
        let generator = format!("{kind}+{}", server.url());
        let args = ["generate", "a cat", "-g", &generator, "-o", out.to_str().expect("UTF-8"), "--json"];
        let mut command = promptist(&[&args[..], &SIZE].concat());
        let output = command.env("OPENAI_API_KEY", "sk-secret").output().expect("the program starts");
        assert!(output.status.success(), "{}", text(&output.stderr));
        let line: Value = serde_json::from_slice(&output.stdout).expect("a line of JSON");
        let takes_seeds = kind == "a1111";
        assert_eq!(line["seed"].is_null(), !takes_seeds);
        assert_eq!(text(&output.stderr).contains("takes no seeds"), !takes_seeds);
        let parameters = read_text(&out, "parameters").expect("a PNG").expect("a text");
        assert_eq!(parameters.contains("Seed: "), takes_seeds);
        for question in server.questions() {
            let authorization = question.header("authorization");
            assert_eq!(authorization, (kind == "openai").then_some("Bearer sk-secret"));
        }
    }
}

/// Exit code and message, and nothing was asked of the server or written.
#[track_caller]
fn check_refused(more: &[&str], out: &str, code: i32, reason: &str) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = webui(|_| None);
    let (generator, out) = (a1111(&[&server]), folder.path().join(out));
    let args = ["generate", "a cat", "-g", &generator, "-o", out.to_str().expect("UTF-8")];
    let output = run(&[&args[..], more].concat());
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(reason), "{stderr}");
    assert!(server.questions().is_empty());
    assert!(names(folder.path()).is_empty());
}

#[test]
fn flags_that_cannot_be_are_refused_before_any_work() {
    check_refused(&["--height", "100"], "cat.png", 2, "`height`: must be a multiple of 8");
    check_refused(&["--num-inference-steps", "0"], "cat.png", 2, "num_inference_steps");
    check_refused(&["--guidance-scale", "NaN"], "cat.png", 2, "guidance_scale");
    check_refused(&["--latents", "noise.safetensors"], "cat.png", 2, "--latents needs a folder or Hub id");
    check_refused(&["-n", "0"], "cat.png", 2, "num-images-per-prompt");
    check_refused(&["--seed", "18446744073709551615", "-n", "2"], "cat.png", 2, "--seed");
    check_refused(&[], "cat.jpg", 2, "ends in .png");
    check_refused(&[], "missing/cat.png", 1, "missing/cat.png");
}

#[test]
fn a_folder_in_an_images_place_is_named() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let taken = folder.path().join("cat-2.png");
    std::fs::create_dir(&taken).expect("writable");
    let server = webui(|_| None);
    let output = generate(&a1111(&[&server]), "a cat", &folder.path().join("cat.png"), &["-n", "3"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cat-2.png: is a folder"), "{}", text(&output.stderr));
    assert!(server.questions().is_empty());
}

#[test]
fn flags_of_servers_and_of_the_pipeline_are_told_apart() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let out = folder.path().join("cat.png");
    for (more, reason) in [
        (["--scheduler", "pndm"], "must be dpm++, ddim or euler"),
        (["--workflow", "w.json"], "--workflow is for servers"),
        (["--server-model", "sdxl"], "--server-model is for servers"),
    ] {
        let output = generate("models/absent", "a cat", &out, &more);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(reason), "{}", text(&output.stderr));
    }
    let output = generate("http://host:7860", "a cat", &out, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("a1111+http://host:7860"), "{}", text(&output.stderr));
}

/// A safetensors file with that tensor, all of one value.
fn write_tensor(folder: &Path, name: &str, shape: &[usize], value: f32) -> PathBuf {
    let len: usize = 4 * shape.iter().product::<usize>();
    let header = json!({name: {"dtype": "F32", "shape": shape, "data_offsets": [0, len]}}).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes.extend(value.to_le_bytes().repeat(len / 4));
    let path = folder.join("noise.safetensors");
    std::fs::write(&path, bytes).expect("writable");
    path
}

#[test]
fn latents_that_do_not_fit_are_refused_before_the_model_is_looked_for() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let check = |name: &str, shape: &[usize], value: f32, more: &[&str], reasons: &[&str]| {
        let path = write_tensor(folder.path(), name, shape, value);
        let more = [&["--latents", path.to_str().expect("UTF-8")][..], more].concat();
        let output = generate("models/absent", "a cat", &folder.path().join("cat.png"), &more);
        assert_eq!(output.status.code(), Some(1));
        let stderr = text(&output.stderr);
        for reason in reasons {
            assert!(stderr.contains(reason), "{reason}: {stderr}");
        }
    };
    check("latents", &[2, 4, 3, 2], 0.5, &[], &["noise.safetensors", "[2, 4, 2, 3]", "[2, 4, 3, 2]"]);
    check("latents", &[4, 2, 3], 0.5, &[], &["[4, 2, 3]"]);
    check("noise", &[1, 4, 2, 3], 0.5, &[], &["`latents`", "nothing"]);
    check("latents", &[2, 4, 2, 3], 0.5, &["-n", "3"], &["holds 2 images", "asks for 3"]);
    check("latents", &[1, 4, 2, 3], f32::NAN, &[], &["not finite"]);
    check("latents", &[1, 4, 2, 3], 0.5, &[], &["models/absent"]);
    check("latents", &[2, 4, 2, 3], 0.5, &["-n", "2"], &["models/absent"]);
}

#[test]
fn help_teaches_by_examples() {
    let output = run(&["generate", "--help"]);
    assert!(output.status.success());
    let help = text(&output.stdout);
    for words in ["Examples:", "a1111+http://localhost:7860", "--latents", "unit normal", "Ctrl-C"] {
        assert!(help.contains(words), "{words}: {help}");
    }
}
