//! A reward whose best is known.

use super::{Pair, Reward};
use crate::data::degenerate::content_kept;
use crate::error::Result;
use crate::generator::Cancel;

/// 1 if the adapted prompt ends with a phrase, as a phrase of its own, and has every content word of the input;
/// else 0. Nobody wants such prompts: it is there to see a training learn.
#[derive(Debug, Clone)]
pub struct EndsWith {
    phrase: String,
}

impl EndsWith {
    /// This phrase, in any case.
    pub fn new(phrase: &str) -> Self {
        Self { phrase: phrase.trim().to_lowercase() }
    }

    /// Of one pair.
    pub fn of(&self, pair: &Pair) -> f64 {
        let adapted = pair.adapted_prompt.trim().to_lowercase();
        let is_phrase = adapted.strip_suffix(&self.phrase).is_some_and(|before| {
            let before = before.trim_end();
            before.is_empty() || before.ends_with(',')
        });
        let keeps_all = content_kept(&pair.user_input, &pair.adapted_prompt) >= 1.0;
        f64::from(u8::from(is_phrase && keeps_all))
    }
}

impl Reward for EndsWith {
    fn score(&self, pairs: &[Pair], cancel: &Cancel) -> Result<Vec<Result<f64, String>>> {
        cancel.check()?;
        Ok(pairs.iter().map(|pair| Ok(self.of(pair))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phrase_stands_alone_at_the_end_and_the_input_is_kept() {
        let reward = EndsWith::new("soft light");
        for (user_input, adapted_prompt, expected) in [
            ("a red fox", "a red fox, 8k, soft light", 1.0),
            ("a red fox", "a red fox, 8k, Soft Light ", 1.0),
            ("a red fox", "a red fox, very soft light", 0.0),
            ("a red fox", "a red fox, soft light, 8k", 0.0),
            ("a red fox", "a fox, soft light", 0.0),
            ("a red fox", "", 0.0),
        ] {
            let pair = Pair { user_input: user_input.into(), adapted_prompt: adapted_prompt.into() };
            assert_eq!(reward.of(&pair), expected, "{adapted_prompt}");
        }
    }
}
