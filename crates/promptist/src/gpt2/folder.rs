//! GPT-2 from and to a model folder in Hugging Face's layout.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;

use super::{Gpt2, Gpt2Config};
use crate::atomic::write_atomic;
use crate::error::{Error, Result};
use crate::nn::Parameters;
use crate::weights::{TensorInfo, Weights, f32_to_bytes, gpt2_layout, write_safetensors};

/// Files that go along with weights: name and content.
pub type CompanionFiles = Vec<(String, Vec<u8>)>;

/// What GPT2LMHeadModel's checkpoints put before every name.
const PREFIX: &str = "transformer.";

/// Opens the model in `folder`: `config.json` and weights in any supported form.
///
/// # Errors
/// As [`Gpt2Config::read`], [`Weights::open`] and [`from_weights`].
pub fn open(folder: &Path, device: &Device) -> Result<Gpt2> {
    let config = Gpt2Config::read(&folder.join("config.json"))?;
    from_weights(&config, &Weights::open(folder)?, device)
}

/// Builds the model of `config` from `weights`, with or without the prefix `transformer.`.
///
/// # Errors
/// [`Error::Tensor`] naming what is missing or of another shape.
pub fn from_weights(config: &Gpt2Config, weights: &Weights, device: &Device) -> Result<Gpt2> {
    let prefix = gpt2_layout::prefix(weights);
    Gpt2::from_parameters(config, device, |name, shape| weights.get_f32(&format!("{prefix}{name}"), shape))
}

/// Writes `config.json`, `model.safetensors` (f32) and `files` (name and bytes: tokenizer,
/// generation settings) into `folder`, which exists. `AutoModelForCausalLM.from_pretrained` loads it.
///
/// # Errors
/// [`Error::Io`]; each file is whole or absent.
pub fn save(model: &Gpt2, folder: &Path, files: &[(String, Vec<u8>)]) -> Result<()> {
    let parameters = model.to_parameters()?;
    let infos: Vec<TensorInfo> = parameters
        .iter()
        .map(|(name, shape, _)| TensorInfo::f32(format!("{PREFIX}{name}"), shape.clone()))
        .collect();
    let values: BTreeMap<&str, &[f32]> =
        parameters.iter().map(|(name, _, values)| (name.as_str(), values.as_slice())).collect();
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    write_safetensors(folder.join("model.safetensors"), &infos, &metadata, |info| {
        Ok(f32_to_bytes(values[&info.name[PREFIX.len()..]]))
    })?;
    let config = serde_json::to_vec_pretty(model.config())
        .map_err(|e| Error::file(folder.join("config.json"), e.to_string()))?;
    write_atomic(folder.join("config.json"), |file| file.write_all(&config))?;
    for (name, bytes) in files {
        write_atomic(folder.join(name), |file| file.write_all(bytes))?;
    }
    Ok(())
}

/// The files of `folder` that go along with a model's weights: tokenizer and generation settings.
///
/// # Errors
/// [`Error::Io`].
pub fn companion_files(folder: &Path) -> Result<CompanionFiles> {
    const NAMES: [&str; 6] = [
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "vocab.json",
        "merges.txt",
        "generation_config.json",
    ];
    let mut files = Vec::new();
    for name in NAMES {
        let path = folder.join(name);
        if path.is_file() {
            files.push((name.to_owned(), std::fs::read(&path).map_err(Error::io(&path))?));
        }
    }
    Ok(files)
}
