//! `promptist serve` as people run it: found, asked, stopped in the middle of its work.

#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long anything may take that must come.
const PATIENCE: Duration = Duration::from_secs(120);

fn promptist(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_promptist"));
    command.arg("serve").args(args).env_remove("PROMPTIST_LOG").env_remove("PROMPTIST_TOKEN");
    if !args.contains(&"--port") {
        command.args(["--port", "0"]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A server and its address, as it prints it.
fn start(command: &mut Command) -> (Child, SocketAddr) {
    let mut child = command.spawn().expect("the program starts");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    let Some(address) = line.trim().strip_prefix("http://") else {
        let output = child.wait_with_output().expect("it ended");
        panic!("{line:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    (child, address.parse().expect("an address"))
}

fn signal(child: &Child, name: &str) {
    let script = format!("kill -s {name} {}", child.id());
    assert!(Command::new("sh").args(["-c", &script]).status().expect("sh is everywhere").success());
}

/// What came of a request: the whole response; none if the server was not there for it, or sent half of one.
fn ask(address: SocketAddr, head: &str, body: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let length = body.len();
    let request = format!(
        "{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    (length == Some(body.len())).then_some(answer)
}

fn adapt(address: SocketAddr, user_input: &str, seed: usize) -> Option<String> {
    let body = format!(r#"{{"user_input": "{user_input}", "seed": {seed}}}"#);
    ask(address, "POST /v1/adapt", &body)
}

fn wait_ready(address: SocketAddr) {
    let started = std::time::Instant::now();
    while !ask(address, "GET /readyz", "").is_some_and(|answer| answer.starts_with("HTTP/1.1 200")) {
        assert!(started.elapsed() < PATIENCE, "not ready");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn end(child: Child) -> Output {
    child.wait_with_output().expect("it ended")
}

#[test]
fn a_signal_under_load_loses_no_accepted_request() {
    for name in ["TERM", "INT"] {
        let (child, address) = start(&mut promptist(&["--threads", "2"]));
        wait_ready(address);
        let is_over = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..8)
            .map(|client| {
                let is_over = Arc::clone(&is_over);
                std::thread::spawn(move || {
                    let mut statuses = Vec::new();
                    while !is_over.load(Ordering::Relaxed) {
                        let Ok(stream) = TcpStream::connect(address) else { break };
                        drop(stream);
                        let answer = adapt(address, "a lighthouse at dusk", client * 1000 + statuses.len());
                        statuses.push(answer.map(|answer| answer[9..12].to_owned()));
                    }
                    statuses
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(700));
        signal(&child, name);
        let output = end(child);
        is_over.store(true, Ordering::Relaxed);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{name}: {}: {stderr}", output.status);
        assert!(!stderr.contains("panic"), "{stderr}");
        let mut answered = 0;
        for client in clients {
            let statuses = client.join().expect("no panic");
            // What was accepted is answered whole; after that the server says that it stops, or is gone. Only
            // a client's last request may find it so.
            let (last, before) = statuses.split_last().expect("requests");
            let refused = before.iter().position(|status| status.as_deref() != Some("200"));
            let rest = &before[refused.unwrap_or(before.len())..];
            assert!(rest.iter().all(|status| status.as_deref() == Some("503")), "{statuses:?}");
            assert!(last.as_deref().is_none_or(|status| status == "200" || status == "503"), "{statuses:?}");
            answered += before.len();
        }
        assert!(answered > 0);
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (mut child, address) = start(&mut promptist(&[]));
    wait_ready(address);
    // Work for minutes.
    let seeds: Vec<String> = (0..32).map(|seed| seed.to_string()).collect();
    let body = format!(
        r#"{{"user_input": "a cat", "max_new_tokens": 300, "min_new_tokens": 300, "seeds": [{}]}}"#,
        seeds.join(",")
    );
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let body = body.clone();
            std::thread::spawn(move || ask(address, "POST /v1/adapt", &body))
        })
        .collect();
    while !ask(address, "GET /metrics", "").expect("metrics").contains("promptist_pending 8") {
        std::thread::sleep(Duration::from_millis(5));
    }
    signal(&child, "TERM");
    while !ask(address, "GET /readyz", "").is_some_and(|answer| answer.contains("503")) {
        std::thread::sleep(Duration::from_millis(5));
    }
    signal(&child, "TERM");
    let status = child.wait().expect("it ended");
    assert_eq!(status.code(), Some(143));
    for worker in workers {
        worker.join().expect("no panic");
    }
}

#[test]
fn answers_are_those_of_adapt() {
    let (child, address) = start(&mut promptist(&["--max-rows", "32"]));
    wait_ready(address);
    let untimed = |line: &str| line.split_once(r#","elapsed_ms""#).expect("a time").0.to_owned();
    for user_input in ["a cat", "two dogs on a beach --ar 16:9"] {
        let answer = adapt(address, user_input, 7).expect("an answer");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        let alone = Command::new(env!("CARGO_BIN_EXE_promptist"))
            .args(["adapt", "--json", "--seed", "7", user_input])
            .output()
            .expect("the program starts");
        assert_eq!(untimed(body), untimed(&String::from_utf8_lossy(&alone.stdout)));
    }
    signal(&child, "TERM");
    assert!(end(child).status.success());
}

#[test]
fn tokens_come_from_a_file_or_the_environment() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "from-file\n").expect("written");
    let file = file.to_str().expect("UTF-8");
    for (args, token) in [(&["--token-file", file][..], "from-file"), (&[], "from-environment")] {
        let (child, address) = start(promptist(args).env("PROMPTIST_TOKEN", "from-environment"));
        let ask = |headers: &str| {
            ask(address, &format!("GET /v1/models HTTP/1.1\r\n{headers}X-Rest:"), "").expect("an answer")
        };
        assert!(ask("").starts_with("HTTP/1.1 401"));
        assert!(ask(&format!("Authorization: Bearer {token}\r\n")).starts_with("HTTP/1.1 200"));
        signal(&child, "TERM");
        end(child);
    }
    std::fs::write(folder.path().join("token"), " \n").expect("written");
    let output = promptist(&["--token-file", file]).output().expect("it ended");
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_open_door_is_warned_of_and_a_taken_port_is_said() {
    let (child, address) = start(promptist(&["--host", "0.0.0.0"]).env_remove("PROMPTIST_TOKEN"));
    let taken = promptist(&["--port", &address.port().to_string()]).output().expect("it ended");
    let stderr = String::from_utf8_lossy(&taken.stderr).into_owned();
    assert!(taken.status.code() == Some(1) && stderr.contains("listening on"), "{stderr}");
    signal(&child, "TERM");
    let stderr = String::from_utf8_lossy(&end(child).stderr).into_owned();
    assert!(stderr.contains("warning: 0.0.0.0 may be reached from outside"), "{stderr}");
    for args in [
        &["--cors-origin", "*"][..],
        &["--cors-origin", "https://x/y"],
        &["--deadline", "0"],
        &["--max-rows", "0"],
    ] {
        assert_eq!(promptist(args).output().expect("it ended").status.code(), Some(2), "{args:?}");
    }
}
