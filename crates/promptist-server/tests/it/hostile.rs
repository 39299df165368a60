//! Clients that mean ill, and those that are broken: no panic, no thread stuck, no one else held up.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use promptist_server::ServerConfig;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::client::{connect, get, post, read, request, send};
use crate::test_server::{PATIENCE, TestServer, limits, wait_until};

/// Long enough for an honest client on a busy machine, short enough to wait for.
const SHORT: Duration = Duration::from_millis(300);

#[test]
fn connections_that_say_nothing_or_half_are_closed() {
    let server = TestServer::start(ServerConfig { head_timeout: SHORT, ..limits() });
    let beginnings: [&[u8]; 4] =
        [b"", b"P", b"POST /v1/adapt HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nA: "];
    let mut connections: Vec<_> = (0..40)
        .map(|at| {
            let mut stream = connect(server.address);
            stream.write_all(beginnings[at % beginnings.len()]).expect("sent");
            stream
        })
        .collect();
    server.assert_well();
    for stream in &mut connections {
        let started = Instant::now();
        // Closed, with or without a word.
        let _ = stream.read_to_end(&mut Vec::new());
        assert!(started.elapsed() < PATIENCE, "still open");
    }
    // This question's own connection is there yet.
    wait_until("closed", || server.metric("promptist_connections") <= 1.0);
}

#[test]
fn heads_that_trickle_are_closed() {
    let server = TestServer::start(ServerConfig { head_timeout: SHORT, ..limits() });
    let mut stream = connect(server.address);
    let started = Instant::now();
    // A header's letter at a time never ends; the server ends it.
    stream.write_all(b"GET / HTTP/1.1\r\n").expect("sent");
    while stream.write_all(b"a").is_ok() {
        assert!(started.elapsed() < PATIENCE, "still open");
        std::thread::sleep(Duration::from_millis(20));
    }
    server.assert_well();
}

#[test]
fn idle_connections_are_closed_and_serve_until_then() {
    let server = TestServer::start(ServerConfig { head_timeout: SHORT, ..limits() });
    let mut stream = connect(server.address);
    for _ in 0..3 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        let mut answer = [0; 512];
        let length = stream.read(&mut answer).expect("an answer");
        assert!(answer[..length].starts_with(b"HTTP/1.1 200 OK"));
    }
    assert_eq!(stream.read_to_end(&mut Vec::new()).expect("closed"), 0);
}

#[test]
fn bodies_that_do_not_come_are_given_up() {
    let server = TestServer::start(ServerConfig { body_timeout: SHORT, ..limits() });
    let head = "POST /v1/adapt HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    for rest in ["Content-Length: 100\r\n\r\n{\"user_in", "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"use"] {
        let mut stream = connect(server.address);
        stream.write_all(format!("{head}{rest}").as_bytes()).expect("sent");
        let response = read(&mut stream).expect("a response");
        assert_eq!((response.status, response.header("connection")), (408, Some("close")));
    }
    server.assert_well();
}

#[test]
fn bodies_over_the_limit_are_refused() {
    let server = TestServer::start(ServerConfig { max_body_bytes: 1000, ..limits() });
    // Announced: refused before a byte of it comes.
    let head = "POST /v1/adapt HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let response = send(server.address, format!("{head}Content-Length: 99999999999\r\n\r\n").as_bytes());
    let response = response.expect("a response");
    assert_eq!((response.status, response.header("connection")), (413, Some("close")));
    // Not announced: refused where it passes the limit.
    let mut stream = connect(server.address);
    let chunk = format!("{head}Transfer-Encoding: chunked\r\n\r\n400\r\n{}\r\n", " ".repeat(1024));
    stream.write_all(chunk.as_bytes()).expect("sent");
    assert_eq!(read(&mut stream).expect("a response").status, 413);
    // Sent whole by a client that reads only then: it is not cut off before it can.
    for _ in 0..20 {
        let body = format!(r#"{{"user_input": "{}"}}"#, "a".repeat(2_000_000));
        assert_eq!(post(server.address, "/v1/adapt", &body).status, 413);
    }
    // At the limit: read.
    let body = format!("{:1000}", r#"{"user_input": "a cat", "max_new_tokens": 16}"#);
    assert_eq!(post(server.address, "/v1/adapt", &body).status, 200);
    server.assert_well();
}

#[test]
fn what_is_not_called_json_is_not_read() {
    let server = TestServer::start(limits());
    let body = br#"{"user_input": "a cat"}"#;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""] {
        let response = send(server.address, &request("POST", "/v1/adapt", &[("Content-Type", kind)], body));
        assert_eq!(response.expect("a response").status, 415, "{kind}");
    }
}

#[test]
fn deep_and_odd_json_is_refused() {
    let server = TestServer::start(limits());
    for body in [
        "[".repeat(100_000),
        format!(r#"{{"user_input": {}"#, "[".repeat(100_000)),
        format!(r#"{{"additions": {}{}, "user_input": "x"}}"#, "[".repeat(127), "]".repeat(127)),
        r#"{"user_input": "\ud800"}"#.to_owned(),
        r#"{"user_input": "a cat", "temperature": 1e400}"#.to_owned(),
        r#"{"user_input": "a cat", "seed": -1}"#.to_owned(),
        r#"{"user_input": "a cat", "seed": 99999999999999999999999}"#.to_owned(),
        r#"{"user_input": "a cat", "num_beams": 1.5}"#.to_owned(),
    ] {
        let start: String = body.chars().take(60).collect();
        let status = post(server.address, "/v1/adapt", &body).status;
        assert!(status == 400 || status == 422, "{start}: {status}");
    }
    // Bytes that are no UTF-8.
    let bytes = b"{\"user_input\": \"\xff\xfe\"}";
    let response =
        send(server.address, &request("POST", "/v1/adapt", &[("Content-Type", "application/json")], bytes));
    assert_eq!(response.expect("a response").status, 400);
    server.assert_well();
}

#[test]
fn patterns_that_explode_are_refused_or_answered() {
    let server = TestServer::start(limits());
    for pattern in
        ["(a{1,1000}){1,1000}", "(a*)*b", "(x+x+)+y", "[a-z]{500}", r"\pL{1000}", "(.*a){20}", "a{1000000}"]
    {
        for field in [format!(r#""ban": ["/{pattern}/"]"#), format!(r#""protect": ["{pattern}"]"#)] {
            let body =
                format!(r#"{{"user_input": "aaaaaaaaaaaaaaaaaaaaaaaa", "max_new_tokens": 16, {field}}}"#);
            let status = post(server.address, "/v1/adapt", &body.replace('\\', "\\\\")).status;
            assert!(status == 200 || status == 422, "{field}: {status}");
        }
    }
    server.assert_well();
}

/// Clients at once.
const WORKERS: u64 = 8;

/// 10,000 with `PROMPTIST_SLOW_TESTS=1`, some hundreds otherwise.
#[test]
fn malformed_requests_harm_nobody() {
    let is_slow = std::env::var_os("PROMPTIST_SLOW_TESTS").is_some_and(|value| value == "1");
    let count = if is_slow { 10_000 } else { 400 };
    let server = TestServer::start(ServerConfig { head_timeout: SHORT, body_timeout: SHORT, ..limits() });
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let address = server.address;
            std::thread::spawn(move || {
                let mut random = ChaCha8Rng::seed_from_u64(worker);
                let mut statuses = std::collections::BTreeMap::<u16, usize>::new();
                for _ in 0..count / WORKERS {
                    let mut stream = connect(address);
                    let _ = stream.write_all(&malformed(&mut random));
                    if random.random_bool(0.3) {
                        // A client that leaves before it is answered.
                        continue;
                    }
                    if random.random_bool(0.5) {
                        // One that says that nothing more will come; the server takes it for gone.
                        let _ = stream.shutdown(std::net::Shutdown::Write);
                    }
                    let status = read(&mut stream).map_or(0, |response| response.status);
                    *statuses.entry(status).or_default() += 1;
                }
                statuses
            })
        })
        .collect();
    let mut all = std::collections::BTreeMap::<u16, usize>::new();
    for worker in workers {
        for (status, times) in worker.join().expect("no panic") {
            *all.entry(status).or_default() += times;
        }
    }
    assert!(!all.keys().any(|&status| status >= 500), "{all:?}");
    // They were of every kind: 0 is a connection closed without a word.
    assert!([0, 200, 400, 404, 408, 422].iter().all(|status| all.contains_key(status)), "{all:?}");
    assert!(all.values().sum::<usize>() > count as usize / 2, "{all:?}");
    wait_until("closed", || server.metric("promptist_connections") <= 1.0);
    wait_until("free", || server.metric("promptist_pending") == 0.0);
    server.assert_well();
    assert_eq!(get(server.address, "/readyz").status, 200);
}

/// A good request with something done to it.
fn malformed(random: &mut ChaCha8Rng) -> Vec<u8> {
    const GOOD: [(&str, &str); 7] = [
        (
            "/v1/adapt",
            r#"{"user_input": "a cat", "max_new_tokens": 16, "num_beams": 2, "ban": ["@artists"], "seed": 3}"#,
        ),
        ("/v1/rescore", r#"{"user_input": "a cat", "additions": [["8k"], []]}"#),
        (
            "/v1/chat/completions",
            r#"{"messages": [{"role": "user", "content": "a cat"}], "max_tokens": 16, "stream": true}"#,
        ),
        ("/v1/completions", r#"{"prompt": "a cat", "max_tokens": 16, "n": 1, "temperature": 0.5}"#),
        ("/sdapi/v1/prompt-enhance", r#"{"prompt": "a cat", "max_tokens": 16, "seed": 3, "type": "text"}"#),
        ("/api/expand", r#"{"prompt": "a cat", "variations": 1, "model_family": "flux"}"#),
        ("/get_reward", r#"{"query": ["a cat Rephrase: x"], "prompts": ["a cat Rephrase:"]}"#),
    ];
    const VALUES: [&str; 12] = [
        "null",
        "-1",
        "1e308",
        "[]",
        "{}",
        "\"\"",
        "true",
        "[[[]]]",
        "\"\\u0000\"",
        "18446744073709551616",
        "NaN",
        "'",
    ];
    let &(path, body) = GOOD.choose(random).expect("requests");
    let mut body = body.to_owned();
    let mut bytes = match random.random_range(0..7) {
        // Another value for a field.
        0 => {
            let colons: Vec<usize> = body.match_indices(": ").map(|(at, _)| at + 2).collect();
            let at = *colons.choose(random).expect("a field");
            let end = body[at..].find([',', '}']).map_or(body.len(), |length| at + length);
            body.replace_range(at..end, VALUES.choose(random).expect("values"));
            post_bytes(path, body.as_bytes())
        }
        // A body that breaks off.
        1 => post_bytes(path, &body.as_bytes()[..random.random_range(0..body.len())]),
        // A length that lies.
        2 => {
            let length = *["0", "1", "-1", "99999", "x", "1, 2", ""].choose(random).expect("lengths");
            let headers = [("Content-Type", "application/json"), ("Content-Length", length)];
            [request("POST", path, &headers, b""), body.into_bytes()].concat()
        }
        // Chunks that are none.
        3 => {
            let headers = [("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")];
            let chunks = *["", "zz\r\n", "5\r\nab", "ffffffffffffffffff\r\n", "0\r\n\r\n", "-1\r\n\r\n"]
                .choose(random)
                .expect("chunks");
            [request("POST", path, &headers, b""), chunks.as_bytes().to_vec()].concat()
        }
        // Another method, another path, headers too many or too long.
        4 => {
            let header = "x".repeat(random.random_range(0..200_000));
            let method = *["POST", "GET", "PUT", "\u{7f}", ""].choose(random).expect("methods");
            request(
                method,
                &format!("{path}{}", "/..%00".repeat(random.random_range(0..40))),
                &[("X", &header)],
                b"",
            )
        }
        5 => {
            let headers: Vec<(&str, &str)> = (0..random.random_range(0..300)).map(|_| ("A", "b")).collect();
            request("GET", path, &headers, b"")
        }
        // No HTTP at all.
        _ => {
            let mut noise = vec![0; random.random_range(0..2000)];
            random.fill_bytes(&mut noise);
            noise
        }
    };
    // And a byte or two that changed on the way.
    for _ in 0..random.random_range(0_u32..9).saturating_sub(5) {
        if !bytes.is_empty() {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
    }
    bytes
}

fn post_bytes(path: &str, body: &[u8]) -> Vec<u8> {
    request("POST", path, &[("Content-Type", "application/json")], body)
}
