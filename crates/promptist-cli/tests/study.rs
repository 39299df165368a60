//! `promptist study` as people run it: made, served, killed in the middle, reported.

#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long anything may take that must come.
const PATIENCE: Duration = Duration::from_secs(120);

fn promptist(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_promptist"));
    command.arg("study").args(args).env_remove("PROMPTIST_LOG").stdin(Stdio::null());
    command
}

#[track_caller]
fn run(args: &[&str]) -> String {
    let output = promptist(args).output().expect("the program starts");
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Rewrites by two systems of `inputs` inputs, with an image each.
fn rows(folder: &Path, inputs: u8) -> PathBuf {
    let mut rows = String::new();
    for input in 0..inputs {
        for (system, colour) in [("sft", [200, input, 0]), ("ppo", [0, input, 200])] {
            let name = format!("{system}-{input}.png");
            image::RgbImage::from_pixel(8, 8, image::Rgb(colour)).save(folder.join(&name)).expect("saved");
            let row = json!({
                "user_input": format!("request {input}"), "system": system, "seeds": [input],
                "adapted_prompt": format!("request {input}, {system}"), "images": [name],
            });
            rows += &format!("{row}\n");
        }
    }
    let path = folder.join("rows.jsonl");
    fs::write(&path, rows).expect("written");
    path
}

/// A server and its address, as it prints it.
fn serve(study: &str, address: &str) -> (Child, SocketAddr) {
    let started = Instant::now();
    loop {
        let mut command = promptist(&["serve", study, "--addr", address]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        if let Some(address) = line.trim().strip_prefix("http://") {
            return (child, address.parse().expect("an address"));
        }
        // The port of a server that was killed may be busy for a moment.
        let output = child.wait_with_output().expect("it ended");
        assert!(started.elapsed() < PATIENCE, "{}", stderr(&output));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What came of a request; none if the server was not there for it, or sent half of an answer.
fn ask(address: SocketAddr, token: &str, method: &str, path: &str, body: &str) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).ok()?))
}

/// Asks until there is an answer, as the page does.
fn insist(address: SocketAddr, token: &str, method: &str, path: &str, body: &str) -> Value {
    let started = Instant::now();
    loop {
        match ask(address, token, method, path, body) {
            Some((200, answer)) => return answer,
            Some((status, answer)) => panic!("{status}: {answer}"),
            None => {
                assert!(started.elapsed() < PATIENCE, "the server does not come back");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

#[test]
fn a_server_that_is_killed_loses_no_answer_and_doubles_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = rows(folder.path(), 20);
    let config = folder.path().join("study.toml");
    fs::write(&config, "[raters]\nrepeats = 0.2\n[checks]\nnoise = 1\nunrelated = 0\n").expect("written");
    let study = folder.path().join("study");
    let (study, config) = (study.to_str().expect("UTF-8"), config.to_str().expect("UTF-8"));
    run(&["new", "--config", config, "--input", rows.to_str().expect("UTF-8"), "--out", study]);
    let links = run(&["invite", study, "--count", "5", "--url", "http://example.com/"]);
    let tokens: Vec<&str> =
        links.lines().map(|link| link.strip_prefix("http://example.com/?rater=").expect("a link")).collect();
    assert_eq!(tokens.len(), 5);

    let (mut server, address) = serve(study, "127.0.0.1:0");
    let acknowledged = AtomicUsize::new(0);
    // 20 questions, 4 repeats and a check, for 5 raters.
    let total = 125;
    let kept: Vec<Vec<(i64, String)>> = std::thread::scope(|scope| {
        let rate = |rater: usize, token: &str| {
            insist(address, token, "POST", "/api/consent", "{}");
            let mut stand = insist(address, token, "GET", "/api/rater", "");
            let mut kept = Vec::new();
            while let Some(question) = stand["next"].get(0).cloned() {
                let place = question["place"].as_i64().expect("a place");
                let choice = ["a", "b", "tie"][(place as usize + rater) % 3];
                let nonce = format!("nonce-{rater}-{place}");
                let vote =
                    json!({"question": question["id"], "choice": choice, "nonce": nonce, "millis": 1500});
                stand = insist(address, token, "POST", "/api/votes", &vote.to_string());
                kept.push((place, choice.to_owned()));
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
            kept
        };
        let raters: Vec<_> = tokens
            .iter()
            .enumerate()
            .map(|(rater, &token)| scope.spawn(move || rate(rater, token)))
            .collect();
        for part in [1, 2] {
            while acknowledged.load(Ordering::SeqCst) < total * part / 3 {
                assert!(!raters.iter().any(|rater| rater.is_finished()), "a rater ended early");
                std::thread::sleep(Duration::from_millis(1));
            }
            // SIGKILL: no handler, no last words.
            server.kill().expect("killed");
            server.wait().expect("dead");
            server = serve(study, &address.to_string()).0;
        }
        raters.into_iter().map(|rater| rater.join().expect("no panic")).collect()
    });

    let answers = run(&["export", study, "--format", "jsonl"]);
    let mut found: BTreeMap<i64, Vec<(i64, String)>> = BTreeMap::new();
    for line in answers.lines() {
        let answer: Value = serde_json::from_str(line).expect("JSON");
        let choice = answer["choice"].as_str().expect("a choice").to_owned();
        let rater = answer["rater"].as_i64().expect("a rater");
        found.entry(rater).or_default().push((answer["place"].as_i64().expect("a place"), choice));
    }
    let found: Vec<Vec<(i64, String)>> = found.into_values().collect();
    assert_eq!(found.iter().map(Vec::len).sum::<usize>(), total);
    // Raters are numbered as they were invited, and answers are exported in their order.
    assert_eq!(found, kept);

    let stopped = Command::new("sh").args(["-c", &format!("kill -s TERM {}", server.id())]).status();
    assert!(stopped.expect("sh is everywhere").success());
    assert!(server.wait().expect("it ended").success());
    let report: Value = serde_json::from_str(&run(&["report", study, "--json"])).expect("JSON");
    assert_eq!(
        (&report["results_with_excluded"]["answers"], &report["raters"]["finished"]),
        (&json!(100), &json!(5))
    );
}

#[test]
fn a_study_is_made_shown_and_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = rows(folder.path(), 3);
    let study = folder.path().join("a study? 50%25 #1");
    let (study, rows) = (study.to_str().expect("UTF-8"), rows.to_str().expect("UTF-8"));
    run(&["new", "--input", rows, "--out", study]);
    // What was decided is there to be read, and to be used again.
    let again = folder.path().join("again");
    let config = format!("{study}/config.toml");
    run(&["new", "--config", &config, "--out", again.to_str().expect("UTF-8")]);
    assert_eq!(
        fs::read_to_string(&config).expect("text"),
        fs::read_to_string(again.join("config.toml")).expect("text")
    );

    let page = folder.path().join("report.html");
    let report = run(&["report", study, "--html", page.to_str().expect("UTF-8")]);
    assert!(report.contains("no answers"), "{report}");
    assert!(fs::read_to_string(page).expect("a page").contains("No answers yet"));
    assert!(run(&["show", study, "0"]).starts_with("question 0: "));
    assert_eq!(run(&["export", study, "--format", "dpo"]), "");

    let refused = |args: &[&str], code: i32, expected: &str| {
        let output = promptist(args).output().expect("the program starts");
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    };
    refused(&["new", "--input", rows, "--out", study], 1, "is there already");
    refused(&["new", "--out", study], 2, "nothing to compare");
    refused(&["show", study, "none"], 1, "no question, row or input `none`");
    refused(&["report", folder.path().to_str().expect("UTF-8")], 1, "is no study");
    refused(&["invite", study, "--count", "101"], 1, "all the raters that it takes (100)");
}
