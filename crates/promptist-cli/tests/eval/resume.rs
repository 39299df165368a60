//! A run that is killed goes on where it stopped, and what comes out is what would have come out.

use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::fake::{Question, Reply, Server};
use crate::world::{FEW, INPUT, TINY, World, text};

/// A chat server that takes its time, and more of it when told to.
fn slow_chat(pause_ms: Arc<AtomicU64>) -> Server {
    Server::start(move |question: &Question| {
        std::thread::sleep(Duration::from_millis(pause_ms.load(Ordering::SeqCst)));
        let user_input = question.json()["messages"][1]["content"].as_str().expect("text").to_owned();
        let content = format!("{user_input}, 8k, of {} letters", user_input.len());
        Reply::Json(json!({"choices": [{"message": {"content": content}}]}))
    })
}

const ASK: &str = "/chat/completions";

fn world(server: &Server) -> World {
    let world = World::new();
    let inputs: Vec<String> = (0..30).map(|i| format!("{} cats number {i}", "big ".repeat(i % 5))).collect();
    world.write("a.txt", &inputs.iter().map(String::as_str).collect::<Vec<_>>());
    world.write("b.txt", &["a dog", "a house"]);
    let chat = format!(
        "[[systems]]\nname = \"chat\"\nkind = \"openai\"\n[systems.openai]\nurl = \"{}\"\nmodel = \"m\"\nparallel = 1\n",
        server.url()
    );
    let sets = "[[sets]]\nname = \"a\"\npath = \"a.txt\"\n[[sets]]\nname = \"b\"\npath = \"b.txt\"\n";
    let more =
        "[[reward]]\nname = \"kept\"\nkind = \"retention\"\n[diversity]\ngroups = 4\nlimit = 9\n[fit]\n";
    world.write("eval.toml", &[FEW, INPUT, TINY, &chat, sets, more]);
    world
}

fn start(world: &World, run: &str, more: &[&str]) -> Child {
    let args = [&["--config", "eval.toml", "--out", run, "--threads", "1"], more].concat();
    world.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts")
}

/// Waits until the server was asked that often since `before`.
fn until_asked(server: &Server, before: usize, count: usize) {
    while server.asked("POST", ASK).len() < before + count {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn killed_twice_and_resumed_equals_uninterrupted() {
    let pause = Arc::new(AtomicU64::new(0));
    let server = slow_chat(Arc::clone(&pause));
    let world = world(&server);
    world.succeed("whole", &[]);
    let asked = server.asked("POST", ASK).len();
    assert_eq!(asked, 32);

    pause.store(40, Ordering::SeqCst);
    for (more, count) in [(&[][..], 12), (&["--resume"][..], 6)] {
        let before = server.asked("POST", ASK).len();
        let mut child = start(&world, "killed", more);
        until_asked(&server, before, count);
        child.kill().expect("SIGKILL");
        child.wait().expect("it ends");
        assert!(!world.path("killed/report.json").exists());
    }
    pause.store(0, Ordering::SeqCst);
    world.succeed("killed", &["--resume"]);
    // Chunks are of 8 inputs: one that was not whole is asked again, and a call may be under way.
    let again = server.asked("POST", ASK).len() - asked;
    assert!((32..=32 + 2 * 9).contains(&again), "{again} calls");
    assert_eq!(world.read("whole/rows.jsonl"), world.read("killed/rows.jsonl"));
    assert_eq!(world.report("whole"), world.report("killed"));
    assert_eq!(world.read("whole/config.toml"), world.read("killed/config.toml"));

    // A run that is done says the same again, and asks nobody.
    let before = server.asked("POST", ASK).len();
    world.succeed("killed", &["--resume"]);
    assert_eq!(server.asked("POST", ASK).len(), before);
    assert_eq!(world.report("whole"), world.report("killed"));
}

#[cfg(unix)]
#[test]
fn signals_stop_between_chunks_and_have_their_codes() {
    let pause = Arc::new(AtomicU64::new(20));
    let server = slow_chat(Arc::clone(&pause));
    let world = world(&server);
    for (signal, code, more) in [("INT", 130, &[][..]), ("TERM", 143, &["--resume"][..])] {
        let before = server.asked("POST", ASK).len();
        let mut child = start(&world, "run", more);
        until_asked(&server, before, 3);
        let killed = std::process::Command::new("kill")
            .args([format!("-{signal}"), child.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(killed.success());
        assert_eq!(child.wait().expect("it ends").code(), Some(code));
    }
    pause.store(0, Ordering::SeqCst);
    world.succeed("run", &["--resume"]);
}

#[test]
fn another_config_or_other_inputs_are_refused_by_name() {
    let server = slow_chat(Arc::default());
    let world = world(&server);
    world.succeed("run", &[]);
    let config = world.read("eval.toml");
    std::fs::write(world.path("eval.toml"), config.replace("resamples = 60", "resamples = 61"))
        .expect("writable");
    let error = world.fail("run", &["--resume"]);
    assert!(error.contains("another config") && error.contains("`resamples` was 60, is 61"), "{error}");

    std::fs::write(world.path("eval.toml"), config).expect("writable");
    world.write("b.txt", &["a dog", "a horse"]);
    let error = world.fail("run", &["--resume"]);
    assert!(error.contains("sets[1].sha256"), "{error}");

    world.write("b.txt", &["a dog", "a house"]);
    std::fs::remove_dir_all(world.path("model")).expect("there");
    world.add_model("model", 9);
    let error = world.fail("run", &["--resume"]);
    assert!(error.contains("models[0]") && error.contains("sha256"), "{error}");
}

#[test]
fn a_torn_journal_is_mended() {
    let server = slow_chat(Arc::default());
    let world = world(&server);
    world.succeed("run", &[]);
    let (rows, report) = (world.read("run/rows.jsonl"), world.report("run"));
    for entry in std::fs::read_dir(world.path("run/journal")).expect("a folder") {
        let path = entry.expect("a file").path();
        let bytes = std::fs::read(&path).expect("a file");
        std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("writable");
    }
    std::fs::remove_file(world.path("run/report.json")).expect("there");
    let output = world.succeed("run", &["--resume"]);
    assert!(text(&output.stdout).contains("# Evaluation"));
    assert_eq!(world.read("run/rows.jsonl"), rows);
    assert_eq!(world.report("run"), report);
}
