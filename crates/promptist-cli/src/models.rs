//! `--model` and `--device`, the same for every verb; the environment of the Hub.

use std::path::PathBuf;

use anyhow::{Result, bail};
use burn::tensor::Device;
use clap::ValueEnum;
use promptist::hub::{DEFAULT_ENDPOINT, HubConfig};
use promptist::model_source::{ModelFiles, ModelSource};
use promptist::prompter::Prompter;

use crate::progress::Bars;

#[derive(clap::Args)]
pub struct ModelArgs {
    /// mini (inside this program), a model folder, or a Hub id such as microsoft/Promptist
    #[arg(long, value_name = "MODEL", default_value = "mini")]
    model: String,
    /// Where to compute.
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,
}

/// A kind of device that this program was built for.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceChoice {
    /// The CPU: a prompter is quicker there than the way to a GPU and back.
    Auto,
    /// The CPU.
    Cpu,
    /// The first GPU that speaks Vulkan.
    #[cfg(feature = "vulkan")]
    Vulkan,
    /// The first GPU that WebGPU finds.
    #[cfg(feature = "wgpu")]
    Wgpu,
    /// The first Apple GPU.
    #[cfg(feature = "metal")]
    Metal,
    /// The first AMD GPU.
    #[cfg(feature = "rocm")]
    Rocm,
    /// The first NVIDIA GPU.
    #[cfg(feature = "cuda")]
    Cuda,
}

impl DeviceChoice {
    pub fn device(self) -> Device {
        match self {
            Self::Auto | Self::Cpu => Device::flex(),
            #[cfg(feature = "vulkan")]
            Self::Vulkan => Device::vulkan(burn::tensor::DeviceKind::DefaultDevice),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Device::wgpu(burn::tensor::DeviceKind::DefaultDevice),
            #[cfg(feature = "metal")]
            Self::Metal => Device::metal(burn::tensor::DeviceKind::DefaultDevice),
            #[cfg(feature = "rocm")]
            Self::Rocm => Device::rocm(0),
            #[cfg(feature = "cuda")]
            Self::Cuda => Device::cuda(0),
        }
    }
}

impl ModelArgs {
    /// Opens the model, fetching it first if it is on the Hub and not in the cache.
    pub fn open(&self) -> Result<Prompter> {
        Ok(Prompter::open(&files(&self.model)?, &self.device.device())?)
    }
}

/// The files of what `--model` or a config calls a model.
pub fn files(model: &str) -> Result<ModelFiles> {
    let source = ModelSource::parse(model)?;
    Ok(source.resolve(promptist::mini::embedded(), &hub_config()?, &Bars::default())?)
}

/// The Hub as huggingface_hub's variables say: `HF_ENDPOINT`, `HF_HUB_CACHE`, `HF_HOME`, `HF_TOKEN`,
/// `HF_TOKEN_PATH`, `HF_HUB_OFFLINE`; the token of `hf auth login` if none is set.
pub fn hub_config() -> Result<HubConfig> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let home = match (variable("HF_HOME"), variable("XDG_CACHE_HOME"), std::env::home_dir()) {
        (Some(home), _, _) => PathBuf::from(home),
        (None, Some(cache), _) => PathBuf::from(cache).join("huggingface"),
        (None, None, Some(home)) => home.join(".cache/huggingface"),
        (None, None, None) => bail!("no home folder for the model cache: set HF_HOME"),
    };
    let is_true = |value: String| matches!(value.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE");
    let is_set = |name: &str| variable(name).is_some_and(is_true);
    let token_file = || {
        if is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            return None;
        }
        let path = variable("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
        let token = std::fs::read_to_string(path).ok()?;
        Some(token.trim().to_owned()).filter(|token| !token.is_empty())
    };
    Ok(HubConfig {
        endpoint: variable("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned()),
        token: variable("HF_TOKEN").or_else(token_file),
        offline: is_set("HF_HUB_OFFLINE"),
        system_proxy: true,
        ..HubConfig::new(variable("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from))
    })
}
