//! What the tensors of a GPT-2 checkpoint are called and shaped, as numbers alone: for checking a
//! checkpoint without building a model.
//!
//! Source: transformers, `modeling_gpt2.py`: `GPT2LMHeadModel`, whose linear layers are `Conv1D`,
//! stored as `[in, out]`.

use super::Weights;
use crate::error::{Error, Result};

/// The sizes that a GPT-2's shapes follow from, as `config.json` names them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gpt2Shape {
    /// V, the vocabulary.
    pub vocab_size: usize,
    /// T, the longest sequence.
    pub n_positions: usize,
    /// E, the width.
    pub n_embd: usize,
    /// Width of the MLP's hidden layer; `config.json` may leave it out for `4 * n_embd`.
    pub n_inner: usize,
    /// The number of blocks.
    pub n_layer: usize,
}

/// The most blocks and the largest size that are believed: far beyond any GPT-2, and small enough
/// that no product of two overflows.
const MAX_SIZE: usize = 1 << 31;
const MAX_LAYERS: usize = 1 << 12;

/// Name and shape of every tensor of a GPT-2, without the prefix `transformer.` and without the
/// head, which is `wte.weight` again.
///
/// # Errors
/// [`Error::Config`] if a size is 0 or beyond any model.
pub fn expected_tensors(shape: &Gpt2Shape) -> Result<Vec<(String, Vec<usize>)>> {
    let Gpt2Shape { vocab_size, n_positions, n_embd, n_inner, n_layer } = *shape;
    for (key, size, max) in [
        ("vocab_size", vocab_size, MAX_SIZE),
        ("n_positions", n_positions, MAX_SIZE),
        ("n_embd", n_embd, MAX_SIZE),
        ("n_inner", n_inner, MAX_SIZE),
        ("n_layer", n_layer, MAX_LAYERS),
    ] {
        if size == 0 || size > max {
            return Err(Error::config(key, format!("expected 1 to {max}, found {size}")));
        }
    }

    let mut tensors = vec![
        ("wte.weight".to_owned(), vec![vocab_size, n_embd]),
        ("wpe.weight".to_owned(), vec![n_positions, n_embd]),
    ];
    for layer in 0..n_layer {
        for (name, shape) in [
            ("ln_1.weight", vec![n_embd]),
            ("ln_1.bias", vec![n_embd]),
            ("attn.c_attn.weight", vec![n_embd, 3 * n_embd]),
            ("attn.c_attn.bias", vec![3 * n_embd]),
            ("attn.c_proj.weight", vec![n_embd, n_embd]),
            ("attn.c_proj.bias", vec![n_embd]),
            ("ln_2.weight", vec![n_embd]),
            ("ln_2.bias", vec![n_embd]),
            ("mlp.c_fc.weight", vec![n_embd, n_inner]),
            ("mlp.c_fc.bias", vec![n_inner]),
            ("mlp.c_proj.weight", vec![n_inner, n_embd]),
            ("mlp.c_proj.bias", vec![n_embd]),
        ] {
            tensors.push((format!("h.{layer}.{name}"), shape));
        }
    }
    tensors.push(("ln_f.weight".to_owned(), vec![n_embd]));
    tensors.push(("ln_f.bias".to_owned(), vec![n_embd]));
    Ok(tensors)
}

/// What stands before a GPT-2's tensor names in this checkpoint: `transformer.` or nothing.
pub fn prefix(weights: &Weights) -> &'static str {
    if weights.contains("transformer.wte.weight") { "transformer." } else { "" }
}

/// Whether a tensor of a GPT-2 checkpoint carries no weights: the causal masks that older versions
/// of transformers stored, `h.N.attn.bias` and `h.N.attn.masked_bias`.
pub fn is_buffer(name: &str) -> bool {
    name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias")
}

/// Everything in which a checkpoint differs from the GPT-2 of that shape: tensors missing, of
/// another shape, or one too many. Empty if it is right.
///
/// # Errors
/// As [`expected_tensors`].
pub fn differences(weights: &Weights, shape: &Gpt2Shape) -> Result<Vec<Error>> {
    let prefix = prefix(weights);
    let mut expected: Vec<_> = expected_tensors(shape)?
        .into_iter()
        .map(|(name, shape)| (format!("{prefix}{name}"), shape))
        .collect();
    // The head may be stored a second time; tied or not is the model's to say.
    if weights.contains("lm_head.weight") {
        expected.push(("lm_head.weight".to_owned(), vec![shape.vocab_size, shape.n_embd]));
    }

    let error = |name: &str, expected: String, found: String| Error::Tensor {
        path: weights.file_of(name).to_owned(),
        tensor: name.to_owned(),
        expected,
        found,
    };
    let mut differences = Vec::new();
    for (name, shape) in &expected {
        match weights.shape(name) {
            Some(found) if found == shape => {}
            Some(found) => differences.push(error(name, format!("{shape:?}"), format!("{found:?}"))),
            None => differences.push(error(name, format!("{shape:?}"), "nothing".to_owned())),
        }
    }
    let known: std::collections::HashSet<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
    for name in weights.names().filter(|name| !known.contains(name) && !is_buffer(name)) {
        let found = format!("{:?}", weights.shape(name).unwrap_or_default());
        differences.push(error(name, "no such tensor".to_owned(), found));
    }
    Ok(differences)
}
