//! Models of the Hugging Face Hub: from the cache that every tool of theirs shares, or from the
//! network.
//!
//! | step | function |
//! |---|---|
//! | what `--model owner/name` means | [`snapshot`]: the cache if it holds the model, else fetched |
//! | what `--generator owner/name` means | [`snapshot`] of a [`RepoKind::Pipeline`] |
//! | ask the Hub what is newest, fetch what is missing | [`pull`], in `download.rs` (feature `hub`) |
//! | which files of a repository are wanted | `contents.rs` |
//! | where things lie on the disk | `cache.rs`, the layout of `huggingface_hub` |
//!
//! Nothing here reads environment variables: [`HubConfig`] says everything, and the command line
//! fills it from `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE`.
//!
//! # Why not the `hf-hub` crate
//! Its two lines each lack something that a download of half a gigabyte needs. 0.5.0 resumes, but,
//! measured against a server on loopback, it appends to its part file whatever comes back (a `200`
//! from the start included, so the file grows too long), accepts wrong bytes as it compares no
//! checksum, and sends the token to the storage host. 1.0.0 compares no checksum either, truncates
//! its `.incomplete` file at each start (`stream_response_to_file_with_progress`), and brings tokio,
//! reqwest and hf-xet. The protocol is four requests; it is written out in `download.rs`.

use std::fmt;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::progress::Progress;

mod cache;
mod contents;
#[cfg(feature = "hub")]
mod download;
#[cfg(all(test, feature = "hub"))]
mod tests;

pub use cache::{CachedModel, cached_models};
pub use contents::RepoKind;

/// The Hub itself, where `HF_ENDPOINT` names no mirror.
pub const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// The revision that is meant when none is named.
pub const DEFAULT_REVISION: &str = "main";

/// Where models come from and where they are kept.
#[derive(Clone)]
pub struct HubConfig {
    /// Base URL, such as [`DEFAULT_ENDPOINT`] (`HF_ENDPOINT`).
    pub endpoint: String,
    /// The folder of `models--owner--name` folders (`HF_HUB_CACHE`, or `HF_HOME` and `/hub`).
    pub cache: PathBuf,
    /// Sent to the endpoint's host and to no other (`HF_TOKEN`).
    pub token: Option<String>,
    /// Use the cache alone (`HF_HUB_OFFLINE`).
    pub offline: bool,
    /// Go through the proxy that the environment names (`HTTPS_PROXY`, `NO_PROXY`).
    pub system_proxy: bool,
}

impl HubConfig {
    /// The Hub without token or proxy, kept in `cache`.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self {
            endpoint: DEFAULT_ENDPOINT.to_owned(),
            cache: cache.into(),
            token: None,
            offline: false,
            system_proxy: false,
        }
    }
}

/// Shows everything but the token.
impl fmt::Debug for HubConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubConfig")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("token", &self.token.as_ref().map(|_| "..."))
            .field("offline", &self.offline)
            .field("system_proxy", &self.system_proxy)
            .finish()
    }
}

/// A model on the Hub at some revision: `owner/name` or `owner/name@revision`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubId {
    repo: String,
    revision: String,
}

impl HubId {
    /// Reads `owner/name`, the old `name` without owner, or either followed by `@revision` (a
    /// branch, a tag or a commit). Nothing if `text` can be none of these.
    pub fn parse(text: &str) -> Option<Self> {
        let (repo, revision) = text.split_once('@').unwrap_or((text, DEFAULT_REVISION));
        let mut parts = repo.split('/');
        let parts_are_names = parts.by_ref().take(2).all(is_name) && parts.next().is_none();
        let revision_is_one = revision.split('/').all(is_name);
        (parts_are_names && revision_is_one)
            .then(|| Self { repo: repo.to_owned(), revision: revision.to_owned() })
    }

    /// `owner/name`.
    pub fn repo(&self) -> &str {
        &self.repo
    }

    /// The branch, tag or commit; [`DEFAULT_REVISION`] if none was named.
    pub fn revision(&self) -> &str {
        &self.revision
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.revision.as_str() {
            DEFAULT_REVISION => f.write_str(&self.repo),
            revision => write!(f, "{}@{revision}", self.repo),
        }
    }
}

/// What the Hub allows in a name. It also keeps ids from leading out of the cache's folder.
fn is_name(part: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=96).contains(&part.len())
        && part.chars().all(allowed)
        && !part.starts_with(['.', '-'])
        && !part.contains("..")
}

/// The folder with the files of a repository of that kind: the one in the cache if it is complete, without asking
/// anyone, else freshly fetched.
///
/// # Errors
/// [`Error::Hub`] if it is not in the cache and offline, or the Hub cannot be reached, refuses, has none of that
/// kind under this name, or sends something else than it announced; [`Error::File`] if a pipeline is not of Stable
/// Diffusion; [`Error::Io`] if the cache cannot be written.
pub fn snapshot(config: &HubConfig, id: &HubId, kind: RepoKind, progress: &dyn Progress) -> Result<PathBuf> {
    match cache::complete_snapshot(&config.cache, id, Some(kind)) {
        Some(folder) => Ok(folder),
        None => newest(config, id, Some(kind), progress),
    }
}

/// The folder with the files of a repository of any kind at the newest commit of its revision, of which those that
/// the cache lacks are fetched. Offline, it is the one in the cache.
///
/// # Errors
/// As [`snapshot`].
pub fn pull(config: &HubConfig, id: &HubId, progress: &dyn Progress) -> Result<PathBuf> {
    newest(config, id, None, progress)
}

/// As [`pull`], and of that kind if one is given.
fn newest(
    config: &HubConfig,
    id: &HubId,
    kind: Option<RepoKind>,
    progress: &dyn Progress,
) -> Result<PathBuf> {
    if config.offline {
        return cache::complete_snapshot(&config.cache, id, kind).ok_or_else(|| Error::Hub {
            url: model_url(config, id),
            reason: format!(
                "offline (HF_HUB_OFFLINE), and {} does not hold this model",
                config.cache.display()
            ),
        });
    }
    fetch(config, id, kind, progress)
}

#[cfg(feature = "hub")]
fn fetch(config: &HubConfig, id: &HubId, kind: Option<RepoKind>, progress: &dyn Progress) -> Result<PathBuf> {
    download::fetch(config, id, kind, progress)
}

#[cfg(not(feature = "hub"))]
fn fetch(
    config: &HubConfig,
    id: &HubId,
    _kind: Option<RepoKind>,
    _progress: &dyn Progress,
) -> Result<PathBuf> {
    let reason = "this program was built without the feature `hub`, and the cache lacks the model".to_owned();
    Err(Error::Hub { url: model_url(config, id), reason })
}

/// The model's page.
fn model_url(config: &HubConfig, id: &HubId) -> String {
    format!("{}/{}", config.endpoint.trim_end_matches('/'), id.repo())
}
