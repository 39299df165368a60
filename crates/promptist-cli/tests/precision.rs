//! `--precision`, `PROMPTIST_ISA` and `promptist model precision`, with the model inside the program.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

const ISAS: [&str; 4] = ["portable", "avx2", "avx512", "neon"];

fn run(args: &[&str], isa: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_promptist"))
        .args(args)
        .env_remove("PROMPTIST_LOG")
        .env("PROMPTIST_ISA", isa)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn auto_says_what_it_picked_and_answers_as_that_does() {
    let adapt = |precision| json(&run(&["adapt", "--json", "--precision", precision, "a castle"], ""));
    let auto = adapt("auto");
    let picked = auto["settings"]["precision"].as_str().expect("a name").to_owned();
    assert_eq!(picked, "int8", "by models/mini/precision.json");
    for precision in ["f32", "bf16", "int8"] {
        let answer = adapt(precision);
        assert_eq!(answer["settings"]["precision"], precision);
        assert!(precision != picked || answer["outputs"] == auto["outputs"]);
        assert!(answer["outputs"][0]["text"].as_str().expect("text").starts_with("a castle, "));
    }
}

#[test]
fn int8_gives_the_same_answer_on_every_instruction_set_and_any_number_of_threads() {
    let adapt = |isa: &str, threads: &str| {
        let args = [
            "adapt",
            "--json",
            "--precision",
            "int8",
            "--threads",
            threads,
            "-n",
            "2",
            "--num-beams",
            "4",
            "a castle",
        ];
        let output = run(&args, isa);
        output.status.success().then(|| json(&output)["outputs"].clone())
    };
    let portable = adapt("portable", "1").expect("every CPU can");
    assert_eq!(adapt("portable", "3").expect("every CPU can"), portable);
    for isa in ISAS {
        // Those that the CPU lacks are refused.
        if let Some(outputs) = adapt(isa, "2") {
            let texts = |outputs: &Value| {
                outputs.as_array().expect("two").iter().map(|o| o["text"].clone()).collect::<Vec<_>>()
            };
            assert_eq!(texts(&outputs), texts(&portable), "{isa}");
        }
    }
}

#[test]
fn unknown_and_missing_instruction_sets_are_named() {
    let output = run(&["adapt", "a castle"], "sse9");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("found `sse9`"));
    let missing = if cfg!(target_arch = "x86_64") { "neon" } else { "avx2" };
    let output = run(&["adapt", "a castle"], missing);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains(missing));
}

#[test]
fn a_report_of_precisions_is_of_the_models_weights() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    std::fs::write(path("inputs.txt"), "a cat\na castle on a hill\n").expect("writable");
    let args = [
        "model",
        "precision",
        "mini",
        "--input",
        &path("inputs.txt"),
        "--output",
        &path("precision.json"),
        "--json",
    ];
    let printed = json(&run(&args, ""));
    let written: Value =
        serde_json::from_slice(&std::fs::read(path("precision.json")).expect("written")).expect("JSON");
    assert_eq!(printed, written);
    assert_eq!(written["texts"], 2);
    let info = json(&run(&["model", "info", "mini", "--json"], ""));
    assert_eq!(written["sha256"], info["sha256"]);
    let names: Vec<&str> = written["precisions"]
        .as_array()
        .expect("rows")
        .iter()
        .filter_map(|row| row["precision"].as_str())
        .collect();
    assert_eq!(names, ["bf16", "int8"]);
}

#[test]
fn a_run_is_drawn_as_a_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let run_folder = folder.path().to_str().expect("UTF-8");
    let output = run(&["train", "report", run_folder], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("metrics.jsonl"));
    std::fs::write(
        folder.path().join("metrics.jsonl"),
        "{\"step\":1,\"train/loss\":2.0}\n{\"step\":2,\"train/loss\":1.0}\n",
    )
    .expect("writable");
    let curve = folder.path().join("curve.svg");
    let output = run(&["train", "report", run_folder, "--curve", curve.to_str().expect("UTF-8")], "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let page = std::fs::read_to_string(folder.path().join("report.html")).expect("a page");
    assert!(page.contains("<svg") && page.contains("2 steps"));
    assert!(std::fs::read_to_string(curve).expect("a curve").starts_with("<svg"));
}
