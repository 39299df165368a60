//! The parser of main content against a sample labelled by hand.
//!
//! 120 random DiffusionDB prompts (CC0) were labelled before the first rule was written, 120 more after.
//! Labels are never edited to suit a rule. The split is compared letter by letter, spelling aside: the
//! main content must end at exactly the labelled place.

#![allow(clippy::print_stdout)] // misses are for whoever runs the test with --nocapture

use promptist::data::{main_content, normalize};

#[derive(serde::Deserialize)]
struct Label {
    text: String,
    main_content: String,
    modifiers: Vec<String>,
}

/// Letters and digits only: what is left when spelling and punctuation are set aside.
fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The share of labels that the parser meets exactly; prints the others.
fn accuracy(name: &str, labels: &str) -> f64 {
    let labels: Vec<Label> =
        labels.lines().map(|line| serde_json::from_str(line).expect("a label a line")).collect();
    let mut right = 0;
    for label in &labels {
        assert!(
            !label.main_content.is_empty() && label.modifiers.iter().all(|modifier| !modifier.is_empty()),
            "{}",
            label.text
        );
        let text = normalize::normalize(&label.text).expect("labelled lines are prompts");
        let found = main_content::split(&text).map_or_else(String::new, |split| split.main_content);
        if letters(&found) == letters(&label.main_content) {
            right += 1;
        } else {
            println!("{name}: {text}\n  label: {}\n  found: {found}", label.main_content);
        }
    }
    let share = f64::from(right) / labels.len() as f64;
    println!("{name}: {right} of {} right, {:.1} %", labels.len(), 100.0 * share);
    share
}

#[test]
fn the_split_is_exact_on_nine_of_ten_prompts_labelled_before_the_rules() {
    let share = accuracy("before", include_str!("golden/main_content_before.jsonl"));
    assert!(share >= 0.9, "{share}");
}

#[test]
fn the_split_is_as_good_on_prompts_labelled_after_the_rules() {
    let share = accuracy("after", include_str!("golden/main_content_after.jsonl"));
    assert!(share >= 0.8, "{share}");
}
