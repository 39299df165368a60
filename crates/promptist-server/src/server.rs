//! Connections: accepted, served, and ended in order.
//!
//! A server that is told to stop goes on accepting connections to say so (503) until all accepted inputs
//! are answered; then it closes idle connections, lets the others take their answers, and returns.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use promptist::prompter::{AdaptRequest, Prompter};
use promptist::reward::WeightedSum;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::app::{App, router};
use crate::config::ServerConfig;
use crate::engine::Engine;
use crate::image_queue::{ImageQueue, Images};
use crate::metrics::Metrics;
use crate::reward_queue::RewardQueue;

/// Bytes of a request's head and of what is read ahead.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// The wait after a connection could not be accepted: the process has no file handle left, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a server serves.
pub struct Services {
    /// The model.
    pub prompter: Arc<Prompter>,
    /// What answers are worth, for `POST /get_reward`; the path does not exist without it.
    pub reward: Option<WeightedSum>,
    /// Who makes images, for `POST /v1/images`; the path does not exist without it.
    pub images: Option<Images>,
}

/// A server with an address, not serving yet.
pub struct Server {
    listener: TcpListener,
}

impl Server {
    /// Takes an address; port 0 is any that is free.
    ///
    /// # Errors
    /// What the system says, as when the port is taken.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener })
    }

    /// The address.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`, then until all that was accepted is answered.
    ///
    /// # Errors
    /// What the system says when a thread cannot be started.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time.
    pub async fn run(
        self,
        services: Services,
        config: ServerConfig,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let (app, engine_thread) = app(services, config)?;
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let connections = Connections {
            routes: router(Arc::clone(&app)),
            graceful: GracefulShutdown::new(),
            slots: Arc::new(Semaphore::new(app.config.max_connections)),
            head_timeout: app.config.head_timeout,
            metrics: Arc::clone(&app.metrics),
        };
        let warm_up = tokio::spawn(warm_up(Arc::clone(&app)));
        {
            let stopped = async {
                stop.await;
                app.engine.stop();
                warm_up.abort();
                app.engine.idle().await;
                if let Some(reward) = &app.reward {
                    reward.idle().await;
                }
                if let Some(images) = &app.images {
                    images.idle().await;
                }
            };
            let mut stopped = pin!(stopped);
            loop {
                tokio::select! {
                    biased;
                    () = &mut stopped => break,
                    accepted = connections.accept(&listener) => match accepted {
                        Ok((stream, slot)) => connections.serve(stream, slot),
                        Err(error) => {
                            tracing::warn!(%error, "a connection could not be accepted");
                            tokio::time::sleep(ACCEPT_PAUSE).await;
                        }
                    },
                }
            }
        }
        drop(listener);
        let Connections { graceful, routes, .. } = connections;
        if tokio::time::timeout(app.config.grace, graceful.shutdown()).await.is_err() {
            tracing::warn!("some clients did not take their answers in time");
        }
        drop(routes);
        // The last connections hold the engine for a moment yet; it has nothing left to do.
        if let Some(app) = Arc::into_inner(app) {
            drop(app);
            let _ = engine_thread.join();
        }
        Ok(())
    }
}

fn app(services: Services, config: ServerConfig) -> io::Result<(Arc<App>, JoinHandle<()>)> {
    let Services { prompter, reward, images } = services;
    let metrics = Arc::new(Metrics::new(&prompter));
    let (engine, thread) = Engine::start(Arc::clone(&prompter), &config, Arc::clone(&metrics))?;
    let reward = reward.map(|reward| RewardQueue::start(reward, config.retry_after)).transpose()?;
    let images = images.map(|images| ImageQueue::start(images, config.retry_after)).transpose()?;
    let (is_ready, started) = (AtomicBool::new(false), SystemTime::now());
    Ok((Arc::new(App { prompter, engine, reward, images, metrics, config, is_ready, started }), thread))
}

/// One answer, so that the first client does not wait for what is done once. Then the server is ready.
async fn warm_up(app: Arc<App>) {
    let answered = async {
        let permit = app.engine.permit()?;
        let settings = app.settings(AdaptRequest { filter: true, ..AdaptRequest::default() }).await?;
        app.engine.adapt(permit, "a cat".to_owned(), &settings, 0, None).get().await
    };
    match answered.await {
        Ok(_) => app.is_ready.store(true, Ordering::SeqCst),
        Err(error) => tracing::error!(?error, "the model does not answer"),
    }
}

/// What connections are served with.
struct Connections {
    routes: Router,
    graceful: GracefulShutdown,
    slots: Arc<Semaphore>,
    head_timeout: Duration,
    metrics: Arc<Metrics>,
}

/// The right to be one of the open connections.
type Slot = tokio::sync::OwnedSemaphorePermit;

impl Connections {
    /// Waits for a slot, then for a connection.
    async fn accept(&self, listener: &tokio::net::TcpListener) -> io::Result<(TcpStream, Slot)> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, _) = listener.accept().await?;
        Ok((stream, slot))
    }

    /// Serves a connection until its end.
    fn serve(&self, stream: TcpStream, slot: Slot) {
        // Answers are small and whole: nothing to wait for.
        let _ = stream.set_nodelay(true);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_timeout)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(self.routes.clone()));
        let connection = self.graceful.watch(connection);
        let metrics = Arc::clone(&self.metrics);
        tokio::spawn(async move {
            metrics.connections.inc();
            // Clients break off and send what is no HTTP: their business.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            metrics.connections.dec();
            drop(slot);
        });
    }
}
