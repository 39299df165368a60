//! Exploration: an answer to each prompt of a round, found by the search that the config names.
//!
//! The search runs on the decoding engine with the round's weights; what it thinks of its answers is
//! not used. That the behaviour policy is a search, and the ratio plain π's, is the released
//! algorithm's design (Q15).

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::config::{ExplorationConfig, ExplorationMethod};
use crate::decoding::{EarlyStopping, Finish, LengthNormalization, RawDecodingSettings};
use crate::error::{Error, Result};
use crate::gpt2::Gpt2;
use crate::prompter::{AdaptRequest, Prompter};
use crate::reward::Pair;
use crate::template::Keep;
use crate::train::examples::{Example, stage_seed};

/// An answer that was explored.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// What the policy read, and its tokens; those count. The last is always the end token: an answer that
    /// was cut gets one, and it counts as the policy's own action, so that it learns to end in time (Q8).
    pub example: Example,
    /// Whether the end token was put there.
    pub is_cut: bool,
    /// The user's prompt and the text of the answer, as it came.
    pub pair: Pair,
}

/// Explores with the weights of a round.
pub struct Explorer {
    prompter: Prompter,
    keep: Keep,
    config: ExplorationConfig,
    seed: u64,
    end_token: u32,
}

impl Explorer {
    /// On `prompter`, whose weights are replaced each round.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the vocabulary has no end token.
    pub fn new(prompter: Prompter, keep: Keep, config: ExplorationConfig, seed: u64) -> Result<Self> {
        let settings = prompter.settings(&AdaptRequest::default())?;
        let Some(&end_token) = settings.decoding.eos_token_id.first() else {
            return Err(Error::Tokenizer("the vocabulary has no end token".into()));
        };
        Ok(Self { prompter, keep, config, seed: stage_seed(seed, "exploration"), end_token })
    }

    /// Takes the policy of a round.
    ///
    /// # Errors
    /// [`Error::Shape`] if it has another shape.
    pub fn refresh(&mut self, policy: &Gpt2) -> Result<()> {
        self.prompter.reload(policy)
    }

    /// The prompter, with the weights of the last [`refresh`](Self::refresh).
    pub fn prompter(&self) -> &Prompter {
        &self.prompter
    }

    /// What becomes of users' words.
    pub fn keep(&self) -> Keep {
        self.keep
    }

    /// The policy's tokens with the prompt before them and the end token behind.
    ///
    /// # Errors
    /// [`Error::EmptyPrompt`]; [`Error::Tokenizer`].
    pub fn example(&self, user_input: &str, token_ids: &[u32]) -> Result<Example> {
        let mut all = self.prompter.prompt_for(user_input, self.keep)?;
        let loss_from = all.len();
        all.extend_from_slice(token_ids);
        all.push(self.end_token);
        Ok(Example { token_ids: all, loss_from })
    }

    /// Answers to the prompts of chunk `chunk` of round `round`: a function of weights, prompts, config and
    /// these numbers.
    ///
    /// # Errors
    /// Those of decoding.
    pub fn explore(&self, prompts: &[String], round: u64, chunk: usize) -> Result<Vec<Response>> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(round);
        rng.set_word_pos((chunk as u128) << 32);
        let (least, most) = self.config.max_new_tokens;
        let max_new_tokens = rng.random_range(least..=most);
        let settings = self.prompter.settings(&AdaptRequest {
            decoding: self.decoding(max_new_tokens, rng.random()),
            keep: Some(self.keep),
            guidance_scale: Some(self.config.guidance_scale),
            ..AdaptRequest::default()
        })?;
        let adapted = self.prompter.adapt(prompts, &settings, 0);
        let mut responses = Vec::with_capacity(prompts.len());
        for (user_input, adapted) in prompts.iter().zip(adapted) {
            let mut outputs = adapted?.outputs;
            if outputs.is_empty() {
                return Err(Error::Decoding(format!("no answer to {user_input:?}")));
            }
            let output = outputs.swap_remove(rng.random_range(0..outputs.len()));
            responses.push(Response {
                example: self.example(user_input, &output.token_ids)?,
                is_cut: output.finish == Finish::Length,
                pair: Pair { user_input: user_input.clone(), adapted_prompt: output.text },
            });
        }
        Ok(responses)
    }

    /// Every setting is said, so that none of the model's own reaches exploration.
    fn decoding(&self, max_new_tokens: usize, seed: u64) -> RawDecodingSettings {
        let config = &self.config;
        let is_sampled = config.method == ExplorationMethod::Sampling;
        let beams = if is_sampled { 1 } else { config.num_beams };
        RawDecodingSettings {
            num_beams: Some(beams),
            num_beam_groups: Some(beams),
            diversity_penalty: Some(if beams > 1 { config.diversity_penalty } else { 0.0 }),
            length_penalty: Some(config.length_penalty),
            length_normalization: Some(LengthNormalization::Generated),
            early_stopping: Some(EarlyStopping::default()),
            max_new_tokens: Some(max_new_tokens),
            min_new_tokens: Some(config.min_new_tokens),
            num_return_sequences: Some(beams),
            do_sample: Some(is_sampled),
            temperature: Some(config.temperature),
            top_k: Some(config.top_k),
            top_p: Some(config.top_p),
            min_p: Some(0.0),
            seed: Some(seed),
            repetition_penalty: Some(1.0),
            no_repeat_ngram_size: Some(0),
            suppress_tokens: Some(config.suppress_tokens.clone()),
            eos_token_id: None,
            pad_token_id: None,
        }
    }
}
