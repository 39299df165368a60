//! Pillow's antialiased bicubic resize of 8-bit pictures, bit for bit: two passes, horizontal then vertical,
//! in fixed point, with bytes between them. Only the window that is asked for is computed.
//!
//! Source: `src/libImaging/Resample.c` of Pillow 13.0.0, `precompute_coeffs`, `normalize_coeffs_8bpc`,
//! `ImagingResampleHorizontal_8bpc` and `ImagingResampleVertical_8bpc`.

use std::ops::Range;

use image::RgbImage;

/// Fractional bits of the weights: 8 are for the pixel and 2 for sums beyond 255.
const PRECISION_BITS: u32 = 32 - 8 - 2;
/// How far the kernel reaches, in source pixels, where the picture is not made smaller.
const SUPPORT: f64 = 2.0;
const CHANNELS: usize = 3;

/// Some pixels of a resized picture.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Window {
    /// Columns of the resized picture.
    pub columns: Range<usize>,
    /// Rows of the resized picture.
    pub rows: Range<usize>,
}

/// The pixels of `window` in `picture` resized to `width` by `height`: row-major RGB.
pub(super) fn resize(picture: &RgbImage, width: usize, height: usize, window: &Window) -> Vec<u8> {
    let (source_width, source_height) = (picture.width() as usize, picture.height() as usize);
    let columns = taps(source_width, width, window.columns.clone());
    let rows = taps(source_height, height, window.rows.clone());
    let first_row = rows.iter().map(|taps| taps.first).min().unwrap_or(0);
    let end_row = rows.iter().map(|taps| taps.first + taps.weights.len()).max().unwrap_or(0);

    let stride = columns.len() * CHANNELS;
    let mut narrowed = vec![0; (end_row - first_row) * stride];
    let source_rows = picture.as_raw().chunks_exact(source_width * CHANNELS).skip(first_row);
    for (source, target) in source_rows.zip(narrowed.chunks_exact_mut(stride)) {
        for (taps, pixel) in columns.iter().zip(target.chunks_exact_mut(CHANNELS)) {
            let (source, _) = source[taps.first * CHANNELS..].as_chunks::<CHANNELS>();
            let mut sums = [HALF; CHANNELS];
            for (source, weight) in source.iter().zip(&taps.weights) {
                for (sum, &value) in sums.iter_mut().zip(source) {
                    *sum += i32::from(value) * weight;
                }
            }
            pixel.copy_from_slice(&sums.map(to_byte));
        }
    }

    let mut resized = Vec::with_capacity(rows.len() * stride);
    let mut sums = vec![HALF; stride];
    for taps in &rows {
        sums.fill(HALF);
        let source_rows = narrowed.chunks_exact(stride).skip(taps.first - first_row);
        for (source, weight) in source_rows.zip(&taps.weights) {
            for (sum, &value) in sums.iter_mut().zip(source) {
                *sum += i32::from(value) * weight;
            }
        }
        resized.extend(sums.iter().map(|&sum| to_byte(sum)));
    }
    resized
}

/// What one target pixel is made of, along one axis.
struct Taps {
    /// The first source pixel.
    first: usize,
    /// Fixed point; at least one.
    weights: Vec<i32>,
}

/// The taps of the target pixels `wanted` when `source` pixels become `target`.
fn taps(source: usize, target: usize, wanted: Range<usize>) -> Vec<Taps> {
    let scale = source as f64 / target as f64;
    let filter_scale = scale.max(1.0);
    let support = SUPPORT * filter_scale;
    let one = |target: usize| {
        let centre = (target as f64 + 0.5) * scale;
        // Casts truncate towards zero, as C's do, and a negative number becomes 0.
        let first = (centre - support + 0.5) as usize;
        let end = ((centre + support + 0.5) as usize).min(source);
        let at = |idx: usize| bicubic((idx as f64 - centre + 0.5) * (1.0 / filter_scale));
        let weights: Vec<f64> = (first..end).map(at).collect();
        let total: f64 = weights.iter().sum();
        Taps { first, weights: weights.into_iter().map(|weight| to_fixed(weight / total)).collect() }
    };
    wanted.map(one).collect()
}

/// The cubic kernel with a = -0.5.
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// What every sum starts from, so that cutting off the fraction rounds.
const HALF: i32 = 1 << (PRECISION_BITS - 1);

fn to_fixed(weight: f64) -> i32 {
    let half = if weight < 0.0 { -0.5 } else { 0.5 };
    (half + weight * f64::from(1 << PRECISION_BITS)) as i32
}

fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(width: usize, height: usize) -> Window {
        Window { columns: 0..width, rows: 0..height }
    }

    proptest! {
        #[test]
        fn the_same_size_is_the_same_picture(width in 1..9u32, height in 1..9u32, seed: u8) {
            let picture = RgbImage::from_fn(width, height, |x, y| {
                image::Rgb([(x as u8 * 31) ^ seed, y as u8 * 29, seed])
            });
            let (width, height) = (width as usize, height as usize);
            let resized = resize(&picture, width, height, &whole(width, height));
            prop_assert_eq!(&resized, picture.as_raw());
        }

        #[test]
        fn one_colour_stays_that_colour(
            colour: [u8; 3], from in (1..40u32, 1..40u32), to in (1..40usize, 1..40usize)
        ) {
            let picture = RgbImage::from_pixel(from.0, from.1, image::Rgb(colour));
            let resized = resize(&picture, to.0, to.1, &whole(to.0, to.1));
            prop_assert!(resized.chunks(3).all(|pixel| pixel == colour));
        }

        #[test]
        fn a_window_is_a_part_of_the_whole(x in 0..20usize, y in 0..20usize, w in 1..10usize, h in 1..10usize) {
            let picture = RgbImage::from_fn(37, 23, |x, y| image::Rgb([(x * 7) as u8, (y * 11) as u8, (x * y) as u8]));
            let all = resize(&picture, 30, 30, &whole(30, 30));
            let part = resize(&picture, 30, 30, &Window { columns: x..x + w, rows: y..y + h });
            for (row, pixels) in part.chunks(w * 3).enumerate() {
                prop_assert_eq!(pixels, &all[((y + row) * 30 + x) * 3..][..w * 3]);
            }
        }
    }
}
