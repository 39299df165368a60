//! Whether a model folder holds a model that works.

use super::{config, tokenizer};
use crate::checksums;
use crate::error::{Error, Result};
use crate::gpt2::Gpt2Config;
use crate::model_source::ModelFiles;
use crate::progress::Progress;
use crate::weights::{Weights, gpt2_layout};

/// Everything that is wrong with a model; nothing if it is right: sums of its files if it lists
/// any, config, header, names and shapes of the tensors, every value finite, the head tied as the
/// config says, a tokenizer that loads and fits the vocabulary.
pub fn verify(files: &ModelFiles, progress: &dyn Progress) -> Vec<Error> {
    let mut faults = Vec::new();
    if let ModelFiles::Folder { path, .. } = files {
        keep_faults(&mut faults, checksums::changed_files(path));
    }
    let config = config(files).map_err(|error| faults.push(error)).ok();
    let weights = files.weights().map_err(|error| faults.push(error)).ok();
    if let (Some(config), Some(weights)) = (&config, &weights) {
        keep_faults(&mut faults, gpt2_layout::differences(weights, &shape_of(config)));
    }
    if let Some(weights) = &weights {
        faults.extend(not_finite(weights, progress));
        faults.extend(untied_head(weights));
    }
    match tokenizer(files) {
        Ok(tokenizer) => {
            if let Some(config) = config.filter(|config| tokenizer.vocab_size() > config.vocab_size) {
                let (expected, found) = (config.vocab_size, tokenizer.vocab_size());
                let reason = format!("vocab_size is {expected}, but the tokenizer has {found} entries");
                faults.push(Error::file(files.path("config.json"), reason));
            }
        }
        Err(error) => faults.push(error),
    }
    faults
}

fn keep_faults(faults: &mut Vec<Error>, found: Result<Vec<Error>>) {
    match found {
        Ok(found) => faults.extend(found),
        Err(error) => faults.push(error),
    }
}

fn shape_of(config: &Gpt2Config) -> gpt2_layout::Gpt2Shape {
    gpt2_layout::Gpt2Shape {
        vocab_size: config.vocab_size,
        n_positions: config.n_positions,
        n_embd: config.n_embd,
        n_inner: config.n_inner(),
        n_layer: config.n_layer,
    }
}

/// The tensors that hold something else than finite numbers, the first such value of each.
fn not_finite(weights: &Weights, progress: &dyn Progress) -> Vec<Error> {
    let names: Vec<&str> = weights.names().filter(|name| !gpt2_layout::is_buffer(name)).collect();
    progress.begin("reading", Some(names.len() as u64), "tensors");
    let mut faults = Vec::new();
    for name in names {
        match weights.get_f32_any_shape(name) {
            Ok(values) => {
                faults.extend(values.iter().position(|value| !value.is_finite()).map(|idx| Error::Tensor {
                    path: weights.file_of(name).to_owned(),
                    tensor: name.to_owned(),
                    expected: "finite values".to_owned(),
                    found: format!("{} at index {idx}", values[idx]),
                }))
            }
            Err(error) => faults.push(error),
        }
        progress.advance(1, "");
    }
    progress.end();
    faults
}

/// A head that is stored and not the token embedding again, which is what we compute with.
fn untied_head(weights: &Weights) -> Option<Error> {
    let wte = format!("{}wte.weight", gpt2_layout::prefix(weights));
    let head = weights.get_f32_any_shape("lm_head.weight").ok()?;
    let wte_values = weights.get_f32_any_shape(&wte).ok()?;
    (head != wte_values).then(|| Error::Tensor {
        path: weights.file_of("lm_head.weight").to_owned(),
        tensor: "lm_head.weight".to_owned(),
        expected: format!("the values of `{wte}`: the head is tied"),
        found: "others".to_owned(),
    })
}
