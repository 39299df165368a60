//! What holds for every search, whatever transformers does.

use std::collections::HashSet;

use promptist::decoding::{
    DecodingSettings, EarlyStopping, Finish, Hypothesis, LanguageModel, LengthNormalization,
    RawDecodingSettings, generate,
};
use proptest::prelude::*;

use crate::toy::Toy;

pub const EOS: u32 = 0;
const EARLY_STOPPING: [EarlyStopping; 3] = [EarlyStopping::False, EarlyStopping::True, EarlyStopping::Never];

pub fn toy(vocab_size: usize, seed: u64) -> Toy {
    Toy::new(vocab_size, seed, &[EOS], 2.0)
}

pub fn decode<M: LanguageModel>(
    model: &M,
    prompts: &[Vec<u32>],
    raw: &RawDecodingSettings,
) -> Vec<Vec<Hypothesis>> {
    let keys: Vec<u64> = prompts.iter().map(|prompt| sample_key(prompt)).collect();
    generate(model, prompts, &settings(raw), &keys).expect("decoding")
}

pub fn settings(raw: &RawDecodingSettings) -> DecodingSettings {
    let raw = RawDecodingSettings { eos_token_id: Some(vec![EOS]), ..raw.clone() };
    raw.resolve().expect("possible settings")
}

/// What stands for the text of a prompt.
pub fn sample_key(prompt: &[u32]) -> u64 {
    prompt.iter().map(|&id| u64::from(id)).sum()
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
    logits.iter().map(|&logit| f64::from(logit) - sum.ln()).collect()
}

/// Every answer there is, best first, with its score.
fn exhaustive(
    model: &Toy,
    prompt: &[u32],
    max_new_tokens: usize,
    score: &dyn Fn(f64, usize, Finish) -> f64,
) -> Vec<(Vec<u32>, f64)> {
    let mut open = vec![(Vec::new(), 0.0)];
    let mut answers = Vec::new();
    for length in 1..=max_new_tokens {
        for (token_ids, sum) in std::mem::take(&mut open) {
            let log_probs = log_softmax(&model.row(&[prompt, &token_ids].concat()));
            for (token_id, log_prob) in log_probs.into_iter().enumerate() {
                let sum = sum + log_prob;
                if token_id == EOS as usize {
                    answers.push((token_ids.clone(), score(sum, token_ids.len(), Finish::Eos)));
                    continue;
                }
                let token_ids = [&token_ids[..], &[token_id as u32]].concat();
                match length == max_new_tokens {
                    true => answers.push((token_ids, score(sum, length, Finish::Length))),
                    false => open.push((token_ids, sum)),
                }
            }
        }
    }
    answers.sort_by(|a, b| b.1.total_cmp(&a.1));
    answers
}

/// Settings of every search, for prompts and vocabularies of any size.
pub fn any_settings() -> impl Strategy<Value = RawDecodingSettings> {
    let beams = prop_oneof![
        (1..5_usize).prop_map(|num_beams| (num_beams, 1, 0.0, false)),
        (1..4_usize, 2..4_usize).prop_map(|(size, groups)| (size * groups, groups, 0.7, false)),
        Just((1, 1, 0.0, true)),
    ];
    let search = (beams, prop::sample::select(EARLY_STOPPING.to_vec()), prop::bool::ANY, 0..u64::MAX);
    let penalties = prop::sample::select(vec![-1.0, 0.0, 0.6, 1.0, 2.0]);
    let rules = (prop::sample::select(vec![1.0, 1.3]), 0..4_usize, 0..3_usize);
    (search, penalties, rules, 1..12_usize).prop_map(
        |((beams, early_stopping, is_total, seed), length_penalty, rules, max_new_tokens)| {
            let (num_beams, num_beam_groups, diversity_penalty, do_sample) = beams;
            let (repetition_penalty, no_repeat_ngram_size, min_new_tokens) = rules;
            RawDecodingSettings {
                num_beams: Some(num_beams),
                num_beam_groups: Some(num_beam_groups),
                diversity_penalty: Some(diversity_penalty),
                do_sample: Some(do_sample),
                num_return_sequences: Some(if do_sample { 3 } else { num_beams.div_ceil(2) }),
                early_stopping: Some(early_stopping),
                length_normalization: is_total.then_some(LengthNormalization::Total),
                length_penalty: Some(length_penalty),
                seed: Some(seed),
                top_k: Some(7),
                top_p: Some(0.9),
                repetition_penalty: Some(repetition_penalty),
                no_repeat_ngram_size: Some(no_repeat_ngram_size),
                min_new_tokens: Some(min_new_tokens.min(max_new_tokens)),
                max_new_tokens: Some(max_new_tokens),
                ..Default::default()
            }
        },
    )
}

pub fn any_prompts() -> impl Strategy<Value = Vec<Vec<u32>>> {
    prop::collection::vec(prop::collection::vec(1..30_u32, 1..7), 1..5)
}

proptest! {
    #[test]
    fn an_answer_depends_on_its_prompt_alone(seed: u64, prompts in any_prompts(), raw in any_settings()) {
        let model = toy(30, seed);
        let batch = decode(&model, &prompts, &raw);
        let rows_in_batch = model.rows_computed.take();
        let singles: Vec<_> =
            prompts.iter().flat_map(|prompt| decode(&model, std::slice::from_ref(prompt), &raw)).collect();
        prop_assert_eq!(&batch, &singles);
        prop_assert_eq!(rows_in_batch, model.rows_computed.take(), "finished prompts must leave the batch");

        let reversed: Vec<_> = prompts.into_iter().rev().collect();
        prop_assert_eq!(batch, decode(&model, &reversed, &raw).into_iter().rev().collect::<Vec<_>>());
    }

    #[test]
    fn answers_keep_the_rules(seed: u64, prompts in any_prompts(), raw in any_settings()) {
        let answers = decode(&toy(30, seed), &prompts, &raw);
        prop_assert_eq!(answers.len(), prompts.len());
        let max_new_tokens = raw.max_new_tokens.expect("set");
        let ngram_size = raw.no_repeat_ngram_size.expect("set");
        for (prompt, hypotheses) in prompts.iter().zip(&answers) {
            prop_assert_eq!(Some(hypotheses.len()), raw.num_return_sequences);
            prop_assert!(hypotheses.is_sorted_by(|a, b| a.score >= b.score));
            for hypothesis in hypotheses {
                let length = hypothesis.token_ids.len();
                prop_assert!(!hypothesis.token_ids.contains(&EOS));
                prop_assert!(hypothesis.score.is_finite());
                match hypothesis.finish {
                    Finish::Length | Finish::Budget => prop_assert_eq!(length, max_new_tokens),
                    Finish::Eos => prop_assert!(Some(length) >= raw.min_new_tokens && length < max_new_tokens),
                }
                if ngram_size > 0 {
                    let all = [&prompt[..], &hypothesis.token_ids].concat();
                    let windows: Vec<_> = all.windows(ngram_size).collect();
                    let seen_in_prompt = prompt.windows(ngram_size).count();
                    for (idx, window) in windows.iter().enumerate().skip(seen_in_prompt) {
                        prop_assert!(!windows[..idx].contains(window), "{:?} twice", window);
                    }
                }
            }
        }
    }

    #[test]
    fn enough_beams_find_the_best_of_all_answers(
        seed: u64,
        prompt in prop::collection::vec(0..4_u32, 1..4),
        length_penalty in prop::sample::select(vec![-1.0, 0.0, 0.6, 1.0, 2.0]),
        is_total: bool,
    ) {
        let model = toy(4, seed);
        let length_normalization = if is_total { LengthNormalization::Total } else { LengthNormalization::Generated };
        let raw = RawDecodingSettings {
            num_beams: Some(64),
            num_return_sequences: Some(10),
            max_new_tokens: Some(3),
            length_penalty: Some(length_penalty),
            length_normalization: Some(length_normalization),
            early_stopping: Some(EarlyStopping::Never),
            ..Default::default()
        };
        let found = decode(&model, std::slice::from_ref(&prompt), &raw).remove(0);
        let expected = exhaustive(&model, &prompt, 3, &|sum, generated, finish| {
            let length = match length_normalization {
                LengthNormalization::Generated => generated + usize::from(finish == Finish::Eos),
                LengthNormalization::Total => prompt.len() + generated,
            };
            sum / (length as f64).powf(length_penalty)
        });
        // Two answers may score the same but for rounding: the order is that of the scores.
        for (found, (_, score)) in found.iter().zip(&expected) {
            let (_, own_score) =
                expected.iter().find(|(token_ids, _)| *token_ids == found.token_ids).expect("an answer");
            prop_assert!((f64::from(found.score) - own_score).abs() < 1e-4);
            prop_assert!((own_score - score).abs() < 1e-4, "{own_score} where {score} is next");
        }
    }

    #[test]
    fn greedy_takes_the_likeliest_token_each_time(seed: u64, prompt in prop::collection::vec(0..30_u32, 1..7)) {
        let model = toy(30, seed);
        let raw = RawDecodingSettings { num_beams: Some(1), max_new_tokens: Some(12), ..Default::default() };
        let found = decode(&model, std::slice::from_ref(&prompt), &raw).remove(0).remove(0);
        let (mut token_ids, mut sum) = (Vec::new(), 0.0);
        let finish = loop {
            let logits = model.row(&[&prompt[..], &token_ids].concat());
            let best = (0..30).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b])).expect("tokens");
            sum += log_softmax(&logits)[best];
            if best == EOS as usize {
                break Finish::Eos;
            }
            token_ids.push(best as u32);
            if token_ids.len() == 12 {
                break Finish::Length;
            }
        };
        let length = token_ids.len() + usize::from(finish == Finish::Eos);
        prop_assert_eq!(found.finish, finish);
        prop_assert_eq!(found.token_ids, token_ids);
        // The demo's length penalty, -1, multiplies by the length.
        prop_assert!((f64::from(found.score) - sum * length as f64).abs() < 1e-3);
    }

    /// A group of one beam that stops at its first end token is greedy search, if no group precedes it.
    #[test]
    fn the_first_of_single_beam_groups_is_greedy(seed: u64, prompt in prop::collection::vec(0..30_u32, 1..7)) {
        let model = toy(30, seed);
        let greedy = RawDecodingSettings { num_beams: Some(1), max_new_tokens: Some(12), ..Default::default() };
        let groups = RawDecodingSettings {
            num_beams: Some(4),
            num_beam_groups: Some(4),
            num_return_sequences: Some(4),
            diversity_penalty: Some(1.0),
            early_stopping: Some(EarlyStopping::True),
            ..greedy.clone()
        };
        let greedy = decode(&model, std::slice::from_ref(&prompt), &greedy).remove(0).remove(0);
        let groups = decode(&model, std::slice::from_ref(&prompt), &groups).remove(0);
        let same = groups.iter().find(|group| group.token_ids == greedy.token_ids);
        prop_assert!(same.is_some_and(|same| (same.score - greedy.score).abs() < 1e-4), "{greedy:?} is not in {groups:?}");
    }

    #[test]
    fn an_unbearable_penalty_makes_groups_differ_at_every_step(seed: u64, prompts in any_prompts()) {
        let raw = RawDecodingSettings {
            num_beams: Some(6),
            num_beam_groups: Some(6),
            num_return_sequences: Some(6),
            diversity_penalty: Some(1e6),
            max_new_tokens: Some(8),
            suppress_tokens: Some(vec![EOS]),
            ..Default::default()
        };
        for hypotheses in decode(&toy(30, seed), &prompts, &raw) {
            for step in 0..8 {
                let tokens: HashSet<_> = hypotheses.iter().map(|hypothesis| hypothesis.token_ids[step]).collect();
                prop_assert_eq!(tokens.len(), 6);
            }
        }
    }

    /// Stopping earlier costs fewer rows, and never stopping early finds the best of the three.
    #[test]
    fn early_stopping_trades_score_for_rows(
        seed: u64,
        prompt in prop::collection::vec(0..30_u32, 1..7),
        length_penalty in prop::sample::select(vec![-1.0, 0.0, 0.6, 1.0, 2.0]),
    ) {
        let model = toy(30, seed);
        let [by_guess, at_once, never] = EARLY_STOPPING.map(|early_stopping| {
            let raw = RawDecodingSettings {
                num_beams: Some(3),
                max_new_tokens: Some(12),
                length_penalty: Some(length_penalty),
                early_stopping: Some(early_stopping),
                ..Default::default()
            };
            let best = decode(&model, std::slice::from_ref(&prompt), &raw).remove(0).remove(0);
            (model.rows_computed.take(), best.score)
        });
        prop_assert!(at_once.0 <= by_guess.0 && by_guess.0 <= never.0);
        prop_assert!(at_once.1 <= by_guess.1 && by_guess.1 <= never.1);
    }
}
