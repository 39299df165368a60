//! The folder layout of `huggingface_hub`'s cache, which transformers, diffusers and the rest
//! share: what they fetched we use, what we fetch they use.
//!
//! ```text
//! models--owner--name/
//!   refs/main                         the commit that `main` was last seen at
//!   blobs/<etag>                      the bytes: SHA-256 of large files, git hash of small ones
//!   snapshots/<commit>/config.json    links to ../../blobs/<etag>
//!   snapshots/<commit>/unet/...       links to ../../../blobs/<etag>
//! .locks/models--owner--name/<etag>.lock
//! ```
//!
//! Source: huggingface_hub, "Understand caching" in its guides, and `file_download.py`.

use std::fs;
use std::path::{Path, PathBuf};

use super::{HubId, RepoKind};
use crate::error::{Error, Result};

/// A model in the cache.
#[derive(Debug, Clone, PartialEq)]
pub struct CachedModel {
    /// `owner/name`.
    pub repo: String,
    /// The branches and tags that point to this commit, sorted.
    pub revisions: Vec<String>,
    /// The commit.
    pub commit: String,
    /// The folder with its files.
    pub folder: PathBuf,
    /// Bytes of its files.
    pub bytes: u64,
}

/// The folder of one repository in the cache.
pub(super) fn repo_folder(cache: &Path, id: &HubId) -> PathBuf {
    cache.join(format!("models--{}", id.repo().replace('/', "--")))
}

/// A commit's folder.
pub(super) fn snapshot_folder(repo: &Path, commit: &str) -> PathBuf {
    repo.join("snapshots").join(commit)
}

/// Whether `text` is a whole commit hash, which means the same forever.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The snapshot of `id` in the cache, if it is complete, and of that kind if one is given.
pub(super) fn complete_snapshot(cache: &Path, id: &HubId, kind: Option<RepoKind>) -> Option<PathBuf> {
    let repo = repo_folder(cache, id);
    let commit = match is_commit(id.revision()) {
        true => id.revision().to_owned(),
        false => read_ref(&repo.join("refs").join(id.revision()))?,
    };
    let folder = snapshot_folder(&repo, &commit);
    kind.map_or_else(|| is_complete(&folder), |kind| kind.is_complete(&folder)).then_some(folder)
}

fn is_complete(folder: &Path) -> bool {
    [RepoKind::Model, RepoKind::Pipeline].iter().any(|kind| kind.is_complete(folder))
}

/// Everything in the cache that is a complete model, sorted by name and commit.
///
/// # Errors
/// [`Error::Io`] if the cache is there but cannot be read. A cache that is not there is empty.
pub fn cached_models(cache: &Path) -> Result<Vec<CachedModel>> {
    let mut models = Vec::new();
    for repo in subfolders(cache)? {
        let Some(name) = file_name(&repo).and_then(|name| name.strip_prefix("models--")) else {
            continue;
        };
        let refs = refs(&repo.join("refs"))?;
        for folder in subfolders(&repo.join("snapshots"))? {
            let Some(commit) = file_name(&folder).filter(|_| is_complete(&folder)) else {
                continue;
            };
            let revisions = refs.iter().filter(|(_, target)| target == commit);
            models.push(CachedModel {
                repo: name.replacen("--", "/", 1),
                revisions: revisions.map(|(revision, _)| revision.clone()).collect(),
                commit: commit.to_owned(),
                bytes: files_size(&folder)?,
                folder,
            });
        }
    }
    models.sort_by(|a, b| (&a.repo, &a.commit).cmp(&(&b.repo, &b.commit)));
    Ok(models)
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(Error::Io { path: folder.to_owned(), source });
        }
    };
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(Error::io(folder))).collect()
}

fn subfolders(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// Revisions and their commits. A branch may be called `refs/pr/1` or `a/b`: folders in folders.
fn refs(folder: &Path) -> Result<Vec<(String, String)>> {
    let mut refs = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(at) = open.pop() {
        for path in entries(&at)? {
            if path.is_dir() {
                open.push(path);
            } else if let (Ok(name), Some(commit)) = (path.strip_prefix(folder), read_ref(&path)) {
                refs.push((name.to_string_lossy().replace('\\', "/"), commit));
            }
        }
    }
    refs.sort();
    Ok(refs)
}

/// The commit that a ref's file names, if it names one and nothing that leads elsewhere.
fn read_ref(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let commit = text.trim();
    is_commit(commit).then(|| commit.to_owned())
}

fn files_size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for path in entries(folder)? {
        // Through the links, so of what they lead to.
        let metadata = fs::metadata(&path).map_err(Error::io(&path))?;
        bytes += if metadata.is_dir() { files_size(&path)? } else { metadata.len() };
    }
    Ok(bytes)
}
