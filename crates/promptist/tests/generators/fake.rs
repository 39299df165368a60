//! A small HTTP server whose answers, faults included, are a closure; it can be killed and started again.
//! And pictures that are a function of what was asked for, so that every answer can be told from every other.

use std::io::{BufRead, BufReader, Cursor, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use image::{ImageFormat, Rgb, RgbImage};
use promptist::generator::http::{Auth, HttpSettings, Pool};
use promptist::generator::spec::GeneratorSpec;
use promptist::generator::{Cancel, Generator, ImageRequest, ImageSettings};
use serde_json::Value;

/// What a server was asked.
#[derive(Debug, Clone)]
pub struct Question {
    pub method: String,
    /// With its query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Question {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a body of JSON")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path == path
    }
}

/// What it answers.
pub enum Reply {
    Json(Value),
    Bytes(Vec<u8>),
    Status(u16, &'static str, String),
    /// An answer that announces more than it sends.
    Truncated(Value),
    /// Nothing, until the client has had enough.
    Hang,
    /// The connection breaks.
    Reset,
}

impl Reply {
    pub fn status(code: u16) -> Self {
        Self::Status(code, "", "{\"detail\": \"as the test wants it\"}".to_owned())
    }
}

type Answer = dyn Fn(&Question) -> Reply + Send + Sync;

/// Dropped, it stops.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<thread::JoinHandle<()>>,
}

struct Shared {
    answer: Box<Answer>,
    questions: Mutex<Vec<Question>>,
    connections: Mutex<Vec<TcpStream>>,
    is_dead: AtomicBool,
}

impl Server {
    pub fn start(answer: impl Fn(&Question) -> Reply + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            answer: Box::new(answer),
            questions: Mutex::default(),
            connections: Mutex::default(),
            is_dead: AtomicBool::new(true),
        });
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self { address, shared, accepting: None };
        server.revive();
        server
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked so far.
    pub fn questions(&self) -> Vec<Question> {
        self.shared.questions.lock().expect("no panic in a server").clone()
    }

    pub fn asked(&self, method: &str, path: &str) -> Vec<Question> {
        self.questions().into_iter().filter(|question| question.is(method, path)).collect()
    }

    /// As `kill -9`: the port is closed, connections break.
    pub fn kill(&mut self) {
        self.shared.is_dead.store(true, Ordering::SeqCst);
        // Wakes `accept`.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            accepting.join().expect("no panic in a server");
        }
        for connection in self.shared.connections.lock().expect("no panic in a server").drain(..) {
            drop(connection.shutdown(Shutdown::Both));
        }
    }

    /// Starts it, again on the same port.
    pub fn revive(&mut self) {
        let listener = TcpListener::bind(self.address).expect("a port");
        self.address = listener.local_addr().expect("an address");
        self.shared.is_dead.store(false, Ordering::SeqCst);
        let shared = self.shared.clone();
        self.accepting = Some(thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.is_dead.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let copy = stream.try_clone().expect("a stream");
                shared.connections.lock().expect("no panic in a server").push(copy);
                let shared = shared.clone();
                // A client that goes away is an error here and no concern of the test.
                thread::spawn(move || drop(shared.serve(stream)));
            }
        }));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(':') else { break };
            headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
        let mut question = Question { method, path, headers, body: Vec::new() };
        let length = question.header("content-length").map_or(0, |length| length.parse().expect("a length"));
        question.body = vec![0; length];
        reader.read_exact(&mut question.body)?;
        self.questions.lock().expect("no panic in a server").push(question.clone());

        let reply = (self.answer)(&question);
        if self.is_dead.load(Ordering::SeqCst) {
            return Ok(());
        }
        let sent = match reply {
            Reply::Json(json) => send(&mut stream, 200, "", json.to_string().as_bytes(), 0),
            Reply::Bytes(bytes) => send(&mut stream, 200, "", &bytes, 0),
            Reply::Status(code, header, body) => send(&mut stream, code, header, body.as_bytes(), 0),
            Reply::Truncated(json) => send(&mut stream, 200, "", json.to_string().as_bytes(), 1000),
            Reply::Hang => reader.read(&mut [0]).map(drop),
            Reply::Reset => Ok(()),
        };
        // `connections` holds the stream too, so that dropping it here would not close it.
        stream.shutdown(Shutdown::Both)?;
        sent
    }
}

fn send(stream: &mut TcpStream, code: u16, header: &str, body: &[u8], missing: usize) -> std::io::Result<()> {
    let length = body.len() + missing;
    write!(stream, "HTTP/1.1 {code} Test\r\nContent-Length: {length}\r\n{header}Connection: close\r\n\r\n")?;
    stream.write_all(body)?;
    stream.flush()
}

/// What a server is to draw of that prompt and seed: noise, unlike that of any other.
pub fn drawing(prompt: &str, seed: u64, width: u32, height: u32) -> RgbImage {
    let mut state = prompt.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    RgbImage::from_fn(width, height, |_, _| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let [red, green, blue, ..] = (state >> 24).to_le_bytes();
        Rgb([red, green, blue])
    })
}

pub fn png(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).expect("a picture");
    bytes.into_inner()
}

pub fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Small pictures, as everything that is drawn here.
pub fn small() -> ImageSettings {
    ImageSettings { width: 24, height: 16, ..ImageSettings::default() }
}

/// Waits of milliseconds where people want seconds.
pub fn hurried() -> HttpSettings {
    HttpSettings {
        timeout_secs: 30.0,
        give_up_secs: 30.0,
        backoff_secs: 0.001,
        max_backoff_secs: 0.02,
        ..HttpSettings::default()
    }
}

/// A pool of those servers, of one kind.
pub fn pool(kind: &str, servers: &[&Server], settings: &HttpSettings) -> promptist::Result<Pool> {
    let specs: Vec<String> = servers.iter().map(|server| format!("{kind}+{}", server.url())).collect();
    let Ok(GeneratorSpec::Servers(specs)) = specs.join(",").parse() else { panic!("servers: {specs:?}") };
    Ok(Pool::open(&specs, settings, &Auth::None)?.with_jitter_seed(7))
}

pub fn generate(pool: &impl Generator, prompt: &str, seeds: &[u64]) -> promptist::Result<Vec<RgbImage>> {
    let settings = small();
    pool.generate(&ImageRequest { prompt, seeds, settings: &settings }, &Cancel::default())
}

/// Whether those are the drawings of that prompt and those seeds.
#[track_caller]
pub fn assert_drawn(images: &[RgbImage], prompt: &str, seeds: &[u64]) {
    assert_eq!(images.len(), seeds.len());
    for (image, &seed) in images.iter().zip(seeds) {
        assert!(
            *image == drawing(prompt, seed, 24, 16),
            "another picture than that of {prompt:?}, seed {seed}"
        );
    }
}

/// Waits until `is_so`; panics rather than wait for ever.
#[track_caller]
pub fn until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came to that");
        thread::sleep(Duration::from_millis(10));
    }
}
