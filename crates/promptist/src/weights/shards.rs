//! A checkpoint in several files: an index in JSON that maps each tensor to its shard.
//!
//! ```json
//! {"metadata": {"total_size": 497759232}, "weight_map": {"wte.weight": "model-00001-of-00002.safetensors"}}
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Component, Path};

use serde::Deserialize;

use super::{Source, Weights};
use crate::error::{Error, Result};

/// The largest index that is read: about a million tensors, a hundred times the largest models.
const MAX_INDEX_BYTES: u64 = 100_000_000;

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Opens the shards of the index at `path`.
pub(super) fn open(path: &Path) -> Result<Weights> {
    let index = read_index(path)?;
    let folder = path.parent().unwrap_or(Path::new("."));

    let names: BTreeSet<&str> = index.weight_map.values().map(String::as_str).collect();
    let mut files = Vec::with_capacity(names.len());
    let mut in_shards = Vec::with_capacity(names.len());
    let mut idx_of = BTreeMap::new();
    for name in names {
        check_shard_name(path, name)?;
        let source = Source::map(&folder.join(name))?;
        in_shards.push(source.tensors()?);
        idx_of.insert(name, files.len());
        files.push(source);
    }

    let mut tensors = BTreeMap::new();
    for (tensor, shard) in &index.weight_map {
        let file_idx = idx_of[shard.as_str()];
        let Some(mut found) = in_shards[file_idx].remove(tensor) else {
            return Err(Error::Tensor {
                path: files[file_idx].path.clone(),
                tensor: tensor.clone(),
                expected: format!("to be here, as {} says", path.display()),
                found: "nothing".to_owned(),
            });
        };
        found.file_idx = file_idx;
        tensors.insert(tensor.clone(), found);
    }
    Ok(Weights { path: path.to_owned(), files, tensors })
}

/// Whether a file of weights, by its name, is an index of shards: `*.index.json`, with a variant
/// `*.index.fp16.json`.
pub(crate) fn is_shard_index(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.contains(".index.") && name.ends_with(".json")
}

/// The names of the shards that the index at `path` speaks of, sorted, each once.
///
/// # Errors
/// [`Error::File`] if it is no index, or names a file outside its folder.
pub(crate) fn shard_names(path: &Path) -> Result<BTreeSet<String>> {
    let names: BTreeSet<String> = read_index(path)?.weight_map.into_values().collect();
    names.iter().try_for_each(|name| check_shard_name(path, name))?;
    Ok(names)
}

fn read_index(path: &Path) -> Result<Index> {
    let file = std::fs::File::open(path).map_err(Error::io(path))?;
    let mut text = Vec::new();
    file.take(MAX_INDEX_BYTES + 1).read_to_end(&mut text).map_err(Error::io(path))?;
    if text.len() as u64 > MAX_INDEX_BYTES {
        return Err(Error::file(path, format!("the shard index is larger than {MAX_INDEX_BYTES} bytes")));
    }
    serde_json::from_slice(&text).map_err(|error| Error::file(path, format!("not a shard index: {error}")))
}

/// A shard lies beside its index: a name from outside must not lead anywhere else.
fn check_shard_name(index: &Path, name: &str) -> Result<()> {
    let mut components = Path::new(name).components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(only)), None) if only == name && !name.contains('\\') => Ok(()),
        _ => Err(Error::file(index, format!("the shard `{name}` is not a plain file name"))),
    }
}
