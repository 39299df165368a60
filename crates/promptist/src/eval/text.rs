//! What many texts have in common, and how much of them is said once.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

/// Something that several texts have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Common {
    /// What: folded.
    pub text: String,
    /// Texts that have it.
    pub count: usize,
    /// Their share.
    pub share: f64,
}

/// The `most` entries that most of `n` rows have, ties in the order of the alphabet. An entry counts
/// once a row.
pub fn commonest<'a, R: Iterator<Item = &'a String>>(
    rows: impl Iterator<Item = R>,
    n: usize,
    most: usize,
) -> Vec<Common> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for row in rows {
        let distinct: HashSet<&str> = row.map(String::as_str).collect();
        for text in distinct {
            *counts.entry(text).or_default() += 1;
        }
    }
    let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
    counts.sort_by(|(a, a_count), (b, b_count)| b_count.cmp(a_count).then(a.cmp(b)));
    counts
        .into_iter()
        .take(most)
        .map(|(text, count)| Common { text: text.to_owned(), count, share: count as f64 / n.max(1) as f64 })
        .collect()
}

/// Distinct n-grams over all n-grams, within rows; 0 if there are none.
///
/// # Source
/// Li et al. 2016, "A Diversity-Promoting Objective Function for Neural Conversation Models".
pub fn distinct(rows: &[Vec<String>], n: usize) -> f64 {
    let all = rows.iter().map(|row| (row.len() + 1).saturating_sub(n)).sum::<usize>();
    let distinct: HashSet<&[String]> = rows.iter().flat_map(|row| row.windows(n)).collect();
    distinct.len() as f64 / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinct_n_is_distinct_over_all() {
        let row = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let rows = [row("a b a b"), row("a"), Vec::new()];
        assert_eq!(distinct(&rows, 1), 2.0 / 5.0);
        assert_eq!(distinct(&rows, 2), 2.0 / 3.0);
        assert_eq!(distinct(&[], 2), 0.0);
    }

    #[test]
    fn ties_are_in_the_order_of_the_alphabet() {
        let rows = [["b", "a", "a"], ["c", "b", "b"]].map(|row| row.map(str::to_owned));
        let found = commonest(rows.iter().map(|row| row.iter()), 2, 2);
        let texts: Vec<(&str, usize)> = found.iter().map(|c| (c.text.as_str(), c.count)).collect();
        assert_eq!(texts, [("b", 2), ("a", 1)]);
    }
}
