//! Sends HTTP requests and writes down what came of each: when it should have been sent, when it was, when the
//! answer was there, its status and a hash of it. What that means (percentiles, throughput) is `run.py`'s.
//!
//! - `--clients N`: closed loop. N clients, each sending when it has its answer. Shows what a server can do.
//! - `--rate R`: open loop. Requests come at random times, R a second on average, whether or not earlier ones
//!   are answered, as they do from many people. Time counts from when a request should have been sent, so that
//!   a server that stalls is charged for everyone who had to wait ("coordinated omission").
//!
//! The standard library only, a thread a request in flight: its share of a core at a thousand requests a second is
//! small beside any server's, and is the same for each.

use std::collections::{HashMap, HashSet};
use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

const USAGE: &str = "usage: promptist-load --addr HOST:PORT --requests FILE (--clients N | --rate R) --seconds S
    [--path /v1/adapt] [--max-in-flight 512] [--seed 1] [--timeout 120] [--between START END] [--bodies FILE]

FILE holds a request's body a line; they are sent in turn. Stdout has a line a request, tab-separated:
request, scheduled, sent and done in microseconds, status (0: no answer), hash of the answer, seconds of Retry-After.
The hash is of what stands between START and END. --bodies keeps the first answer to each request, and the first of
each other status.";

/// A stack of this size holds what a connection needs.
const STACK_BYTES: usize = 128 * 1024;
const MAX_BODY_BYTES: usize = 16 << 20;
/// A connection that was unused for longer may have been closed by the server meanwhile.
const UNUSED: Duration = Duration::from_secs(1);
/// How long a client waits at most that was told to come again; the longest that a test has patience for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5);

struct Options {
    addr: String,
    path: String,
    requests: Vec<String>,
    load: Load,
    duration: Duration,
    timeout: Duration,
    between: Option<(String, String)>,
    bodies: Option<String>,
}

enum Load {
    Closed { clients: usize },
    Open { arrivals: Vec<Duration>, max_in_flight: usize },
}

/// What came of one request.
struct Outcome {
    request: usize,
    scheduled: Duration,
    sent: Duration,
    done: Duration,
    status: u16,
    hash: u64,
    retry_after: Option<u64>,
}

struct Response {
    status: u16,
    retry_after: Option<u64>,
    keep_alive: bool,
    body: Vec<u8>,
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options, String> {
    let mut given = HashMap::new();
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        let values = if word == "--between" { 2 } else { 1 };
        let values: Vec<String> = words.by_ref().take(values).collect();
        given.insert(word, values);
    }
    let mut take = |name: &str| given.remove(name).and_then(|values| values.into_iter().next());
    fn number<T: std::str::FromStr>(name: &str, value: Option<String>, default: T) -> Result<T, String> {
        match value {
            None => Ok(default),
            Some(value) => value.parse().map_err(|_| format!("{name}: `{value}` is no number\n{USAGE}")),
        }
    }
    let addr = take("--addr").ok_or(USAGE)?;
    let file = take("--requests").ok_or(USAGE)?;
    let requests = fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
    let requests: Vec<String> = requests.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if requests.is_empty() {
        return Err(format!("{file}: no requests"));
    }
    let duration = Duration::from_secs_f64(number("--seconds", take("--seconds"), 10.0)?);
    let seed = number("--seed", take("--seed"), 1)?;
    let max_in_flight = number("--max-in-flight", take("--max-in-flight"), 512)?;
    let load = match (take("--clients"), take("--rate")) {
        (Some(clients), None) => Load::Closed { clients: number("--clients", Some(clients), 1)? },
        (None, Some(rate)) => Load::Open {
            arrivals: arrivals(number("--rate", Some(rate), 1.0)?, duration, seed),
            max_in_flight,
        },
        _ => return Err(USAGE.to_owned()),
    };
    let path = take("--path").unwrap_or_else(|| "/v1/adapt".to_owned());
    let timeout = Duration::from_secs_f64(number("--timeout", take("--timeout"), 120.0)?);
    let bodies = take("--bodies");
    let between = match given.remove("--between") {
        Some(values) => Some(<[String; 2]>::try_from(values).map_err(|_| USAGE)?.into()),
        None => None,
    };
    if let Some(unknown) = given.keys().next() {
        return Err(format!("{unknown} is unknown\n{USAGE}"));
    }
    Ok(Options { addr, path, requests, load, duration, timeout, between, bodies })
}

/// Times of a Poisson process of that many events a second: the gaps are exponential.
fn arrivals(rate: f64, duration: Duration, seed: u64) -> Vec<Duration> {
    // xorshift64*, which is random enough for gaps. A state of zero would stay zero.
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut at = 0.0;
    let mut times = Vec::new();
    loop {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let uniform = (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64;
        at -= (1.0 - uniform).ln() / rate;
        if at >= duration.as_secs_f64() {
            return times;
        }
        times.push(Duration::from_secs_f64(at));
    }
}

fn run(options: &Options) -> Result<(), String> {
    let workers = match &options.load {
        Load::Closed { clients } => *clients,
        Load::Open { arrivals, max_in_flight } => arrivals.len().min(*max_in_flight),
    };
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    let bodies = Mutex::new(Bodies::default());
    // Connections that nobody uses; the one used last is taken first, so that there are no more than needed.
    let idle = Mutex::new(Vec::new());
    if let Load::Closed { clients } = options.load {
        let opened: io::Result<Vec<Connection>> = (0..clients).map(|_| Connection::open(options)).collect();
        *idle.lock().expect("no panic while held") =
            opened.map_err(|error| format!("{}: {error}", options.addr))?;
    }
    let ready = Barrier::new(workers + 1);
    let clock = OnceLock::new();
    thread::scope(|scope| -> io::Result<()> {
        for _ in 0..workers {
            thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, || {
                ready.wait();
                ready.wait();
                let began = *clock.get().expect("set between the two waits");
                let mut own = work(options, began, &next, &idle, &bodies);
                outcomes.lock().expect("no panic while held").append(&mut own);
            })?;
        }
        ready.wait();
        clock.set(Instant::now()).expect("set once");
        ready.wait();
        Ok(())
    })
    .map_err(|error| format!("a thread could not be started: {error}"))?;

    let mut outcomes = outcomes.into_inner().expect("no panic while held");
    outcomes.sort_by_key(|outcome: &Outcome| outcome.scheduled);
    write(&outcomes).map_err(|error| format!("stdout: {error}"))?;
    if let Some(file) = &options.bodies {
        let bodies = bodies.into_inner().expect("no panic while held");
        fs::write(file, bodies.lines.concat()).map_err(|error| format!("{file}: {error}"))?;
    }
    Ok(())
}

/// One thread's work: the next request that nobody has, until the time is up.
fn work(
    options: &Options,
    began: Instant,
    next: &AtomicUsize,
    idle: &Mutex<Vec<Connection>>,
    bodies: &Mutex<Bodies>,
) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let scheduled = match &options.load {
            Load::Closed { .. } => began.elapsed(),
            Load::Open { arrivals, .. } => arrivals.get(index).copied().unwrap_or(Duration::MAX),
        };
        if scheduled >= options.duration {
            return outcomes;
        }
        thread::sleep(scheduled.saturating_sub(began.elapsed()));
        let request = index % options.requests.len();
        let sent = began.elapsed();
        let response = send(idle, options, &options.requests[request]);
        let done = began.elapsed();
        let mut outcome = Outcome { request, scheduled, sent, done, status: 0, hash: 0, retry_after: None };
        if let Ok(response) = response {
            bodies.lock().expect("no panic while held").keep(request, &response);
            outcome.status = response.status;
            outcome.hash = hash(part(&response.body, options.between.as_ref()));
            outcome.retry_after = response.retry_after;
        }
        if let Load::Closed { .. } = options.load {
            // A client that is told to come again, or gets no answer, does not ask again at once.
            let pause = match outcome.status {
                429 | 503 => Duration::from_secs(outcome.retry_after.unwrap_or(1)),
                0 => Duration::from_millis(100),
                _ => Duration::ZERO,
            };
            thread::sleep(pause.min(MAX_RETRY_AFTER));
        }
        outcomes.push(outcome);
    }
}

fn write(outcomes: &[Outcome]) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for Outcome { request, scheduled, sent, done, status, hash, retry_after } in outcomes {
        let [scheduled, sent, done] = [scheduled, sent, done].map(Duration::as_micros);
        let retry_after = retry_after.map_or(String::new(), |secs| secs.to_string());
        writeln!(out, "{request}\t{scheduled}\t{sent}\t{done}\t{status}\t{hash:016x}\t{retry_after}")?;
    }
    out.flush()
}

/// The first answer to each request, and the first of each status but 200.
#[derive(Default)]
struct Bodies {
    known: HashSet<(usize, u16)>,
    lines: Vec<String>,
}

impl Bodies {
    fn keep(&mut self, request: usize, response: &Response) {
        let key = if response.status == 200 { (request, 200) } else { (0, response.status) };
        if self.known.insert(key) {
            let body = String::from_utf8_lossy(&response.body).replace(['\n', '\t'], " ");
            self.lines.push(format!("{request}\t{}\t{body}\n", response.status));
        }
    }
}

/// What stands between the two texts, of the whole body if they are not in it.
fn part<'a>(body: &'a [u8], between: Option<&(String, String)>) -> &'a [u8] {
    let find =
        |text: &[u8], what: &str| text.windows(what.len()).position(|window| window == what.as_bytes());
    between
        .and_then(|(start, end)| {
            let from = find(body, start)? + start.len();
            let to = find(&body[from..], end)?;
            Some(&body[from..from + to])
        })
        .unwrap_or(body)
}

/// FNV-1a: whether two answers are the same, nothing more.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

struct Connection {
    reader: BufReader<TcpStream>,
    last_used: Instant,
}

impl Connection {
    fn open(options: &Options) -> io::Result<Self> {
        let stream = TcpStream::connect(&options.addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(options.timeout))?;
        stream.set_write_timeout(Some(options.timeout))?;
        Ok(Self { reader: BufReader::new(stream), last_used: Instant::now() })
    }
}

/// Sends a request and reads the answer. The connection is for the next one if the server keeps it.
fn send(idle: &Mutex<Vec<Connection>>, options: &Options, body: &str) -> io::Result<Response> {
    let kept = idle.lock().expect("no panic while held").pop();
    let (response, connection) = match kept {
        // A server may close what nobody uses, and a client finds out when it does.
        Some(kept) if kept.last_used.elapsed() > UNUSED => {
            exchange(kept, options, body).or_else(|_| exchange(Connection::open(options)?, options, body))?
        }
        Some(kept) => exchange(kept, options, body)?,
        None => exchange(Connection::open(options)?, options, body)?,
    };
    if response.keep_alive {
        idle.lock().expect("no panic while held").push(connection);
    }
    Ok(response)
}

fn exchange(mut connection: Connection, options: &Options, body: &str) -> io::Result<(Response, Connection)> {
    let message = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        options.path,
        options.addr,
        body.len(),
    );
    connection.reader.get_mut().write_all(message.as_bytes())?;
    let response = read_response(&mut connection.reader)?;
    connection.last_used = Instant::now();
    Ok((response, connection))
}

/// A response with a `Content-Length`, which is what both servers send.
fn read_response(reader: &mut impl BufRead) -> io::Result<Response> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let line = read_line(reader)?;
    let status =
        line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| bad("no status"))?;
    let (mut length, mut retry_after, mut keep_alive) = (None, None, true);
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| bad("no header"))?;
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse::<usize>().ok(),
            "retry-after" => retry_after = value.parse().ok(),
            "connection" => keep_alive = !value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    let length = length.filter(|length| *length <= MAX_BODY_BYTES).ok_or_else(|| bad("no length"))?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Response { status, retry_after, keep_alive, body })
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    match reader.by_ref().take(8192).read_line(&mut line)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line.trim_end().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_random_repeatable_and_as_many_as_asked() {
        let duration = Duration::from_secs(100);
        let times = arrivals(50.0, duration, 7);
        assert_eq!(times, arrivals(50.0, duration, 7));
        assert_ne!(times, arrivals(50.0, duration, 8));
        // 5000 expected; its standard deviation is 71.
        assert!((4700..5300).contains(&times.len()), "{}", times.len());
        assert!(times.is_sorted() && times.iter().all(|at| *at < duration));
        // Of an exponential distribution, a share of 1 - 1/e is below the mean.
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
        let below = gaps.iter().filter(|gap| **gap < 0.02).count() as f64 / gaps.len() as f64;
        assert!((below - 0.632).abs() < 0.03, "{below}");
    }

    #[test]
    fn a_response_is_read_to_its_end_and_no_further() {
        let mut reader = io::Cursor::new(
            "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 2\r\ncontent-length: 2\r\n\r\n{}\
             HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        );
        let first = read_response(&mut reader).expect("a response");
        assert_eq!((first.status, first.retry_after, first.keep_alive), (429, Some(2), true));
        assert_eq!(first.body, b"{}");
        let second = read_response(&mut reader).expect("a response");
        assert_eq!((second.status, second.keep_alive, second.body.len()), (200, false, 0));
        assert!(read_response(&mut reader).is_err());
    }

    #[test]
    fn only_what_stands_between_is_compared() {
        let between = Some(("\"outputs\":".to_owned(), ",\"model\"".to_owned()));
        assert_eq!(part(b"{\"outputs\":[1],\"model\":2}", between.as_ref()), b"[1]");
        assert_eq!(part(b"{}", between.as_ref()), b"{}");
        assert_ne!(hash(b"[1]"), hash(b"[2]"));
    }
}
