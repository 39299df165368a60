//! `/v1/images/generations`, with seeds (vLLM-Omni) and without (OpenAI).

use promptist::generator::http::{Auth, HttpSettings, Pool, Secret};
use promptist::generator::{Cancel, Generator, ImageRequest, ImageSettings};
use serde_json::{Value, json};

use crate::fake::{
    Question, Reply, Server, assert_drawn, base64, drawing, generate, hurried, png, pool, small,
};

/// A server with one model of that owner. Without a seed in the question it takes the image's place for one.
fn server(owner: &'static str) -> Server {
    Server::start(move |question| match question.path.as_str() {
        "/v1/models" => Reply::Json(json!({"object": "list", "data": [{"id": "sd", "owned_by": owner}]})),
        "/v1/images/generations" => Reply::Json(generations(&question.json())),
        _ => Reply::status(404),
    })
}

fn generations(body: &Value) -> Value {
    let size = body["size"].as_str().and_then(|size| size.split_once('x')).expect("a size");
    let (width, height) = (size.0.parse().expect("a width"), size.1.parse().expect("a height"));
    let images: Vec<Value> = (0..body["n"].as_u64().expect("n"))
        .map(|idx| {
            let seed = body["seed"].as_u64().unwrap_or(idx);
            let image = drawing(body["prompt"].as_str().expect("a prompt"), seed, width, height);
            json!({"b64_json": base64(&png(&image)), "url": null, "revised_prompt": null})
        })
        .collect();
    json!({"created": 1, "data": images})
}

#[test]
fn vllm_takes_a_seed_a_call_and_our_settings() {
    let server = server("vllm");
    let pool = pool("openai", &[&server], &hurried()).expect("a pool");
    let identity = pool.identity();
    assert_eq!(
        (identity.name.as_str(), identity.model.as_str(), identity.takes_seeds),
        ("openai", "sd", true)
    );
    let settings = ImageSettings { negative_prompt: "blurry".to_owned(), num_inference_steps: 7, ..small() };
    let request = ImageRequest { prompt: "a fox", seeds: &[5, 6], settings: &settings };
    assert_drawn(&pool.generate(&request, &Cancel::default()).expect("images"), "a fox", &[5, 6]);
    let sent = server.asked("POST", "/v1/images/generations");
    assert_eq!(
        sent[1].json(),
        json!({
            "prompt": "a fox", "n": 1, "size": "24x16", "seed": 6, "negative_prompt": "blurry",
            "num_inference_steps": 7, "guidance_scale": 7.5,
        })
    );
}

#[test]
fn openai_takes_no_seeds_and_says_so() {
    let server = server("openai");
    let settings = HttpSettings { model: Some("gpt-image-1".to_owned()), ..hurried() };
    let specs = [format!("openai+{}/v1/", server.url()).parse().expect("a server")];
    let pool = Pool::open(&specs, &settings, &Auth::Bearer(Secret("sk-1".to_owned()))).expect("a pool");
    let identity = pool.identity();
    assert_eq!((identity.model.as_str(), identity.takes_seeds), ("gpt-image-1", false));

    // Seeds that are no batch elsewhere are one here, of `max_batch` at most.
    let images = generate(&pool, "a fox", &[50, 7, 9, 30, 2]).expect("images");
    assert_eq!(images.len(), 5);
    let sent = server.asked("POST", "/v1/images/generations");
    assert!(sent.iter().all(|question| question.header("authorization") == Some("Bearer sk-1")));
    let bodies: Vec<Value> = sent.iter().map(Question::json).collect();
    assert_eq!(bodies[0], json!({"model": "gpt-image-1", "prompt": "a fox", "n": 4, "size": "24x16"}));
    assert_eq!(bodies[1]["n"], 1);

    // What the contract cannot carry is not dropped silently.
    for settings in [
        ImageSettings { negative_prompt: "blurry".to_owned(), ..small() },
        ImageSettings { scheduler: Some("euler".to_owned()), ..small() },
    ] {
        let request = ImageRequest { prompt: "a fox", seeds: &[1], settings: &settings };
        let error = pool.generate(&request, &Cancel::default()).expect_err("no field").to_string();
        assert!(error.contains("no field"), "{error}");
    }
    assert_eq!(server.asked("POST", "/v1/images/generations").len(), 2);
}

#[test]
fn the_settings_know_better_and_dall_e_3_makes_one_at_a_time() {
    let server = server("somebody");
    let settings = HttpSettings { takes_seeds: Some(true), ..hurried() };
    let seeded = pool("openai", &[&server], &settings).expect("a pool");
    assert!(seeded.identity().takes_seeds);
    assert_drawn(&generate(&seeded, "a fox", &[5, 6]).expect("images"), "a fox", &[5, 6]);

    let settings = HttpSettings { model: Some("dall-e-3".to_owned()), ..hurried() };
    let before = server.asked("POST", "/v1/images/generations").len();
    let dall_e = pool("openai", &[&server], &settings).expect("a pool");
    assert_eq!(generate(&dall_e, "a fox", &[5, 6]).expect("images").len(), 2);
    assert_eq!(server.asked("POST", "/v1/images/generations").len(), before + 2);
}

#[test]
fn images_behind_urls_are_fetched_and_the_key_stays_at_home() {
    let bytes = || png(&drawing("a fox", 0, 24, 16));
    let storage = Server::start(move |question| match question.path.as_str() {
        "/signed.png?x=1" => Reply::Bytes(bytes()),
        "/moved.png" => Reply::Status(302, "Location: /signed.png?x=1\r\n", String::new()),
        _ => Reply::status(404),
    });
    for (url, asks_storage) in [
        (format!("{}/signed.png?x=1", storage.url()), true),
        (format!("{}/moved.png", storage.url()), true),
        ("/files/1.png".to_owned(), false),
        (format!("data:image/png;base64,{}", base64(&bytes())), false),
    ] {
        let answer = json!({"data": [{"url": url, "revised_prompt": "a red fox"}]});
        let api = Server::start(move |question| match question.path.as_str() {
            "/v1/images/generations" => Reply::Json(answer.clone()),
            "/files/1.png" => Reply::Bytes(bytes()),
            _ => Reply::status(404),
        });
        let specs = [format!("openai+{}", api.url()).parse().expect("a server")];
        let pool = Pool::open(&specs, &hurried(), &Auth::Bearer(Secret("sk-1".to_owned()))).expect("a pool");
        assert_eq!(pool.identity().model, "", "the server lists no models");
        let before = storage.questions().len();
        assert_drawn(&generate(&pool, "a fox", &[0]).expect("an image"), "a fox", &[0]);
        assert!(storage.questions().iter().all(|question| question.header("authorization").is_none()));
        assert_eq!(storage.questions().len() > before, asks_storage, "{url}");
        assert!(api.questions().iter().all(|question| question.header("authorization").is_some()));
    }
}

#[test]
fn answers_in_another_form_are_tried_again_and_refusals_are_not() {
    let image = || base64(&png(&drawing("a fox", 0, 24, 16)));
    let answers = [
        json!({"data": []}),
        json!({"data": [{}]}),
        json!({"data": [{"b64_json": image()}, {"b64_json": image()}]}),
        json!({"error": {"message": "x"}}),
        json!({"data": [{"url": "http://127.0.0.1:1/gone.png"}]}),
    ];
    let count = answers.len();
    let answers = std::sync::Mutex::new(answers.into_iter());
    let server = Server::start(move |question| match question.path.as_str() {
        "/v1/images/generations" => {
            let fault = answers.lock().expect("a lock").next();
            Reply::Json(fault.unwrap_or_else(|| generations(&question.json())))
        }
        _ => Reply::status(404),
    });
    let settings = HttpSettings { max_tries: 100, ..hurried() };
    let lenient = pool("openai", &[&server], &settings).expect("a pool");
    assert_drawn(&generate(&lenient, "a fox", &[0]).expect("an image"), "a fox", &[0]);
    assert_eq!(lenient.reports()[0].failures, count as u64);

    let moderated = Server::start(|question| match question.path.as_str() {
        "/v1/images/generations" => {
            let body =
                json!({"error": {"code": "moderation_blocked", "message": "Your request was rejected"}});
            Reply::Status(400, "", body.to_string())
        }
        _ => Reply::status(404),
    });
    let pool = pool("openai", &[&moderated], &settings).expect("a pool");
    let error = generate(&pool, "a fox", &[0]).expect_err("refused").to_string();
    assert!(error.contains("moderation_blocked"), "{error}");
    assert_eq!(moderated.asked("POST", "/v1/images/generations").len(), 1);
}
