//! Features of a pair by a frozen prompter: how it reads the additions, and how likely it finds them.
//!
//! The trunk reads `x Rephrase: x, additions` as it does when it adapts. Behind each added token stands a hidden
//! state that has seen the input; their mean says what is added and how. How much likelier the additions are
//! after their own input than after one that says nothing tells whether they fit.

use super::additions::{AddedText, SURFACE};
use crate::decoding::teacher_forcing::ForcedText;
use crate::engine::{Engine, EngineOptions, Precision};
use crate::error::{Error, Result};
use crate::gpt2::Gpt2Config;
use crate::model_source::ModelFiles;
use crate::template;
use crate::tokenizer::Tokenizer;

/// The input that says nothing.
const NEUTRAL_INPUT: &str = "an image";

/// Numbers beside the mean hidden state and the surface.
const LIKELIHOODS: usize = 8;

/// Tokens of additions that are read; longer ones are cut, and the surface numbers say how long they were.
const MAX_ADDED_TOKENS: usize = 160;

/// A frozen language model with its tokenizer.
pub struct Trunk {
    engine: Engine,
    tokenizer: Tokenizer,
    eos_token_id: u32,
    neutral_prompt: Vec<u32>,
    name: String,
    sha256: String,
}

impl Trunk {
    /// Opens the model of `files` in f32 on `num_threads`.
    ///
    /// # Errors
    /// Naming the file that is missing or wrong; [`Error::Tokenizer`] without an end token.
    pub fn open(files: &ModelFiles, num_threads: usize) -> Result<Self> {
        let path = files.path("config.json");
        let config = files.read("config.json")?;
        let config = std::str::from_utf8(&config).map_err(|e| Error::file(&path, e.to_string()))?;
        let config = Gpt2Config::from_json(config).map_err(|e| Error::file(&path, e.to_string()))?;
        let weights = files.weights()?;
        let tokenizer = match files {
            ModelFiles::Embedded(_) => Tokenizer::from_json(&files.read("tokenizer.json")?)?,
            ModelFiles::Folder { path, .. } => Tokenizer::open(path)?,
        };
        if tokenizer.vocab_size() > config.vocab_size {
            let reason = format!(
                "vocab_size is {}, but the tokenizer has {} entries",
                config.vocab_size,
                tokenizer.vocab_size()
            );
            return Err(Error::file(&path, reason));
        }
        let eos_token_id = tokenizer
            .eos_token_id()
            .ok_or_else(|| Error::Tokenizer("the vocabulary has no end token".to_owned()))?;
        let options = EngineOptions { precision: Precision::F32, isa: None, num_threads };
        let engine = Engine::open(&config, &weights, options)?;
        let mut trunk = Self {
            engine,
            eos_token_id,
            neutral_prompt: Vec::new(),
            name: files.name().to_owned(),
            sha256: weights.sha256(),
            tokenizer,
        };
        trunk.neutral_prompt = trunk.prompt(NEUTRAL_INPUT)?;
        Ok(trunk)
    }

    /// What the user called it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of its weights.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Features of a pair.
    pub fn num_features(&self) -> usize {
        self.engine.config().n_embd + LIKELIHOODS + SURFACE.len()
    }

    /// The features of pairs, `[num_features]` each. Inputs too long for the context are read from their end.
    ///
    /// # Errors
    /// [`Error::Tokenizer`], [`Error::NotFinite`].
    pub fn features(&self, added: &[AddedText]) -> Result<Vec<Vec<f64>>> {
        let room = self.engine.config().n_positions;
        let mut texts = Vec::with_capacity(2 * added.len());
        for added in added {
            let mut tail = match added.text.as_str() {
                "" => Vec::new(),
                text => self.tokenizer.encode(&template::answer(text))?,
            };
            tail.truncate(MAX_ADDED_TOKENS.min(room / 2));
            tail.push(self.eos_token_id);
            for prompt in [self.prompt(&added.user_input)?, self.neutral_prompt.clone()] {
                let cut = (prompt.len() + tail.len()).saturating_sub(room);
                let mut token_ids = prompt[cut.min(prompt.len() - 1)..].to_vec();
                let from = token_ids.len();
                token_ids.extend_from_slice(&tail);
                texts.push((token_ids, from));
            }
        }
        let texts: Vec<ForcedText> =
            texts.iter().map(|(token_ids, from)| ForcedText { token_ids, from: *from }).collect();
        let readings = self.engine.read_texts(&texts)?;
        let features = added.iter().zip(readings.chunks_exact(2)).map(|(added, readings)| {
            let (own, neutral) = (&readings[0], &readings[1]);
            let mut features: Vec<f64> = own.hidden.iter().map(|&x| f64::from(x)).collect();
            features.extend(likelihoods(&own.logprobs, &neutral.logprobs));
            features.extend(added.surface());
            features
        });
        Ok(features.collect())
    }

    /// `x Rephrase: x,`
    fn prompt(&self, user_input: &str) -> Result<Vec<u32>> {
        let mut token_ids = self.tokenizer.encode(&template::prompt(user_input))?;
        let kept = format!("{},", template::kept_words(user_input));
        token_ids.extend(self.tokenizer.encode(&template::answer(&kept))?);
        Ok(token_ids)
    }
}

/// Likelihoods of the added tokens, the end apart, in nats a token: after the own input, their spread and
/// their least; gained by the own input: mean, spread, greatest loss; the end, and what it gained.
fn likelihoods(own: &[f32], neutral: &[f32]) -> [f64; LIKELIHOODS] {
    let own: Vec<f64> = own.iter().map(|&x| f64::from(x)).collect();
    let gains: Vec<f64> = own.iter().zip(neutral).map(|(own, &neutral)| own - f64::from(neutral)).collect();
    let (Some((end, own)), Some((end_gain, gains))) = (own.split_last(), gains.split_last()) else {
        return [0.0; LIKELIHOODS];
    };
    let least = |values: &[f64]| values.iter().copied().fold(0.0, f64::min);
    let (mean, spread) = mean_and_spread(own);
    let (gain, gain_spread) = mean_and_spread(gains);
    [mean, spread, least(own), gain, gain_spread, least(gains), *end, *end_gain]
}

/// Mean and standard deviation; zeros of nothing.
fn mean_and_spread(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, (values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / n).sqrt())
}
