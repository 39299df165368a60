//! `/sdapi/v1/txt2img`: what is sent, what is read, and that nothing else is taken for a picture.

use promptist::Error;
use promptist::generator::http::{Auth, HttpSettings, Pool};
use promptist::generator::spec::{Credentials, GeneratorSpec};
use promptist::generator::{Cancel, Generator, ImageRequest, ImageSettings};
use serde_json::{Value, json};

use crate::fake::{
    Question, Reply, Server, assert_drawn, base64, drawing, generate, hurried, png, pool, small,
};

pub const HASH: &str = "6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa";

/// A webui with that checkpoint.
pub fn webui(question: &Question, hash: &str) -> Reply {
    match (question.method.as_str(), question.path.as_str()) {
        ("GET", "/sdapi/v1/options") => Reply::Json(json!({
            "sd_model_checkpoint": "v1-5.safetensors", "sd_checkpoint_hash": hash, "sd_vae": "Automatic",
            "CLIP_stop_at_last_layers": 1, "samples_format": "png",
        })),
        ("POST", "/sdapi/v1/txt2img") => Reply::Json(txt2img(&question.json(), hash)),
        ("GET", "/sdapi/v1/sd-models") => Reply::Json(json!([
            {"title": "a.ckpt [81761151]", "model_name": "a", "hash": "81761151", "sha256": null, "filename": "/a"},
            {"title": "b.safetensors", "model_name": "b", "hash": null, "sha256": HASH, "filename": "/b"},
        ])),
        _ => Reply::status(404),
    }
}

fn txt2img(body: &Value, hash: &str) -> Value {
    let number = |key: &str| body[key].as_u64().expect(key);
    let seeds: Vec<u64> = (0..number("batch_size")).map(|i| number("seed") + i).collect();
    let (width, height) = (number("width") as u32, number("height") as u32);
    let prompt = body["prompt"].as_str().expect("a prompt");
    let images: Vec<String> =
        seeds.iter().map(|&seed| base64(&png(&drawing(prompt, seed, width, height)))).collect();
    let info = json!({
        "all_seeds": seeds, "index_of_first_image": 0, "sd_model_hash": &hash[..10], "width": width, "height": height,
    });
    json!({"images": images, "parameters": body, "info": info.to_string()})
}

/// A webui that gives each of `faults` to a picture's first askers and then works.
fn faulty(faults: impl IntoIterator<Item = Reply>) -> Server {
    let faults = std::sync::Mutex::new(faults.into_iter().collect::<std::collections::VecDeque<_>>());
    Server::start(move |question| {
        let fault =
            question.is("POST", "/sdapi/v1/txt2img").then(|| faults.lock().expect("a lock").pop_front());
        fault.flatten().unwrap_or_else(|| webui(question, HASH))
    })
}

#[test]
fn the_documented_fields_are_sent_and_images_come_in_the_seeds_order() {
    let server = Server::start(|question| webui(question, HASH));
    let pool = pool("a1111", &[&server], &hurried()).expect("a pool");
    assert_eq!(pool.identity().name, "a1111");
    assert_eq!(pool.identity().model, "6ce0161689, sd_vae Automatic, CLIP_stop_at_last_layers 1");
    assert!(pool.identity().takes_seeds && pool.parallelism() == 1);

    let settings = ImageSettings {
        negative_prompt: "blurry".to_owned(),
        num_inference_steps: 7,
        guidance_scale: 3.5,
        scheduler: Some("DPM++ 2M".to_owned()),
        ..small()
    };
    // Four that follow each other are the largest batch; the others are calls of their own.
    let seeds = [5, 6, 7, 8, 9, 3, i64::MAX as u64];
    let request = ImageRequest { prompt: "a \"fox\"\n", seeds: &seeds, settings: &settings };
    let images = pool.generate(&request, &Cancel::default()).expect("images");
    assert_drawn(&images, "a \"fox\"\n", &seeds);

    let sent: Vec<Value> =
        server.asked("POST", "/sdapi/v1/txt2img").iter().map(|question| question.json()).collect();
    let batches: Vec<_> =
        sent.iter().map(|body| (body["seed"].as_u64(), body["batch_size"].as_u64())).collect();
    let expected = [(5, 4), (9, 1), (3, 1), (i64::MAX as u64, 1)];
    assert_eq!(batches, expected.map(|(seed, size)| (Some(seed), Some(size))));
    let mut first = sent[0].clone();
    let task = first.as_object_mut().and_then(|body| body.remove("force_task_id")).expect("a task");
    assert!(task.as_str().is_some_and(|task| task.starts_with("task(")), "{task}");
    assert_eq!(
        first,
        json!({
            "prompt": "a \"fox\"\n", "negative_prompt": "blurry", "seed": 5, "batch_size": 4, "n_iter": 1, "steps": 7,
            "cfg_scale": 3.5, "width": 24, "height": 16, "sampler_name": "DPM++ 2M", "do_not_save_samples": true,
            "do_not_save_grid": true, "send_images": true, "save_images": false,
        })
    );
}

#[test]
fn a_grid_before_the_images_is_skipped_and_an_empty_info_is_none() {
    let grid = |mut answer: Value| {
        let images = answer["images"].as_array_mut().expect("images");
        images.insert(0, json!(base64(&png(&drawing("grid", 0, 24, 16)))));
        answer["info"] = json!(json!({"all_seeds": [5, 6], "index_of_first_image": 1}).to_string());
        answer
    };
    let body = json!({"prompt": "a fox", "seed": 5, "batch_size": 2, "width": 24, "height": 16});
    let mut silent = txt2img(&body, HASH);
    silent["info"] = json!("");
    let mut empty_lists = txt2img(&body, HASH);
    empty_lists["info"] = json!("{\"seed\": 5, \"all_seeds\": [], \"version\": \"stable-diffusion.cpp\"}");
    let answers = [grid(txt2img(&body, HASH)), silent, empty_lists];
    let server = faulty(answers.map(Reply::Json));
    let pool = pool("a1111", &[&server], &hurried()).expect("a pool");
    for _ in 0..3 {
        assert_drawn(&generate(&pool, "a fox", &[5, 6]).expect("images"), "a fox", &[5, 6]);
    }
    assert_eq!(pool.reports()[0].failures, 0);
}

#[test]
fn every_fault_is_outlived_and_no_wrong_picture_comes_through() {
    let good =
        || txt2img(&json!({"prompt": "a fox", "seed": 5, "batch_size": 1, "width": 24, "height": 16}), HASH);
    let with_images = |images: Value| {
        let mut answer = good();
        answer["images"] = images;
        Reply::Json(answer)
    };
    let bytes = png(&drawing("a fox", 5, 24, 16));
    let faults = vec![
        ("500", Reply::status(500)),
        ("504", Reply::status(504)),
        ("a truncated body", Reply::Truncated(good())),
        ("a broken connection", Reply::Reset),
        ("no JSON", Reply::Bytes(b"<html>".to_vec())),
        ("half of the JSON", Reply::Bytes(good().to_string().into_bytes()[..200].to_vec())),
        ("another JSON", Reply::Json(json!({"detail": "x"}))),
        ("no images", with_images(json!([]))),
        ("two images", with_images(json!([base64(&bytes), base64(&bytes)]))),
        ("an image cut off", with_images(json!([base64(&bytes[..bytes.len() / 2])]))),
        ("no image", with_images(json!([base64(b"not an image")]))),
        ("no base64", with_images(json!(["###"]))),
        ("a number", with_images(json!([7]))),
        ("an endless body", Reply::Bytes(vec![b' '; 6 << 20])),
        ("a wrong info", Reply::Json(json!({"images": [base64(&bytes)], "info": "{"}))),
    ];
    let count = faults.len() as u64;
    let server = faulty(faults.into_iter().map(|(_, fault)| fault));
    let settings = HttpSettings { max_tries: 100, ..hurried() };
    let pool = pool("a1111", &[&server], &settings).expect("a pool");
    assert_drawn(&generate(&pool, "a fox", &[5]).expect("an image"), "a fox", &[5]);
    let report = &pool.reports()[0];
    assert_eq!((report.images, report.failures), (1, count));
}

/// What is wrong with an image that a lone server makes wrongly every time; and how often it was asked.
fn failing(
    settings: &HttpSettings,
    reply: impl Fn(&Question) -> Reply + Send + Sync + 'static,
) -> (String, usize) {
    let server = Server::start(move |question| match question.path.as_str() {
        "/sdapi/v1/txt2img" => reply(question),
        _ => webui(question, HASH),
    });
    let pool = pool("a1111", &[&server], settings).expect("a pool");
    let error = generate(&pool, "a fox", &[5]).expect_err("no image");
    let Error::ImageFailed { failures } = &error else { panic!("{error:?}") };
    assert_eq!(failures.len(), 1);
    assert!(failures[0].server.starts_with("a1111+http://127.0.0.1:"));
    (error.to_string(), server.asked("POST", "/sdapi/v1/txt2img").len())
}

#[test]
fn a_passing_failure_is_tried_as_often_as_allowed() {
    let settings = HttpSettings { max_tries: 3, ..hurried() };
    let (error, asked) = failing(&settings, |_| Reply::status(500));
    assert!(error.contains("500") && error.contains("as the test wants it"), "{error}");
    assert_eq!(asked, 3);
}

#[test]
fn what_will_not_change_is_not_tried_again() {
    for code in [400, 401, 403, 404, 413, 422] {
        let (error, asked) = failing(&hurried(), move |_| Reply::status(code));
        assert!(error.contains(&code.to_string()), "{error}");
        assert_eq!(asked, 1, "{code}");
    }
    let moved = Reply::Status;
    let (error, asked) =
        failing(&hurried(), move |_| moved(302, "Location: http://127.0.0.1:1/\r\n", String::new()));
    assert!(error.contains("302"), "{error}");
    assert_eq!(asked, 1);
}

#[test]
fn another_size_seed_model_or_a_black_picture_is_a_failure() {
    let answer =
        |images: Value, info: Value| Reply::Json(json!({"images": [images], "info": info.to_string()}));
    let good = || json!(base64(&png(&drawing("a fox", 5, 24, 16))));
    let (error, _) = failing(&hurried(), move |_| {
        answer(json!(base64(&png(&drawing("a fox", 5, 32, 16)))), json!({"all_seeds": [5]}))
    });
    assert!(error.contains("24x16") && error.contains("32x16"), "{error}");
    let (error, _) = failing(&hurried(), move |_| answer(good(), json!({"all_seeds": [6]})));
    assert!(error.contains("asked for seeds [5], got [6]"), "{error}");
    let (error, _) = failing(&hurried(), move |_| answer(good(), json!({"sd_model_hash": "aaaaaaaaaa"})));
    assert!(error.contains("6ce0161689") && error.contains("aaaaaaaaaa"), "{error}");
    let (error, _) = failing(&hurried(), move |_| {
        answer(json!(base64(&png(&image::RgbImage::new(24, 16)))), json!({"all_seeds": [5]}))
    });
    assert!(error.contains("one colour"), "{error}");
}

#[test]
fn a_seed_that_the_contract_cannot_carry_is_refused_before_it_is_sent() {
    let server = Server::start(|question| webui(question, HASH));
    let pool = pool("a1111", &[&server], &hurried()).expect("a pool");
    let error = generate(&pool, "a fox", &[1 << 63]).expect_err("too large").to_string();
    assert!(error.contains("9223372036854775808"), "{error}");
    assert!(server.asked("POST", "/sdapi/v1/txt2img").is_empty());
}

#[test]
fn a_named_checkpoint_is_asked_for_and_known_by_its_hash() {
    let server = Server::start(|question| webui(question, HASH));
    let named = |name: &str| HttpSettings { model: Some(name.to_owned()), ..hurried() };
    let loaded = pool("a1111", &[&server], &named("b")).expect("a pool");
    assert!(loaded.identity().model.starts_with("6ce0161689"), "{}", loaded.identity().model);
    generate(&loaded, "a fox", &[5]).expect("an image");
    let sent = server.asked("POST", "/sdapi/v1/txt2img")[0].json();
    assert_eq!(sent["override_settings"], json!({"sd_model_checkpoint": "b"}));
    assert_eq!(sent["override_settings_restore_afterwards"], json!(false));

    let other = pool("a1111", &[&server], &named("a.ckpt [81761151]")).expect("a pool");
    assert!(other.identity().model.starts_with("81761151,"), "{}", other.identity().model);
    let error = pool("a1111", &[&server], &named("c")).err().expect("no such checkpoint").to_string();
    assert!(error.contains("`c`") && error.contains("\"a\", \"b\""), "{error}");
}

#[test]
fn a_server_without_options_is_known_by_its_url() {
    let server = Server::start(|question| match question.path.as_str() {
        "/sdapi/v1/options" => Reply::status(404),
        _ => webui(question, HASH),
    });
    let pool = pool("a1111", &[&server], &hurried()).expect("a pool");
    assert_eq!(pool.identity().model, "");
    assert_eq!(pool.identity().name, format!("a1111+{}", server.url()));
    assert_drawn(&generate(&pool, "a fox", &[5]).expect("an image"), "a fox", &[5]);
}

#[test]
fn credentials_come_from_the_url_or_from_the_caller() {
    let server = Server::start(|question| webui(question, HASH));
    let host = server.url().replace("http://", "");
    let authorization = |text: String, auth: Auth| {
        let Ok(GeneratorSpec::Servers(specs)) = text.parse() else { panic!("a server: {text}") };
        Pool::open(&specs, &hurried(), &auth).expect("a pool");
        server.questions().last().and_then(|question| question.header("authorization").map(str::to_owned))
    };
    let caller = Auth::Basic(Credentials { user: "me".to_owned(), password: "secret".to_owned() });
    assert_eq!(authorization(format!("a1111+http://{host}"), Auth::None), None);
    assert_eq!(
        authorization(format!("a1111+http://{host}"), caller.clone()).as_deref(),
        Some("Basic bWU6c2VjcmV0")
    );
    assert_eq!(
        authorization(format!("a1111+http://you:own@{host}"), caller).as_deref(),
        Some("Basic eW91Om93bg==")
    );
}
