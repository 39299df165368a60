//! Whether an output is degenerate: broken as text, cut, or empty, by its model's doing.
//!
//! The rules on text are [`crate::data::degenerate`]'s. Here is added what an output has beyond its
//! text: an input with flaws of its own, an answer that ended at the length limit, one that adds nothing.

use crate::data::degenerate::{self, Degenerate};
use crate::data::main_content;

/// An output as the rules see it.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// What the user typed.
    pub user_input: &'a str,
    /// What they got.
    pub output: &'a str,
    /// What was added to the input.
    pub addition: &'a str,
    /// What the model wrote, if it was stopped at the length limit.
    pub cut_answer: Option<&'a str>,
    /// Whether nothing was added on purpose: the filter does not touch an unsafe input.
    pub is_refused: bool,
}

/// The flaws of an output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flaws {
    /// The model's.
    pub own: Option<Degenerate>,
    /// Of the output as a text, the user's words with all their flaws included.
    pub whole: Option<Degenerate>,
}

/// Looks for flaws. A flaw that the user's words have too is not the model's, unless what it added
/// has that flaw by itself; where an output ends is always its doing.
pub fn flaws(judged: Judged) -> Flaws {
    let whole = degenerate::check(judged.output);
    if judged.is_refused {
        return Flaws { own: None, whole };
    }
    if !judged.addition.chars().any(char::is_alphanumeric) {
        return Flaws { own: Some(Degenerate::Empty), whole };
    }
    let is_inherited =
        |flaw: Degenerate| flaw != Degenerate::Cut && degenerate::check(judged.user_input) == Some(flaw);
    let own = match whole {
        Some(flaw) if is_inherited(flaw) => degenerate::check(judged.addition),
        other => other,
    };
    let is_cut = judged.cut_answer.is_some_and(|answer| ends_alike(judged.output, answer));
    Flaws { own: own.or(is_cut.then_some(Degenerate::Cut)), whole }
}

/// Whether the last phrase of a cut answer is still the output's last.
fn ends_alike(output: &str, answer: &str) -> bool {
    let last = |text| main_content::phrases(text).pop();
    last(answer).is_some() && last(output) == last(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(user_input: &str, addition: &str, own: Option<Degenerate>) {
        let output = match addition.is_empty() {
            true => user_input.to_owned(),
            false => format!("{user_input}, {addition}"),
        };
        let judged = Judged { user_input, output: &output, addition, cut_answer: None, is_refused: false };
        assert_eq!(flaws(judged).own, own, "{output}");
    }

    #[test]
    fn the_users_own_flaws_are_not_the_models() {
        check("a cat", "8k, sharp focus", None);
        check("a cat (on a mat", "8k, sharp focus", None);
        check("a xkjhgfdq cat", "8k, 8k", Some(Degenerate::Repeated));
        check("a cat", "8k, 8k", Some(Degenerate::Repeated));
        check("a cat, 8k", "sharp, 8k", Some(Degenerate::Repeated));
        check("a cat", "", Some(Degenerate::Empty));
        check("a photo of", "8k, art by", Some(Degenerate::Cut));
    }

    #[test]
    fn an_answer_stopped_at_the_limit_is_cut_unless_its_last_phrase_went() {
        let judged = |output, addition| Judged {
            user_input: "a cat",
            output,
            addition,
            cut_answer: Some(" 8k, lovely me"),
            is_refused: false,
        };
        assert_eq!(flaws(judged("a cat, 8k", "8k")).own, None);
        let whole = judged("a cat, 8k, lovely me", "8k, lovely me");
        assert_eq!(flaws(whole).own, Some(Degenerate::Cut));
    }

    #[test]
    fn a_refusal_is_not_empty() {
        let judged =
            Judged { user_input: "a cat", output: "a cat", addition: "", cut_answer: None, is_refused: true };
        assert_eq!(flaws(judged).own, None);
    }
}
