//! Writes OUT/model and OUT/logits.safetensors for `tools/reference/check_roundtrip.py`: of a random
//! tiny GPT-2 with a trained tokenizer, or of the model folder that is named.
//!
//! `cargo run --example write_roundtrip -- OUT [MODEL_FOLDER]`

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData};
use promptist::gpt2::{Gpt2, Gpt2Config, folder};
use promptist::tokenizer::Tokenizer;
use promptist::weights::{Dtype, TensorInfo, f32_to_bytes, write_safetensors};

const TEXT: &str = "a rabbit in a space suit, 8k, caf\u{e9} \u{4e2d}\u{1f407} Rephrase:";

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    let out = args.next().ok_or("expected a folder to write to")?;
    let (out, device) = (Path::new(&out), Device::flex());
    let saved = out.join("model");
    std::fs::create_dir_all(&saved)?;
    match args.next() {
        Some(from) => {
            let (from, device) = (Path::new(&from), &device);
            let files = folder::companion_files(from)?;
            folder::save(&folder::open(from, device)?, &saved, &files)?;
        }
        None => save_random(&saved, &device)?,
    }

    let model = folder::open(&saved, &device)?;
    let tokenizer = Tokenizer::open(&saved)?;
    if tokenizer.vocab_size() > model.config().vocab_size {
        return Err("the folder's tokenizer is larger than its model".into());
    }
    let token_ids = tokenizer.encode(TEXT)?;
    let ids: Vec<i64> = token_ids.iter().map(|&id| i64::from(id)).collect();
    let id_bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let (t, v) = (ids.len(), model.config().vocab_size);
    let input_ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, t]), &device);
    let logits = model.head(model.forward(input_ids).squeeze_dim::<2>(0));
    let logits = logits.try_into_vec_as::<f32>().map_err(|e| format!("{e:?}"))?;
    let mut infos = ["input_ids", "logits"].map(|name| TensorInfo::f32(name, [t, v]));
    (infos[0].dtype, infos[0].shape) = (Dtype::I64, vec![t]);
    let about = BTreeMap::from([("text".to_owned(), TEXT.to_owned())]);
    write_safetensors(out.join("logits.safetensors"), &infos, &about, |info| {
        Ok(match info.dtype {
            Dtype::I64 => id_bytes.as_slice().into(),
            _ => f32_to_bytes(&logits),
        })
    })?;
    Ok(())
}

/// A random model, and the tokenizer that it is made for.
fn save_random(folder: &Path, device: &Device) -> Result<(), Box<dyn Error>> {
    let json = Tokenizer::train([TEXT, "a cat, 8k"].repeat(3).into_iter(), 280)?;
    let vocab_size = Tokenizer::from_json(json.as_bytes())?.vocab_size();
    let config = Gpt2Config::from_json(&format!(
        r#"{{"vocab_size": {vocab_size}, "n_positions": 128, "n_embd": 48, "n_layer": 3, "n_head": 4,
            "bos_token_id": 0, "eos_token_id": 0, "initializer_range": 0.2}}"#
    ))?;
    let class = br#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#.to_vec();
    let names = ["tokenizer.json", "tokenizer_config.json"].map(str::to_owned);
    let files: Vec<_> = names.into_iter().zip([json.into_bytes(), class]).collect();
    folder::save(&Gpt2::random(&config, 1, device)?, folder, &files)?;
    Ok(())
}
