//! What is drawn, how often, and what it depends on.

use promptist::decoding::{Hypothesis, RawDecodingSettings, generate, sample_key};

use crate::toy::Toy;

const VOCAB_SIZE: usize = 20;

fn draw(raw: RawDecodingSettings, sample_keys: &[u64]) -> Vec<Vec<Hypothesis>> {
    let model = Toy::new(VOCAB_SIZE, 5, &[], 0.0);
    let raw = RawDecodingSettings { do_sample: Some(true), ..raw };
    let prompts = vec![vec![3, 4]; sample_keys.len()];
    generate(&model, &prompts, &raw.resolve().expect("possible"), sample_keys).expect("decoding")
}

/// How often each token comes first in 20 000 draws.
fn counts(raw: RawDecodingSettings) -> Vec<usize> {
    let raw = RawDecodingSettings {
        num_return_sequences: Some(20_000),
        max_new_tokens: Some(1),
        seed: Some(9),
        ..raw
    };
    let mut counts = vec![0; VOCAB_SIZE];
    for hypothesis in &draw(raw, &[sample_key("a cat")])[0] {
        counts[hypothesis.token_ids[0] as usize] += 1;
    }
    counts
}

/// Probabilities of the first token at a temperature, the most likely first.
fn distribution(temperature: f64) -> Vec<(usize, f64)> {
    let logits = Toy::new(VOCAB_SIZE, 5, &[], 0.0).row(&[3, 4]);
    let weights: Vec<f64> = logits.iter().map(|&logit| (f64::from(logit) / temperature).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let mut probs: Vec<_> = weights.into_iter().map(|weight| weight / sum).enumerate().collect();
    probs.sort_by(|a, b| b.1.total_cmp(&a.1));
    probs
}

/// Pearson's statistic of `counts` against the first `kept` of `probs`, and nothing outside of them.
#[track_caller]
fn check_frequencies(counts: &[usize], probs: &[(usize, f64)], kept: usize) {
    let sum: f64 = probs[..kept].iter().map(|&(_, prob)| prob).sum();
    let total: usize = counts.iter().sum();
    let mut chi_square = 0.0;
    for &(token_id, prob) in &probs[..kept] {
        let expected = prob / sum * total as f64;
        chi_square += (counts[token_id] as f64 - expected).powi(2) / expected;
    }
    for &(token_id, _) in &probs[kept..] {
        assert_eq!(counts[token_id], 0, "token {token_id} may not come");
    }
    // Above the 99.9 % quantile for every number of degrees of freedom up to 19.
    assert!(chi_square < 43.8, "chi-square {chi_square:.1} of {counts:?}");
}

#[test]
fn draws_follow_the_models_probabilities() {
    let raw = RawDecodingSettings { top_k: Some(0), ..Default::default() };
    check_frequencies(&counts(raw), &distribution(1.0), VOCAB_SIZE);
}

#[test]
fn draws_follow_the_temperature() {
    let raw = RawDecodingSettings { top_k: Some(0), temperature: Some(2.5), ..Default::default() };
    check_frequencies(&counts(raw), &distribution(2.5), VOCAB_SIZE);
}

#[test]
fn top_k_draws_among_the_k_likeliest() {
    let raw = RawDecodingSettings { top_k: Some(6), temperature: Some(2.0), ..Default::default() };
    check_frequencies(&counts(raw), &distribution(2.0), 6);
}

#[test]
fn top_p_draws_among_the_fewest_that_have_the_probability() {
    let probs = distribution(2.0);
    let tail = |rank: usize| probs[rank..].iter().map(|&(_, prob)| prob).sum::<f64>();
    let kept = (1..VOCAB_SIZE).find(|&rank| tail(rank) <= 0.2).expect("the last is unlikely");
    assert!((3..VOCAB_SIZE).contains(&kept), "the toy's row is no test: {probs:?}");
    let raw = RawDecodingSettings {
        top_k: Some(0),
        top_p: Some(0.8),
        temperature: Some(2.0),
        ..Default::default()
    };
    check_frequencies(&counts(raw), &probs, kept);
}

#[test]
fn min_p_draws_among_those_not_much_less_likely_than_the_likeliest() {
    let probs = distribution(2.0);
    let kept = probs.iter().filter(|(_, prob)| *prob >= 0.3 * probs[0].1).count();
    assert!((2..VOCAB_SIZE).contains(&kept), "the toy's row is no test: {probs:?}");
    let raw = RawDecodingSettings {
        top_k: Some(0),
        min_p: Some(0.3),
        temperature: Some(2.0),
        ..Default::default()
    };
    check_frequencies(&counts(raw), &probs, kept);
}

#[test]
fn one_token_always_stays() {
    let best = distribution(1.0)[0].0;
    for raw in [
        RawDecodingSettings { top_k: Some(1), ..Default::default() },
        RawDecodingSettings { top_p: Some(0.0), ..Default::default() },
        RawDecodingSettings { min_p: Some(1.0), ..Default::default() },
        RawDecodingSettings { temperature: Some(1e-3), ..Default::default() },
    ] {
        assert_eq!(counts(raw)[best], 20_000);
    }
}

#[test]
fn a_draw_depends_on_seed_input_sequence_and_step_and_on_nothing_else() {
    let raw = |seed, num_return_sequences| RawDecodingSettings {
        seed: Some(seed),
        num_return_sequences: Some(num_return_sequences),
        max_new_tokens: Some(16),
        temperature: Some(3.0),
        ..Default::default()
    };
    let ids = |hypotheses: &[Hypothesis]| hypotheses.iter().map(|h| h.token_ids.clone()).collect::<Vec<_>>();

    let batch = draw(raw(1, 1), &[sample_key("a cat"), sample_key("a dog"), sample_key("a cat")]);
    assert_eq!(batch[0], batch[2]);
    assert_ne!(batch[0], batch[1]);
    assert_ne!(batch[0], draw(raw(2, 1), &[sample_key("a cat")])[0]);
    // The first of one is among the four of four, which all differ.
    let four = &draw(raw(1, 4), &[sample_key("a cat")])[0];
    assert!(four.contains(&batch[0][0]));
    let mut distinct = ids(four);
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 4);
}

/// Pinned: the server, the command line and later versions must draw the same.
#[test]
fn draws_are_stable() {
    let raw = RawDecodingSettings {
        seed: Some(7),
        max_new_tokens: Some(10),
        temperature: Some(3.0),
        top_p: Some(0.95),
        ..Default::default()
    };
    assert_eq!(draw(raw, &[sample_key("a cat")])[0][0].token_ids, [11, 5, 9, 15, 15, 14, 15, 1, 8, 19]);
}
