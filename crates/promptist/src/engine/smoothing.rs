//! Smoothing: channels scaled against each other before they are rounded to 8 bits.
//!
//! A LayerNorm's output has channels many times larger than others (trained gains go to 60 and more),
//! and the weights that read them are as much smaller. Rounded as they are, either side loses: the
//! inputs share a scale along the row, the weights along the column. So channel k is divided by `s[k]`
//! in the norm's gain and bias and multiplied by it in the weights, which changes nothing but the
//! rounding, needs no data and costs nothing at run time.
//!
//! Source: SmoothQuant (Xiao et al. 2023), with the norm's own parameters in place of calibration
//! data. Exponents and the estimate of a channel's range are from `tools/reference/quantization_study.py`.

use super::layer_norm::LayerNorm;

/// By how much each channel is divided, and the order in which the product takes them.
#[derive(Debug, Clone, PartialEq)]
pub struct Smoothing {
    /// `s`: `[K]`, positive and finite.
    pub scales: Vec<f32>,
    /// Channels by falling range: those of like size share the scale of a group.
    pub order: Vec<u32>,
}

impl Smoothing {
    /// For the product that reads `norm`; `largest[k]` is the largest `|weight|` that reads channel k.
    ///
    /// A normalised channel stays within three standard deviations, so its range is about
    /// `r = 3 |gain| + |bias|`. `s = r^0.25 / largest^0.75`.
    pub fn new(norm: &LayerNorm, largest: &[f32]) -> Self {
        let ranges = norm.ranges();
        let scale = |(&range, &largest): (&f32, &f32)| {
            let scale = range.powf(0.25) / largest.powf(0.75);
            // A channel that carries nothing, or that nothing reads, stays as it is.
            if scale.is_normal() && range > 0.0 { scale } else { 1.0 }
        };
        let scales: Vec<f32> = ranges.iter().zip(largest).map(scale).collect();
        let smoothed = |channel: u32| ranges[channel as usize] / scales[channel as usize];
        let mut order: Vec<u32> = (0..ranges.len() as u32).collect();
        order.sort_by(|&a, &b| smoothed(b).total_cmp(&smoothed(a)));
        Self { scales, order }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outliers_that_the_weights_make_good_become_like_the_others() {
        let norm = LayerNorm::new(vec![1.0, 16.0, 1.0, 0.0], vec![0.0; 4], 1e-5);
        let smoothing = Smoothing::new(&norm, &[0.1, 0.1 / 16.0, 0.1, 0.1]);
        let range = |channel: usize| norm.ranges()[channel] / smoothing.scales[channel];
        let weight = |channel: usize, largest: f32| largest * smoothing.scales[channel];
        assert!((range(1) / range(0) - 1.0).abs() < 1e-5);
        assert!((weight(1, 0.1 / 16.0) / weight(0, 0.1) - 1.0).abs() < 1e-5);
        assert_eq!((smoothing.scales[3], smoothing.order[3]), (1.0, 3));
    }

    #[test]
    fn channels_that_nothing_reads_or_that_are_no_numbers_stay() {
        let norm = LayerNorm::new(vec![1.0, f32::NAN, f32::INFINITY, 1.0], vec![0.0; 4], 1e-5);
        let smoothing = Smoothing::new(&norm, &[0.0, 1.0, 1.0, f32::NAN]);
        assert_eq!(smoothing.scales, [1.0; 4]);
        let mut order = smoothing.order;
        order.sort_unstable();
        assert_eq!(order, [0, 1, 2, 3]);
    }
}
