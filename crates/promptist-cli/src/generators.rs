//! Who makes the images, the same for every verb: `--generator` and configs.

use std::path::Path;

use anyhow::{Result, bail};
use burn::tensor::{DType, Device};
use promptist::generator::Generator;
use promptist::generator::built_in::BuiltIn;
use promptist::generator::http::{self, Auth, HttpSettings, Secret};
use promptist::generator::spec::{GeneratorSpec, ServerKind, ServerSpec};

use crate::models::DeviceChoice;

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

/// Our own Stable Diffusion: f32 on the CPU, f16 elsewhere.
pub fn built_in(name: &str, device: DeviceChoice) -> Result<BuiltIn> {
    let folder = Path::new(name);
    if !folder.is_dir() {
        bail!("{name}: no such folder");
    }
    let device = device.device();
    let dtype = if device == Device::flex() { DType::F32 } else { DType::F16 };
    Ok(BuiltIn::open(name, folder, &device, dtype)?)
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
