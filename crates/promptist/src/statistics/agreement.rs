//! Agreement of raters beyond chance: Krippendorff's alpha of any number of them, Cohen's kappa of two answers.

use super::bootstrap::bootstrap;
use super::interval::Interval;

/// What the numbers of a rating mean, so how far apart two of them are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Names: equal or not.
    Nominal,
    /// Ranks: as far apart as there are ratings between them.
    Ordinal,
    /// Amounts: as far apart as their difference.
    Interval,
}

/// Krippendorff's alpha: 1 is perfect agreement, 0 what chance gives, below 0 systematic disagreement.
///
/// `ratings` is units by raters, `None` (or NaN) where a rater did not answer; units with fewer than two ratings say
/// nothing about agreement and are left out. `None` where alpha is not defined: no unit has two ratings (one rater), or
/// all ratings are equal, so that there is nothing to disagree about.
///
/// # Source
/// Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability"; `krippendorff.alpha` of PyPI.
pub fn krippendorff_alpha(ratings: &[Vec<Option<f64>>], level: Level) -> Option<f64> {
    let units: Vec<&[Option<f64>]> = ratings.iter().map(Vec::as_slice).collect();
    alpha_of_units(&units, level)
}

/// Alpha with its interval by [`bootstrap`] over units. Raters are taken as given: it says nothing of other raters.
pub fn krippendorff_alpha_interval(
    ratings: &[Vec<Option<f64>>],
    level: Level,
    resamples: usize,
    seed: u64,
) -> Option<Interval> {
    // Units that cannot be compared are no observations.
    let units: Vec<&[Option<f64>]> =
        ratings.iter().map(Vec::as_slice).filter(|unit| answers(unit).count() >= 2).collect();
    bootstrap(units.len(), resamples, seed, |chosen| {
        alpha_of_units(&chosen.iter().map(|&unit| units[unit]).collect::<Vec<_>>(), level)
    })
}

/// Cohen's kappa of two answers to the same questions, as of one rater asked twice; `None` without questions, if the
/// lengths differ, or if both always give the one same answer.
///
/// # Source
/// Cohen 1960; `statsmodels.stats.inter_rater.cohens_kappa`.
pub fn cohen_kappa(a: &[usize], b: &[usize]) -> Option<f64> {
    if a.len() != b.len() || a.is_empty() {
        return None;
    }
    let mut labels = [a, b].concat();
    labels.sort_unstable();
    labels.dedup();
    let share = |of: &[usize], label: usize| {
        of.iter().filter(|&&answer| answer == label).count() as f64 / of.len() as f64
    };
    let by_chance: f64 = labels.iter().map(|&label| share(a, label) * share(b, label)).sum();
    let same = a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / a.len() as f64;
    (labels.len() > 1).then(|| (same - by_chance) / (1.0 - by_chance))
}

fn answers(unit: &[Option<f64>]) -> impl Iterator<Item = f64> {
    unit.iter().flatten().copied().filter(|value| !value.is_nan())
}

fn alpha_of_units(units: &[&[Option<f64>]], level: Level) -> Option<f64> {
    let units: Vec<Vec<f64>> =
        units.iter().map(|unit| answers(unit).collect::<Vec<_>>()).filter(|unit| unit.len() >= 2).collect();
    let mut all: Vec<f64> = units.iter().flatten().copied().collect();
    all.sort_by(f64::total_cmp);
    let same = all.chunk_by(|a, b| a == b);
    let (values, counts): (Vec<f64>, Vec<f64>) = same.map(|same| (same[0], same.len() as f64)).unzip();
    if values.len() < 2 {
        return None;
    }
    // A value's place among the ratings, from 0 to 1 below their number: the middle of its ties. Places of two values are
    // apart by what lies between them and half of each, which is the ordinal distance.
    let mut below = 0.0;
    let places: Vec<f64> = counts
        .iter()
        .map(|count| {
            below += count;
            below - count / 2.0
        })
        .collect();
    let distance = |a: usize, b: usize| match level {
        Level::Nominal => f64::from(u8::from(a != b)),
        Level::Ordinal => (places[a] - places[b]).powi(2),
        Level::Interval => (values[a] - values[b]).powi(2),
    };
    // Among all pairs of ratings that could be paired, whoever gave them and for whatever unit.
    let mut expected = 0.0;
    for a in 0..values.len() {
        for b in 0..a {
            expected += counts[a] * counts[b] * distance(a, b);
        }
    }
    let mut observed = 0.0;
    for unit in &units {
        let indices: Vec<usize> =
            unit.iter().map(|value| values.partition_point(|other| other < value)).collect();
        let mut within = 0.0;
        for (idx, &a) in indices.iter().enumerate() {
            within += indices[..idx].iter().map(|&b| distance(a, b)).sum::<f64>();
        }
        observed += within / (unit.len() - 1) as f64;
    }
    Some(1.0 - (all.len() - 1) as f64 * observed / expected)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ratings(rows: &[&[i32]]) -> Vec<Vec<Option<f64>>> {
        let rating = |&value: &i32| (value >= 0).then(|| f64::from(value));
        rows.iter().map(|row| row.iter().map(rating).collect()).collect()
    }

    #[test]
    fn alpha_by_hand() {
        // Krippendorff's example of two observers and a binary variable: 1 − 19 · 4·2 / (14·6·2).
        let a = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0];
        let b = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0];
        let rows: Vec<Vec<i32>> = a.iter().zip(b).map(|(&a, b)| vec![a, b]).collect();
        let rows: Vec<&[i32]> = rows.iter().map(Vec::as_slice).collect();
        let found = krippendorff_alpha(&ratings(&rows), Level::Nominal).expect("defined");
        assert!((found - (1.0 - 19.0 * 4.0 / 84.0)).abs() < 1e-12, "{found}");
    }

    #[test]
    fn degenerate_ratings() {
        let check = |rows: &[&[i32]], expected| {
            for level in [Level::Nominal, Level::Ordinal, Level::Interval] {
                assert_eq!(krippendorff_alpha(&ratings(rows), level), expected, "{level:?}");
            }
        };
        check(&[], None);
        check(&[&[1], &[2], &[3]], None);
        check(&[&[1, 1], &[1, 1]], None);
        check(&[&[1, -1], &[-1, 2]], None);
        check(&[&[1, 1], &[2, 2], &[7, -1]], Some(1.0));
        assert_eq!(krippendorff_alpha_interval(&ratings(&[&[1, 1]]), Level::Nominal, 100, 1), None);
    }

    #[test]
    fn kappa_by_hand() {
        assert_eq!(cohen_kappa(&[], &[]), None);
        assert_eq!(cohen_kappa(&[1, 2], &[1]), None);
        assert_eq!(cohen_kappa(&[1, 1], &[1, 1]), None);
        assert_eq!(cohen_kappa(&[0, 1, 0, 1], &[0, 1, 0, 1]), Some(1.0));
        // Same 3 of 4; by chance 1/2 · 1/4 + 1/2 · 3/4.
        assert_eq!(cohen_kappa(&[0, 0, 1, 1], &[0, 1, 1, 1]), Some(0.5));
    }

    proptest! {
        #[test]
        fn alpha_knows_neither_raters_nor_units_by_name(
            rows in prop::collection::vec(prop::collection::vec(-1_i32..4, 3), 1..12)
        ) {
            let rows: Vec<&[i32]> = rows.iter().map(Vec::as_slice).collect();
            let turned: Vec<Vec<i32>> =
                rows.iter().rev().map(|row| row.iter().rev().copied().collect()).collect();
            let turned: Vec<&[i32]> = turned.iter().map(Vec::as_slice).collect();
            for level in [Level::Nominal, Level::Ordinal, Level::Interval] {
                let found = krippendorff_alpha(&ratings(&rows), level);
                let other = krippendorff_alpha(&ratings(&turned), level);
                prop_assert_eq!(found.is_some(), other.is_some());
                if let (Some(found), Some(other)) = (found, other) {
                    prop_assert!(found <= 1.0 && (found - other).abs() < 1e-12);
                }
            }
        }
    }
}
