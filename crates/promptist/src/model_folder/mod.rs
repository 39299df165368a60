//! Model folders as things to look at, check and convert, without building the model: what
//! `promptist model` does. Opening a folder as a model is `gpt2::folder`'s.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::gpt2::Gpt2Config;
use crate::model_source::ModelFiles;
use crate::tokenizer::Tokenizer;
use crate::weights::Weights;

mod convert;
mod verify;

pub use convert::{ConvertSettings, convert};
pub use verify::verify;

/// Files that go along with a model's weights, beside `config.json`.
const COMPANIONS: [&str; 7] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
];

/// What there is to know of a model without running it.
#[derive(Debug, Clone, Serialize)]
pub struct ModelInfo {
    /// What the user called it.
    pub name: String,
    /// The folder, or the embedded model's name.
    pub path: PathBuf,
    /// `config.json`, its defaults filled in.
    pub config: Gpt2Config,
    /// Number of parameters, the tied head counted once.
    pub parameters: usize,
    /// How many tensors are stored in which dtype.
    pub dtypes: BTreeMap<String, usize>,
    /// Where the tokenizer comes from.
    pub tokenizer: TokenizerInfo,
    /// Name and size in bytes.
    pub files: BTreeMap<String, u64>,
    /// SHA-256 of the weights.
    pub sha256: String,
}

/// A model's tokenizer.
#[derive(Debug, Clone, Serialize)]
pub struct TokenizerInfo {
    /// `tokenizer.json`, `vocab.json`, or `gpt2` for the one that needs no files.
    pub source: String,
    /// Entries of its vocabulary.
    pub vocab_size: usize,
}

/// Describes a model. Reads every byte of the weights, for their SHA-256.
///
/// # Errors
/// Naming the file that is missing or wrong.
pub fn info(files: &ModelFiles) -> Result<ModelInfo> {
    let config = config(files)?;
    let weights = files.weights()?;
    let mut dtypes = BTreeMap::new();
    for dtype in weights.names().filter_map(|name| weights.dtype(name)) {
        *dtypes.entry(format!("{dtype:?}")).or_insert(0) += 1;
    }
    let tokenizer = TokenizerInfo {
        source: tokenizer_source(files).to_owned(),
        vocab_size: tokenizer(files)?.vocab_size(),
    };
    Ok(ModelInfo {
        name: files.name().to_owned(),
        path: files.path(""),
        parameters: config.num_parameters(),
        config,
        dtypes,
        tokenizer,
        files: file_sizes(files, &weights)?,
        sha256: weights.sha256(),
    })
}

/// The checked `config.json`.
fn config(files: &ModelFiles) -> Result<Gpt2Config> {
    let path = files.path("config.json");
    let bytes = files.read("config.json")?;
    let text = std::str::from_utf8(&bytes).map_err(|error| Error::file(&path, error.to_string()))?;
    Gpt2Config::from_json(text).map_err(|error| Error::file(&path, error.to_string()))
}

fn tokenizer(files: &ModelFiles) -> Result<Tokenizer> {
    match files {
        ModelFiles::Embedded(_) => Tokenizer::from_json(&files.read("tokenizer.json")?),
        ModelFiles::Folder { path, .. } => Tokenizer::open(path),
    }
}

fn tokenizer_source(files: &ModelFiles) -> &'static str {
    ["tokenizer.json", "vocab.json"].into_iter().find(|file| files.contains(file)).unwrap_or("gpt2")
}

/// Names and sizes of the files that make up the model; whatever else lies beside them is not ours.
fn file_sizes(files: &ModelFiles, weights: &Weights) -> Result<BTreeMap<String, u64>> {
    let mut sizes = BTreeMap::new();
    match files {
        ModelFiles::Embedded(model) => {
            sizes.extend(model.files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.len() as u64)));
        }
        ModelFiles::Folder { path, .. } => {
            let beside = COMPANIONS.into_iter().chain(["config.json"]).map(|name| path.join(name));
            let weights = weights.files().chain([weights.path()]).map(PathBuf::from);
            for file in beside.filter(|file| file.is_file()).chain(weights) {
                let size = std::fs::metadata(&file).map_err(Error::io(&file))?.len();
                let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                sizes.insert(name, size);
            }
        }
    }
    Ok(sizes)
}

#[cfg(test)]
mod tests;
