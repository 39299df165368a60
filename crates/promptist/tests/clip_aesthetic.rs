//! Aesthetic heads against PyTorch, and the published ones against numbers computed from their files.
//!
//! Golden files: `tools/reference/clip_heads.py`.

#![allow(clippy::print_stdout, clippy::print_stderr)] // --nocapture shows the errors seen

mod common;

use std::path::{Path, PathBuf};

use common::{Tensors, golden};
use promptist::clip::aesthetic::AestheticHead;

/// Absolute, on scores up to 29 computed in f64 by PyTorch. Seen: 9.5e-7.
const TOLERANCE: f32 = 2e-5;
/// What the published numbers are held to.
const PUBLISHED_TOLERANCE: f32 = 1e-3;
/// The predictor of the paper.
const PAPERS_HEAD: &str = "heads/sac+logos+ava1-l14-linearMSE.pth";

fn head(name: &str) -> promptist::Result<AestheticHead> {
    AestheticHead::open(golden("clip/heads").join(name))
}

#[test]
fn folded_heads_score_as_the_networks_they_are_of() {
    let reference = Tensors::read(&golden("clip/heads/scores.safetensors"));
    let (shape, features) = reference.floats("features");
    for (file, name) in [("chain.pth", "chain"), ("chain.safetensors", "chain"), ("linear.pth", "linear")] {
        let head = head(file).expect("an affine head");
        assert_eq!(head.width(), shape[1]);
        let (_, expected) = reference.floats(name);
        let found: Vec<f32> =
            features.chunks(shape[1]).map(|feature| head.score(feature).expect("fits")).collect();
        let error = common::max_difference(&found, &expected);
        println!("{file}: {error:.1e}");
        assert!(error <= TOLERANCE, "{file}: {error}");
    }
}

#[test]
fn a_head_with_activations_is_refused() {
    let error = head("activations.pth").expect_err("not affine").to_string();
    assert!(error.contains("activations.pth") && error.contains("an activation is among them"), "{error}");
}

#[test]
fn a_cut_or_scrambled_file_is_an_error_and_no_panic() {
    let whole = std::fs::read(golden("clip/heads/chain.pth")).expect("a golden file");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("head.pth");
    for length in (0..whole.len()).step_by(97) {
        std::fs::write(&path, &whole[..length]).expect("writable");
        let error = AestheticHead::open(&path).expect_err("cut").to_string();
        assert!(error.contains("head.pth"), "{error}");
        let mut scrambled = whole.clone();
        scrambled[length] ^= 0x55;
        std::fs::write(&path, &scrambled).expect("writable");
        // Most give an error; a changed weight gives another head. None panics.
        let _ = AestheticHead::open(&path);
    }
}

/// Vectors of the reference notes: equal entries, sines, nothing, the first unit vector.
#[test]
fn the_papers_head_scores_the_known_vectors() {
    let Some(data) = shared_data(PAPERS_HEAD) else { return };
    let head = AestheticHead::open(data.join(PAPERS_HEAD)).expect("the paper's head");
    let sines: Vec<f32> = (1..=768).map(|i| (i as f32).sin()).collect();
    let norm = sines.iter().map(|x| x * x).sum::<f32>().sqrt();
    let mut first = vec![0.0; 768];
    first[0] = 1.0;
    let cases = [
        (vec![1.0 / 768_f32.sqrt(); 768], 4.883285),
        (sines.iter().map(|x| x / norm).collect(), 5.48388),
        (vec![0.0; 768], 5.236646),
        (first, 4.545052),
    ];
    for (feature, expected) in cases {
        let found = head.score(&feature).expect("768 numbers");
        println!("{found} for {expected}");
        assert!((found - expected).abs() < PUBLISHED_TOLERANCE, "{found} for {expected}");
    }
    assert!(head.sha256().starts_with("21dd590f3ccd"));
    assert!(head.check_width(512).is_err());
}

#[test]
fn the_papers_head_ranks_laions_rating_vectors() {
    let Some(data) = shared_data(PAPERS_HEAD) else { return };
    let head = AestheticHead::open(data.join(PAPERS_HEAD)).expect("the paper's head");
    let expected = [1.655, 2.359, 3.070, 3.672, 4.238, 4.701, 5.073, 5.365, 5.577, 5.747];
    for (rating, expected) in expected.into_iter().enumerate() {
        let path = data.join(format!("heads/laion_vit_l_14_rating{rating}.npy"));
        let found = head.score(&read_npy(&path)).expect("768 numbers");
        println!("{rating}: {found}");
        assert!((found - expected).abs() < PUBLISHED_TOLERANCE, "{rating}: {found} for {expected}");
    }
}

#[test]
fn laions_linear_heads_open_with_the_width_of_their_model() {
    let Some(data) = shared_data(PAPERS_HEAD) else { return };
    let mut opened = 0;
    for entry in std::fs::read_dir(data.join("heads")).expect("a folder").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_linear = name.starts_with("laion_sa_0_4") || name.starts_with("sac_public");
        if is_linear && name.ends_with(".pth") {
            let head = AestheticHead::open(entry.path()).expect("a linear head");
            let expected = if name.contains("l_14") { 768 } else { 512 };
            println!("{name}: {}", head.width());
            assert_eq!(head.width(), expected, "{name}");
            opened += 1;
        }
    }
    assert!(opened > 0);
}

/// A one-dimensional array of little-endian f16, f32 or f64.
fn read_npy(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).expect("an array");
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let text = String::from_utf8_lossy(&bytes[10..10 + header]).into_owned();
    let data = &bytes[10 + header..];
    if text.contains("'<f4'") {
        data.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect()
    } else if text.contains("'<f8'") {
        data.as_chunks().0.iter().map(|&value| f64::from_le_bytes(value) as f32).collect()
    } else {
        assert!(text.contains("'<f2'"), "{text}");
        data.as_chunks().0.iter().map(|&value| half::f16::from_le_bytes(value).to_f32()).collect()
    }
}

/// The folder of optional data, if it holds `file`; otherwise says that the test is skipped.
fn shared_data(file: &str) -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("PROMPTIST_DATA").map_or(default, PathBuf::from);
    if folder.join(file).is_file() {
        return Some(folder);
    }
    eprintln!("skipped: no {file} in {}", folder.display());
    None
}
