//! A server that stops answers what it accepted, refuses the rest, and ends.

use std::io::Write;

use crate::client::{connect, get, post, read, request};
use crate::limits::slow_request;
use crate::test_server::{TestServer, limits, wait_until};

#[test]
fn what_was_accepted_is_answered_and_the_rest_refused() {
    let mut server = TestServer::start(limits());
    let mut clients: Vec<_> = (0..3).map(|_| connect(server.address)).collect();
    for client in &mut clients {
        client.write_all(&slow_request()).expect("sent");
    }
    // One that is connected and has not asked yet.
    let mut late = connect(server.address);
    wait_until("pending", || server.metric("promptist_pending") == 3.0);

    server.stop();
    wait_until("stopping", || get(server.address, "/readyz").status == 503);
    assert_eq!(get(server.address, "/healthz").status, 200);
    let refused = post(server.address, "/v1/adapt", r#"{"user_input": "a cat"}"#);
    assert_eq!((refused.status, refused.header("connection")), (503, Some("close")));
    let body = br#"{"user_input": "a cat"}"#;
    late.write_all(&request("POST", "/v1/adapt", &[("Content-Type", "application/json")], body))
        .expect("sent");
    assert_eq!(read(&mut late).expect("a response").status, 503);

    for client in &mut clients {
        let response = read(client).expect("an answer");
        assert_eq!(response.status, 200);
        assert_eq!(response.json()["outputs"].as_array().expect("outputs").len(), 8);
    }
    server.join();
    assert!(std::net::TcpStream::connect(server.address).is_err(), "the port is free again");
}

#[test]
fn a_stream_is_sent_to_its_end() {
    let mut server = TestServer::start(limits());
    let body = br#"{"user_input": "a cat", "max_new_tokens": 300, "min_new_tokens": 300, "stream": true}"#;
    let mut client = connect(server.address);
    client
        .write_all(&request("POST", "/v1/adapt", &[("Content-Type", "application/json")], body))
        .expect("sent");
    wait_until("pending", || server.metric("promptist_pending") == 1.0);
    server.stop();
    let response = read(&mut client).expect("a stream");
    let events = response.events();
    assert_eq!(events.last().expect("events").0.as_deref(), Some("done"));
    server.join();
}

#[test]
fn idle_connections_do_not_hold_it_up() {
    let mut server = TestServer::start(limits());
    let idle: Vec<_> = (0..20).map(|_| connect(server.address)).collect();
    wait_until("connected", || server.metric("promptist_connections") >= 20.0);
    server.stop();
    server.join();
    drop(idle);
}
