#![allow(clippy::unwrap_used)]

use std::borrow::Cow;
use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// A folder with the files given.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

/// The bytes of a safetensors file with these tensors, all zero but for their index.
fn safetensors_bytes(tensors: &[(&str, Dtype, &[usize])]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let infos: Vec<TensorInfo> = tensors
        .iter()
        .map(|&(name, dtype, shape)| TensorInfo { name: name.to_owned(), dtype, shape: shape.to_vec() })
        .collect();
    let zeros = |info: &TensorInfo| Ok(Cow::Owned(vec![0; info.byte_len()?]));
    write_safetensors(&path, &infos, &BTreeMap::new(), zeros).unwrap();
    fs::read(path).unwrap()
}

/// A safetensors file with this header and this many bytes of data.
fn with_header(header: &str, data_len: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data_len, 0);
    bytes
}

#[track_caller]
fn check_refused(file: &str, bytes: &[u8], expected: &str) {
    let folder = folder(&[(file, bytes)]);
    let error = Weights::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
    assert!(error.contains(file), "the error names the file: {error}");
}

// --- safetensors ------------------------------------------------------------------------------

#[test]
fn what_is_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let values = [1.5_f32, -0.0, f32::MIN_POSITIVE, f32::MAX, 1e-45, -3.25];
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let infos = [TensorInfo::f32("b", [2, 3]), TensorInfo::f32("a", [6])];
    write_safetensors(&path, &infos, &metadata, |_| Ok(f32_to_bytes(&values))).unwrap();

    let weights = Weights::open(folder.path()).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((weights.shape("b"), weights.dtype("b")), (Some([2, 3].as_slice()), Some(Dtype::F32)));
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&weights.get_f32("b", &[2, 3]).unwrap()), bits(&values));
    let bytes = fs::read(&path).unwrap();
    assert_eq!(safetensors::read_header(&bytes).unwrap().metadata(), &metadata);
    assert_eq!(weights.sha256(), hex(&Sha256::digest(&bytes)));
    assert_eq!(weights.path(), path);
}

#[test]
fn every_floating_point_dtype_is_cast_to_f32() {
    let folder = tempfile::tempdir().unwrap();
    let values = [1.0_f32, -0.5, 65504.0, 6.0e-8];
    let cases: [(Dtype, Vec<u8>); 4] = [
        (Dtype::F16, values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect()),
        (Dtype::BF16, values.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect()),
        (Dtype::F32, values.iter().flat_map(|&v| v.to_le_bytes()).collect()),
        (Dtype::F64, values.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect()),
    ];
    for (dtype, bytes) in cases {
        let info = TensorInfo { name: "x".to_owned(), dtype, shape: vec![4] };
        let path = folder.path().join("model.safetensors");
        write_safetensors(&path, &[info], &BTreeMap::new(), |_| Ok(Cow::Borrowed(&bytes))).unwrap();
        let found = Weights::open(folder.path()).unwrap().get_f32("x", &[4]).unwrap();
        let expected = match dtype {
            Dtype::F16 => values.map(|v| half::f16::from_f32(v).to_f32()),
            Dtype::BF16 => values.map(|v| half::bf16::from_f32(v).to_f32()),
            _ => values,
        };
        assert_eq!(found, expected, "{dtype:?}");
    }
}

#[test]
fn a_wrong_shape_names_file_tensor_expected_and_found() {
    let folder = folder(&[(
        "model.safetensors",
        &safetensors_bytes(&[("wte.weight", Dtype::F32, &[4, 2]), ("mask", Dtype::U8, &[1])]),
    )]);
    let weights = Weights::open(folder.path()).unwrap();
    let path = folder.path().join("model.safetensors");
    #[track_caller]
    fn check(result: Result<Vec<f32>>, expected: String) {
        assert_eq!(result.unwrap_err().to_string(), expected);
    }
    let path = path.display();
    check(
        weights.get_f32("wte.weight", &[2, 4]),
        format!("{path}: tensor `wte.weight`: expected [2, 4], found [4, 2]"),
    );
    check(
        weights.get_f32("wpe.weight", &[1]),
        format!("{path}: tensor `wpe.weight`: expected [1], found nothing"),
    );
    check(
        weights.get_f32("mask", &[1]),
        format!("{path}: tensor `mask`: expected F16, BF16, F32 or F64, found U8"),
    );
}

#[test]
fn a_truncated_safetensors_file_is_refused_at_every_length() {
    let bytes = safetensors_bytes(&[("a", Dtype::F32, &[3]), ("b", Dtype::F16, &[2, 2])]);
    for len in 1..bytes.len() {
        check_refused("model.safetensors", &bytes[..len], "not a well-formed safetensors file");
    }
    check_refused("model.safetensors", b"", "the file is empty");
}

#[test]
fn hostile_safetensors_headers_are_refused() {
    let refused =
        |bytes: &[u8]| check_refused("model.safetensors", bytes, "not a well-formed safetensors file");
    // A header that claims to be longer than the file, than the limit, than memory.
    for len in [9_u64, 100_000_001, u64::from(u32::MAX), u64::MAX] {
        refused(&[len.to_le_bytes().as_slice(), b"{}"].concat());
    }
    refused(&with_header("", 0));
    refused(&with_header("[]", 0));
    refused(&with_header(&"[".repeat(100_000), 0));
    refused(&with_header(r#"{"a": 1}"#, 0));
    refused(&with_header("{\"\u{0}", 4));
    let entry = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    for (dtype, shape, offsets, data_len) in [
        ("F32", "[1]", "[0,8]", 8),                     // the size is not the shape's
        ("F32", "[2]", "[0,8]", 4),                     // beyond the file
        ("F32", "[2]", "[8,0]", 8),                     // backwards
        ("F32", "[2]", "[4,12]", 12),                   // a hole
        ("F32", "[1]", "[0,4]", 8),                     // more data than tensors
        ("F99", "[1]", "[0,4]", 4),                     // no such dtype
        ("F32", "[-1]", "[0,4]", 4),                    // a negative size
        ("F32", "[4611686018427387905]", "[0,4]", 4),   // 2^62 + 1 elements of 4 bytes
        ("F32", "[4294967296,4294967296]", "[0,0]", 0), // 2^64 elements
        ("F32", "[1]", "[18446744073709551612,18446744073709551615]", 4), // the end of memory
    ] {
        refused(&with_header(&entry(dtype, shape, offsets), data_len));
    }
}

#[test]
fn embedded_bytes_open_like_a_file() {
    let bytes: &'static [u8] = safetensors_bytes(&[("a", Dtype::F32, &[3])]).leak();
    let weights = Weights::from_static("mini", bytes).unwrap();
    assert_eq!(weights.get_f32("a", &[3]).unwrap(), [0.0; 3]);
    assert_eq!(weights.path(), PathBuf::from("mini"));
    let error = Weights::from_static("mini", &bytes[..20]).unwrap_err().to_string();
    assert!(error.starts_with("mini: not a well-formed safetensors file"), "{error}");
}

#[test]
fn a_folder_without_weights_says_what_was_looked_for() {
    let empty = tempfile::tempdir().unwrap();
    let error = Weights::open(empty.path()).unwrap_err().to_string();
    for name in WEIGHT_FILES {
        assert!(error.contains(name), "{error}");
    }
    let error = Weights::open(empty.path().join("absent")).unwrap_err().to_string();
    assert!(error.contains("absent: expected a model folder"), "{error}");
}

// --- writing ----------------------------------------------------------------------------------

#[test]
fn a_write_that_fails_leaves_the_old_checkpoint() {
    let folder = folder(&[("model.safetensors", b"old")]);
    let path = folder.path().join("model.safetensors");
    let infos = [TensorInfo::f32("a", [2]), TensorInfo::f32("b", [2])];
    let error = write_safetensors(&path, &infos, &BTreeMap::new(), |info| {
        // Fits the first tensor, not the second.
        Ok(Cow::Owned(vec![0; if info.name == "a" { 8 } else { 4 }]))
    })
    .unwrap_err();
    assert!(matches!(&error, Error::Tensor { tensor, .. } if tensor == "b"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

    let twice = [TensorInfo::f32("a", [1]), TensorInfo::f32("a", [1])];
    assert!(write_safetensors(&path, &twice, &BTreeMap::new(), |_| Ok(Cow::Owned(vec![0; 4]))).is_err());
    let huge = [TensorInfo::f32("a", [usize::MAX, 2])];
    assert!(write_safetensors(&path, &huge, &BTreeMap::new(), |_| Ok(Cow::Owned(vec![]))).is_err());
}

#[test]
fn tensor_data_starts_aligned_for_every_length_of_header() {
    for name_len in 1..20 {
        let name = "x".repeat(name_len);
        let bytes = safetensors_bytes(&[(&name, Dtype::F64, &[1]), ("u8", Dtype::U8, &[3])]);
        let tensors = safetensors::read_header(&bytes).unwrap().into_tensors();
        assert_eq!(tensors[&name].range.start % 8, 0);
    }
}

proptest! {
    #[test]
    fn any_tensors_round_trip(
        tensors in prop::collection::btree_map("[a-z._0-9]{1,12}", prop::collection::vec(0_usize..5, 0..4), 0..6),
        seed in any::<u32>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let values = |shape: &[usize]| -> Vec<f32> {
            (0..shape.iter().product::<usize>()).map(|i| (i as f32).mul_add(0.37, seed as f32)).collect()
        };
        let infos: Vec<_> = tensors.iter().map(|(name, shape)| TensorInfo::f32(name, shape.clone())).collect();
        write_safetensors(&path, &infos, &BTreeMap::new(), |info| {
            Ok(Cow::Owned(f32_to_bytes(&values(&info.shape)).into_owned()))
        }).unwrap();
        let weights = Weights::open(folder.path()).unwrap();
        prop_assert_eq!(weights.names().count(), tensors.len());
        for (name, shape) in &tensors {
            prop_assert_eq!(weights.get_f32(name, shape).unwrap(), values(shape));
        }
    }

    #[test]
    fn no_bytes_make_the_readers_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = safetensors::read_header(&bytes);
        let _ = pickle::scan(&bytes).map(|pickle| pickle.tensors().map(|tensors| tensors.len()));
        let _ = torch::tensors(&bytes);
        let _ = torch::tensors(&[b"PK\x03\x04", bytes.as_slice()].concat());
    }

    #[test]
    fn no_change_of_a_byte_makes_the_readers_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let whole = [
            safetensors_bytes(&[("a", Dtype::F32, &[3]), ("b", Dtype::F16, &[2, 2])]),
            zip_checkpoint(&STATE_DICT, &[("0", &[0; 24])]),
            legacy_checkpoint(&STATE_DICT, "0", 6, &[0; 24]),
        ];
        for mut bytes in whole {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(cut.index(bytes.len()) + 1);
            let Ok(weights) = Weights::from_bytes("x", bytes) else { continue };
            for name in weights.names() {
                let _ = weights.get_f32_any_shape(name);
            }
        }
    }
}

// --- shards -----------------------------------------------------------------------------------

#[test]
fn shards_open_as_one() {
    let one = safetensors_bytes(&[("a", Dtype::F32, &[3]), ("unlisted", Dtype::F32, &[1])]);
    let two = safetensors_bytes(&[("b", Dtype::F16, &[2])]);
    let index = br#"{"metadata": {"total_size": 16}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    let folder = folder(&[
        ("model.safetensors.index.json", index),
        ("model-1.safetensors", &one),
        ("model-2.safetensors", &two),
    ]);
    let weights = Weights::open(folder.path()).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(weights.get_f32("b", &[2]).unwrap(), [0.0; 2]);
    assert_eq!(weights.sha256(), hex(&Sha256::digest([one, two].concat())));
    let error = weights.get_f32("b", &[3]).unwrap_err().to_string();
    assert!(error.contains("model-2.safetensors: tensor `b`: expected [3], found [2]"), "{error}");
}

#[test]
fn a_bad_shard_index_is_refused() {
    let check = |index: &str, expected: &str| {
        check_refused("model.safetensors.index.json", index.as_bytes(), expected)
    };
    check("{", "not a shard index");
    check(r#"{"metadata": {}}"#, "not a shard index: missing field `weight_map`");
    for name in ["../x.safetensors", "/etc/passwd", "a/b.safetensors", "..", ".", "", "a\\\\b", "C:\\\\x"] {
        check(&format!(r#"{{"weight_map": {{"a": "{name}"}}}}"#), "is not a plain file name");
    }
}

#[test]
fn a_missing_shard_or_tensor_is_named() {
    let index = br#"{"weight_map": {"a": "model-1.safetensors"}}"#;
    let absent = folder(&[("model.safetensors.index.json", index)]);
    let error = Weights::open(absent.path()).unwrap_err().to_string();
    assert!(error.contains("model-1.safetensors"), "{error}");

    let other = safetensors_bytes(&[("b", Dtype::F32, &[1])]);
    let empty = folder(&[("model.safetensors.index.json", index), ("model-1.safetensors", &other)]);
    let error = Weights::open(empty.path()).unwrap_err().to_string();
    assert!(error.contains("model-1.safetensors: tensor `a`: expected to be here"), "{error}");
    assert!(error.ends_with("found nothing"), "{error}");
}

// --- pickles ----------------------------------------------------------------------------------

/// An opcode sequence, piece by piece.
macro_rules! ops {
    ($($piece:expr),* $(,)?) => { [$(AsRef::<[u8]>::as_ref(&$piece)),*].concat() };
}

fn text(text: &str) -> Vec<u8> {
    ops![b"X", (text.len() as u32).to_le_bytes(), text]
}

fn int(int: i32) -> Vec<u8> {
    ops![b"J", int.to_le_bytes()]
}

fn ints(ints: &[i32]) -> Vec<u8> {
    ops![b"(", ints.iter().flat_map(|&i| int(i)).collect::<Vec<u8>>(), b"t"]
}

fn storage(class: &str, key: &str, numel: i32) -> Vec<u8> {
    ops![b"(", text("storage"), b"ctorch\n", class, b"\n", text(key), text("cpu"), int(numel), b"tQ"]
}

fn tensor(storage: &[u8], offset: i32, shape: &[i32], strides: &[i32]) -> Vec<u8> {
    let hooks = b"ccollections\nOrderedDict\n)R";
    ops![
        b"ctorch._utils\n_rebuild_tensor_v2\n(",
        storage,
        int(offset),
        ints(shape),
        ints(strides),
        b"\x89",
        hooks,
        b"tR"
    ]
}

fn state_dict(items: &[(&str, &[u8])]) -> Vec<u8> {
    let items: Vec<u8> = items.iter().flat_map(|(name, value)| ops![text(name), value]).collect();
    ops![b"\x80\x02}(", items, b"u."]
}

/// A stored ZIP archive.
fn zip_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let start = bytes.len() as u32;
        let sizes = ops![(data.len() as u32).to_le_bytes(), (data.len() as u32).to_le_bytes()];
        let lens = ops![(name.len() as u16).to_le_bytes(), [0; 2]];
        bytes.extend(ops![b"PK\x03\x04", [0; 14], sizes, lens, name, data]);
        directory.extend(ops![b"PK\x01\x02", [0; 16], sizes, lens, [0; 10], start.to_le_bytes(), name]);
    }
    let count = (entries.len() as u16).to_le_bytes();
    let (start, len) = (bytes.len() as u32, directory.len() as u32);
    ops![
        bytes,
        directory,
        b"PK\x05\x06",
        [0; 4],
        count,
        count,
        len.to_le_bytes(),
        start.to_le_bytes(),
        [0; 2]
    ]
}

fn zip_checkpoint(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let names: Vec<String> = storages.iter().map(|(key, _)| format!("archive/data/{key}")).collect();
    let mut entries = vec![("archive/data.pkl", pickle), ("archive/byteorder", b"little".as_slice())];
    entries.extend(names.iter().map(String::as_str).zip(storages.iter().map(|&(_, bytes)| bytes)));
    zip_of(&entries)
}

fn legacy_checkpoint(pickle: &[u8], key: &str, numel: u64, storage: &[u8]) -> Vec<u8> {
    ops![
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.",
        b"\x80\x02M\xe9\x03.",
        ops![b"\x80\x02}", text("little_endian"), b"\x88s."],
        pickle,
        ops![b"\x80\x02]", text(key), b"a."],
        numel.to_le_bytes(),
        storage,
    ]
}

/// `{"w": six f32 as [2, 3]}`.
static STATE_DICT: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
    state_dict(&[("w", &tensor(&storage("FloatStorage", "0", 6), 0, &[2, 3], &[3, 1]))])
});

fn six_floats() -> Vec<u8> {
    (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect()
}

#[test]
fn both_containers_of_torch_give_the_tensors() {
    for bytes in [
        zip_checkpoint(&STATE_DICT, &[("0", &six_floats())]),
        legacy_checkpoint(&STATE_DICT, "0", 6, &six_floats()),
    ] {
        let folder = folder(&[("pytorch_model.bin", &bytes)]);
        let weights = Weights::open(folder.path()).unwrap();
        assert_eq!(weights.get_f32("w", &[2, 3]).unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    }
}

#[test]
fn views_of_a_storage_are_taken_apart() {
    let storage = storage("FloatStorage", "0", 6);
    let pickle = state_dict(&[
        ("transposed", &tensor(&storage, 0, &[3, 2], &[1, 3])),
        ("slice", &tensor(&storage, 2, &[2], &[1])),
        ("column", &tensor(&storage, 1, &[2], &[3])),
        ("scalar", &tensor(&storage, 5, &[], &[])),
        ("empty", &tensor(&storage, 0, &[0, 4], &[4, 1])),
        ("unit", &tensor(&storage, 3, &[1, 2], &[77, 1])),
    ]);
    let folder = folder(&[("pytorch_model.bin", &zip_checkpoint(&pickle, &[("0", &six_floats())]))]);
    let weights = Weights::open(folder.path()).unwrap();
    let get = |name: &str, shape: &[usize]| weights.get_f32(name, shape).unwrap();
    assert_eq!(get("transposed", &[3, 2]), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(get("slice", &[2]), [2.0, 3.0]);
    assert_eq!(get("column", &[2]), [1.0, 4.0]);
    assert_eq!(get("scalar", &[]), [5.0]);
    assert_eq!(get("empty", &[0, 4]), [0.0; 0]);
    assert_eq!(get("unit", &[1, 2]), [3.0, 4.0]);
}

#[test]
fn a_tensor_beyond_its_storage_is_refused() {
    let storage = storage("FloatStorage", "0", 6);
    for (offset, shape, strides) in [
        (0, [7].as_slice(), [1].as_slice()),
        (1, &[6], &[1]),
        (6, &[1], &[1]),
        (0, &[2, 2], &[5, 1]),
        (0, &[1_000_000_000], &[0]),
        (0, &[i32::MAX, i32::MAX, i32::MAX], &[0, 0, 0]),
        (i32::MAX, &[1], &[1]),
        (0, &[2], &[i32::MAX]),
    ] {
        let pickle = state_dict(&[("w", &tensor(&storage, offset, shape, strides))]);
        let bytes = zip_checkpoint(&pickle, &[("0", &six_floats())]);
        check_refused(
            "pytorch_model.bin",
            &bytes,
            "tensor `w`: expected at most the 6 elements of its storage",
        );
    }
    let negative = state_dict(&[("w", &tensor(&storage, -1, &[1], &[1]))]);
    check_refused("pytorch_model.bin", &zip_checkpoint(&negative, &[("0", &six_floats())]), "a size of -1");
    let bytes = zip_checkpoint(&STATE_DICT, &[("0", &six_floats()[..20])]);
    check_refused("pytorch_model.bin", &bytes, "expected a storage of 6 x F32, found 20 bytes");
    let bytes = zip_checkpoint(&STATE_DICT, &[("1", &six_floats())]);
    check_refused("pytorch_model.bin", &bytes, "tensor `w`: expected storage `0`, found nothing");
}

#[test]
fn a_pickle_that_asks_for_anything_else_is_refused_by_name_and_offset() {
    #[track_caller]
    fn check(value: &[u8], expected: &str) {
        let refusal = pickle::scan(&ops![b"\x80\x02", value]).unwrap_err();
        assert!(refusal.to_string().contains(expected), "{refusal}");
        for bytes in [
            zip_checkpoint(&state_dict(&[("x", value)]), &[]),
            legacy_checkpoint(&state_dict(&[("x", value)]), "0", 0, &[]),
        ] {
            let reason = expected.split_once(": ").map_or(expected, |(_, reason)| reason);
            check_refused("pytorch_model.bin", &bytes, reason);
        }
    }
    check(b"cposix\nsystem\n(X\x02\0\0\0idtR.", "byte 2: it asks for `posix.system`");
    check(b"cbuiltins\neval\n.", "it asks for `builtins.eval`");
    check(b"c__builtin__\nexec\n.", "it asks for `__builtin__.exec`");
    check(b"ctorch\nload\n.", "it asks for `torch.load`");
    check(b"ctorch.nn.modules.linear\nLinear\n.", "it asks for `torch.nn.modules.linear.Linear`");
    check(b"ccollections\nOrderedDict.__reduce__\n.", "it asks for `collections.OrderedDict.__reduce__`");
    check(&ops![text("os"), text("system"), b"\x93."], "it asks for `os.system`");
    // INST, OBJ, NEWOBJ, NEWOBJ_EX, EXT1, EXT2, EXT4, PERSID
    check(b"(iposix\nsystem\n.", "opcode 0x69");
    check(b"(o.", "opcode 0x6f");
    check(b"ccollections\nOrderedDict\n)\x81.", "opcode 0x81");
    check(b"\x92.", "opcode 0x92");
    check(b"\x82\x01.", "opcode 0x82");
    check(b"Pstorage\n.", "opcode 0x50");
    // What is allowed, in ways that are not.
    check(b"ccollections\nOrderedDict\n]R.", "a call with a list for arguments");
    check(b"ccollections\nOrderedDict\nK\x01\x85R.", "with 1 arguments");
    check(b"K\x01}b.", "BUILD on an integer");
    check(b"ctorch\nFloatStorage\n)R.", "a call of StorageOf(F32)");
    check(b"K\x01)R.", "a call of an integer");
    check(b"K\x01Q.", "a persistent id that is not a storage's");
    check(b"ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x01))tR.", "a tensor made of an integer");
}

#[test]
fn malformed_pickles_are_refused() {
    let refused = |bytes: &[u8], expected: &str| {
        let refusal = pickle::scan(bytes).unwrap_err().to_string();
        assert!(refusal.contains(expected), "{refusal}");
    };
    refused(b"", "truncated");
    refused(b"\x80", "truncated");
    refused(b"\x80\x09.", "protocol 9");
    refused(b".", "the stack is empty");
    refused(b"}b.", "the stack is empty");
    refused(b"}(K\x01.", "more than the result");
    refused(b"}(0.", "the stack is empty"); // the MARK is still open: what is below it is not to be taken
    refused(b"}K\x01u.", "no MARK is open");
    refused(b"}(K\x01u.", "a key that has no value");
    refused(b"h\x05.", "nothing is memoized at 5");
    refused(b"X\xff\xff\xff\xffabc", "truncated");
    refused(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc", "truncated");
    refused(b"\x8b\xff\xff\xff\xff", "truncated");
    refused(b"X\x01\0\0\0\xff.", "not UTF-8");
    refused(b"cos\nsystem", "truncated");
    for len in 0..STATE_DICT.len() {
        assert!(pickle::scan(&STATE_DICT[..len]).is_err());
    }
}

#[test]
fn a_pickle_out_of_proportion_is_refused_not_allocated() {
    // A value, a mark, a stack entry for each byte, deeper and deeper.
    for opcode in [b'}', b'(', b']', b'N'] {
        let refusal = pickle::scan(&vec![opcode; 1 << 23]).unwrap_err();
        assert!(refusal.reason.contains("more than 4194304 values"), "{refusal}");
    }
    let nested = ops![b"N", vec![0x85; 1 << 23]];
    assert!(pickle::scan(&nested).unwrap_err().reason.contains("values"));
    // A list that holds itself, and one that is built on itself twice over, again and again.
    assert!(pickle::scan(b"]q\0h\0a.").is_ok());
    let doubled = ops![b"]", b"q\0h\0\x86".repeat(1000), b"."];
    assert!(pickle::scan(&doubled).unwrap().tensors().is_err());
}

#[test]
fn what_is_no_dictionary_of_tensors_is_refused() {
    let refused = |pickle: &[u8], expected: &str| {
        check_refused("pytorch_model.bin", &zip_checkpoint(pickle, &[("0", &six_floats())]), expected)
    };
    refused(b"\x80\x02].", "expected a pickled dictionary of tensors, found a list");
    refused(&state_dict(&[("epoch", &int(3))]), "tensor `epoch`: expected a tensor, found an integer");
    refused(b"\x80\x02}K\x01K\x02s.", "a key of the state dictionary is an integer");
    let w = tensor(&storage("FloatStorage", "0", 6), 0, &[6], &[1]);
    refused(&state_dict(&[("w", &w), ("w", &w)]), "tensor `w`: expected one tensor of that name, found two");
    check_refused("pytorch_model.bin", b"\x80\x04\x95\0\0\0\0\0\0\0\0N.", "not a checkpoint of torch.save");
}

#[test]
fn broken_archives_are_refused() {
    let whole = zip_checkpoint(&STATE_DICT, &[("0", &six_floats())]);
    for len in 4..whole.len() {
        check_refused("pytorch_model.bin", &whole[..len], "not a well-formed ZIP archive");
    }
    let twice = zip_of(&[("a/data.pkl", &STATE_DICT), ("a/data.pkl", &STATE_DICT)]);
    check_refused("pytorch_model.bin", &twice, "entry `a/data.pkl` is listed twice");
    let two = zip_of(&[("a/data.pkl", &STATE_DICT), ("b/data.pkl", &STATE_DICT)]);
    check_refused("pytorch_model.bin", &two, "expected one `data.pkl`");
    let none = zip_of(&[("a/version", b"3")]);
    check_refused("pytorch_model.bin", &none, "expected one `data.pkl`");
    let big = zip_of(&[("a/data.pkl", &STATE_DICT), ("a/byteorder", b"big")]);
    check_refused("pytorch_model.bin", &big, "not little-endian");
    // The method field of the first central header: deflate.
    let mut deflated = whole.clone();
    let central = whole.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    deflated[central + 10] = 8;
    check_refused("pytorch_model.bin", &deflated, "entry `archive/data.pkl` is compressed");
}

#[test]
fn a_truncated_legacy_checkpoint_is_refused_at_every_length() {
    let whole = legacy_checkpoint(&STATE_DICT, "0", 6, &six_floats());
    for len in 2..whole.len() {
        let folder = folder(&[("pytorch_model.bin", &whole[..len])]);
        assert!(Weights::open(folder.path()).is_err());
    }
    let bytes = legacy_checkpoint(&STATE_DICT, "0", 7, &six_floats());
    check_refused("pytorch_model.bin", &bytes, "storage `0`: expected 6 elements, found 7");
    let bytes = legacy_checkpoint(&STATE_DICT, "1", 6, &six_floats());
    check_refused("pytorch_model.bin", &bytes, "storage `1` belongs to no tensor");
}
