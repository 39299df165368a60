//! Pictures of both prompts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::client::post;
use crate::test_server::{TestServer, limits};

#[test]
fn both_prompts_are_drawn_from_one_seed() {
    let server = TestServer::start(limits());
    let body = json!({"user_input": "a cat", "prompt": "a cat, 8k", "seed": 7});
    let events = post(server.address, "/v1/images", &body.to_string()).events();
    let names: Vec<&str> = events.iter().filter_map(|(name, _)| name.as_deref()).collect();
    assert_eq!(names, ["progress", "image", "progress", "image", "done"]);
    for (at, which, blue) in [(1, "user_input", 5), (3, "prompt", 9)] {
        let data: Value = serde_json::from_str(&events[at].1).expect("JSON");
        assert_eq!((&data["which"], &data["scores"]), (&json!(which), &Value::Null));
        let src =
            data["src"].as_str().expect("a source").strip_prefix("data:image/png;base64,").expect("a PNG");
        let png = STANDARD.decode(src).expect("base64");
        let image = image::load_from_memory(&png).expect("a PNG").into_rgb8();
        assert_eq!(image.get_pixel(0, 0).0, [7, 0, blue]);
    }
}

#[test]
fn what_cannot_be_drawn_is_said_without_its_inside() {
    let server = TestServer::start(limits());
    let events = post(server.address, "/v1/images", r#"{"user_input": "a cat", "prompt": "fail"}"#).events();
    let (name, data) = events.last().expect("an end");
    assert_eq!(name.as_deref(), Some("error"));
    assert!(data.contains("server_error") && !data.contains("secret"), "{data}");
    for (param, body) in [
        ("user_input", json!({"prompt": "x"})),
        ("prompt", json!({"user_input": "x", "prompt": " "})),
        ("seed", json!({"user_input": "x", "prompt": "x", "seed": -1})),
    ] {
        let response = post(server.address, "/v1/images", &body.to_string());
        assert_eq!((response.status, &response.json()["error"]["param"]), (422, &json!(param)));
    }
}
