//! Aesthetic heads: how beautiful people would find a picture, from CLIP's feature of it.
//!
//! The heads in use are networks without activations, so at load each is folded to the one affine map that it
//! is. Read are the paper's `.pth`, LAION's single layers, and any chain of linear layers, of `torch.save` or in
//! safetensors; no pickle is run.

use std::path::Path;

use super::dot;
use crate::error::{Error, Result};
use crate::weights::Weights;

/// Widths beyond this are not believed.
const MAX_WIDTH: usize = 1 << 16;

/// An affine map from a feature of length 1 to a score.
#[derive(Debug, Clone, PartialEq)]
pub struct AestheticHead {
    weight: Vec<f32>,
    bias: f64,
    sha256: String,
}

/// A linear layer of the file.
struct Layer {
    /// Its name, without `.weight`.
    stem: String,
    /// Its place in the `Sequential` that it was saved from, if its name ends in one.
    place: Option<usize>,
    d_out: usize,
    d_in: usize,
}

impl AestheticHead {
    /// Reads a head: tensors `weight` and `bias`, or a chain `PREFIX.N.weight`, `PREFIX.N.bias`, in the order of
    /// N, ending in one number.
    ///
    /// A head with activations would be folded to nonsense, and a file of weights does not say whether it has
    /// any. Two signs are heeded: a name with `relu` in it (as `ava+logos-l14-reluMSE.pth`), and two or more
    /// layers without weights between two with: one may be a dropout, as in the paper's head, two are a dropout
    /// and an activation. An activation that stands where a dropout could is not to be told.
    ///
    /// # Errors
    /// [`Error::File`] if the file is no such head; [`Error::Tensor`] naming the layer that does not fit the
    /// one before it; [`Error::NotFinite`] if a weight is not a number.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        if name.contains("relu") {
            return Err(Error::file(path, "by its name this head has activations: it is not an affine map"));
        }
        Self::from_weights(&Weights::open_file(path)?)
    }

    fn from_weights(weights: &Weights) -> Result<Self> {
        let layers = layers(weights)?;
        // From the last layer to the first: `map` is always one row.
        let mut map = vec![1.0_f64];
        let mut bias = 0.0_f64;
        for layer in layers.iter().rev() {
            let bias_name = join(&layer.stem, "bias");
            if weights.contains(&bias_name) {
                let values = weights.get_f32(&bias_name, &[layer.d_out])?;
                bias += map.iter().zip(values).map(|(m, b)| m * f64::from(b)).sum::<f64>();
            }
            let values = weights.get_f32(&join(&layer.stem, "weight"), &[layer.d_out, layer.d_in])?;
            let mut product = vec![0.0; layer.d_in];
            for (m, row) in map.iter().zip(values.chunks_exact(layer.d_in)) {
                for (sum, &w) in product.iter_mut().zip(row) {
                    *sum += m * f64::from(w);
                }
            }
            map = product;
        }
        let weight: Vec<f32> = map.into_iter().map(|w| w as f32).collect();
        if !bias.is_finite() || weight.iter().any(|w| !w.is_finite()) {
            return Err(Error::NotFinite(format!("the weights of {}", weights.path().display())));
        }
        Ok(Self { weight, bias, sha256: weights.sha256() })
    }

    /// The score of a feature of length 1: about 1 to 10 for pictures, without bounds.
    ///
    /// # Errors
    /// [`Error::Shape`] if the feature is not of the head's [`width`](Self::width).
    pub fn score(&self, feature: &[f32]) -> Result<f32> {
        self.check_width(feature.len())?;
        Ok((dot(&self.weight, feature) + self.bias) as f32)
    }

    /// Numbers in the features that it scores: 768 for ViT-L/14.
    pub fn width(&self) -> usize {
        self.weight.len()
    }

    /// Whether the head fits a model whose features have `width` numbers.
    ///
    /// # Errors
    /// [`Error::Shape`] with both widths.
    pub fn check_width(&self, width: usize) -> Result<()> {
        if width == self.width() {
            return Ok(());
        }
        Err(Error::Shape(format!(
            "the aesthetic head is for features of {} numbers, found {width}: it belongs to another CLIP model",
            self.width()
        )))
    }

    /// SHA-256 of the file, in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

/// The file's layers in their order, each fitting the one before it, the last of one row.
fn layers(weights: &Weights) -> Result<Vec<Layer>> {
    let refuse = |reason: String| Error::file(weights.path(), format!("not an aesthetic head: {reason}"));
    let mut layers = Vec::new();
    for name in weights.names() {
        let (stem, last) = name.rsplit_once('.').unwrap_or(("", name));
        match (last, weights.shape(name)) {
            ("weight", Some(&[d_out, d_in])) => {
                let place = stem.rsplit('.').next().and_then(|last| last.parse().ok());
                layers.push(Layer { stem: stem.to_owned(), place, d_out, d_in });
            }
            ("bias", Some(&[_])) if weights.contains(&join(stem, "weight")) => {}
            (_, shape) => return Err(refuse(format!("tensor `{name}` of shape {shape:?} in it"))),
        }
    }
    layers.sort_by_key(|layer| layer.place);
    if layers.len() > 1 {
        let prefix = |layer: &Layer| layer.stem.rsplit_once('.').map(|(prefix, _)| prefix.to_owned());
        let one_chain =
            layers.iter().all(|layer| layer.place.is_some() && prefix(layer) == prefix(&layers[0]));
        if !one_chain {
            return Err(refuse("its layers are not numbered in one chain".to_owned()));
        }
    }
    for pair in layers.windows(2) {
        let [before, after] = pair else { continue };
        if after.place > before.place.map(|place| place + 2) {
            return Err(refuse(format!(
                "two or more layers without weights stand between `{}` and `{}`: an activation is among them",
                before.stem, after.stem
            )));
        }
        if after.d_in != before.d_out {
            return Err(Error::Tensor {
                path: weights.path().to_owned(),
                tensor: join(&after.stem, "weight"),
                expected: format!("[{}, {}]", after.d_out, before.d_out),
                found: format!("[{}, {}]", after.d_out, after.d_in),
            });
        }
    }
    match layers.last() {
        None => return Err(refuse("no linear layer in it".to_owned())),
        Some(last) if last.d_out != 1 => {
            return Err(refuse(format!("`{}` gives {} numbers, not 1", last.stem, last.d_out)));
        }
        _ => {}
    }
    if let Some(layer) = layers.iter().find(|layer| layer.d_in == 0 || layer.d_in > MAX_WIDTH) {
        return Err(refuse(format!("`{}` takes {} numbers", layer.stem, layer.d_in)));
    }
    Ok(layers)
}

fn join(stem: &str, last: &str) -> String {
    if stem.is_empty() { last.to_owned() } else { format!("{stem}.{last}") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::borrow::Cow;
    use std::collections::BTreeMap;

    use super::*;
    use crate::weights::{TensorInfo, f32_to_bytes, write_safetensors};

    /// A file of these tensors, each value `fill(index)`.
    fn file(
        name: &str,
        tensors: &[(&str, &[usize])],
        fill: impl Fn(usize) -> f32,
    ) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let infos: Vec<_> =
            tensors.iter().map(|(name, shape)| TensorInfo::f32((*name).to_owned(), shape.to_vec())).collect();
        write_safetensors(&path, &infos, &BTreeMap::new(), |info| {
            let values: Vec<f32> = (0..info.shape.iter().product()).map(&fill).collect();
            Ok(Cow::Owned(f32_to_bytes(&values).into_owned()))
        })
        .unwrap();
        (folder, path)
    }

    #[track_caller]
    fn check_refused(name: &str, tensors: &[(&str, &[usize])], expected: &str) {
        let (_folder, path) = file(name, tensors, |_| 1.0);
        let error = AestheticHead::open(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_single_layer_is_itself() {
        let (_folder, path) =
            file("head.safetensors", &[("bias", &[1]), ("weight", &[1, 3])], |i| i as f32 + 0.5);
        let head = AestheticHead::open(&path).unwrap();
        assert_eq!(head.width(), 3);
        assert_eq!(head.score(&[1.0, 10.0, 100.0]).unwrap(), 0.5 + 0.5 + 15.0 + 250.0);
        assert!(head.score(&[1.0; 4]).unwrap_err().to_string().contains("features of 3 numbers, found 4"));
    }

    /// `(x · [[1, 2], [3, 4]]ᵀ + [1, 2]) · [1, 2]ᵀ + 1`, layers 9 and 11: ten sorts after nine.
    #[test]
    fn a_chain_is_folded_in_the_order_of_its_numbers() {
        let tensors: &[(&str, &[usize])] = &[
            ("mlp.11.bias", &[1]),
            ("mlp.11.weight", &[1, 2]),
            ("mlp.9.bias", &[2]),
            ("mlp.9.weight", &[2, 2]),
        ];
        let (_folder, path) = file("head.safetensors", tensors, |i| i as f32 + 1.0);
        let head = AestheticHead::open(&path).unwrap();
        assert_eq!(head.score(&[0.0, 0.0]).unwrap(), 1.0 + 4.0 + 1.0);
        assert_eq!(head.score(&[1.0, 10.0]).unwrap(), 6.0 + 7.0 + 100.0);
    }

    #[test]
    fn what_is_no_affine_head_is_refused() {
        check_refused(
            "logos-reluMSE.safetensors",
            &[("weight", &[1, 3])],
            "by its name this head has activations",
        );
        let relu: &[(&str, &[usize])] = &[("layers.0.weight", &[4, 8]), ("layers.3.weight", &[1, 4])];
        check_refused("head.safetensors", relu, "an activation is among them");
        let misfit: &[(&str, &[usize])] = &[("layers.0.weight", &[4, 8]), ("layers.2.weight", &[1, 5])];
        check_refused("head.safetensors", misfit, "tensor `layers.2.weight`: expected [1, 4], found [1, 5]");
        check_refused("head.safetensors", &[("weight", &[2, 3])], "gives 2 numbers, not 1");
        check_refused("head.safetensors", &[("weight", &[3])], "tensor `weight`");
        check_refused("head.safetensors", &[("bias", &[1])], "tensor `bias`");
        let two: &[(&str, &[usize])] = &[("a.0.weight", &[1, 1]), ("b.1.weight", &[1, 1])];
        check_refused("head.safetensors", two, "not numbered in one chain");
        let (_folder, path) = file("head.safetensors", &[("weight", &[1, 3])], |_| f32::NAN);
        assert!(matches!(AestheticHead::open(&path), Err(Error::NotFinite(_))));
        assert!(AestheticHead::open("absent.pth").is_err());
    }
}
