//! Writing a safetensors file: whole or not at all, one tensor in memory at a time.
//!
//! The format's own crate writes too, but only with every tensor at hand and not atomically.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use ::safetensors::Dtype;
use serde_json::{Map, Value, json};

use crate::atomic::write_atomic;
use crate::error::{Error, Result};

/// What a safetensors header says of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorInfo {
    /// Its name in the checkpoint.
    pub name: String,
    /// How its values are stored.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl TensorInfo {
    /// A tensor stored as f32.
    pub fn f32(name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        Self { name: name.into(), dtype: Dtype::F32, shape: shape.into() }
    }

    /// Bytes that its values take.
    ///
    /// # Errors
    /// [`Error::Shape`] if that overflows.
    pub fn byte_len(&self) -> Result<usize> {
        let bits = self.shape.iter().try_fold(self.dtype.bitsize(), |bits, &dim| bits.checked_mul(dim));
        bits.map(|bits| bits.div_ceil(8)).ok_or_else(|| {
            Error::Shape(format!("tensor `{}` of shape {:?} is too large", self.name, self.shape))
        })
    }
}

/// Writes `tensors` to `path`, whole or not at all. `bytes_of` gives each tensor's values,
/// row-major and little-endian, and is called once for each, in the order of the file.
///
/// The file holds larger elements first and then goes by name, as the reference implementation
/// does, so that every tensor is aligned and the same tensors give the same bytes.
/// transformers wants `metadata` to say `"format": "pt"`.
///
/// # Errors
/// [`Error::Tensor`] if the bytes do not fit dtype and shape, [`Error::File`] if two tensors share a
/// name, [`Error::Io`] if the file cannot be written, and whatever `bytes_of` returns.
pub fn write_safetensors<'a>(
    path: impl AsRef<Path>,
    tensors: &[TensorInfo],
    metadata: &BTreeMap<String, String>,
    mut bytes_of: impl FnMut(&TensorInfo) -> Result<Cow<'a, [u8]>>,
) -> Result<()> {
    let path = path.as_ref();
    let mut tensors: Vec<&TensorInfo> = tensors.iter().collect();
    tensors.sort_by(|a, b| b.dtype.bitsize().cmp(&a.dtype.bitsize()).then_with(|| a.name.cmp(&b.name)));
    let header = header(path, &tensors, metadata)?;

    write_atomic(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        for info in &tensors {
            let bytes = bytes_of(info).map_err(io::Error::other)?;
            let expected = info.byte_len().map_err(io::Error::other)?;
            if bytes.len() != expected {
                return Err(io::Error::other(Error::Tensor {
                    path: path.to_owned(),
                    tensor: info.name.clone(),
                    expected: format!("{expected} bytes for {:?} {:?}", info.dtype, info.shape),
                    found: format!("{} bytes", bytes.len()),
                }));
            }
            file.write_all(&bytes)?;
        }
        Ok(())
    })
}

/// The little-endian bytes of `values`. Borrows where the machine is little-endian too.
pub fn f32_to_bytes(values: &[f32]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        // SAFETY: any f32 is four initialised bytes, and u8 has no alignment to keep; pointer and
        // length describe exactly the memory of `values`, borrowed for as long.
        Cow::Borrowed(unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) })
    } else {
        Cow::Owned(values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }
}

/// The JSON header, padded with spaces so that the data after it starts on 8 bytes.
fn header(path: &Path, tensors: &[&TensorInfo], metadata: &BTreeMap<String, String>) -> Result<String> {
    let mut entries = Map::new();
    if !metadata.is_empty() {
        entries.insert("__metadata__".to_owned(), json!(metadata));
    }
    let mut start = 0_usize;
    for info in tensors {
        let end = start.checked_add(info.byte_len()?).ok_or_else(|| {
            Error::Shape(format!("the tensors of {} are too large together", path.display()))
        })?;
        let entry = json!({"dtype": info.dtype, "shape": info.shape, "data_offsets": [start, end]});
        if entries.insert(info.name.clone(), entry).is_some() {
            return Err(Error::file(path, format!("two tensors are named `{}`", info.name)));
        }
        start = end;
    }
    let mut header = Value::Object(entries).to_string();
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    Ok(header)
}
