//! What an image starts from: unit normal noise in the shape of its latents, drawn from its seed or given.
//!
//! The numbers are drawn on the host, so they are the same on every device, and each image has a generator of its
//! own, so they do not depend on which images are made together. They are ours and not torch's: the same seed gives
//! another image than diffusers would. Where the same image is wanted, the noise can be given.

use std::f64::consts::TAU;
use std::path::Path;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::error::{Error, Result};
use crate::weights::Weights;

/// The tensor of a file of given noise.
pub const LATENTS: &str = "latents";

/// Images given by hand are few: this much is beyond every use, and fits into memory.
const MAX_GIVEN_VALUES: usize = 1 << 28;

/// What images start from.
#[derive(Debug, Clone, PartialEq)]
pub enum Noise {
    /// An image for each seed.
    Seeds(Vec<u64>),
    /// An image for each row.
    Given(GivenNoise),
}

/// Noise that was drawn elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct GivenNoise {
    shape: [usize; 4],
    values: Vec<f32>,
}

impl Noise {
    /// How many images.
    pub fn len(&self) -> usize {
        match self {
            Self::Seeds(seeds) => seeds.len(),
            Self::Given(given) => given.shape[0],
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One image's noise, row-major: `[C, h, w]`.
    ///
    /// # Errors
    /// [`Error::Shape`] if given noise has another shape, or no such image.
    pub(super) fn row(&self, idx: usize, shape: [usize; 3]) -> Result<Vec<f32>> {
        let len: usize = shape.iter().product();
        match self {
            Self::Seeds(seeds) => {
                let seed = seeds.get(idx).ok_or_else(|| Error::Shape(format!("no image {idx}")))?;
                Ok(unit_normal(*seed, len))
            }
            Self::Given(given) => {
                let [_, found @ ..] = given.shape;
                let row = given.values.get(idx * len..(idx + 1) * len);
                row.filter(|_| found == shape)
                    .map(<[f32]>::to_vec)
                    .ok_or_else(|| Error::Shape(format!("noise of images {found:?}: expected {shape:?}")))
            }
        }
    }
}

impl GivenNoise {
    /// `[B, C, h, w]`, row-major, unit normal: whatever the sampler multiplies its start by comes later.
    ///
    /// # Errors
    /// [`Error::Shape`] if the values are not as many as the shape says; [`Error::NotFinite`] if one is no number.
    pub fn new(shape: [usize; 4], values: Vec<f32>) -> Result<Self> {
        let len = shape.iter().try_fold(1_usize, |len, &size| len.checked_mul(size));
        if len != Some(values.len()) {
            return Err(Error::Shape(format!("noise of shape {shape:?} with {} values", values.len())));
        }
        if !values.iter().all(|value| value.is_finite()) {
            return Err(Error::NotFinite("given noise".into()));
        }
        Ok(Self { shape, values })
    }

    /// Reads the tensor `latents` of a file of weights.
    ///
    /// # Errors
    /// As [`Weights::open_file`] and [`new`](Self::new); [`Error::Tensor`] if there is no such tensor of four axes.
    pub fn read(path: &Path) -> Result<Self> {
        let weights = Weights::open_file(path)?;
        let refuse = |found: String| Error::Tensor {
            path: path.to_owned(),
            tensor: LATENTS.to_owned(),
            expected: "[B, 4, H/8, W/8]".to_owned(),
            found,
        };
        let shape = weights.shape(LATENTS).ok_or_else(|| refuse("nothing".to_owned()))?;
        let Ok(shape) = <[usize; 4]>::try_from(shape) else { return Err(refuse(format!("{shape:?}"))) };
        if shape.iter().try_fold(1_usize, |len, &size| len.checked_mul(size)) > Some(MAX_GIVEN_VALUES) {
            return Err(refuse(format!("{shape:?}")));
        }
        Self::new(shape, weights.get_f32(LATENTS, &shape)?)
    }

    /// Height and width of the latents.
    pub fn size(&self) -> [usize; 2] {
        [self.shape[2], self.shape[3]]
    }
}

/// The first `len` numbers of the standard normal distribution that belong to `seed`.
///
/// ChaCha20, its key the seed (little-endian, then zeros), 53 bits a uniform number, and Box and Muller's transform
/// in f64: cosine first, then sine. A prefix does not depend on `len`.
fn unit_normal(seed: u64, len: usize) -> Vec<f32> {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut rng = ChaCha20Rng::from_seed(key);
    // In (0, 1]: its logarithm is a number.
    let mut uniform = || ((rng.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    let mut values = Vec::with_capacity(len + 1);
    while values.len() < len {
        let radius = (-2.0 * uniform().ln()).sqrt();
        let (sine, cosine) = (TAU * uniform()).sin_cos();
        values.extend([(radius * cosine) as f32, (radius * sine) as f32]);
    }
    values.truncate(len);
    values
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn noise_has_the_moments_of_a_normal_distribution() {
        let values = unit_normal(7, 1 << 16);
        let moment = |power: i32| {
            values.iter().map(|&value| f64::from(value).powi(power)).sum::<f64>() / values.len() as f64
        };
        // Six standard errors of each.
        for (power, expected, deviation) in [(1, 0.0, 1.0), (2, 1.0, 1.42), (3, 0.0, 3.88), (4, 3.0, 9.8)] {
            assert!((moment(power) - expected).abs() < 6.0 * deviation / 256.0, "{power}: {}", moment(power));
        }
    }

    /// Images are replayed from their seeds, so these numbers are for ever: seed 0 is ChaCha20's block with a zero
    /// key (RFC 8439, A.1, test vector 1).
    #[test]
    fn the_numbers_of_a_seed_stay() {
        let expected = unit_normal_of_first_words(0x903d_f1a0_ade0_b876, 0x28bd_8653_e56a_5d40);
        assert_eq!(unit_normal(0, 2), expected);
        let of_one = unit_normal(1, 3);
        assert_eq!(of_one.len(), 3);
        assert_ne!(of_one[..2], expected);
    }

    /// The formula again, from the two words of the published block.
    fn unit_normal_of_first_words(first: u64, second: u64) -> [f32; 2] {
        let uniform = |word: u64| ((word >> 11) + 1) as f64 / 9_007_199_254_740_992.0;
        let (u, v) = (uniform(first), uniform(second));
        let radius = (-2.0 * u.ln()).sqrt();
        [(radius * (TAU * v).cos()) as f32, (radius * (TAU * v).sin()) as f32]
    }

    proptest! {
        #[test]
        fn a_seeds_noise_is_a_stream_of_its_own(seed: u64, other: u64, len in 0_usize..50) {
            let long = unit_normal(seed, 64);
            prop_assert_eq!(&unit_normal(seed, len), &long[..len]);
            prop_assert!(long.iter().all(|value| value.is_finite()));
            prop_assume!(seed != other);
            prop_assert_ne!(long, unit_normal(other, 64));
        }
    }

    #[test]
    fn given_noise_is_checked() {
        assert!(GivenNoise::new([1, 4, 2, 2], vec![0.0; 16]).is_ok());
        assert!(GivenNoise::new([1, 4, 2, 2], vec![0.0; 15]).is_err());
        assert!(GivenNoise::new([usize::MAX, 4, 2, 2], vec![0.0; 16]).is_err());
        assert!(GivenNoise::new([1, 1, 1, 1], vec![f32::NAN]).is_err());

        let noise = Noise::Given(GivenNoise::new([2, 1, 1, 2], vec![1.0, 2.0, 3.0, 4.0]).unwrap());
        assert_eq!(noise.len(), 2);
        assert_eq!(noise.row(1, [1, 1, 2]).unwrap(), [3.0, 4.0]);
        assert!(noise.row(2, [1, 1, 2]).is_err());
        assert!(noise.row(0, [1, 2, 1]).is_err());
    }
}
