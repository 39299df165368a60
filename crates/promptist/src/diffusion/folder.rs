//! A Stable Diffusion model in diffusers' folder layout: which files it has, and that they are what they should be.
//!
//! ```text
//! model_index.json                      the class of each component
//! scheduler/scheduler_config.json
//! text_encoder/config.json              and model.safetensors, model.fp16.safetensors, pytorch_model.bin, ...
//! tokenizer/                            vocab.json and merges.txt, or tokenizer.json
//! unet/config.json                      and diffusion_pytorch_model.safetensors, .fp16.safetensors, .bin, ...
//! vae/config.json                       likewise
//! ```
//!
//! Building the networks is [`super::pipeline`]'s work.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::scheduler::SchedulerConfig;
use super::unet::config::UnetConfig;
use super::vae::config::VaeConfig;
use crate::clip::config::TextConfig;
use crate::clip::tokenizer::ClipTokenizer;
use crate::error::{Error, Result};
use crate::model_source::ModelFiles;
use crate::weights::{Weights, hex};

/// The file that makes a folder a model of diffusers.
pub const MODEL_INDEX: &str = "model_index.json";

/// The pipeline whose folders these are.
const PIPELINE: &str = "StableDiffusionPipeline";

/// Each component that we need, and the classes that we are.
const COMPONENTS: [(&str, &[&str]); 4] = [
    ("text_encoder", &["CLIPTextModel"]),
    ("tokenizer", &["CLIPTokenizer", "CLIPTokenizerFast"]),
    ("unet", &["UNet2DConditionModel"]),
    ("vae", &["AutoencoderKL"]),
];

/// The components that have weights.
pub(crate) const NETWORKS: [&str; 3] = ["text_encoder", "unet", "vae"];

/// The settings of the scheduler.
pub(crate) const SCHEDULER_CONFIG: &str = "scheduler/scheduler_config.json";

/// What a component's weights may be called, in the order in which they are tried: those of full precision
/// first, safetensors before pickles.
const ENDINGS: [&str; 8] = [
    ".safetensors",
    ".safetensors.index.json",
    ".fp16.safetensors",
    ".safetensors.index.fp16.json",
    ".bin",
    ".bin.index.json",
    ".fp16.bin",
    ".bin.index.fp16.json",
];

/// Files of a tokenizer, as [`ClipTokenizer::open`] reads them.
pub(crate) const TOKENIZER_FILES: [&str; 5] =
    ["tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"];

/// A folder whose `model_index.json` is that of a Stable Diffusion model. Its other files are opened when asked
/// for.
#[derive(Debug, Clone)]
pub struct DiffusionFolder {
    root: PathBuf,
}

impl DiffusionFolder {
    /// Opens the folder at `root`.
    ///
    /// # Errors
    /// [`Error::File`] if there is no `model_index.json`, if it is another pipeline's, or if a component is missing
    /// or of a class that we are not; [`Error::Io`].
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let folder = Self { root: root.into() };
        if !folder.root.is_dir() {
            return Err(Error::file(&folder.root, "expected a model folder, found nothing of that name"));
        }
        let path = folder.path(MODEL_INDEX);
        let bytes = ModelFiles::folder(&folder.root).read(MODEL_INDEX)?;
        let index: Map<String, Value> =
            serde_json::from_slice(&bytes).map_err(|e| Error::file(&path, e.to_string()))?;
        let class = index.get("_class_name").and_then(Value::as_str).unwrap_or_default();
        if class != PIPELINE {
            return Err(Error::file(&path, format!("expected a {PIPELINE}, found `{class}`")));
        }
        for (component, classes) in COMPONENTS {
            let class = index.get(component).and_then(|entry| entry.get(1)).and_then(Value::as_str);
            match class {
                None => return Err(Error::file(&path, format!("the component `{component}` is missing"))),
                Some(class) if !classes.contains(&class) => {
                    let expected = classes.join(" or ");
                    let reason = format!("`{component}`: expected {expected}, found `{class}`");
                    return Err(Error::file(&path, reason));
                }
                Some(_) => {}
            }
        }
        Ok(folder)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The UNet's shape and weights.
    ///
    /// # Errors
    /// As [`UnetConfig::from_json`] and [`Weights::open_file`]; [`Error::File`] if a file is missing.
    pub fn unet(&self) -> Result<(UnetConfig, Weights)> {
        let (bytes, path) = self.config("unet")?;
        Ok((UnetConfig::from_json(&bytes, &path)?, self.weights("unet")?))
    }

    /// The VAE's shape and weights.
    ///
    /// # Errors
    /// As [`VaeConfig::from_json`] and [`Weights::open_file`]; [`Error::File`] if a file is missing.
    pub fn vae(&self) -> Result<(VaeConfig, Weights)> {
        let (bytes, path) = self.config("vae")?;
        Ok((VaeConfig::from_json(&bytes, &path)?, self.weights("vae")?))
    }

    /// The text encoder's shape and weights.
    ///
    /// # Errors
    /// As [`TextConfig::from_json`] and [`Weights::open_file`]; [`Error::File`] if a file is missing.
    pub fn text_encoder(&self) -> Result<(TextConfig, Weights)> {
        let (bytes, path) = self.config("text_encoder")?;
        Ok((TextConfig::from_json(&bytes, &path)?, self.weights("text_encoder")?))
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// As [`ClipTokenizer::open`]; [`Error::File`] if there is no folder `tokenizer`.
    pub fn tokenizer(&self) -> Result<ClipTokenizer> {
        let path = self.path("tokenizer");
        if !path.is_dir() {
            return Err(Error::file(&path, "expected the tokenizer's folder, found nothing"));
        }
        ClipTokenizer::open(&ModelFiles::folder(path))
    }

    /// The scheduler's settings, corrected as diffusers' pipeline corrects them.
    ///
    /// # Errors
    /// As [`SchedulerConfig::read`]; [`Error::File`] if there is none.
    pub fn scheduler(&self) -> Result<SchedulerConfig> {
        let path = self.path(SCHEDULER_CONFIG);
        if !path.is_file() {
            return Err(Error::file(path, "expected the scheduler's settings, found nothing"));
        }
        Ok(SchedulerConfig::read(&path)?.for_stable_diffusion())
    }

    /// What identifies the model: the SHA-256 over the sums of every file that it is read from, but for those that
    /// only say where others lie. Reads every byte of the weights.
    ///
    /// # Errors
    /// As the other methods, for the same files.
    pub fn sha256(&self) -> Result<String> {
        let mut sums = Sha256::new();
        let mut add = |name: &str, sum: String| sums.update(format!("{sum}  {name}\n"));
        for component in NETWORKS {
            let (config, _) = self.config(component)?;
            add(&format!("{component}/config.json"), hex(&Sha256::digest(&config)));
            add(&format!("{component}/weights"), self.weights(component)?.sha256());
        }
        let small = TOKENIZER_FILES.iter().map(|name| format!("tokenizer/{name}"));
        let files = ModelFiles::folder(&self.root);
        for name in small.chain([SCHEDULER_CONFIG.to_owned()]) {
            if let Some(bytes) = files.read_optional(&name)? {
                add(&name, hex(&Sha256::digest(&bytes)));
            }
        }
        Ok(hex(&sums.finalize()))
    }

    fn config(&self, component: &str) -> Result<(Vec<u8>, PathBuf)> {
        let files = ModelFiles::folder(self.path(component));
        Ok((files.read("config.json")?.into_owned(), files.path("config.json")))
    }

    fn weights(&self, component: &str) -> Result<Weights> {
        let folder = self.path(component);
        let names = weight_files(component);
        match names.iter().map(|name| folder.join(name)).find(|path| path.is_file()) {
            Some(path) => Weights::open_file(path),
            None => {
                Err(Error::file(folder, format!("no weights found: expected one of {}", names.join(", "))))
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

/// What the weights of a component may be called, the first to be tried first.
pub(crate) fn weight_files(component: &str) -> [String; ENDINGS.len()] {
    // transformers calls its pickles otherwise than its safetensors.
    let stem = |ending: &str| match component {
        "text_encoder" if ending.contains("bin") => "pytorch_model",
        "text_encoder" => "model",
        _ => "diffusion_pytorch_model",
    };
    ENDINGS.map(|ending| format!("{}{ending}", stem(ending)))
}
