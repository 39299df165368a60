//! The best of many tokens: `torch.topk` over a row, or over the continuations of several beams,
//! without sorting them all.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::guide::Allowed;
use super::log_softmax;

/// Logits looked at together: most chunks hold nothing good enough, and one comparison tells.
const CHUNK: usize = 64;

/// One token after one beam.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    /// What it is ranked by: a logit, or the log-probabilities of a beam and the token added up.
    /// Never `-inf` or NaN.
    pub(super) score: f32,
    /// The beam that it continues; 0 where there is only one row.
    pub(super) beam_idx: usize,
    /// The token.
    pub(super) token_id: u32,
}

/// Better is greater; of equal scores the lower (beam, token) is better.
impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score
            .total_cmp(&other.score)
            .then_with(|| other.beam_idx.cmp(&self.beam_idx))
            .then_with(|| other.token_id.cmp(&self.token_id))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

/// Keeps the best candidates offered. Its memory is kept between uses.
#[derive(Debug, Default)]
pub(super) struct TopCandidates {
    capacity: usize,
    /// The worst kept on top.
    kept: BinaryHeap<Reverse<Candidate>>,
    best_first: Vec<Candidate>,
}

impl TopCandidates {
    /// Forgets everything and keeps up to `capacity` from now on.
    pub(super) fn reset(&mut self, capacity: usize) {
        self.capacity = capacity;
        self.kept.clear();
    }

    /// Offers one candidate, in any order. One at `-inf` or NaN cannot come and is passed over.
    pub(super) fn offer(&mut self, candidate: Candidate) {
        if candidate.score.is_nan() || candidate.score == f32::NEG_INFINITY {
            return;
        }
        if self.kept.len() < self.capacity {
            self.kept.push(Reverse(candidate));
        } else if let Some(mut worst) = self.kept.peek_mut()
            && candidate > worst.0
        {
            *worst = Reverse(candidate);
        }
    }

    /// Offers every allowed token of a row, as candidates of beam 0; the only ones offered since `reset`.
    ///
    /// # Shapes
    /// - `scores`: `[V]`
    pub(super) fn offer_row(&mut self, scores: &[f32], allowed: Allowed<'_>) {
        if self.capacity == 0 {
            return;
        }
        for (chunk_idx, chunk) in scores.chunks(CHUNK).enumerate() {
            if log_softmax::max(chunk) <= self.bar() {
                continue;
            }
            for (offset, &score) in chunk.iter().enumerate() {
                // Equal scores lose: what is kept has a lower id.
                let token_id = (chunk_idx * CHUNK + offset) as u32;
                if score > self.bar() && allowed.contains(token_id) {
                    self.offer(Candidate { score, beam_idx: 0, token_id });
                }
            }
        }
    }

    /// What was kept, best first.
    pub(super) fn best_first(&mut self) -> &[Candidate] {
        self.best_first.clear();
        self.best_first.extend(self.kept.drain().map(|Reverse(candidate)| candidate));
        self.best_first.sort_unstable_by(|a, b| b.cmp(a));
        &self.best_first
    }

    /// The score to beat.
    fn bar(&self) -> f32 {
        match self.kept.peek() {
            Some(Reverse(worst)) if self.kept.len() == self.capacity => worst.score,
            _ => f32::NEG_INFINITY,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn score(value: i8) -> f32 {
        if value == -4 { f32::NEG_INFINITY } else { f32::from(value) }
    }

    /// The first `capacity` of a full sort, without what cannot come.
    fn head_of_sorted(mut all: Vec<(f32, usize, u32)>, capacity: usize) -> Vec<(f32, usize, u32)> {
        all.retain(|candidate| candidate.0.is_finite());
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        all.truncate(capacity);
        all
    }

    fn kept(top: &mut TopCandidates) -> Vec<(f32, usize, u32)> {
        top.best_first().iter().map(|c| (c.score, c.beam_idx, c.token_id)).collect()
    }

    // Small whole numbers, so that ties are everywhere.
    proptest! {
        #[test]
        fn the_kept_of_a_row_are_the_head_of_a_full_sort(
            row in prop::collection::vec(-4..4_i8, 300),
            capacity in 0..80_usize,
        ) {
            let mut top = TopCandidates::default();
            let row: Vec<f32> = row.into_iter().map(score).collect();
            let all = row.iter().zip(0..).map(|(&score, id)| (score, 0, id)).collect();
            let expected = head_of_sorted(all, capacity);
            for _ in 0..2 {
                top.reset(capacity);
                top.offer_row(&row, Allowed::ALL);
                prop_assert_eq!(kept(&mut top), expected.clone());
            }
        }

        #[test]
        fn the_order_of_offers_does_not_matter(
            all in prop::collection::hash_map((0..5_usize, 0..50_u32), -4..4_i8, 0..150),
            capacity in 0..40_usize,
        ) {
            let mut top = TopCandidates::default();
            let all: Vec<_> = all.into_iter().map(|((beam, id), value)| (score(value), beam, id)).collect();
            top.reset(capacity);
            for &(score, beam_idx, token_id) in &all {
                top.offer(Candidate { score, beam_idx, token_id });
            }
            prop_assert_eq!(kept(&mut top), head_of_sorted(all, capacity));
        }
    }
}
