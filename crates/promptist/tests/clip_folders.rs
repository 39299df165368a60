//! CLIP folders that are not as they should be: each is refused by name, none makes us panic.

mod common;

use std::fs;
use std::path::Path;

use burn::tensor::{DType, Device, TensorCreationOptions};
use promptist::clip::Clip;
use promptist::clip::text::TextTransformer;
use promptist::clip::tokenizer::{ClipTokenizer, MAX_TEXT_BYTES};
use promptist::model_source::ModelFiles;

/// A copy of a golden folder, to be spoilt.
fn copy_of(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for entry in fs::read_dir(common::golden("clip").join(name)).expect("a golden folder").flatten() {
        fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("copies");
    }
    folder
}

fn options() -> TensorCreationOptions {
    TensorCreationOptions::new(Device::flex()).with_dtype(DType::F32)
}

fn open(folder: &Path) -> promptist::Result<Clip> {
    Clip::open(&ModelFiles::folder(folder), &options())
}

#[track_caller]
fn check_refused(name: &str, spoil: impl Fn(&Path), expected: &[&str]) {
    let folder = copy_of(name);
    assert!(open(folder.path()).is_ok(), "whole before it is spoilt");
    spoil(folder.path());
    let Err(error) = open(folder.path()) else { panic!("{expected:?}: opened") };
    let error = error.to_string();
    for expected in expected {
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).expect("a text");
    assert!(text.contains(from), "{from} in {text}");
    fs::write(path, text.replace(from, to)).expect("writable");
}

fn cut(path: &Path, keep: impl Fn(usize) -> usize) {
    let bytes = fs::read(path).expect("a file");
    fs::write(path, &bytes[..keep(bytes.len())]).expect("writable");
}

#[test]
fn missing_files_are_named() {
    let remove = |name: &'static str| move |folder: &Path| fs::remove_file(folder.join(name)).expect("there");
    check_refused("quick_gelu", remove("config.json"), &["config.json", "found nothing"]);
    check_refused("quick_gelu", remove("model.safetensors"), &["no weights found"]);
    check_refused("gelu", remove("merges.txt"), &["merges.txt", "missing beside vocab.json"]);
    check_refused("gelu_sharded", remove("model-00002-of-00003.safetensors"), &["model-00002-of-00003"]);
}

#[test]
fn truncated_files_are_named() {
    check_refused("quick_gelu", |f| cut(&f.join("model.safetensors"), |n| n - 5), &["model.safetensors"]);
    check_refused("quick_gelu", |f| cut(&f.join("model.safetensors"), |_| 100), &["model.safetensors"]);
    check_refused("quick_gelu", |f| cut(&f.join("model.safetensors"), |_| 0), &["the file is empty"]);
    check_refused("gelu", |f| cut(&f.join("pytorch_model.bin"), |n| n / 2), &["pytorch_model.bin"]);
    check_refused("quick_gelu", |f| cut(&f.join("config.json"), |n| n / 2), &["config.json"]);
    check_refused("quick_gelu", |f| cut(&f.join("tokenizer.json"), |n| n / 2), &["tokenizer.json"]);
    check_refused(
        "gelu",
        |f| cut(&f.join("preprocessor_config.json"), |n| n / 2),
        &["preprocessor_config.json"],
    );
    check_refused("gelu", |f| cut(&f.join("vocab.json"), |n| n / 2), &["vocab.json"]);
}

#[test]
fn what_does_not_fit_is_named() {
    let wider = |f: &Path| edit(&f.join("config.json"), "\"projection_dim\": 28", "\"projection_dim\": 29");
    check_refused("quick_gelu", wider, &["text_projection.weight", "expected [29, 24]", "found [28, 24]"]);
    let larger = |f: &Path| edit(&f.join("config.json"), "\"image_size\": 32", "\"image_size\": 64");
    check_refused("gelu", larger, &["crop_size", "32x32", "64"]);
    let deeper =
        |f: &Path| edit(&f.join("config.json"), "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
    check_refused("quick_gelu", deeper, &["layers.2.", "found nothing"]);
    let pad = |f: &Path| edit(&f.join("special_tokens_map.json"), "\"!\"", "\"<pad>\"");
    check_refused("gelu", pad, &["special_tokens_map.json", "`<pad>` is not in the vocabulary"]);
    let act = |f: &Path| edit(&f.join("config.json"), "\"gelu\"", "\"swish\"");
    check_refused("gelu", act, &["config.json", "swish"]);
}

#[test]
fn ids_that_the_model_lacks_are_an_error_and_no_panic() {
    let folder = copy_of("quick_gelu");
    fs::remove_file(folder.path().join("tokenizer.json")).expect("there");
    // Without files the vocabulary is OpenAI's: its end token is beyond this model.
    let clip = open(folder.path()).expect("opens");
    let error = clip.encode_texts(&["a cat"]).expect_err("too large an id").to_string();
    assert!(error.contains("is not below vocab_size"), "{error}");
    let tower = TextTransformer::open(&ModelFiles::folder(folder.path()), &options()).expect("a tower");
    assert!(tower.forward(&[vec![0; 78]]).is_err());
    assert!(tower.forward(&[vec![0; 7], vec![0; 8]]).is_err());
    assert!(tower.forward(&Vec::<Vec<u32>>::new()).is_err());
}

#[test]
fn a_text_without_end_is_refused() {
    let tokenizer = ClipTokenizer::openai().expect("bundled");
    assert!(tokenizer.encode(&"x".repeat(MAX_TEXT_BYTES + 1)).is_err());
    let longest = tokenizer.encode(&"x y ".repeat(MAX_TEXT_BYTES / 4)).expect("just fits");
    assert_eq!((longest.ids.len(), longest.num_tokens), (77, MAX_TEXT_BYTES / 2 + 2));
}

#[test]
fn the_hash_is_that_of_the_weights() {
    let (a, b) = (copy_of("quick_gelu"), copy_of("gelu"));
    let (a, b) = (open(a.path()).expect("opens"), open(b.path()).expect("opens"));
    assert_eq!(a.sha256().len(), 64);
    assert_ne!(a.sha256(), b.sha256());
}
