//! Any checkpoint that we read, as a folder of safetensors.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::COMPANIONS;
use crate::atomic::{sync_folder, write_atomic};
use crate::error::{Error, Result};
use crate::model_source::ModelFiles;
use crate::progress::Progress;
use crate::weights::{Dtype, TensorInfo, Weights, gpt2_layout, write_safetensors};

/// What the folder shall be like.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConvertSettings {
    /// How to store floating-point tensors: F32, F16 or BF16; as they are if absent.
    pub dtype: Option<Dtype>,
    /// The most bytes of tensors in one file, unless one tensor alone has more; one file if absent.
    pub max_shard_bytes: Option<u64>,
}

/// Writes `files` as a new folder `out`: weights as safetensors, config, tokenizer and generation
/// settings. The folder is there whole or not at all.
///
/// Masks that old versions of transformers stored are left out, and so is a head that is the token
/// embedding again.
///
/// # Errors
/// [`Error::File`] if `out` exists and is not empty; otherwise whatever is wrong with the input or
/// [`Error::Io`] with the output.
pub fn convert(
    files: &ModelFiles,
    out: &Path,
    settings: &ConvertSettings,
    progress: &dyn Progress,
) -> Result<()> {
    let is_empty = |folder: &Path| fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    if out.exists() && !is_empty(out) {
        return Err(Error::file(out, "expected a folder that does not exist yet or is empty"));
    }
    let config = config(files, settings.dtype)?;
    let weights = files.weights()?;

    let parent = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(Error::io(parent))?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".convert.").suffix(".tmp");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    let folder = builder.tempdir_in(parent).map_err(Error::io(parent))?;

    write_weights(&weights, folder.path(), settings, progress)?;
    write_atomic(folder.path().join("config.json"), |file| file.write_all(&config))?;
    for name in COMPANIONS {
        if let Some(bytes) = files.read_optional(name)? {
            write_atomic(folder.path().join(name), |file| file.write_all(&bytes))?;
        }
    }
    fs::rename(folder.keep(), out).map_err(Error::io(out))?;
    sync_folder(parent).map_err(Error::io(parent))
}

/// `config.json`, with the new dtype under the name that is there, or the one of today.
fn config(files: &ModelFiles, dtype: Option<Dtype>) -> Result<Vec<u8>> {
    let path = files.path("config.json");
    let malformed = |error: serde_json::Error| Error::file(&path, error.to_string());
    let bytes = files.read("config.json")?;
    let mut config: Value = serde_json::from_slice(&bytes).map_err(malformed)?;
    let Some(entries) = config.as_object_mut() else {
        return Err(Error::file(&path, "expected an object"));
    };
    let dtype = match dtype {
        None => return Ok(bytes.into_owned()),
        Some(Dtype::F32) => "float32",
        Some(Dtype::F16) => "float16",
        Some(Dtype::BF16) => "bfloat16",
        Some(other) => {
            return Err(Error::config("dtype", format!("expected f32, f16 or bf16, found {other:?}")));
        }
    };
    let key = if entries.contains_key("torch_dtype") { "torch_dtype" } else { "dtype" };
    entries.insert(key.to_owned(), json!(dtype));
    serde_json::to_vec_pretty(&config).map_err(malformed)
}

fn write_weights(
    weights: &Weights,
    folder: &Path,
    settings: &ConvertSettings,
    progress: &dyn Progress,
) -> Result<()> {
    let infos = kept_tensors(weights, settings.dtype)?;
    let shards = shards(&infos, settings.max_shard_bytes)?;
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let total: u64 = infos.iter().map(|info| info.byte_len().map(|len| len as u64)).sum::<Result<u64>>()?;

    progress.begin("converting", Some(total), "B");
    let mut weight_map = HashMap::new();
    for (number, shard) in (1..).zip(&shards) {
        let name = match shards.len() {
            1 => "model.safetensors".to_owned(),
            count => format!("model-{number:05}-of-{count:05}.safetensors"),
        };
        write_safetensors(folder.join(&name), shard, &metadata, |info| {
            progress.advance(info.byte_len()? as u64, "");
            stored(weights, info)
        })?;
        weight_map.extend(shard.iter().map(|info| (info.name.clone(), name.clone())));
    }
    progress.end();

    if shards.len() > 1 {
        let index = json!({"metadata": {"total_size": total}, "weight_map": sorted(weight_map)});
        write_atomic(folder.join("model.safetensors.index.json"), |file| {
            serde_json::to_writer_pretty(file, &index).map_err(io::Error::from)
        })?;
    }
    Ok(())
}

fn sorted(map: HashMap<String, String>) -> BTreeMap<String, String> {
    map.into_iter().collect()
}

/// What is worth storing, and how.
fn kept_tensors(weights: &Weights, dtype: Option<Dtype>) -> Result<Vec<TensorInfo>> {
    let wte = format!("{}wte.weight", gpt2_layout::prefix(weights));
    let mut infos = Vec::new();
    for name in weights.names().filter(|name| !gpt2_layout::is_buffer(name)) {
        let (Some(stored), Some(shape)) = (weights.dtype(name), weights.shape(name)) else { continue };
        if name == "lm_head.weight" && weights.contains(&wte) && weights.raw(name)? == weights.raw(&wte)? {
            continue;
        }
        let is_float = matches!(stored, Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64);
        let dtype = dtype.filter(|_| is_float).unwrap_or(stored);
        infos.push(TensorInfo { name: name.to_owned(), dtype, shape: shape.to_vec() });
    }
    Ok(infos)
}

/// Tensors in the order of their names, as many to a file as fit.
fn shards(infos: &[TensorInfo], max_bytes: Option<u64>) -> Result<Vec<Vec<TensorInfo>>> {
    let mut shards = vec![Vec::new()];
    let mut used = 0_u64;
    for info in infos {
        let len = info.byte_len()? as u64;
        if max_bytes.is_some_and(|max| used.saturating_add(len) > max) && used > 0 {
            shards.push(Vec::new());
            used = 0;
        }
        used = used.saturating_add(len);
        if let Some(shard) = shards.last_mut() {
            shard.push(info.clone());
        }
    }
    Ok(shards)
}

/// A tensor's bytes in the dtype of `info`. Rounds to nearest, ties to even.
fn stored<'a>(weights: &'a Weights, info: &TensorInfo) -> Result<Cow<'a, [u8]>> {
    if weights.dtype(&info.name) == Some(info.dtype) {
        return weights.raw(&info.name);
    }
    let values = weights.get_f32(&info.name, &info.shape)?;
    let bytes = match info.dtype {
        Dtype::F16 => values.iter().flat_map(|&value| half::f16::from_f32(value).to_le_bytes()).collect(),
        Dtype::BF16 => values.iter().flat_map(|&value| half::bf16::from_f32(value).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    };
    Ok(Cow::Owned(bytes))
}
