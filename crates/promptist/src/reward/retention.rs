//! What is left of the user's own words.

use super::Pair;
use super::Reward;
use crate::data::degenerate::content_kept;
use crate::error::Result;
use crate::generator::Cancel;

/// The share of the input's content words that the adapted prompt keeps, in `[0, 1]`.
///
/// 1 is as good as it gets, so a loss is charged and nothing is paid beyond. Case, plurals and closed gaps make no
/// difference: see [`content_kept`]. An empty rewrite stands for the input and keeps all of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention;

impl Retention {
    /// Of one pair.
    pub fn of(pair: &Pair) -> f64 {
        match pair.adapted_prompt.trim() {
            "" => 1.0,
            adapted_prompt => f64::from(content_kept(&pair.user_input, adapted_prompt)),
        }
    }
}

impl Reward for Retention {
    fn score(&self, pairs: &[Pair], cancel: &Cancel) -> Result<Vec<Result<f64, String>>> {
        cancel.check()?;
        Ok(pairs.iter().map(|pair| Ok(Self::of(pair))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(user_input: &str, adapted_prompt: &str, expected: f64) {
        let pair = Pair { user_input: user_input.to_owned(), adapted_prompt: adapted_prompt.to_owned() };
        assert!((Retention::of(&pair) - expected).abs() < 1e-6, "{adapted_prompt}");
    }

    #[test]
    fn only_lost_words_are_charged() {
        check("a red fox", "a red fox, 8k", 1.0);
        check("a red fox", "fox that is red", 1.0);
        check("a red fox", "a fox, 8k", 0.5);
        check("a red fox", "8k, artstation", 0.0);
        check("a red fox", "", 1.0);
        check("of the", "8k", 1.0);
    }
}
