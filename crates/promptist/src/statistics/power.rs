//! What a number of pairs could have shown: power of the paired t-test, which the sign-flip test comes near.

use super::distributions::{bisect, noncentral_t_beyond, t_critical};

/// The chance that a paired, two-sided test at `level` finds a true mean difference of `effect` standard deviations of
/// the differences; `None` for fewer than two pairs, or if `level` is not between 0 and 1.
///
/// # Source
/// `statsmodels.stats.power.TTestPower`.
pub fn paired_power(effect: f64, n: usize, level: f64) -> Option<f64> {
    if n < 2 || !(level > 0.0 && level < 1.0) || !effect.is_finite() {
        return None;
    }
    let degrees = (n - 1) as f64;
    Some(noncentral_t_beyond(t_critical(level / 2.0, degrees), degrees, effect.abs() * (n as f64).sqrt()))
}

/// The least true mean difference that `n` pairs, whose differences have the standard deviation `deviation`, show with
/// probability `power` in a two-sided test at `level`. Divide the level by the number of tests that it is corrected for.
///
/// A difference that was not found is evidence against one this large, not against a smaller one. `None` for fewer
/// than two pairs, or if `level < power < 1` does not hold.
///
/// # Source
/// `statsmodels.stats.power.TTestPower.solve_power`.
pub fn smallest_detectable_difference(deviation: f64, n: usize, level: f64, power: f64) -> Option<f64> {
    if n < 2 || !(0.0 < level && level < power && power < 1.0) || !(deviation.is_finite() && deviation >= 0.0)
    {
        return None;
    }
    let (degrees, root) = ((n - 1) as f64, (n as f64).sqrt());
    let critical = t_critical(level / 2.0, degrees);
    let falls_short = |effect: f64| noncentral_t_beyond(critical, degrees, effect * root) < power;
    let mut most = 1.0;
    while falls_short(most) {
        most *= 2.0;
    }
    Some(deviation * bisect(0.0, most, falls_short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_pairs_need_what_the_normal_approximation_says() {
        // (z of 97.5 % + z of 80 %) / √n.
        let found = smallest_detectable_difference(2.0, 10_000, 0.05, 0.8).expect("pairs");
        assert!((found - 2.0 * 2.801_585_2 / 100.0).abs() < 2e-5, "{found}");
        let power = paired_power(found / 2.0, 10_000, 0.05).expect("pairs");
        assert!((power - 0.8).abs() < 1e-9, "{power}");
    }

    #[test]
    fn without_an_effect_power_is_the_level() {
        for n in [2, 3, 20, 300] {
            let power = paired_power(0.0, n, 0.05).expect("pairs");
            assert!((power - 0.05).abs() < 1e-9, "{power}");
        }
        assert_eq!(paired_power(0.5, 1, 0.05), None);
        assert_eq!(smallest_detectable_difference(1.0, 1, 0.05, 0.8), None);
        assert_eq!(smallest_detectable_difference(1.0, 50, 0.8, 0.05), None);
        assert_eq!(smallest_detectable_difference(0.0, 50, 0.05, 0.8), Some(0.0));
    }
}
