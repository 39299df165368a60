//! The header of a safetensors file: which tensors, where. The format's own crate parses and
//! checks it (size limit, offsets without gap or overlap, sizes that fit shapes, no overflow);
//! what it leaves open is closed here.

use std::collections::BTreeMap;

use ::safetensors::{Dtype, SafeTensors};

use super::{Problem, Tensor};

/// The checked header of a safetensors file.
#[derive(Debug)]
pub struct Header {
    tensors: BTreeMap<String, Tensor>,
    metadata: BTreeMap<String, String>,
}

impl Header {
    /// Name, dtype and shape of every tensor, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Dtype, &[usize])> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.dtype, tensor.shape.as_slice()))
    }

    /// The free text of `__metadata__`.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    pub(super) fn into_tensors(self) -> BTreeMap<String, Tensor> {
        self.tensors
    }
}

/// Parses and checks the header of a whole safetensors file, given its bytes.
///
/// # Errors
/// A [`Problem`] for any bytes that are not exactly one well-formed file. Never panics, and
/// allocates in proportion to the header (at most 100 MB of it) alone.
pub fn read_header(bytes: &[u8]) -> Result<Header, Problem> {
    let (header_len, metadata) = SafeTensors::read_metadata(bytes)
        .map_err(|error| Problem::File(format!("not a well-formed safetensors file: {error}")))?;
    // Checked above: the header and its length prefix lie within the file.
    let data_start = header_len + size_of::<u64>();

    let mut tensors = BTreeMap::new();
    for (name, info) in metadata.tensors() {
        let (start, end) = info.data_offsets;
        let range = data_start + start..data_start + end;
        if range.end > bytes.len() {
            let found = format!("a file of {} bytes", bytes.len());
            return Err(Problem::Tensor { tensor: name, expected: format!("bytes {range:?}"), found });
        }
        let tensor =
            Tensor { file_idx: 0, dtype: info.dtype, shape: info.shape.clone(), range, strides: None };
        tensors.insert(name, tensor);
    }
    let metadata = metadata.metadata().clone().unwrap_or_default().into_iter().collect();
    Ok(Header { tensors, metadata })
}
