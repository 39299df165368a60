//! Guidance: what fits this prompt, over what fits any.
//!
//! A prompter's likeliest additions are those that everybody adds to everything. Guidance decodes from
//! `log p(token | prompt) + (scale − 1) · (log p(token | prompt) − log p(token | neutral prompt))`,
//! renormalised, over the tokens that are at least a tenth as likely after the prompt as the likeliest
//! one (what the model itself finds implausible stays so, however hard it is guided): at scale 1 the
//! model itself, above it tokens gain that are likelier after this prompt than after one that says
//! nothing.
//!
//! Every row has a companion in the same cache, under the neutral prompt, so that guidance doubles the
//! rows of a pass and not the passes.
//!
//! Sources: contrastive decoding (Li et al. 2023) for the set of plausible tokens; classifier-free
//! guidance for language models (Sanchez et al. 2023); the formula is that of
//! `UnbatchedClassifierFreeGuidanceLogitsProcessor` of transformers, there with another neutral prompt.

use std::borrow::Cow;

use super::LanguageModel;
use super::guide::Allowed;
use super::log_softmax::Normalizer;
use super::query::{Answers, Queries, Query};
use crate::error::Result;

/// Share of the likeliest token's probability below which a token is implausible: alpha of Li et al.
const PLAUSIBLE: f32 = 0.1;

/// A language model under guidance: two rows of the model for each of its own, and all their logits.
pub struct Guided<'a, M> {
    /// The model.
    pub model: &'a M,
    /// 1 is the model itself; 1.5 guides gently, 3 hard.
    pub scale: f32,
    /// Ids of the prompt that says nothing.
    pub neutral_prompt: Cow<'a, [u32]>,
}

/// Row i is two of the model's: 2i under its prompt, 2i + 1 under the neutral one.
pub struct GuidedCache<C> {
    pairs: C,
    num_rows: usize,
    /// Of the last step: kept for their memory.
    answers: Answers,
    guided: Vec<f32>,
}

impl<M: LanguageModel> LanguageModel for Guided<'_, M> {
    type Cache = GuidedCache<M::Cache>;

    fn vocab_size(&self) -> usize {
        self.model.vocab_size()
    }

    fn n_positions(&self) -> usize {
        self.model.n_positions()
    }

    fn new_cache(&self) -> Self::Cache {
        GuidedCache {
            pairs: self.model.new_cache(),
            num_rows: 0,
            answers: Answers::default(),
            guided: Vec::new(),
        }
    }

    fn append(
        &self,
        cache: &mut Self::Cache,
        token_ids: &[&[u32]],
        queries: &Queries,
        answers: &mut Answers,
    ) -> Result<()> {
        let (old, prompts) = token_ids.split_at(cache.num_rows.min(token_ids.len()));
        let mut inputs: Vec<&[u32]> = old.iter().flat_map(|&token_ids| [token_ids; 2]).collect();
        inputs.extend(prompts);
        if !prompts.is_empty() {
            // Read once and repeated: every row has the same neutral prompt.
            inputs.push(&self.neutral_prompt);
        }
        let all = Queries::all(inputs.len());
        self.model.append(&mut cache.pairs, &inputs, &all, &mut cache.answers)?;
        cache.answers.check(&all, self.model.vocab_size())?;

        let pairs = pairs(old.len(), prompts.len());
        answers.clear();
        for (query, &[prompted, neutral]) in queries.iter().zip(&pairs) {
            let (prompted, neutral) = (cache.answers.row(prompted), cache.answers.row(neutral));
            cache.guided.clear();
            cache.guided.extend_from_slice(prompted.logits);
            let neutral = (neutral.logits, neutral.normalizer);
            self.guide(&mut cache.guided, prompted.normalizer, neutral, query);
            answers.push_row(query, &cache.guided)?;
        }
        if !prompts.is_empty() {
            self.model.reorder(&mut cache.pairs, pairs.as_flattened())?;
        }
        cache.num_rows = token_ids.len();
        Ok(())
    }

    fn reorder(&self, cache: &mut Self::Cache, rows: &[usize]) -> Result<()> {
        let pairs: Vec<usize> = rows.iter().flat_map(|row| [2 * row, 2 * row + 1]).collect();
        self.model.reorder(&mut cache.pairs, &pairs)?;
        cache.num_rows = rows.len();
        Ok(())
    }
}

/// The model's rows of each guided row while prompts are read: `old` pairs, then the prompts, then the
/// neutral prompt of them all.
fn pairs(old: usize, prompts: usize) -> Vec<[usize; 2]> {
    let neutral = 2 * old + prompts;
    let old_pairs = (0..old).map(|row| [2 * row, 2 * row + 1]);
    old_pairs.chain((2 * old..neutral).map(|prompt| [prompt, neutral])).collect()
}

impl<M> Guided<'_, M> {
    /// Makes a row's logits the guided ones. Where either row is no numbers, neither is the result.
    ///
    /// Under rules, what is plausible is told by the likeliest token that is allowed and not asked for by
    /// name, for those may be forbidden yet; if there is none, by the likeliest of all. A token that rules
    /// want may come even if it is implausible, but guidance makes no implausible token likelier.
    fn guide(
        &self,
        logits: &mut [f32],
        normalizer: Normalizer,
        (neutral, of_neutral): (&[f32], Normalizer),
        query: Query<'_>,
    ) {
        if normalizer.checked().and(of_neutral.checked()).is_err() {
            logits.fill(f32::NAN);
            return;
        }
        let allowed = query.allowed();
        let likeliest = match query {
            Query::Top { token_ids, .. } if !allowed.is_all() => {
                Some(largest_allowed(logits, allowed, token_ids)).filter(|&logit| logit > f32::NEG_INFINITY)
            }
            _ => None,
        };
        let likeliest = likeliest.unwrap_or(normalizer.max);
        let floor = normalizer.log_prob(likeliest) + PLAUSIBLE.ln();
        let wanted = allowed.guide().map_or(&[][..], |guide| guide.wanted());
        for ((token_id, logit), &neutral) in (0..).zip(logits).zip(neutral) {
            let log_prob = normalizer.log_prob(*logit);
            // Finite where the model gives the token any chance under the neutral prompt.
            let gain = (log_prob - of_neutral.log_prob(neutral)).min(f32::MAX);
            let boost = (self.scale - 1.0) * gain;
            *logit = if log_prob >= floor {
                log_prob + boost
            } else if wanted.contains(&token_id) {
                log_prob + boost.min(0.0)
            } else {
                f32::NEG_INFINITY
            };
        }
    }
}

/// The largest logit among the allowed tokens, `others` aside.
fn largest_allowed(logits: &[f32], allowed: Allowed<'_>, others: &[u32]) -> f32 {
    let larger = |largest: f32, (token_id, &logit): (u32, &f32)| match logit > largest {
        true if !others.contains(&token_id) && allowed.contains(token_id) => logit,
        _ => largest,
    };
    (0..).zip(logits).fold(f32::NEG_INFINITY, larger)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoding::{DecodingSettings, RawDecodingSettings, generate};

    /// After a prompt that ends in 1, token 2 and 3 are about as likely and 2 is what anything gets.
    struct Toy;

    impl LanguageModel for Toy {
        type Cache = Vec<u32>;

        fn vocab_size(&self) -> usize {
            4
        }

        fn n_positions(&self) -> usize {
            8
        }

        fn new_cache(&self) -> Vec<u32> {
            Vec::new()
        }

        fn append(
            &self,
            cache: &mut Vec<u32>,
            token_ids: &[&[u32]],
            queries: &Queries,
            answers: &mut Answers,
        ) -> Result<()> {
            cache.extend(token_ids[cache.len()..].iter().map(|prompt| prompt[0]));
            answers.clear();
            for (query, first) in queries.iter().zip(cache) {
                let logits = match first {
                    1 => [f32::NEG_INFINITY, 0.0, 2.0, 1.9],
                    _ => [f32::NEG_INFINITY, 0.0, 2.0, 0.0],
                };
                answers.push_row(query, &logits)?;
            }
            Ok(())
        }

        fn reorder(&self, cache: &mut Vec<u32>, rows: &[usize]) -> Result<()> {
            *cache = rows.iter().map(|&row| cache[row]).collect();
            Ok(())
        }
    }

    fn first_token(scale: f32) -> u32 {
        let raw = RawDecodingSettings { num_beams: Some(1), max_new_tokens: Some(1), ..Default::default() };
        let settings: DecodingSettings = raw.resolve().expect("possible");
        let guided = Guided { model: &Toy, scale, neutral_prompt: Cow::Borrowed(&[0]) };
        let prompts = [vec![1], vec![1]];
        let answers = generate(&guided, &prompts, &settings, &[]).expect("decodes");
        assert_eq!(answers[0], answers[1]);
        answers[0][0].token_ids[0]
    }

    #[test]
    fn guidance_prefers_what_fits_the_prompt() {
        assert_eq!(first_token(1.0), 2);
        assert_eq!(first_token(2.0), 3);
    }
}
