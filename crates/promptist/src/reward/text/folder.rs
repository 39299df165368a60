//! A fitted text reward as a folder: `reward.json`, `reward.safetensors`, the trunk that it reads with in
//! `trunk/`, and sums of all of it.
//!
//! The trunk lies in the folder because training changes the policy that it once was.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::mlp::Mlp;
use super::ngrams::{BUCKETS, Linear};
use super::trunk::Trunk;
use super::{Calibration, Family, RewardInfo, Scorer, TextReward};
use crate::atomic::write_atomic;
use crate::checksums;
use crate::error::{Error, Result};
use crate::model_source::ModelFiles;
use crate::weights::{TensorInfo, Weights, f32_to_bytes, write_safetensors};

/// Of the file format.
const VERSION: u32 = 1;

/// Files of a trunk.
const TRUNK_FILES: [&str; 5] =
    ["config.json", "tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json"];

/// `reward.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u32,
    reward: RewardInfo,
    calibration: Calibration,
}

impl TextReward {
    /// Opens a folder that [`save`](Self::save) wrote; a run folder of `train reward` stands for its `model`.
    ///
    /// # Errors
    /// [`Error::File`] naming the file that is missing, changed since it was written, or of another version;
    /// [`Error::Tensor`].
    pub fn open(folder: &Path, num_threads: usize) -> Result<Self> {
        let in_run = folder.join("model");
        let folder = if in_run.join("reward.json").is_file() { in_run.as_path() } else { folder };
        let path = folder.join("reward.json");
        let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
        let header: Header = serde_json::from_str(&text).map_err(|e| Error::file(&path, e.to_string()))?;
        if header.version != VERSION {
            return Err(Error::file(&path, format!("expected version {VERSION}, found {}", header.version)));
        }
        verify(folder)?;
        let info = header.reward;
        let weights = Weights::open_file(folder.join("reward.safetensors"))?;
        let scorer = match info.family {
            Family::Trunk => {
                let trunk_folder = folder.join("trunk");
                checksums::verify(&trunk_folder)?;
                let trunk = Trunk::open(&ModelFiles::folder(&trunk_folder), num_threads)?;
                let head = read_head(&weights, trunk.num_features())?;
                Scorer::Trunk { trunk: Box::new(trunk), head }
            }
            Family::Ngrams => {
                let bias = weights.get_f32("bias", &[1])?;
                Scorer::Ngrams(Linear { weights: weights.get_f32("weights", &[BUCKETS])?, bias: bias[0] })
            }
        };
        Ok(Self { scorer, calibration: header.calibration, info })
    }

    /// Writes the reward into `folder`, which is made; `trunk` holds the files of its trunk. The sums come
    /// last: a folder without them is not whole, and [`open`](Self::open) refuses it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, folder: &Path, trunk: Option<&ModelFiles>) -> Result<()> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let tensors = match &self.scorer {
            Scorer::Trunk { head, .. } => head_tensors(head),
            Scorer::Ngrams(linear) => {
                vec![("weights", vec![BUCKETS], linear.weights.clone()), ("bias", vec![1], vec![linear.bias])]
            }
        };
        let infos: Vec<TensorInfo> =
            tensors.iter().map(|(name, shape, _)| TensorInfo::f32(*name, shape.clone())).collect();
        let values: BTreeMap<&str, &[f32]> =
            tensors.iter().map(|(name, _, values)| (*name, values.as_slice())).collect();
        write_safetensors(folder.join("reward.safetensors"), &infos, &BTreeMap::new(), |info| {
            Ok(f32_to_bytes(values[info.name.as_str()]))
        })?;
        if let (Scorer::Trunk { .. }, Some(files)) = (&self.scorer, trunk) {
            save_trunk(files, &folder.join("trunk"))?;
        }
        let header = Header { version: VERSION, reward: self.info.clone(), calibration: self.calibration };
        let json = serde_json::to_vec_pretty(&header).map_err(|e| Error::file(folder, e.to_string()))?;
        write_atomic(folder.join("reward.json"), |file| file.write_all(&json))?;
        write_sums(folder)
    }
}

/// Sums of the files of a folder, folders in it left out: they have their own.
fn write_sums(folder: &Path) -> Result<()> {
    let mut sums = String::new();
    for name in ["reward.json", "reward.safetensors"] {
        sums += &format!("{}  {name}\n", checksums::sha256_of(&folder.join(name))?);
    }
    write_atomic(folder.join(checksums::SHA256SUMS), |file| file.write_all(sums.as_bytes()))
}

/// Checks the files that [`write_sums`] summed.
fn verify(folder: &Path) -> Result<()> {
    let sums = folder.join(checksums::SHA256SUMS);
    if !sums.is_file() {
        return Err(Error::file(&sums, "expected the sums of a whole reward, found nothing"));
    }
    match checksums::changed_files(folder)?.into_iter().next() {
        Some(changed) => Err(changed),
        None => Ok(()),
    }
}

fn save_trunk(files: &ModelFiles, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    for name in TRUNK_FILES {
        if let Some(bytes) = files.read_optional(name)? {
            write_atomic(folder.join(name), |file| file.write_all(&bytes))?;
        }
    }
    copy_weights(&files.weights()?, &folder.join("model.safetensors"))?;
    checksums::write_sums(folder)
}

/// As they are, whatever form of checkpoint they come from.
fn copy_weights(weights: &Weights, path: &Path) -> Result<()> {
    let info = |name: &str| {
        let (dtype, shape) = (weights.dtype(name)?, weights.shape(name)?);
        Some(TensorInfo { name: name.to_owned(), dtype, shape: shape.to_vec() })
    };
    let infos: Vec<TensorInfo> = weights.names().filter_map(info).collect();
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    write_safetensors(path, &infos, &metadata, |info| weights.raw(&info.name))
}

fn head_tensors(head: &Mlp) -> Vec<(&'static str, Vec<usize>, Vec<f32>)> {
    let f32s = |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Vec<_>>();
    let (num_features, hidden) = (head.mean.len(), head.b1.len());
    vec![
        ("mean", vec![num_features], f32s(&head.mean)),
        ("std", vec![num_features], f32s(&head.std)),
        ("w1", vec![hidden, num_features], f32s(&head.w1)),
        ("b1", vec![hidden], f32s(&head.b1)),
        ("w2", vec![hidden], f32s(&head.w2)),
        ("b2", vec![1], f32s(&[head.b2])),
    ]
}

fn read_head(weights: &Weights, num_features: usize) -> Result<Mlp> {
    let hidden = weights.shape("b1").map_or(0, |shape| shape.iter().product());
    let read = |name: &str, shape: &[usize]| -> Result<Vec<f64>> {
        Ok(weights.get_f32(name, shape)?.into_iter().map(f64::from).collect())
    };
    Ok(Mlp {
        mean: read("mean", &[num_features])?,
        std: read("std", &[num_features])?,
        w1: read("w1", &[hidden, num_features])?,
        b1: read("b1", &[hidden])?,
        w2: read("w2", &[hidden])?,
        b2: read("b2", &[1])?[0],
    })
}
