//! Checkpoints written by PyTorch and transformers, and files that only pretend to be such:
//! `tests/golden/pickle`, written by `tools/reference/checkpoints.py` and `hostile_pickles.py`.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use promptist::model_folder;
use promptist::model_source::ModelFiles;
use promptist::progress::NoProgress;
use promptist::weights::{Dtype, Weights, gpt2_layout};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pickle").join(name)
}

/// Every weight of `name` equals that of `truth`, bit for bit, whatever its prefix.
#[track_caller]
fn check_equal(name: &str, truth: &str) {
    let truth = Weights::open_file(golden(truth)).unwrap();
    let path = golden(name);
    let weights = if path.is_dir() { Weights::open(path) } else { Weights::open_file(path) }.unwrap();
    let prefix = gpt2_layout::prefix(&weights);
    for tensor in truth.names() {
        let shape = truth.shape(tensor).unwrap();
        let found = format!("{prefix}{}", tensor.strip_prefix("transformer.").unwrap());
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let (expected, found) =
            (truth.get_f32(tensor, shape).unwrap(), weights.get_f32(&found, shape).unwrap());
        assert_eq!(bits(found), bits(expected), "{name}: {tensor}");
    }
    let is_weight = |tensor: &&str| !gpt2_layout::is_buffer(tensor) && *tensor != "lm_head.weight";
    assert_eq!(weights.names().filter(is_weight).count(), truth.names().count(), "{name}");
}

#[test]
fn every_form_of_a_checkpoint_holds_the_same_weights() {
    for name in [
        "zip_f32.bin",
        "legacy_f32.bin",
        "zip_tied_f32.bin",
        "legacy_tied_f32.bin",
        "zip_no_prefix_f32.bin",
        "zip_mask_buffers_f32.bin",
        "zip_views_f32.bin",
        "legacy_views_f32.bin",
        "sharded",
        "sharded_bin",
    ] {
        check_equal(name, "model.safetensors");
    }
    for (name, truth, dtype) in [
        ("zip_f16.bin", "model_f16.safetensors", Dtype::F16),
        ("legacy_f16.bin", "model_f16.safetensors", Dtype::F16),
        ("zip_bf16.bin", "model_bf16.safetensors", Dtype::BF16),
        ("legacy_bf16.bin", "model_bf16.safetensors", Dtype::BF16),
    ] {
        check_equal(name, truth);
        let weights = Weights::open_file(golden(name)).unwrap();
        assert_eq!(weights.dtype("transformer.wte.weight"), Some(dtype));
    }
}

#[test]
fn a_tied_head_reads_as_the_embedding() {
    for name in ["zip_tied_f32.bin", "legacy_tied_f32.bin"] {
        let weights = Weights::open_file(golden(name)).unwrap();
        assert_eq!(weights.raw("lm_head.weight").unwrap(), weights.raw("transformer.wte.weight").unwrap());
    }
}

#[test]
fn what_is_hand_made_and_honest_is_read() {
    let weights = Weights::open_file(golden("hand_made.bin")).unwrap();
    let expected = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
    assert_eq!(weights.get_f32("transformer.wte.weight", &[2, 4]).unwrap(), expected);
}

#[test]
fn every_hostile_file_is_refused() {
    let mut count = 0;
    for entry in fs::read_dir(golden("hostile")).unwrap() {
        let path = entry.unwrap().path();
        let error = Weights::open_file(&path).expect_err(&path.display().to_string()).to_string();
        assert!(error.starts_with(&path.display().to_string()), "{error}");
        count += 1;
    }
    assert!(count >= 30, "the golden files are there");
}

#[test]
fn a_refusal_says_what_the_file_wanted() {
    for (name, expected) in [
        ("reduce_os_system_bare.bin", "it asks for `posix.system`"),
        ("reduce_os_system_zip.bin", "it asks for `posix.system`"),
        ("reduce_os_system_legacy.bin", "it asks for `posix.system`"),
        ("reduce_os_system_beside_tensors.bin", "it asks for `posix.system`"),
        ("reduce_os_system_beside_tensors_legacy.bin", "it asks for `posix.system`"),
        ("stack_global_posix_system.bin", "it asks for `posix.system`"),
        ("inst_posix_system.bin", "opcode 0x69"),
        ("global_builtins_eval.bin", "it asks for `builtins.eval`"),
        ("build_with_setstate.bin", "it asks for `_io.BytesIO`"),
        ("whole_module.bin", "it asks for `torch.nn.modules.container.Sequential`"),
        ("whole_module_legacy.bin", "it asks for `torch.nn.modules.linear.Linear`"),
        ("tensor_larger_than_storage.bin", "expected at most the 8 elements of its storage"),
        ("storage_missing.bin", "expected storage `0`, found nothing"),
        ("storage_path_leaves_archive.bin", "expected storage `../../../etc/passwd`, found nothing"),
        ("negative_size.bin", "a size of -2"),
        ("huge_memo_index.bin", "holds no tensors"),
        ("truncated_zip.bin", "truncated"),
        ("truncated_legacy.bin", "truncated"),
        ("empty.bin", "the file is empty"),
    ] {
        let error = Weights::open_file(golden("hostile").join(name)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn sharded_folders_of_transformers_verify_and_convert() {
    for name in ["sharded", "sharded_bin"] {
        let files = ModelFiles::folder(golden(name));
        // They come without a tokenizer, and GPT-2's has more entries than these models.
        let faults = model_folder::verify(&files, &NoProgress);
        assert_eq!(faults.len(), 1, "{faults:#?}");
        assert!(faults[0].to_string().contains("the tokenizer has 50257 entries"), "{}", faults[0]);

        let parent = tempfile::tempdir().unwrap();
        let out = parent.path().join("out");
        model_folder::convert(&files, &out, &Default::default(), &NoProgress).unwrap();
        let (before, after) = (Weights::open(golden(name)).unwrap(), Weights::open(&out).unwrap());
        assert!(before.names().eq(after.names()));
        for tensor in before.names() {
            assert_eq!(before.raw(tensor).unwrap(), after.raw(tensor).unwrap());
        }
    }
}
