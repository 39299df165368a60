//! What all requests share, and which of them goes where.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use axum::Router;
use axum::http::{HeaderName, Method, header};
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use promptist::prompter::{AdaptRequest, AdaptSettings, Prompter};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::CorsLayer;

use crate::auth;
use crate::config::ServerConfig;
use crate::engine::Engine;
use crate::envelope::{self, REQUEST_ID};
use crate::error::ApiError;
use crate::image_queue::ImageQueue;
use crate::metrics::Metrics;
use crate::reward_queue::RewardQueue;
use crate::routes::{adapt, expand, health, images, models, openai, page, prompt_enhance, rescore, reward};

/// What all requests share.
pub(crate) struct App {
    pub(crate) prompter: Arc<Prompter>,
    pub(crate) engine: Engine,
    pub(crate) reward: Option<RewardQueue>,
    pub(crate) images: Option<ImageQueue>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) config: ServerConfig,
    pub(crate) is_ready: AtomicBool,
    /// When the server started, for clients that ask when a model was made.
    pub(crate) started: SystemTime,
}

impl App {
    /// A request's settings over the model's. Compiling rules takes its time, which is not this thread's.
    pub(crate) async fn settings(&self, request: AdaptRequest) -> Result<Arc<AdaptSettings>, ApiError> {
        let AdaptRequest { ban, must_include, protect, target, budget, no_artists, .. } = &request;
        let lists = [ban.is_empty(), must_include.is_empty(), protect.is_empty()];
        if lists == [true; 3] && target.is_none() && budget.is_none() && !no_artists {
            return Ok(Arc::new(self.prompter.settings(&request)?));
        }
        let prompter = Arc::clone(&self.prompter);
        let settings = tokio::task::spawn_blocking(move || prompter.settings(&request)).await;
        let settings = settings.map_err(|error| ApiError::Internal(error.to_string()))?;
        Ok(Arc::new(settings?))
    }

    /// What `answer` gives, if it does so in time; otherwise it is dropped.
    pub(crate) async fn in_time<T>(
        &self,
        answer: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let deadline = self.config.deadline;
        tokio::time::timeout(deadline, answer).await.unwrap_or(Err(ApiError::Deadline(deadline)))
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::SeqCst) && !self.engine.is_stopping()
    }
}

/// The routes. Layers run from the last to the first.
pub(crate) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new()
        .route("/v1/adapt", post(adapt::adapt))
        .route("/v1/rescore", post(rescore::rescore))
        .route("/v1/models", get(models::models))
        .route("/v1/chat/completions", post(openai::chat::chat))
        .route("/v1/completions", post(openai::completions::completions))
        .route("/sdapi/v1/prompt-enhance", post(prompt_enhance::prompt_enhance))
        .route("/api/expand", post(expand::expand))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .route("/openapi.json", get(models::openapi))
        .route("/", get(page::index))
        .route("/page/{file}", get(page::file));
    if app.reward.is_some() {
        router = router.route("/get_reward", post(reward::get_reward));
    }
    if app.images.is_some() {
        router = router.route("/v1/images", post(images::images));
    }
    let mut router = router
        .fallback(|| async { ApiError::NoRoute })
        .method_not_allowed_fallback(|| async { ApiError::NoMethod })
        .layer(from_fn_with_state(Arc::clone(&app), auth::authorized));
    // Before the token is asked for, which browsers do not bring when they ask whether they may ask.
    if !app.config.cors_origins.is_empty() {
        router = router.layer(cors(&app.config));
    }
    router
        .layer(CatchPanicLayer::custom(envelope::panicked))
        .layer(from_fn_with_state(Arc::clone(&app), envelope::envelope))
        .with_state(app)
}

/// Pages of these origins may ask.
fn cors(config: &ServerConfig) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(config.cors_origins.clone())
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::CONTENT_TYPE, header::AUTHORIZATION, HeaderName::from_static(REQUEST_ID)])
        .expose_headers([header::RETRY_AFTER, HeaderName::from_static(REQUEST_ID)])
}
