//! Finding, checking and reading checkpoints. [`Weights`] opens a model folder, whatever its
//! format, and hands out tensors as `f32`.
//!
//! | format | read by |
//! |---|---|
//! | `model.safetensors`, or bytes inside the binary | `safetensors.rs` |
//! | `pytorch_model.bin`, of `torch.save` old and new | `torch.rs` (containers, `zip.rs`), `pickle.rs` (what is in them) |
//! | `*.index.json` and its shards, of either kind | `shards.rs` |
//!
//! Files are mapped into memory, not read. Whatever a file claims is checked against its size
//! before anything is allocated for it; no byte of a file is executed, and none makes this module
//! panic. What a model's tensors are called and shaped is not known here but in [`gpt2_layout`].
//! Writing is in [`mod@write`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

pub mod gpt2_layout;
pub mod pickle;
pub mod safetensors;
mod shards;
mod torch;
pub mod write;
mod zip;

pub use ::safetensors::Dtype;
pub(crate) use shards::{is_shard_index, shard_names};
pub use write::{TensorInfo, f32_to_bytes, write_safetensors};

/// The files that a model folder may hold its weights in, in the order in which they are tried.
///
/// The order is that of transformers' `from_pretrained`.
pub const WEIGHT_FILES: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// The tensors of a checkpoint, by name.
#[derive(Debug)]
pub struct Weights {
    /// What was opened: the file, the shard index, or the name of embedded bytes.
    path: PathBuf,
    /// The files that hold bytes, sorted by path.
    files: Vec<Source>,
    tensors: BTreeMap<String, Tensor>,
}

impl Weights {
    /// Opens the weights of a model folder: the first of [`WEIGHT_FILES`] that exists.
    ///
    /// # Errors
    /// [`Error::File`] if there is none, if a header is truncated, hostile or inconsistent, or if a
    /// pickle asks for more than tensors; [`Error::Tensor`] if a tensor reaches past its file.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let found = WEIGHT_FILES.iter().map(|name| folder.join(name)).find(|path| path.is_file());
        match found {
            Some(path) => Self::open_file(path),
            None if folder.is_dir() => Err(Error::file(
                folder,
                format!("no weights found: expected one of {}", WEIGHT_FILES.join(", ")),
            )),
            None => Err(Error::file(folder, "expected a model folder, found nothing of that name")),
        }
    }

    /// Opens one weights file, or a shard index (`*.index.json`, or with a variant `*.index.fp16.json`) and its
    /// shards.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if is_shard_index(path) {
            return shards::open(path);
        }
        Self::from_source(Source::map(path)?)
    }

    /// Opens a safetensors file that is already in memory, such as the model inside the binary.
    /// `name` stands for its path in errors.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_static(name: &str, bytes: &'static [u8]) -> Result<Self> {
        Self::from_source(Source { path: PathBuf::from(name), bytes: Bytes::Static(bytes) })
    }

    /// Opens one weights file of any format that was read into memory. `name` stands for its path in
    /// errors.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self> {
        Self::from_source(Source { path: PathBuf::from(name), bytes: Bytes::Owned(bytes) })
    }

    /// What was opened: the file, the shard index, or the name of embedded bytes.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files that hold the tensors' bytes, sorted by path.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// The tensors' names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether there is a tensor of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The shape of a tensor, if there is one of that name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|tensor| tensor.shape.as_slice())
    }

    /// How a tensor is stored, if there is one of that name.
    pub fn dtype(&self, name: &str) -> Option<Dtype> {
        self.tensors.get(name).map(|tensor| tensor.dtype)
    }

    /// The file that holds a tensor; the weights' own path if none does.
    pub fn file_of(&self, name: &str) -> &Path {
        match self.tensors.get(name) {
            Some(tensor) => &self.files[tensor.file_idx].path,
            None => &self.path,
        }
    }

    /// A tensor's values, row-major, cast to f32 from f16, bf16, f32 or f64.
    ///
    /// # Errors
    /// [`Error::Tensor`] if it is missing, has another shape, or holds something else than
    /// floating-point numbers.
    pub fn get_f32(&self, name: &str, expected_shape: &[usize]) -> Result<Vec<f32>> {
        match self.shape(name) {
            None => Err(self.tensor_error(name, format!("{expected_shape:?}"), "nothing")),
            Some(shape) if shape != expected_shape => {
                Err(self.tensor_error(name, format!("{expected_shape:?}"), format!("{shape:?}")))
            }
            Some(_) => self.get_f32_any_shape(name),
        }
    }

    /// A tensor's values as [`get_f32`](Self::get_f32) gives them, whatever its shape.
    ///
    /// # Errors
    /// [`Error::Tensor`] if it is missing, or holds something else than floating-point numbers.
    pub fn get_f32_any_shape(&self, name: &str) -> Result<Vec<f32>> {
        let Some(tensor) = self.tensors.get(name) else {
            return Err(self.tensor_error(name, "a tensor", "nothing"));
        };
        let bytes = tensor.bytes(&self.files);
        let values = match tensor.dtype {
            Dtype::F32 => tensor.cast(bytes, f32::from_le_bytes),
            Dtype::F16 => tensor.cast(bytes, |b| half::f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => tensor.cast(bytes, |b| half::bf16::from_le_bytes(b).to_f32()),
            Dtype::F64 => tensor.cast(bytes, |b| f64::from_le_bytes(b) as f32),
            other => {
                return Err(self.tensor_error(name, "F16, BF16, F32 or F64", format!("{other:?}")));
            }
        };
        Ok(values)
    }

    /// A tensor's values as they are stored: row-major, little-endian, of its dtype.
    ///
    /// # Errors
    /// [`Error::Tensor`] if it is missing.
    pub fn raw(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        let Some(tensor) = self.tensors.get(name) else {
            return Err(self.tensor_error(name, "a tensor", "nothing"));
        };
        let bytes = tensor.bytes(&self.files);
        let Some(strides) = &tensor.strides else { return Ok(Cow::Borrowed(bytes)) };
        let size = tensor.dtype.bitsize() / 8;
        let mut row_major = Vec::with_capacity(size * tensor.shape.iter().product::<usize>());
        gather(&tensor.shape, strides, 0, &mut |idx| {
            row_major.extend_from_slice(&bytes[idx * size..][..size])
        });
        Ok(Cow::Owned(row_major))
    }

    /// The SHA-256 of the weights, as 64 lower-case hexadecimal digits: of the file, or of the
    /// shards one after the other, sorted by name. Reads every byte.
    pub fn sha256(&self) -> String {
        let mut hasher = Sha256::new();
        for file in &self.files {
            hasher.update(file.bytes.as_slice());
        }
        hex(&hasher.finalize())
    }

    fn from_source(source: Source) -> Result<Self> {
        let tensors = source.tensors()?;
        Ok(Self { path: source.path.clone(), files: vec![source], tensors })
    }

    fn tensor_error(&self, name: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
        Error::Tensor {
            path: self.file_of(name).to_owned(),
            tensor: name.to_owned(),
            expected: expected.into(),
            found: found.into(),
        }
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where a tensor lies, and how. Whoever makes one has checked that `range` lies within the file
/// and that every element that `shape` and `strides` can reach lies within `range`.
#[derive(Debug, Clone, PartialEq)]
struct Tensor {
    file_idx: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    /// Bytes of the file; a whole tensor's if it is contiguous.
    range: Range<usize>,
    /// In elements; `None` for row-major and contiguous. Only pickles hold other tensors.
    strides: Option<Vec<usize>>,
}

impl Tensor {
    fn bytes<'a>(&self, files: &'a [Source]) -> &'a [u8] {
        &files[self.file_idx].bytes.as_slice()[self.range.clone()]
    }

    /// Every element, row-major, through `read`.
    fn cast<const SIZE: usize>(&self, bytes: &[u8], read: impl Fn([u8; SIZE]) -> f32) -> Vec<f32> {
        let (elements, _) = bytes.as_chunks::<SIZE>();
        match &self.strides {
            None => elements.iter().map(|&element| read(element)).collect(),
            Some(strides) => {
                let mut values = Vec::with_capacity(self.shape.iter().product());
                gather(&self.shape, strides, 0, &mut |idx| values.push(read(elements[idx])));
                values
            }
        }
    }
}

/// Visits the indices of a strided tensor in row-major order. Depth is the tensor's rank, which
/// `pickle.rs` bounds.
fn gather(shape: &[usize], strides: &[usize], base: usize, visit: &mut impl FnMut(usize)) {
    let (Some((&len, shape)), Some((&stride, strides))) = (shape.split_first(), strides.split_first()) else {
        return visit(base);
    };
    for i in 0..len {
        gather(shape, strides, base + i * stride, visit);
    }
}

/// A file of weights, or bytes that stand for one.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    Static(&'static [u8]),
    Owned(Vec<u8>),
}

impl Bytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Static(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl Source {
    fn map(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        // An empty file cannot be mapped on every system, and is no checkpoint anyway.
        if file.metadata().map_err(Error::io(path))?.len() == 0 {
            return Err(Error::file(path, "the file is empty"));
        }
        // SAFETY: the map is only read. Should another process cut the file while we hold it, the
        // system ends ours with a signal; no reader of mapped files can do better, and our own
        // writers replace files instead of changing them (`atomic.rs`).
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io(path))?;
        Ok(Self { path: path.to_owned(), bytes: Bytes::Mapped(map) })
    }

    /// The tensors in the file, their `file_idx` 0. The format is told by the content.
    fn tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        let bytes = self.bytes.as_slice();
        let found = if torch::is_torch(bytes) {
            torch::tensors(bytes)
        } else {
            safetensors::read_header(bytes).map(safetensors::Header::into_tensors)
        };
        found.map_err(|problem| problem.at(&self.path))
    }
}

/// What is wrong with a file whose path is not known yet.
#[derive(Debug, Clone, PartialEq)]
pub enum Problem {
    /// With the file as a whole.
    File(String),
    /// With one tensor.
    Tensor {
        /// Its name in the checkpoint.
        tensor: String,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
}

impl Problem {
    /// The [`Error`] about this problem of the file `path`.
    pub fn at(self, path: &Path) -> Error {
        match self {
            Self::File(reason) => Error::file(path, reason),
            Self::Tensor { tensor, expected, found } => {
                Error::Tensor { path: path.to_owned(), tensor, expected, found }
            }
        }
    }
}

#[cfg(test)]
mod tests;
