//! Nothing that leaves the server says which system is which, or which question is a check.

use std::collections::BTreeSet;

use promptist_study::{Checks, Raters, StudyConfig};
use serde_json::Value;

use crate::client::{Rater, Response, get, vote};
use crate::test_study::{REWRITES, SYSTEMS, TestStudy, system_of};

/// The types of a PNG's chunks.
fn chunks(png: &[u8]) -> BTreeSet<String> {
    let mut rest = &png[8..];
    let mut chunks = BTreeSet::new();
    while let Some((length, more)) = rest.split_first_chunk::<4>() {
        chunks.insert(String::from_utf8_lossy(&more[..4]).into_owned());
        rest = &more[4 + u32::from_be_bytes(*length) as usize + 4..];
    }
    chunks
}

#[test]
fn no_response_names_a_system_a_rewrite_or_a_file() {
    let config = StudyConfig {
        raters: Raters { repeats: 0.5, ..Raters::default() },
        checks: Checks { noise: 2, unrelated: 2, given: vec![] },
        ..StudyConfig::default()
    };
    let study = TestStudy::new(8, 2, &None, config);
    let server = study.serve();
    let folder = study.folder.path().display().to_string();
    let forbidden: Vec<String> = SYSTEMS
        .iter()
        .chain(&REWRITES)
        .map(|word| (*word).to_owned())
        .chain([folder, "rows.jsonl".to_owned(), "in-0".to_owned()])
        .collect();
    let check = |response: &Response| {
        let all = [response.head.as_bytes(), &response.body].concat();
        let text = String::from_utf8_lossy(&all).into_owned();
        for word in &forbidden {
            assert!(!text.contains(word.as_str()), "{word} in {text}");
        }
    };

    for path in [
        "/",
        "/page/app.js",
        "/page/question.js",
        "/api/study",
        "/healthz",
        "/none",
        "/image/none",
        "/image/0/a/0",
    ] {
        check(&get(server.address, path));
    }
    let mut image_headers: BTreeSet<Vec<String>> = BTreeSet::new();
    let mut shapes: BTreeSet<Vec<String>> = BTreeSet::new();
    let mut ids: Vec<String> = Vec::new();
    let mut image_urls: BTreeSet<String> = BTreeSet::new();
    for token in study.invite(2) {
        let rater = Rater::begin(server.address, &token);
        let mut stand = rater.stand();
        while let Some(question) = stand["next"].as_array().and_then(|next| next.first()).cloned() {
            shapes.insert(question.as_object().expect("an object").keys().cloned().collect());
            ids.push(question["id"].as_str().expect("an id").to_owned());
            let urls = [&question["a"], &question["b"]].map(|side| side.as_array().expect("images").clone());
            assert_eq!(urls.each_ref().map(Vec::len), [2, 2]);
            for url in urls.concat() {
                // What is asked a second time is nowhere called what it was called at first.
                assert!(image_urls.insert(url.as_str().expect("a URL").to_owned()), "{url} twice");
                let response = rater.get(&format!("/{}", url.as_str().expect("a URL")));
                assert_eq!(response.status, 200);
                check(&response);
                let known = ["IHDR", "IDAT", "IEND"].map(str::to_owned);
                assert!(chunks(&response.body).iter().all(|chunk| known.contains(chunk)));
                image_headers.insert(response.headers());
            }
            let response = rater.post("/api/votes", &vote(&question, "tie"));
            check(&response);
            // Neither do words that we use ourselves.
            let text = String::from_utf8_lossy(&response.body).into_owned();
            for word in ["check", "repeat", "swapped", "system", "noise"] {
                assert!(!text.contains(word), "{word} in {text}");
            }
            stand = response.json();
        }
        check(&rater.get("/api/rater"));
    }
    // 8 questions, 4 repeats, 4 checks, for two raters: all of one shape, all under names of their own.
    assert_eq!(ids.len(), 32);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 32);
    assert_eq!((shapes.len(), image_headers.len()), (1, 1), "{shapes:?} {image_headers:?}");
    let headers = image_headers.pop_first().expect("one");
    for name in ["etag", "last-modified", "content-disposition", "server"] {
        assert!(headers.iter().all(|line| !line.starts_with(name)), "{headers:?}");
    }
}

/// What stands at A is either system's as often, and its name does not say whose it is.
#[test]
fn a_url_does_not_tell_whose_image_it_is() {
    let study = TestStudy::new(8, 1, &None, crate::test_study::plain());
    let server = study.serve();
    let mut at_a = [0, 0];
    let mut urls: BTreeSet<String> = BTreeSet::new();
    for token in study.invite(2) {
        Rater::begin(server.address, &token).answer_all(|rater, question: &Value| {
            let system = system_of(&rater.image(&question["a"][0])).expect("a pattern");
            at_a[system] += 1;
            urls.extend(
                [&question["a"][0], &question["b"][0]].map(|url| url.as_str().expect("one").to_owned()),
            );
            "a"
        });
    }
    assert_eq!(at_a, [8, 8]);
    // Two sides of eight questions, for each of two raters under names of their own.
    assert_eq!(urls.len(), 32);
}
