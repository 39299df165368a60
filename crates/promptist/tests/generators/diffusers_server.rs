//! Our own server for diffusers folders, `tools/servers/a1111_diffusers.py`, with random weights: a real
//! program on the other side. Slow, and needs `PROMPTIST_PYTHON`, an interpreter that has diffusers.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use image::RgbImage;
use promptist::Error;
use promptist::generator::http::{HttpSettings, Pool};
use promptist::generator::{Cancel, Generator, ImageRequest, ImageSettings};

use crate::common::{mark_slow_test, slow_tests_are_wanted};

struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start(python: &str, folder: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/servers/a1111_diffusers.py");
        let mut process = Command::new(python)
            .arg(script)
            .arg(folder)
            .args(["--port", "0", "--device", "cpu", "--threads", "1"])
            .args(["--random-tiny", "--api-auth", "me:secret"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("PROMPTIST_PYTHON is an interpreter");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("its output is ours");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let url = line.trim().rsplit_once("http://").expect("the server says where it is").1;
        Self { process, url: format!("a1111+http://me:secret@{url}") }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn max_difference(a: &RgbImage, b: &RgbImage) -> u8 {
    assert_eq!(a.dimensions(), b.dimensions());
    a.iter().zip(b.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

#[test]
fn the_diffusers_server_makes_the_image_of_each_seed() {
    if !slow_tests_are_wanted() {
        return;
    }
    let Ok(python) = std::env::var("PROMPTIST_PYTHON") else {
        eprintln!("skipped: PROMPTIST_PYTHON names no interpreter that has diffusers");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&python, folder.path());
    let specs = [server.url.parse().expect("a server")];
    let pool = Pool::open(&specs, &HttpSettings::default(), &Default::default()).expect("a pool");
    assert!(pool.identity().takes_seeds && pool.identity().model.len() > 10, "{:?}", pool.identity());

    let settings =
        ImageSettings { width: 64, height: 48, num_inference_steps: 4, ..ImageSettings::default() };
    let draw = |prompt: &str, seeds: &[u64], settings: &ImageSettings| {
        pool.generate(&ImageRequest { prompt, seeds, settings }, &Cancel::default())
    };
    let batch = draw("a fox", &[5, 6, 7], &settings).expect("images");
    assert!(batch.iter().all(|image| image.dimensions() == (64, 48)));
    let again = draw("a fox", &[5, 6, 7], &settings).expect("images");
    assert!(batch == again, "the same seeds give the same images");
    // In a batch of another size sums may be taken in another order: 0 was seen, 1 of 255 is allowed.
    let alone = draw("a fox", &[6], &settings).expect("an image");
    let (same, different) = (max_difference(&alone[0], &batch[1]), max_difference(&batch[0], &batch[1]));
    println!("largest difference of 255: {same} of the same seed in two batches, {different} of two seeds");
    assert!(same <= 1, "an image depends on its batch");
    assert!(different > 10, "another seed gives another image");
    let other = draw("an owl in the snow", &[5], &settings).expect("an image");
    assert!(other[0] != batch[0], "another prompt gives another image");
    for scheduler in ["DPM++ 2M", "DDIM", "Euler"] {
        let sampled = ImageSettings { scheduler: Some(scheduler.to_owned()), ..settings.clone() };
        draw("a fox", &[5], &sampled).expect(scheduler);
    }
    let unknown = ImageSettings { scheduler: Some("x".to_owned()), ..settings.clone() };
    let error = draw("a fox", &[5], &unknown).expect_err("no such sampler").to_string();
    assert!(error.contains("422") && error.contains("sampler_name"), "{error}");

    // Called off, it stops: the next image need not wait for a thousand steps.
    let flag = Arc::new(AtomicBool::new(false));
    let cancel = Cancel::following(flag.clone());
    let long = ImageSettings { num_inference_steps: 1000, width: 512, height: 512, ..settings.clone() };
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            pool.generate(&ImageRequest { prompt: "a fox", seeds: &[1], settings: &long }, &cancel)
        });
        thread::sleep(std::time::Duration::from_millis(300));
        flag.store(true, Ordering::SeqCst);
        assert!(matches!(waiting.join().expect("no panic"), Err(Error::Interrupted)));
    });
    assert!(draw("a fox", &[5, 6, 7], &settings).expect("images") == batch);
    mark_slow_test("diffusers_server");
}
