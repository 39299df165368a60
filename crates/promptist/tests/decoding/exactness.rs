//! Searches that ask for little find what they would find in all of a row.

use std::cell::RefCell;

use promptist::Result;
use promptist::decoding::{
    Answers, EarlyStopping, Finish, Hypothesis, LanguageModel, Normalizer, Queries, Query,
    RawDecodingSettings, TokenLogit,
};
use proptest::prelude::*;

use crate::searches::{EOS, any_prompts, any_settings, decode};
use crate::toy::Toy;

const VOCAB_SIZE: usize = 120;

/// A model with few different logits, so that ties are everywhere, and tokens that cannot come.
///
/// Asked for all logits, it gives them; asked for some, no more than these.
struct Coarse {
    toy: Toy,
    /// Different logits in a row, about.
    levels: f32,
    /// What was asked of each row: how many of the largest and how many by name; `None` if all.
    asked: RefCell<Vec<Option<(usize, usize)>>>,
}

impl Coarse {
    fn new(seed: u64, levels: u8) -> Self {
        let toy = Toy::new(VOCAB_SIZE, seed, &[EOS], 2.0);
        Self { toy, levels: f32::from(levels), asked: RefCell::default() }
    }

    fn row(&self, tokens: &[u32]) -> Vec<f32> {
        let mut row = self.toy.row(tokens);
        for logit in &mut row {
            *logit = match (*logit * self.levels).floor() / self.levels {
                0.0 => f32::NEG_INFINITY,
                level => level,
            };
        }
        row[1] = 0.5; // not all can be impossible
        row
    }
}

impl LanguageModel for Coarse {
    type Cache = Vec<Vec<u32>>;

    fn vocab_size(&self) -> usize {
        VOCAB_SIZE
    }

    fn n_positions(&self) -> usize {
        64
    }

    fn new_cache(&self) -> Self::Cache {
        Vec::new()
    }

    fn append(
        &self,
        cache: &mut Self::Cache,
        token_ids: &[&[u32]],
        queries: &Queries,
        answers: &mut Answers,
    ) -> Result<()> {
        cache.resize(token_ids.len(), Vec::new());
        answers.clear();
        for ((tokens, token_ids), query) in cache.iter_mut().zip(token_ids).zip(queries.iter()) {
            tokens.extend_from_slice(token_ids);
            answers.push_row(query, &self.row(tokens))?;
            self.asked.borrow_mut().push(match query {
                Query::All => None,
                Query::Top { count, token_ids, .. } => Some((count, token_ids.len())),
            });
        }
        Ok(())
    }

    fn reorder(&self, cache: &mut Self::Cache, rows: &[usize]) -> Result<()> {
        self.toy.reorder(cache, rows)
    }
}

/// Beam search over every logit of every row, without a thought for cost: the definition.
///
/// It ranks by scores in f32 as they are, ties to the lower (beam, token); stops never early.
fn plain_beam_search(model: &Coarse, prompt: &[u32], raw: &RawDecodingSettings) -> Vec<Hypothesis> {
    let (num_beams, max_new_tokens) = (raw.num_beams.expect("set"), raw.max_new_tokens.expect("set"));
    let length_penalty = raw.length_penalty.expect("set");
    let normalized = |score: f32, length: usize| score / (length as f64).powf(length_penalty) as f32;
    let cut = |token_ids: &[u32], score| {
        let score = normalized(score, token_ids.len().max(1));
        Hypothesis { token_ids: token_ids.to_vec(), score, finish: Finish::Length }
    };
    let mut beams: Vec<(Vec<u32>, f32)> = vec![(Vec::new(), 0.0)];
    let mut finished: Vec<Hypothesis> = Vec::new();
    for length in 1..=max_new_tokens {
        let mut candidates = Vec::new();
        for (beam_idx, (generated, beam_score)) in beams.iter().enumerate() {
            let tokens = [prompt, generated].concat();
            let logits = model.row(&tokens);
            let normalizer = Normalizer::of(&logits);
            let mut scores: Vec<f32> = logits.iter().map(|&logit| normalizer.log_prob(logit)).collect();
            apply_rules(raw, &tokens, generated.len(), &mut scores);
            let scores = scores.into_iter().enumerate().filter(|(_, score)| score.is_finite());
            candidates.extend(scores.map(|(id, score)| (score + beam_score, beam_idx, id as u32)));
        }
        candidates.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        candidates.truncate(2 * num_beams);
        let mut next = Vec::new();
        for (rank, &(score, beam_idx, token_id)) in candidates.iter().enumerate() {
            let mut token_ids = beams[beam_idx].0.clone();
            if token_id == EOS && rank < num_beams {
                finished.push(Hypothesis {
                    token_ids,
                    score: normalized(score, length),
                    finish: Finish::Eos,
                });
            } else if token_id != EOS && next.len() < num_beams {
                token_ids.push(token_id);
                if length == max_new_tokens {
                    finished.push(cut(&token_ids, score));
                }
                next.push((token_ids, score));
            }
        }
        if candidates.is_empty() {
            finished.extend(beams.iter().map(|(token_ids, score)| cut(token_ids, *score)));
        }
        beams = next;
    }
    finished.sort_by(|a, b| b.score.total_cmp(&a.score));
    finished
}

/// The rules over a whole row, each written down anew.
fn apply_rules(raw: &RawDecodingSettings, tokens: &[u32], num_generated: usize, scores: &mut [f32]) {
    let penalty = raw.repetition_penalty.unwrap_or(1.0) as f32;
    let size = raw.no_repeat_ngram_size.unwrap_or(0);
    for (id, score) in scores.iter_mut().enumerate() {
        if penalty != 1.0 && tokens.contains(&(id as u32)) {
            *score = if *score < 0.0 { *score * penalty } else { *score / penalty };
        }
        let continued = [tokens, &[id as u32]].concat();
        let mut before = continued.windows(size.max(1)).rev().skip(1);
        let repeats = size > 0 && continued.len() >= size && {
            let end = &continued[continued.len() - size..];
            before.any(|run| run == end)
        };
        let is_early = id as u32 == EOS && num_generated < raw.min_new_tokens.unwrap_or(0);
        let is_suppressed = raw.suppress_tokens.iter().flatten().any(|&other| other == id as u32);
        if repeats || is_early || is_suppressed {
            *score = f32::NEG_INFINITY;
        }
    }
}

fn bits(hypotheses: &[Hypothesis]) -> Vec<(Vec<u32>, u32, Finish)> {
    hypotheses.iter().map(|h| (h.token_ids.clone(), h.score.to_bits(), h.finish)).collect()
}

/// A model that tells more than it is asked: every token in order, in place of the largest few.
struct Generous(Coarse);

impl LanguageModel for Generous {
    type Cache = Vec<Vec<u32>>;

    fn vocab_size(&self) -> usize {
        VOCAB_SIZE
    }

    fn n_positions(&self) -> usize {
        64
    }

    fn new_cache(&self) -> Self::Cache {
        Vec::new()
    }

    fn append(
        &self,
        cache: &mut Self::Cache,
        token_ids: &[&[u32]],
        queries: &Queries,
        answers: &mut Answers,
    ) -> Result<()> {
        let mut all = Answers::default();
        self.0.append(cache, token_ids, &Queries::all(token_ids.len()), &mut all)?;
        answers.clear();
        for (row, query) in queries.iter().enumerate() {
            let logits = all.row(row).logits;
            let Query::Top { token_ids, .. } = query else {
                answers.push_row(query, logits)?;
                continue;
            };
            let mut sorted: Vec<TokenLogit> =
                (0..).zip(logits).map(|(token_id, &logit)| TokenLogit { token_id, logit }).collect();
            sorted.retain(|token| token.logit.is_finite());
            sorted.sort_by(|a, b| b.logit.total_cmp(&a.logit));
            let asked = token_ids.iter().map(|&id| logits[id as usize]);
            answers.push_top(Normalizer::of(logits), sorted, asked);
        }
        Ok(())
    }

    fn reorder(&self, cache: &mut Self::Cache, rows: &[usize]) -> Result<()> {
        self.0.reorder(cache, rows)
    }
}

/// Settings of every search, with and without tokens banned and top-k.
fn any_settings_and_bans() -> impl Strategy<Value = RawDecodingSettings> {
    let bans = prop::collection::vec(0..VOCAB_SIZE as u32, 0..6);
    let warpers = (prop::sample::select(vec![0, 1, 7, 40]), prop::sample::select(vec![0.5, 1.0]));
    (any_settings(), bans, warpers).prop_map(|(raw, bans, (top_k, top_p))| RawDecodingSettings {
        suppress_tokens: Some(bans),
        top_k: Some(top_k),
        top_p: Some(top_p),
        ..raw
    })
}

proptest! {
    #[test]
    fn beam_search_finds_what_a_search_over_all_logits_finds(
        seed: u64,
        levels in 1..20_u8,
        prompts in any_prompts(),
        raw in any_settings_and_bans(),
        num_beams in 2..6_usize,
    ) {
        let raw = RawDecodingSettings {
            num_beams: Some(num_beams),
            num_beam_groups: None,
            diversity_penalty: None,
            do_sample: None,
            num_return_sequences: Some(num_beams),
            early_stopping: Some(EarlyStopping::Never),
            length_normalization: None,
            ..raw
        };
        let model = Coarse::new(seed, levels);
        for (prompt, found) in prompts.iter().zip(decode(&model, &prompts, &raw)) {
            let expected = plain_beam_search(&model, prompt, &raw);
            prop_assert_eq!(bits(&found), bits(&expected[..found.len()]));
            prop_assert_eq!(found.len(), expected.len().min(num_beams));
        }
    }

    #[test]
    fn nothing_more_would_change_an_answer(
        seed: u64,
        levels in 1..20_u8,
        prompts in any_prompts(),
        raw in any_settings_and_bans(),
    ) {
        let frugal = Coarse::new(seed, levels);
        let found = decode(&frugal, &prompts, &raw);
        let generous = decode(&Generous(Coarse::new(seed, levels)), &prompts, &raw);
        for (found, expected) in found.iter().zip(&generous) {
            prop_assert_eq!(bits(found), bits(expected));
        }
        let needs_all = raw.do_sample == Some(true) && raw.top_k == Some(0);
        prop_assert!(frugal.asked.borrow().iter().all(|asked| asked.is_none() == needs_all));
    }
}

#[test]
fn searches_ask_for_little() {
    let asked = |raw: RawDecodingSettings| {
        let model = Coarse::new(1, 10);
        decode(&model, &[vec![1, 2, 3]], &RawDecodingSettings { max_new_tokens: Some(4), ..raw });
        let mut asked = model.asked.take();
        asked.dedup();
        asked
    };
    let raw = || RawDecodingSettings { num_beams: Some(4), ..Default::default() };
    assert_eq!(asked(raw()), [Some((8, 0))]);
    assert_eq!(asked(RawDecodingSettings { num_beams: Some(1), ..raw() }), [Some((1, 0))]);
    let groups = RawDecodingSettings { num_beam_groups: Some(2), diversity_penalty: Some(1.0), ..raw() };
    assert_eq!(asked(groups), [Some((4 + 4, 0))]);
    // Rules ask by name, and for as many more of the largest: here the end, as long as it may not come.
    let late = RawDecodingSettings { min_new_tokens: Some(2), suppress_tokens: Some(vec![9, 9]), ..raw() };
    assert_eq!(asked(late), [Some((10, 2)), Some((9, 1))]);
    let sample = |top_k| RawDecodingSettings {
        do_sample: Some(true),
        num_beams: Some(1),
        top_k: Some(top_k),
        ..raw()
    };
    assert_eq!(asked(sample(5)), [Some((5 + 16, 0))]);
    assert_eq!(asked(sample(0)), [None]);
}
