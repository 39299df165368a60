//! Several servers as one generator: work goes to whichever is free, and away from whichever fails.
//!
//! - A call that fails is tried again, on another server if one works, up to `max_tries` times. What the caller asked
//!   for is complete and checked, or an error.
//! - A server that fails is left alone for a while that doubles, and must say anew what it makes before it gets work:
//!   pictures of another model would be mixed with ours.
//! - When no server has worked for `give_up_secs`, the error names each and what was wrong with it.
//!
//! Callers bring the threads, [`Generator::parallelism`] of them; what needs several calls by itself (seeds
//! that are no batch) is spread over the servers too.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use image::RgbImage;

use super::a1111::A1111;
use super::comfy::Comfy;
use super::health::{Health, Next, Tried, are_gone, choose};
use super::openai::OpenAi;
use super::sdcpp::SdCpp;
use super::settings::{Auth, HttpSettings};
use super::{Backend, Call, Description};
use crate::error::{Error, Result, ServerFailure};
use crate::generator::spec::{ServerKind, ServerSpec};
use crate::generator::{Cancel, Generator, GeneratorIdentity, ImageRequest};
use crate::http::backoff::Jitter;
use crate::http::client::Client;
use crate::http::failure::{Failure, FailureKind};
use crate::http::in_order::in_order;
use crate::http::watch::{LOOK_EVERY, Watch};

/// How long a server may take to say what it makes.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a call may find a server away. Far beyond what waits and `give_up_secs` allow; a bound all the same.
const MAX_AWAY: u32 = 1000;

/// One or more servers that make the same images.
pub struct Pool {
    identity: GeneratorIdentity,
    agreed: Description,
    settings: HttpSettings,
    servers: Vec<Server>,
    health: Mutex<Vec<Health>>,
    /// A server became free, or its health changed.
    changed: Condvar,
    turns: AtomicU64,
    jitter: Jitter,
}

struct Server {
    name: String,
    backend: Box<dyn Backend>,
}

/// What a server has done in this run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerReport {
    /// Kind and URL.
    pub server: String,
    /// Images it made.
    pub images: u64,
    /// Calls that failed there.
    pub failures: u64,
    /// The last of them.
    pub last_failure: Option<String>,
}

impl Pool {
    /// Asks every server what it makes. At least one must answer; those that do not are asked again later.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no server, a setting is impossible or two servers make different images;
    /// [`Error::ImageServersGone`] if none answers.
    pub fn open(specs: &[ServerSpec], settings: &HttpSettings, auth: &Auth) -> Result<Self> {
        settings.check()?;
        let Some(first) = specs.first() else {
            return Err(Error::config("generator", "names no server"));
        };
        if let Some(other) = specs.iter().find(|spec| spec.kind != first.kind) {
            let reason =
                format!("`{first}` and `{other}` are different programs: their images are not comparable");
            return Err(Error::config("generator", reason));
        }
        let servers = specs.iter().map(|spec| {
            let client = Client::new(&spec.url, spec.credentials.as_ref(), auth, settings.system_proxy);
            Ok(Server { name: spec.to_string(), backend: backend(spec.kind, client, settings)? })
        });
        let servers = servers.collect::<Result<Vec<_>>>()?;

        let now = Instant::now();
        let jitter = Jitter::default();
        let mut health: Vec<Health> = servers.iter().map(|_| Health::new(now)).collect();
        let mut agreed: Option<(&str, Description)> = None;
        for ((server, health), answer) in
            servers.iter().zip(&mut health).zip(describe_all(&servers, settings))
        {
            match (answer, &agreed) {
                (Ok(description), None) => agreed = Some((&server.name, description)),
                (Ok(description), Some((name, agreed))) => {
                    if let Some(difference) = difference(name, agreed, &server.name, &description) {
                        return Err(Error::config("generator", difference));
                    }
                }
                (Err(failure), _) => {
                    tracing::warn!(server = server.name, reason = failure.reason, "does not answer yet");
                    health.failed(&failure, settings, jitter.next(), now);
                    continue;
                }
            }
            health.verified = true;
        }
        let Some((_, agreed)) = agreed else {
            let failures =
                servers.iter().zip(&health).map(|(server, health)| server.failure(health)).collect();
            return Err(Error::ImageServersGone { waited: now.elapsed(), failures });
        };
        if !agreed.takes_seeds {
            tracing::warn!("the server takes no seeds: images of two prompts share no noise");
        }
        let identity = GeneratorIdentity {
            name: name(first.kind, &servers, &agreed),
            model: agreed.model.clone(),
            takes_seeds: agreed.takes_seeds,
        };
        Ok(Self {
            identity,
            agreed,
            settings: settings.clone(),
            servers,
            health: Mutex::new(health),
            changed: Condvar::new(),
            turns: AtomicU64::new(1),
            jitter,
        })
    }

    /// The same waits in every run, for tests.
    #[must_use]
    pub fn with_jitter_seed(mut self, seed: u64) -> Self {
        self.jitter = Jitter::seeded(seed);
        self
    }

    /// What each server has done so far.
    pub fn reports(&self) -> Vec<ServerReport> {
        let health = self.lock();
        let reports = self.servers.iter().zip(health.iter()).map(|(server, health)| ServerReport {
            server: server.name.clone(),
            images: health.images,
            failures: health.failures,
            last_failure: health.last_failure.clone(),
        });
        reports.collect()
    }

    /// One call, tried until it is answered well.
    fn make(&self, call: &Call<'_>, cancel: &Cancel) -> Result<Vec<RgbImage>> {
        let mut tries = Tries::new(self.servers.len());
        loop {
            let turn = self.take(&tries, cancel)?;
            match self.attempt(&turn, call, cancel) {
                Ok(images) => {
                    turn.health(|health| health.succeeded(images.len(), Instant::now()));
                    return Ok(images);
                }
                Err(Failure { kind: FailureKind::Cancelled, .. }) => return Err(Error::Interrupted),
                Err(failure) => {
                    let server = &self.servers[turn.idx];
                    tracing::warn!(server = server.name, reason = failure.reason, "made no image");
                    if failure.kind != FailureKind::Anywhere {
                        let jitter = self.jitter.next();
                        turn.health(|health| {
                            health.failed(&failure, &self.settings, jitter, Instant::now());
                        });
                    }
                    if tries.are_over_after(turn.idx, &failure, self.settings.max_tries) {
                        return Err(self.failed(&tries));
                    }
                }
            }
        }
    }

    /// One call to one server.
    fn attempt(&self, turn: &Turn<'_>, call: &Call<'_>, cancel: &Cancel) -> Result<Vec<RgbImage>, Failure> {
        let server = &self.servers[turn.idx];
        if !turn.verified {
            let watch = Watch::new(self.settings.timeout().min(DESCRIBE_TIMEOUT), cancel);
            let found = server.backend.describe(&watch).map_err(Failure::before_work)?;
            if let Some(difference) = difference("the pool", &self.agreed, &server.name, &found) {
                return Err(Failure::this_server(difference));
            }
            tracing::info!(server = server.name, "answers");
            turn.health(|health| health.verified = true);
        }
        let watch = Watch::new(self.settings.timeout(), cancel);
        let images = server.backend.make(call, &watch)?;
        if images.len() != call.seeds.len() {
            return Err(Failure::passing(format!(
                "asked for {} images, got {}",
                call.seeds.len(),
                images.len()
            )));
        }
        Ok(images)
    }

    /// Waits for a server and takes it.
    fn take(&self, tries: &Tries, cancel: &Cancel) -> Result<Turn<'_>> {
        let mut health = self.lock();
        loop {
            cancel.check()?;
            let now = Instant::now();
            let until = match choose(&health, &tries.tried, now) {
                Next::Take(idx) => {
                    let server = &mut health[idx];
                    server.busy_since = Some(now);
                    server.last_turn = self.turns.fetch_add(1, Ordering::Relaxed);
                    return Ok(Turn { pool: self, idx, verified: server.verified });
                }
                Next::Wait(until) => until,
            };
            if are_gone(&health, &self.settings, tries.began, now) {
                let failures = self.servers.iter().zip(health.iter());
                let failures = failures.map(|(server, health)| server.failure(health)).collect();
                return Err(Error::ImageServersGone { waited: tries.began.elapsed(), failures });
            }
            let wait = until.map_or(LOOK_EVERY, |until| until.saturating_duration_since(now).min(LOOK_EVERY));
            let waited = self.changed.wait_timeout(health, wait);
            health = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn failed(&self, tries: &Tries) -> Error {
        let failures = self.servers.iter().zip(&tries.reasons).filter_map(|(server, reason)| {
            Some(ServerFailure { server: server.name.clone(), reason: reason.clone()? })
        });
        Error::ImageFailed { failures: failures.collect() }
    }

    /// The request's seeds, cut where a server would not make them in one call.
    fn calls<'a>(&'a self, request: &ImageRequest<'a>) -> Vec<Call<'a>> {
        let mut calls = Vec::new();
        let mut rest = request.seeds;
        while !rest.is_empty() {
            let len = self.servers[0].backend.batch_len(rest, &self.agreed).clamp(1, rest.len());
            let (seeds, later) = rest.split_at(len);
            calls.push(Call {
                prompt: request.prompt,
                seeds,
                settings: request.settings,
                agreed: &self.agreed,
            });
            rest = later;
        }
        calls
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Health>> {
        // A thread that panicked in here left numbers that are still true.
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generator for Pool {
    fn identity(&self) -> &GeneratorIdentity {
        &self.identity
    }

    fn parallelism(&self) -> usize {
        self.servers.len()
    }

    /// # Errors
    /// [`Error::ImageFailed`] if every try of an image failed; [`Error::ImageServersGone`] if no server works;
    /// [`Error::Interrupted`]; [`Error::Config`] for impossible settings.
    fn generate(&self, request: &ImageRequest<'_>, cancel: &Cancel) -> Result<Vec<RgbImage>> {
        request.settings.check()?;
        cancel.check()?;
        let calls = self.calls(request);
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        // What one worker made: the call's number and its images.
        let work = |_| -> Result<Vec<(usize, Vec<RgbImage>)>> {
            let mut made = Vec::new();
            while !failed.load(Ordering::Relaxed) {
                let idx = next.fetch_add(1, Ordering::Relaxed);
                let Some(call) = calls.get(idx) else { break };
                let images =
                    self.make(call, cancel).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
                made.push((idx, images));
            }
            Ok(made)
        };
        in_order(calls.len().min(self.servers.len()), work)
    }
}

impl Server {
    fn failure(&self, health: &Health) -> ServerFailure {
        let reason = health.last_failure.clone().unwrap_or_else(|| "was not asked".to_owned());
        ServerFailure { server: self.name.clone(), reason }
    }
}

/// A server that is ours until this is dropped.
struct Turn<'a> {
    pool: &'a Pool,
    idx: usize,
    verified: bool,
}

impl Turn<'_> {
    fn health(&self, change: impl FnOnce(&mut Health)) {
        change(&mut self.pool.lock()[self.idx]);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.health(|health| health.busy_since = None);
        self.pool.changed.notify_all();
    }
}

/// What became of a call so far.
struct Tries {
    began: Instant,
    tried: Vec<Tried>,
    /// The last failure at each server.
    reasons: Vec<Option<String>>,
    count: u32,
    away: u32,
}

impl Tries {
    fn new(num_servers: usize) -> Self {
        Self {
            began: Instant::now(),
            tried: (0..num_servers).map(|_| Tried { failures: 0, refused: false }).collect(),
            reasons: vec![None; num_servers],
            count: 0,
            away: 0,
        }
    }

    fn are_over_after(&mut self, idx: usize, failure: &Failure, max_tries: u32) -> bool {
        self.reasons[idx] = Some(failure.reason.clone());
        match failure.kind {
            FailureKind::Away { .. } => self.away += 1,
            FailureKind::Passing => {
                self.count += 1;
                self.tried[idx].failures += 1;
            }
            FailureKind::ThisServer => self.tried[idx].refused = true,
            FailureKind::Anywhere | FailureKind::Cancelled => return true,
        }
        self.count >= max_tries || self.away >= MAX_AWAY || self.tried.iter().all(|tried| tried.refused)
    }
}

fn backend(kind: ServerKind, client: Client, settings: &HttpSettings) -> Result<Box<dyn Backend>> {
    Ok(match kind {
        ServerKind::A1111 => Box::new(A1111::new(client, settings)),
        ServerKind::Comfy => Box::new(Comfy::new(client, settings)?),
        ServerKind::OpenAi => Box::new(OpenAi::new(client, settings)),
        ServerKind::SdCpp => Box::new(SdCpp::new(client, settings)),
    })
}

/// What every server says, asked all at once.
fn describe_all(servers: &[Server], settings: &HttpSettings) -> Vec<Result<Description, Failure>> {
    let never = Cancel::default();
    let timeout = settings.timeout().min(DESCRIBE_TIMEOUT);
    let ask = |server: &Server| server.backend.describe(&Watch::new(timeout, &never));
    thread::scope(|scope| {
        let asked: Vec<_> = servers.iter().map(|server| scope.spawn(move || ask(server))).collect();
        let answers = asked.into_iter().map(|thread| thread.join());
        answers.map(|answer| answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// In what the images of two servers would differ.
fn difference(name: &str, expected: &Description, other: &str, found: &Description) -> Option<String> {
    if expected == found {
        return None;
    }
    let say = |description: &Description| {
        let model =
            if description.model.is_empty() { "a model it does not name" } else { &description.model };
        format!("{model}{}", if description.takes_seeds { "" } else { " without seeds" })
    };
    Some(format!("{name} makes images of {}, `{other}` of {}: not comparable", say(expected), say(found)))
}

/// The pool's name in a cache. See [`GeneratorIdentity::name`].
fn name(kind: ServerKind, servers: &[Server], agreed: &Description) -> String {
    if !agreed.model.is_empty() {
        return kind.name().to_owned();
    }
    let mut names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
    names.sort_unstable();
    names.join(",")
}
