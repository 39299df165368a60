//! What is broken as text.

use super::Pair;
use super::Reward;
use super::text::additions::AddedText;
use crate::error::Result;
use crate::eval::flaws::{Judged, flaws};
use crate::generator::Cancel;

/// Added words that are still free.
const FREE_WORDS: usize = 40;

/// Added words beyond the free ones at which the charge for length is full.
const FULL_CHARGE_WORDS: f64 = 40.0;

/// How degenerate an adapted prompt is, in `[0, 1]`: to be given a weight below 0.
///
/// 1 if evaluation counts it as degenerate by the model's doing ([`flaws`]): broken characters or words, a phrase
/// twice, unbalanced brackets, an end that is missing, nothing added. Else the larger of two graded charges, so
/// that a policy feels the slope before the edge: the share of added words that stand there already, and how far
/// the addition is beyond forty words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Degeneracy;

impl Degeneracy {
    /// Of one pair.
    pub fn of(pair: &Pair) -> f64 {
        let added = AddedText::of(pair);
        let judged = Judged {
            user_input: &pair.user_input,
            output: &pair.adapted_prompt,
            addition: &added.text,
            cut_answer: None,
            is_refused: false,
        };
        if flaws(judged).own.is_some() {
            return 1.0;
        }
        let words: Vec<&str> = added.words().collect();
        let distinct: std::collections::HashSet<&str> = words.iter().copied().collect();
        let repeated = (words.len() - distinct.len()) as f64 / words.len().max(1) as f64;
        let beyond = words.len().saturating_sub(FREE_WORDS) as f64 / FULL_CHARGE_WORDS;
        repeated.max(beyond).min(1.0)
    }
}

impl Reward for Degeneracy {
    fn score(&self, pairs: &[Pair], cancel: &Cancel) -> Result<Vec<Result<f64, String>>> {
        cancel.check()?;
        Ok(pairs.iter().map(|pair| Ok(Self::of(pair))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(adapted_prompt: &str) -> f64 {
        Degeneracy::of(&Pair { user_input: "a cat".to_owned(), adapted_prompt: adapted_prompt.to_owned() })
    }

    #[test]
    fn what_evaluation_calls_degenerate_costs_all() {
        for broken in ["a cat", "", "a cat, 8k, 8k", "a cat, art by", "a cat, (soft"] {
            assert_eq!(of(broken), 1.0, "{broken}");
        }
        assert_eq!(of("a cat, 8k, sharp focus"), 0.0);
    }

    #[test]
    fn charges_grow_before_the_edge() {
        assert_eq!(of("a cat, oil painting, matte painting, concept"), 0.2);
        let long = |words: usize| {
            let text: Vec<String> = (0..words).map(|i| format!("tone{i}")).collect();
            of(&format!("a cat, {}", text.join(" ")))
        };
        assert_eq!((long(40), long(50), long(200)), (0.0, 0.25, 1.0));
    }
}
