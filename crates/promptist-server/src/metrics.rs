//! What is counted, in the text format that Prometheus reads.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use promptist::prompter::{Adapted, Prompter};

/// Bounds of the histograms in seconds: from an answer of `mini` to the default deadline.
const SECONDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// A server's metrics.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    request_seconds: Family<Path, Histogram, fn() -> Histogram>,
    queue_seconds: Histogram,
    decode_seconds: Histogram,
    answers: Counter,
    tokens: Counter,
    /// Inputs that nobody waited for any more.
    pub(crate) cancelled: Counter,
    /// Panics of the model.
    pub(crate) panics: Counter,
    pending: Gauge,
    /// Inputs that the model has not seen.
    pub(crate) waiting: Gauge,
    /// Inputs that the model is at.
    pub(crate) running: Gauge,
    /// Rows of the model's cache that are in use.
    pub(crate) rows: Gauge,
    connections: Gauge,
    memory: Gauge<i64, std::sync::atomic::AtomicI64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    path: Arc<str>,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Path {
    path: Arc<str>,
}

/// A connection that is open, counted until this is dropped.
pub(crate) struct OpenConnection(Arc<Metrics>);

impl OpenConnection {
    pub(crate) fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.connections.inc();
        Self(Arc::clone(metrics))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}

impl Metrics {
    /// Metrics of a server that serves this model.
    pub(crate) fn new(prompter: &Prompter) -> Self {
        let mut registry = Registry::with_prefix("promptist");
        let model = vec![
            ("model", prompter.identity().name.clone()),
            ("sha256", prompter.identity().sha256.clone()),
            ("precision", prompter.precision().to_string()),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        registry.register("build", "The program and its model", Info::new(model));
        let seconds = || Histogram::new(SECONDS);
        let metrics = Self {
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds as fn() -> Histogram),
            queue_seconds: seconds(),
            decode_seconds: seconds(),
            answers: Counter::<u64, AtomicU64>::default(),
            tokens: Counter::default(),
            cancelled: Counter::default(),
            panics: Counter::default(),
            pending: Gauge::default(),
            waiting: Gauge::default(),
            running: Gauge::default(),
            rows: Gauge::default(),
            connections: Gauge::default(),
            memory: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("requests", "Requests by path and status", metrics.requests.clone());
        let durations: [(&str, &str, Histogram); 2] = [
            ("queue_duration", "From an input's acceptance to its first step", metrics.queue_seconds.clone()),
            ("decode_duration", "From an input's first step to its answer", metrics.decode_seconds.clone()),
        ];
        for (name, help, histogram) in durations {
            registry.register_with_unit(name, help, Unit::Seconds, histogram);
        }
        registry.register_with_unit(
            "request_duration",
            "From a request's head to its response's, by path",
            Unit::Seconds,
            metrics.request_seconds.clone(),
        );
        let counters: [(&str, &str, &Counter); 4] = [
            ("answers", "Adapted prompts", &metrics.answers),
            ("tokens", "Tokens of adapted prompts", &metrics.tokens),
            (
                "cancelled",
                "Inputs that were dropped because their clients left or their time was up",
                &metrics.cancelled,
            ),
            ("panics", "Panics of the model", &metrics.panics),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        let gauges: [(&str, &str, &Gauge); 5] = [
            ("pending", "Inputs that are accepted and not answered", &metrics.pending),
            ("waiting", "Inputs that the model has not seen", &metrics.waiting),
            ("running", "Inputs that the model is at", &metrics.running),
            ("rows", "Rows of the model's cache in use", &metrics.rows),
            ("connections", "Open connections", &metrics.connections),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        registry.register_with_unit("resident_memory", "Memory in use", Unit::Bytes, metrics.memory.clone());
        Self { registry, ..metrics }
    }

    /// A request was answered.
    pub(crate) fn answered(&self, path: &str, code: u16, took: Duration) {
        let path: Arc<str> = path.into();
        self.requests.get_or_create(&Request { path: Arc::clone(&path), code }).inc();
        self.request_seconds.get_or_create(&Path { path }).observe(took.as_secs_f64());
    }

    /// An input was decoded, `since` its acceptance.
    pub(crate) fn adapted(&self, result: &promptist::Result<Adapted>, since: Duration) {
        let Ok(adapted) = result else { return };
        let decode_secs = adapted.elapsed_ms / 1e3;
        self.decode_seconds.observe(decode_secs);
        self.queue_seconds.observe((since.as_secs_f64() - decode_secs).max(0.0));
        self.answers.inc_by(adapted.outputs.len() as u64);
        let tokens = adapted.outputs.iter().map(|output| output.token_ids.len());
        self.tokens.inc_by(tokens.sum::<usize>() as u64);
    }

    /// All of it as text.
    pub(crate) fn text(&self, num_pending: usize) -> String {
        self.pending.set(num_pending as i64);
        self.memory.set(resident_bytes());
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            // Writing to a string does not fail.
            let _ = write!(text, "# {error}");
        }
        text
    }
}

/// Resident memory of this process; 0 where the system does not say it as Linux does.
fn resident_bytes() -> i64 {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return 0 };
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<i64>().ok());
    kib.unwrap_or(0) * 1024
}
