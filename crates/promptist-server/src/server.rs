//! A server, from its address to its end.
//!
//! A server that is told to stop goes on accepting connections to say so (503) until all accepted inputs
//! are answered; then it closes idle connections, lets the others take their answers, and returns.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::SystemTime;

use promptist::prompter::{AdaptRequest, Prompter};
use promptist::reward::WeightedSum;
use promptist_http::{ConnectionLimits, Connections, Listener};

use crate::app::{App, router};
use crate::config::ServerConfig;
use crate::engine::Engine;
use crate::image_queue::{ImageQueue, Images};
use crate::metrics::{Metrics, OpenConnection};
use crate::reward_queue::RewardQueue;

/// Bytes of a request's head and of what is read ahead.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// What a server serves.
pub struct Services {
    /// The model.
    pub prompter: Arc<Prompter>,
    /// What answers are worth, for `POST /get_reward`; the path does not exist without it.
    pub reward: Option<WeightedSum>,
    /// Who makes images, for `POST /v1/images`; the path does not exist without it.
    pub images: Option<Images>,
}

/// Serves until `stop`, then until all that was accepted is answered.
///
/// # Errors
/// What the system says when a thread cannot be started.
///
/// # Panics
/// Outside a tokio runtime with I/O and time.
pub async fn serve(
    services: Services,
    config: ServerConfig,
    listener: Listener,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let (app, engine_thread) = app(services, config)?;
    let limits = ConnectionLimits {
        max_connections: app.config.max_connections,
        max_head_bytes: MAX_HEAD_BYTES,
        head_timeout: app.config.head_timeout,
        grace: app.config.grace,
    };
    let warm_up = tokio::spawn(warm_up(Arc::clone(&app)));
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
    let metrics = Arc::clone(&app.metrics);
    let connections = Connections { routes: router(Arc::clone(&app)), limits };
    connections.serve(listener, || OpenConnection::new(&metrics), stopped).await?;
    // The last connections hold the engine for a moment yet; it has nothing left to do.
    if let Some(app) = Arc::into_inner(app) {
        drop(app);
        let _ = engine_thread.join();
    }
    Ok(())
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
