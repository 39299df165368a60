//! CLIP's `config.json`: the keys that shape the model, with transformers' names and defaults.
//!
//! Two kinds of file: that of a `CLIPModel` nests a tower each under `text_config` and `vision_config`
//! ([`ClipConfig`]); that of a `CLIPTextModel`, as in the folder `text_encoder` of a Stable Diffusion model,
//! has the text tower's keys at the top ([`TextConfig`]).

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::nn::Activation;

/// Beyond this no size is believed: ViT-bigG has 5120 at most, the vocabulary 49408.
const MAX_SIZE: usize = 1 << 20;
/// Layers of the largest towers: 48.
const MAX_LAYERS: usize = 256;

/// Shape of a CLIP model.
///
/// # Source
/// `CLIPConfig` of transformers 5.23. Unknown keys are ignored: transformers writes many.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipConfig {
    /// The text tower.
    pub text: TextConfig,
    /// The image tower.
    pub vision: VisionConfig,
    /// Width of the features that both towers are projected to.
    pub projection_dim: usize,
}

/// Shape of the text tower.
///
/// # Source
/// `CLIPTextConfig` of transformers 5.23.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct TextConfig {
    /// V: entries of the vocabulary.
    pub vocab_size: usize,
    /// E: width.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Width of the features, where the tower stands alone and has a projection.
    pub projection_dim: usize,
    /// Number of blocks. Stable Diffusion 2 takes the features before the last block: its files hold one
    /// block less.
    pub num_hidden_layers: usize,
    /// N: attention heads a block.
    pub num_attention_heads: usize,
    /// T: longest sequence.
    pub max_position_embeddings: usize,
    /// The MLP's activation.
    pub hidden_act: HiddenAct,
    /// Added to the variance in every LayerNorm.
    pub layer_norm_eps: f64,
    /// The token whose hidden state is the text's. 2 is not the end token but a mark of files written before
    /// transformers 4.31: there it is the largest id of the row.
    pub eos_token_id: u32,
}

/// Shape of the image tower.
///
/// # Source
/// `CLIPVisionConfig` of transformers 5.23.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct VisionConfig {
    /// E: width.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// N: attention heads a block.
    pub num_attention_heads: usize,
    /// C: 3.
    pub num_channels: usize,
    /// H and W of the images it takes.
    pub image_size: usize,
    /// Pixels a side of a patch.
    pub patch_size: usize,
    /// The MLP's activation.
    pub hidden_act: HiddenAct,
    /// Added to the variance in every LayerNorm.
    pub layer_norm_eps: f64,
}

/// The MLP's activation, as `hidden_act` spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HiddenAct {
    /// `x · sigmoid(1.702 x)`: OpenAI's models.
    QuickGelu,
    /// GELU by the error function: OpenCLIP's models, PickScore, Stable Diffusion 2.
    Gelu,
}

impl HiddenAct {
    /// What it computes.
    pub(super) fn activation(self) -> Activation {
        match self {
            Self::QuickGelu => Activation::QuickGelu,
            Self::Gelu => Activation::Gelu,
        }
    }
}

impl Default for TextConfig {
    /// The text tower of ViT-B/32.
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            projection_dim: 512,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: HiddenAct::QuickGelu,
            layer_norm_eps: 1e-5,
            eos_token_id: 49407,
        }
    }
}

impl Default for VisionConfig {
    /// The image tower of ViT-B/32.
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: 224,
            patch_size: 32,
            hidden_act: HiddenAct::QuickGelu,
            layer_norm_eps: 1e-5,
        }
    }
}

impl ClipConfig {
    /// Reads the text of a `CLIPModel`'s `config.json`; `path` is for errors.
    ///
    /// # Errors
    /// [`Error::File`] if it is no JSON object or a value has the wrong type; [`Error::Config`] naming the key
    /// of an impossible value.
    pub fn from_json(bytes: &[u8], path: &Path) -> Result<Self> {
        let root = object(bytes, path)?;
        if let Some(kind) = root.get("model_type")
            && kind != "clip"
        {
            return Err(Error::config("model_type", format!("expected `clip`, found {kind}")));
        }
        let config = Self {
            text: parse(tower(&root, "text_config", path)?, path)?,
            vision: parse(tower(&root, "vision_config", path)?, path)?,
            projection_dim: match root.get("projection_dim") {
                None | Some(Value::Null) => 512,
                Some(value) => parse(value.clone(), path)?,
            },
        };
        config.text.check()?;
        config.vision.check()?;
        check_sizes(&[("projection_dim", config.projection_dim, MAX_SIZE)])?;
        Ok(config)
    }
}

impl TextConfig {
    /// Reads the text of a text tower's own `config.json`; one of a whole `CLIPModel` gives its text tower.
    /// `path` is for errors.
    ///
    /// # Errors
    /// As [`ClipConfig::from_json`].
    pub fn from_json(bytes: &[u8], path: &Path) -> Result<Self> {
        let mut root = object(bytes, path)?;
        if root.contains_key("text_config") || root.contains_key("text_config_dict") {
            let config = ClipConfig::from_json(bytes, path)?;
            return Ok(Self { projection_dim: config.projection_dim, ..config.text });
        }
        root.retain(|_, value| !value.is_null());
        let config: Self = parse(Value::Object(root), path)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        check_sizes(&[
            ("vocab_size", self.vocab_size, MAX_SIZE),
            ("hidden_size", self.hidden_size, MAX_SIZE),
            ("intermediate_size", self.intermediate_size, MAX_SIZE),
            ("projection_dim", self.projection_dim, MAX_SIZE),
            ("num_hidden_layers", self.num_hidden_layers, MAX_LAYERS),
            ("max_position_embeddings", self.max_position_embeddings, MAX_SIZE),
        ])?;
        check_heads(self.hidden_size, self.num_attention_heads)?;
        check_epsilon(self.layer_norm_eps)
    }
}

impl VisionConfig {
    /// Patches a side of an image.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    fn check(&self) -> Result<()> {
        check_sizes(&[
            ("hidden_size", self.hidden_size, MAX_SIZE),
            ("intermediate_size", self.intermediate_size, MAX_SIZE),
            ("num_hidden_layers", self.num_hidden_layers, MAX_LAYERS),
            ("image_size", self.image_size, 4096),
            ("patch_size", self.patch_size, self.image_size),
        ])?;
        if self.num_channels != 3 {
            return Err(Error::config("num_channels", format!("expected 3, found {}", self.num_channels)));
        }
        check_heads(self.hidden_size, self.num_attention_heads)?;
        check_epsilon(self.layer_norm_eps)
    }
}

fn check_sizes(sizes: &[(&str, usize, usize)]) -> Result<()> {
    for &(key, size, max) in sizes {
        if size == 0 || size > max {
            return Err(Error::config(key, format!("{size} is not in 1..={max}")));
        }
    }
    Ok(())
}

fn check_heads(hidden_size: usize, heads: usize) -> Result<()> {
    if heads == 0 || !hidden_size.is_multiple_of(heads) {
        return Err(Error::config(
            "num_attention_heads",
            format!("{heads} does not divide hidden_size = {hidden_size}"),
        ));
    }
    Ok(())
}

fn check_epsilon(epsilon: f64) -> Result<()> {
    if !(epsilon > 0.0 && epsilon < 1.0) {
        return Err(Error::config("layer_norm_eps", "must be in (0, 1)"));
    }
    Ok(())
}

fn object(bytes: &[u8], path: &Path) -> Result<Map<String, Value>> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Error::file(path, "expected a JSON object")),
        Err(error) => Err(Error::file(path, error.to_string())),
    }
}

fn parse<T: serde::de::DeserializeOwned>(value: Value, path: &Path) -> Result<T> {
    serde_json::from_value(value).map_err(|e| Error::file(path, e.to_string()))
}

/// A tower's keys. Where a file has `text_config_dict` beside `text_config`, as OpenAI's have, the former and
/// its defaults win in transformers: `CLIPConfig.__post_init__`.
fn tower(root: &Map<String, Value>, key: &str, path: &Path) -> Result<Value> {
    let dict = format!("{key}_dict");
    let found = match root.get(&dict) {
        None | Some(Value::Null) => root.get(key),
        found => found,
    };
    match found {
        None | Some(Value::Null) => Ok(Value::Object(Map::new())),
        Some(Value::Object(keys)) => {
            let keys = keys.iter().filter(|(_, value)| !value.is_null());
            Ok(Value::Object(keys.map(|(key, value)| (key.clone(), value.clone())).collect()))
        }
        Some(_) => Err(Error::file(path, format!("`{key}`: expected an object"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ClipConfig> {
        ClipConfig::from_json(text.as_bytes(), Path::new("config.json"))
    }

    #[test]
    fn absent_keys_are_those_of_vit_b_32() {
        let config = read("{}").expect("valid");
        assert_eq!((config.text.hidden_size, config.vision.hidden_size), (512, 768));
        assert_eq!((config.vision.patch_size, config.projection_dim), (32, 512));
        assert_eq!(config.text.hidden_act, HiddenAct::QuickGelu);
    }

    /// As in OpenAI's files: `text_config` says 2, transformers takes the default of `text_config_dict`.
    #[test]
    fn a_config_dict_and_its_defaults_win() {
        let config = read(
            r#"{"model_type": "clip", "projection_dim": 768,
                "text_config": {"hidden_size": 768, "num_attention_heads": 12, "eos_token_id": 2},
                "text_config_dict": {"hidden_size": 768, "num_attention_heads": 12},
                "vision_config": {"patch_size": 14}, "vision_config_dict": null}"#,
        )
        .expect("valid");
        assert_eq!((config.text.hidden_size, config.text.eos_token_id), (768, 49407));
        assert_eq!(config.vision.grid(), 16);
    }

    #[test]
    fn a_text_tower_of_its_own_and_of_a_whole_model_read_alike() {
        let path = Path::new("config.json");
        let bare = r#"{"model_type": "clip_text_model", "hidden_act": "gelu", "projection_dim": 1024}"#;
        let whole = r#"{"text_config": {"hidden_act": "gelu"}, "projection_dim": 1024}"#;
        let bare = TextConfig::from_json(bare.as_bytes(), path).expect("valid");
        assert_eq!(bare, TextConfig::from_json(whole.as_bytes(), path).expect("valid"));
        assert_eq!((bare.hidden_act, bare.projection_dim), (HiddenAct::Gelu, 1024));
    }

    #[test]
    fn impossible_configs_name_the_key() {
        let cases = [
            (r#"{"text_config": {"num_attention_heads": 7}}"#, "num_attention_heads"),
            (r#"{"text_config": {"vocab_size": 0}}"#, "vocab_size"),
            (r#"{"vision_config": {"patch_size": 300}}"#, "patch_size"),
            (r#"{"vision_config": {"num_channels": 4}}"#, "num_channels"),
            (r#"{"vision_config": {"hidden_size": 99999999}}"#, "hidden_size"),
            (r#"{"vision_config": {"layer_norm_eps": -1.0}}"#, "layer_norm_eps"),
            (r#"{"vision_config": {"hidden_act": "relu"}}"#, "relu"),
            (r#"{"projection_dim": 0}"#, "projection_dim"),
            (r#"{"projection_dim": -1}"#, "config.json"),
            (r#"{"model_type": "siglip"}"#, "model_type"),
            (r#"{"text_config": 3}"#, "text_config"),
            ("[]", "expected a JSON object"),
            ("{", "config.json"),
        ];
        for (text, expected) in cases {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
