//! The best continuations of several beams: `torch.topk` over `[K * V]` without sorting `K * V`.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::log_softmax::{self, Normalizer};

/// Logits looked at together: most chunks hold nothing good enough, and one comparison tells.
const CHUNK: usize = 64;

/// One token after one beam.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    /// Sum of log-probabilities, the beam's and the token's; never `-inf` or NaN.
    pub(super) score: f32,
    /// The beam that it continues.
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

    /// Offers every token after beam `beam_idx`, whose score so far is `beam_score`. Beams must come
    /// in rising order. Tokens at `-inf` cannot come and are passed over.
    ///
    /// # Shapes
    /// - `values`: `[V]`, which `normalizer` turns into log-probabilities
    pub(super) fn offer_row(
        &mut self,
        beam_idx: usize,
        values: &[f32],
        normalizer: Normalizer,
        beam_score: f32,
    ) {
        let score = |value: f32| normalizer.log_prob(value) + beam_score;
        for (chunk_idx, chunk) in values.chunks(CHUNK).enumerate() {
            // Scores never decrease in the value, so the chunk's maximum speaks for all of it.
            if score(log_softmax::max(chunk)) <= self.bar() {
                continue;
            }
            for (offset, &value) in chunk.iter().enumerate() {
                let score = score(value);
                // Equal scores lose: what is kept came from a lower (beam, token).
                if score > self.bar() {
                    let token_id = (chunk_idx * CHUNK + offset) as u32;
                    if self.kept.len() == self.capacity {
                        self.kept.pop();
                    }
                    self.kept.push(Reverse(Candidate { score, beam_idx, token_id }));
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

    proptest! {
        /// Small whole numbers, so that ties are everywhere.
        #[test]
        fn the_kept_are_the_head_of_a_full_sort(
            rows in prop::collection::vec(prop::collection::vec(-4..4_i8, 150), 1..5),
            capacity in 1..40_usize,
        ) {
            let mut top = TopCandidates::default();
            for _ in 0..2 {
                top.reset(capacity);
                let mut all = Vec::new();
                for (beam_idx, row) in rows.iter().enumerate() {
                    let values: Vec<f32> =
                        row.iter().map(|&v| if v == -4 { f32::NEG_INFINITY } else { f32::from(v) }).collect();
                    let beam_score = -(beam_idx as f32);
                    top.offer_row(beam_idx, &values, Normalizer::IDENTITY, beam_score);
                    for (token, value) in values.iter().enumerate().filter(|(_, v)| v.is_finite()) {
                        all.push((value + beam_score, beam_idx, token as u32));
                    }
                }
                all.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
                all.truncate(capacity);
                let kept: Vec<_> =
                    top.best_first().iter().map(|c| (c.score, c.beam_idx, c.token_id)).collect();
                prop_assert_eq!(kept, all);
            }
        }
    }
}
