//! Statistics against scipy, statsmodels, choix, krippendorff and arch: random inputs and degenerate ones.
//!
//! Golden files: `tools/reference/stats.py`. `null` there must be `None` here.
//!
//! Draws differ by generator, so the bootstrap is compared twice: exactly, on resamples whose indices the file holds,
//! and as a whole with so many resamples on both sides that what the draw still matters is a known share of a standard
//! error.

#![allow(clippy::print_stdout)] // --nocapture shows the errors seen

use std::path::Path;

use promptist::statistics::{
    Comparison, Interval, Level, benjamini_hochberg, binomial_test, bootstrap, bootstrap_mean, bounds,
    bradley_terry, clopper_pearson, cohen_kappa, holm, krippendorff_alpha, paired_power, paired_shares,
    pearson, sign_flip_test, smallest_detectable_difference, spearman, wilson, wilson_mean,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Of every formula, relative to 1 or to the number if that is larger. Seen: 3.0e-11, in the correlation of numbers near a
/// million; 4.4e-13 elsewhere.
const TOLERANCE: f64 = 1e-10;
/// Of strengths: choix stops its search early. Seen: 1.1e-8.
const STRENGTH_TOLERANCE: f64 = 1e-6;
/// Of an effect found by statsmodels' root finder. Seen: 2.9e-7.
const EFFECT_TOLERANCE: f64 = 1e-6;
/// Of an interval's ends with 20,000 resamples here and 200,000 there, in standard errors of the mean. A 2.5th percentile
/// of 20,000 draws has itself a standard error of √(0.025 · 0.975 / 20,000) / 0.058 = 0.019 of them for a normal
/// distribution, more in a long tail. Seen: 0.049.
const DRAW_TOLERANCE: f64 = 0.1;

fn golden<T: DeserializeOwned>(name: &str) -> T {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/statistics");
    let text = std::fs::read_to_string(folder.join(name)).expect("a committed file");
    serde_json::from_str(&text).expect("a golden file has its form")
}

/// Compares what may be undefined, and keeps the largest error seen.
#[derive(Default)]
struct Errors(f64);

impl Errors {
    #[track_caller]
    fn check(&mut self, found: Option<f64>, expected: Option<f64>, tolerance: f64, case: &str) {
        match (found, expected) {
            (None, None) => {}
            (Some(found), Some(expected)) => {
                let error = (found - expected).abs() / expected.abs().max(1.0);
                assert!(error <= tolerance, "{case}: {found}, expected {expected}");
                self.0 = self.0.max(error);
            }
            _ => panic!("{case}: {found:?}, expected {expected:?}"),
        }
    }

    #[track_caller]
    fn check_ends(&mut self, found: Option<(f64, f64)>, expected: Option<[f64; 2]>, case: &str) {
        self.check(found.map(|ends| ends.0), expected.map(|ends| ends[0]), TOLERANCE, case);
        self.check(found.map(|ends| ends.1), expected.map(|ends| ends[1]), TOLERANCE, case);
    }

    fn show(self, what: &str) {
        println!("{what}: {:.1e}", self.0);
    }
}

#[derive(Deserialize)]
struct Bootstraps {
    means: Vec<MeanCase>,
    correlations: Vec<CorrelationBootstrap>,
    converged: Vec<ConvergedCase>,
}

#[derive(Deserialize)]
struct MeanCase {
    name: String,
    values: Vec<f64>,
    indices: Vec<Vec<usize>>,
    percentile: Option<[f64; 2]>,
    #[serde(rename = "BCa")]
    bca: Option<[f64; 2]>,
    studentised: Option<[f64; 2]>,
}

#[derive(Deserialize)]
struct CorrelationBootstrap {
    name: String,
    a: Vec<f64>,
    b: Vec<f64>,
    indices: Vec<Vec<usize>>,
    percentile: Option<[f64; 2]>,
    #[serde(rename = "BCa")]
    bca: Option<[f64; 2]>,
}

#[derive(Deserialize)]
struct ConvergedCase {
    name: String,
    values: Vec<f64>,
    error: f64,
    #[serde(rename = "BCa")]
    bca: [f64; 2],
    studentised: [f64; 2],
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Of the mean, from a sample; 0 of equal values.
fn standard_error(values: &[f64]) -> f64 {
    if values.iter().all(|&value| value == values[0]) {
        return 0.0;
    }
    let (mean, n) = (mean(values), values.len() as f64);
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0) / n).sqrt()
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The statistic without each item in turn.
fn left_out(n: usize, statistic: impl Fn(&[usize]) -> f64) -> Vec<f64> {
    (0..n).map(|out| statistic(&(0..n).filter(|&idx| idx != out).collect::<Vec<_>>())).collect()
}

#[test]
fn a_mean_s_ends_are_those_of_scipy_and_arch_on_the_same_resamples() {
    let mut errors = Errors::default();
    for MeanCase { name, values, indices, percentile, bca, studentised } in
        golden::<Bootstraps>("bootstrap.json").means
    {
        let of = |chosen: &[usize]| chosen.iter().map(|&idx| values[idx]).collect::<Vec<f64>>();
        let means = sorted(indices.iter().map(|chosen| mean(&of(chosen))).collect());
        errors.check_ends(Some(bounds::percentile(&means)), percentile, &name);
        let estimate = mean(&values);
        // scipy has no BCa interval of equal values, where ours is the percentile interval, a point.
        if let Some(expected) = bca {
            let left_out = left_out(values.len(), |chosen| mean(&of(chosen)));
            errors.check_ends(bounds::bca(&means, estimate, &left_out), Some(expected), &name);
        }
        let error = standard_error(&values);
        if error > 0.0 {
            let ratio = |chosen: &Vec<usize>| {
                let chosen = of(chosen);
                (mean(&chosen) - estimate) / standard_error(&chosen)
            };
            let ratios = sorted(indices.iter().map(ratio).collect());
            errors.check_ends(bounds::studentised(&ratios, estimate, error), studentised, &name);
        }
    }
    errors.show("ends of means");
}

#[test]
fn a_correlation_s_ends_are_scipy_s_on_the_same_resamples() {
    let mut errors = Errors::default();
    for CorrelationBootstrap { name, a, b, indices, percentile, bca } in
        golden::<Bootstraps>("bootstrap.json").correlations
    {
        let of = |chosen: &[usize]| {
            let (a, b): (Vec<f64>, Vec<f64>) = chosen.iter().map(|&idx| (a[idx], b[idx])).unzip();
            spearman(&a, &b).expect("not constant")
        };
        // Rank correlations of 1 may miss it by a bit here or there.
        let round = |value: f64| (value * 1e12).round() / 1e12;
        let values = sorted(indices.iter().map(|chosen| round(of(chosen))).collect());
        errors.check_ends(Some(bounds::percentile(&values)), percentile, &name);
        if let Some(expected) = bca {
            let estimate = round(of(&(0..a.len()).collect::<Vec<_>>()));
            let left_out = left_out(a.len(), of);
            errors.check_ends(bounds::bca(&values, estimate, &left_out), Some(expected), &name);
        }
    }
    errors.show("ends of correlations");
}

#[test]
fn with_many_resamples_whole_intervals_agree() {
    let mut largest = 0.0_f64;
    for ConvergedCase { name, values, error, bca, studentised } in
        golden::<Bootstraps>("bootstrap.json").converged
    {
        let mut check = |found: Option<Interval>, expected: [f64; 2]| {
            let found = found.expect("values");
            for (end, expected) in [(found.low, expected[0]), (found.high, expected[1])] {
                let off = (end - expected).abs() / error;
                assert!(off < DRAW_TOLERANCE, "{name}: {end}, expected {expected}");
                largest = largest.max(off);
            }
        };
        check(bootstrap_mean(&values, 20_000, 11), studentised);
        let of =
            |chosen: &[usize]| Some(chosen.iter().map(|&idx| values[idx]).sum::<f64>() / chosen.len() as f64);
        check(bootstrap(values.len(), 20_000, 11, of), bca);
    }
    println!("whole intervals: {largest:.3} standard errors");
}

#[derive(Deserialize)]
struct SignFlips {
    exact: Vec<SignFlipCase>,
    resamples: usize,
    random: Vec<SignFlipCase>,
}

#[derive(Deserialize)]
struct SignFlipCase {
    differences: Vec<f64>,
    p: f64,
}

#[test]
fn sign_flips_are_scipy_s_permutations_of_samples() {
    let SignFlips { exact, resamples, random } = golden("sign_flips.json");
    let mut errors = Errors::default();
    for SignFlipCase { differences, p } in exact {
        let found = sign_flip_test(&differences, 0, 1);
        errors.check(found, Some(p), TOLERANCE, &format!("{differences:?}"));
    }
    errors.show("exact sign flips");
    let mut largest = 0.0_f64;
    for SignFlipCase { differences, p } in random {
        let found = sign_flip_test(&differences, 50_000, 1).expect("values");
        // Both are drawn. scipy doubles the smaller tail, whose chance is half of p.
        let draw = (p * (1.0 - p) / 50_000.0 + p * (2.0 - p) / resamples as f64).sqrt();
        let off = (found - p).abs() / draw;
        assert!(off < 4.0, "{found}, expected {p} ± {draw}");
        largest = largest.max(off);
    }
    println!("random sign flips: {largest:.2} standard errors");
}

#[derive(Deserialize)]
struct Binomials {
    intervals: Vec<ShareCase>,
    tests: Vec<BinomialCase>,
    means: Vec<MeanOfShares>,
    paired: Vec<PairedCase>,
}

#[derive(Deserialize)]
struct ShareCase {
    successes: usize,
    n: usize,
    wilson: Option<[f64; 2]>,
    clopper_pearson: Option<[f64; 2]>,
}

#[derive(Deserialize)]
struct MeanOfShares {
    sum: f64,
    n: usize,
    wilson: Option<[f64; 2]>,
}

#[derive(Deserialize)]
struct PairedCase {
    losses: usize,
    wins: usize,
    n: usize,
    agresti_min: Option<[f64; 2]>,
}

#[derive(Deserialize)]
struct BinomialCase {
    successes: usize,
    n: usize,
    p: f64,
    p_value: f64,
}

#[test]
fn shares_are_statsmodels_and_scipy_s() {
    let Binomials { intervals, tests, means, paired } = golden("binomial.json");
    let mut errors = Errors::default();
    let ends = |interval: Option<Interval>| interval.map(|interval| (interval.low, interval.high));
    for ShareCase { successes, n, wilson: by_score, clopper_pearson: exact } in intervals {
        let case = format!("{successes} of {n}");
        errors.check_ends(ends(wilson(successes, n)), by_score, &case);
        errors.check_ends(ends(clopper_pearson(successes, n)), exact, &case);
    }
    for MeanOfShares { sum, n, wilson } in means {
        errors.check_ends(ends(wilson_mean(sum, n)), wilson, &format!("{sum} of {n}"));
    }
    for PairedCase { losses, wins, n, agresti_min } in paired {
        let ties = vec![0.0; n - losses - wins];
        let differences = [vec![-1.0; losses], vec![1.0; wins], ties].concat();
        let case = format!("{losses} lost and {wins} won of {n}");
        errors.check_ends(ends(paired_shares(&differences)), agresti_min, &case);
    }
    for BinomialCase { successes, n, p, p_value } in tests {
        let case = format!("{successes} of {n} at {p}");
        errors.check(Some(binomial_test(successes, n, p)), Some(p_value), TOLERANCE, &case);
    }
    errors.show("shares");
}

#[derive(Deserialize)]
struct Cases<T> {
    cases: Vec<T>,
}

#[derive(Deserialize)]
struct MultiplicityCase {
    p: Vec<f64>,
    holm: Vec<f64>,
    benjamini_hochberg: Vec<f64>,
}

#[test]
fn adjusted_p_values_are_statsmodels_and_scipy_s() {
    let mut errors = Errors::default();
    for case in golden::<Cases<MultiplicityCase>>("multiplicity.json").cases {
        for (found, expected) in
            [(holm(&case.p), case.holm), (benjamini_hochberg(&case.p), case.benjamini_hochberg)]
        {
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.into_iter().zip(expected) {
                errors.check(Some(found), Some(expected), TOLERANCE, &format!("{:?}", case.p));
            }
        }
    }
    errors.show("adjusted p-values");
}

#[derive(Deserialize)]
struct CorrelationCase {
    a: Vec<f64>,
    b: Vec<f64>,
    pearson: Option<f64>,
    spearman: Option<f64>,
}

#[test]
fn correlations_are_scipy_s() {
    let mut errors = Errors::default();
    for CorrelationCase { a, b, pearson: of_values, spearman: of_ranks } in
        golden::<Cases<CorrelationCase>>("correlation.json").cases
    {
        errors.check(pearson(&a, &b), of_values, TOLERANCE, "pearson");
        errors.check(spearman(&a, &b), of_ranks, TOLERANCE, "spearman");
    }
    errors.show("correlations");
}

#[derive(Deserialize)]
struct StrengthCase {
    name: String,
    systems: usize,
    comparisons: Vec<(usize, usize, u8)>,
    alpha: f64,
    strengths: Option<Vec<f64>>,
}

#[test]
fn strengths_are_choix_s() {
    let mut errors = Errors::default();
    for StrengthCase { name, systems, comparisons, alpha, strengths } in
        golden::<Cases<StrengthCase>>("bradley_terry.json").cases
    {
        let case = format!("{name}, alpha {alpha}");
        let comparisons: Vec<Comparison> = comparisons
            .into_iter()
            .map(|(winner, loser, tie)| Comparison { winner, loser, is_tie: tie == 1 })
            .collect();
        let found = bradley_terry(systems, &comparisons, alpha);
        assert_eq!(found.as_ref().map(Vec::len), strengths.as_ref().map(Vec::len), "{case}");
        for (found, expected) in found.into_iter().flatten().zip(strengths.into_iter().flatten()) {
            errors.check(Some(found), Some(expected), STRENGTH_TOLERANCE, &case);
        }
    }
    errors.show("strengths");
}

#[derive(Deserialize)]
struct Agreement {
    alpha: Vec<AlphaCase>,
    kappa: Vec<KappaCase>,
}

#[derive(Deserialize)]
struct AlphaCase {
    name: String,
    ratings: Vec<Vec<Option<f64>>>,
    nominal: Option<f64>,
    ordinal: Option<f64>,
    interval: Option<f64>,
}

#[derive(Deserialize)]
struct KappaCase {
    a: Vec<usize>,
    b: Vec<usize>,
    kappa: Option<f64>,
}

#[test]
fn agreement_is_krippendorff_s_and_statsmodels() {
    let Agreement { alpha, kappa } = golden("agreement.json");
    let mut errors = Errors::default();
    for AlphaCase { name, ratings, nominal, ordinal, interval } in alpha {
        for (level, expected) in
            [(Level::Nominal, nominal), (Level::Ordinal, ordinal), (Level::Interval, interval)]
        {
            errors.check(krippendorff_alpha(&ratings, level), expected, TOLERANCE, &name);
        }
    }
    for KappaCase { a, b, kappa } in kappa {
        errors.check(cohen_kappa(&a, &b), kappa, TOLERANCE, &format!("{a:?} {b:?}"));
    }
    errors.show("agreement");
}

#[derive(Deserialize)]
struct Powers {
    power: Vec<PowerCase>,
    effects: Vec<PowerCase>,
}

#[derive(Deserialize)]
struct PowerCase {
    effect: f64,
    n: usize,
    level: f64,
    power: f64,
}

#[test]
fn power_is_statsmodels() {
    let Powers { power: powers, effects } = golden("power.json");
    let mut errors = Errors::default();
    for PowerCase { effect, n, level, power } in powers {
        errors.check(
            paired_power(effect, n, level),
            Some(power),
            TOLERANCE,
            &format!("{effect} of {n} at {level}"),
        );
    }
    errors.show("power");
    let mut errors = Errors::default();
    for PowerCase { effect, n, level, power } in effects {
        let found = smallest_detectable_difference(1.0, n, level, power);
        errors.check(found, Some(effect), EFFECT_TOLERANCE, &format!("{power} of {n} at {level}"));
    }
    errors.show("effects");
}
