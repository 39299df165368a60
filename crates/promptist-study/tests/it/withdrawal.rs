//! Who goes, goes with all answers.

use serde_json::json;

use crate::client::{Rater, vote};
use crate::test_study::{TestStudy, databases, plain};

#[test]
fn who_withdraws_leaves_nothing_but_a_count() {
    for database in databases() {
        let study = TestStudy::new(4, 1, &database, plain());
        let server = study.serve();
        let tokens = study.invite(2);
        let [stays, goes] = [0, 1].map(|at| Rater::begin(server.address, &tokens[at]));
        assert_eq!(stays.answer_all(|_, _| "a"), 4);
        let first = goes.stand()["next"][0].clone();
        assert_eq!(goes.post("/api/votes", &vote(&first, "b")).status, 200);
        assert_eq!(study.answers().len(), 5);

        assert_eq!(goes.post("/api/withdraw", &json!({})).json(), json!({"deleted": 1}));
        // Again is no different, and the page is told the same when it is opened later.
        assert_eq!(goes.post("/api/withdraw", &json!({})).json(), json!({"deleted": 1}));
        assert_eq!(goes.stand(), json!({"state": "withdrawn", "deleted": 1}));
        // An answer that was on its way, and a change of mind, come too late.
        assert_eq!(goes.post("/api/votes", &vote(&first, "b")).status, 410);
        assert_eq!(goes.post("/api/consent", &json!({})).status, 410);

        let answers = study.answers();
        assert_eq!(answers.len(), 4);
        assert!(answers.iter().all(|answer| answer["rater"] == 1));
        let raters = &study.report_json()["raters"];
        assert_eq!((&raters["withdrew"], &raters["answers_deleted"]), (&json!(1), &json!(1)));
    }
}

#[test]
fn open_enrolment_has_an_end_and_withdrawal_makes_room() {
    let mut config = plain();
    config.raters.enrolment = promptist_study::Enrolment::Open;
    config.raters.max = 2;
    let study = TestStudy::new(2, 1, &None, config);
    let server = study.serve();
    let nobody = Rater { address: server.address, token: String::new() };
    let join = |nonce: &str| nobody.post("/api/enrol", &json!({"nonce": nonce}));
    let first = join("browser-1").json()["rater"].as_str().expect("a token").to_owned();
    // A browser that did not get its answer asks again, and takes no second place.
    assert_eq!(join("browser-1").json()["rater"], first.as_str());
    assert_eq!(join("").status, 400);
    assert_eq!(join("browser-2").status, 200);
    let full = join("browser-3");
    assert_eq!((full.status, full.json()["error"]["message"].as_str().is_some()), (403, true));
    let first = Rater::begin(server.address, &first);
    first.post("/api/withdraw", &json!({}));
    assert_eq!(join("browser-3").status, 200);
}

#[test]
fn an_invited_study_is_not_open() {
    let study = TestStudy::new(2, 1, &None, plain());
    let server = study.serve();
    let nobody = Rater { address: server.address, token: String::new() };
    assert_eq!(nobody.post("/api/enrol", &json!({"nonce": "somebody-else"})).status, 403);
}
