//! How common what a system adds is among what it adds to a set: a judge that a reward for one favourite phrase fools
//! least.

use std::collections::{HashMap, HashSet};

/// Of each rewrite of a set, the mean over its added phrases of the share of the rewrites that have the phrase too: 1
/// if everything gets the same, 1 / n if nothing comes twice; `None` where nothing was added. `keys` are the added
/// phrases of each rewrite, folded.
pub fn commonness(keys: &[Vec<String>]) -> Vec<Option<f64>> {
    let distinct = |row: &'_ [String]| row.iter().cloned().collect::<HashSet<String>>();
    let mut counts: HashMap<String, f64> = HashMap::new();
    for key in keys.iter().flat_map(|row| distinct(row)) {
        *counts.entry(key).or_default() += 1.0;
    }
    let n = keys.len() as f64;
    keys.iter()
        .map(|row| {
            let mut shares: Vec<f64> = distinct(row).iter().map(|key| counts[key] / n).collect();
            // A set has no order, and a sum has one.
            shares.sort_by(f64::total_cmp);
            (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_for_everything_is_common() {
        let row = |phrases: &[&str]| phrases.iter().map(|&phrase| phrase.to_owned()).collect::<Vec<_>>();
        let rows = [row(&["8k", "fur"]), row(&["8k"]), row(&[])];
        assert_eq!(commonness(&rows), [Some((2.0 / 3.0 + 1.0 / 3.0) / 2.0), Some(2.0 / 3.0), None]);
    }
}
