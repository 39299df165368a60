#![allow(clippy::unwrap_used)]

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::checksums;
use crate::progress::NoProgress;
use crate::weights::gpt2_layout::{Gpt2Shape, expected_tensors};
use crate::weights::{Dtype, TensorInfo, f32_to_bytes, write_safetensors};

const SHAPE: Gpt2Shape = Gpt2Shape { vocab_size: 11, n_positions: 8, n_embd: 4, n_inner: 16, n_layer: 2 };

const CONFIG: &str = r#"{"model_type": "gpt2", "vocab_size": 11, "n_positions": 8, "n_embd": 4, "n_layer": 2,
    "n_head": 2, "eos_token_id": 0, "torch_dtype": "float32", "kept": [1, 2]}"#;

/// Two-layer GPT-2 weights under `prefix`, changed by `change` before they are written.
fn write_model(folder: &Path, prefix: &str, change: impl FnOnce(&mut Vec<(TensorInfo, Vec<f32>)>)) {
    let mut tensors: Vec<(TensorInfo, Vec<f32>)> = expected_tensors(&SHAPE)
        .unwrap()
        .into_iter()
        .zip(1..)
        .map(|((name, shape), number)| {
            let values = (0..shape.iter().product()).map(|i: usize| i as f32 / 7.0 - number as f32).collect();
            (TensorInfo::f32(format!("{prefix}{name}"), shape), values)
        })
        .collect();
    change(&mut tensors);
    let infos: Vec<TensorInfo> = tensors.iter().map(|(info, _)| info.clone()).collect();
    let values: BTreeMap<String, Vec<f32>> =
        tensors.into_iter().map(|(info, values)| (info.name, values)).collect();
    write_safetensors(folder.join("model.safetensors"), &infos, &BTreeMap::new(), |info| {
        Ok(Cow::Owned(f32_to_bytes(&values[&info.name]).into_owned()))
    })
    .unwrap();
    fs::write(folder.join("config.json"), CONFIG).unwrap();
    fs::write(folder.join("generation_config.json"), "{}").unwrap();
}

/// A model without a tokenizer of its own, so with GPT-2's, which does not fit eleven entries.
fn model(prefix: &str, change: impl FnOnce(&mut Vec<(TensorInfo, Vec<f32>)>)) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_model(folder.path(), prefix, change);
    folder
}

/// The faults of a model, but for its tokenizer.
fn faults(folder: &TempDir) -> Vec<String> {
    let faults = verify(&ModelFiles::folder(folder.path()), &NoProgress);
    let faults = faults.iter().map(ToString::to_string);
    faults.filter(|fault| !fault.contains("but the tokenizer has 50257 entries")).collect()
}

#[track_caller]
fn check_fault(change: impl FnOnce(&mut Vec<(TensorInfo, Vec<f32>)>), expected: &str) {
    let faults = faults(&model("", change));
    assert!(faults.len() == 1 && faults[0].contains(expected), "{faults:#?}");
}

#[test]
fn a_sound_model_has_no_faults_with_either_prefix() {
    for prefix in ["", "transformer."] {
        assert_eq!(faults(&model(prefix, |_| {})), [""; 0]);
    }
    // A head that is the embedding again, and masks of old versions, are no faults.
    let with_extras = model("transformer.", |tensors| {
        let head = tensors[0].1.clone();
        tensors.push((TensorInfo::f32("lm_head.weight", [11, 4]), head));
        tensors.push((TensorInfo::f32("transformer.h.0.attn.bias", [1, 1, 8, 8]), vec![f32::NAN; 64]));
        tensors.push((TensorInfo::f32("transformer.h.0.attn.masked_bias", []), vec![-1e4]));
    });
    assert_eq!(faults(&with_extras), [""; 0]);
}

#[test]
fn every_fault_is_named() {
    check_fault(|tensors| drop(tensors.pop()), "tensor `ln_f.bias`: expected [4], found nothing");
    check_fault(
        |tensors| tensors[0].0.shape = vec![4, 11],
        "tensor `wte.weight`: expected [11, 4], found [4, 11]",
    );
    check_fault(
        |tensors| tensors.push((TensorInfo::f32("h.2.ln_1.bias", [4]), vec![0.0; 4])),
        "tensor `h.2.ln_1.bias`: expected no such tensor, found [4]",
    );
    check_fault(
        |tensors| tensors[3].1[2] = f32::NAN,
        "tensor `h.0.ln_1.bias`: expected finite values, found NaN at index 2",
    );
    check_fault(|tensors| tensors[3].1[0] = f32::INFINITY, "expected finite values, found inf at index 0");
    check_fault(
        |tensors| tensors.push((TensorInfo::f32("lm_head.weight", [11, 4]), vec![0.0; 44])),
        "tensor `lm_head.weight`: expected the values of `wte.weight`",
    );
}

#[test]
fn a_tokenizer_beyond_the_vocabulary_is_a_fault() {
    let folder = model("", |_| {});
    let faults = verify(&ModelFiles::folder(folder.path()), &NoProgress);
    assert_eq!(faults.len(), 1);
    assert!(
        faults[0].to_string().contains("vocab_size is 11, but the tokenizer has 50257 entries"),
        "{}",
        faults[0]
    );
}

#[test]
fn broken_files_are_faults_not_failures() {
    let folder = model("", |_| {});
    checksums::write_sums(folder.path()).unwrap();
    assert_eq!(faults(&folder), [""; 0]);
    let weights = folder.path().join("model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    fs::write(folder.path().join("config.json"), "{").unwrap();
    let faults = faults(&folder);
    assert_eq!(faults.len(), 4, "two sums, a config, a header: {faults:#?}");
    let empty = tempfile::tempdir().unwrap();
    assert!(self::faults(&empty).iter().any(|fault| fault.contains("config.json: expected this file")));
}

#[test]
fn a_model_is_described() {
    let folder = model("transformer.", |_| {});
    let info = info(&ModelFiles::folder(folder.path())).unwrap();
    let parameters: usize =
        expected_tensors(&SHAPE).unwrap().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    assert_eq!(info.parameters, parameters);
    assert_eq!(info.dtypes, BTreeMap::from([("F32".to_owned(), 28)]));
    assert_eq!((info.tokenizer.source.as_str(), info.tokenizer.vocab_size), ("gpt2", 50257));
    assert_eq!(
        info.files.keys().collect::<Vec<_>>(),
        ["config.json", "generation_config.json", "model.safetensors"]
    );
    assert_eq!(info.sha256, checksums::sha256_of(&folder.path().join("model.safetensors")).unwrap());
}

#[test]
fn a_converted_model_has_the_same_values_and_companions() {
    let source = model("transformer.", |tensors| {
        let head = tensors[0].1.clone();
        tensors.push((TensorInfo::f32("lm_head.weight", [11, 4]), head));
    });
    let files = ModelFiles::folder(source.path());
    let before = files.weights().unwrap();
    for (dtype, max_shard_bytes) in
        [(None, None), (None, Some(300)), (Some(Dtype::BF16), None), (Some(Dtype::F16), Some(1))]
    {
        let parent = tempfile::tempdir().unwrap();
        let out = parent.path().join("new/model");
        convert(&files, &out, &ConvertSettings { dtype, max_shard_bytes }, &NoProgress).unwrap();
        assert_eq!(fs::read_dir(out.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
        assert_eq!(fs::read(out.join("generation_config.json")).unwrap(), b"{}");

        let after = ModelFiles::folder(&out).weights().unwrap();
        assert!(!after.contains("lm_head.weight"), "the tied head is stored once");
        assert_eq!(after.names().count(), before.names().count() - 1);
        for name in after.names() {
            let shape = before.shape(name).unwrap();
            let expected: Vec<f32> = before
                .get_f32(name, shape)
                .unwrap()
                .into_iter()
                .map(|value| match dtype {
                    Some(Dtype::BF16) => half::bf16::from_f32(value).to_f32(),
                    Some(Dtype::F16) => half::f16::from_f32(value).to_f32(),
                    _ => value,
                })
                .collect();
            assert_eq!(after.get_f32(name, shape).unwrap(), expected, "{name}");
            assert_eq!(after.dtype(name), Some(dtype.unwrap_or(Dtype::F32)));
        }
        let shards = after.files().count();
        match max_shard_bytes {
            None => assert_eq!(shards, 1),
            Some(1) => assert_eq!(shards, 28, "one tensor to a file"),
            Some(max) => {
                for shard in after.files() {
                    // The widest tensor alone has 256 bytes; the header is not counted.
                    let bytes: usize = after
                        .names()
                        .filter(|name| after.file_of(name) == shard)
                        .map(|name| after.raw(name).unwrap().len())
                        .sum();
                    assert!(bytes as u64 <= max);
                }
                assert!(shards > 1 && out.join("model.safetensors.index.json").is_file());
            }
        }
        let config: serde_json::Value =
            serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
        assert_eq!(config["kept"], serde_json::json!([1, 2]));
        let expected = match dtype {
            Some(Dtype::BF16) => "bfloat16",
            Some(Dtype::F16) => "float16",
            _ => "float32",
        };
        assert_eq!(config["torch_dtype"], expected);
    }
}

#[test]
fn a_conversion_that_fails_leaves_nothing() {
    let source = model("", |_| {});
    let files = ModelFiles::folder(source.path());
    let parent = tempfile::tempdir().unwrap();
    let settings = ConvertSettings::default();

    let taken = parent.path().join("taken");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("mine"), "x").unwrap();
    let error = convert(&files, &taken, &settings, &NoProgress).unwrap_err().to_string();
    assert!(error.contains("taken: expected a folder that does not exist yet or is empty"), "{error}");

    fs::write(source.path().join("model.safetensors"), "broken").unwrap();
    let out = parent.path().join("out");
    assert!(convert(&files, &out, &settings, &NoProgress).is_err());
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
}
