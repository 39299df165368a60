//! The distributions that intervals and power are read off: normal, beta, Student's t, noncentral t.

use std::f64::consts::{PI, SQRT_2};

/// Panels of an integral at the start; those that need it are halved.
const PANELS: usize = 64;

/// What halving a panel may change for it to be good enough.
const PANEL_ERROR: f64 = 1e-12;

/// How often a panel is halved at most.
const MAX_HALVINGS: usize = 30;

/// P(Z <= `z`) of a standard normal Z.
pub(super) fn normal_cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z / SQRT_2)
}

/// The `z` with [`normal_cdf`] `p`; infinite at 0 and 1.
pub(super) fn normal_quantile(p: f64) -> f64 {
    if p <= 0.0 || p >= 1.0 {
        return if p <= 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    // The lower half, where the distribution function loses no digits.
    let tail = p.min(1.0 - p);
    // Abramowitz and Stegun 26.2.23, off by up to 4.5e-4; each of Halley's steps triples the digits.
    let t = (-2.0 * tail.ln()).sqrt();
    let mut z = (2.515_517 + t * (0.802_853 + t * 0.010_328))
        / (1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308)))
        - t;
    for _ in 0..3 {
        let newton = (normal_cdf(z) - tail) * (2.0 * PI).sqrt() * (z * z / 2.0).exp();
        z -= newton / (1.0 + z * newton / 2.0);
    }
    if p <= 0.5 { z } else { -z }
}

/// The logarithm of n over k.
pub(super) fn ln_choose(n: usize, k: usize) -> f64 {
    let ln_factorial = |n: usize| libm::lgamma(n as f64 + 1.0);
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

/// The regularised incomplete beta function: P(X <= `x`) of a beta-distributed X, `a` and `b` above 0.
///
/// # Source
/// The continued fraction DLMF 8.17.22, evaluated by Lentz's method.
pub(super) fn beta_cdf(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return if x <= 0.0 { 0.0 } else { 1.0 };
    }
    // The fraction converges fast below the mean and slowly above it.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta_cdf(1.0 - x, b, a);
    }
    let ln_front = libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + a * x.ln() + b * (-x).ln_1p();
    ln_front.exp() * beta_fraction(x, a, b) / a
}

fn beta_fraction(x: f64, a: f64, b: f64) -> f64 {
    // Terms needed grow with the root of a and b: enough for samples of ten million.
    const MAX_TERMS: usize = 20_000;
    let away_from_zero = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let (mut c, mut d) = (1.0, 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for m in 1..MAX_TERMS {
        let m = m as f64;
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for term in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + term * d);
            c = away_from_zero(1.0 + term / c);
            change *= c * d;
        }
        fraction *= change;
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    fraction
}

/// The `x` with [`beta_cdf`] `p`.
pub(super) fn beta_quantile(p: f64, a: f64, b: f64) -> f64 {
    bisect(0.0, 1.0, |x| beta_cdf(x, a, b) < p)
}

/// P(|T| > `t`) of Student's T with `degrees` of freedom, halved: its upper tail. `t` is not negative.
fn t_tail(t: f64, degrees: f64) -> f64 {
    0.5 * beta_cdf(degrees / (degrees + t * t), degrees / 2.0, 0.5)
}

/// The t that Student's T with `degrees` of freedom exceeds with probability `tail`, at most one half.
pub(super) fn t_critical(tail: f64, degrees: f64) -> f64 {
    let mut most = 1.0;
    while t_tail(most, degrees) > tail {
        most *= 2.0;
    }
    bisect(0.0, most, |t| t_tail(t, degrees) > tail)
}

/// P(|T| > `critical`) of a noncentral T with `degrees` of freedom and noncentrality `shift`.
///
/// T is `(Z + shift) / S` with a normal Z and an independent S, whose square is chi-squared over its degrees of freedom;
/// given S it is a normal probability, and over the logarithm of S we integrate.
pub(super) fn noncentral_t_beyond(critical: f64, degrees: f64, shift: f64) -> f64 {
    let half = degrees / 2.0;
    let ln_scale = std::f64::consts::LN_2 + half * half.ln() - libm::lgamma(half);
    let integrand = |ln_s: f64| {
        let s = ln_s.exp();
        let density = (ln_scale + degrees * ln_s - half * s * s).exp();
        density * (normal_cdf(shift - critical * s) + normal_cdf(-shift - critical * s))
    };
    // S is near 1 with a standard deviation near `spread`. Of few degrees its lower tail is a power, `s^degrees`.
    let spread = 1.0 / (2.0 * degrees).sqrt();
    let (from, to) = (-12.0 * spread - 40.0 / degrees, (1.0 + 12.0 * spread).ln());
    let width = (to - from) / PANELS as f64;
    let panels = (0..PANELS).map(|panel| from + panel as f64 * width);
    panels.map(|left| Panel::new(left, left + width, &integrand).integral(&integrand, MAX_HALVINGS)).sum()
}

/// An interval with a function's values at its ends and its middle.
#[derive(Clone, Copy)]
struct Panel {
    ends: [f64; 2],
    values: [f64; 3],
}

impl Panel {
    fn new(left: f64, right: f64, function: &impl Fn(f64) -> f64) -> Self {
        let values = [left, (left + right) / 2.0, right].map(function);
        Self { ends: [left, right], values }
    }

    /// Simpson's rule on halves of halves, until halving changes nothing.
    fn integral(self, function: &impl Fn(f64) -> f64, halvings: usize) -> f64 {
        let [left, right] = self.ends;
        let middle = (left + right) / 2.0;
        let halves = [Self::new(left, middle, function), Self::new(middle, right, function)];
        let (whole, finer) = (self.simpson(), halves.iter().map(Self::simpson).sum::<f64>());
        if halvings == 0 || (finer - whole).abs() < PANEL_ERROR {
            // Richardson: the error of the halves is a fifteenth of what halving changed.
            return finer + (finer - whole) / 15.0;
        }
        halves.into_iter().map(|half| half.integral(function, halvings - 1)).sum()
    }

    fn simpson(&self) -> f64 {
        let [left, right] = self.ends;
        (right - left) / 6.0 * (self.values[0] + 4.0 * self.values[1] + self.values[2])
    }
}

/// Where a condition that holds at `low` and not at `high` stops holding, to the last bit.
pub(super) fn bisect(mut low: f64, mut high: f64, holds: impl Fn(f64) -> bool) -> f64 {
    loop {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            return middle;
        }
        if holds(middle) { low = middle } else { high = middle }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-12 * expected.abs().max(0.1), "{found} {expected}");
    }

    #[test]
    fn values_from_tables() {
        close(normal_quantile(0.975), 1.959_963_984_540_054);
        close(normal_quantile(0.5), 0.0);
        close(normal_quantile(1e-10), -6.361_340_902_404_056);
        assert_eq!(normal_quantile(0.0), f64::NEG_INFINITY);
        assert_eq!(normal_quantile(1.0), f64::INFINITY);
        close(t_critical(0.025, 1.0), 12.706_204_736_174_7);
        close(t_critical(0.025, 10.0), 2.228_138_851_986_27);
        // I(0.3; 2, 3) = 6 · 0.3² − 8 · 0.3³ + 3 · 0.3⁴.
        close(beta_cdf(0.3, 2.0, 3.0), 6.0 * 0.09 - 8.0 * 0.027 + 3.0 * 0.0081);
        close(beta_quantile(0.5, 7.0, 7.0), 0.5);
        close(ln_choose(50, 3), 19_600.0_f64.ln());
    }

    #[test]
    fn quantiles_undo_distribution_functions() {
        for p in [1e-9, 1e-4, 0.025, 0.3, 0.5, 0.77, 0.999] {
            close(normal_cdf(normal_quantile(p)), p);
            for (a, b) in [(0.5, 0.5), (1.0, 300.0), (40.0, 3.0)] {
                close(beta_cdf(beta_quantile(p, a, b), a, b), p);
            }
        }
    }

    #[test]
    fn without_a_shift_the_noncentral_t_is_student_s() {
        for degrees in [1.0, 2.0, 5.0, 30.0, 299.0] {
            for level in [0.05, 0.001] {
                let found = noncentral_t_beyond(t_critical(level / 2.0, degrees), degrees, 0.0);
                assert!((found - level).abs() < 1e-11, "{found} {level}");
            }
        }
    }
}
