//! The only place that knows `" Rephrase:"`, the text between a user's input and its adaptation.
//!
//! Source: `promptist/README.md` and `diff_prompter/ppo_prompter.py` of the released code.

use serde::{Deserialize, Serialize};

/// What stands between the user's input and the adapted prompt.
pub const SEPARATOR: &str = " Rephrase:";

/// The prompt that the language model continues: `user_input.trim() + " Rephrase:"`.
pub fn prompt(user_input: &str) -> String {
    format!("{}{SEPARATOR}", user_input.trim())
}

/// What becomes of the user's own words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// They open the answer, byte for byte; the model only adds to them.
    Exact,
    /// They stand in the answer, in order and byte for byte, and closing flags and tags close it too: the
    /// model adds between.
    Words,
    /// The model writes the whole answer, as the released system does.
    #[default]
    Free,
}

/// The user's words without the white space around them and the punctuation that closes them: what
/// an answer that keeps them opens with, before a comma and what the model adds.
pub fn kept_words(user_input: &str) -> &str {
    user_input.trim().trim_end_matches([',', '.', ';', ':', ' '])
}

/// What the language model is trained to continue it with, before the end token: a space and the
/// adapted prompt.
pub fn answer(adapted_prompt: &str) -> String {
    format!(" {}", adapted_prompt.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_trims_the_input_and_carries_one_space() {
        assert_eq!(prompt("  a cat \n"), "a cat Rephrase:");
        assert_eq!(answer(" a cat, 8k "), " a cat, 8k");
    }
}
