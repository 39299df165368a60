//! Adapted prompts over HTTP: one model, one batch that all connections share.
//!
//! [`serve`] serves an address until it is told to stop. `app` says which
//! paths there are; `routes` has a file for each contract; `engine` is the way from a handler to the
//! thread that decodes; `envelope`, `auth` and `body` are what every request goes through.
//!
//! Nothing here decodes, and no wire type is known outside: `promptist` has the words, this crate the
//! connections.

mod app;
mod auth;
mod body;
mod config;
mod engine;
mod envelope;
mod error;
mod growing;
mod image_queue;
mod json;
mod metrics;
mod reward_queue;
mod routes;
mod server;
mod sse;
mod wire;

pub use config::{ServerConfig, Token};
pub use image_queue::{Images, Painter};
pub use promptist_http::Listener;
pub use server::{Services, serve};
