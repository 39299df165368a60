//! What a server is limited to.

use std::time::Duration;

use axum::http::HeaderValue;

/// Limits of a server, and who may use it.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Rows of the model's cache that are decoded at once: a beam each, a sampled sequence each, twice as
    /// many under guidance. Bounds memory, and what a single request may ask for.
    pub max_rows: usize,
    /// Inputs that are accepted and not answered yet, those included that are being decoded. What comes
    /// beyond is refused at once, with 429.
    pub max_pending: usize,
    /// Inputs in one request.
    pub max_inputs: usize,
    /// Bytes of one input. A text that is longer than any model reads is refused before it costs anything.
    pub max_input_bytes: usize,
    /// Answers to one input.
    pub max_answers: usize,
    /// Entries of a list in a request: bans, musts, answers to score. Compiling rules takes time.
    pub max_list: usize,
    /// Bytes of a request's body.
    pub max_body_bytes: usize,
    /// Connections that are open at once; others wait to be accepted.
    pub max_connections: usize,
    /// How long a connection may take to send the head of its next request, idle time included.
    pub head_timeout: Duration,
    /// How long a request may take to send its body.
    pub body_timeout: Duration,
    /// How long a request may take from its body's last byte. What is not answered by then is cancelled.
    pub deadline: Duration,
    /// What a refused client is told to wait.
    pub retry_after: Duration,
    /// How long connections may take to take their answers once the server stops and all are made.
    pub grace: Duration,
    /// What clients have to say; anyone may ask if there is none.
    pub token: Option<Token>,
    /// Origins whose pages may ask, as `https://example.com`; none but our own by default.
    pub cors_origins: Vec<HeaderValue>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            max_rows: 128,
            max_pending: 256,
            max_inputs: 64,
            max_input_bytes: 16 << 10,
            max_answers: 32,
            max_list: 512,
            max_body_bytes: 1 << 20,
            max_connections: 1024,
            head_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(10),
            deadline: Duration::from_secs(60),
            retry_after: Duration::from_secs(1),
            grace: Duration::from_secs(5),
            token: None,
            cors_origins: Vec::new(),
        }
    }
}

/// A bearer token. It is not printed.
#[derive(Clone)]
pub struct Token(pub(crate) String);

impl Token {
    /// The token; none if it is empty, for an empty token would keep nobody out.
    pub fn new(token: &str) -> Option<Self> {
        let token = token.trim();
        (!token.is_empty()).then(|| Self(token.to_owned()))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}
