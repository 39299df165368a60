//! What the tests that compare with transformers share: the golden files, the devices to compute on,
//! and the slow tests' mark.

#![allow(dead_code)] // every test binary uses its part of it

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use promptist::decoding::{Answers, LanguageModel, Queries};
use promptist::engine::{Engine, EngineOptions, Isa, Precision};
use promptist::gpt2::{Gpt2, Gpt2Config};
use promptist::weights::Weights;
use safetensors::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;

/// Every device that this build can compute on, by name.
pub fn devices() -> Vec<(&'static str, Device)> {
    vec![
        #[cfg(feature = "flex")]
        ("flex", Device::flex()),
        #[cfg(feature = "vulkan")]
        ("vulkan", Device::vulkan(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "wgpu")]
        ("wgpu", Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
    ]
}

/// Every instruction set that this CPU has.
pub fn isas() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available())
}

/// The model in `folder`, in the engine, in f32.
pub fn engine(folder: &Path, isa: Isa) -> Engine {
    engine_with(folder, EngineOptions { precision: Precision::F32, isa: Some(isa), num_threads: 2 })
}

/// The model in `folder`, in the engine.
pub fn engine_with(folder: &Path, options: EngineOptions) -> Engine {
    let config = Gpt2Config::read(&folder.join("config.json")).expect("a model folder");
    let weights = Weights::open(folder).expect("a model folder");
    Engine::open(&config, &weights, options).expect("an engine")
}

/// The golden file or folder of that name.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// A golden JSON file.
pub fn golden_json<T: DeserializeOwned>(name: &str) -> T {
    let text = std::fs::read_to_string(golden(name)).expect("a committed file");
    serde_json::from_str(&text).expect("a golden file has its form")
}

/// The tensors of a golden safetensors file.
pub struct Tensors(Vec<u8>);

impl Tensors {
    pub fn read(path: &Path) -> Self {
        Self(std::fs::read(path).expect("a golden file"))
    }

    /// Shape and values of an integer tensor.
    pub fn ints(&self, name: &str) -> (Vec<usize>, Vec<i64>) {
        self.get(name, Dtype::I64, i64::from_le_bytes)
    }

    /// Shape and values of a tensor of f32.
    pub fn floats(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        self.get(name, Dtype::F32, f32::from_le_bytes)
    }

    /// The tensors' names.
    pub fn names(&self) -> Vec<String> {
        let tensors = SafeTensors::deserialize(&self.0).expect("safetensors");
        tensors.names().into_iter().map(str::to_owned).collect()
    }

    fn get<const SIZE: usize, T>(
        &self,
        name: &str,
        dtype: Dtype,
        read: fn([u8; SIZE]) -> T,
    ) -> (Vec<usize>, Vec<T>) {
        let tensors = SafeTensors::deserialize(&self.0).expect("safetensors");
        let tensor = tensors.tensor(name).expect(name);
        assert_eq!(tensor.dtype(), dtype, "{name}");
        let (elements, _) = tensor.data().as_chunks::<SIZE>();
        let values = elements.iter().map(|&element| read(element)).collect();
        (tensor.shape().to_vec(), values)
    }
}

/// The logits of a whole sequence, without a cache: `[T, V]`, a row per position.
pub fn whole_sequence_logits(model: &Gpt2, token_ids: &[u32]) -> Vec<Vec<f32>> {
    let ids: Vec<i64> = token_ids.iter().map(|&id| i64::from(id)).collect();
    let input_ids = TensorData::new(ids, [1, token_ids.len()]);
    let input_ids = Tensor::<2, Int>::from_data(input_ids, &model.device());
    let hidden = model.forward(input_ids);
    let logits = model.head(hidden.squeeze_dim::<2>(0));
    let values = floats(logits);
    values.chunks(model.config().vocab_size).map(<[f32]>::to_vec).collect()
}

/// Appends tokens to rows of a cache and returns the logits that follow each: `[rows, V]`.
pub fn append_all<M: LanguageModel>(
    model: &M,
    cache: &mut M::Cache,
    token_ids: &[impl AsRef<[u32]>],
) -> promptist::Result<Vec<Vec<f32>>> {
    let token_ids: Vec<&[u32]> = token_ids.iter().map(AsRef::as_ref).collect();
    let mut answers = Answers::default();
    model.append(cache, &token_ids, &Queries::all(token_ids.len()), &mut answers)?;
    Ok((0..answers.len()).map(|row| answers.row(row).logits.to_vec()).collect())
}

/// A tensor's values, row-major.
pub fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().expect("a tensor of f32")
}

/// The largest absolute difference; infinite if the lengths differ or anything is not a number.
#[track_caller]
pub fn max_difference(found: &[f32], expected: &[f32]) -> f32 {
    if found.len() != expected.len() {
        return f32::INFINITY;
    }
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |max, d| if d.is_nan() { f32::INFINITY } else { max.max(d) })
}

/// The largest absolute value.
pub fn max_abs(values: &[f32]) -> f32 {
    max_difference(values, &vec![0.0; values.len()])
}

/// Whether `PROMPTIST_SLOW_TESTS=1` asks for the tests that take minutes or files from outside.
pub fn slow_tests_are_wanted() -> bool {
    std::env::var("PROMPTIST_SLOW_TESTS").is_ok_and(|value| value == "1")
}

/// Leaves `target/tmp/slow-tests/NAME`, so that CI can tell that a slow test ran to its end.
pub fn mark_slow_test(name: &str) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("slow-tests");
    std::fs::create_dir_all(&folder).expect("a writable target folder");
    std::fs::write(folder.join(name), "ran\n").expect("a writable target folder");
}

/// A copy of a golden folder, to be changed.
pub fn copy_of_golden(name: &str) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("a writable folder");
        for entry in std::fs::read_dir(from).expect("a golden folder") {
            let entry = entry.expect("a golden folder");
            let to = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &to);
            } else {
                std::fs::copy(entry.path(), to).expect("a golden file");
            }
        }
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    copy(&golden(name), folder.path());
    folder
}

/// The folder of `tools/reference/full_size_diffusion.py`, if slow tests are wanted.
#[allow(clippy::print_stderr)] // a skipped test says so
pub fn full_size_diffusion() -> Option<PathBuf> {
    if !slow_tests_are_wanted() {
        eprintln!("skipped: PROMPTIST_SLOW_TESTS is not 1");
        return None;
    }
    let folder = std::env::var_os("PROMPTIST_FULL_SIZE_DIFFUSION");
    Some(folder.expect("PROMPTIST_FULL_SIZE_DIFFUSION names a folder").into())
}

/// The config and weights of a component of it.
pub fn component<T>(folder: &Path, read: fn(&[u8], &Path) -> promptist::Result<T>) -> (T, Weights) {
    let path = folder.join("config.json");
    let config = read(&std::fs::read(&path).expect("a config"), &path).expect("a config");
    let weights = Weights::open_file(folder.join("diffusion_pytorch_model.fp16.safetensors"));
    (config, weights.expect("weights"))
}
