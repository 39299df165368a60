//! Single cases: what a run costs, ties, dead ends, impossible requests.

use promptist::Error;
use promptist::decoding::{
    Answers, Finish, Hypothesis, LanguageModel, Queries, RawDecodingSettings, generate,
};

use crate::searches::{EOS, decode, toy};
use crate::toy::Toy;

#[test]
fn a_prompt_is_read_once_and_then_has_a_row_per_beam() {
    let model = toy(30, 1);
    let raw = RawDecodingSettings {
        num_beams: Some(4),
        max_new_tokens: Some(5),
        min_new_tokens: Some(5),
        ..Default::default()
    };
    decode(&model, &[vec![1, 2], vec![3]], &raw);
    // The last step needs no logits of its own.
    assert_eq!(model.rows_computed.get(), 2 + 2 * 4 * 4);
}

#[test]
fn equal_scores_go_to_the_lower_beam_and_token() {
    struct Flat;
    impl LanguageModel for Flat {
        type Cache = ();
        fn vocab_size(&self) -> usize {
            100
        }
        fn n_positions(&self) -> usize {
            64
        }
        fn new_cache(&self) {}
        fn append(
            &self,
            _: &mut (),
            _: &[&[u32]],
            queries: &Queries,
            answers: &mut Answers,
        ) -> promptist::Result<()> {
            answers.clear();
            queries.iter().try_for_each(|query| answers.push_row(query, &[0.0; 100]))
        }
        fn reorder(&self, _: &mut (), _: &[usize]) -> promptist::Result<()> {
            Ok(())
        }
    }
    let raw = RawDecodingSettings {
        num_beams: Some(3),
        num_return_sequences: Some(3),
        max_new_tokens: Some(2),
        ..Default::default()
    };
    let answers =
        generate(&Flat, &[vec![5]], &raw.clone().resolve().expect("possible"), &[]).expect("decoding");
    let ids: Vec<_> = answers[0].iter().map(|hypothesis| hypothesis.token_ids.clone()).collect();
    assert_eq!(ids, [[0, 0], [0, 1], [0, 2]]);
    let greedy = RawDecodingSettings { num_beams: Some(1), num_return_sequences: Some(1), ..raw };
    let answers = generate(&Flat, &[vec![5]], &greedy.resolve().expect("possible"), &[]).expect("decoding");
    assert_eq!(answers[0][0].token_ids, [0, 0]);
}

#[test]
fn searches_end_where_every_token_is_banned() {
    let everything = RawDecodingSettings {
        suppress_tokens: Some((0..30).collect()),
        num_beams: Some(4),
        max_new_tokens: Some(10),
        ..Default::default()
    };
    let searches = [
        everything.clone(),
        RawDecodingSettings { num_beams: Some(1), ..everything.clone() },
        RawDecodingSettings { num_beams: Some(1), do_sample: Some(true), ..everything.clone() },
        RawDecodingSettings { num_beam_groups: Some(2), diversity_penalty: Some(1.0), ..everything.clone() },
    ];
    for raw in searches {
        let answers = decode(&toy(30, 3), &[vec![1]], &raw).remove(0);
        assert_eq!(
            answers,
            [Hypothesis { token_ids: vec![], score: 0.0, finish: Finish::Length }],
            "{raw:?}"
        );
        // With one token left there is one answer, however many beams look for others.
        let only_nine = RawDecodingSettings {
            suppress_tokens: Some((0..30).filter(|&id| id != 9).collect()),
            max_new_tokens: Some(3),
            ..raw
        };
        assert_eq!(decode(&toy(30, 3), &[vec![1]], &only_nine)[0][0].token_ids, [9, 9, 9]);
    }
}

#[test]
fn impossible_requests_are_errors() {
    let model = toy(30, 1);
    let raw = RawDecodingSettings { num_beams: Some(2), max_new_tokens: Some(60), ..Default::default() };
    let run = |prompts: &[Vec<u32>], raw: RawDecodingSettings, keys: &[u64]| {
        generate(&model, prompts, &raw.resolve().expect("possible"), keys)
    };
    assert!(matches!(run(&[], raw.clone(), &[]), Ok(answers) if answers.is_empty()));
    assert!(matches!(run(&[vec![1], vec![]], raw.clone(), &[]), Err(Error::EmptyPrompt)));
    assert!(matches!(
        run(&[vec![1; 5]], raw.clone(), &[]),
        Err(Error::PromptTooLong { prompt_tokens: 5, max_new_tokens: 60, n_positions: 64 })
    ));
    assert!(matches!(run(&[vec![30]], raw.clone(), &[]), Err(Error::Shape(_))));
    let sample = RawDecodingSettings { do_sample: Some(true), num_beams: None, ..raw.clone() };
    assert!(matches!(run(&[vec![1]], sample, &[]), Err(Error::Shape(_))));
    for (key, raw) in [
        ("eos_token_id", RawDecodingSettings { eos_token_id: Some(vec![1, 30]), ..raw.clone() }),
        ("pad_token_id", RawDecodingSettings { pad_token_id: Some(30), ..raw.clone() }),
        ("suppress_tokens", RawDecodingSettings { suppress_tokens: Some(vec![99]), ..raw.clone() }),
    ] {
        assert!(matches!(run(&[vec![1]], raw, &[]), Err(Error::Config { key: found, .. }) if found == key));
    }
    let hostile = Toy::new(30, 1, &[EOS], f32::NAN);
    let settings = raw.resolve().expect("possible");
    assert!(matches!(generate(&hostile, &[vec![1]], &settings, &[]), Err(Error::NotFinite(_))));
}
