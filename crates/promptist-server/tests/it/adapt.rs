//! Our own contract: what `promptist adapt --json` says, by HTTP.

use std::sync::Arc;

use promptist::prompter::{AdaptRequest, AdaptSettings};
use serde_json::{Value, json};

use crate::client::{get, post};
use crate::test_server::{PROMPTER, TestServer, limits};

/// Requests whose settings are as different as can be, and those settings as the library takes them.
fn requests() -> Vec<(Value, AdaptRequest)> {
    let bodies = [
        json!({"user_input": "a cat"}),
        json!({"user_input": " a lighthouse at dusk\n", "num_beams": 4, "num_return_sequences": 3}),
        json!({"user_input": "a (red:1.2) rabbit --ar 16:9", "keep": "words", "temperature": 1.3, "seed": 7}),
        json!({"user_input": "a ship", "guidance_scale": 1.0, "do_sample": false, "num_beams": 1}),
        json!({"user_input": "a castle", "seeds": [3, 1, 4], "no_artists": true}),
        json!({"user_input": "a forest", "explain": true, "max_new_tokens": 20}),
        json!({"user_input": "two dogs", "ban": ["@artists", "/trending.*/"], "must_include": ["soft light"]}),
        json!({"user_input": "an owl", "target": "sd15", "budget": 30}),
        json!({"user_input": "a river", "strength": 0.5, "filter": false}),
        json!({"user_input": "a knight", "num_return_sequences": 2, "min_distance": 0.5}),
        json!({"user_input": "<script>alert(1)</script>"}),
        json!({"user_input": "ein Bär, 熊, 🐻"}),
    ];
    let settings = |body: &Value| {
        let Value::Object(mut fields) = body.clone() else { panic!("an object") };
        fields.remove("user_input");
        let of_search = serde_json::to_value(AdaptRequest::default().decoding).expect("JSON");
        let (search, mut ours): (serde_json::Map<_, _>, serde_json::Map<_, _>) =
            fields.into_iter().partition(|(name, _)| of_search.get(name).is_some());
        ours.insert("decoding".to_owned(), Value::Object(search));
        ours.entry("filter").or_insert(true.into());
        serde_json::from_value(Value::Object(ours)).expect("settings")
    };
    bodies.into_iter().map(|body| (body.clone(), settings(&body))).collect()
}

/// The line that `adapt --json` prints.
fn line(user_input: &str, settings: &AdaptSettings) -> String {
    let adapted =
        PROMPTER.adapt(&[user_input.to_owned()], settings, 0).pop().expect("a row").expect("an answer");
    serde_json::to_string(&PROMPTER.record(adapted, settings)).expect("JSON")
}

/// An object up to the time that it took, which comes last.
fn untimed(object: &str) -> &str {
    object.split_once(r#","elapsed_ms":"#).expect("a time").0
}

#[test]
fn answers_are_the_librarys_to_the_byte_whoever_asks_beside() {
    let server = TestServer::start(limits());
    let requests = Arc::new(requests());
    let expected: Vec<String> = requests
        .iter()
        .map(|(body, request)| {
            let settings = PROMPTER.settings(request).expect("settings");
            line(body["user_input"].as_str().expect("a text"), &settings)
        })
        .collect();
    let clients: Vec<_> = (0..4)
        .map(|client| {
            let (requests, address) = (Arc::clone(&requests), server.address);
            std::thread::spawn(move || {
                // Each in another order.
                let order = (0..requests.len()).map(|at| (at * 5 + client * 3) % requests.len());
                order
                    .map(|at| (at, post(address, "/v1/adapt", &requests[at].0.to_string())))
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    for client in clients {
        for (at, response) in client.join().expect("no panic") {
            assert_eq!(response.status, 200, "{}", response.text());
            assert_eq!(untimed(&response.text()), untimed(&expected[at]));
        }
    }
}

#[test]
fn a_list_has_an_answer_or_an_error_for_each() {
    let server = TestServer::start(limits());
    let long = "word ".repeat(1000);
    let body = json!({"user_inputs": ["a cat", " ", long, "a dog"], "vary_rows": true, "seed": 5});
    let response = post(server.address, "/v1/adapt", &body.to_string());
    assert_eq!(response.status, 200, "{}", response.text());
    let results = response.json()["results"].as_array().expect("a list").clone();
    assert_eq!(results.len(), 4);
    assert_eq!(results[1], json!({"user_input": " ", "error": "the prompt is empty"}));
    assert!(results[2]["error"].as_str().expect("an error").contains("context holds 384"));
    let seeds = [&results[0]["seed"], &results[3]["seed"]];
    assert_eq!(seeds, [&json!(5), &json!(8)]);

    assert_eq!(post(server.address, "/v1/adapt", r#"{"user_inputs": []}"#).json(), json!({"results": []}));
    let alone = post(server.address, "/v1/adapt", &json!({"user_input": long}).to_string());
    assert_eq!((alone.status, &alone.json()["error"]["param"]), (422, &json!("user_input")));
}

#[test]
fn a_stream_grows_into_the_answer() {
    let server = TestServer::start(limits());
    for settings in [json!({"seed": 3}), json!({"do_sample": false, "num_beams": 1, "keep": "exact"})] {
        let mut body = settings;
        body["user_input"] = json!("a lighthouse at dusk");
        let whole = post(server.address, "/v1/adapt", &body.to_string());
        body["stream"] = json!(true);
        let stream = post(server.address, "/v1/adapt", &body.to_string());
        assert_eq!(stream.header("content-type"), Some("text/event-stream"));
        let events = stream.events();
        let (last, progress) = events.split_last().expect("events");
        assert_eq!(last.0.as_deref(), Some("done"));
        assert_eq!(untimed(&last.1), untimed(&whole.text()));
        assert!(!progress.is_empty(), "nothing was seen before the end");
        for (name, data) in progress {
            assert_eq!(name.as_deref(), Some("progress"));
            let data: Value = serde_json::from_str(data).expect("JSON");
            assert!(data["text"].as_str().expect("a text").starts_with("a lighthouse at dusk"), "{data}");
        }
    }
}

#[test]
fn what_cannot_be_streamed_is_refused_before_the_stream() {
    let server = TestServer::start(limits());
    for (param, body) in [
        ("stream", json!({"user_input": "a cat", "num_beams": 4})),
        ("stream", json!({"user_input": "a cat", "n": 2})),
        ("stream", json!({"user_input": "a cat", "seeds": [1, 2]})),
        ("stream", json!({"user_inputs": ["a cat"]})),
        ("user_input", json!({"user_input": ""})),
        ("user_input", json!({"user_input": "word ".repeat(1000)})),
    ] {
        let mut body = body;
        body["stream"] = json!(true);
        let response = post(server.address, "/v1/adapt", &body.to_string());
        assert_eq!((response.status, &response.json()["error"]["param"]), (422, &json!(param)), "{body}");
    }
}

#[test]
fn scores_are_the_librarys() {
    let server = TestServer::start(limits());
    let additions =
        [vec!["soft light", "8k"], vec!["8k"], vec![], vec!["oil on canvas"], vec!["a"], vec!["b"]];
    let body = json!({"user_input": "a cat", "additions": additions});
    let response = post(server.address, "/v1/rescore", &body.to_string());
    let settings =
        PROMPTER.settings(&AdaptRequest { filter: true, ..AdaptRequest::default() }).expect("settings");
    let expected = PROMPTER.rescore("a cat", &additions, &settings).expect("scores");
    assert_eq!(response.json(), json!({"scores": expected}));

    for (param, body) in [
        ("additions", json!({"user_input": "a cat"})),
        ("additions", json!({"user_input": "a cat", "additions": ["8k"]})),
        ("user_input", json!({"user_input": "  ", "additions": [["8k"]]})),
        ("user_input", json!({"user_input": "a cat", "additions": [["word ".repeat(1000)]]})),
    ] {
        let response = post(server.address, "/v1/rescore", &body.to_string());
        assert_eq!((response.status, &response.json()["error"]["param"]), (422, &json!(param)), "{body}");
    }
}

#[test]
fn the_model_is_named() {
    let server = TestServer::start(limits());
    let models = get(server.address, "/v1/models").json();
    assert_eq!((&models["object"], &models["generator"]), (&json!("list"), &json!(true)));
    let model = &models["data"][0];
    assert_eq!((&model["id"], &model["object"]), (&json!("mini"), &json!("model")));
    assert_eq!(model["sha256"], json!(PROMPTER.identity().sha256));
}

#[test]
fn the_description_names_every_setting_and_path() {
    let server = TestServer::start(limits());
    let document = get(server.address, "/openapi.json").json();
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let mut expected: Vec<String> = ["user_input", "n", "stream"].map(str::to_owned).to_vec();
    let Value::Object(request) = serde_json::to_value(AdaptRequest::default()).expect("JSON") else {
        panic!()
    };
    let search = request["decoding"].as_object().expect("settings").keys().cloned();
    expected.extend(request.keys().filter(|name| *name != "decoding").cloned().chain(search));
    expected.sort();
    let described = &document["components"]["schemas"]["AdaptRequest"]["oneOf"][0]["properties"];
    let mut described: Vec<String> = described.as_object().expect("properties").keys().cloned().collect();
    described.sort();
    assert_eq!(described, expected);

    for (path, operations) in document["paths"].as_object().expect("paths") {
        let status = match operations.get("get") {
            Some(_) => get(server.address, path).status,
            None => post(server.address, path, "[]").status,
        };
        assert!(status == 200 || status == 400, "{path}: {status}");
    }
}
