//! Whether several answers to one input differ.

use serde::Serialize;

use super::additions::Additions;

/// Candidates that must differ from the first.
pub const MIN_DIFFERENT: usize = 4;

/// Added phrases by which they must differ.
pub const MIN_PHRASES: usize = 2;

/// Diversity over the inputs of a set.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct DiversityMeasure {
    /// Inputs.
    pub n: usize,
    /// Share of inputs with at least [`MIN_DIFFERENT`] candidates that differ from the first.
    pub diverse: f64,
    /// Mean number of candidates that differ from the first.
    pub different_candidates: f64,
    /// Mean number of distinct sets of added phrases among an input's candidates.
    pub distinct_candidates: f64,
}

/// How the candidates of one input differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// Candidates that differ from the first by [`MIN_PHRASES`] added phrases or more.
    pub different: usize,
    /// Distinct sets of added phrases.
    pub distinct: usize,
}

impl Spread {
    /// Compares candidates, best first. Two differ by the phrases that one has and the other lacks,
    /// counted on the side where they are more: one phrase in another's place is one phrase.
    pub fn of(candidates: &[Additions]) -> Self {
        let mut sets: Vec<_> = candidates.iter().map(Additions::keys).collect();
        let different = sets.first().map_or(0, |first| {
            let differs = |other: &&_| {
                first.difference(other).count().max(other.difference(first).count()) >= MIN_PHRASES
            };
            sets.iter().filter(differs).count()
        });
        let mut distinct = 0;
        while let Some(set) = sets.pop() {
            distinct += usize::from(!sets.contains(&set));
        }
        Self { different, distinct }
    }
}

impl DiversityMeasure {
    /// Sums up.
    pub fn of(spreads: &[Spread]) -> Self {
        let n = spreads.len();
        let mean = |value: &dyn Fn(&Spread) -> usize| {
            spreads.iter().map(value).sum::<usize>() as f64 / n.max(1) as f64
        };
        Self {
            n,
            diverse: mean(&|spread| usize::from(spread.different >= MIN_DIFFERENT)),
            different_candidates: mean(&|spread| spread.different),
            distinct_candidates: mean(&|spread| spread.distinct),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(outputs: &[&str]) -> Spread {
        let additions: Vec<_> = outputs.iter().map(|output| Additions::of("a cat", output)).collect();
        Spread::of(&additions)
    }

    #[test]
    fn candidates_differ_by_two_phrases_on_one_side() {
        let found = spread(&[
            "a cat, 8k, sharp, smooth",
            "a cat, 8k, sharp, moody",
            "a cat, smooth, sharp, 8k",
            "a cat, 8k, soft, moody",
            "a cat, 8k",
            "a cat, 8k, sharp, smooth, soft",
        ]);
        assert_eq!(found, Spread { different: 2, distinct: 5 });
        assert_eq!(spread(&[]), Spread { different: 0, distinct: 0 });
    }

    #[test]
    fn the_measure_is_the_share_of_diverse_inputs() {
        let spread = |different| Spread { different, distinct: 8 };
        let measure = DiversityMeasure::of(&[spread(4), spread(3), spread(7), spread(0)]);
        assert_eq!((measure.n, measure.diverse), (4, 0.5));
        assert_eq!(measure.different_candidates, 3.5);
    }
}
