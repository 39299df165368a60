//! ComfyUI: the graph that is queued, the waiting, and jobs that fail, vanish or are called off.

use std::collections::HashMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use promptist::Error;
use promptist::generator::http::HttpSettings;
use promptist::generator::{Cancel, Generator, ImageRequest, ImageSettings};
use serde_json::{Value, json};

use crate::fake::{
    Question, Reply, Server, assert_drawn, drawing, generate, hurried, png, pool, small, until,
};

fn with_checkpoint() -> HttpSettings {
    HttpSettings { model: Some("v1-5.safetensors".to_owned()), ..hurried() }
}

/// ComfyUI's memory: its jobs, and how often each was asked after.
#[derive(Default)]
struct Comfy {
    jobs: Mutex<HashMap<String, (Value, usize)>>,
}

impl Comfy {
    fn answer(&self, question: &Question) -> Reply {
        let (path, query) = question.path.split_once('?').unwrap_or((&question.path, ""));
        let mut jobs = self.jobs.lock().expect("a lock");
        match (question.method.as_str(), path) {
            ("POST", "/prompt") => {
                let id = format!("job-{}", jobs.len());
                jobs.insert(id.clone(), (question.json()["prompt"].clone(), 0));
                Reply::Json(json!({"prompt_id": id, "number": jobs.len(), "node_errors": {}}))
            }
            ("GET", "/queue") => {
                let running: Vec<_> = jobs
                    .iter()
                    .filter(|(_, (_, asked))| *asked < 2)
                    .map(|(id, _)| json!([0, id, {}]))
                    .collect();
                Reply::Json(json!({"queue_running": running, "queue_pending": []}))
            }
            ("GET", path) if path.starts_with("/history/") => {
                let id = path.trim_start_matches("/history/");
                let Some((_, asked)) = jobs.get_mut(id) else { return Reply::Json(json!({})) };
                *asked += 1;
                if *asked < 2 {
                    return Reply::Json(json!({}));
                }
                let image = json!({"filename": format!("{id} ä.png"), "subfolder": "a/b", "type": "temp"});
                Reply::Json(json!({id: {
                    "prompt": [],
                    "outputs": {"image": {"images": [image]}, "other": {"text": ["x"]}},
                    "status": {"status_str": "success", "completed": true, "messages": [["execution_start", {}]]},
                }}))
            }
            ("GET", "/view") => {
                assert!(query.ends_with("%20%C3%A4.png&subfolder=a%2Fb&type=temp"), "{query}");
                let id = query.trim_start_matches("filename=").split('%').next().expect("a name");
                Reply::Bytes(render(&jobs[id].0))
            }
            ("POST", "/queue" | "/interrupt") => Reply::Bytes(Vec::new()),
            _ => Reply::status(404),
        }
    }
}

/// What the graph draws.
fn render(graph: &Value) -> Vec<u8> {
    let of_class = |class: &str| {
        let node = graph.as_object().expect("nodes").values().find(|node| node["class_type"] == class);
        &node.expect(class)["inputs"]
    };
    let sampler = of_class("KSampler");
    let text = graph[sampler["positive"][0].as_str().expect("a link")]["inputs"]["text"].as_str();
    let size = |key: &str| of_class("EmptyLatentImage")[key].as_u64().expect(key) as u32;
    png(&drawing(
        text.expect("a prompt"),
        sampler["seed"].as_u64().expect("a seed"),
        size("width"),
        size("height"),
    ))
}

fn comfy() -> Server {
    let comfy = Comfy::default();
    Server::start(move |question| comfy.answer(question))
}

#[test]
fn each_seed_is_a_graph_of_its_own() {
    let server = comfy();
    let pool = pool("comfy", &[&server], &with_checkpoint()).expect("a pool");
    assert_eq!(pool.identity().name, "comfy");
    assert!(pool.identity().model.starts_with("v1-5.safetensors, graph "), "{}", pool.identity().model);
    let settings = ImageSettings {
        negative_prompt: "blurry".to_owned(),
        num_inference_steps: 7,
        scheduler: Some("euler".to_owned()),
        ..small()
    };
    let seeds = [5, 6, u64::MAX];
    let request = ImageRequest { prompt: "a {{seed}} \"fox\"", seeds: &seeds, settings: &settings };
    let images = pool.generate(&request, &Cancel::default()).expect("images");
    assert_drawn(&images, "a {{seed}} \"fox\"", &seeds);

    let sent = server.asked("POST", "/prompt");
    assert_eq!(sent.len(), 3);
    let graph = sent[0].json()["prompt"].clone();
    assert_eq!(graph["checkpoint"]["inputs"]["ckpt_name"], "v1-5.safetensors");
    assert_eq!(graph["negative"]["inputs"]["text"], "blurry");
    let sampler = &graph["sampler"]["inputs"];
    assert_eq!((&sampler["seed"], &sampler["steps"], &sampler["cfg"]), (&json!(5), &json!(7), &json!(7.5)));
    assert_eq!(sampler["sampler_name"], "euler");
}

#[test]
fn a_workflow_of_ones_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("workflow.json");
    let workflow = json!({
        "1": {"class_type": "EmptyLatentImage", "inputs": {"width": "{{width}}", "height": "{{height}}"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "{{prompt}}"}},
        "3": {"class_type": "KSampler", "inputs": {"seed": "{{seed}}", "positive": ["2", 0], "steps": 4}},
        "image": {"class_type": "SaveImage", "inputs": {"images": ["3", 0]}, "_meta": {"title": "out"}},
        "other": {"class_type": "SaveImage", "inputs": {"images": ["3", 0]}},
    });
    fs::write(&path, workflow.to_string()).expect("a file");
    let server = comfy();
    let settings =
        HttpSettings { workflow: Some(path.clone()), output_node: Some("out".to_owned()), ..hurried() };
    let own = pool("comfy", &[&server], &settings).expect("a pool");
    assert_drawn(&generate(&own, "a fox", &[5]).expect("an image"), "a fox", &[5]);
    assert!(own.identity().model.starts_with("graph "), "{}", own.identity().model);

    let error = pool("comfy", &[&server], &HttpSettings { output_node: None, ..settings.clone() });
    let error = error.err().expect("two output nodes").to_string();
    assert!(error.contains("workflow.json") && error.contains("name one"), "{error}");
    let error = pool("comfy", &[&server], &hurried()).err().expect("no checkpoint").to_string();
    assert!(error.contains("checkpoint"), "{error}");
    fs::write(&path, "{").expect("a file");
    assert!(pool("comfy", &[&server], &settings).is_err());
}

#[test]
fn what_the_server_says_of_a_bad_graph_is_shown_and_not_tried_again() {
    let refusal = json!({
        "error": {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation"},
        "node_errors": {"checkpoint": {"class_type": "CheckpointLoaderSimple", "errors": [{
            "type": "value_not_in_list", "message": "Value not in list", "details": "ckpt_name: 'v1-5.safetensors'",
        }]}},
    });
    let mut as_success = refusal.clone();
    as_success.as_object_mut().expect("an object").remove("error");
    as_success["prompt_id"] = json!("x");
    for (code, body) in [(400, refusal), (200, as_success)] {
        let comfy = Comfy::default();
        let server = Server::start(move |question| match question.path.as_str() {
            "/prompt" => Reply::Status(code, "", body.to_string()),
            _ => comfy.answer(question),
        });
        let pool = pool("comfy", &[&server], &with_checkpoint()).expect("a pool");
        let error = generate(&pool, "a fox", &[5]).expect_err("refused").to_string();
        assert!(error.contains("CheckpointLoaderSimple") && error.contains("v1-5.safetensors"), "{error}");
        assert_eq!(server.asked("POST", "/prompt").len(), 1);
    }
}

/// The first job of a server goes wrong as `fault` says; the image must come from its second.
fn outlives(fault: impl Fn(&str) -> Option<Reply> + Send + Sync + 'static) -> String {
    let comfy = Comfy::default();
    let server = Server::start(move |question| {
        let of_first = question.path.contains("job-0") || question.path == "/queue";
        of_first.then(|| fault(&question.path)).flatten().unwrap_or_else(|| comfy.answer(question))
    });
    let pool = pool("comfy", &[&server], &with_checkpoint()).expect("a pool");
    assert_drawn(&generate(&pool, "a fox", &[5]).expect("an image"), "a fox", &[5]);
    assert_eq!(server.asked("POST", "/prompt").len(), 2);
    pool.reports()[0].last_failure.clone().expect("a failure")
}

#[test]
fn a_job_that_fails_is_queued_again() {
    let run = |outputs: Value, status: Value| {
        move |path: &str| {
            let run = json!({"job-0": {"outputs": outputs, "status": status}});
            path.starts_with("/history").then_some(Reply::Json(run))
        }
    };
    let error =
        json!(["execution_error", {"node_type": "KSampler", "exception_message": "CUDA out of memory\n"}]);
    let failed = outlives(run(json!({}), json!({"status_str": "error", "messages": [["x", {}], error]})));
    assert_eq!(failed, "KSampler: CUDA out of memory");
    let stopped = json!({"status_str": "error", "messages": [["execution_interrupted", {}]]});
    assert!(outlives(run(json!({}), stopped)).contains("interrupted"));
    let success = json!({"status_str": "success", "messages": []});
    assert!(outlives(run(json!({}), success.clone())).contains("gave 0 images"));
    let image = json!({"filename": "x.png", "subfolder": "", "type": "temp"});
    assert!(outlives(run(json!({"image": {"images": [image, image]}}), success)).contains("gave 2 images"));
    let cut = outlives(|path| path.starts_with("/view").then(|| Reply::Bytes(b"\x89PNG\r\n\x1a\n".to_vec())));
    assert!(cut.contains("bytes"), "{cut}");
    // A server that was restarted knows nothing of it.
    let forgotten = outlives(|path| match path {
        "/queue" => Some(Reply::Json(json!({"queue_running": [], "queue_pending": []}))),
        _ => path.starts_with("/history").then(|| Reply::Json(json!({}))),
    });
    assert!(forgotten.contains("forgotten"), "{forgotten}");
}

#[test]
fn a_broken_question_after_a_job_is_asked_again() {
    let comfy = Comfy::default();
    let is_first = AtomicBool::new(true);
    let server = Server::start(move |question| {
        match question.path.starts_with("/history") && is_first.swap(false, Ordering::SeqCst) {
            true => Reply::Reset,
            false => comfy.answer(question),
        }
    });
    let pool =
        pool("comfy", &[&server], &HttpSettings { max_tries: 1, ..with_checkpoint() }).expect("a pool");
    assert_drawn(&generate(&pool, "a fox", &[5]).expect("an image"), "a fox", &[5]);
    assert_eq!(server.asked("POST", "/prompt").len(), 1);
}

#[test]
fn a_server_that_dies_over_a_job_costs_a_try() {
    let comfy = Comfy::default();
    let mut server = Server::start(move |question| match question.path.starts_with("/history") {
        true => Reply::Json(json!({})),
        false => comfy.answer(question),
    });
    let settings = HttpSettings { max_tries: 1, ..with_checkpoint() };
    let pool = pool("comfy", &[&server], &settings).expect("a pool");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| generate(&pool, "a fox", &[5]));
        until(|| !server.asked("GET", "/history/job-0").is_empty());
        server.kill();
        let error = waiting.join().expect("no panic").expect_err("it died");
        assert!(matches!(error, Error::ImageFailed { .. }), "{error:?}");
    });
}

#[test]
fn a_job_that_is_called_off_is_taken_off_the_server() {
    for is_running in [true, false] {
        let server = Server::start(move |question| match question.path.as_str() {
            "/prompt" => Reply::Json(json!({"prompt_id": "job-0", "node_errors": {}})),
            "/queue" if question.method == "GET" => {
                let entry = json!([[0, "job-0", {}]]);
                let (running, pending) = if is_running { (entry, json!([])) } else { (json!([]), entry) };
                Reply::Json(json!({"queue_running": running, "queue_pending": pending}))
            }
            _ => Reply::Json(json!({})),
        });
        let pool = pool("comfy", &[&server], &with_checkpoint()).expect("a pool");
        let flag = Arc::new(AtomicBool::new(false));
        let cancel = Cancel::following(flag.clone());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let settings = small();
                pool.generate(&ImageRequest { prompt: "a fox", seeds: &[5], settings: &settings }, &cancel)
            });
            until(|| !server.asked("GET", "/history/job-0").is_empty());
            flag.store(true, Ordering::SeqCst);
            assert!(matches!(waiting.join().expect("no panic"), Err(Error::Interrupted)));
        });
        let (path, body) = match is_running {
            true => ("/interrupt", json!({"prompt_id": "job-0"})),
            false => ("/queue", json!({"delete": ["job-0"]})),
        };
        assert_eq!(server.asked("POST", path)[0].json(), body);
    }
}
