//! Calls to servers that the user named: makers of images ([`crate::generator::http`]) and of rewards
//! ([`crate::reward::http`]). What a failed call means for the next one is decided here, what to do about
//! it there.

mod address;
mod auth;
#[cfg(feature = "http")]
pub(crate) mod backoff;
#[cfg(feature = "http")]
pub(crate) mod client;
#[cfg(feature = "http")]
pub(crate) mod failure;
#[cfg(feature = "http")]
pub(crate) mod in_order;
#[cfg(feature = "http")]
pub(crate) mod watch;

pub use address::{Address, Credentials};
pub use auth::{Auth, Secret};
