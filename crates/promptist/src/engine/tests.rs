//! Whole steps of a model in memory, small and without a file, so that sanitizers can watch them. The
//! models of the golden files are for `tests/engine.rs`.

use super::*;
use crate::decoding::{Allowed, Query};

/// Numbers in -0.5..0.5, the same for the same name.
fn numbers(name: &str, count: usize) -> Vec<f32> {
    let mut state = name.bytes().fold(7_u64, |seed, byte| seed.wrapping_mul(31) + u64::from(byte));
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
    };
    (0..count).map(|_| next()).collect()
}

fn engine(precision: Precision, isa: Isa, num_threads: usize) -> Engine {
    let config = Gpt2Config {
        vocab_size: 70,
        n_positions: 12,
        n_embd: 18,
        n_layer: 2,
        n_head: 2,
        n_inner: Some(52),
        bos_token_id: None,
        eos_token_id: None,
        ..Default::default()
    };
    let options = EngineOptions { precision, isa: Some(isa), num_threads };
    let read = |name: &str, shape: &[usize]| Ok(numbers(name, shape.iter().product()));
    Engine::read(&config, options, read).expect("a possible model")
}

/// What a row is answered when its text is read alone, on one thread.
#[track_caller]
fn check(alone: &Engine, texts: &[&[u32]], answers: &Answers) {
    assert_eq!(answers.len(), texts.len());
    for (row, text) in texts.iter().enumerate() {
        let (answer, logits) = (answers.row(row), alone.logits(text).expect("tokens"));
        let expected = logits.last().expect("a token");
        match answer.logits {
            [] => {
                assert_eq!(answer.asked, [expected[69], expected[3]]);
                assert!(answer.top.iter().all(|top| top.logit == expected[top.token_id as usize]));
            }
            logits => assert_eq!(logits, expected),
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "rayon, which packs the weights, does not keep Miri's aliasing rules")]
fn rows_join_and_part_on_several_threads() {
    let available = || Isa::ALL.into_iter().filter(|isa| isa.is_available());
    for (precision, isa) in Precision::ALL.into_iter().flat_map(|p| available().map(move |isa| (p, isa))) {
        let (alone, engine) = (engine(precision, isa, 1), engine(precision, isa, 3));
        let (mut cache, mut answers) = (engine.new_cache(), Answers::default());
        let mut queries = Queries::default();
        for query in
            [Query::All, Query::Top { count: 5, allowed: Allowed::ALL, token_ids: &[69, 3] }, Query::All]
        {
            queries.push(query);
        }
        engine.append(&mut cache, &[&[3, 1, 4], &[1], &[5, 9]], &queries, &mut answers).expect("prompts");
        check(&alone, &[&[3, 1, 4], &[1], &[5, 9]], &answers);

        engine.reorder(&mut cache, &[2, 0]).expect("rows that are there");
        engine.append(&mut cache, &[&[2], &[6], &[69, 0]], &queries, &mut answers).expect("tokens");
        check(&alone, &[&[5, 9, 2], &[3, 1, 4, 6], &[69, 0]], &answers);

        engine.reorder(&mut cache, &[1, 1, 0]).expect("rows that are there");
        engine.append(&mut cache, &[&[7], &[8], &[8]], &queries, &mut answers).expect("tokens");
        check(&alone, &[&[3, 1, 4, 6, 7], &[3, 1, 4, 6, 8], &[5, 9, 2, 8]], &answers);
    }
}

#[test]
#[cfg_attr(miri, ignore = "rayon, which packs the weights, does not keep Miri's aliasing rules")]
fn texts_read_at_once_are_as_likely_as_token_by_token() {
    use crate::decoding::teacher_forcing::{ForcedText, observe};

    let engine = engine(Precision::F32, Isa::detect(), 2);
    let texts: [&[u32]; 3] = [&[3, 1, 4, 1, 5, 9], &[2, 6], &[5, 3, 5, 8, 9]];
    let texts: Vec<ForcedText> =
        texts.iter().zip([2, 1, 4]).map(|(token_ids, from)| ForcedText { token_ids, from }).collect();
    let readings = engine.read_texts(&texts).expect("texts that fit");
    for ((text, reading), observed) in texts.iter().zip(&readings).zip(observe(&engine, &texts).expect("fit"))
    {
        let logprobs: Vec<f32> = observed.iter().map(|token| token.logprob).collect();
        assert_eq!(reading.logprobs, logprobs);
        assert_eq!(
            engine.read_texts(&[*text]).expect("fits"),
            std::slice::from_ref(reading),
            "alone or beside others"
        );
        let mean = reading.hidden.iter().sum::<f32>();
        assert!(mean.abs() < 1e-4, "every state is centred: {mean}");
    }
    for token_ids in [&[3_u32, 1][..], &[]] {
        assert!(engine.read_texts(&[ForcedText { token_ids, from: 2 }]).is_err());
    }
}
