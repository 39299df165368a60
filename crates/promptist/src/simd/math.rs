//! Elementwise mathematics: exponential, activations, sums over lanes.
//!
//! No branch, no table and no library call in what loops over elements, so that it vectorises; no
//! `mul_add`, so that the bits are the same on every instruction set.

use std::hint::black_box;

pub use super::exp::exp;
use crate::gpt2::config::Activation;
use crate::simd::for_each_isa;

/// Width of the lanes that sums are split into: one AVX-512 register, two of AVX2, four of NEON.
pub const LANES: usize = 16;

/// Sums by lane.
pub type Lanes = [f32; LANES];

/// GPT-2's GELU, `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`, in the equal form
/// `x · sigmoid(2 √(2/π) · (x + 0.044715 x³))`.
#[inline(always)]
fn gelu_new(x: f32) -> f32 {
    /// `2 √(2/π)`.
    const SCALE: f32 = 1.595_769_2;
    let z = x * (SCALE + (0.044_715 * SCALE) * (x * x));
    x / (1.0 + exp(-z))
}

/// GELU by the error function, `x/2 · (1 + erf(x/√2))`.
///
/// Source: Abramowitz and Stegun 7.1.26, whose erf is within 1.5e-7.
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    let tail = gelu_tail(x);
    if x < 0.0 { x * tail } else { x - x * tail }
}

/// `1 − Φ(|x|)`, by the same source.
#[inline(always)]
fn gelu_tail(x: f32) -> f32 {
    let y = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * y);
    let mut poly = 1.061_405_4_f32;
    for coefficient in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        poly = poly * t + coefficient;
    }
    // 1 - erf(|x|/√2), small where x is large: the half of it is the tail's weight.
    0.5 * (poly * t * exp(-(y * y)))
}

/// `x · sigmoid(slope · x)`: SiLU with a slope of 1, CLIP's QuickGELU with 1.702.
#[inline(always)]
pub fn swish(x: f32, slope: f32) -> f32 {
    x / (1.0 + exp(-slope * x))
}

for_each_isa! {
    /// Applies the MLP's activation in place.
    pub fn activate(activation: Activation, values: &mut [f32]) = activate_body;
}

#[inline(always)]
fn activate_body(activation: Activation, values: &mut [f32]) {
    match activation {
        Activation::GeluNew => values.iter_mut().for_each(|x| *x = gelu_new(*x)),
        Activation::Gelu => values.iter_mut().for_each(|x| *x = gelu(*x)),
        Activation::Relu => values.iter_mut().for_each(|x| *x = if *x < 0.0 { 0.0 } else { *x }),
    }
}

for_each_isa! {
    /// Applies the MLP's activation in place, and multiplies `grads` by its derivative.
    pub fn activate_with_gradient(activation: Activation, values: &mut [f32], grads: &mut [f32])
        = activate_with_gradient_body;
}

#[inline(always)]
fn activate_with_gradient_body(activation: Activation, values: &mut [f32], grads: &mut [f32]) {
    let pairs = values.iter_mut().zip(grads);
    let apply = |(x, grad): (&mut f32, &mut f32), (y, derivative): (f32, f32)| {
        *x = y;
        *grad *= derivative;
    };
    match activation {
        Activation::GeluNew => pairs.for_each(|pair| {
            let both = gelu_new_with_derivative(*pair.0);
            apply(pair, both);
        }),
        Activation::Gelu => pairs.for_each(|pair| {
            let both = gelu_with_derivative(*pair.0);
            apply(pair, both);
        }),
        Activation::Relu => pairs.for_each(|pair| {
            let both = if *pair.0 > 0.0 { (*pair.0, 1.0) } else { (0.0, 0.0) };
            apply(pair, both);
        }),
    }
}

/// [`gelu_new`], `x · σ(z)`, and its derivative, `σ + x σ (1 − σ) z'`.
#[inline(always)]
fn gelu_new_with_derivative(x: f32) -> (f32, f32) {
    const SCALE: f32 = 1.595_769_2;
    let square = x * x;
    // Far out σ (1 − σ) is 0 and z' must be a number.
    let square = if square > 1e6 { 1e6 } else { square };
    let z = x * (SCALE + (0.044_715 * SCALE) * square);
    let sigmoid = 1.0 / (1.0 + exp(-z));
    let slope = SCALE + (3.0 * 0.044_715 * SCALE) * square;
    (x * sigmoid, sigmoid + x * sigmoid * (1.0 - sigmoid) * slope)
}

/// [`gelu`], `x · Φ(x)`, and its derivative, `Φ + x φ`.
#[inline(always)]
fn gelu_with_derivative(x: f32) -> (f32, f32) {
    /// `1 / √(2π)`.
    const DENSITY: f32 = 0.398_942_3;
    let tail = gelu_tail(x);
    let below = if x < 0.0 { tail } else { 1.0 - tail };
    (x * below, below + x * DENSITY * exp(-0.5 * (x * x)))
}

/// The sum of all lanes, halving: always in the same order.
#[inline(always)]
pub fn sum_lanes(lanes: &Lanes) -> f32 {
    halve(lanes, |a, b| a + b)
}

/// The largest of all lanes.
#[inline(always)]
pub fn max_lanes(lanes: &Lanes) -> f32 {
    halve(lanes, larger)
}

#[inline(always)]
fn halve(lanes: &Lanes, f: impl Fn(f32, f32) -> f32) -> f32 {
    let eight: [f32; LANES / 2] = std::array::from_fn(|lane| f(lanes[lane], lanes[lane + LANES / 2]));
    // Through memory. Seen as one, the compiler would fit the loop that fills the lanes to these last
    // steps, two lanes at a time: a fifth of the speed. Only the speed hangs on it.
    let mut lanes = *black_box(&eight);
    for width in [4, 2, 1] {
        for lane in 0..width {
            lanes[lane] = f(lanes[lane], lanes[lane + width]);
        }
    }
    lanes[0]
}

/// The larger; the first if one is NaN.
#[inline(always)]
pub fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// The largest value, NaN passed over; `-inf` of nothing.
#[inline(always)]
pub fn max(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, value);
        }
    }
    rest.iter().fold(max_lanes(&lanes), |max, &value| larger(max, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Isa;

    #[test]
    #[cfg_attr(miri, ignore = "takes minutes")]
    fn exp_is_within_two_units_in_the_last_place() {
        for step in -870_000..=880_000 {
            let x = step as f32 * 1e-4;
            let exact = f64::from(x).exp();
            let relative = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(relative <= 2.0 * f64::from(f32::EPSILON), "e^{x}: {} for {exact}", exp(x));
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 2e-38 && exp(f32::INFINITY) > 1e38);
        assert!(exp(f32::NAN).is_nan());
    }

    /// erf in f64 by its series, for |x| up to 4.
    fn erf(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes minutes")]
    fn activations_are_as_defined() {
        let inputs: Vec<f32> = (-5000..=5000).map(|step| step as f32 * 1e-3).collect();
        let check = |activation, exact: &dyn Fn(f64) -> f64, tolerance: f64| {
            for isa in Isa::ALL {
                let mut outputs = inputs.clone();
                activate(isa, activation, &mut outputs);
                for (&x, &y) in inputs.iter().zip(&outputs) {
                    let exact = exact(f64::from(x));
                    assert!((f64::from(y) - exact).abs() <= tolerance * exact.abs().max(1.0), "{x}: {y}");
                }
            }
        };
        let tanh_inner = |x: f64| (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
        check(Activation::GeluNew, &|x| 0.5 * x * (1.0 + tanh_inner(x).tanh()), 3e-7);
        check(Activation::Gelu, &|x| 0.5 * x * (1.0 + erf(x / 2.0_f64.sqrt())), 5e-7);
        check(Activation::Relu, &|x| x.max(0.0), 0.0);
    }

    #[test]
    fn derivatives_are_those_of_the_activations() {
        for activation in [Activation::GeluNew, Activation::Gelu, Activation::Relu] {
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
                for step in -500..=500 {
                    let x = step as f32 * 0.02 + 0.005;
                    const H: f32 = 1.0 / 64.0;
                    let mut around = [x - H, x + H, x];
                    activate(isa, activation, &mut around);
                    let (mut value, mut grad) = ([x], [3.0]);
                    activate_with_gradient(isa, activation, &mut value, &mut grad);
                    assert!(
                        (value[0] - around[2]).abs() <= 1e-6 * around[2].abs().max(1.0),
                        "{x}: {value:?}"
                    );
                    let quotient = 3.0 * (around[1] - around[0]) / (2.0 * H);
                    // The quotient's own error: H²/6 of the third derivative, which is at most 1.
                    let kink = activation == Activation::Relu && x.abs() < H;
                    assert!(
                        kink || (grad[0] - quotient).abs() < 3e-4,
                        "{activation:?} at {x}: {grad:?} for {quotient}"
                    );
                }
                let (mut values, mut grads) = ([3e18, -3e18, 1e4, -1e4], [1.0; 4]);
                activate_with_gradient(isa, activation, &mut values, &mut grads);
                assert_eq!([grads[0], grads[2]], [1.0, 1.0], "{activation:?}");
                assert!(grads[1].abs() < 1e-3 && grads[3].abs() < 1e-3, "{activation:?}: {grads:?}");
            }
        }
    }

    #[test]
    fn activations_far_out_are_the_identity_or_nothing() {
        for activation in [Activation::GeluNew, Activation::Gelu, Activation::Relu] {
            let mut values = [1e4, -1e4, 0.0, 3e18];
            activate(Isa::Portable, activation, &mut values);
            assert_eq!(values[0], 1e4, "{activation:?}");
            assert!(values[1].abs() < 1e-30, "{activation:?}: {}", values[1]);
            assert_eq!(values[2..], [0.0, 3e18], "{activation:?}");
        }
    }

    #[test]
    fn sums_and_maxima_take_every_lane() {
        let lanes: Lanes = std::array::from_fn(|lane| (1 << lane) as f32);
        assert_eq!(sum_lanes(&lanes), 65535.0);
        for largest in 0..40 {
            let mut values = vec![-1.0; 40];
            values[largest] = 7.0;
            assert_eq!(max(&values), 7.0);
        }
        assert_eq!(max(&[]), f32::NEG_INFINITY);
        assert_eq!(max(&[f32::NAN, 1.0, f32::NAN]), 1.0);
    }
}
