//! The two containers that `torch.save` has written: since 1.6 a ZIP archive, before that a stream
//! of pickles followed by the storages. What is in their pickles is read by [`pickle`].
//!
//! Source: `torch/serialization.py`, `_save` and `_legacy_save`.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::pickle::{self, PickledTensor, Storage};
use super::{Dtype, Problem, Tensor, zip};

/// What the first pickle of the legacy format holds: `0x1950a86a20f9469cfc6c`, little-endian.
const LEGACY_MAGIC: &[u8] = b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
const LEGACY_PROTOCOL: i64 = 1001;
const ZIP_MAGIC: &[u8] = b"PK\x03\x04";

/// Whether a file starts like one of `torch.save`.
pub(super) fn is_torch(bytes: &[u8]) -> bool {
    // 0x80 and a protocol number open any pickle, also one that is not a checkpoint at all.
    // A safetensors file that starts so would have a header of over 128 bytes and an opening brace.
    let pickle = matches!(bytes, [0x80, 0..=5, ..]) && bytes.get(8) != Some(&b'{');
    bytes.starts_with(ZIP_MAGIC) || pickle
}

/// The tensors of a checkpoint, by name.
pub(super) fn tensors(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, Problem> {
    if bytes.starts_with(ZIP_MAGIC) { zipped(bytes) } else { legacy(bytes) }
}

/// `NAME/data.pkl`, `NAME/data/KEY` for each storage, `NAME/byteorder`.
fn zipped(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, Problem> {
    let entries = zip::entries(bytes)?;
    let mut pickles = entries.keys().filter_map(|name| name.strip_suffix("data.pkl"));
    let root = match (pickles.next(), pickles.next()) {
        (Some(root), None) if root.is_empty() || root.ends_with('/') => root,
        _ => {
            return Err(Problem::File("not a checkpoint of torch.save: expected one `data.pkl`".to_owned()));
        }
    };
    if let Some(order) = entries.get(&format!("{root}byteorder"))
        && &bytes[order.clone()] != b"little"
    {
        return Err(Problem::File("the byte order is not little-endian".to_owned()));
    }
    let pickle = pickle::scan(&bytes[entries[&format!("{root}data.pkl")].clone()])?;
    collect(&pickle.tensors()?, |storage| entries.get(&format!("{root}data/{}", storage.key)).cloned())
}

/// Five pickles (magic number, protocol, system, state dictionary, keys of the storages), then each
/// storage: its number of elements as an i64, and its bytes.
fn legacy(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, Problem> {
    let mut at = 0;
    let mut next = || {
        let pickle = pickle::scan(&bytes[at..])
            .map_err(|refusal| pickle::Refusal { offset: at + refusal.offset, ..refusal })?;
        at += pickle.len();
        Ok::<_, Problem>(pickle)
    };

    if next()?.long() != Some(LEGACY_MAGIC) {
        return Err(Problem::File("a pickle, but not a checkpoint of torch.save".to_owned()));
    }
    if next()?.int() != Some(LEGACY_PROTOCOL) {
        return Err(Problem::File(format!("the format's version is not {LEGACY_PROTOCOL}")));
    }
    if next()?.bool_at("little_endian") != Some(true) {
        return Err(Problem::File("the byte order is not little-endian".to_owned()));
    }
    let state_dict = next()?;
    let tensors = state_dict.tensors()?;
    let keys = next()?;
    let keys = keys.strings().ok_or_else(|| Problem::File("the list of storages is missing".to_owned()))?;

    let storages: HashMap<&str, Storage<'_>> =
        tensors.iter().map(|(_, tensor)| (tensor.storage.key, tensor.storage)).collect();
    let mut ranges = HashMap::new();
    for key in keys {
        // Storages lie one after the other, so one that no tensor describes hides all later ones.
        let storage = storages
            .get(key)
            .ok_or_else(|| Problem::File(format!("storage `{key}` belongs to no tensor")))?;
        let truncated = || Problem::File(format!("truncated in storage `{key}`"));
        let numel = bytes.get(at..).and_then(|rest| rest.first_chunk()).ok_or_else(truncated)?;
        let numel = u64::from_le_bytes(*numel);
        if numel != storage.numel as u64 {
            let expected = storage.numel;
            return Err(Problem::File(format!(
                "storage `{key}`: expected {expected} elements, found {numel}"
            )));
        }
        let start = at + size_of::<u64>();
        let end =
            storage.numel.checked_mul(element_size(storage.dtype)).and_then(|len| start.checked_add(len));
        let end = end.filter(|&end| end <= bytes.len()).ok_or_else(truncated)?;
        ranges.insert(key, start..end);
        at = end;
    }
    collect(&tensors, |storage| ranges.get(storage.key).cloned())
}

/// Places each tensor in the file, given where its storage lies.
fn collect(
    pickled: &[(&str, &PickledTensor<'_>)],
    find: impl Fn(&Storage<'_>) -> Option<Range<usize>>,
) -> Result<BTreeMap<String, Tensor>, Problem> {
    if pickled.is_empty() {
        return Err(Problem::File("the checkpoint holds no tensors".to_owned()));
    }
    let mut tensors = BTreeMap::new();
    for &(name, tensor) in pickled {
        let problem =
            |expected: String, found: String| Problem::Tensor { tensor: name.to_owned(), expected, found };
        let storage = &tensor.storage;
        let Some(bytes) = find(storage) else {
            return Err(problem(format!("storage `{}`", storage.key), "nothing".to_owned()));
        };
        if storage.numel.checked_mul(element_size(storage.dtype)) != Some(bytes.len()) {
            return Err(problem(
                format!("a storage of {} x {:?}", storage.numel, storage.dtype),
                format!("{} bytes", bytes.len()),
            ));
        }
        let placed = place(tensor, bytes.start).ok_or_else(|| {
            problem(
                format!("at most the {} elements of its storage", storage.numel),
                format!("shape {:?}, strides {:?}, offset {}", tensor.shape, tensor.strides, tensor.offset),
            )
        })?;
        if tensors.insert(name.to_owned(), placed).is_some() {
            return Err(problem("one tensor of that name".to_owned(), "two".to_owned()));
        }
    }
    Ok(tensors)
}

/// The tensor in the file, given where its storage starts, if every element lies in the storage and
/// there are no more of them than the storage holds: one that repeats elements (stride 0) could be
/// of any size.
fn place(tensor: &PickledTensor<'_>, storage_start: usize) -> Option<Tensor> {
    let Storage { dtype, numel, .. } = tensor.storage;
    let size = element_size(dtype);
    let count = tensor.shape.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim))?;
    let contiguous = is_contiguous(&tensor.shape, &tensor.strides);
    let span = match (count, contiguous) {
        (0, _) => 0,
        (_, true) => count,
        (_, false) => {
            let mut last = 0_usize;
            for (dim, stride) in tensor.shape.iter().zip(&tensor.strides) {
                last = last.checked_add((dim - 1).checked_mul(*stride)?)?;
            }
            last.checked_add(1)?
        }
    };
    if count > numel || tensor.offset.checked_add(span)? > numel {
        return None;
    }
    let start = storage_start + tensor.offset * size;
    Some(Tensor {
        file_idx: 0,
        dtype,
        shape: tensor.shape.clone(),
        range: start..start + span * size,
        strides: (!contiguous && count > 0).then(|| tensor.strides.clone()),
    })
}

/// Whether the elements lie one after the other, row-major. The stride of a dimension of 1 is never
/// used, so it may be anything. `shape` is known not to overflow.
fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(&dim, &stride)| {
        let fits = dim == 1 || stride == expected;
        expected *= dim;
        fits
    })
}

fn element_size(dtype: Dtype) -> usize {
    dtype.bitsize().div_ceil(8)
}
