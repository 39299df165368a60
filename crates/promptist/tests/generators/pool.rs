//! Several servers: the work is shared, no image is lost or made twice, and any server may come and go.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use promptist::Error;
use promptist::generator::http::{HttpSettings, Pool};
use promptist::generator::{Cancel, Generator, ImageRequest};

use crate::a1111::{HASH, webui};
use crate::common::{mark_slow_test, slow_tests_are_wanted};
use crate::fake::{Reply, Server, assert_drawn, generate, hurried, pool, small, until};

const OTHER_HASH: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// Each of `prompts`, two images, by as many threads as the pool wants. Each is checked.
fn draw_all(pool: &Pool, prompts: &[String]) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..pool.parallelism() {
            scope.spawn(|| {
                while let Some(prompt) = prompts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    assert_drawn(&generate(pool, prompt, &[1, 2]).expect("images"), prompt, &[1, 2]);
                }
            });
        }
    });
}

fn prompts(count: usize) -> Vec<String> {
    (0..count).map(|idx| format!("a fox, number {idx}")).collect()
}

/// How often each prompt was drawn, over all servers.
fn drawn(servers: &[&Server]) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for question in servers.iter().flat_map(|server| server.asked("POST", "/sdapi/v1/txt2img")) {
        let prompt = question.json()["prompt"].as_str().expect("a prompt").to_owned();
        *counts.entry(prompt).or_default() += 1;
    }
    counts
}

#[test]
fn four_servers_work_at_once_and_make_each_image_once() {
    // The first four calls wait for each other: they end only if all are in flight together, one at each server.
    let together = Arc::new(Barrier::new(4));
    let servers: Vec<Server> = (0..4)
        .map(|_| {
            let (together, is_first) = (together.clone(), AtomicBool::new(true));
            Server::start(move |question| {
                if question.is("POST", "/sdapi/v1/txt2img") && is_first.swap(false, Ordering::SeqCst) {
                    together.wait();
                }
                webui(question, HASH)
            })
        })
        .collect();
    let servers: Vec<&Server> = servers.iter().collect();
    let pool = pool("a1111", &servers, &hurried()).expect("a pool");
    assert_eq!(pool.parallelism(), 4);
    let prompts = prompts(40);
    draw_all(&pool, &prompts);

    let counts = drawn(&servers);
    assert!(prompts.iter().all(|prompt| counts[prompt] == 1), "{counts:?}");
    let reports = pool.reports();
    assert_eq!(reports.iter().map(|report| report.images).sum::<u64>(), 80);
    for (report, server) in reports.iter().zip(&servers) {
        assert!(report.images > 0 && report.failures == 0, "{report:?}");
        let asked = server.asked("POST", "/sdapi/v1/txt2img").len() as u64;
        assert_eq!(asked * 2, report.images, "who says what it served");
    }
}

#[test]
fn the_seeds_of_one_prompt_are_spread_too() {
    let together = Arc::new(Barrier::new(2));
    let servers = [0, 1].map(|_| {
        let together = together.clone();
        Server::start(move |question| {
            if question.is("POST", "/sdapi/v1/txt2img") {
                together.wait();
            }
            webui(question, HASH)
        })
    });
    let pool = pool("a1111", &[&servers[0], &servers[1]], &hurried()).expect("a pool");
    let seeds = [30, 10, 20, 40];
    assert_drawn(&generate(&pool, "a fox", &seeds).expect("images"), "a fox", &seeds);
}

#[test]
fn a_server_gets_one_call_at_a_time() {
    let in_flight = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (count, max) = (in_flight.clone(), most.clone());
    let server = Server::start(move |question| {
        max.fetch_max(count.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let reply = webui(question, HASH);
        count.fetch_sub(1, Ordering::SeqCst);
        reply
    });
    let pool = pool("a1111", &[&server], &hurried()).expect("a pool");
    thread::scope(|scope| {
        for prompt in prompts(6) {
            let pool = &pool;
            scope.spawn(move || generate(pool, &prompt, &[1]).expect("an image"));
        }
    });
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[test]
fn what_one_server_fails_another_makes() {
    for fault in [500, 404, 401] {
        let bad = Server::start(move |question| match question.path.as_str() {
            "/sdapi/v1/txt2img" => Reply::status(fault),
            _ => webui(question, HASH),
        });
        let good = Server::start(|question| webui(question, HASH));
        let settings = HttpSettings { max_tries: 2, ..hurried() };
        let pool = pool("a1111", &[&bad, &good], &settings).expect("a pool");
        // Two tries are enough, since the second goes elsewhere.
        draw_all(&pool, &prompts(8));
        assert_eq!(pool.reports()[1].images, 16);
    }
}

#[test]
fn a_hanging_server_is_left_and_its_work_made_elsewhere() {
    let hanging = Server::start(|question| match question.path.as_str() {
        "/sdapi/v1/txt2img" => Reply::Hang,
        "/internal/progress" => Reply::Json(serde_json::json!({"active": true})),
        "/sdapi/v1/interrupt" => Reply::Json(serde_json::json!({})),
        _ => webui(question, HASH),
    });
    let good = Server::start(|question| webui(question, HASH));
    let settings = HttpSettings { timeout_secs: 0.5, ..hurried() };
    let pool = pool("a1111", &[&hanging, &good], &settings).expect("a pool");
    draw_all(&pool, &prompts(2));
    let report = &pool.reports()[0];
    assert_eq!(report.images, 0);
    assert!(report.last_failure.as_ref().is_some_and(|reason| reason.contains("timed out")), "{report:?}");
    // What it still works on is asked about by name, and called off.
    let task = hanging.asked("POST", "/sdapi/v1/txt2img")[0].json()["force_task_id"].clone();
    assert_eq!(hanging.asked("POST", "/internal/progress")[0].json()["id_task"], task);
    assert!(!hanging.asked("POST", "/sdapi/v1/interrupt").is_empty());
}

#[test]
fn a_server_killed_in_its_work_comes_back_and_nothing_is_lost() {
    let (started, starts) = mpsc::channel();
    let dies = Arc::new(AtomicBool::new(true));
    let (started, flag) = (Mutex::new(started), dies.clone());
    let mut mortal = Server::start(move |question| {
        if question.is("POST", "/sdapi/v1/txt2img") && flag.load(Ordering::SeqCst) {
            started.lock().expect("a lock").send(()).expect("the test listens");
            return Reply::Hang;
        }
        webui(question, HASH)
    });
    let good = Server::start(|question| webui(question, HASH));
    let pool = pool("a1111", &[&mortal, &good], &hurried()).expect("a pool");
    let prompts = prompts(12);
    thread::scope(|scope| {
        let drawing = scope.spawn(|| draw_all(&pool, &prompts));
        starts.recv().expect("it works on an image");
        mortal.kill();
        drawing.join().expect("all images");
    });
    assert_eq!(pool.reports()[0].images, 0);
    assert_eq!(pool.reports()[1].images, 24);

    dies.store(false, Ordering::SeqCst);
    mortal.revive();
    // It is taken up again as soon as its pause is over: each of two that wait for the other needs a server.
    until(|| {
        draw_all(&pool, &prompts);
        pool.reports()[0].images > 0
    });
    let counts = drawn(&[&mortal, &good]);
    let more_than_once = counts.values().filter(|&&count| count == 1).count();
    assert!(more_than_once == 0, "the second round drew each again");
}

#[test]
fn alone_a_server_may_restart_and_is_waited_for() {
    let mut server = Server::start(|question| webui(question, HASH));
    let pool = pool("a1111", &[&server], &HttpSettings { max_tries: 1, ..hurried() }).expect("a pool");
    assert_drawn(&generate(&pool, "a fox", &[1]).expect("an image"), "a fox", &[1]);
    server.kill();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| generate(&pool, "an owl", &[2]));
        until(|| pool.reports()[0].failures >= 3);
        server.revive();
        // One try is all it has, and being away cost none.
        assert_drawn(&waiting.join().expect("no panic").expect("an image"), "an owl", &[2]);
    });
}

#[test]
fn a_server_away_at_the_start_joins_later() {
    let mut late = Server::start(|question| webui(question, HASH));
    late.kill();
    let good = Server::start(|question| webui(question, HASH));
    let pool = pool("a1111", &[&late, &good], &hurried()).expect("one is enough");
    draw_all(&pool, &prompts(4));
    assert_eq!(pool.reports()[0].images, 0);
    late.revive();
    until(|| {
        draw_all(&pool, &prompts(4));
        pool.reports()[0].images > 0
    });
}

#[test]
fn servers_with_different_models_are_refused_by_name() {
    let one = Server::start(|question| webui(question, HASH));
    let other = Server::start(|question| webui(question, OTHER_HASH));
    let error = pool("a1111", &[&one, &other], &hurried()).err().expect("different").to_string();
    for part in [one.url(), other.url(), "6ce0161689".to_owned(), "aaaaaaaaaa".to_owned()] {
        assert!(error.contains(&part), "{error}");
    }
    let specs = [format!("a1111+{}", one.url()), format!("openai+{}", other.url())];
    let specs: Vec<_> = specs.iter().map(|spec| spec.parse().expect("a server")).collect();
    let error = Pool::open(&specs, &hurried(), &Default::default()).err().expect("different").to_string();
    assert!(error.contains("a1111+") && error.contains("openai+"), "{error}");
    assert!(Pool::open(&[], &hurried(), &Default::default()).is_err());
}

#[test]
fn a_server_that_comes_back_with_another_model_gets_no_work() {
    let changed = Arc::new(AtomicBool::new(false));
    let flag = changed.clone();
    let mut server = Server::start(move |question| {
        webui(question, if flag.load(Ordering::SeqCst) { OTHER_HASH } else { HASH })
    });
    let good = Server::start(|question| webui(question, HASH));
    let pool = pool("a1111", &[&server, &good], &hurried()).expect("a pool");
    server.kill();
    changed.store(true, Ordering::SeqCst);
    draw_all(&pool, &prompts(3));
    server.revive();
    let last_failure = || pool.reports()[0].last_failure.clone().unwrap_or_default();
    until(|| {
        draw_all(&pool, &prompts(3));
        last_failure().contains("aaaaaaaaaa")
    });
    assert_eq!(pool.reports()[0].images, 0);
    assert!(server.asked("POST", "/sdapi/v1/txt2img").is_empty());
}

#[test]
fn when_all_are_gone_the_error_names_each_and_its_last_failure() {
    let mut dead = Server::start(|question| webui(question, HASH));
    let starting = Arc::new(AtomicBool::new(false));
    let flag = starting.clone();
    let unready = Server::start(move |question| match flag.load(Ordering::SeqCst) {
        true => Reply::status(503),
        false => webui(question, HASH),
    });
    let settings = HttpSettings { give_up_secs: 0.2, ..hurried() };
    let both = pool("a1111", &[&dead, &unready], &settings).expect("a pool");
    dead.kill();
    starting.store(true, Ordering::SeqCst);
    let error = generate(&both, "a fox", &[1]).expect_err("nobody");
    assert!(matches!(&error, Error::ImageServersGone { failures, .. } if failures.len() == 2), "{error:?}");
    let text = error.to_string();
    for part in [dead.url(), unready.url(), "503".to_owned(), "refused".to_owned()] {
        assert!(text.contains(&part), "{text}");
    }
    let error = pool("a1111", &[&dead, &unready], &settings).err().expect("nobody at the start");
    assert!(matches!(&error, Error::ImageServersGone { failures, .. } if failures.len() == 2), "{error:?}");
}

#[test]
fn retry_after_is_waited_for_in_seconds_and_as_a_date() {
    for header in ["Retry-After: 1\r\n", "Retry-After: Fri, 31 Dec 2100 23:59:59 GMT\r\n"] {
        let is_full = AtomicBool::new(true);
        let asked_at = Arc::new(Mutex::new(Vec::new()));
        let log = asked_at.clone();
        let server = Server::start(move |question| {
            if !question.is("POST", "/sdapi/v1/txt2img") {
                return webui(question, HASH);
            }
            log.lock().expect("a lock").push(Instant::now());
            match is_full.swap(false, Ordering::SeqCst) {
                true => Reply::Status(429, header, "full".to_owned()),
                false => webui(question, HASH),
            }
        });
        // The date is beyond what is waited for: a second, here.
        let settings = HttpSettings { give_up_secs: 1.0, max_tries: 1, ..hurried() };
        let pool = pool("a1111", &[&server], &settings).expect("a pool");
        assert_drawn(&generate(&pool, "a fox", &[1]).expect("an image"), "a fox", &[1]);
        // A lower bound that the wait itself guarantees, however slow the machine.
        let asked_at = asked_at.lock().expect("a lock");
        assert_eq!(asked_at.len(), 2);
        assert!(asked_at[1] - asked_at[0] >= Duration::from_secs(1));
    }
}

#[test]
fn waiting_ends_when_it_is_called_off() {
    // In a call that hangs, and in a pause of minutes before the next.
    let hanging = Server::start(|question| match question.path.as_str() {
        "/sdapi/v1/txt2img" | "/internal/progress" => Reply::Hang,
        _ => webui(question, HASH),
    });
    let failing = Server::start(|question| match question.path.as_str() {
        "/sdapi/v1/txt2img" => Reply::status(500),
        _ => webui(question, HASH),
    });
    for server in [&hanging, &failing] {
        let settings = HttpSettings {
            timeout_secs: 3600.0,
            backoff_secs: 3600.0,
            max_backoff_secs: 3600.0,
            give_up_secs: 3600.0,
            ..HttpSettings::default()
        };
        let pool = pool("a1111", &[server], &settings).expect("a pool");
        let flag = Arc::new(AtomicBool::new(false));
        let cancel = Cancel::following(flag.clone());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let settings = small();
                pool.generate(&ImageRequest { prompt: "a fox", seeds: &[1], settings: &settings }, &cancel)
            });
            until(|| !server.asked("POST", "/sdapi/v1/txt2img").is_empty());
            flag.store(true, Ordering::SeqCst);
            let error = waiting.join().expect("no panic").expect_err("called off");
            assert!(matches!(error, Error::Interrupted), "{error:?}");
        });
        assert!(matches!(
            pool.generate(&ImageRequest { prompt: "", seeds: &[1], settings: &small() }, &cancel),
            Err(Error::Interrupted)
        ));
    }
}

#[test]
fn a_storm_of_faults_over_four_servers_loses_nothing_and_makes_nothing_twice() {
    let served = Arc::new(Mutex::new(HashSet::new()));
    let servers: Vec<Server> = (0..4)
        .map(|server| {
            let (served, calls) = (served.clone(), AtomicUsize::new(server));
            Server::start(move |question| {
                if !question.is("POST", "/sdapi/v1/txt2img") {
                    return webui(question, HASH);
                }
                match calls.fetch_add(1, Ordering::SeqCst) % 7 {
                    0 => Reply::status(500),
                    1 => Reply::Reset,
                    2 => Reply::Bytes(b"{\"images\": [\"".to_vec()),
                    3 => Reply::Status(503, "Retry-After: 0\r\n", String::new()),
                    _ => {
                        let prompt = question.json()["prompt"].as_str().expect("a prompt").to_owned();
                        assert!(served.lock().expect("a lock").insert(prompt), "made twice");
                        webui(question, HASH)
                    }
                }
            })
        })
        .collect();
    let servers: Vec<&Server> = servers.iter().collect();
    let pool = pool("a1111", &servers, &HttpSettings { max_tries: 50, ..hurried() }).expect("a pool");
    let prompts = prompts(60);
    draw_all(&pool, &prompts);
    assert_eq!(served.lock().expect("a lock").len(), 60);
    assert_eq!(pool.reports().iter().map(|report| report.images).sum::<u64>(), 120);
}

/// Prints how much faster four servers are than one; each takes 50 ms an image.
#[test]
fn throughput_of_four_servers() {
    if !slow_tests_are_wanted() {
        return;
    }
    let servers: Vec<Server> = (0..4)
        .map(|_| {
            Server::start(|question| {
                let reply = webui(question, HASH);
                if question.is("POST", "/sdapi/v1/txt2img") {
                    thread::sleep(Duration::from_millis(50));
                }
                reply
            })
        })
        .collect();
    let servers: Vec<&Server> = servers.iter().collect();
    let prompts = prompts(80);
    let [one, four] = [&servers[..1], &servers[..]].map(|servers| {
        let pool = pool("a1111", servers, &hurried()).expect("a pool");
        let start = Instant::now();
        draw_all(&pool, &prompts);
        start.elapsed()
    });
    let ratio = one.as_secs_f64() / four.as_secs_f64();
    println!("80 calls of 50 ms: one server {one:.2?}, four {four:.2?}, {ratio:.2} times as fast");
    assert!(ratio > 3.5, "{ratio}");
    mark_slow_test("throughput_of_four_servers");
}
