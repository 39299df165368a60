//! From a hypothesis to an output: filter, strength, and the rules once more, on the whole text.
//!
//! The search has kept to the rules already. What is checked here is what nothing else can vouch for:
//! the text that is handed out, after every change. A phrase that breaks a rule there is taken out; if
//! that does not help, the row fails with [`Error::Rules`].

use serde::{Deserialize, Serialize};

use super::explain::PhraseEffect;
use super::guide::AnswerGuide;
use super::layout::KeptText;
use super::request::AdaptSettings;
use super::rules::AnswerRules;
use super::{Prepared, Prompter};
use crate::data::safety;
use crate::decoding::{Finish, Hypothesis};
use crate::error::{Error, Result};
use crate::output_filter::{Filter, FilterRule, phrases};

/// One adapted prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The adapted prompt.
    pub text: String,
    /// The hypothesis score that ranks the outputs.
    pub score: f32,
    /// The generated ids, before the filter: no prompt, no kept words, no end token.
    pub token_ids: Vec<u32>,
    /// How it came to its end.
    pub finish: Finish,
    /// Rules of the output filter that changed the text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filtered: Vec<FilterRule>,
    /// The seed that drew it, where each output has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// What the model's own answer lost of the input, so that the answer is the user's text and what the
    /// model added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restored: Vec<String>,
    /// The rules that were asked for; all of them hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<KeptRules>,
    /// The added phrases, if they were to be explained.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phrases: Vec<PhraseEffect>,
}

/// The rules that an output keeps to, checked on its whole text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRules {
    /// Ban entries, none of which stands in what was added.
    pub bans: usize,
    /// Banned text that the user's own words have: it stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub banned_in_input: Vec<String>,
    /// Phrases that were asked for; all stand in the text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub must_include: Vec<String>,
    /// Tokens of the whole text, and how many it may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<TokenUse>,
}

/// What a text takes of a budget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUse {
    /// Whose tokens.
    pub target: String,
    /// How many there are.
    pub used: usize,
    /// How many there may be.
    pub budget: usize,
}

impl Prompter {
    /// The output that a hypothesis makes.
    ///
    /// # Errors
    /// [`Error::Rules`] if its text cannot be made to keep to them.
    pub(super) fn output(
        &self,
        prepared: &Prepared,
        hypothesis: Hypothesis,
        settings: &AdaptSettings,
    ) -> Result<Output> {
        let (layout, rules) = (&prepared.layout, &*settings.rules);
        let of_answer = rules.of_answer.as_ref();
        let answer = self.tokenizer.decode(&hypothesis.token_ids)?;
        let mut text = self.without_cut_phrases(prepared, &hypothesis, answer.trim())?;
        let must_stay = |phrase: &str| of_answer.is_some_and(|rules| rules.text.met_in(phrase) != 0);

        let mut filtered = Vec::new();
        if settings.filter || settings.no_artists {
            let filter = Filter {
                tidy: settings.filter,
                no_artists: settings.no_artists,
                user_input: &layout.input,
                is_cut: hypothesis.finish == Finish::Length && of_answer.is_none(),
                spare: &must_stay,
                has_head: layout.kept.is_none(),
            };
            (text, filtered) = filter.apply(&text);
        }

        let mut kept = layout.kept.clone();
        let mut restored = Vec::new();
        if kept.is_none() {
            restored = layout.lost_in(&text, &rules.protect);
            if !restored.is_empty() || settings.strength < 1.0 || text.is_empty() {
                // The first phrase is the model's version of the input.
                kept = Some(layout.keeping_words(&rules.protect));
                text = phrases(&text).skip(1).collect::<Vec<_>>().join(", ");
            }
        }
        if settings.strength < 1.0 {
            text = share_of(&text, settings.strength, &must_stay);
        }
        let mut kept_rules = None;
        match of_answer {
            None => {
                if let Some(kept) = &kept {
                    text = kept.with(&text);
                }
            }
            Some(rules) => {
                let is_refused = settings.filter && safety::check(&layout.input).is_some();
                if is_refused && !rules.musts.is_empty() {
                    return Err(Error::Rules("the input is unsafe: nothing is added to it".to_owned()));
                }
                let mut whole = rules.mended(kept.as_ref(), &text)?;
                if kept.is_none()
                    && (whole.is_empty() || !layout.lost_in(&whole, &settings.rules.protect).is_empty())
                {
                    // What broke a rule was all there was, or was the user's own.
                    kept = Some(layout.keeping_words(&settings.rules.protect));
                    whole = rules.mended(kept.as_ref(), "")?;
                }
                kept_rules = Some(rules.kept_by(kept.as_ref(), &whole)?);
                text = whole;
            }
        }
        let lost = layout.lost_in(&text, &rules.protect);
        if let Some(piece) = lost.first() {
            return Err(Error::Rules(format!("`{piece}` is not in the answer")));
        }
        Ok(Output {
            text,
            score: hypothesis.score,
            token_ids: hypothesis.token_ids,
            finish: hypothesis.finish,
            filtered,
            seed: None,
            restored,
            rules: kept_rules,
            phrases: Vec::new(),
        })
    }

    /// The answer without the phrases that the search broke off to make room for what must come.
    fn without_cut_phrases(
        &self,
        prepared: &Prepared,
        hypothesis: &Hypothesis,
        answer: &str,
    ) -> Result<String> {
        let Some(guide) = &prepared.guide else { return Ok(answer.to_owned()) };
        let end = hypothesis.token_ids.iter().fold(AnswerGuide::clone(guide), |guide, &id| guide.next(id));
        let answer = answer.trim_end_matches([',', ' ']);
        if end.cut_phrases().is_empty() {
            return Ok(answer.to_owned());
        }
        let all = (0..).zip(answer.split(','));
        let whole = all.filter(|(idx, _)| !end.cut_phrases().contains(idx)).map(|(_, phrase)| phrase);
        Ok(whole.collect::<Vec<_>>().join(",").trim().to_owned())
    }
}

/// The first `strength` of the phrases, and those that must stay.
fn share_of(text: &str, strength: f64, must_stay: &dyn Fn(&str) -> bool) -> String {
    let all: Vec<&str> = phrases(text).collect();
    let count = (strength * all.len() as f64).ceil() as usize;
    let stays = all.iter().enumerate().filter(|(idx, phrase)| *idx < count || must_stay(phrase));
    stays.map(|(_, &phrase)| phrase).collect::<Vec<_>>().join(", ")
}

impl AnswerRules {
    /// The whole text of an answer, less the phrases by which it would break a rule, and with those that
    /// it must have and lacks.
    fn mended(&self, kept: Option<&KeptText>, addition: &str) -> Result<String> {
        let whole = |phrases: &[&str]| {
            let addition = phrases.join(", ");
            kept.map_or(addition.clone(), |kept| kept.with(&addition))
        };
        let untouched = kept.map_or(addition.to_owned(), |kept| kept.with(addition));
        if self.check(kept, &untouched).is_ok() {
            return Ok(untouched);
        }
        let mut all: Vec<&str> = phrases(addition).collect();
        for (idx, must) in self.musts.iter().enumerate() {
            if self.text.met_in(&whole(&all)) >> idx & 1 == 0 {
                all.push(&must.phrase);
            }
        }
        loop {
            let text = whole(&all);
            let Err(error) = self.check(kept, &text) else { return Ok(text) };
            // From the end: what stands before was weighed without it.
            let is_free = |phrase: &&str| self.text.met_in(phrase) == 0;
            let culprit = match self.banned(kept, &text) {
                Some(found) => {
                    let start = text.len().min(found);
                    let before = kept.map_or(0, |kept| kept.opening.len());
                    let idx = text[before..start.max(before)].matches(',').count();
                    // The comma behind the opening opens the first phrase.
                    let first = usize::from(kept.is_some_and(|kept| kept.separator() == ", "));
                    Some(idx.saturating_sub(first).min(all.len().saturating_sub(1)))
                }
                None => all.iter().rposition(is_free),
            };
            match culprit {
                Some(idx) if idx < all.len() && is_free(&all[idx]) => _ = all.remove(idx),
                _ => return Err(error),
            }
        }
    }

    /// Where the first ban in what was added ends its match's first byte.
    fn banned(&self, kept: Option<&KeptText>, text: &str) -> Option<usize> {
        let opening = kept.map_or(0, |kept| kept.opening.len());
        let closing = text.len() - kept.map_or(0, |kept| kept.closing.len());
        let mut found = self.text.bans_after(text, opening).into_iter();
        found.find(|found| found.range.start < closing).map(|found| found.range.start.max(opening))
    }

    /// What a text breaks, if anything.
    fn check(&self, kept: Option<&KeptText>, text: &str) -> Result<()> {
        if let Some(start) = self.banned(kept, text) {
            let around: String = text[start..].chars().take(40).collect();
            return Err(Error::Rules(format!("a ban stands at `{around}`")));
        }
        let met = self.text.met_in(text);
        if let Some(idx) = (0..self.musts.len()).find(|idx| met >> idx & 1 == 0) {
            return Err(Error::Rules(format!("`{}` is missing", self.musts[idx].phrase)));
        }
        if let Some(budget) = &self.budget {
            let used = budget.target.count(text)?;
            if used > budget.tokens {
                let target = budget.target.name();
                return Err(Error::Rules(format!("{used} tokens of {target}, {} allowed", budget.tokens)));
            }
        }
        Ok(())
    }

    /// What is said of a text that keeps to the rules.
    fn kept_by(&self, kept: Option<&KeptText>, text: &str) -> Result<KeptRules> {
        let own = kept.map_or(String::new(), |kept| format!("{} {}", kept.opening, kept.closing));
        let mut banned_in_input: Vec<String> =
            self.text.bans_in(&own).into_iter().map(|found| own[found.range].to_owned()).collect();
        banned_in_input.dedup();
        let tokens = match &self.budget {
            None => None,
            Some(budget) => Some(TokenUse {
                target: budget.target.name().to_owned(),
                used: budget.target.count(text)?,
                budget: budget.tokens,
            }),
        };
        Ok(KeptRules {
            bans: self.text.entries().len(),
            banned_in_input,
            must_include: self.text.musts().to_vec(),
            tokens,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strength_takes_the_first_share_and_what_must_stay() {
        let none = |_: &str| false;
        assert_eq!(share_of("a, b, c, d", 0.5, &none), "a, b");
        assert_eq!(share_of("a, b, c, d", 0.51, &none), "a, b, c");
        assert_eq!(share_of("a, b, c, d", 0.0, &none), "");
        assert_eq!(share_of("a, b, c, d", 0.25, &|phrase| phrase == "d"), "a, d");
    }
}
