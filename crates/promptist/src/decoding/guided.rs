//! Guidance: what fits this prompt, over what fits any.
//!
//! A prompter's likeliest additions are those that everybody adds to everything. Guidance decodes from
//! `log p(token | prompt) + (scale − 1) · (log p(token | prompt) − log p(token | neutral prompt))`,
//! renormalised: at scale 1 the model itself, above it tokens gain that are likelier after this prompt
//! than after one that says nothing.
//!
//! Source: classifier-free guidance for language models (Sanchez et al. 2023); the formula is that of
//! `UnbatchedClassifierFreeGuidanceLogitsProcessor` of transformers, there with another neutral prompt.

use super::log_softmax::Normalizer;
use super::{LanguageModel, Logits};
use crate::error::Result;

/// A language model under guidance. Twice the work of the model alone.
pub struct Guided<'a, M> {
    /// The model.
    pub model: &'a M,
    /// 1 is the model itself; 1.5 guides gently, 3 hard.
    pub scale: f32,
    /// Ids of the prompt that says nothing.
    pub neutral_prompt: &'a [u32],
}

/// The rows under their prompts and, beside them, under the neutral one.
pub struct GuidedCache<C> {
    prompted: C,
    neutral: C,
}

impl<M: LanguageModel> LanguageModel for Guided<'_, M> {
    type Cache = GuidedCache<M::Cache>;

    fn vocab_size(&self) -> usize {
        self.model.vocab_size()
    }

    fn n_positions(&self) -> usize {
        self.model.n_positions()
    }

    fn prefill(&self, prompts: &[Vec<u32>], max_new_tokens: usize) -> Result<(Self::Cache, Logits)> {
        let (prompted, logits) = self.model.prefill(prompts, max_new_tokens)?;
        // Read once and repeated: every row has the same neutral prompt.
        let neutral_prompt = [self.neutral_prompt.to_vec()];
        let (mut neutral, once) = self.model.prefill(&neutral_prompt, max_new_tokens)?;
        self.model.reorder(&mut neutral, &vec![0; prompts.len()])?;
        let neutral_logits = Logits { vocab_size: once.vocab_size, data: once.data.repeat(prompts.len()) };
        let logits = self.combine(logits, neutral_logits)?;
        Ok((GuidedCache { prompted, neutral }, logits))
    }

    fn step(&self, cache: &mut Self::Cache, token_ids: &[u32]) -> Result<Logits> {
        let logits = self.model.step(&mut cache.prompted, token_ids)?;
        let neutral = self.model.step(&mut cache.neutral, token_ids)?;
        self.combine(logits, neutral)
    }

    fn reorder(&self, cache: &mut Self::Cache, rows: &[usize]) -> Result<()> {
        self.model.reorder(&mut cache.prompted, rows)?;
        self.model.reorder(&mut cache.neutral, rows)
    }
}

impl<M> Guided<'_, M> {
    fn combine(&self, mut logits: Logits, neutral: Logits) -> Result<Logits> {
        let v = logits.vocab_size;
        for (prompted, neutral) in logits.data.chunks_mut(v).zip(neutral.data.chunks(v)) {
            let (of_prompted, of_neutral) = (Normalizer::of(prompted)?, Normalizer::of(neutral)?);
            for (prompted, &neutral) in prompted.iter_mut().zip(neutral) {
                let logprob = of_prompted.log_prob(*prompted);
                let gain = logprob - of_neutral.log_prob(neutral);
                // A token that cannot come under both prompts gains nothing, not NaN.
                *prompted = logprob + if gain.is_finite() { (self.scale - 1.0) * gain } else { 0.0 };
            }
        }
        Ok(logits)
    }
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

        fn prefill(&self, prompts: &[Vec<u32>], _: usize) -> Result<(Vec<u32>, Logits)> {
            let cache: Vec<u32> = prompts.iter().map(|prompt| prompt[0]).collect();
            let logits = self.logits(&cache);
            Ok((cache, logits))
        }

        fn step(&self, cache: &mut Vec<u32>, _: &[u32]) -> Result<Logits> {
            Ok(self.logits(cache))
        }

        fn reorder(&self, cache: &mut Vec<u32>, rows: &[usize]) -> Result<()> {
            *cache = rows.iter().map(|&row| cache[row]).collect();
            Ok(())
        }
    }

    impl Toy {
        fn logits(&self, rows: &[u32]) -> Logits {
            let row = |first: &u32| match first {
                1 => [f32::NEG_INFINITY, 0.0, 2.0, 1.9],
                _ => [f32::NEG_INFINITY, 0.0, 2.0, 0.0],
            };
            Logits { vocab_size: 4, data: rows.iter().flat_map(row).collect() }
        }
    }

    fn first_token(scale: f32) -> u32 {
        let raw = RawDecodingSettings { num_beams: Some(1), max_new_tokens: Some(1), ..Default::default() };
        let settings: DecodingSettings = raw.resolve().expect("possible");
        let guided = Guided { model: &Toy, scale, neutral_prompt: &[0] };
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
