//! A server on a free port, stopped when dropped.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use image::{Rgb, RgbImage};
use promptist::generator::{Cancel, Generator, GeneratorIdentity, ImageRequest, ImageSettings};
use promptist::mini;
use promptist::model_source::ModelFiles;
use promptist::prompter::{Backend, Prompter};
use promptist::reward::{Retention, Term, WeightedSum};
use promptist_server::{Images, Listener, Painter, ServerConfig, Services};
use tokio::sync::oneshot;

use crate::client::{get, post};

/// How long a test waits for what must come. Only a test that fails waits that long.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// `mini`, opened once.
pub static PROMPTER: LazyLock<Arc<Prompter>> = LazyLock::new(|| {
    let mini = mini::embedded().expect("the feature `embedded-model`");
    let backend = Backend::Engine { precision: None, isa: None, num_threads: 2 };
    Arc::new(Prompter::open(&ModelFiles::Embedded(mini), &backend).expect("the embedded model"))
});

/// A running server.
pub struct TestServer {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestServer {
    /// One with these limits, ready.
    pub fn start(config: ServerConfig) -> Self {
        let listener = Listener::bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let term = Term { name: "retention".to_owned(), weight: 2.0, reward: Box::new(Retention) };
        let reward = Some(WeightedSum::new(vec![term]).expect("a reward"));
        let services = Services { prompter: Arc::clone(&PROMPTER), reward, images: Some(images()) };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime");
            let stop = async { _ = stopped.await };
            runtime
                .block_on(promptist_server::serve(services, config, listener, stop))
                .expect("the server runs");
        });
        let server = Self { address, stop: Some(stop), thread: Some(thread) };
        wait_until("ready", || get(address, "/readyz").status == 200);
        server
    }

    /// Asks it to stop.
    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Waits until it has ended.
    pub fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic");
        }
    }

    /// A metric's value.
    pub fn metric(&self, name: &str) -> f64 {
        let text = get(self.address, "/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    /// That it still answers, and no panic was counted.
    #[track_caller]
    pub fn assert_well(&self) {
        let answer = post(self.address, "/v1/adapt", r#"{"user_input": "a cat", "max_new_tokens": 16}"#);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(self.metric("promptist_panics_total"), 0.0);
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop();
        if !std::thread::panicking() {
            self.join();
        }
    }
}

/// Images of one colour, the seed's, by a painter that is no model.
fn images() -> Images {
    struct OneColour(GeneratorIdentity);

    impl Generator for OneColour {
        fn identity(&self) -> &GeneratorIdentity {
            &self.0
        }

        fn parallelism(&self) -> usize {
            1
        }

        fn generate(&self, request: &ImageRequest<'_>, cancel: &Cancel) -> promptist::Result<Vec<RgbImage>> {
            cancel.check()?;
            if request.prompt == "fail" {
                return Err(promptist::Error::NotFinite("secret detail".to_owned()));
            }
            let image =
                |seed: &u64| RgbImage::from_pixel(8, 8, Rgb([*seed as u8, 0, request.prompt.len() as u8]));
            Ok(request.seeds.iter().map(image).collect())
        }
    }

    let identity =
        GeneratorIdentity { name: "one colour".to_owned(), model: String::new(), takes_seeds: true };
    let painter = Painter::Servers(Box::new(OneColour(identity)));
    Images { painter, settings: ImageSettings::default(), judges: None }
}

/// Limits that a test changes some of.
pub fn limits() -> ServerConfig {
    // Far more than a test takes: what is to be short, a test says.
    ServerConfig { deadline: PATIENCE, ..ServerConfig::default() }
}

/// Waits for what must come true.
#[track_caller]
pub fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_true() {
        assert!(started.elapsed() < PATIENCE, "not {what} in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
