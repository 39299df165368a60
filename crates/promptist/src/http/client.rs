//! One server's address, and calls to it that end when they should.
//!
//! ureq blocks, and a picture takes minutes; so a call runs on a thread of its own while the caller looks after
//! deadline and cancellation. A call that was called off ends with its thread's own timeout; nobody waits for it.
//! Each call has a connection of its own: against a picture, or a batch of scores, its cost is nothing, and no call can
//! break on a connection that a restarted server has forgotten.

use std::io::Read;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{Response, StatusCode, Uri, header};
use ureq::{Agent, Body, Proxy};

use super::address::Credentials;
use super::auth::Auth;
use super::failure::{Failure, FailureKind};
use super::watch::{LOOK_EVERY, Watch};
use crate::generator::Cancel;

/// How long a server may take to be connected to.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Redirects of a picture's own address. A call with a body follows none.
const MAX_REDIRECTS: u32 = 5;
/// How much of a refusal is read and shown.
const MAX_REFUSAL_BYTES: u64 = 64 << 10;
const MAX_REFUSAL_CHARS: usize = 300;
/// The largest answer without pictures: ComfyUI's history holds the whole workflow.
pub(crate) const MAX_JSON_BYTES: u64 = 16 << 20;
/// What is called off is called off on the server too, if it answers within that: people wait for it.
const FAREWELL: Duration = Duration::from_millis(300);

pub(crate) struct Client {
    agent: Agent,
    base: String,
    authorization: Option<String>,
}

/// What came back, whatever its status.
pub(crate) struct Answer {
    pub status: StatusCode,
    pub body: Vec<u8>,
    retry_after: Option<Duration>,
}

impl Client {
    /// `system_proxy` says whether the proxy of `HTTPS_PROXY` and its like is used.
    pub fn new(base: &str, credentials: Option<&Credentials>, auth: &Auth, system_proxy: bool) -> Self {
        let agent = Agent::config_builder()
            .user_agent(concat!("promptist/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(0)
            .proxy(system_proxy.then(Proxy::try_from_env).flatten())
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .build()
            .new_agent();
        let authorization = match (credentials, auth) {
            (Some(credentials), _) | (None, Auth::Basic(credentials)) => Some(basic(credentials)),
            (None, Auth::Bearer(key)) => Some(format!("Bearer {}", key.0)),
            (None, Auth::None) => None,
        };
        Self { agent, base: base.to_owned(), authorization }
    }

    /// The server's base URL.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// What `GET path` answers.
    pub fn get<T: DeserializeOwned>(&self, path: &str, watch: &Watch<'_>) -> Result<T, Failure> {
        self.get_bytes(&format!("{}{path}", self.base), MAX_JSON_BYTES, watch).and_then(|body| parsed(&body))
    }

    /// The bytes at `url`, which may be on another host: the authorization goes to the server alone.
    pub fn get_bytes(&self, url: &str, max_bytes: u64, watch: &Watch<'_>) -> Result<Vec<u8>, Failure> {
        let mut request = self.agent.get(url);
        if let Some(authorization) = self.authorization.as_ref().filter(|_| same_host(url, &self.base)) {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let call = move |left| {
            request
                .config()
                .max_redirects(MAX_REDIRECTS)
                .max_redirects_will_error(true)
                .timeout_global(Some(left))
                .build()
                .call()
        };
        run(call, max_bytes, watch)?.checked()
    }

    /// What `POST path` answers.
    pub fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        max_bytes: u64,
        watch: &Watch<'_>,
    ) -> Result<T, Failure> {
        self.post_answer(path, body, max_bytes, watch)?.checked().and_then(|body| parsed(&body))
    }

    /// As [`Client::post`], for who can tell refusals apart.
    pub fn post_answer(
        &self,
        path: &str,
        body: &impl Serialize,
        max_bytes: u64,
        watch: &Watch<'_>,
    ) -> Result<Answer, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::anywhere(error.to_string()))?;
        let mut request =
            self.agent.post(format!("{}{path}", self.base)).header(header::CONTENT_TYPE, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let call = move |left| request.config().timeout_global(Some(left)).build().send(&body[..]);
        run(call, max_bytes, watch)
    }

    /// Tells the server, if it listens, that something is no longer wanted.
    pub fn post_farewell(&self, path: &str, body: &impl Serialize) {
        let never = Cancel::default();
        let watch = Watch::new(FAREWELL, &never);
        if let Err(failure) =
            self.post_answer(path, body, MAX_REFUSAL_BYTES, &watch).and_then(Answer::checked)
        {
            tracing::debug!(server = self.base, path, reason = failure.reason, "could not call work off");
        }
    }

    /// What `GET path` answers, within as short a time.
    pub fn get_last<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let never = Cancel::default();
        self.get(path, &Watch::new(FAREWELL, &never))
    }

    /// As [`Client::post_farewell`], with what the server says to it.
    pub fn post_last<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let never = Cancel::default();
        self.post(path, body, MAX_JSON_BYTES, &Watch::new(FAREWELL, &never))
    }
}

impl Answer {
    /// The body, if the status is one of success; else what the status means.
    pub fn checked(self) -> Result<Vec<u8>, Failure> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        Err(Failure {
            kind: self.kind(),
            reason: format!("{}{}", self.status, self.said()),
            status: Some(self.status.as_u16()),
        })
    }

    fn kind(&self) -> FailureKind {
        match self.status.as_u16() {
            // The server, or the proxy before it, has not begun.
            429 | 502 | 503 => FailureKind::Away { retry_after: self.retry_after },
            408 | 425 | 500 | 504..=599 => FailureKind::Passing,
            // What the server lacks or forbids, and what is no such server: another may do it.
            300..=399 | 401..=407 | 410 | 411 | 421 | 426 | 501 => FailureKind::ThisServer,
            _ => FailureKind::Anywhere,
        }
    }

    /// What a refusal says, in a line.
    fn said(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut shown: String = line.chars().take(MAX_REFUSAL_CHARS).collect();
        if shown.len() < line.len() {
            shown.push('…');
        }
        if shown.is_empty() { shown } else { format!(": {shown}") }
    }
}

/// Runs `call` on a thread and waits for it as long as `watch` allows.
fn run(
    call: impl FnOnce(Duration) -> Result<Response<Body>, ureq::Error> + Send + 'static,
    max_bytes: u64,
    watch: &Watch<'_>,
) -> Result<Answer, Failure> {
    watch.check()?;
    let left = watch.remaining();
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("promptist-http".to_owned())
        .spawn(move || {
            let answer = call(left).map_err(failure).and_then(|response| read(response, max_bytes));
            // Whoever asked may have stopped waiting.
            drop(sender.send(answer));
        })
        .map_err(|error| Failure::passing(format!("no thread for the call: {error}")))?;
    loop {
        match receiver.recv_timeout(LOOK_EVERY) {
            Ok(answer) => return answer,
            Err(RecvTimeoutError::Timeout) => watch.check()?,
            Err(RecvTimeoutError::Disconnected) => return Err(Failure::passing("the call's thread ended")),
        }
    }
}

fn read(response: Response<Body>, max_bytes: u64) -> Result<Answer, Failure> {
    let status = response.status();
    let retry_after = response.headers().get(header::RETRY_AFTER);
    let retry_after = retry_after
        .and_then(|value| value.to_str().ok())
        .and_then(|text| retry_after_of(text, SystemTime::now()));
    let mut body = Vec::new();
    if status.is_success() {
        let mut reader = response.into_body().into_with_config().limit(max_bytes).reader();
        reader.read_to_end(&mut body).map_err(|error| failure(ureq::Error::from(error)))?;
    } else {
        // As much of the refusal as there is.
        drop(response.into_body().into_reader().take(MAX_REFUSAL_BYTES).read_to_end(&mut body));
    }
    Ok(Answer { status, body, retry_after })
}

/// A refused or lost connection before anything was sent is a server that is away; later it is a try.
fn failure(error: ureq::Error) -> Failure {
    use std::io::ErrorKind;
    let reason = error.to_string();
    match error {
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => Failure::away(reason),
        ureq::Error::Io(error) => match error.kind() {
            ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::AddrNotAvailable => Failure::away(reason),
            _ => Failure::passing(reason),
        },
        ureq::Error::Timeout(_) => Failure::passing(format!("timed out ({reason})")),
        ureq::Error::BadUri(_) | ureq::Error::Tls(_) | ureq::Error::Rustls(_) => Failure::this_server(reason),
        _ => Failure::passing(reason),
    }
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body)
        .map_err(|error| Failure::passing(format!("an answer in another form: {error}")))
}

fn basic(credentials: &Credentials) -> String {
    format!("Basic {}", STANDARD.encode(format!("{}:{}", credentials.user, credentials.password)))
}

/// Whether both addresses agree in scheme, host and port.
fn same_host(a: &str, b: &str) -> bool {
    let host = |url: &str| {
        let uri: Uri = url.parse().ok()?;
        Some((uri.scheme()?.clone(), uri.authority()?.clone()))
    };
    host(a).is_some_and(|a| Some(a) == host(b))
}

/// `Retry-After`: seconds, or a date. A date that has passed is no wait.
fn retry_after_of(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(secs) = text.parse() {
        return Some(Duration::from_secs(secs));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_in_seconds_and_as_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
        let after = |text| retry_after_of(text, now).map(|wait| wait.as_secs());
        assert_eq!(after("120"), Some(120));
        assert_eq!(after(" 0 "), Some(0));
        assert_eq!(after("Sun, 06 Nov 1994 08:50:07 GMT"), Some(30));
        assert_eq!(after("Sunday, 06-Nov-94 08:50:07 GMT"), Some(30));
        assert_eq!(after("Sun Nov  6 08:50:07 1994"), Some(30));
        assert_eq!(after("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        for text in ["", "soon", "-3", "1.5"] {
            assert_eq!(after(text), None, "{text}");
        }
    }

    #[test]
    fn a_status_says_who_may_try_again() {
        let kind = |status| {
            let status = StatusCode::from_u16(status).expect("a status");
            Answer { status, body: Vec::new(), retry_after: None }.kind()
        };
        for status in [429, 502, 503] {
            assert_eq!(kind(status), FailureKind::Away { retry_after: None }, "{status}");
        }
        for status in [408, 500, 504, 507] {
            assert_eq!(kind(status), FailureKind::Passing, "{status}");
        }
        for status in [301, 401, 403, 404, 405, 501] {
            assert_eq!(kind(status), FailureKind::ThisServer, "{status}");
        }
        for status in [400, 413, 415, 422] {
            assert_eq!(kind(status), FailureKind::Anywhere, "{status}");
        }
    }

    #[test]
    fn a_long_refusal_is_shown_in_one_line_and_cut() {
        let body = format!("{{\"detail\":\n  \"{}\"}}", "ä".repeat(1000)).into_bytes();
        let answer = Answer { status: StatusCode::UNPROCESSABLE_ENTITY, body, retry_after: None };
        let reason = answer.checked().expect_err("refused").reason;
        assert!(reason.starts_with("422 Unprocessable Entity: {\"detail\": \"ä"), "{reason}");
        assert!(reason.ends_with('…') && !reason.contains('\n') && reason.chars().count() < 350);
    }

    #[test]
    fn secrets_stay_with_the_server() {
        assert!(same_host("http://a:1/x", "http://a:1"));
        assert!(!same_host("https://a:1/x", "http://a:1"));
        assert!(!same_host("http://a:2/x", "http://a:1"));
        assert!(!same_host("http://a:1@b/x", "http://a:1"));
    }
}
