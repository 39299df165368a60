//! What an answer must not contain, and how it is taken out: phrase by phrase, saying which rule
//! fired. The rules on content are those of the data stage.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::data::artists::artists_named;
use crate::data::degenerate::{self, Degenerate};
use crate::data::safety;

/// Why the filter took something out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FilterRule {
    /// The text is unsafe: nothing is added to an unsafe input, no unsafe phrase to a safe one.
    Unsafe,
    /// A phrase names an artist whom the input does not name.
    Artist,
    /// A phrase has a word or character that no language has.
    BrokenWord,
    /// A phrase is there already, or says the same again.
    RepeatedPhrase,
    /// A phrase has a bracket without its other half.
    UnbalancedBracket,
    /// The last phrase was cut at the length limit, or a phrase has no end ("art by").
    CutPhrase,
}

/// The filter for one answer.
pub struct Filter<'a> {
    /// Whether the rules other than [`FilterRule::Artist`] apply.
    pub tidy: bool,
    /// Whether [`FilterRule::Artist`] applies.
    pub no_artists: bool,
    /// The user's text, trimmed.
    pub user_input: &'a str,
    /// Whether decoding ended at the length limit.
    pub is_cut: bool,
    /// Phrases that stay whatever the rules on form say, because they were asked for.
    pub spare: &'a dyn Fn(&str) -> bool,
    /// Whether the answer opens with its own subject, which is not ours to drop; otherwise it is
    /// all additions.
    pub has_head: bool,
}

impl Filter<'_> {
    /// The text that passes, and the rules that changed it, each once, in the order above.
    pub fn apply(&self, answer: &str) -> (String, Vec<FilterRule>) {
        let mut fired = Vec::new();
        let mut fire = |rule| {
            if !fired.contains(&rule) {
                fired.push(rule);
            }
        };
        if self.tidy && safety::check(self.user_input).is_some() {
            let text = if self.has_head { self.user_input.to_owned() } else { String::new() };
            return (text, vec![FilterRule::Unsafe]);
        }

        let own_artists = artists_named(self.user_input);
        let mut seen: HashSet<String> = match self.has_head {
            true => HashSet::new(),
            false => phrases(self.user_input).map(str::to_lowercase).collect(),
        };
        let all: Vec<&str> = phrases(answer).collect();
        let mut kept: Vec<&str> = Vec::with_capacity(all.len());
        for (idx, &phrase) in all.iter().enumerate() {
            let is_head = self.has_head && idx == 0;
            let is_last = idx > 0 && idx + 1 == all.len();
            let rule = if self.tidy && safety::check(phrase).is_some() {
                Some(FilterRule::Unsafe)
            } else if is_head || (self.spare)(phrase) {
                seen.insert(phrase.to_lowercase());
                None
            } else if self.no_artists && artists_named(phrase).iter().any(|a| !own_artists.contains(a)) {
                Some(FilterRule::Artist)
            } else if !self.tidy {
                None
            } else if self.is_cut && is_last {
                Some(FilterRule::CutPhrase)
            } else if !seen.insert(phrase.to_lowercase()) {
                Some(FilterRule::RepeatedPhrase)
            } else {
                breaks(&kept, phrase)
            };
            match rule {
                Some(rule) => fire(rule),
                None => kept.push(phrase),
            }
        }
        // Phrases can be safe one by one and not together.
        if self.tidy && safety::check(&kept.join(", ")).is_some() {
            fire(FilterRule::Unsafe);
            kept.clear();
        }
        if fired.is_empty() {
            if !self.tidy {
                return (answer.to_owned(), fired);
            }
            // A comma that nothing follows is no phrase.
            let text = answer.trim_end_matches([',', ' ']);
            let has_gaps = text.split(',').skip(1).any(|phrase| phrase.trim().is_empty());
            return (if has_gaps { kept.join(", ") } else { text.to_owned() }, fired);
        }
        if kept.is_empty() && self.has_head {
            return (self.user_input.to_owned(), fired);
        }
        (kept.join(", "), fired)
    }
}

/// The phrases of a prompt, without the commas between them.
pub(crate) fn phrases(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|phrase| !phrase.is_empty())
}

/// The rule by which `phrase`, put behind the phrases that are kept, breaks a text that was whole.
fn breaks(kept: &[&str], phrase: &str) -> Option<FilterRule> {
    if !kept.is_empty() && degenerate::check(&kept.join(", ")).is_some() {
        return None; // The user's own words are as they are.
    }
    let with_phrase: Vec<&str> = kept.iter().copied().chain([phrase]).collect();
    match degenerate::check(&with_phrase.join(", "))? {
        Degenerate::Empty | Degenerate::BrokenCharacters | Degenerate::BrokenWord => {
            Some(FilterRule::BrokenWord)
        }
        Degenerate::Repeated => Some(FilterRule::RepeatedPhrase),
        Degenerate::UnbalancedBrackets => Some(FilterRule::UnbalancedBracket),
        Degenerate::Cut => Some(FilterRule::CutPhrase),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter<'a>(user_input: &'a str) -> Filter<'a> {
        Filter {
            tidy: true,
            no_artists: false,
            user_input,
            is_cut: false,
            spare: &|_| false,
            has_head: false,
        }
    }

    #[test]
    fn a_clean_answer_is_untouched_byte_for_byte() {
        let answer = "digital painting,highly  detailed , 8k";
        assert_eq!(filter("a cat").apply("oil on canvas, "), ("oil on canvas".to_owned(), vec![]));
        assert_eq!(filter("a cat").apply("oil,, soft, , 8k"), ("oil, soft, 8k".to_owned(), vec![]));
        assert_eq!(filter("a cat").apply(answer), (answer.to_owned(), vec![]));
    }

    #[test]
    fn each_rule_takes_out_its_phrase_and_says_so() {
        let (text, fired) = filter("a cat, 8k").apply("sharp, 8k, Sharp, (soft, smooth, art by");
        assert_eq!(text, "sharp, smooth");
        let expected = [FilterRule::RepeatedPhrase, FilterRule::UnbalancedBracket, FilterRule::CutPhrase];
        assert_eq!(fired, expected);

        let cut = Filter { is_cut: true, ..filter("a cat") };
        assert_eq!(cut.apply("8k, trending on art"), ("8k".into(), vec![FilterRule::CutPhrase]));
        assert_eq!(cut.apply("8k"), ("8k".into(), vec![]));
    }

    #[test]
    fn artists_go_unless_the_user_named_them() {
        let none = Filter { no_artists: true, ..filter("a cat") };
        let (text, fired) = none.apply("8k, by greg rutkowski, art by alphonse mucha");
        assert_eq!((text.as_str(), fired), ("8k", vec![FilterRule::Artist]));
        let own = Filter { no_artists: true, ..filter("a cat by alphonse mucha") };
        assert_eq!(own.apply("art by alphonse mucha").1, []);
    }
}
