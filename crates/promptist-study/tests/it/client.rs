//! A rater's browser, as far as the server can tell.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use image::RgbImage;
use serde_json::{Value, json};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(120);

/// A response, whole.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The header lines whose value is the same whenever the same is asked.
    pub fn headers(&self) -> Vec<String> {
        let lines = self.head.lines().skip(1).map(str::to_ascii_lowercase);
        lines.filter(|line| !line.starts_with("date:") && !line.starts_with("content-length:")).collect()
    }
}

/// Sends bytes on a connection of their own.
#[track_caller]
pub fn send(address: SocketAddr, bytes: &[u8]) -> Response {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    // The server may have answered and closed before it has read all.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(answer[..end].to_vec()).expect("UTF-8");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Response { status, head, body: answer[end + 4..].to_vec() }
}

/// A request whose connection ends with it; a body is JSON.
#[track_caller]
pub fn request(address: SocketAddr, method: &str, path: &str, token: &str, body: Option<&str>) -> Response {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
    if !token.is_empty() {
        text += &format!("Authorization: Bearer {token}\r\n");
    }
    if let Some(body) = body {
        text += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    text += "\r\n";
    send(address, (text + body.unwrap_or_default()).as_bytes())
}

#[track_caller]
pub fn get(address: SocketAddr, path: &str) -> Response {
    request(address, "GET", path, "", None)
}

/// A rater with a link.
#[derive(Debug, Clone)]
pub struct Rater {
    pub address: SocketAddr,
    pub token: String,
}

impl Rater {
    /// One who agreed.
    #[track_caller]
    pub fn begin(address: SocketAddr, token: &str) -> Self {
        let rater = Self { address, token: token.to_owned() };
        let response = rater.post("/api/consent", &json!({}));
        assert_eq!(response.status, 200, "{response:?}");
        rater
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        request(self.address, "GET", path, &self.token, None)
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Response {
        request(self.address, "POST", path, &self.token, Some(&body.to_string()))
    }

    /// Where the rater stands.
    #[track_caller]
    pub fn stand(&self) -> Value {
        let response = self.get("/api/rater");
        assert_eq!(response.status, 200, "{response:?}");
        response.json()
    }

    #[track_caller]
    pub fn image(&self, url: &Value) -> RgbImage {
        let response = self.get(&format!("/{}", url.as_str().expect("a URL")));
        assert_eq!(response.status, 200, "{response:?}");
        image::load_from_memory(&response.body).expect("an image").to_rgb8()
    }

    /// Answers all questions as `choose` has it; how many there were.
    #[track_caller]
    pub fn answer_all(&self, mut choose: impl FnMut(&Self, &Value) -> &'static str) -> usize {
        let mut stand = self.stand();
        let mut answered = 0;
        while !stand["next"].as_array().expect("questions").is_empty() {
            let choice = choose(self, &stand["next"][0]);
            let response = self.post("/api/votes", &vote(&stand["next"][0], choice));
            assert_eq!(response.status, 200, "{response:?}");
            stand = response.json();
            answered += 1;
        }
        answered
    }
}

/// An answer to a question, under a nonce that is the question's own.
pub fn vote(question: &Value, choice: &str) -> Value {
    let id = question["id"].as_str().expect("an id");
    json!({"question": id, "choice": choice, "nonce": format!("nonce-{id}"), "millis": 2500})
}
