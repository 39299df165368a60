//! LayerNorm of one row.

use crate::simd::for_each_isa;
use crate::simd::math::{LANES, Lanes, sum_lanes};

/// Gain and bias of a LayerNorm: `[E]` each.
pub struct LayerNorm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl LayerNorm {
    /// From the checkpoint's gain and bias.
    pub fn new(weight: Vec<f32>, bias: Vec<f32>, epsilon: f64) -> Self {
        Self { weight, bias, epsilon: epsilon as f32 }
    }

    /// How far each channel is about to reach: three standard deviations about its mean.
    pub fn ranges(&self) -> Vec<f32> {
        self.weight.iter().zip(&self.bias).map(|(gain, bias)| 3.0 * gain.abs() + bias.abs()).collect()
    }

    /// The same norm with each channel of its output divided by `scales`.
    pub fn divided_by(mut self, scales: &[f32]) -> Self {
        for ((gain, bias), scale) in self.weight.iter_mut().zip(&mut self.bias).zip(scales) {
            *gain /= scale;
            *bias /= scale;
        }
        self
    }
}

for_each_isa! {
    /// `(x - mean) / sqrt(var + eps) * weight + bias`, biased variance.
    ///
    /// # Shapes
    /// `x` and `output` are `[E]`.
    pub fn layer_norm(norm: &LayerNorm, x: &[f32], output: &mut [f32]) = layer_norm_body;
}

#[inline(always)]
fn layer_norm_body(norm: &LayerNorm, x: &[f32], output: &mut [f32]) {
    let e = x.len();
    let mean = sum_of(x, |value| value) / e as f32;
    let variance = sum_of(x, |value| (value - mean) * (value - mean)) / e as f32;
    let scale = 1.0 / (variance + norm.epsilon).sqrt();
    let (output, weight, bias) = (&mut output[..e], &norm.weight[..e], &norm.bias[..e]);
    for i in 0..e {
        output[i] = (x[i] - mean) * scale * weight[i] + bias[i];
    }
}

#[inline(always)]
fn sum_of(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes: Lanes = [0.0; LANES];
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += f(value);
        }
    }
    let mut sum = sum_lanes(&lanes);
    for &value in rest {
        sum += f(value);
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::simd::Isa;

    proptest! {
        #[test]
        fn a_norm_is_as_in_f64_and_the_same_on_every_isa(
            channels in prop::collection::vec((-30.0_f32..30.0, -3.0_f32..3.0, -1.0_f32..1.0), 2..100),
        ) {
            let x: Vec<f32> = channels.iter().map(|c| c.0).collect();
            let weight: Vec<f32> = channels.iter().map(|c| c.1).collect();
            let bias: Vec<f32> = channels.iter().map(|c| c.2).collect();
            let e = x.len() as f64;
            let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / e;
            let variance = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / e;
            let norm = LayerNorm::new(weight, bias, 1e-5);

            let mut first = None;
            for isa in Isa::ALL {
                let mut output = vec![0.0; x.len()];
                layer_norm(isa, &norm, &x, &mut output);
                for (i, &(x, weight, bias)) in channels.iter().enumerate() {
                    let normal = (f64::from(x) - mean) / (variance + 1e-5).sqrt();
                    let exact = normal * f64::from(weight) + f64::from(bias);
                    prop_assert!((f64::from(output[i]) - exact).abs() < 2e-4, "{} for {exact}", output[i]);
                }
                prop_assert_eq!(first.get_or_insert_with(|| output.clone()), &output, "{:?}", isa);
            }
        }
    }
}
