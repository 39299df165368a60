//! Who may ask, how much, and how long an answer may take.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use axum::http::HeaderValue;
use promptist_server::{ServerConfig, Token};
use serde_json::json;

use crate::client::{connect, get, post, read, request, send};
use crate::test_server::{TestServer, limits, wait_until};

/// A request that takes a while: 8 answers of 300 tokens.
pub fn slow() -> String {
    let seeds: Vec<u64> = (0..8).collect();
    json!({
        "user_input": "a cat", "seeds": seeds, "max_new_tokens": 300, "min_new_tokens": 300, "guidance_scale": 1.0,
    })
    .to_string()
}

/// The bytes of a slow request.
pub fn slow_request() -> Vec<u8> {
    request("POST", "/v1/adapt", &[("Content-Type", "application/json")], slow().as_bytes())
}

fn with_token(address: SocketAddr, path: &str, token: &str) -> u16 {
    send(address, &request("GET", path, &[("Authorization", token)], b"")).expect("a response").status
}

#[test]
fn what_is_too_much_is_refused_at_once_and_room_comes_back() {
    let server = TestServer::start(ServerConfig { max_pending: 1, ..limits() });
    let mut slow = connect(server.address);
    slow.write_all(&slow_request()).expect("sent");
    wait_until("pending", || server.metric("promptist_pending") == 1.0);
    for path in ["/v1/adapt", "/v1/chat/completions", "/api/expand"] {
        let body = r#"{"user_input": "a cat", "prompt": "a cat", "messages": [{"role": "user", "content": "a cat"}]}"#;
        let body = match path {
            "/v1/adapt" => r#"{"user_input": "a cat"}"#,
            _ => body,
        };
        let refused = post(server.address, path, body);
        assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")), "{path}");
    }
    let more_than_ever = post(server.address, "/v1/adapt", r#"{"user_inputs": ["a", "b"]}"#);
    assert_eq!(more_than_ever.status, 422);
    // The client leaves: its work is dropped.
    drop(slow);
    wait_until("free", || server.metric("promptist_pending") == 0.0);
    assert_eq!(server.metric("promptist_cancelled_total"), 1.0);
    server.assert_well();
}

#[test]
fn what_takes_too_long_is_cancelled() {
    let server = TestServer::start(ServerConfig { deadline: Duration::from_millis(200), ..limits() });
    let late = post(server.address, "/v1/adapt", &slow());
    assert_eq!(late.status, 504, "{}", late.text());
    assert_eq!(late.json()["error"]["type"], "timeout_error");
    wait_until("free", || server.metric("promptist_pending") == 0.0);
    assert_eq!(server.metric("promptist_cancelled_total"), 1.0);
}

#[test]
fn clients_that_leave_take_their_work_with_them() {
    let server = TestServer::start(limits());
    let mut clients: Vec<_> = (0..12).map(|_| connect(server.address)).collect();
    for client in &mut clients {
        client.write_all(&slow_request()).expect("sent");
    }
    let stream = json!({"user_input": "a cat", "max_new_tokens": 300, "min_new_tokens": 300, "stream": true})
        .to_string();
    for _ in 0..4 {
        let mut client = connect(server.address);
        let headers = [("Content-Type", "application/json")];
        client.write_all(&request("POST", "/v1/adapt", &headers, stream.as_bytes())).expect("sent");
        clients.push(client);
    }
    wait_until("pending", || server.metric("promptist_pending") == 16.0);
    drop(clients);
    wait_until("free", || server.metric("promptist_pending") == 0.0);
    assert_eq!(server.metric("promptist_rows"), 0.0);
    server.assert_well();
}

#[test]
fn limits_of_a_request_name_the_field() {
    let server = TestServer::start(limits());
    for (param, body) in [
        ("num_return_sequences", json!({"user_input": "a cat", "n": 33})),
        ("seeds", json!({"user_input": "a cat", "seeds": (0..33).collect::<Vec<_>>()})),
        ("num_beams", json!({"user_input": "a cat", "num_beams": 1_000_000})),
        ("user_inputs", json!({"user_inputs": vec!["a cat"; 65]})),
        ("user_input", json!({"user_input": "a".repeat(20_000)})),
        ("ban", json!({"user_input": "a cat", "ban": vec!["x"; 513]})),
        ("eos_token_id", json!({"user_input": "a cat", "eos_token_id": vec![1; 513]})),
        ("target", json!({"user_input": "a cat", "target": "/etc"})),
        ("max_new_tokens", json!({"user_input": "a cat", "max_new_tokens": 0})),
        ("must_include", json!({"user_input": "a cat", "must_include": [""]})),
        ("protect", json!({"user_input": "a cat", "protect": ["("]})),
        ("ban", json!({"user_input": "a cat", "ban": ["/(/"]})),
    ] {
        let response = post(server.address, "/v1/adapt", &body.to_string());
        assert_eq!(response.status, 422, "{body}: {}", response.text());
        assert_eq!(response.json()["error"]["param"], param);
    }
}

#[test]
fn without_the_token_only_the_probes_answer() {
    let config = ServerConfig { token: Token::new(" s3cret\n"), ..limits() };
    let server = TestServer::start(config);
    assert_eq!(get(server.address, "/healthz").status, 200);
    assert_eq!(get(server.address, "/readyz").status, 200);
    for path in [
        "/",
        "/page/index.html",
        "/v1/models",
        "/metrics",
        "/openapi.json",
        "/nope",
        "//healthz",
        "/healthz/",
    ] {
        let response = get(server.address, path);
        assert_eq!((response.status, response.header("www-authenticate")), (401, Some("Bearer")), "{path}");
        assert_eq!(response.json()["error"]["type"], "authentication_error");
    }
    for path in ["/v1/adapt", "/v1/rescore", "/get_reward"] {
        assert_eq!(post(server.address, path, r#"{"user_input": "a cat"}"#).status, 401, "{path}");
    }
    assert_eq!(post(server.address, "/v1/completions", "{}").json()["error"]["code"], "invalid_api_key");
    for token in ["Bearer s3cret", "bearer s3cret", "Bearer  s3cret "] {
        assert_eq!(with_token(server.address, "/v1/models", token), 200, "{token}");
    }
    for token in
        ["Bearer s3cre", "Bearer s3cret2", "Bearer S3CRET", "Bearer", "Bearer ", "Basic s3cret", "s3cret", ""]
    {
        assert_eq!(with_token(server.address, "/v1/models", token), 401, "{token}");
    }
}

#[test]
fn the_page_and_its_policy() {
    let server = TestServer::start(limits());
    for path in ["/", "/page/index.html"] {
        let page = get(server.address, path);
        assert_eq!(page.status, 200);
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        let policy = page.header("content-security-policy").expect("a policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"),
            "{policy}"
        );
    }
    let models = get(server.address, "/v1/models");
    assert_eq!(models.header("content-security-policy"), Some("default-src 'none'; frame-ancestors 'none'"));
    assert_eq!(models.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(models.header("access-control-allow-origin"), None);
}

#[test]
fn nothing_outside_the_page_is_served() {
    let server = TestServer::start(limits());
    for path in [
        "/page/../Cargo.toml",
        "/page/..%2fCargo.toml",
        "/page/%2e%2e/%2e%2e/Cargo.toml",
        "/page/....//Cargo.toml",
        "/page//etc/passwd",
        "/page/%2Fetc%2Fpasswd",
        "/page/..\\Cargo.toml",
        "/page/index.html%00.css",
        "/page/%ff",
        "/page/",
        "/page",
        "/../etc/passwd",
        "/index.html",
    ] {
        let status = get(server.address, path).status;
        assert!(status == 404 || status == 400, "{path}: {status}");
    }
}

#[test]
fn other_origins_ask_only_where_they_are_named() {
    let origin = HeaderValue::from_static("https://good.example");
    let open =
        TestServer::start(ServerConfig { cors_origins: vec![origin], token: Token::new("x"), ..limits() });
    let closed = TestServer::start(limits());
    let preflight = |address, origin| {
        let headers = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "content-type,authorization"),
        ];
        let response = send(address, &request("OPTIONS", "/v1/adapt", &headers, b"")).expect("a response");
        response.header("access-control-allow-origin").map(str::to_owned)
    };
    assert_eq!(preflight(open.address, "https://good.example").as_deref(), Some("https://good.example"));
    assert_eq!(preflight(open.address, "https://evil.example"), None);
    assert_eq!(preflight(closed.address, "https://good.example"), None);
    assert_eq!(preflight(closed.address, "null"), None);
}

#[test]
fn requests_have_names() {
    let server = TestServer::start(limits());
    let named = |id| {
        let response = send(server.address, &request("GET", "/healthz", &[("X-Request-Id", id)], b""))
            .expect("a response");
        response.header("x-request-id").expect("an id").to_owned()
    };
    assert_eq!(named("job-17"), "job-17");
    let long = "a".repeat(200);
    for refused in ["", "a b", "<x>", long.as_str()] {
        let id = named(refused);
        assert!(id.len() == 16 && id != named(refused), "{id}");
    }
}

#[test]
fn paths_and_methods_that_are_not_there() {
    let server = TestServer::start(limits());
    let nowhere = get(server.address, "/v1/adapt/x");
    assert_eq!((nowhere.status, nowhere.json()["error"]["type"].clone()), (404, json!("not_found_error")));
    let wrong = get(server.address, "/v1/adapt");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")));
    let wrong = post(server.address, "/healthz", "{}");
    assert_eq!(wrong.status, 405);
    let mut head = connect(server.address);
    head.write_all(&request("HEAD", "/v1/models", &[], b"")).expect("sent");
    let head = read(&mut head).expect("a response");
    assert_eq!((head.status, head.body.len()), (200, 0));
}
