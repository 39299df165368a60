//! Against a Hub on loopback: one listener is the endpoint, another the storage host that large
//! files are redirected to, with the headers that the real ones send.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;
use crate::progress::NoProgress;
use crate::weights::{Weights, hex};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const REPO: &str = "owner/model";

/// A request as the server saw it.
#[derive(Debug, Clone)]
struct Request {
    /// The endpoint's listener, or the storage host's.
    to_storage: bool,
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
}

/// What the server holds and how it misbehaves.
#[derive(Default)]
struct Behaviour {
    files: BTreeMap<String, Vec<u8>>,
    /// Files on the storage host.
    large: Vec<&'static str>,
    /// Answers to come from the storage host break off after so many bytes of their body.
    breaks: VecDeque<usize>,
    /// The storage host knows no ranges.
    no_ranges: bool,
    /// The storage host sends these bytes instead.
    corrupt: Option<Vec<u8>>,
    /// Every answer of the endpoint is this status.
    status: Option<u16>,
    /// Only whoever sends this token is answered.
    token: Option<&'static str>,
    /// The repository was renamed from this.
    old_name: Option<&'static str>,
}

struct Server {
    endpoint: String,
    behaviour: Arc<Mutex<Behaviour>>,
    log: Arc<Mutex<Vec<Request>>>,
    cache: TempDir,
}

impl Server {
    fn new(behaviour: Behaviour) -> Self {
        let behaviour = Arc::new(Mutex::new(behaviour));
        let log = Arc::new(Mutex::new(Vec::new()));
        let endpoint = TcpListener::bind("127.0.0.1:0").unwrap();
        let storage = TcpListener::bind("127.0.0.1:0").unwrap();
        let storage_url = format!("http://{}", storage.local_addr().unwrap());
        let endpoint_url = format!("http://{}", endpoint.local_addr().unwrap());
        for (listener, to_storage) in [(endpoint, false), (storage, true)] {
            let (behaviour, log, storage_url) = (behaviour.clone(), log.clone(), storage_url.clone());
            thread::spawn(move || {
                for stream in listener.incoming() {
                    // A client that went away is no failure of the server.
                    let _ = answer(stream.unwrap(), to_storage, &storage_url, &behaviour, &log);
                }
            });
        }
        Self { endpoint: endpoint_url, behaviour, log, cache: tempfile::tempdir().unwrap() }
    }

    /// A model of one small and one large file.
    fn with_model(behaviour: Behaviour) -> Self {
        let files = [("config.json", b"{}".to_vec()), ("model.safetensors", weights_bytes())];
        let files = files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
        Self::new(Behaviour { files, large: vec!["model.safetensors"], ..behaviour })
    }

    fn config(&self) -> HubConfig {
        HubConfig { endpoint: self.endpoint.clone(), ..HubConfig::new(self.cache.path()) }
    }

    fn pull(&self) -> Result<PathBuf> {
        pull(&self.config(), &HubId::parse(REPO).unwrap(), &NoProgress)
    }

    fn snapshot(&self, kind: RepoKind) -> Result<PathBuf> {
        snapshot(&self.config(), &HubId::parse(REPO).unwrap(), kind, &NoProgress)
    }

    #[track_caller]
    fn check_refused(&self, expected: &str) {
        let error = self.pull().unwrap_err();
        assert!(matches!(error, Error::Hub { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(
            error.to_string().starts_with(&self.endpoint) || error.to_string().contains("http://127"),
            "{error}"
        );
    }

    /// Requests so far, and forgets them.
    fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    /// Names of the blobs in the cache.
    fn blobs(&self) -> Vec<String> {
        let folder = self.cache.path().join("models--owner--model/blobs");
        let Ok(entries) = fs::read_dir(folder) else {
            return Vec::new();
        };
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// A safetensors file of some 400 kB, so that it takes several reads.
fn weights_bytes() -> Vec<u8> {
    let header = r#"{"w":{"dtype":"F32","shape":[100000],"data_offsets":[0,400000]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend((0..100_000).flat_map(|i| (i as f32).to_le_bytes()));
    bytes
}

fn git_hash(bytes: &[u8]) -> String {
    use sha1::Digest;
    hex(&sha1::Sha1::digest([format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat()))
}

fn answer(
    mut stream: TcpStream,
    to_storage: bool,
    storage: &str,
    behaviour: &Mutex<Behaviour>,
    log: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else {
            break;
        };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let request = Request { to_storage, method, path, headers };
    log.lock().unwrap().push(request.clone());

    let mut behaviour = behaviour.lock().unwrap();
    let head_only = request.method == "HEAD";
    let mut send = |status: &str, headers: &[(&str, &str)], body: &[u8], send_len: usize| {
        write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n", body.len())?;
        headers.iter().try_for_each(|(name, value)| write!(stream, "{name}: {value}\r\n"))?;
        write!(stream, "\r\n")?;
        if !head_only {
            stream.write_all(&body[..send_len.min(body.len())])?;
        }
        stream.flush()
    };

    if to_storage {
        let file = &request.path[1..];
        let bytes = behaviour.corrupt.clone().unwrap_or_else(|| behaviour.files[file].clone());
        let range = request.headers.get("range").filter(|_| !behaviour.no_ranges);
        let start = range
            .map(|range| range.trim_start_matches("bytes=").trim_end_matches('-').parse::<usize>().unwrap());
        let send_len = behaviour.breaks.pop_front().unwrap_or(usize::MAX);
        return match start {
            Some(start) if start >= bytes.len() => send("416 Range Not Satisfiable", &[], b"", 0),
            Some(start) => {
                let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
                send("206 Partial Content", &[("Content-Range", &range)], &bytes[start..], send_len)
            }
            None => send("200 OK", &[], &bytes, send_len),
        };
    }

    if let Some(status) = behaviour.status {
        return send(&format!("{status} X"), &[("X-Error-Message", "said the server")], b"", 0);
    }
    if let Some(token) = behaviour.token
        && request.headers.get("authorization") != Some(&format!("Bearer {token}"))
    {
        return send("401 Unauthorized", &[], b"", 0);
    }
    if let Some(old_name) = behaviour.old_name
        && request.path.contains(old_name)
    {
        let location = request.path.replace(old_name, REPO);
        return send("307 Temporary Redirect", &[("Location", &location)], b"", 0);
    }
    if let Some(revision) = request.path.strip_prefix(&format!("/api/models/{REPO}/revision/")) {
        if !["main", "refs%2Fpr%2F1", COMMIT].contains(&revision) {
            return send("404 Not Found", &[], b"", 0);
        }
        let siblings: Vec<String> =
            behaviour.files.keys().map(|name| format!(r#"{{"rfilename": "{name}"}}"#)).collect();
        let json = format!(r#"{{"id": "{REPO}", "sha": "{COMMIT}", "siblings": [{}]}}"#, siblings.join(","));
        return send("200 OK", &[], json.as_bytes(), usize::MAX);
    }
    let file = request.path.strip_prefix(&format!("/{REPO}/resolve/{COMMIT}/")).unwrap_or_default();
    let Some(bytes) = behaviour.files.get(file) else {
        return send("404 Not Found", &[], b"", 0);
    };
    if behaviour.large.contains(&file) {
        let etag = format!("\"{}\"", hex(&Sha256::digest(bytes)));
        let (size, location) = (bytes.len().to_string(), format!("{storage}/{file}"));
        let headers = [
            ("X-Repo-Commit", COMMIT),
            ("X-Linked-Etag", &etag),
            ("X-Linked-Size", &size),
            ("Location", &location),
        ];
        return send("302 Found", &headers, b"", 0);
    }
    let etag = format!("W/\"{}\"", git_hash(bytes));
    send("200 OK", &[("X-Repo-Commit", COMMIT), ("ETag", &etag)], bytes, usize::MAX)
}

#[test]
fn a_model_lands_in_the_layout_of_huggingface_hub() {
    let server = Server::with_model(Behaviour::default());
    let folder = server.pull().unwrap();
    let repo = server.cache.path().join("models--owner--model");
    assert_eq!(folder, repo.join("snapshots").join(COMMIT));
    assert_eq!(fs::read_to_string(repo.join("refs/main")).unwrap(), COMMIT);
    assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), weights_bytes());
    let (config, weights) = (git_hash(b"{}"), hex(&Sha256::digest(weights_bytes())));
    let mut expected = vec![config.clone(), weights];
    expected.sort();
    assert_eq!(server.blobs(), expected);
    #[cfg(unix)]
    assert_eq!(fs::read_link(folder.join("config.json")).unwrap(), Path::new("../../blobs").join(config));
    assert_eq!(Weights::open(&folder).unwrap().get_f32("w", &[100_000]).unwrap()[77], 77.0);

    let models = cached_models(server.cache.path()).unwrap();
    assert_eq!(models.len(), 1);
    assert_eq!((models[0].repo.as_str(), models[0].commit.as_str()), (REPO, COMMIT));
    assert_eq!(
        (models[0].revisions.as_slice(), models[0].bytes),
        (["main".to_owned()].as_slice(), 2 + weights_bytes().len() as u64)
    );
}

#[test]
fn a_second_run_fetches_nothing() {
    let server = Server::with_model(Behaviour::default());
    let first = server.pull().unwrap();
    server.requests();
    // `snapshot` asks nobody; `pull` asks for the commit, and sees that it has everything.
    let id = HubId::parse(REPO).unwrap();
    assert_eq!(snapshot(&server.config(), &id, RepoKind::Model, &NoProgress).unwrap(), first);
    assert!(server.requests().is_empty());
    assert_eq!(server.pull().unwrap(), first);
    let paths: Vec<_> = server.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/api/models/owner/model/revision/main"]);
    let offline = HubConfig { offline: true, ..server.config() };
    assert_eq!(pull(&offline, &id, &NoProgress).unwrap(), first);
    let commit = HubId::parse(&format!("{REPO}@{COMMIT}")).unwrap();
    assert_eq!(snapshot(&offline, &commit, RepoKind::Model, &NoProgress).unwrap(), first);
    assert!(server.requests().is_empty());
}

#[test]
fn a_broken_connection_is_continued_where_it_broke() {
    let server = Server::with_model(Behaviour { breaks: [100_000, 50_000].into(), ..Behaviour::default() });
    let folder = server.pull().unwrap();
    assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), weights_bytes());
    let ranges: Vec<_> =
        server.requests().into_iter().filter(|r| r.to_storage).map(|r| r.headers["range"].clone()).collect();
    assert_eq!(ranges, ["bytes=0-", "bytes=100000-", "bytes=150000-"]);
}

#[test]
fn a_later_run_continues_what_an_earlier_one_left() {
    let breaks = [[300_000].as_slice(), &[0; 20]].concat();
    let server = Server::with_model(Behaviour { breaks: breaks.into(), ..Behaviour::default() });
    server.check_refused("the connection broke 5 times at byte 300000");
    let etag = hex(&Sha256::digest(weights_bytes()));
    assert!(server.blobs().contains(&format!("{etag}.promptist.incomplete")));
    assert!(cached_models(server.cache.path()).unwrap().is_empty());

    server.behaviour.lock().unwrap().breaks.clear();
    server.requests();
    let folder = server.pull().unwrap();
    assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), weights_bytes());
    let requests = server.requests();
    let ranges: Vec<_> = requests.iter().filter(|r| r.to_storage).map(|r| &r.headers["range"]).collect();
    assert_eq!(ranges, ["bytes=300000-"]);
    assert_eq!(server.blobs().len(), 2);
}

#[test]
fn a_server_without_ranges_starts_over() {
    let server =
        Server::with_model(Behaviour { breaks: [100_000].into(), no_ranges: true, ..Behaviour::default() });
    let folder = server.pull().unwrap();
    assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), weights_bytes());
}

#[test]
fn wrong_bytes_are_an_error_and_leave_nothing() {
    let mut corrupt = weights_bytes();
    corrupt[200_000] ^= 1;
    let server = Server::with_model(Behaviour { corrupt: Some(corrupt), ..Behaviour::default() });
    server.check_refused("wrong checksum: expected SHA-256");
    assert_eq!(server.blobs(), [git_hash(b"{}")]);
    assert!(cached_models(server.cache.path()).unwrap().is_empty());

    // More bytes than announced are not even taken to the end.
    server.behaviour.lock().unwrap().corrupt = Some(vec![0; 1_000_000]);
    server.check_refused("more bytes than the 4000");
    assert_eq!(server.blobs(), [git_hash(b"{}")]);

    server.behaviour.lock().unwrap().corrupt = None;
    assert!(server.pull().is_ok());
}

#[test]
fn the_token_goes_to_the_endpoint_alone() {
    let server = Server::with_model(Behaviour { token: Some("secret"), ..Behaviour::default() });
    server.check_refused("401 Unauthorized: private, gated or not there: a token (HF_TOKEN) may be needed");
    server.requests();
    let config = HubConfig { token: Some("secret".to_owned()), ..server.config() };
    pull(&config, &HubId::parse(REPO).unwrap(), &NoProgress).unwrap();
    let requests = server.requests();
    assert!(requests.iter().any(|request| request.to_storage));
    for request in requests {
        assert_eq!(request.headers.contains_key("authorization"), !request.to_storage, "{request:?}");
    }
    assert!(!format!("{config:?}").contains("secret"));
}

#[test]
fn refusals_say_what_they_mean() {
    for (status, expected) in [
        (401, "private, gated or not there"),
        (403, "the token may not read this"),
        (404, "no such model, revision or file (said the server)"),
        (418, "418"),
    ] {
        Server::with_model(Behaviour { status: Some(status), ..Behaviour::default() })
            .check_refused(expected);
    }
    let server = Server::with_model(Behaviour::default());
    let id = HubId::parse("owner/model@absent").unwrap();
    let error = pull(&server.config(), &id, &NoProgress).unwrap_err().to_string();
    assert!(error.contains("/revision/absent: 404"), "{error}");
}

#[test]
fn an_unreachable_hub_is_an_error_with_its_address() {
    // A port that was just free.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cache = tempfile::tempdir().unwrap();
    let config = HubConfig { endpoint: format!("http://{address}"), ..HubConfig::new(cache.path()) };
    let error = snapshot(&config, &HubId::parse(REPO).unwrap(), RepoKind::Model, &NoProgress)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(&format!("http://{address}/api/models/{REPO}/revision/main: could not be reached")),
        "{error}"
    );
    let config = HubConfig { endpoint: "huggingface.co".to_owned(), ..config };
    let error = snapshot(&config, &HubId::parse(REPO).unwrap(), RepoKind::Model, &NoProgress)
        .unwrap_err()
        .to_string();
    assert!(error.contains("HF_ENDPOINT must start with"), "{error}");
}

#[test]
fn offline_means_the_cache_or_an_error() {
    let server = Server::with_model(Behaviour::default());
    let config = HubConfig { offline: true, ..server.config() };
    let error = snapshot(&config, &HubId::parse(REPO).unwrap(), RepoKind::Model, &NoProgress)
        .unwrap_err()
        .to_string();
    assert!(error.contains("offline (HF_HUB_OFFLINE)"), "{error}");
    assert!(server.requests().is_empty());
}

#[test]
fn a_renamed_repository_is_followed() {
    let server = Server::with_model(Behaviour { old_name: Some("old/name"), ..Behaviour::default() });
    let folder = pull(&server.config(), &HubId::parse("old/name").unwrap(), &NoProgress).unwrap();
    assert!(folder.starts_with(server.cache.path().join("models--old--name")));
    assert_eq!(fs::read(folder.join("config.json")).unwrap(), b"{}");
}

#[test]
fn only_the_weights_that_are_read_are_fetched() {
    let index = br#"{"weight_map": {"a": "model-1.safetensors"}}"#.to_vec();
    for (present, expected) in [
        (vec!["model.safetensors", "pytorch_model.bin", "tf_model.h5"], vec!["model.safetensors"]),
        (vec!["pytorch_model.bin", "flax_model.msgpack"], vec!["pytorch_model.bin"]),
        (
            vec![
                "model.safetensors.index.json",
                "model-1.safetensors",
                "model-2.safetensors",
                "pytorch_model.bin",
            ],
            vec!["model-1.safetensors", "model.safetensors.index.json"],
        ),
    ] {
        let mut files =
            BTreeMap::from([("config.json".to_owned(), b"{}".to_vec()), ("README.md".to_owned(), vec![])]);
        files.extend(present.into_iter().map(|name| {
            (
                name.to_owned(),
                match name {
                    "model.safetensors.index.json" => index.clone(),
                    name => name.as_bytes().to_vec(),
                },
            )
        }));
        let server = Server::new(Behaviour { files, ..Behaviour::default() });
        let folder = server.pull().unwrap();
        let mut found: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        found.sort();
        assert_eq!(found, [vec!["config.json"], expected].concat());
    }
    let files = BTreeMap::from([("config.json".to_owned(), b"{}".to_vec())]);
    Server::new(Behaviour { files, ..Behaviour::default() }).check_refused("no weights that we read");
}

/// A pipeline of Stable Diffusion, as far as fetching looks at it.
fn pipeline(more: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let index = r#"{"_class_name": "StableDiffusionPipeline",
        "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}"#;
    let shards = r#"{"weight_map": {"a": "diffusion_pytorch_model-1.safetensors"}}"#;
    let files = [
        "README.md",
        "v1-5-pruned.safetensors",
        "feature_extractor/preprocessor_config.json",
        "safety_checker/model.safetensors",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "tokenizer/merges.txt",
        "tokenizer/vocab.json",
        "unet/config.json",
        "vae/config.json",
    ];
    let content = |name: &str| match name {
        _ if name.contains(".index.") => shards.into(),
        _ => name.into(),
    };
    let files = files.iter().chain(more).map(|&name| (name.to_owned(), content(name)));
    files.chain([("model_index.json".to_owned(), index.into())]).collect()
}

/// The names of the files in `folder` and in the folders in it, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => names.push(path.strip_prefix(folder).unwrap().to_str().unwrap().replace('\\', "/")),
            }
        }
    }
    names.sort();
    names
}

const FULL_WEIGHTS: [&str; 3] = [
    "text_encoder/model.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
];

#[test]
fn a_pipeline_lands_with_one_form_of_each_networks_weights() {
    let beside = [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "tokenizer/merges.txt",
        "tokenizer/vocab.json",
        "unet/config.json",
        "vae/config.json",
    ];
    let fp16 = FULL_WEIGHTS.map(|name| name.replace(".safetensors", ".fp16.safetensors"));
    let fp16: Vec<&str> = fp16.iter().map(String::as_str).collect();
    let bins = [
        "text_encoder/pytorch_model.bin",
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.bin",
        "vae/diffusion_pytorch_model.bin",
    ];
    let sharded = [
        FULL_WEIGHTS[0],
        "unet/diffusion_pytorch_model-1.safetensors",
        "unet/diffusion_pytorch_model-2.safetensors",
        "unet/diffusion_pytorch_model.safetensors.index.json",
        FULL_WEIGHTS[2],
    ];
    for (present, expected) in [
        ([&FULL_WEIGHTS, &fp16[..], &bins].concat(), FULL_WEIGHTS.to_vec()),
        ([&fp16[..], &bins].concat(), fp16.clone()),
        (bins.to_vec(), vec![bins[0], bins[1], bins[3]]),
        (sharded.to_vec(), vec![sharded[0], sharded[1], sharded[3], sharded[4]]),
    ] {
        let server = Server::new(Behaviour { files: pipeline(&present), ..Behaviour::default() });
        let folder = server.snapshot(RepoKind::Pipeline).unwrap();
        let mut expected = [beside.to_vec(), expected].concat();
        expected.sort();
        assert_eq!(names(&folder), expected);
        // `pull` sees by itself what it is, and that nothing is missing.
        server.requests();
        assert_eq!(server.pull().unwrap(), folder);
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn a_pipeline_lies_as_huggingface_hub_would_lay_it() {
    let large = vec![FULL_WEIGHTS[1]];
    let server = Server::new(Behaviour {
        files: pipeline(&FULL_WEIGHTS),
        breaks: [10].into(),
        large,
        ..Behaviour::default()
    });
    let folder = server.snapshot(RepoKind::Pipeline).unwrap();
    let unet = folder.join(FULL_WEIGHTS[1]);
    assert_eq!(fs::read_to_string(&unet).unwrap(), FULL_WEIGHTS[1]);
    #[cfg(unix)]
    {
        let sum = hex(&Sha256::digest(FULL_WEIGHTS[1]));
        assert_eq!(fs::read_link(&unet).unwrap(), Path::new("../../../blobs").join(sum));
    }
    let requests = server.requests();
    let ranges: Vec<_> = requests.iter().filter(|r| r.to_storage).map(|r| &r.headers["range"]).collect();
    assert_eq!(ranges, ["bytes=0-", "bytes=10-"]);

    // Whoever asks for a pipeline again asks nobody, not even offline.
    let offline = HubConfig { offline: true, ..server.config() };
    let id = HubId::parse(REPO).unwrap();
    assert_eq!(snapshot(&offline, &id, RepoKind::Pipeline, &NoProgress).unwrap(), folder);
    assert_eq!(pull(&offline, &id, &NoProgress).unwrap(), folder);
    let error = snapshot(&offline, &id, RepoKind::Model, &NoProgress).unwrap_err().to_string();
    assert!(error.contains("offline (HF_HUB_OFFLINE)"), "{error}");
    let models = cached_models(server.cache.path()).unwrap();
    let bytes: usize = names(&folder).iter().map(|name| fs::read(folder.join(name)).unwrap().len()).sum();
    assert_eq!((models.len(), models[0].bytes), (1, bytes as u64));

    // Without one of its files it is not complete, and is completed.
    fs::remove_file(&unet).unwrap();
    assert!(snapshot(&offline, &id, RepoKind::Pipeline, &NoProgress).is_err());
    assert_eq!(server.snapshot(RepoKind::Pipeline).unwrap(), folder);
    assert!(unet.is_file());
}

#[test]
fn what_is_no_pipeline_of_ours_is_refused_before_its_weights_are_fetched() {
    #[track_caller]
    fn check(files: BTreeMap<String, Vec<u8>>, kind: RepoKind, expected: &str) {
        let server = Server::new(Behaviour { files, ..Behaviour::default() });
        let error = server.snapshot(kind).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        let is_weights = |request: &Request| request.path.contains("model.safetensors");
        assert!(!server.requests().iter().any(is_weights));
        assert!(cached_models(server.cache.path()).unwrap().is_empty());
    }
    let without = |name: &str| {
        let mut files = pipeline(&FULL_WEIGHTS);
        files.remove(name).unwrap();
        files
    };
    check(without("unet/config.json"), RepoKind::Pipeline, "no unet/config.json, which every pipeline");
    check(
        without(FULL_WEIGHTS[2]),
        RepoKind::Pipeline,
        "no weights that we read: expected one of vae/diffusion_pytorch_model.safetensors, ",
    );
    let mut other = pipeline(&FULL_WEIGHTS);
    let index = r#"{"_class_name": "StableDiffusionXLPipeline"}"#;
    other.insert("model_index.json".to_owned(), index.into());
    check(other, RepoKind::Pipeline, "expected a StableDiffusionPipeline, found `StableDiffusionXLPipeline`");
    // One is not taken for the other.
    check(pipeline(&FULL_WEIGHTS), RepoKind::Model, "no config.json, which every model has");
    let model = ["config.json", "model.safetensors"].map(|name| (name.to_owned(), b"{}".to_vec()));
    check(model.into(), RepoKind::Pipeline, "no model_index.json, which every pipeline of diffusers has");
}

#[test]
fn a_branch_with_slashes_has_its_own_ref() {
    let server = Server::with_model(Behaviour::default());
    let id = HubId::parse("owner/model@refs/pr/1").unwrap();
    pull(&server.config(), &id, &NoProgress).unwrap();
    assert_eq!(cached_models(server.cache.path()).unwrap()[0].revisions, ["refs/pr/1"]);
}

#[test]
fn progress_counts_every_byte_once() {
    #[derive(Default)]
    struct Counted(Mutex<Vec<(String, Option<u64>, u64)>>);
    impl Progress for Counted {
        fn begin(&self, stage: &str, total: Option<u64>, _unit: &str) {
            self.0.lock().unwrap().push((stage.to_owned(), total, 0));
        }
        fn advance(&self, n: u64, _note: &str) {
            self.0.lock().unwrap().last_mut().unwrap().2 += n;
        }
        fn end(&self) {}
    }
    let server = Server::with_model(Behaviour { breaks: [100_000].into(), ..Behaviour::default() });
    let progress = Counted::default();
    pull(&server.config(), &HubId::parse(REPO).unwrap(), &progress).unwrap();
    let size = weights_bytes().len() as u64;
    let expected =
        [("config.json".to_owned(), Some(2), 2), ("model.safetensors".to_owned(), Some(size), size)];
    assert_eq!(*progress.0.lock().unwrap(), expected);
}
