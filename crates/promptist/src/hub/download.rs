//! Fetching a model: ask which commit a revision is and which files it has, then for each wanted
//! file ask what it is (`HEAD`) and get what is missing of it.
//!
//! - A file's bytes go to `blobs/<etag>.promptist.incomplete`. When the connection breaks, in this
//!   run or a later one, they are continued from where they end.
//! - The etag of a large file is its SHA-256, that of a small one its git hash. What does not match
//!   is deleted and an error; only what matches gets the blob's name.
//! - The Hub redirects large files to a storage host. The token goes to the endpoint's host alone.
//!
//! Source: huggingface_hub `file_download.py`, `get_hf_file_metadata` and `http_get`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use sha1::{Digest, Sha1};
use ureq::http::{HeaderMap, Response, StatusCode, Uri, header};
use ureq::{Agent, Body, Proxy};

use super::{HubConfig, HubId, RepoKind, cache};
use crate::atomic::{sync_folder, write_atomic};
use crate::checksums::sha256_of;
use crate::diffusion::folder::{DiffusionFolder, MODEL_INDEX};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::weights::{hex, is_shard_index, shard_names};

/// How often in a row a connection may break without a byte gained before we give up.
const MAX_BROKEN: u32 = 5;
const MAX_REDIRECTS: usize = 10;
/// The largest answer of the Hub's API that is read.
const MAX_API_BYTES: u64 = 50_000_000;
const CHUNK_BYTES: usize = 1 << 17;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the other side may say nothing.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// Fetches what the cache lacks of `id` at its newest commit; if no kind is given, of the kind that it is. Returns
/// the snapshot's folder.
pub(super) fn fetch(
    config: &HubConfig,
    id: &HubId,
    kind: Option<RepoKind>,
    progress: &dyn Progress,
) -> Result<PathBuf> {
    let client = Client::new(config)?;
    let listing = client.listing(id)?;
    let refuse = |reason: String| Err(hub_error(&super::model_url(config, id), reason));
    let kind = kind.unwrap_or(match listing.has(MODEL_INDEX) {
        true => RepoKind::Pipeline,
        false => RepoKind::Model,
    });
    let repo = cache::repo_folder(&config.cache, id);
    let folder = cache::snapshot_folder(&repo, &listing.sha);

    let download = |file: &str| client.download(id, &listing.sha, &repo, file, progress);
    // Every file is found before any is fetched: there may be gigabytes of them.
    let side_files = kind.side_files();
    if let Some(missing) = side_files.iter().find(|file| file.is_needed && !listing.has(&file.name)) {
        return refuse(format!("the repository has no {}, {}", missing.name, needed_by(kind)));
    }
    let mut weights = Vec::new();
    for network in kind.networks() {
        let in_repo = |name: &String| format!("{}{name}", network.folder);
        match network.names.iter().map(in_repo).find(|name| listing.has(name)) {
            Some(found) => weights.push((network.folder, found)),
            None => {
                let names: Vec<String> = network.names.iter().map(in_repo).collect();
                return refuse(format!(
                    "the repository has no weights that we read: expected one of {}",
                    names.join(", ")
                ));
            }
        }
    }

    for file in side_files.iter().filter(|file| listing.has(&file.name)) {
        download(&file.name)?;
    }
    if kind == RepoKind::Pipeline {
        // Whether it is one that we read, before its weights are fetched.
        DiffusionFolder::open(&folder)?;
    }
    for (network, weights) in &weights {
        download(weights)?;
        let index = folder.join(weights);
        if is_shard_index(&index) {
            for shard in shard_names(&index)? {
                download(&format!("{network}{shard}"))?;
            }
        }
    }

    // Last, so that whoever follows the ref finds everything there.
    if !cache::is_commit(id.revision()) {
        let path = repo.join("refs").join(id.revision());
        create_parent(&path)?;
        write_atomic(&path, |file| file.write_all(listing.sha.as_bytes()))?;
    }
    Ok(folder)
}

/// What the Hub says a repository holds at a revision.
#[derive(Deserialize)]
struct Listing {
    /// The commit.
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Listing {
    fn has(&self, file: &str) -> bool {
        self.siblings.iter().any(|sibling| sibling.rfilename == file)
    }
}

/// What the Hub says of a file.
struct Metadata {
    /// The blob's name, and its checksum if it looks like one.
    etag: String,
    size: Option<u64>,
}

struct Client<'a> {
    agent: Agent,
    endpoint: &'a str,
    token: Option<&'a str>,
}

impl<'a> Client<'a> {
    fn new(config: &'a HubConfig) -> Result<Self> {
        let agent = Agent::config_builder()
            .user_agent(concat!("promptist/", env!("CARGO_PKG_VERSION")))
            // Compressed answers would change sizes and break ranges.
            .accept_encoding("identity")
            .http_status_as_error(false)
            // Redirects are ours to follow: the first answer holds the headers that matter.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(config.system_proxy.then(Proxy::try_from_env).flatten())
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(SILENCE_TIMEOUT))
            .timeout_per_read(Some(SILENCE_TIMEOUT))
            .build()
            .new_agent();
        let endpoint = config.endpoint.trim_end_matches('/');
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            return Err(hub_error(endpoint, "HF_ENDPOINT must start with https:// or http://"));
        }
        Ok(Self { agent, endpoint, token: config.token.as_deref() })
    }

    /// The commit and the files of a revision.
    fn listing(&self, id: &HubId) -> Result<Listing> {
        let revision = id.revision().replace('/', "%2F");
        let url = format!("{}/api/models/{}/revision/{revision}", self.endpoint, id.repo());
        let (url, response) = self.follow(Method::Get, url, None, Redirects::All)?;
        let response = checked(&url, response)?;
        let mut json = Vec::new();
        let mut body = response.into_body().into_reader().take(MAX_API_BYTES);
        body.read_to_end(&mut json).map_err(|error| hub_error(&url, error))?;
        let listing: Listing = serde_json::from_slice(&json)
            .map_err(|error| hub_error(&url, format!("expected a model's description in JSON: {error}")))?;
        if !cache::is_commit(&listing.sha) {
            return Err(hub_error(&url, format!("expected a commit hash, found `{}`", listing.sha)));
        }
        Ok(listing)
    }

    /// Makes `snapshots/<commit>/<file>` lead to the file's bytes, fetching those that are missing.
    fn download(
        &self,
        id: &HubId,
        commit: &str,
        repo: &Path,
        file: &str,
        progress: &dyn Progress,
    ) -> Result<()> {
        let pointer = cache::snapshot_folder(repo, commit).join(file);
        if pointer.is_file() {
            return Ok(());
        }
        let url = format!("{}/{}/resolve/{commit}/{file}", self.endpoint, id.repo());
        let metadata = self.metadata(&url)?;
        let blob = repo.join("blobs").join(&metadata.etag);
        create_parent(&blob)?;
        let _lock = lock(repo, &metadata.etag)?;
        if !blob.is_file() {
            self.fill(&url, file, &metadata, &blob, progress)?;
        }
        link(&blob, &pointer, file)
    }

    /// Fetches the blob's bytes, continuing what is there of them, and checks them.
    fn fill(
        &self,
        url: &str,
        file: &str,
        metadata: &Metadata,
        blob: &Path,
        progress: &dyn Progress,
    ) -> Result<()> {
        let part = blob.with_file_name(format!("{}.promptist.incomplete", metadata.etag));
        progress.begin(file, metadata.size, "B");
        let done = self.fill_part(url, metadata, &part, progress);
        progress.end();
        done?;

        if let Err(reason) = verify(&part, metadata)? {
            fs::remove_file(&part).map_err(Error::io(&part))?;
            return Err(hub_error(url, reason));
        }
        fs::rename(&part, blob).map_err(Error::io(blob))?;
        blob.parent().map_or(Ok(()), sync_folder).map_err(Error::io(blob))
    }

    /// Gets bytes until the part file has all of them, through broken connections.
    fn fill_part(&self, url: &str, metadata: &Metadata, part: &Path, progress: &dyn Progress) -> Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).open(part).map_err(Error::io(part))?;
        let mut have = file.metadata().map_err(Error::io(part))?.len();
        // Without a size there is no telling whether what is there is the end.
        if metadata.size.is_none_or(|size| have > size) {
            have = 0;
            file.set_len(0).map_err(Error::io(part))?;
        }
        progress.advance(have, "");

        let mut broken = 0;
        while metadata.size.is_none_or(|size| have < size) {
            match self.append(url, metadata, &mut file, part, &mut have, progress)? {
                Progressed::ToTheEnd if metadata.size.is_none() => break,
                Progressed::ToTheEnd => {}
                Progressed::Broken { gained: true, .. } => broken = 1,
                Progressed::Broken { gained: false, reason } if broken >= MAX_BROKEN => {
                    return Err(hub_error(
                        url,
                        format!("the connection broke {broken} times at byte {have}: {reason}"),
                    ));
                }
                Progressed::Broken { gained: false, .. } => {
                    thread::sleep(Duration::from_millis(100 << broken));
                    broken += 1;
                }
            }
        }
        file.sync_all().map_err(Error::io(part))
    }

    /// One request for the bytes from `have` on, as far as the connection carries.
    fn append(
        &self,
        url: &str,
        metadata: &Metadata,
        file: &mut File,
        part: &Path,
        have: &mut u64,
        progress: &dyn Progress,
    ) -> Result<Progressed> {
        let (from, response) = match self.follow(Method::Get, url.to_owned(), Some(*have), Redirects::All) {
            Ok(answer) => answer,
            Err(Error::Hub { reason, .. }) => {
                return Ok(Progressed::Broken { gained: false, reason });
            }
            Err(error) => return Err(error),
        };
        let status = response.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Ok(Progressed::Broken { gained: false, reason: status.to_string() });
        }
        let response = checked(&from, response)?;
        // Whoever does not know ranges answers 200 and starts over; so do we.
        if *have > 0 && range_start(&response) != Some(*have) {
            file.set_len(0).map_err(Error::io(part))?;
            *have = 0;
            if status == StatusCode::PARTIAL_CONTENT {
                return Ok(Progressed::Broken {
                    gained: false,
                    reason: "a range that was not asked for".to_owned(),
                });
            }
        }

        let start = *have;
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let len = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(len) => len,
                Err(error) => {
                    return Ok(Progressed::Broken { gained: *have > start, reason: error.to_string() });
                }
            };
            file.write_all(&buffer[..len]).map_err(Error::io(part))?;
            *have += len as u64;
            progress.advance(len as u64, "");
            if metadata.size.is_some_and(|size| *have > size) {
                drop(fs::remove_file(part));
                return Err(hub_error(
                    &from,
                    format!("more bytes than the {} announced", metadata.size.unwrap_or(0)),
                ));
            }
        }
        match metadata.size {
            Some(size) if *have < size => Ok(Progressed::Broken {
                gained: *have > start,
                reason: format!("ended at byte {have} of {size}"),
            }),
            _ => Ok(Progressed::ToTheEnd),
        }
    }

    fn metadata(&self, url: &str) -> Result<Metadata> {
        // Redirects within the host lead to renamed repositories; those to another, to the bytes.
        let (url, response) = self.follow(Method::Head, url.to_owned(), None, Redirects::SameHost)?;
        let response = if response.status().is_redirection() { response } else { checked(&url, response)? };
        let headers = response.headers();
        let etag = text(headers, "x-linked-etag").or_else(|| text(headers, "etag"));
        let etag = etag.unwrap_or_default().trim_start_matches("W/").trim_matches('"').to_owned();
        // It becomes a file's name, so it must be nothing else.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if etag.is_empty() || etag.len() > 128 || !etag.bytes().all(is_plain) {
            return Err(hub_error(&url, format!("expected an etag, found `{etag}`")));
        }
        let size = text(headers, "x-linked-size").or_else(|| match response.status().is_redirection() {
            true => None,
            false => text(headers, "content-length"),
        });
        Ok(Metadata { etag, size: size.and_then(|size| size.parse().ok()) })
    }

    /// Sends a request and follows redirects. Returns the last answer and where it came from.
    fn follow(
        &self,
        method: Method,
        mut url: String,
        from_byte: Option<u64>,
        redirects: Redirects,
    ) -> Result<(String, Response<Body>)> {
        for _ in 0..MAX_REDIRECTS {
            let mut request = match method {
                Method::Get => self.agent.get(&url),
                Method::Head => self.agent.head(&url),
            };
            if let Some(start) = from_byte {
                request = request.header(header::RANGE, format!("bytes={start}-"));
            }
            if let Some(token) = self.token.filter(|_| same_host(&url, self.endpoint)) {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            let response =
                request.call().map_err(|error| hub_error(&url, format!("could not be reached: {error}")))?;
            if !response.status().is_redirection() {
                return Ok((url, response));
            }
            let Some(location) = text(response.headers(), "location") else {
                return Err(hub_error(&url, "redirected without saying where to"));
            };
            let target = join(&url, location)
                .ok_or_else(|| hub_error(&url, format!("redirected to `{location}`, which is no address")))?;
            if matches!(redirects, Redirects::SameHost) && !same_host(&target, &url) {
                return Ok((url, response));
            }
            url = target;
        }
        Err(hub_error(&url, format!("redirected more than {MAX_REDIRECTS} times")))
    }
}

#[derive(Clone, Copy)]
enum Method {
    Get,
    Head,
}

#[derive(Clone, Copy)]
enum Redirects {
    All,
    SameHost,
}

/// How far one request came.
enum Progressed {
    ToTheEnd,
    Broken { gained: bool, reason: String },
}

/// Why a file must be there.
fn needed_by(kind: RepoKind) -> &'static str {
    match kind {
        RepoKind::Model => "which every model has",
        RepoKind::Pipeline => "which every pipeline of diffusers has",
    }
}

fn hub_error(url: &str, reason: impl ToString) -> Error {
    Error::Hub { url: url.to_owned(), reason: reason.to_string() }
}

/// The answer if it is one, else what its status means.
fn checked(url: &str, response: Response<Body>) -> Result<Response<Body>> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let meaning = match status.as_u16() {
        401 => "private, gated or not there: a token (HF_TOKEN) may be needed",
        403 => "the token may not read this (a gated model's terms must be accepted on its page)",
        404 => "no such model, revision or file",
        _ => "refused",
    };
    let said =
        text(response.headers(), "x-error-message").map(|text| format!(" ({text})")).unwrap_or_default();
    Err(hub_error(url, format!("{status}: {meaning}{said}")))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Where the bytes of an answer to a range request begin.
fn range_start(response: &Response<Body>) -> Option<u64> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return None;
    }
    let range = text(response.headers(), "content-range")?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

/// Whether both addresses agree in scheme, host and port.
fn same_host(a: &str, b: &str) -> bool {
    let host = |url: &str| {
        let uri: Uri = url.parse().ok()?;
        Some((uri.scheme()?.clone(), uri.authority()?.clone()))
    };
    host(a).is_some_and(|a| Some(a) == host(b))
}

/// `location` as seen from `url`: absolute, or a path on the same host.
fn join(url: &str, location: &str) -> Option<String> {
    let target: Uri = location.parse().ok()?;
    if target.scheme().is_some() {
        return Some(location.to_owned());
    }
    let base: Uri = url.parse().ok()?;
    location.starts_with('/').then(|| {
        format!(
            "{}://{}{location}",
            base.scheme_str().unwrap_or("https"),
            base.authority().map_or("", |a| a.as_str())
        )
    })
}

/// Whether the part file is what the Hub announced; if not, in what it differs.
fn verify(part: &Path, metadata: &Metadata) -> Result<Result<(), String>> {
    let len = fs::metadata(part).map_err(Error::io(part))?.len();
    if let Some(size) = metadata.size.filter(|&size| size != len) {
        return Ok(Err(format!("expected {size} bytes, found {len}")));
    }
    let (name, found) = match metadata.etag.len() {
        64 => ("SHA-256", sha256_of(part)?),
        40 => ("git hash", git_hash(part, len)?),
        // A mirror's own etag says nothing of the content.
        _ => return Ok(Ok(())),
    };
    match found.eq_ignore_ascii_case(&metadata.etag) {
        true => Ok(Ok(())),
        false => Ok(Err(format!("wrong checksum: expected {name} {}, found {found}", metadata.etag))),
    }
}

/// The name that git gives to a file's content: the SHA-1 of its length and bytes.
fn git_hash(path: &Path, len: u64) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {len}\0"));
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut buffer).map_err(Error::io(path))? {
            0 => return Ok(hex(&hasher.finalize())),
            len => hasher.update(&buffer[..len]),
        }
    }
}

fn create_parent(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(Error::io(parent))
}

/// Keeps other processes, huggingface_hub's too, from fetching the same blob. Released on drop.
fn lock(repo: &Path, etag: &str) -> Result<Option<File>> {
    let (Some(cache), Some(name)) = (repo.parent(), repo.file_name()) else {
        return Ok(None);
    };
    let path = cache.join(".locks").join(name).join(format!("{etag}.lock"));
    create_parent(&path)?;
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(Error::io(&path))?;
    match file.lock() {
        Ok(()) => Ok(Some(file)),
        // Some network file systems have no locks; the checksum still guards the blob.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
        Err(source) => Err(Error::Io { path, source }),
    }
}

/// Makes `pointer`, which is `file` in a snapshot, lead to `blob` by a relative link, as huggingface_hub does; by a
/// copy where the system has no links for us.
fn link(blob: &Path, pointer: &Path, file: &str) -> Result<()> {
    create_parent(pointer)?;
    // A link that leads nowhere, left by someone who deleted blobs by hand.
    if pointer.symlink_metadata().is_ok() {
        fs::remove_file(pointer).map_err(Error::io(pointer))?;
    }
    // Out of the folders that `file` lies in, the commit's and that of all commits.
    let up = "../".repeat(file.matches('/').count() + 2);
    let name = blob.file_name().unwrap_or_default();
    let linked = symlink(&Path::new(&up).join("blobs").join(name), pointer);
    linked.or_else(|_| fs::copy(blob, pointer).map(drop)).map_err(Error::io(pointer))
}

#[cfg(unix)]
fn symlink(target: &Path, pointer: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, pointer)
}

#[cfg(windows)]
fn symlink(target: &Path, pointer: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, pointer)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_target: &Path, _pointer: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
