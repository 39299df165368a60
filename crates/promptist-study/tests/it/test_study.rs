//! A study of small coloured images, in SQLite and, where there is one, in PostgreSQL.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use image::{Rgb, RgbImage};
use promptist_study::{Checks, Format, InputFile, Listener, Raters, ReportFormat, Study, StudyConfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// Systems, in names that nothing else says. Images of the first are reddish, of the second bluish.
pub const SYSTEMS: [&str; 2] = ["xanadu-sft", "yggdrasil-ppo"];
/// A word of every rewrite, by system.
pub const REWRITES: [&str; 2] = ["quokkaesque", "zeppelinlike"];

/// A folder with images and rewrites, and a study of them.
pub struct TestStudy {
    pub folder: TempDir,
    pub runtime: Runtime,
    pub study: Study,
}

/// Where a test's study is kept.
pub type Database = Option<String>;

/// SQLite, and PostgreSQL if `PROMPTIST_TEST_POSTGRES` has its URL.
#[allow(clippy::print_stderr)]
pub fn databases() -> Vec<Database> {
    let mut databases = vec![None];
    match std::env::var("PROMPTIST_TEST_POSTGRES") {
        Ok(url) if !url.is_empty() => databases.push(Some(url)),
        _ => eprintln!("PROMPTIST_TEST_POSTGRES is not set: PostgreSQL is skipped"),
    }
    databases
}

/// All questions, no repeats and no checks.
pub fn plain() -> StudyConfig {
    StudyConfig {
        raters: Raters { repeats: 0.0, ..Raters::default() },
        checks: Checks { noise: 0, unrelated: 0, given: vec![] },
        ..StudyConfig::default()
    }
}

impl TestStudy {
    /// One of `inputs` inputs with `per_side` images a side.
    pub fn new(inputs: usize, per_side: usize, database: &Database, config: StudyConfig) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let rows = write_inputs(folder.path(), inputs, per_side);
        let config = StudyConfig {
            input: vec![InputFile { file: rows, system: None }],
            database: database.clone(),
            ..config
        };
        let runtime = runtime();
        let out = folder.path().join("study");
        runtime.block_on(promptist_study::create(&config, &out)).expect("a study");
        let study = runtime.block_on(Study::open(&out)).expect("opens");
        Self { folder, runtime, study }
    }

    pub fn invite(&self, count: usize) -> Vec<String> {
        self.runtime.block_on(self.study.invite(count)).expect("room")
    }

    /// A server of the study; several may run.
    pub fn serve(&self) -> TestServer {
        let folder = self.folder.path().join("study");
        let listener = Listener::bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = runtime();
            let study = runtime.block_on(Study::open(&folder)).expect("opens");
            runtime
                .block_on(promptist_study::serve(study, listener, async { _ = stopped.await }))
                .expect("serves");
        });
        TestServer { address, stop: Some(stop), thread: Some(thread) }
    }

    /// The answers, as they are exported.
    pub fn answers(&self) -> Vec<Value> {
        let text =
            self.runtime.block_on(promptist_study::export(&self.study, Format::Jsonl)).expect("answers");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    pub fn export(&self, format: Format) -> String {
        self.runtime.block_on(promptist_study::export(&self.study, format)).expect("answers")
    }

    pub fn report(&self, format: ReportFormat) -> String {
        self.runtime.block_on(promptist_study::report(&self.study)).expect("a report").print(format)
    }

    pub fn report_json(&self) -> Value {
        serde_json::from_str(&self.report(ReportFormat::Json)).expect("JSON")
    }
}

impl Drop for TestStudy {
    fn drop(&mut self) {
        self.runtime.block_on(self.study.close());
    }
}

/// A running server, stopped when dropped.
pub struct TestServer {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take()
            && !std::thread::panicking()
        {
            thread.join().expect("no panic");
        }
    }
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// Rows of both systems and their images; the file of rows.
pub fn write_inputs(folder: &Path, inputs: usize, per_side: usize) -> PathBuf {
    let mut rows = String::new();
    for input in 0..inputs {
        for (system, name) in SYSTEMS.iter().enumerate() {
            let images: Vec<String> = (0..per_side)
                .map(|place| {
                    let image = format!("{name}/{}-{input}-{place}.png", REWRITES[system]);
                    let path = folder.join(&image);
                    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
                    pattern(system, input * per_side + place).save(&path).expect("saved");
                    image
                })
                .collect();
            let seeds: Vec<usize> = (0..per_side).map(|place| 40 + place).collect();
            let row = json!({
                "id": format!("in-{input}"),
                "user_input": format!("request number {input}"),
                "system": name,
                "adapted_prompt": format!("request number {input}, {}", REWRITES[system]),
                "images": images,
                "seeds": seeds,
            });
            rows += &format!("{row}\n");
        }
    }
    let path = folder.join("rows.jsonl");
    fs::write(&path, rows).expect("written");
    path
}

/// Stripes in a system's colour, told apart by `which`.
pub fn pattern(system: usize, which: usize) -> RgbImage {
    RgbImage::from_fn(24, 16, |x, y| {
        let stripe = ((x as usize * 5 + y as usize * 3 + which * 7) % 60) as u8;
        let mut pixel = [stripe; 3];
        pixel[2 * system] = 200;
        pixel[1] = (which % 250) as u8;
        Rgb(pixel)
    })
}

/// The system that a pattern is of; none if it is none.
pub fn system_of(image: &RgbImage) -> Option<usize> {
    [0, 1].into_iter().find(|&system| image.pixels().all(|pixel| pixel.0[2 * system] == 200))
}
