//! What each added phrase is, and what it does to the answer's score.

use serde::{Deserialize, Serialize};

use super::answer::Output;
use super::layout::KeptText;
use super::request::AdaptSettings;
use super::{Prepared, Prompter};
use crate::constraints::categorize;
use crate::decoding::Finish;
use crate::decoding::teacher_forcing::ForcedText;
use crate::error::Result;
use crate::output_filter::phrases;
use crate::template;

/// A phrase that was added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhraseEffect {
    /// The phrase.
    pub phrase: String,
    /// What kind of phrase it is: a category that bans know too, or `subject` where it is of none.
    pub category: String,
    /// The answer's score less its score without the phrase: above 0, the model likes it better there.
    pub effect: f32,
    /// The answer's score without the phrase.
    pub score_without: f32,
}

impl Prompter {
    /// Scores whole answers to one input without a search: `user_input` and each list of added phrases,
    /// its end included, as the model itself sees it, without guidance. So a phrase can be taken out, or
    /// put in, and the effect seen.
    ///
    /// # Errors
    /// Those of [`adapt`](Self::adapt) for the input; [`Error::PromptTooLong`](crate::Error::PromptTooLong)
    /// for an answer that does not fit the model.
    pub fn rescore(
        &self,
        user_input: &str,
        additions: &[Vec<&str>],
        settings: &AdaptSettings,
    ) -> Result<Vec<f32>> {
        self.rescore_prepared(&self.prepare(user_input, settings, 0)?, additions, settings)
    }

    fn rescore_prepared(
        &self,
        prepared: &Prepared,
        additions: &[Vec<&str>],
        settings: &AdaptSettings,
    ) -> Result<Vec<f32>> {
        let end = settings.decoding.eos_token_id.first().copied();
        let mut texts = Vec::with_capacity(additions.len());
        for phrases in additions {
            let mut token_ids = prepared.prompt_ids.clone();
            if !phrases.is_empty() {
                token_ids.extend(self.tokenizer.encode(&template::answer(&phrases.join(", ")))?);
            }
            token_ids.extend(end);
            texts.push(token_ids);
        }
        let from = prepared.prompt_ids.len();
        // Without an end token an answer of nothing has no score to compare with.
        let asked: Vec<ForcedText<'_>> = texts
            .iter()
            .filter(|token_ids| token_ids.len() > from)
            .map(|token_ids| ForcedText { token_ids, from })
            .collect();
        let mut observed = self.observe(&asked)?.into_iter();
        let score = |token_ids: &Vec<u32>| {
            let generated = token_ids.len() - from - usize::from(end.is_some());
            let finish = if end.is_some() { Finish::Eos } else { Finish::Length };
            let length = settings.decoding.hypothesis_len(from, generated, finish).max(1);
            let observations = match token_ids.len() > from {
                true => observed.next().unwrap_or_default(),
                false => Vec::new(),
            };
            let sum: f32 = observations.iter().map(|observation| observation.logprob).sum();
            sum / (length as f64).powf(settings.decoding.length_penalty) as f32
        };
        Ok(texts.iter().map(score).collect())
    }

    /// Explains the phrases that an output added, as the model sees them without guidance.
    pub(super) fn explain(
        &self,
        prepared: &Prepared,
        output: &Output,
        settings: &AdaptSettings,
    ) -> Result<Vec<PhraseEffect>> {
        let layout = &prepared.layout;
        // Where the model writes the input too, the user's text may stand there in spite of it; then the
        // model has yet to read it.
        let is_put_back = !output.restored.is_empty() || settings.strength < 1.0;
        let put_back =
            (layout.kept.is_none() && is_put_back).then(|| layout.keeping_words(&settings.rules.protect));
        let own: Option<&str> = put_back.as_ref().map(|_| layout.plain.as_str());
        let added = added_phrases(put_back.as_ref().or(layout.kept.as_ref()), output);
        let all: Vec<&str> = added.iter().map(String::as_str).collect();
        let without = |idx: usize| [own.as_slice(), &all[..idx], &all[idx + 1..]].concat();
        let mut versions: Vec<Vec<&str>> = (0..all.len()).map(without).collect();
        versions.push([own.as_slice(), &all].concat());
        let mut scores = self.rescore_prepared(prepared, &versions, settings)?;
        let whole = scores.pop().unwrap_or_default();
        let effect = |(phrase, score_without): (&str, f32)| PhraseEffect {
            phrase: phrase.to_owned(),
            category: categorize(phrase).map_or("subject".to_owned(), |category| category.to_string()),
            effect: whole - score_without,
            score_without,
        };
        Ok(all.into_iter().zip(scores).map(effect).collect())
    }
}

/// What an output added to the user's text; where the model wrote all of it, every phrase.
fn added_phrases(kept: Option<&KeptText>, output: &Output) -> Vec<String> {
    let added = match kept {
        None => output.text.as_str(),
        Some(kept) => {
            let text = output.text.strip_prefix(&kept.opening).unwrap_or(&output.text);
            text.strip_suffix(&kept.closing).unwrap_or(text)
        }
    };
    let added = added.trim_start_matches(['.', ';', ':', '!', '?']);
    phrases(added).map(str::to_owned).collect()
}
