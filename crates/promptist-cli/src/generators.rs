//! Who makes the images, the same for every verb: `--generator` and configs.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use burn::tensor::{DType, Device};
use promptist::Error;
use promptist::generator::Generator;
use promptist::generator::built_in::BuiltIn;
use promptist::generator::http::{self, Auth, HttpSettings, Secret};
use promptist::generator::spec::{GeneratorSpec, ServerKind, ServerSpec};
use promptist::hub::{self, HubId, RepoKind};
use promptist::progress::Progress;

use crate::models::{DeviceChoice, hub_config};
use crate::progress::Bars;

/// Opens what `spec` names. A folder's model computes on `device`; servers are asked as `settings` say.
pub fn open(
    spec: &GeneratorSpec,
    settings: &HttpSettings,
    device: DeviceChoice,
) -> Result<Box<dyn Generator>> {
    match spec {
        GeneratorSpec::BuiltIn(name) => Ok(Box::new(built_in(name, device)?)),
        GeneratorSpec::Servers(servers) => Ok(http::open(servers, settings, &auth(servers))?),
    }
}

/// Our own Stable Diffusion: f32 on the CPU, f16 elsewhere. `name` is a folder, or a Hub id, which is fetched first
/// if the cache lacks it.
pub fn built_in(name: &str, device: DeviceChoice) -> Result<BuiltIn> {
    let bars = Bars::default();
    let folder = folder(name, &bars)?;
    let device = device.device();
    let dtype = if device == Device::flex() { DType::F32 } else { DType::F16 };
    bars.begin(&format!("loading {name}"), None, "");
    let model = BuiltIn::open(name, &folder, &device, dtype);
    bars.end();
    Ok(model?)
}

/// The folder that `name` means: that one if it exists, else what the Hub has under this name.
fn folder(name: &str, bars: &Bars) -> Result<PathBuf> {
    let path = Path::new(name);
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    if path.is_file() {
        bail!("{name}: is a file: expected the folder of a diffusers pipeline");
    }
    let Some(id) = HubId::parse(name) else {
        bail!("{name}: neither a folder that exists, nor a Hub id (owner/name, owner/name@revision)");
    };
    match hub::snapshot(&hub_config()?, &id, RepoKind::Pipeline, bars) {
        Err(Error::Hub { url, reason }) => {
            Err(Error::Hub { url, reason: format!("{reason} (there is no folder `{name}` either)") }.into())
        }
        answer => Ok(answer?),
    }
}

/// The key of servers that ask for one. It is never sent to servers of another kind.
fn auth(servers: &[ServerSpec]) -> Auth {
    let key = std::env::var("OPENAI_API_KEY").ok().filter(|key| !key.is_empty());
    match key {
        Some(key) if servers.iter().all(|server| server.kind == ServerKind::OpenAi) => {
            Auth::Bearer(Secret(key))
        }
        _ => Auth::None,
    }
}
