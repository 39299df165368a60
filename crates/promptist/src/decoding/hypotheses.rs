//! Finished answers, and the pool that keeps the best of them.

use serde::{Deserialize, Serialize};

/// One answer to a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// The generated tokens: no prompt, no end token.
    pub token_ids: Vec<u32>,
    /// Sum of log-probabilities over length to the power of the length penalty: what ranks beams
    /// (transformers' `sequences_scores`). For greedy and sampling the log-probabilities are the
    /// model's own, before any processor.
    pub score: f32,
    /// How it came to its end.
    pub finish: Finish,
}

/// How an answer came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The model ended it.
    Eos,
    /// It was cut at `max_new_tokens`.
    Length,
    /// It ends with its last whole phrase: there was no room for the next.
    Budget,
}

/// The best finished answers of one beam search (of one group, in diverse beam search).
#[derive(Debug)]
pub(super) struct FinishedPool {
    capacity: usize,
    /// Best first; of equal scores the earlier first.
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// f64 because transformers' `BeamHypotheses` computes in Python floats.
    score: f64,
    token_ids: Vec<u32>,
    finish: Finish,
}

impl FinishedPool {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, entries: Vec::with_capacity(capacity) }
    }

    /// Adds an answer unless the pool is full of better or equal ones.
    pub(super) fn add(&mut self, score: f64, token_ids: &[u32], finish: Finish) {
        if self.worst_of_full().is_some_and(|worst| score <= worst) {
            return;
        }
        self.entries.truncate(self.capacity - 1);
        let rank = self.entries.partition_point(|entry| entry.score >= score);
        self.entries.insert(rank, Entry { score, token_ids: token_ids.to_vec(), finish });
    }

    /// Adds what is left of a beam that was cut, unless another was cut to the same.
    pub(super) fn add_cut(&mut self, score: f64, token_ids: &[u32], finish: Finish) {
        if !self.entries.iter().any(|entry| entry.token_ids == token_ids) {
            self.add(score, token_ids, finish);
        }
    }

    /// The score that a further answer must beat; `None` while there is room.
    pub(super) fn worst_of_full(&self) -> Option<f64> {
        if self.entries.len() < self.capacity { None } else { self.entries.last().map(|entry| entry.score) }
    }

    /// The best `count` answers of several pools, best first; of equal scores the earlier pool's.
    pub(super) fn best_of(pools: impl IntoIterator<Item = Self>, count: usize) -> Vec<Hypothesis> {
        let mut entries: Vec<Entry> = pools.into_iter().flat_map(|pool| pool.entries).collect();
        entries.sort_by(|a, b| b.score.total_cmp(&a.score));
        let hypothesis = |entry: Entry| Hypothesis {
            token_ids: entry.token_ids,
            score: entry.score as f32,
            finish: entry.finish,
        };
        entries.into_iter().take(count).map(hypothesis).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_pool_takes_only_better_answers_and_the_earlier_of_equals_stays() {
        let mut pool = FinishedPool::new(2);
        assert_eq!(pool.worst_of_full(), None);
        pool.add(-2.0, &[1], Finish::Eos);
        assert_eq!(pool.worst_of_full(), None);
        pool.add(-2.0, &[2], Finish::Eos);
        assert_eq!(pool.worst_of_full(), Some(-2.0));
        pool.add(-2.0, &[3], Finish::Eos);
        pool.add(-1.0, &[4], Finish::Length);
        pool.add(-3.0, &[5], Finish::Eos);
        let best = FinishedPool::best_of([pool], 8);
        assert_eq!(
            best,
            [
                Hypothesis { token_ids: vec![4], score: -1.0, finish: Finish::Length },
                Hypothesis { token_ids: vec![1], score: -2.0, finish: Finish::Eos },
            ]
        );
    }

    #[test]
    fn beams_that_are_cut_to_the_same_are_one_answer() {
        let mut pool = FinishedPool::new(3);
        pool.add(-2.0, &[1], Finish::Eos);
        pool.add_cut(-1.0, &[1], Finish::Budget);
        pool.add_cut(-3.0, &[2], Finish::Budget);
        pool.add_cut(-3.0, &[2], Finish::Length);
        let best = FinishedPool::best_of([pool], 8);
        assert_eq!(
            best.iter().map(|h| (h.token_ids[0], h.score)).collect::<Vec<_>>(),
            [(1, -2.0), (2, -3.0)]
        );
    }

    #[test]
    fn pools_merge_by_score_and_then_by_order() {
        let pool = |entries: &[(f64, u32)]| {
            let mut pool = FinishedPool::new(2);
            for &(score, id) in entries {
                pool.add(score, &[id], Finish::Eos);
            }
            pool
        };
        let best = FinishedPool::best_of([pool(&[(-1.0, 1), (-3.0, 2)]), pool(&[(-1.0, 3), (-2.0, 4)])], 3);
        assert_eq!(best.iter().map(|h| h.token_ids[0]).collect::<Vec<_>>(), [1, 3, 4]);
    }
}
