//! How common what a system adds is among what it adds to a set: a judge that a reward for one favourite phrase fools
//! least.

use std::collections::{BTreeSet, HashMap};

use super::distinct::LeftOut;

/// The mean over rewrites that add something of the mean over their added phrases of the share of all rewrites that have the
/// phrase too: 1 if everything gets the same, 1 / n if nothing comes twice; and the same without each target. `None` if
/// nothing is added. `keys` are the added phrases of each rewrite, folded; `targets` their targets, from 0 on.
///
/// What one rewrite adds changes the shares of all others, so the mean is none of independent numbers.
pub fn commonness(keys: &[Vec<String>], targets: &[usize]) -> Option<LeftOut> {
    // Of each phrase: the rewrites that have it, and what it weighs in them together.
    let mut found: HashMap<&str, usize> = HashMap::new();
    let rows: Vec<Vec<usize>> = keys
        .iter()
        .map(|row| {
            // A set has no order, and a sum has one.
            let phrases: BTreeSet<&str> = row.iter().map(String::as_str).collect();
            let id = |phrase| {
                let next = found.len();
                *found.entry(phrase).or_insert(next)
            };
            phrases.into_iter().map(id).collect()
        })
        .collect();
    let (mut counts, mut weights) = (vec![0.0; found.len()], vec![0.0; found.len()]);
    for row in &rows {
        for &phrase in row {
            counts[phrase] += 1.0;
            weights[phrase] += 1.0 / row.len() as f64;
        }
    }
    let own = |row: &Vec<usize>| row.iter().map(|&phrase| counts[phrase]).sum::<f64>() / row.len() as f64;
    let adding = rows.iter().filter(|row| !row.is_empty()).count();
    let total: f64 = rows.iter().filter(|row| !row.is_empty()).map(own).sum();
    let share = |sum: f64, adding: usize, n: usize| sum / adding.max(1) as f64 / n.max(1) as f64;

    let mut members: Vec<Vec<usize>> = vec![Vec::new(); targets.iter().max().map_or(0, |last| last + 1)];
    targets.iter().enumerate().for_each(|(row, &target)| members[target].push(row));
    let without = members.iter().map(|of| {
        // Its own rewrites go, and from the others' counts what its rewrites had a part in.
        let (mut gone, mut shared): (f64, HashMap<usize, (f64, f64)>) = (0.0, HashMap::new());
        let with_phrases: Vec<usize> = of.iter().copied().filter(|&row| !rows[row].is_empty()).collect();
        for &row in &with_phrases {
            gone += own(&rows[row]);
            for &phrase in &rows[row] {
                let (count, weight) = shared.entry(phrase).or_default();
                *count += 1.0;
                *weight += 1.0 / rows[row].len() as f64;
            }
        }
        let mut shared: Vec<(usize, (f64, f64))> = shared.into_iter().collect();
        shared.sort_unstable_by_key(|&(phrase, _)| phrase);
        let less: f64 =
            shared.iter().map(|&(phrase, (count, weight))| count * (weights[phrase] - weight)).sum();
        share(total - gone - less, adding - with_phrases.len(), rows.len() - of.len())
    });
    let whole = share(total, adding, rows.len());
    (adding > 0).then(|| LeftOut { whole, without: without.collect() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As it is defined.
    fn plainly(keys: &[Vec<String>]) -> f64 {
        let sets: Vec<BTreeSet<&String>> = keys.iter().map(|row| row.iter().collect()).collect();
        let share =
            |key: &String| sets.iter().filter(|set| set.contains(key)).count() as f64 / sets.len() as f64;
        let means: Vec<f64> = sets
            .iter()
            .filter(|set| !set.is_empty())
            .map(|set| set.iter().map(|key| share(key)).sum::<f64>() / set.len() as f64)
            .collect();
        means.iter().sum::<f64>() / means.len().max(1) as f64
    }

    #[test]
    fn a_phrase_for_everything_is_common() {
        let row = |phrases: &[&str]| phrases.iter().map(|&phrase| phrase.to_owned()).collect::<Vec<_>>();
        let rows = [row(&["8k", "fur", "8k"]), row(&["8k"]), row(&[])];
        let found = commonness(&rows, &[0, 1, 2]).expect("additions");
        assert!((found.whole - ((2.0 / 3.0 + 1.0 / 3.0) / 2.0 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
        assert_eq!(commonness(&[row(&[])], &[0]), None);
        assert_eq!(commonness(&[], &[]), None);
    }

    proptest! {
        #[test]
        fn what_is_left_is_what_it_would_be_without_the_target(
            rows in prop::collection::vec((prop::collection::vec(0_u8..6, 0..5), 0_usize..4), 1..9),
        ) {
            let keys: Vec<Vec<String>> =
                rows.iter().map(|(row, _)| row.iter().map(u8::to_string).collect()).collect();
            let targets: Vec<usize> = rows.iter().map(|(_, target)| *target).collect();
            let found = commonness(&keys, &targets);
            prop_assume!(found.is_some());
            let found = found.expect("additions");
            prop_assert!((found.whole - plainly(&keys)).abs() < 1e-12);
            for (target, without) in found.without.iter().enumerate() {
                let others = keys.iter().zip(&targets).filter(|(_, of)| **of != target);
                let others: Vec<Vec<String>> = others.map(|(row, _)| row.clone()).collect();
                let expected = plainly(&others);
                prop_assert!((without - expected).abs() < 1e-12, "{} {}", without, expected);
            }
        }
    }
}
