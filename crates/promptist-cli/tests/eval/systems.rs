//! Systems that are no model: people, files, chat models; and what a config may not say.

use serde_json::{Value, json};

use crate::fake::{Question, Reply, Server};
use crate::world::{FEW, INPUT, TINY, World, cell, text};

const SET: &str = "[[sets]]\nname = \"a\"\npath = \"a.jsonl\"\n";

fn world(systems: &str) -> World {
    let world = World::new();
    let line = |user_input: &str, human: Option<&str>, category: &str, kind: &str| {
        json!({"user_input": user_input, "human_prompt": human, "category": category, "source_kind": kind})
            .to_string()
    };
    let lines = [
        line("a cat", Some("a cat, 8k, artstation"), "animals", "MC"),
        line("one dog and two cats", Some("one dog, sharp focus"), "animals", "RMC"),
        line("a house", None, "places", "MC"),
    ];
    world.write("a.jsonl", &lines.each_ref().map(String::as_str));
    world.write("eval.toml", &[FEW, systems, SET]);
    world
}

#[test]
fn a_human_counts_where_there_is_one_and_kinds_are_reported_apart() {
    let world = world(&format!("{INPUT}[[systems]]\nname = \"human\"\nkind = \"human\"\n"));
    world.succeed("run", &[]);
    let report = world.report("run");
    let names: Vec<&str> =
        report["sets"].as_array().expect("sets").iter().filter_map(|set| set["name"].as_str()).collect();
    assert_eq!(names, ["a", "a/MC", "a/RMC"]);
    let kept = |set: &str| cell(&report, set, "content_kept", "human").clone();
    let whole = kept("a");
    assert_eq!((&whole["n"], &whole["missing"]), (&2.into(), &1.into()));
    assert_eq!((&kept("a/RMC")["n"], &kept("a/RMC")["missing"]), (&1.into(), &0.into()));
    assert!(whole["interval"]["mean"].as_f64().expect("a mean") < 1.0, "the human lost two cats");
    let comparison = report["comparisons"]
        .as_array()
        .expect("comparisons")
        .iter()
        .find(|of| of["set"] == "a" && of["measure"] == "content_kept")
        .expect("a comparison");
    assert_eq!((&comparison["n"], &comparison["counts"]["losses"]), (&2.into(), &1.into()));
    let categories = report["sets"][0]["categories"].clone();
    assert_eq!(categories, json!([{"name": "animals", "n": 2}, {"name": "places", "n": 1}]));
    let parts = report["breakdowns"].as_array().expect("breakdowns");
    assert!(parts.iter().any(|of| of["by"] == "category" && of["part"] == "animals" && of["n"] == 2));
}

#[test]
fn a_file_s_missing_rows_are_missing_and_no_zeros() {
    let world = world(&format!("{INPUT}[[systems]]\nname = \"file\"\nkind = \"file\"\npath = \"r.jsonl\"\n"));
    world.write(
        "r.jsonl",
        &[
            r#"{"user_input": "a cat ", "adapted_prompt": "a cat, 8k"}"#,
            r#"{"user_input": "one dog and two cats", "error": "the prompt is too long"}"#,
        ],
    );
    world.succeed("run", &[]);
    let report = world.report("run");
    for measure in ["content_kept", "tokens", "added_phrases", "distinct_1"] {
        let cell = cell(&report, "a", measure, "file");
        assert_eq!((&cell["n"], &cell["missing"], &cell["undefined"]), (&1.into(), &2.into(), &0.into()));
    }
    assert_eq!(cell(&report, "a", "added_phrases", "file")["interval"]["mean"], 1.0);
    let reasons: Vec<&str> = report["failures"]
        .as_array()
        .expect("failures")
        .iter()
        .filter_map(|of| of["reason"].as_str())
        .collect();
    assert_eq!(reasons, ["the prompt is too long", "the file has no rewrite of it"]);
    assert_eq!(report["systems"][1]["file"]["rewrites"], 2);
    let row = &world.rows("run")[3];
    assert_eq!((&row["row_id"], &row["values"]), (&"a:1:file".into(), &json!({})));
}

#[test]
fn what_adapt_prints_is_a_file_of_rewrites() {
    let world = world(&format!("{TINY}[[systems]]\nname = \"file\"\nkind = \"file\"\npath = \"r.jsonl\"\n"));
    let adapt = std::process::Command::new(env!("CARGO_BIN_EXE_promptist"))
        .args(["adapt", "--model", "model", "--input", "a.jsonl", "--json"])
        .current_dir(world.path("."))
        .output()
        .expect("the program starts");
    assert!(adapt.status.success(), "{}", text(&adapt.stderr));
    std::fs::write(world.path("r.jsonl"), &adapt.stdout).expect("writable");
    world.succeed("run", &[]);
    let rows = world.rows("run");
    for of_input in rows.chunks(2) {
        let rewrite = |row: &Value| row["rewrites"][0]["adapted_prompt"].clone();
        assert_eq!(rewrite(&of_input[0]), rewrite(&of_input[1]));
    }
}

/// A chat server that is away once, and refuses dogs.
fn chat() -> Server {
    let calls = std::sync::atomic::AtomicUsize::new(0);
    Server::start(move |question: &Question| {
        if !question.is("POST", "/v1/chat/completions") {
            return Reply::status(404);
        }
        if calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
            return Reply::status(503);
        }
        let user_input = question.json()["messages"][1]["content"].as_str().expect("text").to_owned();
        match user_input.contains("dog") {
            true => Reply::status(400),
            false => {
                let content = format!("\n\"{user_input}, 8k\"\nI added a style.");
                Reply::Json(json!({"choices": [{"message": {"role": "assistant", "content": content}}]}))
            }
        }
    })
}

#[test]
fn a_chat_model_is_asked_with_its_prompt_and_a_refused_input_is_missing() {
    let server = chat();
    let system = format!(
        "[[systems]]\nname = \"chat\"\nkind = \"openai\"\n[systems.openai]\nurl = \"{}/v1\"\nmodel = \"m\"\n\
         system_prompt = \"improve\"\nbackoff_secs = 0.01\n",
        server.url()
    );
    let world = world(&format!("{INPUT}{system}"));
    let args = ["--config", "eval.toml", "--out", "run"];
    let output =
        world.command(&args).env("OPENAI_API_KEY", "sk-secret").output().expect("the program starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!text(&output.stderr).contains("sk-secret"));

    let asked = server.asked("POST", "/v1/chat/completions");
    assert_eq!(asked.len(), 4, "three inputs, one of them twice");
    assert_eq!(asked[0].header("authorization"), Some("Bearer sk-secret"));
    let body = asked[0].json();
    assert_eq!((&body["model"], &body["temperature"]), (&"m".into(), &0.0.into()));
    assert_eq!(body["messages"][0], json!({"role": "system", "content": "improve"}));
    let report = world.report("run");
    let found = cell(&report, "a", "added_phrases", "chat");
    assert_eq!(
        (&found["n"], &found["missing"], &found["interval"]["mean"]),
        (&2.into(), &1.into(), &1.0.into())
    );
    assert!(report["failures"][0]["reason"].as_str().expect("a reason").contains("400"));
    let replay = world.command(&["replay", "run", "a:0:chat"]).output().expect("the program starts");
    assert!(replay.status.success() && text(&replay.stdout).contains("a cat, 8k\n  as recorded"));
}

#[test]
fn a_key_that_a_server_does_not_know_ends_the_run_and_names_the_server() {
    let server = Server::start(|_| Reply::status(401));
    let world = world(&format!(
        "[[systems]]\nname = \"chat\"\nkind = \"openai\"\n[systems.openai]\nurl = \"{}\"\nmodel = \"m\"\n",
        server.url()
    ));
    let error = world.fail("run", &[]);
    assert!(error.contains("401") && error.contains(&server.url()), "{error}");
}

#[test]
fn several_models_are_one_system_and_count_an_input_once() {
    let systems = "[[systems]]\nname = \"seeds\"\nkind = \"model\"\nmodels = [\"model\", \"other\"]\n";
    let world = world(&format!("{INPUT}{systems}"));
    world.add_model("other", 6);
    world.succeed("run", &[]);
    let report = world.report("run");
    let found = cell(&report, "a", "added_phrases", "seeds");
    assert_eq!((&found["n"], found["by_model"].as_array().map(Vec::len)), (&3.into(), Some(2)));
    let means = found["by_model"].as_array().expect("means");
    let mean = means.iter().filter_map(Value::as_f64).sum::<f64>() / 2.0;
    assert!((found["interval"]["mean"].as_f64().expect("a mean") - mean).abs() < 1e-12);
    let row = &world.rows("run")[1];
    assert_eq!(row["rewrites"].as_array().map(Vec::len), Some(2));
    assert_ne!(report["systems"][1]["models"][0]["identity"], report["systems"][1]["models"][1]["identity"]);
    let replay = world.command(&["replay", "run", "a:0:seeds"]).output().expect("the program starts");
    assert_eq!(text(&replay.stdout).matches("made again: the same").count(), 2, "{}", text(&replay.stderr));
}

#[test]
fn mistakes_are_named() {
    let world = world(TINY);
    let config = |text: &str| world.write("eval.toml", &[FEW, text, SET]);
    config("[[systems]]\nname = \"x\"\nkind = \"model\"\n");
    let error = world.fail("run", &[]);
    assert!(error.contains("eval.toml") && error.contains("systems.x.model"), "{error}");
    config("[[systems]]\nname = \"x\"\nkind = \"model\"\nmodel = \"absent\"\n");
    let error = world.fail("run", &[]);
    assert!(error.contains("absent"), "{error}");
    config(&format!("{TINY}[systems.decoding]\nnum_beams = 4\nnum_beam_groups = 3\n"));
    let error = world.fail("run", &[]);
    assert!(error.contains("num_beams"), "{error}");
    world.write("eval.toml", &[FEW, TINY, "[[sets]]\nname = \"a\"\npath = \"none.txt\"\n"]);
    let error = world.fail("run", &[]);
    assert!(error.contains("none.txt"), "{error}");
    assert!(!world.path("run").exists(), "a mistake leaves no folder behind");
}

#[test]
fn a_row_is_made_again_by_its_id() {
    let world = world(TINY);
    world.succeed("run", &[]);
    let replay =
        |id: &str| world.command(&["replay", "run", id, "--json"]).output().expect("the program starts");
    let output = replay("a:1:tiny");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(found["row"]["user_input"], "one dog and two cats");
    assert_eq!(
        (&found["replayed"][0]["made_again"], &found["replayed"][0]["differences"]),
        (&true.into(), &json!([]))
    );
    let error = replay("a:7:tiny");
    assert!(text(&error.stderr).contains("no row `a:7:tiny`"), "{}", text(&error.stderr));

    // Other weights under the same name are found out.
    std::fs::remove_dir_all(world.path("model")).expect("there");
    world.add_model("model", 9);
    let output = replay("a:1:tiny");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("\"what\":\"model\""), "{}", text(&output.stdout));
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let world = world(&format!("{INPUT}{TINY}"));
    let output = world.succeed("run", &["--dry-run"]);
    let printed = text(&output.stdout);
    assert!(printed.contains("a: 3 inputs, 2 with a human prompt"), "{printed}");
    assert!(printed.contains("MC: 2") && printed.contains("6 rewrites by 2 systems"), "{printed}");
    assert!(!world.path("run").exists());
}
