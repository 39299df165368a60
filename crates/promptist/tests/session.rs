//! A session gives every input the answer that it gets alone, whoever joins and leaves.

use std::collections::BTreeMap;
use std::sync::Arc;

use promptist::Error;
use promptist::constraints::Entry;
use promptist::decoding::RawDecodingSettings;
use promptist::mini;
use promptist::model_source::ModelFiles;
use promptist::prompter::{AdaptRequest, AdaptSettings, Adapted, Backend, Prompter, Session, TicketId};
use promptist::template::Keep;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const MAX_ROWS: usize = 16;

fn mini() -> Prompter {
    let mini = mini::embedded().expect("the feature `embedded-model`");
    let backend = Backend::Engine { precision: None, isa: None, num_threads: 1 };
    Prompter::open(&ModelFiles::Embedded(mini), &backend).expect("the embedded model")
}

fn decoding() -> RawDecodingSettings {
    RawDecodingSettings { max_new_tokens: Some(18), ..Default::default() }
}

fn plain() -> AdaptRequest {
    AdaptRequest { decoding: decoding(), filter: true, ..Default::default() }
}

/// Inputs with settings of every kind: what they share of the model differs, and how often they ask it.
fn asked(prompter: &Prompter) -> Vec<(String, Arc<AdaptSettings>, u64)> {
    let beams = |num_beams| RawDecodingSettings { num_beams: Some(num_beams), ..decoding() };
    let greedy = RawDecodingSettings { do_sample: Some(false), num_beams: Some(1), ..decoding() };
    let requests = [
        ("a cat", plain()),
        ("a lighthouse at dusk", AdaptRequest { vary_rows: true, ..plain() }),
        ("a (red:1.2) rabbit --ar 16:9", AdaptRequest { keep: Some(Keep::Words), ..plain() }),
        ("a ship", AdaptRequest { guidance_scale: Some(1.0), ..plain() }),
        ("a ship", AdaptRequest { guidance_scale: Some(1.0), keep: Some(Keep::Free), ..plain() }),
        ("an owl", AdaptRequest { decoding: beams(4), guidance_scale: Some(1.0), ..plain() }),
        ("an owl", AdaptRequest { decoding: beams(3), ..plain() }),
        ("two dogs", AdaptRequest { decoding: greedy, guidance_scale: Some(1.0), ..plain() }),
        ("a castle", AdaptRequest { seeds: (1..=11).collect(), ..plain() }),
        ("a castle", AdaptRequest { explain: true, ..plain() }),
        ("a forest", AdaptRequest { strength: Some(0.0), ..plain() }),
        ("a river", AdaptRequest { strength: Some(0.5), no_artists: true, ..plain() }),
        (
            "a knight",
            AdaptRequest {
                ban: vec![Entry::parse("highly detailed").expect("a phrase")],
                must_include: vec!["soft light".to_owned()],
                ..plain()
            },
        ),
        (
            "a dragon",
            AdaptRequest {
                decoding: RawDecodingSettings { num_return_sequences: Some(3), ..decoding() },
                min_distance: Some(0.9),
                ..plain()
            },
        ),
    ];
    let asked = (0..).zip(requests).map(|(row, (user_input, request))| {
        (user_input.to_owned(), Arc::new(prompter.settings(&request).expect("possible")), row)
    });
    asked.collect()
}

fn alone(prompter: &Prompter, (user_input, settings, row): &(String, Arc<AdaptSettings>, u64)) -> Adapted {
    let mut answers = prompter.adapt(std::slice::from_ref(user_input), settings, *row);
    untimed(answers.pop().expect("an answer").expect("adapted"))
}

/// Scores are compared as they are: none of them is NaN.
fn untimed(adapted: Adapted) -> Adapted {
    Adapted { elapsed_ms: 0.0, ..adapted }
}

#[test]
fn answers_are_those_of_adapt_whoever_comes_and_goes() {
    let prompter = mini();
    let asked = asked(&prompter);
    let expected: Vec<Adapted> = asked.iter().map(|asked| alone(&prompter, asked)).collect();
    for seed in 0..3 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut session = Session::new(&prompter, MAX_ROWS);
        let mut waiting: Vec<usize> = (0..asked.len()).chain(0..asked.len()).collect();
        let mut open: BTreeMap<TicketId, usize> = BTreeMap::new();
        let (mut answered, mut most_running) = (0, 0);
        while !waiting.is_empty() || !session.is_idle() {
            while !waiting.is_empty() && random.random_bool(0.5) {
                let idx = waiting.swap_remove(random.random_range(0..waiting.len()));
                let (user_input, settings, row) = &asked[idx];
                open.insert(session.add(user_input, Arc::clone(settings), *row).expect("possible"), idx);
            }
            if !open.is_empty() && random.random_bool(0.05) {
                let id = *open.keys().nth(random.random_range(0..open.len())).expect("one of those");
                assert!(session.cancel(id) && !session.cancel(id));
                open.remove(&id);
            }
            for (id, adapted) in session.step() {
                let idx = open.remove(&id).expect("an input that was not over");
                assert_eq!(
                    untimed(adapted.expect("adapted")),
                    expected[idx],
                    "seed {seed}, {:?}",
                    asked[idx]
                );
                answered += 1;
            }
            assert!(session.num_rows() <= MAX_ROWS);
            assert_eq!(session.num_running() + session.num_waiting(), open.len());
            most_running = most_running.max(session.num_running());
        }
        assert!(open.is_empty() && session.num_rows() == 0);
        assert!(answered > asked.len() && most_running > 3, "{answered} answers, {most_running} at once");
    }
}

#[test]
fn what_cannot_be_asked_is_refused_when_it_comes() {
    let prompter = mini();
    let mut session = Session::new(&prompter, MAX_ROWS);
    let settings =
        |request: &AdaptRequest| Arc::new(prompter.settings(request).expect("possible on its own"));
    assert!(matches!(session.add(" ", settings(&plain()), 0), Err(Error::EmptyPrompt)));
    let with = |decoding| AdaptRequest { decoding, ..plain() };
    let many = with(RawDecodingSettings { num_return_sequences: Some(9), ..decoding() });
    let foreign = with(RawDecodingSettings { suppress_tokens: Some(vec![u32::MAX]), ..decoding() });
    for (key, request) in [("num_return_sequences", many), ("suppress_tokens", foreign)] {
        let refused = session.add("a cat", settings(&request), 0);
        assert!(matches!(&refused, Err(Error::Config { key: found, .. }) if found == key), "{refused:?}");
    }
    // Shorter than the neutral prompt, which is to be continued just as far.
    let longest = prompter.config().n_positions - prompter.prompt("a").expect("ids").len();
    let long = with(RawDecodingSettings { max_new_tokens: Some(longest), ..decoding() });
    let refused = session.add("a", settings(&long), 0);
    assert!(matches!(refused, Err(Error::PromptTooLong { .. })), "{refused:?}");
    assert!(session.is_idle());
}

/// One token of each at a time: neither a long answer nor a long list holds up a short one.
#[test]
fn a_short_request_overtakes_a_long_list() {
    let prompter = mini();
    let mut session = Session::new(&prompter, MAX_ROWS);
    let list = AdaptRequest { seeds: (0..64).collect(), ..plain() };
    let list = session.add("a cat", Arc::new(prompter.settings(&list).expect("possible")), 0);
    session.step();
    let short = session.add("a dog", Arc::new(prompter.settings(&plain()).expect("possible")), 0);
    let mut order = Vec::new();
    while !session.is_idle() {
        order.extend(session.step().into_iter().map(|(id, _)| id));
    }
    assert_eq!(order, [short.expect("possible"), list.expect("possible")]);
}
