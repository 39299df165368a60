//! Do 95 % intervals hold the truth 95 times in a hundred? Samples are drawn from populations whose truth is known.
//!
//! The quick half runs always. `PROMPTIST_SLOW_TESTS=1` draws the whole table of the module's documentation; with
//! `--nocapture` it is printed.

#![allow(clippy::print_stdout)] // --nocapture shows the table

use std::f64::consts::PI;
use std::thread;

use promptist::statistics::{
    Comparison, Interval, Level, bootstrap, bootstrap_mean, bounds, bradley_terry_intervals,
    krippendorff_alpha_interval, spearman, wilson,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What the intervals promise, give or take.
const PROMISE: std::ops::RangeInclusive<f64> = 0.93..=0.97;

const KINDS: [&str; 4] = ["percentile", "BCa", "studentised", "bootstrap_mean"];

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    // Box and Muller; 1 − u is never 0.
    (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt() * (2.0 * PI * rng.random::<f64>()).cos()
}

/// Something to draw values from, with the mean that intervals should hold.
struct Population {
    name: &'static str,
    mean: f64,
    draw: fn(&mut ChaCha8Rng) -> f64,
}

const POPULATIONS: [Population; 9] = [
    Population { name: "normal", mean: 0.0, draw: normal },
    Population { name: "exponential", mean: 1.0, draw: |rng| -(1.0 - rng.random::<f64>()).ln() },
    Population {
        name: "lognormal s=.5",
        mean: 1.133_148_453_066_826_3,
        draw: |rng| (0.5 * normal(rng)).exp(),
    },
    Population { name: "lognormal s=1", mean: 1.648_721_270_700_128_2, draw: |rng| normal(rng).exp() },
    // Paired differences of which most are 0 and the others lean one way.
    Population {
        name: "zero in 60%",
        mean: 0.4 * 0.5,
        draw: |rng| if rng.random_bool(0.6) { 0.0 } else { 0.5 + normal(rng) },
    },
    // Paired differences of flags.
    Population {
        name: "-1, 0, 1",
        mean: 0.2 - 0.1,
        draw: |rng| match rng.random::<f64>() {
            u if u < 0.1 => -1.0,
            u if u < 0.3 => 1.0,
            _ => 0.0,
        },
    },
    Population { name: "share 0.5", mean: 0.5, draw: |rng| f64::from(u8::from(rng.random_bool(0.5))) },
    Population { name: "share 0.2", mean: 0.2, draw: |rng| f64::from(u8::from(rng.random_bool(0.2))) },
    Population { name: "share 0.05", mean: 0.05, draw: |rng| f64::from(u8::from(rng.random_bool(0.05))) },
];

/// The ends of every kind, on the same resamples.
fn ends(values: &[f64], resamples: usize, seed: u64) -> [(f64, f64); 4] {
    let n = values.len();
    let whole = bootstrap_mean(values, resamples, seed).expect("values");
    if whole.low == whole.high {
        return [(whole.low, whole.high); 4];
    }
    let count = n as f64;
    let deviations: Vec<f64> = values.iter().map(|value| value - whole.mean).collect();
    let error =
        |sum: f64, squares: f64| ((squares - sum * sum / count).max(0.0) / (count - 1.0) / count).sqrt();
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 1);
    let (mut means, mut ratios): (Vec<f64>, Vec<f64>) = (0..resamples)
        .map(|_| {
            let (mut sum, mut squares) = (0.0, 0.0);
            for _ in 0..n {
                let deviation = deviations[rng.random_range(0..n)];
                sum += deviation;
                squares += deviation * deviation;
            }
            (whole.mean + sum / count, sum / count / error(sum, squares).max(1e-9))
        })
        .unzip();
    means.sort_by(f64::total_cmp);
    ratios.sort_by(f64::total_cmp);
    let left_out: Vec<f64> = deviations.iter().map(|deviation| -deviation / (count - 1.0)).collect();
    let percentile = bounds::percentile(&means);
    let bca = bounds::bca(&means, whole.mean, &left_out).unwrap_or(percentile);
    let sample_error = error(0.0, deviations.iter().map(|d| d * d).sum());
    let studentised = bounds::studentised(&ratios, whole.mean, sample_error).unwrap_or(percentile);
    [percentile, bca, studentised, (whole.low, whole.high)]
}

/// The shares of `samples` samples whose intervals hold the truth, all kinds.
fn coverage(population: &Population, n: usize, samples: usize, resamples: usize) -> [f64; 4] {
    let mut rng = ChaCha8Rng::seed_from_u64(n as u64);
    let mut held = [0; 4];
    for seed in 0..samples {
        let values: Vec<f64> = (0..n).map(|_| (population.draw)(&mut rng)).collect();
        for (held, (low, high)) in held.iter_mut().zip(ends(&values, resamples, seed as u64)) {
            *held += usize::from((low - 1e-12..=high + 1e-12).contains(&population.mean));
        }
    }
    held.map(|held| held as f64 / samples as f64)
}

#[test]
fn table() {
    let samples = std::env::var("SAMPLES").map_or(1000, |s| s.parse().expect("n"));
    println!("{:<16}{:>5}{:>12}{:>12}{:>12}{:>16}", "", "n", KINDS[0], KINDS[1], KINDS[2], KINDS[3]);
    let rows: Vec<_> = thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            scope.spawn(move || {
                let mut rows = Vec::new();
                for (idx, population) in POPULATIONS.iter().enumerate().filter(|(i, _)| i % 2 == half) {
                    for n in [20, 50, 100, 300] {
                        rows.push((idx, n, coverage(population, n, samples, 1000)));
                    }
                }
                rows
            })
        });
        halves.into_iter().flat_map(|half| half.join().expect("ran")).collect()
    });
    let mut rows = rows;
    rows.sort_by_key(|row| (row.0, row.1));
    for (idx, n, found) in rows {
        let found = found.map(|share| format!("{:.1}", 100.0 * share));
        println!(
            "{:<16}{n:>5}{:>12}{:>12}{:>12}{:>16}",
            POPULATIONS[idx].name, found[0], found[1], found[2], found[3]
        );
    }
}

/// Coverage of an interval made anew for each of `samples` seeds.
fn coverage_of(samples: u64, truth: f64, interval: impl Fn(&mut ChaCha8Rng, u64) -> Option<Interval>) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let held = (0..samples)
        .filter(|&seed| interval(&mut rng, seed).is_some_and(|interval| interval.contains(truth)));
    held.count() as f64 / samples as f64
}

#[test]
fn others() {
    let samples = std::env::var("SAMPLES").map_or(500, |s| s.parse().expect("n"));
    for n in [20, 50, 100, 300] {
        let rank = coverage_of(samples, 6.0 / PI * (0.25_f64).asin(), |rng, seed| {
            let (a, b): (Vec<f64>, Vec<f64>) = (0..n)
                .map(|_| {
                    let a = normal(rng);
                    (a, 0.5 * a + 0.75_f64.sqrt() * normal(rng))
                })
                .unzip();
            bootstrap(n, 1000, seed, |chosen| {
                let (a, b): (Vec<f64>, Vec<f64>) = chosen.iter().map(|&idx| (a[idx], b[idx])).unzip();
                spearman(&a, &b)
            })
        });
        println!("spearman n {n}: {:.1}", 100.0 * rank);
    }
    for n in [30, 100] {
        let truth = [0.5_f64, 0.0, -0.5];
        let strength = coverage_of(samples, truth[0], |rng, seed| {
            let mut units = Vec::new();
            let comparisons: Vec<Comparison> = (0..3 * n)
                .map(|idx| {
                    units.push(idx / 3);
                    let (a, b) = [(0, 1), (1, 2), (2, 0)][idx % 3];
                    let wins = rng.random_bool(1.0 / (1.0 + (truth[b] - truth[a]).exp()));
                    let (winner, loser) = if wins { (a, b) } else { (b, a) };
                    Comparison { winner, loser, is_tie: false }
                })
                .collect();
            Some(bradley_terry_intervals(3, &comparisons, &units, 0.01, 1000, seed)?[0])
        });
        println!("strength n {n}: {:.1}", 100.0 * strength);
    }
    // Three raters who say the truth, a coin, with 0.8, and else the other: alpha of two values is
    // (2 · 0.8 − 1)² without end of units.
    for n in [30, 100, 300] {
        let alpha = coverage_of(samples, 0.36, |rng, seed| {
            let ratings: Vec<Vec<Option<f64>>> = (0..n)
                .map(|_| {
                    let truth = rng.random_bool(0.5);
                    (0..3).map(|_| Some(f64::from(u8::from(rng.random_bool(0.8) == truth)))).collect()
                })
                .collect();
            krippendorff_alpha_interval(&ratings, Level::Nominal, 1000, seed)
        });
        println!("alpha n {n}: {:.1}", 100.0 * alpha);
    }
    for n in [20, 50, 100, 300] {
        for p in [0.05, 0.2, 0.5] {
            let share =
                coverage_of(20_000, p, |rng, _| wilson((0..n).filter(|_| rng.random_bool(p)).count(), n));
            println!("wilson n {n} p {p}: {:.1}", 100.0 * share);
        }
    }
}
