//! The contracts of SD.Next, mold and OpenRLHF, with the requests that they send.

use serde_json::json;

use crate::client::post;
use crate::test_server::{TestServer, limits};

#[test]
fn sd_next_enhances_a_prompt() {
    let server = TestServer::start(limits());
    let enhance =
        |body: serde_json::Value| post(server.address, "/sdapi/v1/prompt-enhance", &body.to_string());
    // Every field that SD.Next's model has.
    let answer = enhance(json!({
        "prompt": "a castle", "type": "text", "model": "google/gemma-3-1b-it", "system_prompt": null, "image": null,
        "seed": 42, "nsfw": true, "prefix": "photo of", "suffix": "end", "do_sample": true, "max_tokens": 40,
        "temperature": 0.8, "repetition_penalty": 1.1, "top_k": 40, "top_p": 0.9, "thinking": false,
        "keep_thinking": false, "use_vision": true, "prefill": null, "keep_prefill": false,
    }));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let ours = json!({"user_input": "a castle", "seed": 42, "do_sample": true, "max_new_tokens": 40,
        "temperature": 0.8, "repetition_penalty": 1.1, "top_k": 40, "top_p": 0.9});
    let ours = post(server.address, "/v1/adapt", &ours.to_string()).json();
    let text = ours["outputs"][0]["text"].as_str().expect("a text");
    assert_eq!(answer.json(), json!({"prompt": format!("photo of {text} end"), "seed": 42}));

    // A seed that was drawn makes the same prompt again.
    let drawn = enhance(json!({"prompt": "a castle"})).json();
    assert!(drawn["seed"].as_u64().expect("a seed") > 0);
    assert_eq!(enhance(json!({"prompt": "a castle", "seed": drawn["seed"]})).json(), drawn);

    for (place, body) in [
        (json!(["body", "prompt"]), json!({})),
        (json!(["body", "type"]), json!({"prompt": "x", "type": "video"})),
        (json!(["body", "top_p"]), json!({"prompt": "x", "top_p": 3})),
        (json!(["body", "do_sample"]), json!({"prompt": "x", "temperature": 0, "do_sample": {}})),
        (json!(["body"]), json!({"prompt": " "})),
    ] {
        let response = enhance(body);
        assert_eq!((response.status, &response.json()["detail"][0]["loc"]), (422, &place));
    }
}

#[test]
fn mold_expands_a_prompt() {
    let server = TestServer::start(limits());
    let expand = |body: serde_json::Value| post(server.address, "/api/expand", &body.to_string());
    let answer = expand(json!({"prompt": "a cat", "model_family": "flux", "variations": 1})).json();
    let ours = post(server.address, "/v1/adapt", r#"{"user_input": "a cat"}"#).json();
    assert_eq!(answer, json!({"original": "a cat", "expanded": [ours["outputs"][0]["text"]]}));

    let answer =
        expand(json!({"prompt": "a cat", "model_family": "sdxl", "variations": 10, "style": "noir"})).json();
    let expanded = answer["expanded"].as_array().expect("prompts");
    assert_eq!(expanded.len(), 10);

    for body in [json!({}), json!({"prompt": "x", "variations": 0}), json!({"prompt": "x", "variations": 11})]
    {
        let response = expand(body);
        let error = response.json();
        assert_eq!((response.status, &error["code"]), (422, &json!("VALIDATION_ERROR")));
        assert!(error["error"].is_string());
    }
}

#[test]
fn openrlhf_gets_rewards() {
    let server = TestServer::start(limits());
    let reward = |body: serde_json::Value| post(server.address, "/get_reward", &body.to_string());
    let queries = ["a red cat Rephrase: a red cat, 8k", "a red cat Rephrase: a ship"];
    let expected =
        json!({"rewards": [2.0, 0.0], "scores": [2.0, 0.0], "extra_logs": {"retention": [1.0, 0.0]}});
    let prompts = ["a red cat Rephrase:"; 2];
    assert_eq!(reward(json!({"query": queries, "prompts": prompts, "labels": [null, "y"]})).json(), expected);
    assert_eq!(reward(json!({"query": queries, "labels": ["a red cat", "a red cat"]})).json(), expected);
    for (param, body) in [
        ("query", json!({})),
        ("prompts", json!({"query": queries})),
        ("prompts", json!({"query": queries, "prompts": ["x"]})),
    ] {
        let response = reward(body);
        assert_eq!((response.status, &response.json()["error"]["param"]), (422, &json!(param)));
    }
}
