//! A reward over HTTP, against servers in this process that speak OpenRLHF's contract and fail in every way that
//! we could think of. No test asserts a time.
#![cfg(feature = "http")]

#[allow(dead_code)] // what only image servers need
#[path = "generators/fake.rs"]
mod fake;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use fake::{Question, Reply, Server, until};
use promptist::Error;
use promptist::generator::Cancel;
use promptist::http::{Auth, Secret};
use promptist::reward::http::{HttpReward, HttpRewardSettings};
use promptist::reward::{Pair, Reward};
use serde_json::{Value, json};

const PATH: &str = "/get_reward";

/// Waits of milliseconds where people want seconds.
fn hurried(servers: &[&Server]) -> HttpRewardSettings {
    HttpRewardSettings {
        urls: servers.iter().map(|server| server.url() + PATH).collect(),
        timeout_secs: 60.0,
        give_up_secs: 60.0,
        backoff_secs: 0.001,
        max_backoff_secs: 0.01,
        ..HttpRewardSettings::default()
    }
}

fn reward(settings: &HttpRewardSettings) -> HttpReward {
    HttpReward::new(settings, &Auth::None).expect("possible settings")
}

fn pairs(count: usize) -> Vec<Pair> {
    let pair = |i: usize| Pair { user_input: format!("cat {i} "), adapted_prompt: format!("cat {i}, 8k") };
    (0..count).map(pair).collect()
}

type Scores = Vec<Result<f64, String>>;

fn score(reward: &HttpReward, count: usize) -> promptist::Result<Scores> {
    reward.score(&pairs(count), &Cancel::default())
}

/// The reward of a well-behaved server: the number in the user's input.
fn numbers(question: &Question) -> Vec<f64> {
    let body = question.json();
    let prompts = body["prompts"].as_array().expect("prompts");
    prompts
        .iter()
        .map(|prompt| {
            let words = prompt.as_str().expect("text").split(' ').nth(1);
            words.and_then(|word| word.parse().ok()).expect("a number")
        })
        .collect()
}

fn good(question: &Question) -> Reply {
    let rewards = numbers(question);
    Reply::Json(json!({"rewards": rewards, "scores": rewards, "extra_logs": {"dummy_scores": rewards}}))
}

fn expected(count: usize) -> Scores {
    (0..count).map(|i| Ok(i as f64)).collect()
}

/// A server that answers as `first` says so often, then well.
fn bad_at_first(times: usize, first: impl Fn() -> Reply + Send + Sync + 'static) -> Server {
    let calls = AtomicUsize::new(0);
    Server::start(move |question| match calls.fetch_add(1, Ordering::SeqCst) {
        call if call < times => first(),
        _ => good(question),
    })
}

#[test]
fn the_question_is_openrlhfs_and_the_rewards_come_back_in_order() {
    let server = Server::start(good);
    let settings = hurried(&[&server]);
    let reward = HttpReward::new(&settings, &Auth::Bearer(Secret("t0ken".to_owned()))).expect("possible");
    assert_eq!(score(&reward, 2).expect("scores"), expected(2));
    let asked = server.asked("POST", PATH);
    let expected: Value = json!({
        "query": ["cat 0 Rephrase: cat 0, 8k", "cat 1 Rephrase: cat 1, 8k"],
        "prompts": ["cat 0 Rephrase:", "cat 1 Rephrase:"],
        "labels": ["cat 0 ", "cat 1 "],
    });
    assert_eq!((asked.len(), asked[0].json()), (1, expected));
    assert_eq!(asked[0].header("authorization"), Some("Bearer t0ken"));
    assert_eq!(asked[0].header("content-type"), Some("application/json"));
    assert_eq!(score(&reward, 0).expect("nothing to do"), Scores::new());
    assert_eq!(server.questions().len(), 1, "an empty batch is not sent");
}

#[test]
fn several_servers_share_evenly_and_batches_are_bounded() {
    let servers = [Server::start(good), Server::start(good), Server::start(good)];
    let all: Vec<&Server> = servers.iter().collect();
    let settings = HttpRewardSettings { max_batch: 2, ..hurried(&all) };
    assert_eq!(score(&reward(&settings), 12).expect("scores"), expected(12));
    for server in all {
        let sizes: Vec<usize> = server.questions().iter().map(|asked| numbers(asked).len()).collect();
        assert_eq!(sizes, [2, 2]);
    }
}

#[test]
fn a_call_that_goes_wrong_is_made_again() {
    let faults: [fn() -> Reply; 9] = [
        || Reply::status(500),
        || Reply::status(503),
        || Reply::Status(429, "Retry-After: 0\r\n", String::new()),
        || Reply::Reset,
        || Reply::Truncated(json!({"rewards": [0.0, 1.0]})),
        || Reply::Bytes(b"<html>busy</html>".to_vec()),
        || Reply::Json(json!({"rewards": [0.0]})),
        || Reply::Json(json!({"rewards": [0.0, 1.0, 2.0]})),
        || Reply::Json(json!({"score": [0.0, 1.0]})),
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let server = bad_at_first(3, fault);
        assert_eq!(score(&reward(&hurried(&[&server])), 2).expect("scores"), expected(2), "fault {number}");
        assert_eq!(server.questions().len(), 4, "fault {number}");
    }
}

#[test]
fn a_server_that_hangs_is_left_for_another() {
    let hanging = Server::start(|_| Reply::Hang);
    let working = Server::start(good);
    let settings = HttpRewardSettings { timeout_secs: 0.2, ..hurried(&[&hanging, &working]) };
    assert_eq!(score(&reward(&settings), 4).expect("scores"), expected(4));
}

#[test]
fn a_reward_that_is_no_number_fails_its_pair_alone() {
    let server = Server::start(|_| Reply::Bytes(b"{\"rewards\": [0.0, NaN, null, \"3\", 4.0]}".to_vec()));
    let scores = score(&reward(&hurried(&[&server])), 5).expect("scores");
    assert_eq!(scores.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false, false, true]);
    assert_eq!(server.questions().len(), 1, "what a server says of a pair it says again");
}

#[test]
fn a_batch_that_nobody_scores_is_dropped_with_the_reason_and_too_many_stop_the_run() {
    let is_good = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&is_good);
    let server = Server::start(move |question| match flag.load(Ordering::SeqCst) {
        true => good(question),
        false => Reply::status(500),
    });
    let settings = HttpRewardSettings { max_tries: 2, max_failed_batches: 3, ..hurried(&[&server]) };
    let reward = reward(&settings);
    let fail = || {
        let scores = score(&reward, 2).expect("failures, no error");
        let reason = |score: &Result<f64, String>| score.clone().expect_err("no score");
        assert!(scores.iter().all(|score| reason(score).contains("500") && reason(score).contains(PATH)));
    };
    fail();
    fail();
    assert_eq!(server.questions().len(), 4);
    // One that goes well is the end of the row.
    is_good.store(true, Ordering::SeqCst);
    assert_eq!(score(&reward, 2).expect("scores"), expected(2));
    is_good.store(false, Ordering::SeqCst);
    fail();
    fail();
    let error = score(&reward, 2).expect_err("the third in a row");
    assert!(matches!(error, Error::Http { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("3 batches in a row") && text.contains(&server.url()), "{text}");
}

#[test]
fn what_a_server_refuses_is_not_asked_of_it_again() {
    for (status, calls) in [(401, 1), (404, 1), (422, 1)] {
        let server = Server::start(move |_| Reply::status(status));
        let scores = score(&reward(&hurried(&[&server])), 2).expect("failures, no error");
        assert!(scores[0].as_ref().is_err_and(|reason| reason.contains(&status.to_string())), "{scores:?}");
        assert_eq!(server.questions().len(), calls, "{status}");
    }
    // Another may do it.
    let (refusing, working) = (Server::start(|_| Reply::status(404)), Server::start(good));
    let settings = hurried(&[&refusing, &working]);
    assert_eq!(score(&reward(&settings), 4).expect("scores"), expected(4));
}

#[test]
fn a_server_killed_and_restarted_costs_time_and_no_samples() {
    let mut server = Server::start(good);
    let settings = HttpRewardSettings { max_tries: 1, max_batch: 1, ..hurried(&[&server]) };
    let reward = reward(&settings);
    assert_eq!(score(&reward, 3).expect("scores"), expected(3));
    server.kill();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| score(&reward, 3));
        thread::sleep(std::time::Duration::from_millis(50));
        server.revive();
        assert_eq!(waiting.join().expect("no panic").expect("scores"), expected(3));
    });
}

#[test]
fn one_that_stays_away_is_given_up() {
    let mut server = Server::start(good);
    server.kill();
    let settings = HttpRewardSettings { give_up_secs: 0.05, max_failed_batches: 2, ..hurried(&[&server]) };
    let reward = reward(&settings);
    let scores = score(&reward, 1).expect("a failure, no error");
    assert!(scores[0].as_ref().is_err_and(|reason| reason.contains("refused")), "{scores:?}");
    assert!(matches!(score(&reward, 1), Err(Error::Http { .. })));
}

#[test]
fn waiting_ends_when_it_is_called_off() {
    // In a call that hangs, and in a pause of an hour before the next.
    let (hanging, failing) = (Server::start(|_| Reply::Hang), Server::start(|_| Reply::status(500)));
    for server in [&hanging, &failing] {
        let hour = 3600.0;
        let settings = HttpRewardSettings {
            timeout_secs: hour,
            backoff_secs: hour,
            max_backoff_secs: hour,
            ..hurried(&[server])
        };
        let reward = reward(&settings);
        let flag = Arc::new(AtomicBool::new(false));
        let cancel = Cancel::following(Arc::clone(&flag));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| reward.score(&pairs(2), &cancel));
            until(|| !server.questions().is_empty());
            flag.store(true, Ordering::SeqCst);
            let outcome = waiting.join().expect("no panic");
            assert!(matches!(outcome, Err(Error::Interrupted)), "{outcome:?}");
        });
        assert!(matches!(reward.score(&pairs(1), &cancel), Err(Error::Interrupted)));
    }
}

#[test]
fn an_answer_beyond_all_bounds_is_not_read() {
    let server = bad_at_first(1, || Reply::Bytes(vec![b' '; 17 << 20]));
    assert_eq!(score(&reward(&hurried(&[&server])), 2).expect("scores"), expected(2));
    assert_eq!(server.questions().len(), 2);
}
