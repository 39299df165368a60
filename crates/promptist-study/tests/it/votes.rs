//! Answers: kept before they are acknowledged, once, in order, by several raters at once.

use std::collections::BTreeSet;

use serde_json::json;

use crate::client::{Rater, vote};
use crate::test_study::{TestStudy, databases, plain};

#[test]
fn five_raters_at_once_lose_and_double_nothing() {
    for database in databases() {
        let study = TestStudy::new(12, 1, &database, plain());
        let server = &study.serve();
        let tokens = study.invite(5);
        let acknowledged: usize = std::thread::scope(|scope| {
            let rate = |token| move || Rater::begin(server.address, token).answer_all(|_, _| "a");
            let raters: Vec<_> = tokens.iter().map(|token| scope.spawn(rate(token))).collect();
            raters.into_iter().map(|rater| rater.join().expect("no panic")).sum()
        });
        let answers = study.answers();
        assert_eq!((acknowledged, answers.len()), (60, 60));
        let asked: BTreeSet<String> =
            answers.iter().map(|answer| format!("{} {}", answer["rater"], answer["question"])).collect();
        assert_eq!(asked.len(), 60);
        // All said A: who stood there as often as the other is chosen as often.
        let report = study.report_json();
        let side = &report["sides"][0];
        assert_eq!((&side["first_at_a"], &side["first_at_b"]), (&json!(30), &json!(30)));
        let pair = &report["results"]["pairs"][0];
        assert_eq!((&pair["wins"], &pair["losses"]), (&json!(30), &json!(30)));
        assert_eq!(report["raters"]["finished"], 5);
    }
}

#[test]
fn the_same_answer_again_is_once() {
    for database in databases() {
        let study = TestStudy::new(3, 1, &database, plain());
        let server = study.serve();
        let rater = Rater::begin(server.address, &study.invite(1)[0]);
        let vote = vote(&rater.stand()["next"][0], "b");
        // At once, on eight connections, then one after the other.
        std::thread::scope(|scope| {
            let tries: Vec<_> =
                (0..8).map(|_| scope.spawn(|| rater.post("/api/votes", &vote).status)).collect();
            tries.into_iter().for_each(|status| assert_eq!(status.join().expect("no panic"), 200));
        });
        for _ in 0..3 {
            let response = rater.post("/api/votes", &vote);
            assert_eq!((response.status, &response.json()["answered"]), (200, &json!(1)));
        }
        assert_eq!(study.answers().len(), 1);
    }
}

#[test]
fn another_answer_does_not_take_its_place() {
    for database in databases() {
        let study = TestStudy::new(3, 1, &database, plain());
        let server = study.serve();
        let rater = Rater::begin(server.address, &study.invite(1)[0]);
        let stand = rater.stand();
        let first = vote(&stand["next"][0], "a");
        assert_eq!(rater.post("/api/votes", &first).status, 200);
        let mut other_choice = first.clone();
        other_choice["choice"] = json!("b");
        let mut other_nonce = first.clone();
        other_nonce["nonce"] = json!("another-nonce");
        let out_of_order = vote(&stand["next"][2], "a");
        for refused in [&other_choice, &other_nonce, &out_of_order] {
            assert_eq!(rater.post("/api/votes", refused).status, 409, "{refused}");
        }
        // Another rater's question is none of this one's.
        let other = Rater::begin(server.address, &study.invite(1)[0]);
        let theirs = vote(&other.stand()["next"][0], "a");
        assert_eq!(rater.post("/api/votes", &theirs).status, 404);
        let answers = study.answers();
        assert_eq!((answers.len(), &answers[0]["choice"]), (1, &json!("a")));
    }
}

#[test]
fn the_last_answer_can_be_changed_and_it_shows() {
    let study = TestStudy::new(3, 1, &None, plain());
    let server = study.serve();
    let rater = Rater::begin(server.address, &study.invite(1)[0]);
    let first = rater.stand()["next"][0].clone();
    assert_eq!(rater.post("/api/votes", &vote(&first, "a")).status, 200);
    let last = &rater.stand()["last"];
    assert_eq!((&last["id"], &last["answer"]), (&first["id"], &json!({"choice": "a", "revision": 0})));
    let change = |revision: i64, choice: &str, nonce: &str| {
        let mut body = vote(&first, choice);
        body["revision"] = json!(revision);
        body["nonce"] = json!(nonce);
        rater.post("/api/votes", &body).status
    };
    assert_eq!(change(1, "b", "change-one"), 200);
    assert_eq!(change(1, "b", "change-one"), 200);
    assert_eq!(change(3, "a", "change-three"), 409);
    assert_eq!(change(2, "tie", "change-two"), 200);
    let answers = study.answers();
    assert_eq!((answers.len(), &answers[0]["choice"], &answers[0]["changes"]), (1, &json!("tie"), &json!(2)));
    // Once the next is answered, it stands.
    let next = rater.stand()["next"][0].clone();
    assert_eq!(rater.post("/api/votes", &vote(&next, "a")).status, 200);
    assert_eq!(change(3, "a", "change-three"), 409);
    assert_eq!(study.report_json()["rater_quality"][0]["changed"], 1);
}

#[test]
fn a_link_goes_on_where_it_stopped() {
    let study = TestStudy::new(4, 1, &None, plain());
    let token = study.invite(1).remove(0);
    let before = {
        let server = study.serve();
        let rater = Rater::begin(server.address, &token);
        let first = rater.stand()["next"][0].clone();
        rater.post("/api/votes", &vote(&first, "a"));
        rater.stand()
    };
    let server = study.serve();
    let rater = Rater { address: server.address, token };
    assert_eq!(rater.stand(), before);
    // Agreeing again changes nothing.
    assert_eq!(rater.post("/api/consent", &json!({})).json(), before);
}

#[test]
fn questions_get_equal_numbers_of_raters() {
    let mut config = plain();
    config.raters.questions = 4;
    let study = TestStudy::new(6, 1, &None, config);
    let server = study.serve();
    for token in study.invite(3) {
        assert_eq!(Rater::begin(server.address, &token).answer_all(|_, _| "tie"), 4);
    }
    let mut counts = [0; 6];
    for answer in study.answers() {
        counts[answer["question"].as_u64().expect("a number") as usize] += 1;
    }
    assert_eq!(counts, [2; 6]);
}
