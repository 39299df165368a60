//! GPT-2's `config.json`: the keys that shape the model, with transformers' names and defaults.
//! Keys about dropout, summaries and generation are not read; what would change the mathematics and
//! is not implemented is refused.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Shape of a GPT-2 model.
///
/// # Source
/// `GPT2Config` of transformers 5.23. Unknown keys are ignored: transformers writes many.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gpt2Config {
    /// Always `gpt2`.
    pub model_type: String,
    /// What transformers' `AutoModelForCausalLM` builds from the folder.
    pub architectures: Vec<String>,
    /// V: entries of the vocabulary.
    pub vocab_size: usize,
    /// Longest sequence.
    pub n_positions: usize,
    /// E: width.
    pub n_embd: usize,
    /// Number of blocks.
    pub n_layer: usize,
    /// N: attention heads a block.
    pub n_head: usize,
    /// Width inside the MLP; 4 E if absent.
    pub n_inner: Option<usize>,
    /// The MLP's activation.
    pub activation_function: Activation,
    /// Added to the variance in every LayerNorm.
    pub layer_norm_epsilon: f64,
    /// Whether attention scores are divided by the root of the head dimension.
    pub scale_attn_weights: bool,
    /// Whether attention scores are also divided by the block's number, from 1.
    pub scale_attn_by_inverse_layer_idx: bool,
    /// Standard deviation of initial weights.
    pub initializer_range: f64,
    /// First token of a text; GPT-2 uses the end token and Promptist none.
    pub bos_token_id: Option<u32>,
    /// The end token.
    pub eos_token_id: Option<u32>,
    /// Whether the head is the token embedding. Always so here.
    pub tie_word_embeddings: bool,
    /// Cross-attention, which no language model of ours has.
    pub add_cross_attention: bool,
}

/// The MLP's activation, as `activation_function` spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// GELU by tanh, GPT-2's own.
    #[serde(alias = "gelu_pytorch_tanh", alias = "gelu_fast")]
    GeluNew,
    /// GELU by the error function.
    Gelu,
    /// Rectifier.
    Relu,
}

impl Default for Gpt2Config {
    /// GPT-2 small, 124M.
    fn default() -> Self {
        Self {
            model_type: "gpt2".into(),
            architectures: vec!["GPT2LMHeadModel".into()],
            vocab_size: 50257,
            n_positions: 1024,
            n_embd: 768,
            n_layer: 12,
            n_head: 12,
            n_inner: None,
            activation_function: Activation::GeluNew,
            layer_norm_epsilon: 1e-5,
            scale_attn_weights: true,
            scale_attn_by_inverse_layer_idx: false,
            initializer_range: 0.02,
            bos_token_id: Some(50256),
            eos_token_id: Some(50256),
            tie_word_embeddings: true,
            add_cross_attention: false,
        }
    }
}

/// Largest value of any size in a config: far above every GPT-2, small enough that products of two
/// sizes fit and a hostile file cannot ask for the machine's memory.
const MAX_SIZE: usize = 1 << 20;

impl Gpt2Config {
    /// Reads and checks `config.json`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::File`] for malformed JSON or another `model_type`, [`Error::Config`]
    /// for impossible values.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        Self::from_json(&text).map_err(|error| match error {
            Error::Config { key, reason } => Error::file(path, format!("`{key}`: {reason}")),
            other => Error::file(path, other.to_string()),
        })
    }

    /// Parses and checks the text of a `config.json`.
    ///
    /// # Errors
    /// [`Error::Config`], naming the key.
    pub fn from_json(text: &str) -> Result<Self> {
        let malformed = |e: serde_json::Error| Error::config("config.json", e.to_string());
        // Through a map: serde would take an array for a struct without its names.
        let keys: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(text).map_err(malformed)?;
        let config: Self = serde_json::from_value(serde_json::Value::Object(keys)).map_err(malformed)?;
        config.check()?;
        Ok(config)
    }

    /// Refuses what cannot be a model, and what would be one we do not compute.
    ///
    /// # Errors
    /// [`Error::Config`], naming the key.
    pub fn check(&self) -> Result<()> {
        if self.model_type != "gpt2" {
            return Err(Error::config("model_type", format!("expected `gpt2`, found `{}`", self.model_type)));
        }
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("n_positions", self.n_positions),
            ("n_embd", self.n_embd),
            ("n_layer", self.n_layer),
            ("n_head", self.n_head),
            ("n_inner", self.n_inner()),
        ];
        for (key, size) in sizes {
            if size == 0 || size > MAX_SIZE {
                return Err(Error::config(key, format!("{size} is not in 1..={MAX_SIZE}")));
            }
        }
        if !self.n_embd.is_multiple_of(self.n_head) {
            return Err(Error::config(
                "n_head",
                format!("{} does not divide n_embd = {}", self.n_head, self.n_embd),
            ));
        }
        if let Some(id) = self.eos_token_id
            && id as usize >= self.vocab_size
        {
            return Err(Error::config(
                "eos_token_id",
                format!("{id} is not below vocab_size = {}", self.vocab_size),
            ));
        }
        if !(self.layer_norm_epsilon > 0.0 && self.layer_norm_epsilon < 1.0) {
            return Err(Error::config("layer_norm_epsilon", "must be in (0, 1)"));
        }
        if !self.tie_word_embeddings {
            return Err(Error::config("tie_word_embeddings", "an untied head is not supported"));
        }
        if self.add_cross_attention {
            return Err(Error::config("add_cross_attention", "cross-attention is not supported"));
        }
        Ok(())
    }

    /// Width inside the MLP.
    pub fn n_inner(&self) -> usize {
        self.n_inner.unwrap_or(4 * self.n_embd)
    }

    /// D: dimension of a head.
    pub fn head_dim(&self) -> usize {
        self.n_embd / self.n_head
    }

    /// Number of parameters, the tied head counted once.
    pub fn num_parameters(&self) -> usize {
        let (e, inner) = (self.n_embd, self.n_inner());
        let attention = e * 3 * e + 3 * e + e * e + e;
        let mlp = e * inner + inner + inner * e + e;
        (self.vocab_size + self.n_positions) * e + self.n_layer * (attention + mlp + 4 * e) + 2 * e
    }

    /// What attention scores of block `layer_idx` are multiplied by.
    pub(crate) fn attention_scale(&self, layer_idx: usize) -> f64 {
        let mut scale = 1.0;
        if self.scale_attn_weights {
            scale /= (self.head_dim() as f64).sqrt();
        }
        if self.scale_attn_by_inverse_layer_idx {
            scale /= (layer_idx + 1) as f64;
        }
        scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpt2_small_has_124_439_808_parameters() {
        assert_eq!(Gpt2Config::default().num_parameters(), 124_439_808);
    }

    #[test]
    fn impossible_configs_name_the_key() {
        let cases = [
            (r#"{"n_head": 7}"#, "n_head"),
            (r#"{"n_embd": 0}"#, "n_embd"),
            (r#"{"vocab_size": 99999999999}"#, "vocab_size"),
            (r#"{"model_type": "llama"}"#, "model_type"),
            (r#"{"eos_token_id": 50257}"#, "eos_token_id"),
            (r#"{"tie_word_embeddings": false}"#, "tie_word_embeddings"),
            (r#"{"activation_function": "swish"}"#, "config.json"),
            (r#"{"n_layer": -1}"#, "config.json"),
            ("[]", "config.json"),
        ];
        for (text, expected) in cases {
            match Gpt2Config::from_json(text) {
                Err(Error::Config { key, .. }) => assert_eq!(key, expected, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn unknown_keys_are_ignored() {
        let config = Gpt2Config::from_json(r#"{"summary_type": "cls_index", "n_layer": 2}"#);
        assert_eq!(config.expect("valid").n_layer, 2);
    }
}
