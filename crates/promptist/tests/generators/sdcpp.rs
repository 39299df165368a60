//! stable-diffusion.cpp's jobs: queued, generating, completed; or failed, forgotten, called off, refused.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use promptist::Error;
use promptist::generator::http::HttpSettings;
use promptist::generator::{Cancel, Generator, ImageRequest, ImageSettings};
use serde_json::{Value, json};

use crate::fake::{
    Question, Reply, Server, assert_drawn, base64, drawing, generate, hurried, png, pool, small, until,
};

#[derive(Default)]
struct SdCpp {
    /// Each job's question, and how often it was asked after.
    jobs: Mutex<Vec<(Value, usize)>>,
}

impl SdCpp {
    fn answer(&self, question: &Question) -> Reply {
        let mut jobs = self.jobs.lock().expect("a lock");
        match (question.method.as_str(), question.path.as_str()) {
            ("GET", "/sdcpp/v1/capabilities") => Reply::Json(json!({
                "model": {"name": "v1-5.gguf", "stem": "v1-5", "path": "/models/v1-5.gguf"},
                "defaults": {"seed": 42, "prompt": "", "clip_skip": -1, "sample_params": {"sample_method": "euler"}},
                "limits": {"max_batch_count": 8},
            })),
            ("POST", "/sdcpp/v1/img_gen") => {
                jobs.push((question.json(), 0));
                let id = format!("job_{}", jobs.len() - 1);
                let poll_url = format!("/sdcpp/v1/jobs/{id}");
                let body = json!({"id": id, "kind": "img_gen", "status": "queued", "poll_url": poll_url});
                Reply::Status(202, "", body.to_string())
            }
            ("GET", path) => {
                let idx = path.trim_start_matches("/sdcpp/v1/jobs/job_").parse::<usize>();
                let Some((body, asked)) = idx.ok().and_then(|idx| jobs.get_mut(idx)) else {
                    return Reply::status(404);
                };
                *asked += 1;
                Reply::Json(match *asked {
                    1 => json!({"status": "queued", "queue_position": 1, "result": null, "error": null}),
                    2 => json!({"status": "generating", "queue_position": 0, "result": null, "error": null}),
                    _ => json!({"status": "completed", "result": result(body), "error": null}),
                })
            }
            _ => Reply::Json(json!({})),
        }
    }
}

/// The images, the last first: it is `index` that counts.
fn result(body: &Value) -> Value {
    let number = |key: &str| body[key].as_u64().expect(key);
    let prompt = body["prompt"].as_str().expect("a prompt");
    let images: Vec<Value> = (0..number("batch_count"))
        .rev()
        .map(|index| {
            let (width, height) = (number("width") as u32, number("height") as u32);
            let image = drawing(prompt, number("seed") + index, width, height);
            json!({"index": index, "b64_json": base64(&png(&image))})
        })
        .collect();
    json!({"output_format": "png", "images": images})
}

#[test]
fn a_job_is_queued_with_the_documented_fields_and_waited_for() {
    let sdcpp = SdCpp::default();
    let server = Server::start(move |question| sdcpp.answer(question));
    let pool = pool("sdcpp", &[&server], &HttpSettings { max_batch: 100, ..hurried() }).expect("a pool");
    assert!(pool.identity().model.starts_with("v1-5.gguf, defaults "), "{}", pool.identity().model);
    let settings = ImageSettings {
        negative_prompt: "blurry".to_owned(),
        scheduler: Some("dpm++2m".to_owned()),
        num_inference_steps: 7,
        ..small()
    };
    let seeds: Vec<u64> = (5..15).collect();
    let request = ImageRequest { prompt: "a <lora:x:1> fox", seeds: &seeds, settings: &settings };
    assert_drawn(&pool.generate(&request, &Cancel::default()).expect("images"), "a <lora:x:1> fox", &seeds);
    let sent = server.asked("POST", "/sdcpp/v1/img_gen");
    assert_eq!(
        sent[0].json(),
        json!({
            "prompt": "a <lora:x:1> fox", "negative_prompt": "blurry", "width": 24, "height": 16, "seed": 5,
            "batch_count": 8, "output_format": "png",
            "sample_params": {"sample_steps": 7, "guidance": {"txt_cfg": 7.5}, "sample_method": "dpm++2m"},
        })
    );
    assert_eq!((sent.len(), sent[1].json()["batch_count"].as_u64()), (2, Some(2)));
    let error = generate(&pool, "a fox", &[u64::MAX]).expect_err("too large").to_string();
    assert!(error.contains("18446744073709551615"), "{error}");
}

#[test]
fn jobs_that_fail_are_queued_again_and_a_full_queue_costs_no_try() {
    let failed =
        json!({"status": "failed", "error": {"code": "generation_failed", "message": "out of memory"}});
    let one_too_few = json!({"status": "completed", "result": {"images": []}});
    let twice = |index: u64| json!({"index": index, "b64_json": base64(&png(&drawing("a fox", 5, 24, 16)))});
    let twice_the_same = json!({"status": "completed", "result": {"images": [twice(0), twice(0)]}});
    for (job, reason) in [
        (Some(failed), "generation_failed: out of memory"),
        (Some(json!({"status": "cancelled"})), "cancelled"),
        (Some(one_too_few), "got 0"),
        (Some(twice_the_same), "got 2"),
        (None, "forgotten"),
    ] {
        let sdcpp = SdCpp::default();
        let fulls = AtomicUsize::new(3);
        let server = Server::start(move |question| {
            let is_full =
                || fulls.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            match question.path.as_str() {
                "/sdcpp/v1/img_gen" if is_full() => Reply::status(429),
                "/sdcpp/v1/jobs/job_0" => job.clone().map_or(Reply::status(404), Reply::Json),
                _ => sdcpp.answer(question),
            }
        });
        let settings = HttpSettings { max_tries: 2, ..hurried() };
        let pool = pool("sdcpp", &[&server], &settings).expect("a pool");
        assert_drawn(&generate(&pool, "a fox", &[5]).expect("an image"), "a fox", &[5]);
        let report = &pool.reports()[0];
        assert_eq!(report.failures, 4);
        assert!(report.last_failure.as_ref().is_some_and(|last| last.contains(reason)), "{report:?}");
    }
}

#[test]
fn an_id_that_is_no_name_is_not_asked_for() {
    let server = Server::start(|question| match question.path.as_str() {
        "/sdcpp/v1/img_gen" => Reply::Json(json!({"id": "../../x?y"})),
        _ => SdCpp::default().answer(question),
    });
    let pool = pool("sdcpp", &[&server], &HttpSettings { max_tries: 1, ..hurried() }).expect("a pool");
    assert!(generate(&pool, "a fox", &[5]).is_err());
    assert!(!server.questions().iter().any(|question| question.path.contains("..")));
}

#[test]
fn a_job_that_is_called_off_or_late_is_cancelled_on_the_server() {
    let start = || {
        Server::start(|question| match question.path.as_str() {
            "/sdcpp/v1/jobs/job_0" => Reply::Json(json!({"status": "generating"})),
            "/sdcpp/v1/img_gen" => Reply::Json(json!({"id": "job_0"})),
            _ => SdCpp::default().answer(question),
        })
    };
    let server = start();
    let late = pool("sdcpp", &[&server], &HttpSettings { timeout_secs: 0.3, max_tries: 1, ..hurried() });
    let error = generate(&late.expect("a pool"), "a fox", &[5]).expect_err("late").to_string();
    assert!(error.contains("timed out"), "{error}");
    assert_eq!(server.asked("POST", "/sdcpp/v1/jobs/job_0/cancel").len(), 1);

    let server = start();
    let pool = pool("sdcpp", &[&server], &hurried()).expect("a pool");
    let flag = Arc::new(AtomicBool::new(false));
    let cancel = Cancel::following(flag.clone());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let settings = small();
            pool.generate(&ImageRequest { prompt: "a fox", seeds: &[5], settings: &settings }, &cancel)
        });
        until(|| !server.asked("GET", "/sdcpp/v1/jobs/job_0").is_empty());
        flag.store(true, Ordering::SeqCst);
        assert!(matches!(waiting.join().expect("no panic"), Err(Error::Interrupted)));
    });
    assert_eq!(server.asked("POST", "/sdcpp/v1/jobs/job_0/cancel").len(), 1);
}
