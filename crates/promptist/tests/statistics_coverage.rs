//! Do 95 % intervals hold the truth 95 times in a hundred? Samples are drawn from populations whose truth is known.
//!
//! A part runs always. `PROMPTIST_SLOW_TESTS=1` draws the whole table of the documentation of `promptist::statistics`,
//! and `--nocapture` prints it.

#![allow(clippy::print_stdout, clippy::print_stderr)] // the table, and that a test was skipped

use std::f64::consts::PI;
use std::ops::RangeInclusive;
use std::thread;

use promptist::statistics::{
    Comparison, Interval, Level, bootstrap, bootstrap_mean, bounds, bradley_terry, bradley_terry_intervals,
    krippendorff_alpha, krippendorff_alpha_interval, paired_shares, spearman, wilson, wilson_mean,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What the intervals promise.
const PROMISE: RangeInclusive<f64> = 0.93..=0.97;

/// What the quick tests ask for: their coverages have a standard error of 1 %.
const NEARLY: RangeInclusive<f64> = 0.92..=0.98;

/// Samples of a cell of the quick tests.
const QUICK_SAMPLES: usize = 500;

/// Resamples of each of these.
const QUICK_RESAMPLES: usize = 400;

/// Samples of a cell of the whole table: 0.35 %.
const SAMPLES: usize = 4000;

/// Resamples of each sample.
const RESAMPLES: usize = 1000;

/// A truth, and an observation drawn at random whose mean it is.
struct Population {
    name: &'static str,
    mean: f64,
    /// The least n of the table from which the interval keeps its promise.
    from: usize,
    draw: fn(&mut ChaCha8Rng) -> f64,
}

const POPULATIONS: [Population; 9] = [
    Population { name: "normal", mean: 0.0, from: 20, draw: normal },
    Population { name: "exponential", mean: 1.0, from: 20, draw: |rng| -(1.0 - rng.random::<f64>()).ln() },
    Population {
        name: "lognormal, s = 0.5",
        mean: 1.133_148_453_066_826_3,
        from: 20,
        draw: |rng| (0.5 * normal(rng)).exp(),
    },
    Population {
        name: "lognormal, s = 1",
        mean: 1.648_721_270_700_128_2,
        from: 100,
        draw: |rng| normal(rng).exp(),
    },
    // Paired differences, most of them 0, the others leaning one way.
    Population {
        name: "0 in 60 %",
        mean: 0.4 * 0.5,
        from: 50,
        draw: |rng| if rng.random_bool(0.6) { 0.0 } else { 0.5 + normal(rng) },
    },
    // Paired differences of flags.
    Population {
        name: "-1, 0 or 1",
        mean: 0.2 - 0.1,
        from: 50,
        draw: |rng| match rng.random::<f64>() {
            u if u < 0.1 => -1.0,
            u if u < 0.3 => 1.0,
            _ => 0.0,
        },
    },
    Population { name: "share of 0.5", mean: 0.5, from: 50, draw: |rng| flag(rng, 0.5) },
    Population { name: "share of 0.2", mean: 0.2, from: 20, draw: |rng| flag(rng, 0.2) },
    Population { name: "share of 0.05", mean: 0.05, from: 100, draw: |rng| flag(rng, 0.05) },
];

const SIZES: [usize; 4] = [20, 50, 100, 300];

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    // Box and Muller; 1 − u is never 0.
    (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt() * (2.0 * PI * rng.random::<f64>()).cos()
}

fn flag(rng: &mut ChaCha8Rng, share: f64) -> f64 {
    f64::from(u8::from(rng.random_bool(share)))
}

/// The share of `samples` intervals that hold `truth`, of each kind that `intervals` gives.
fn coverage<const KINDS: usize>(
    samples: usize,
    truth: f64,
    intervals: impl Fn(&mut ChaCha8Rng, u64) -> [(f64, f64); KINDS],
) -> [f64; KINDS] {
    let mut rng = ChaCha8Rng::seed_from_u64(88);
    let mut held = [0; KINDS];
    for seed in 0..samples {
        for (held, (low, high)) in held.iter_mut().zip(intervals(&mut rng, seed as u64)) {
            // An end that is the truth but for rounding holds it.
            *held += usize::from((low - 1e-9..=high + 1e-9).contains(&truth));
        }
    }
    held.map(|held| held as f64 / samples as f64)
}

fn ends(interval: Option<Interval>) -> (f64, f64) {
    interval.map_or((f64::NAN, f64::NAN), |interval| (interval.low, interval.high))
}

/// Of the interval that reports state.
fn mean_coverage(population: &Population, n: usize, samples: usize, resamples: usize) -> f64 {
    let [held] = coverage(samples, population.mean, |rng, seed| {
        let values: Vec<f64> = (0..n).map(|_| (population.draw)(rng)).collect();
        [ends(bootstrap_mean(&values, resamples, seed))]
    });
    held
}

/// Of the three kinds, on the same resamples.
fn mean_coverage_by_kind(population: &Population, n: usize, samples: usize) -> [f64; 3] {
    coverage(samples, population.mean, |rng, seed| {
        let values: Vec<f64> = (0..n).map(|_| (population.draw)(rng)).collect();
        let count = n as f64;
        let mean = values.iter().sum::<f64>() / count;
        let deviations: Vec<f64> = values.iter().map(|value| value - mean).collect();
        let error = |sum: f64, squares: f64| ((squares - sum * sum / count) / (count - 1.0) / count).sqrt();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut means, mut ratios): (Vec<f64>, Vec<f64>) = (0..RESAMPLES)
            .map(|_| {
                let (mut sum, mut squares) = (0.0, 0.0);
                for _ in 0..n {
                    let deviation = deviations[rng.random_range(0..n)];
                    sum += deviation;
                    squares += deviation * deviation;
                }
                // Rounding makes nearly 0 of a variance that is 0, and nearly infinite of a ratio that is.
                (mean + sum / count, sum / count / error(sum, squares).max(1e-9))
            })
            .unzip();
        means.sort_by(f64::total_cmp);
        ratios.sort_by(f64::total_cmp);
        let left_out: Vec<f64> = deviations.iter().map(|deviation| -deviation / (count - 1.0)).collect();
        let sample_error = error(0.0, deviations.iter().map(|deviation| deviation * deviation).sum());
        let percentile = bounds::percentile(&means);
        [
            percentile,
            bounds::bca(&means, mean, &left_out).unwrap_or(percentile),
            bounds::studentised(&ratios, mean, sample_error).unwrap_or(percentile),
        ]
    })
}

/// The percentile interval of what [`bootstrap`] gives the BCa interval of.
fn percentile_of(
    n: usize,
    resamples: usize,
    seed: u64,
    statistic: impl Fn(&[usize]) -> Option<f64>,
) -> (f64, f64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let draw = |_| statistic(&(0..n).map(|_| rng.random_range(0..n)).collect::<Vec<_>>());
    let mut values: Vec<f64> = (0..resamples).filter_map(draw).collect();
    values.sort_by(f64::total_cmp);
    if values.is_empty() { (f64::NAN, f64::NAN) } else { bounds::percentile(&values) }
}

/// Spearman's correlation of two normal numbers that correlate by one half: percentile and BCa.
fn rank_coverage(n: usize, samples: usize, resamples: usize) -> [f64; 2] {
    coverage(samples, 6.0 / PI * 0.25_f64.asin(), |rng, seed| {
        let draw = |_| {
            let a = normal(rng);
            (a, 0.5 * a + 0.75_f64.sqrt() * normal(rng))
        };
        let (a, b): (Vec<f64>, Vec<f64>) = (0..n).map(draw).unzip();
        let of = |chosen: &[usize]| {
            let (a, b): (Vec<f64>, Vec<f64>) = chosen.iter().map(|&idx| (a[idx], b[idx])).unzip();
            spearman(&a, &b)
        };
        [percentile_of(n, resamples, seed, of), ends(bootstrap(n, resamples, seed, of))]
    })
}

/// The first of three systems' strengths, each unit comparing all: percentile and BCa.
fn strength_coverage(n: usize, samples: usize, resamples: usize) -> [f64; 2] {
    const TRUE: [f64; 3] = [0.6, 0.0, -0.6];
    const REGULARISATION: f64 = 0.01;
    coverage(samples, TRUE[0], |rng, seed| {
        let units: Vec<usize> = (0..3 * n).map(|idx| idx / 3).collect();
        let comparisons: Vec<Comparison> = (0..3 * n)
            .map(|idx| {
                let (a, b) = [(0, 1), (1, 2), (2, 0)][idx % 3];
                let wins = rng.random_bool(1.0 / (1.0 + (TRUE[b] - TRUE[a]).exp()));
                let (winner, loser) = if wins { (a, b) } else { (b, a) };
                Comparison { winner, loser, is_tie: false }
            })
            .collect();
        let percentile = percentile_of(n, resamples, seed, |chosen| {
            let of: Vec<Comparison> =
                chosen.iter().flat_map(|u| comparisons[3 * u..3 * u + 3].to_vec()).collect();
            Some(bradley_terry(3, &of, REGULARISATION)?[0])
        });
        let found = bradley_terry_intervals(3, &comparisons, &units, REGULARISATION, resamples, seed);
        [percentile, ends(found.map(|strengths| strengths[0]))]
    })
}

/// Alpha of three raters who each name the truth, a coin's, four times in five: percentile and BCa.
fn alpha_coverage(n: usize, samples: usize, resamples: usize) -> [f64; 2] {
    // Two raters agree as their errors do: (2 · 0.8 − 1)² beyond chance.
    coverage(samples, 0.36, |rng, seed| {
        let ratings: Vec<Vec<Option<f64>>> = (0..n)
            .map(|_| {
                let truth = rng.random_bool(0.5);
                (0..3).map(|_| Some(f64::from(u8::from(rng.random_bool(0.8) == truth)))).collect()
            })
            .collect();
        let percentile = percentile_of(n, resamples, seed, |chosen| {
            let of: Vec<_> = chosen.iter().map(|&unit| ratings[unit].clone()).collect();
            krippendorff_alpha(&of, Level::Nominal)
        });
        [percentile, ends(krippendorff_alpha_interval(&ratings, Level::Nominal, resamples, seed))]
    })
}

#[test]
fn at_fifty_observations_intervals_of_means_keep_their_promise() {
    for population in POPULATIONS.iter().filter(|population| population.from <= 50) {
        let held = mean_coverage(population, 50, QUICK_SAMPLES, QUICK_RESAMPLES);
        println!("{}: {held:.3}", population.name);
        assert!(NEARLY.contains(&held), "{}: {held}", population.name);
    }
}

/// How often flags differ: more to the one side, to the other; or how often a share loses a part, and what is then left.
#[derive(Clone, Copy)]
enum Rare {
    Flags(f64, f64),
    Parts(f64),
}

impl Rare {
    const ALL: [Self; 8] = [
        Self::Flags(0.0, 0.0),
        Self::Flags(0.01, 0.01),
        Self::Flags(0.02, 0.05),
        Self::Flags(0.1, 0.2),
        Self::Flags(0.3, 0.3),
        Self::Parts(0.01),
        Self::Parts(0.03),
        Self::Parts(0.1),
    ];

    fn name(self) -> String {
        match self {
            Self::Flags(down, up) => format!("-1 in {down}, 1 in {up}"),
            Self::Parts(share) => format!("a part is lost in {share}"),
        }
    }

    fn draw(self, rng: &mut ChaCha8Rng) -> f64 {
        let at = rng.random::<f64>();
        match self {
            Self::Flags(down, _) if at < down => -1.0,
            Self::Flags(down, up) if at < down + up => 1.0,
            Self::Parts(share) if at < share => -f64::from(rng.random_range(1..=4)) / 4.0,
            _ => 0.0,
        }
    }

    fn mean(self) -> f64 {
        match self {
            Self::Flags(down, up) => up - down,
            Self::Parts(share) => -share * 2.5 / 4.0,
        }
    }

    /// Of differences; of parts also of what is kept, 1 less what is lost.
    fn coverage(self, n: usize, samples: usize) -> (f64, Option<f64>) {
        let [paired, kept] = coverage(samples, self.mean(), |rng, _| {
            let values: Vec<f64> = (0..n).map(|_| self.draw(rng)).collect();
            let kept = wilson_mean(n as f64 + values.iter().sum::<f64>().min(0.0), n);
            let (low, high) = ends(kept);
            [ends(paired_shares(&values)), (low - 1.0, high - 1.0)]
        });
        (paired, matches!(self, Self::Parts(_)).then_some(kept))
    }
}

#[test]
fn intervals_of_rare_differences_promise_no_more_than_they_hold() {
    for rare in Rare::ALL {
        let (paired, kept) = rare.coverage(100, QUICK_SAMPLES);
        println!("{}: {paired:.3}, {kept:.3?}", rare.name());
        for held in [Some(paired), kept].into_iter().flatten() {
            assert!(held >= *NEARLY.start(), "{}: {held}", rare.name());
        }
    }
}

#[test]
fn at_fifty_units_intervals_of_alpha_keep_theirs() {
    // Slower a sample than means; the standard error is 1.5 %.
    let [_, held] = alpha_coverage(50, 200, 200);
    assert!((0.91..=0.99).contains(&held), "{held}");
}

/// Wants `PROMPTIST_SLOW_TESTS=1`: minutes.
#[test]
fn the_table_of_the_documentation() {
    if std::env::var_os("PROMPTIST_SLOW_TESTS").is_none_or(|value| value != "1") {
        eprintln!("skipped: PROMPTIST_SLOW_TESTS is not 1");
        return;
    }
    let percent = |shares: &[f64]| {
        shares.iter().map(|share| format!("| {:.1} ", 100.0 * share)).collect::<String>() + "|"
    };
    let cells: Vec<(&Population, usize)> =
        SIZES.iter().flat_map(|&n| POPULATIONS.iter().map(move |population| (population, n))).collect();
    let mut broken = Vec::new();
    println!("| values | n | percentile | BCa | studentised | `bootstrap_mean` |");
    for pair in cells.chunks(2) {
        let rows: Vec<_> = thread::scope(|scope| {
            let row = |&(population, n): &(&'static Population, usize)| {
                scope.spawn(move || {
                    let kinds = mean_coverage_by_kind(population, n, SAMPLES);
                    (population, n, kinds, mean_coverage(population, n, SAMPLES, RESAMPLES))
                })
            };
            let running: Vec<_> = pair.iter().map(row).collect();
            running.into_iter().map(|row| row.join().expect("a finished row")).collect()
        });
        for (population, n, kinds, held) in rows {
            println!("| {} | {n} {}", population.name, percent(&[&kinds[..], &[held]].concat()));
            if n >= population.from && !PROMISE.contains(&held) {
                broken.push(format!("{} of {n}: {held}", population.name));
            }
        }
    }
    println!("| statistic | n | percentile | BCa |");
    for n in SIZES {
        for (name, of) in [
            ("Spearman", rank_coverage as fn(usize, usize, usize) -> [f64; 2]),
            ("strength", strength_coverage),
            ("alpha", alpha_coverage),
        ] {
            let held = of(n, SAMPLES / 4, RESAMPLES);
            println!("| {name} | {n} {}", percent(&held));
            if n >= 50 && !PROMISE.contains(&held[1]) {
                broken.push(format!("{name} of {n}: {held:?}"));
            }
        }
    }
    println!("| share | n | Wilson |");
    for n in SIZES {
        for share in [0.05, 0.2, 0.5] {
            let held = coverage(SAMPLES, share, |rng, _| {
                [ends(wilson((0..n).filter(|_| rng.random_bool(share)).count(), n))]
            });
            println!("| {share} | {n} {}", percent(&held));
        }
    }
    println!("| differences | n | `paired_shares` | `wilson_mean` |");
    for n in SIZES {
        for rare in Rare::ALL {
            let (paired, kept) = rare.coverage(n, SAMPLES);
            let kept = kept.map_or("| |".to_owned(), |kept| percent(&[kept]));
            println!("| {} | {n} | {:.1} {kept}", rare.name(), 100.0 * paired);
            if paired < *PROMISE.start() {
                broken.push(format!("{} of {n}: {paired}", rare.name()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:?}");
}
