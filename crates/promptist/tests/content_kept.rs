//! The measures of kept content against rewrites labelled by hand.
//!
//! `tests/data/content/README.md` says what the labels mean and how the rows came about. The floors are a little
//! under what was measured; a test that falls below one says which.

#![allow(clippy::print_stdout)] // the table and the misses are for whoever runs the test with --nocapture

use std::collections::BTreeMap;

use promptist::eval::content::ContentKept;

#[derive(serde::Deserialize)]
struct Row {
    user_input: String,
    adapted_prompt: String,
    labels: Vec<String>,
}

const LABELS: [&str; 6] =
    ["kept", "object_lost", "attribute_moved", "count_changed", "negation_dropped", "name_changed"];

/// Rows that have a label, by whether the measure gives it.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    right: usize,
    wrong: usize,
    missed: usize,
}

impl Tally {
    fn precision(self) -> f64 {
        self.right as f64 / (self.right + self.wrong).max(1) as f64
    }

    fn recall(self) -> f64 {
        self.right as f64 / (self.right + self.missed).max(1) as f64
    }
}

fn rows(text: &str) -> Vec<Row> {
    text.lines().map(|line| serde_json::from_str(line).expect("a row a line")).collect()
}

/// The labels that the measure gives to a pair.
fn measured(kept: &ContentKept) -> Vec<&'static str> {
    let lost: Vec<&str> = kept
        .kinds()
        .into_iter()
        .zip(&LABELS[1..])
        .filter(|((_, kept), _)| !kept.lost.is_empty())
        .map(|(_, label)| *label)
        .collect();
    if lost.is_empty() { vec!["kept"] } else { lost }
}

/// Counts each label over the rows, prints the table and the rows that are read otherwise than labelled.
fn tally(half: &str, text: &str) -> BTreeMap<&'static str, Tally> {
    let rows = rows(text);
    let (mut tallies, mut exact) = (BTreeMap::<&str, Tally>::new(), 0);
    for row in &rows {
        assert!(row.labels.iter().all(|label| LABELS.contains(&label.as_str())), "{:?}", row.labels);
        let kept = ContentKept::of(&row.user_input, &row.adapted_prompt);
        let found = measured(&kept);
        for label in LABELS {
            let tally = tallies.entry(label).or_default();
            match (found.contains(&label), row.labels.iter().any(|own| own == label)) {
                (true, true) => tally.right += 1,
                (true, false) => tally.wrong += 1,
                (false, true) => tally.missed += 1,
                (false, false) => {}
            }
        }
        if found == row.labels {
            exact += 1;
        } else {
            println!(
                "{half}: {}\n  -> {}\n  label {:?}, found {found:?}",
                row.user_input, row.adapted_prompt, row.labels
            );
        }
    }
    println!("\n{half}: {exact} of {} rows read as labelled", rows.len());
    println!("{:<18}{:>6}{:>11}{:>8}", "label", "rows", "precision", "recall");
    for label in LABELS {
        let tally = tallies[label];
        let rows = tally.right + tally.missed;
        println!("{label:<18}{rows:>6}{:>11.3}{:>8.3}", tally.precision(), tally.recall());
    }
    tallies
}

/// `floors`: of precision and recall, in the order of [`LABELS`].
#[track_caller]
fn check(half: &str, text: &str, floors: [(f64, f64); 6]) {
    let tallies = tally(half, text);
    for (label, (precision, recall)) in LABELS.into_iter().zip(floors) {
        let tally = tallies[label];
        assert!(tally.precision() >= precision, "{half}: precision of {label}: {tally:?}");
        assert!(tally.recall() >= recall, "{half}: recall of {label}: {tally:?}");
    }
}

#[test]
fn the_measures_read_the_rewrites_that_they_were_tuned_on() {
    let floors = [(0.98, 0.97), (0.94, 0.98), (0.97, 0.97), (0.97, 0.97), (0.97, 0.97), (0.97, 0.95)];
    check("dev", include_str!("data/content/dev.jsonl"), floors);
}

/// Rows that were written before the rules and that nobody tuned on.
#[test]
fn the_measures_read_the_rewrites_that_they_were_not_tuned_on() {
    let floors = [(0.96, 0.9), (0.9, 0.97), (0.89, 0.95), (0.95, 0.95), (0.96, 0.98), (0.96, 0.96)];
    check("test", include_str!("data/content/test.jsonl"), floors);
}

/// Rows for random inputs, tuned on after they were read once. A label of fewer than ten rows has no floor.
#[test]
fn the_measures_read_rewrites_of_random_inputs() {
    let floors = [(0.98, 0.88), (0.79, 0.95), (0.84, 0.9), (0.0, 0.0), (0.0, 0.0), (0.9, 0.9)];
    check("wild", include_str!("data/content/wild.jsonl"), floors);
    let floors = [(0.94, 0.72), (0.82, 0.95), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (0.58, 0.8)];
    check("fresh", include_str!("data/content/fresh.jsonl"), floors);
}
