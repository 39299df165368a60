//! OpenAI's contract. The `openai` package itself is driven by `tools/checks/serve_clients.py`.

use serde_json::{Value, json};

use crate::client::{Response, post};
use crate::test_server::{TestServer, limits};

const CHAT: &str = "/v1/chat/completions";

fn chat(server: &TestServer, fields: Value) -> Response {
    let mut body = json!({"model": "gpt-4o", "messages": [
        {"role": "system", "content": "You write prompts."},
        {"role": "user", "content": "a lighthouse at dusk"},
    ]});
    let fields = fields.as_object().expect("fields").clone();
    body.as_object_mut().expect("an object").extend(fields);
    post(server.address, CHAT, &body.to_string())
}

fn adapted(server: &TestServer, fields: Value) -> Vec<String> {
    let mut body = json!({"user_input": "a lighthouse at dusk"});
    let fields = fields.as_object().expect("fields").clone();
    body.as_object_mut().expect("an object").extend(fields);
    let answer = post(server.address, "/v1/adapt", &body.to_string()).json();
    let outputs = answer["outputs"].as_array().unwrap_or_else(|| panic!("{answer}")).clone();
    outputs.iter().map(|output| output["text"].as_str().expect("a text").to_owned()).collect()
}

/// The chunks of a stream that ends as it should.
fn chunks(response: &Response) -> Vec<Value> {
    assert_eq!(response.status, 200, "{}", response.text());
    let mut events: Vec<String> = response.events().into_iter().map(|(_, data)| data).collect();
    assert_eq!(events.pop().as_deref(), Some("[DONE]"));
    events.iter().map(|event| serde_json::from_str(event).expect("JSON")).collect()
}

#[test]
fn a_chat_completion_is_the_adapted_prompt() {
    let server = TestServer::start(limits());
    let answer = chat(&server, json!({})).json();
    assert_eq!(answer["object"], "chat.completion");
    assert!(answer["id"].as_str().expect("an id").starts_with("chatcmpl-"));
    assert_eq!(answer["model"], "mini");
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["role"], "assistant");
    assert_eq!(choice["message"]["content"], json!(adapted(&server, json!({}))[0]));
    assert!(choice["finish_reason"] == "stop" || choice["finish_reason"] == "length");
    let count = |name: &str| answer["usage"][name].as_u64().expect("a count");
    assert!(count("prompt_tokens") > 0 && count("completion_tokens") > 0);
    assert_eq!(count("total_tokens"), count("prompt_tokens") + count("completion_tokens"));
}

#[test]
fn fields_steer_as_our_own_do() {
    let server = TestServer::start(limits());
    for (theirs, ours) in [
        (
            json!({"temperature": 1.2, "seed": 4, "n": 2}),
            json!({"do_sample": true, "temperature": 1.2, "seed": 4, "num_return_sequences": 2}),
        ),
        (json!({"temperature": 0}), json!({"do_sample": false})),
        (json!({"max_tokens": 5}), json!({"max_new_tokens": 5, "min_new_tokens": 5})),
        (json!({"max_completion_tokens": 20}), json!({"max_new_tokens": 20})),
        (json!({"ban": ["@artists"], "num_beams": 2}), json!({"ban": ["@artists"], "num_beams": 2})),
    ] {
        let answer = chat(&server, theirs.clone()).json();
        let choices = answer["choices"].as_array().unwrap_or_else(|| panic!("{theirs}: {answer}")).clone();
        let texts: Vec<&str> =
            choices.iter().map(|c| c["message"]["content"].as_str().expect("a text")).collect();
        assert_eq!(texts, adapted(&server, ours), "{theirs}");
    }
    // Clients send the number of some other model.
    assert_eq!(chat(&server, json!({"max_tokens": 100_000, "do_sample": false})).status, 200);
}

#[test]
fn a_stream_is_the_same_text_in_pieces() {
    let server = TestServer::start(limits());
    // With the filter the text comes when it has passed, without it as it grows.
    for fields in [
        json!({}),
        json!({"n": 2, "temperature": 1.0}),
        json!({"filter": false}),
        json!({"filter": false, "temperature": 0}),
    ] {
        let whole = chat(&server, fields.clone()).json();
        let mut asked = fields.clone();
        asked["stream"] = json!(true);
        asked["stream_options"] = json!({"include_usage": true});
        let chunks = chunks(&chat(&server, asked));
        let (last, chunks) = chunks.split_last().expect("chunks");
        assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &whole["usage"]));
        for (idx, choice) in whole["choices"].as_array().expect("choices").iter().enumerate() {
            let mine: Vec<&Value> = chunks
                .iter()
                .map(|chunk| &chunk["choices"][0])
                .filter(|choice| choice["index"] == idx)
                .collect();
            assert_eq!(mine[0]["delta"]["role"], "assistant");
            let text: String = mine.iter().filter_map(|choice| choice["delta"]["content"].as_str()).collect();
            assert_eq!(json!(text), choice["message"]["content"], "{fields}");
            let reasons: Vec<&Value> =
                mine.iter().map(|c| &c["finish_reason"]).filter(|r| !r.is_null()).collect();
            assert_eq!(reasons, [&choice["finish_reason"]]);
            assert!(mine.len() > 3, "{fields}: {} pieces", mine.len());
        }
        assert!(
            chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk" && chunk["usage"].is_null())
        );
    }
}

#[test]
fn completions_adapt_each_prompt() {
    let server = TestServer::start(limits());
    let body = json!({"model": "x", "prompt": ["a cat", "a dog"], "n": 2, "temperature": 1.0});
    let answer = post(server.address, "/v1/completions", &body.to_string()).json();
    assert_eq!(answer["object"], "text_completion");
    let choices = answer["choices"].as_array().expect("choices");
    assert_eq!(choices.len(), 4);
    for (idx, choice) in choices.iter().enumerate() {
        assert_eq!(choice["index"], idx);
        let input = if idx < 2 { "a cat" } else { "a dog" };
        assert!(choice["text"].as_str().expect("a text").starts_with(input), "{choice}");
    }
    for filter in [true, false] {
        let body = json!({"prompt": "a cat", "filter": filter});
        let whole = post(server.address, "/v1/completions", &body.to_string()).json();
        let body = json!({"prompt": "a cat", "filter": filter, "stream": true});
        let chunks = chunks(&post(server.address, "/v1/completions", &body.to_string()));
        let text: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
        assert_eq!(json!(text), whole["choices"][0]["text"]);
    }
}

#[test]
fn errors_have_openais_shape() {
    let server = TestServer::start(limits());
    let long = "word ".repeat(1000);
    for (param, code, body) in [
        (json!("messages"), json!(null), json!({})),
        (json!("messages"), json!(null), json!({"messages": "a cat"})),
        (json!("messages"), json!(null), json!({"messages": [{"role": "system", "content": "x"}]})),
        (
            json!("temperature"),
            json!(null),
            json!({"messages": [{"role": "user", "content": "x"}], "temperature": "hot"}),
        ),
        (json!("top_p"), json!(null), json!({"messages": [{"role": "user", "content": "x"}], "top_p": 2})),
        (
            json!(null),
            json!("context_length_exceeded"),
            json!({"messages": [{"role": "user", "content": long}]}),
        ),
    ] {
        let response = post(server.address, CHAT, &body.to_string());
        let error = &response.json()["error"];
        assert_eq!(response.status, 400, "{body}: {error}");
        assert_eq!(
            (&error["type"], &error["param"], &error["code"]),
            (&json!("invalid_request_error"), &param, &code)
        );
        assert!(error["message"].is_string());
    }
    let malformed = post(server.address, CHAT, "{");
    assert_eq!((malformed.status, &malformed.json()["error"]["code"]), (400, &json!(null)));
    for prompt in [json!(null), json!([]), json!([1, 2]), json!([[1, 2]])] {
        let response = post(server.address, "/v1/completions", &json!({"prompt": prompt}).to_string());
        assert_eq!((response.status, &response.json()["error"]["param"]), (400, &json!("prompt")));
    }
}
