//! Whether additions depend on what is asked for: the commonest ones of two categories of inputs.

use serde::{Deserialize, Serialize};

use super::additions::Additions;
use super::text::{Common, commonest};

/// Commonest additions compared.
pub const MOST: usize = 20;

/// The commonest additions of two categories, and how many they share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CategoryMeasure {
    /// Landscape inputs.
    pub landscapes: usize,
    /// Portrait inputs.
    pub portraits: usize,
    /// The commonest additions of the landscapes.
    pub landscape: Vec<Common>,
    /// The commonest additions of the portraits.
    pub portrait: Vec<Common>,
    /// Additions in both lists.
    pub shared: Vec<String>,
    /// Their share of the longer list.
    pub overlap: f64,
}

impl CategoryMeasure {
    /// Compares the [`MOST`] commonest additions of the two.
    pub fn of(landscapes: &[Additions], portraits: &[Additions]) -> Self {
        let (landscape, portrait) = (commonest_phrases(landscapes), commonest_phrases(portraits));
        let is_shared = |common: &&Common| portrait.iter().any(|other| other.text == common.text);
        let shared: Vec<String> =
            landscape.iter().filter(is_shared).map(|common| common.text.clone()).collect();
        Self {
            landscapes: landscapes.len(),
            portraits: portraits.len(),
            overlap: shared.len() as f64 / landscape.len().max(portrait.len()).max(1) as f64,
            shared,
            landscape,
            portrait,
        }
    }
}

fn commonest_phrases(rows: &[Additions]) -> Vec<Common> {
    let phrases: Vec<Vec<String>> =
        rows.iter().map(|row| row.phrases.iter().map(|phrase| phrase.key.clone()).collect()).collect();
    commonest(phrases.iter().map(|row| row.iter()), rows.len(), MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(outputs: &[&str]) -> Vec<Additions> {
        outputs.iter().map(|output| Additions::of("x", output)).collect()
    }

    #[test]
    fn the_overlap_is_what_both_lists_have() {
        let measure = CategoryMeasure::of(
            &rows(&["x, 8k, golden hour", "x, 8k, wide shot, mist"]),
            &rows(&["x, 8k, bokeh", "x, 85mm, mist"]),
        );
        assert_eq!(measure.landscape[0].text, "8k");
        assert_eq!(measure.shared, ["8k", "mist"]);
        assert_eq!(measure.overlap, 0.5);
    }

    #[test]
    fn the_committed_lists_are_a_hundred_plain_inputs_each() {
        use crate::data::{degenerate, main_content, safety};
        let landscape = include_str!("../../tests/data/landscape100.txt");
        let portrait = include_str!("../../tests/data/portrait100.txt");
        let mut seen = std::collections::HashSet::new();
        for list in [landscape, portrait] {
            assert_eq!(list.lines().count(), 100);
            for line in list.lines() {
                assert!(seen.insert(line), "twice: {line}");
                let split = main_content::split(line).expect("a subject");
                assert_eq!(split.main_content, line, "a modifier");
                assert_eq!(degenerate::check(line), None, "{line}");
                assert_eq!(safety::check(line), None, "{line}");
            }
        }
    }
}
