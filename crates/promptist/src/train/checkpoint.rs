//! Checkpoints: a folder that is whole or absent.
//!
//! `checkpoints/step-N` is a model folder that transformers loads, with optimisers' moments and the
//! trainer's state beside it; what exactly, each trainer says. It is written as `.step-N.tmp`, every file flushed, its SHA-256
//! sums last, then renamed; `checkpoints/latest` names the one to resume from and is replaced after
//! that. Whatever the process was doing when it died, `latest` names a whole checkpoint.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::atomic::{sync_folder, write_atomic};
use crate::checksums;
use crate::error::{Error, Result};
use crate::gpt2::folder;
use crate::nn::{Parameters, values};
use crate::train::adamw::AdamW;
use crate::train::trainable::{Trainable, num_layers};
use crate::weights::{TensorInfo, Weights, f32_to_bytes, write_safetensors};

const STATE: &str = "state.json";
const LATEST: &str = "latest";

/// The `checkpoints` folder of a run.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    folder: PathBuf,
}

impl Checkpoints {
    /// Of the run in `run`.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be created.
    pub fn new(run: &Path) -> Result<Self> {
        let folder = run.join("checkpoints");
        fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        Ok(Self { folder })
    }

    /// The folder of the checkpoint after step `step`.
    pub fn path(&self, step: u64) -> PathBuf {
        self.folder.join(format!("step-{step}"))
    }

    /// Writes a checkpoint and makes it the latest. `write` fills the folder that it is given.
    ///
    /// # Errors
    /// [`Error::Io`]: the latest checkpoint stays what it was, whole.
    pub fn save(&self, step: u64, write: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let target = self.path(step);
        let temporary = self.folder.join(format!(".step-{step}.tmp"));
        remove_folder(&temporary)?;
        fs::create_dir(&temporary).map_err(Error::io(&temporary))?;
        let written = write(&temporary)
            .and_then(|()| checksums::write_sums(&temporary))
            .and_then(|()| sync_folder(&temporary).map_err(Error::io(&temporary)));
        if let Err(error) = written {
            // The disk may be full: give its space back before anything else is tried.
            let _ = fs::remove_dir_all(&temporary);
            return Err(error);
        }
        // A checkpoint of this name can be left from a process that died before it became `latest`.
        remove_folder(&target)?;
        fs::rename(&temporary, &target).map_err(Error::io(&target))?;
        sync_folder(&self.folder).map_err(Error::io(&self.folder))?;
        let name = format!("step-{step}\n");
        write_atomic(self.folder.join(LATEST), |file| file.write_all(name.as_bytes()))?;
        Ok(target)
    }

    /// The folder of the checkpoint to resume from, its sums checked; none if the run died before its first.
    /// Leftovers of checkpoints that were not finished are removed.
    ///
    /// # Errors
    /// [`Error::File`] naming the file that differs from its sum or is missing.
    pub fn latest(&self) -> Result<Option<PathBuf>> {
        let latest = self.folder.join(LATEST);
        let step = match fs::read_to_string(&latest) {
            Ok(name) => match name.trim().strip_prefix("step-").and_then(|step| step.parse().ok()) {
                Some(step) => Some(step),
                None => return Err(Error::file(&latest, format!("names no checkpoint: {name:?}"))),
            },
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(Error::io(&latest)(e)),
        };
        for (path, found) in self.entries()? {
            if found.is_none() || found > step {
                remove_folder(&path)?;
            }
        }
        let Some(step) = step else { return Ok(None) };
        let path = self.path(step);
        checksums::verify(&path)?;
        Ok(Some(path))
    }

    /// Copies the checkpoint after `step`, without the trainer's own files, to `model/` in the run.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn export(&self, run: &Path, step: u64) -> Result<PathBuf> {
        let (from, to) = (self.path(step), run.join("model"));
        let temporary = run.join(".model.tmp");
        for path in [&temporary, &to] {
            remove_folder(path)?;
        }
        fs::create_dir(&temporary).map_err(Error::io(&temporary))?;
        for name in ["config.json", "model.safetensors"] {
            let (from, to) = (from.join(name), temporary.join(name));
            fs::copy(&from, &to).map_err(Error::io(&from))?;
            fs::File::open(&to).and_then(|file| file.sync_all()).map_err(Error::io(&to))?;
        }
        for (name, bytes) in folder::companion_files(&from)? {
            write_atomic(temporary.join(name), |file| file.write_all(&bytes))?;
        }
        fs::rename(&temporary, &to).map_err(Error::io(&to))?;
        Ok(to)
    }

    /// Removes all checkpoints but the `keep` newest and the one after `best`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn prune(&self, keep: usize, best: Option<u64>) -> Result<()> {
        let mut steps: Vec<u64> = self.entries()?.into_iter().filter_map(|(_, step)| step).collect();
        steps.sort_unstable_by(|a, b| b.cmp(a));
        for &step in steps.iter().skip(keep.max(1)).filter(|&&step| Some(step) != best) {
            remove_folder(&self.path(step))?;
        }
        Ok(())
    }

    /// Folders in here, with the step of those that are checkpoints by their name.
    fn entries(&self) -> Result<Vec<(PathBuf, Option<u64>)>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(Error::io(&self.folder))? {
            let entry = entry.map_err(Error::io(&self.folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let step = name.strip_prefix("step-").and_then(|step| step.parse().ok());
            let unfinished = name.starts_with(".step-") && name.ends_with(".tmp");
            if step.is_some() || unfinished {
                entries.push((entry.path(), step));
            }
        }
        Ok(entries)
    }
}

fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path)(e)),
        _ => Ok(()),
    }
}

/// Writes `state` as `state.json` into a checkpoint's folder.
///
/// # Errors
/// [`Error::Io`].
pub fn save_state(folder: &Path, state: &impl Serialize) -> Result<()> {
    let json = serde_json::to_vec_pretty(state).map_err(|e| Error::file(STATE, e.to_string()))?;
    write_atomic(folder.join(STATE), |file| file.write_all(&json))
}

/// Reads what [`save_state`] wrote.
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] if it is another trainer's.
pub fn load_state<T: DeserializeOwned>(folder: &Path) -> Result<T> {
    let path = folder.join(STATE);
    let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
    serde_json::from_str(&text).map_err(|e| Error::file(&path, e.to_string()))
}

/// Writes moments as `m.{parameter}` and `v.{parameter}`, flattened.
///
/// # Errors
/// [`Error::Io`].
pub fn save_optimizer(path: &Path, optimizer: &AdamW) -> Result<()> {
    let mut infos = Vec::new();
    for (name, (m, _)) in &optimizer.moments {
        for prefix in ["m", "v"] {
            infos.push(TensorInfo::f32(format!("{prefix}.{name}"), m.dims()));
        }
    }
    write_safetensors(path, &infos, &BTreeMap::new(), |info| {
        let (prefix, name) = info.name.split_at(2);
        let (m, v) = &optimizer.moments[name];
        let moment = if prefix == "m." { m } else { v };
        Ok(f32_to_bytes(&values(moment.clone())?).into_owned().into())
    })
}

/// Reads the moments of the parameters of `model` that train.
///
/// # Errors
/// [`Error::Tensor`] if they do not cover each of them.
pub fn load_optimizer(
    path: &Path,
    model: &impl Parameters,
    trainable: Trainable,
    step: u64,
    device: &Device,
) -> Result<AdamW> {
    let weights = Weights::open_file(path)?;
    let mut optimizer = AdamW { step, ..AdamW::default() };
    if step == 0 {
        return Ok(optimizer);
    }
    let shapes = model.parameter_shapes()?;
    let num_layers = num_layers(shapes.iter().map(|(name, _)| name.as_str()));
    for (name, shape) in shapes {
        if !trainable.includes(&name, num_layers) {
            continue;
        }
        let count = shape.iter().product();
        let read = |prefix: &str| -> Result<Tensor<1>> {
            let values = weights.get_f32(&format!("{prefix}.{name}"), &[count])?;
            Ok(Tensor::from_data(TensorData::new(values, [count]), device))
        };
        let moments = (read("m")?, read("v")?);
        optimizer.moments.insert(name, moments);
    }
    Ok(optimizer)
}
