//! `--model` and `--device`, the same for every verb; the environment of the Hub.

use std::path::PathBuf;

use anyhow::{Result, bail};
use burn::tensor::Device;
use clap::ValueEnum;
use promptist::engine::{Isa, Precision};
use promptist::hub::{DEFAULT_ENDPOINT, HubConfig};
use promptist::model_source::{ModelFiles, ModelSource};
use promptist::prompter::{Backend, Prompter};

use crate::exit::UsageError;
use crate::progress::Bars;

/// The folder to read in the place of ../shared/data: `PROMPTIST_DATA`.
pub fn data_folder() -> Option<PathBuf> {
    std::env::var_os("PROMPTIST_DATA").filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

#[derive(clap::Args)]
pub struct ModelArgs {
    /// mini (inside this program), a model folder, or a Hub id such as microsoft/Promptist
    #[arg(long, value_name = "MODEL", default_value = "mini")]
    model: String,
    #[command(flatten)]
    compute: ComputeArgs,
}

/// Where and how a prompter computes.
#[derive(clap::Args)]
pub struct ComputeArgs {
    /// Where to compute.
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Arithmetic of the decoder on the CPU; f32 gives the answers of transformers.
    #[arg(long, value_enum, default_value_t = PrecisionChoice::Auto)]
    precision: PrecisionChoice,
    /// CPU threads; all cores if absent. No answer depends on it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
}

/// What the decoder multiplies in.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PrecisionChoice {
    /// The fastest that the model's own report allows (`promptist model precision`), else f32.
    Auto,
    /// Exact.
    F32,
    /// Half the memory traffic, nearly exact.
    Bf16,
    /// A quarter of it: the fastest.
    Int8,
}

/// A kind of device that this program was built for.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceChoice {
    /// The CPU; a GPU is used when it is named.
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
        Ok(Prompter::open(&files(&self.model)?, &self.compute.backend()?)?)
    }

    /// Where and how it computes.
    pub fn compute(&self) -> &ComputeArgs {
        &self.compute
    }
}

impl ComputeArgs {
    /// The threads that were asked for; all cores if none were.
    pub fn num_threads(&self) -> usize {
        match self.threads {
            Some(threads) => threads as usize,
            None => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// The device that was asked for.
    pub fn device(&self) -> DeviceChoice {
        self.device
    }

    /// The decoder on the CPU; the tensor library on any other device. `PROMPTIST_ISA` names an
    /// instruction set (`portable`, `avx2`, `avx512`, `neon`) to compute with, to compare them.
    pub fn backend(&self) -> Result<Backend> {
        let num_threads = self.num_threads();
        // Opening a model packs its weights on rayon's threads.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(num_threads).build_global();
        let precision = match self.precision {
            PrecisionChoice::Auto => None,
            PrecisionChoice::F32 => Some(Precision::F32),
            PrecisionChoice::Bf16 => Some(Precision::Bf16),
            PrecisionChoice::Int8 => Some(Precision::Int8),
        };
        self.backend_of(precision, num_threads)
    }

    /// [`backend`](Self::backend) in a precision that was recorded, unless another is asked for.
    pub fn backend_in(&self, recorded: Precision) -> Result<Backend> {
        match self.precision {
            PrecisionChoice::Auto => self.backend_of(Some(recorded), self.num_threads()),
            _ => self.backend(),
        }
    }

    fn backend_of(&self, precision: Option<Precision>, num_threads: usize) -> Result<Backend> {
        match self.device {
            DeviceChoice::Auto | DeviceChoice::Cpu => {
                Ok(Backend::Engine { precision, isa: isa()?, num_threads })
            }
            #[allow(unreachable_patterns, reason = "the other devices are features")]
            _ if precision.is_some_and(|precision| precision != Precision::F32) => {
                Err(UsageError("--precision is the CPU's: other devices compute in f32".into()).into())
            }
            #[allow(unreachable_patterns, reason = "the other devices are features")]
            device => Ok(Backend::TensorLibrary(device.device())),
        }
    }
}

/// The instruction set that `PROMPTIST_ISA` names; none if it is not set.
pub fn isa() -> Result<Option<Isa>> {
    match std::env::var("PROMPTIST_ISA") {
        Ok(name) if !name.is_empty() => match Isa::parse(&name) {
            Some(isa) => Ok(Some(isa)),
            None => bail!("PROMPTIST_ISA: expected portable, avx2, avx512 or neon, found `{name}`"),
        },
        _ => Ok(None),
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
