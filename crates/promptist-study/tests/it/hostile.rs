//! Requests that mean ill, and those that are broken.

use serde_json::json;

use crate::client::{Rater, get, request, send, vote};
use crate::test_study::{Database, TestStudy, databases, plain};

#[test]
fn nothing_but_the_study_s_images_is_served() {
    databases().iter().for_each(nothing_else_is_served);
}

fn nothing_else_is_served(database: &Database) {
    let study = TestStudy::new(2, 1, database, plain());
    let server = study.serve();
    let paths = [
        "/image/%00/a/0",
        "/image/0/%00/0",
        "/image/0/a/%00",
        "/image/0/a/99999999999999999999",
        "/image/..%2f..%2fstudy.db/a/0",
        "/image/../study.db",
        "/image/..%2fstudy.db",
        "/image/%2e%2e%2fconfig.toml",
        "/image/..%5cstudy.db",
        "/image//etc/passwd",
        "/image/%00",
        "/image/%ff%fe",
        "/page/../study.db",
        "/page/..%2f..%2fCargo.toml",
        "/study.db",
        "/images/",
        "/image/",
    ];
    for path in paths {
        let status = get(server.address, path).status;
        assert!([400, 404].contains(&status), "{path}: {status}");
    }
    // Not by the file's own name either, which is a hash that somebody with the image could compute.
    let images = study.folder.path().join("study").join("images");
    let file = std::fs::read_dir(images).expect("images").next().expect("one").expect("readable").file_name();
    let name = file.to_string_lossy().into_owned();
    for path in [name.clone(), name.trim_end_matches(".png").to_owned(), format!("{name}/a/0")] {
        assert_eq!(get(server.address, &format!("/image/{path}")).status, 404);
    }
    // Of an image that is there, no other.
    let rater = Rater::begin(server.address, &study.invite(1)[0]);
    let url = rater.stand()["next"][0]["a"][0].as_str().expect("a URL").to_owned();
    assert_eq!(get(server.address, &format!("/{url}")).status, 200);
    let base = format!("/{}", url.trim_end_matches("/a/0"));
    for end in ["/a/1", "/a/-1", "/c/0", "/A/0", "/a", "/a/0/0"] {
        assert_eq!(get(server.address, &format!("{base}{end}")).status, 404, "{end}");
    }
}

#[test]
fn requests_that_are_not_ours_are_refused() {
    databases().iter().for_each(others_are_refused);
}

fn others_are_refused(database: &Database) {
    let study = TestStudy::new(2, 1, database, plain());
    let server = study.serve();
    let token = study.invite(1).remove(0);
    let rater = Rater::begin(server.address, &token);
    let good = vote(&rater.stand()["next"][0], "a");
    let with = |key: &str, value: serde_json::Value| {
        let mut body = good.clone();
        body[key] = value;
        body
    };
    let cases = [
        (with("choice", json!("c")), 400),
        (with("choice", json!(1)), 400),
        (with("nonce", json!("short")), 400),
        (with("nonce", json!("x".repeat(65))), 400),
        (with("nonce", json!("spaces are none")), 400),
        (with("question", json!("no such question")), 404),
        (with("question", json!("\u{0}")), 404),
        (with("question", json!("' OR 1=1 --")), 404),
        (with("revision", json!(1)), 409),
        (with("revision", json!(-1)), 409),
        (with("revision", json!(i64::MAX)), 409),
        (with("extra", json!(1)), 400),
        (json!({}), 400),
        (json!([]), 400),
        (with("question", json!("x".repeat(5000))), 413),
    ];
    for (body, expected) in cases {
        let response = rater.post("/api/votes", &body);
        assert_eq!(response.status, expected, "{body}: {response:?}");
    }
    assert_eq!(request(server.address, "GET", "/api/votes", &token, None).status, 405);
    for wrong in ["", "0", "' OR ''='", &token[..31]] {
        assert_eq!(request(server.address, "GET", "/api/rater", wrong, None).status, 401);
    }
    // Forms come from any page without being asked first.
    let form = format!(
        "POST /api/withdraw HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    assert_eq!(send(server.address, form.as_bytes()).status, 415);
    assert_eq!(study.answers().len(), 0);
    // An absurd time is kept within reason.
    assert_eq!(rater.post("/api/votes", &with("millis", json!(i64::MAX))).status, 200);
    assert_eq!(study.answers()[0]["secs"], 3600.0);
}

#[test]
fn ties_are_refused_where_there_are_none() {
    let study = TestStudy::new(2, 1, &None, promptist_study::StudyConfig { ties: false, ..plain() });
    let server = study.serve();
    let rater = Rater::begin(server.address, &study.invite(1)[0]);
    let vote = vote(&rater.stand()["next"][0], "tie");
    assert_eq!(rater.post("/api/votes", &vote).status, 400);
}
