//! Requests that join and leave between steps.

use std::cell::Cell;
use std::collections::HashMap;

use promptist::decoding::{
    Answers, BatchLoop, Finished, Guided, Hypothesis, LanguageModel, Queries, RawDecodingSettings, Request,
    RequestId, generate,
};
use promptist::{Error, Result};
use proptest::prelude::*;

use crate::searches::{EOS, any_settings, decode, sample_key, settings, toy};
use crate::toy::Toy;

fn request(prompt: &[u32], raw: &RawDecodingSettings) -> Request {
    Request { prompt: prompt.to_vec(), settings: settings(raw), sample_key: sample_key(prompt), guide: None }
}

/// Greedy search for a given number of tokens.
fn greedy(max_new_tokens: usize) -> RawDecodingSettings {
    RawDecodingSettings {
        num_beams: Some(1),
        max_new_tokens: Some(max_new_tokens),
        min_new_tokens: Some(max_new_tokens),
        ..Default::default()
    }
}

fn ids(finished: &[Finished]) -> Vec<RequestId> {
    finished.iter().map(|finished| finished.id).collect()
}

/// A model that notes the most rows it held, and fails when it is told to.
struct Watched {
    toy: Toy,
    most_rows: Cell<usize>,
    fails: Cell<bool>,
}

impl Watched {
    fn new(seed: u64) -> Self {
        Self { toy: toy(30, seed), most_rows: Cell::new(0), fails: Cell::new(false) }
    }
}

impl LanguageModel for Watched {
    type Cache = Vec<Vec<u32>>;

    fn vocab_size(&self) -> usize {
        self.toy.vocab_size()
    }

    fn n_positions(&self) -> usize {
        self.toy.n_positions()
    }

    fn new_cache(&self) -> Self::Cache {
        self.toy.new_cache()
    }

    fn append(
        &self,
        cache: &mut Self::Cache,
        token_ids: &[&[u32]],
        queries: &Queries,
        answers: &mut Answers,
    ) -> Result<()> {
        if self.fails.take() {
            return Err(Error::NotFinite("a weight".to_owned()));
        }
        self.most_rows.set(self.most_rows.get().max(token_ids.len()));
        self.toy.append(cache, token_ids, queries, answers)
    }

    fn reorder(&self, cache: &mut Self::Cache, rows: &[usize]) -> Result<()> {
        self.toy.reorder(cache, rows)
    }
}

/// What happens to a request, and when.
#[derive(Debug, Clone)]
struct Visit {
    prompt: Vec<u32>,
    raw: RawDecodingSettings,
    joins_at: usize,
    /// Steps after joining at which it is cancelled.
    leaves_after: Option<usize>,
}

fn any_visit() -> impl Strategy<Value = Visit> {
    let prompt = prop::collection::vec(1..30_u32, 1..7);
    (prompt, any_settings(), 0..15_usize, prop::option::weighted(0.2, 0..10_usize))
        .prop_map(|(prompt, raw, joins_at, leaves_after)| Visit { prompt, raw, joins_at, leaves_after })
}

/// Runs the visits in one loop; the answers to each, none where it was cancelled in time.
fn answers<M: LanguageModel>(
    model: &M,
    visits: &[Visit],
    max_rows: usize,
) -> std::result::Result<Vec<Option<Vec<Hypothesis>>>, TestCaseError> {
    let mut batch = BatchLoop::new(model, max_rows);
    let mut answers: HashMap<RequestId, Vec<Hypothesis>> = HashMap::new();
    let mut joined = vec![None; visits.len()];
    let mut cancelled = Vec::new();
    for step in 0.. {
        for (visit, joined) in visits.iter().zip(&mut joined) {
            if visit.joins_at == step {
                *joined = Some(batch.add(request(&visit.prompt, &visit.raw)).expect("possible"));
            }
            if let (Some(id), Some(after)) = (*joined, visit.leaves_after)
                && step == visit.joins_at + after
            {
                prop_assert_eq!(batch.cancel(id), !answers.contains_key(&id));
                cancelled.push(id);
            }
        }
        for finished in batch.step() {
            prop_assert!(!cancelled.contains(&finished.id));
            let before = answers.insert(finished.id, finished.answers.expect("answers"));
            prop_assert!(before.is_none());
        }
        if batch.is_idle() && visits.iter().all(|visit| visit.joins_at <= step) {
            break;
        }
    }
    let answers = joined.into_iter().map(|id| id.and_then(|id| answers.remove(&id)));
    Ok(answers.collect())
}

fn alone<M: LanguageModel>(model: &M, visit: &Visit) -> Vec<Hypothesis> {
    decode(model, std::slice::from_ref(&visit.prompt), &visit.raw).remove(0)
}

proptest! {
    #[test]
    fn an_answer_does_not_depend_on_who_comes_and_goes(
        seed: u64,
        visits in prop::collection::vec(any_visit(), 1..8),
        max_rows in 12..40_usize,
    ) {
        let model = Watched::new(seed);
        let found = answers(&model, &visits, max_rows)?;
        prop_assert!(model.most_rows.get() <= max_rows);
        for (visit, found) in visits.iter().zip(found) {
            prop_assert!(found.is_some() || visit.leaves_after.is_some());
            prop_assert!(found.is_none_or(|found| found == alone(&model, visit)));
        }
    }

    #[test]
    fn nor_does_it_under_guidance(
        seed: u64,
        visits in prop::collection::vec(any_visit(), 1..6),
        max_rows in 12..40_usize,
    ) {
        let model = toy(30, seed);
        let guided = Guided { model: &model, scale: 2.5, neutral_prompt: (&[4, 5, 6]).into() };
        for (visit, found) in visits.iter().zip(answers(&guided, &visits, max_rows)?) {
            prop_assert!(found.is_none_or(|found| found == alone(&guided, visit)));
        }
    }
}

#[test]
fn requests_wait_their_turn() {
    let model = Watched::new(1);
    let mut batch = BatchLoop::new(&model, 4);
    let beams = RawDecodingSettings { num_beams: Some(3), ..greedy(2) };
    let mut add = |raw: &RawDecodingSettings| batch.add(request(&[1], raw)).expect("possible");
    let [first, wide, second] = [add(&greedy(3)), add(&beams), add(&greedy(1))];
    let third = add(&beams);
    // `first` and `wide` fill it; `second` would fit after one step, when `wide` still runs.
    let mut step = || (ids(&batch.step()), batch.num_running(), batch.num_waiting());
    assert_eq!(step(), (vec![], 2, 2));
    assert_eq!(step(), (vec![wide], 1, 2));
    assert_eq!(step(), (vec![first, second], 0, 1));
    assert_eq!(step(), (vec![], 1, 0));
    assert_eq!(step(), (vec![third], 0, 0));
    assert_eq!(step(), (vec![], 0, 0));
    assert!(batch.is_idle());

    let too_wide = RawDecodingSettings { num_beams: Some(5), ..greedy(2) };
    let refused = batch.add(request(&[1], &too_wide));
    assert!(matches!(refused, Err(Error::Config { key, .. }) if key == "num_beams"));
}

#[test]
fn cancelled_requests_leave_room_and_no_trace() {
    let model = Watched::new(2);
    let mut batch = BatchLoop::new(&model, 2);
    let mut add = || batch.add(request(&[1, 2], &greedy(3))).expect("possible");
    let [first, second, third, fourth] = [add(), add(), add(), add()];
    assert!(batch.step().is_empty());
    assert!(batch.cancel(first) && batch.cancel(third));
    assert!(!batch.cancel(first), "it has left");
    assert!(batch.step().is_empty());
    assert_eq!((batch.num_running(), batch.num_waiting()), (2, 0));
    assert_eq!(ids(&batch.step()), [second]);
    let last = batch.step().remove(0);
    assert_eq!(last.id, fourth);
    assert_eq!(last.answers.expect("answers"), decode(&model, &[vec![1, 2]], &greedy(3))[0]);
    // All cancelled at once, then others.
    let fifth = batch.add(request(&[3], &greedy(2))).expect("possible");
    batch.step();
    assert!(batch.cancel(fifth) && batch.is_idle());
    batch.add(request(&[4], &greedy(1))).expect("possible");
    let answers = batch.step().remove(0).answers.expect("answers");
    assert_eq!(answers, decode(&model, &[vec![4]], &greedy(1))[0]);
}

#[test]
fn logits_that_are_no_numbers_end_one_search_and_a_failing_model_all() {
    let model = Watched::new(3);
    let mut batch = BatchLoop::new(&model, 9);
    let first = batch.add(request(&[1], &greedy(3))).expect("possible");
    let second = batch.add(request(&[2], &greedy(3))).expect("possible");
    batch.step();
    model.fails.set(true);
    let failed = batch.step();
    assert_eq!(ids(&failed), [first, second]);
    assert!(matches!(failed[0].answers, Err(Error::NotFinite(_))));
    assert!(matches!(failed[1].answers, Err(Error::Decoding(_))));
    // The loop goes on.
    batch.add(request(&[1], &greedy(1))).expect("possible");
    assert!(batch.step()[0].answers.is_ok());

    let poisoned = Poisoned(toy(30, 3));
    let mut batch = BatchLoop::new(&poisoned, 9);
    let bad = batch.add(request(&[29], &greedy(2))).expect("possible");
    let good = batch.add(request(&[1], &greedy(1))).expect("possible");
    let finished = batch.step();
    assert_eq!(ids(&finished), [bad, good]);
    assert!(matches!(finished[0].answers, Err(Error::NotFinite(_))));
    assert!(finished[1].answers.is_ok());
    let settings = settings(&greedy(2));
    assert!(matches!(generate(&poisoned, &[vec![29]], &settings, &[]), Err(Error::NotFinite(_))));
}

/// After token 29 its logits are no numbers.
struct Poisoned(Toy);

impl LanguageModel for Poisoned {
    type Cache = Vec<Vec<u32>>;

    fn vocab_size(&self) -> usize {
        30
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
            let mut row = self.0.row(tokens);
            if tokens.last() == Some(&29) {
                row[EOS as usize + 5] = f32::NAN;
            }
            answers.push_row(query, &row)?;
        }
        Ok(())
    }

    fn reorder(&self, cache: &mut Self::Cache, rows: &[usize]) -> Result<()> {
        self.0.reorder(cache, rows)
    }
}
