//! Whether several answers to one input differ.

use super::additions::Additions;
use super::measures::text::folded;
use super::vendi;

/// Candidates that must differ from the first.
pub const MIN_DIFFERENT: usize = 4;

/// Added phrases by which they must differ.
pub const MIN_PHRASES: usize = 2;

/// How the candidates of one input differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Candidates that differ from the first by [`MIN_PHRASES`] added phrases or more.
    pub different: usize,
    /// Distinct sets of added phrases.
    pub distinct: usize,
    /// The [Vendi score](vendi) of what they add; none without candidates.
    pub vendi: Option<f64>,
}

impl Spread {
    /// Whether [`MIN_DIFFERENT`] candidates or more differ from the first.
    pub fn is_diverse(&self) -> bool {
        self.different >= MIN_DIFFERENT
    }

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
        let words: Vec<Vec<String>> = candidates.iter().map(|candidate| folded(&candidate.text)).collect();
        Self { different, distinct, vendi: vendi::of_texts(&words) }
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
        assert_eq!((found.different, found.distinct, found.is_diverse()), (2, 5, false));
        assert_eq!(spread(&[]), Spread { different: 0, distinct: 0, vendi: None });
        let vendi = spread(&["a cat, 8k", "a cat, soft", "a cat, moody"]).vendi.expect("candidates");
        assert!((vendi - 3.0).abs() < 1e-9, "{vendi}");
    }
}
