//! Samples of a run before and after, side by side.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde::Deserialize;

use crate::data::lines;
use crate::error::{Error, Result};
use crate::eval::additions::Additions;
use crate::html::escape;

/// Inputs that a page shows: the first ones, not chosen ones.
const MOST_INPUTS: usize = 24;

/// A line of `samples.jsonl`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Sample {
    step: u64,
    user_input: String,
    adapted_prompt: String,
    /// None if a term failed.
    reward: Option<f64>,
    #[serde(default)]
    terms: BTreeMap<String, Option<f64>>,
    #[serde(default)]
    held_out: BTreeMap<String, Option<f64>>,
}

/// The samples of a run; none if it has written none yet. A last line that is cut short is left out.
///
/// # Errors
/// [`Error::Io`]; [`Error::Line`] for any other line that is no sample.
pub(super) fn read(run: &Path) -> Result<Vec<Sample>> {
    let path = run.join("samples.jsonl");
    if !std::fs::exists(&path).map_err(Error::io(&path))? {
        return Ok(Vec::new());
    }
    let lines = lines::read(&path)?;
    let count = lines.len();
    let mut samples = Vec::with_capacity(count);
    for (number, line) in (1..).zip(lines) {
        match serde_json::from_str(&line) {
            Ok(sample) => samples.push(sample),
            Err(_) if number == count => break,
            Err(error) => return Err(Error::line(&path, number, error.to_string())),
        }
    }
    Ok(samples)
}

/// A table: a row for an input; columns for the first evaluation, the best and the last.
pub(super) fn table(samples: &[Sample], best_step: Option<u64>) -> String {
    let (Some(first), Some(last)) =
        (samples.iter().map(|sample| sample.step).min(), samples.iter().map(|sample| sample.step).max())
    else {
        return String::new();
    };
    let mut columns = vec![(first, format!("before (round {first})"))];
    let best = best_step.filter(|best| samples.iter().any(|sample| sample.step == *best));
    if let Some(best) = best.filter(|best| *best != first && *best != last) {
        columns.push((best, format!("best (round {best})")));
    }
    if last != first {
        let name = if best == Some(last) { "best and last" } else { "last" };
        columns.push((last, format!("{name} (round {last})")));
    }

    let mut by_input: BTreeMap<(u64, &str), &Sample> = BTreeMap::new();
    for sample in samples {
        by_input.insert((sample.step, &sample.user_input), sample);
    }
    let inputs: Vec<&str> = samples
        .iter()
        .filter(|sample| sample.step == first)
        .map(|sample| sample.user_input.as_str())
        .collect();
    let mut html = String::from("<h2>Samples</h2>\n");
    let shown = inputs.len().min(MOST_INPUTS);
    let _ = writeln!(
        html,
        "<p class=\"dim\">The first {shown} of {} validation inputs, not chosen ones. What the model added is \
         <mark>marked</mark>.</p>\n<table class=\"samples\">\n<thead><tr><th>input</th>{}</tr></thead>\n<tbody>",
        inputs.len(),
        columns.iter().map(|(_, name)| format!("<th>{name}</th>")).collect::<String>()
    );
    for input in &inputs[..shown] {
        let _ = write!(html, "<tr><td>{}</td>", escape(input.trim()));
        for (step, _) in &columns {
            let cell = by_input.get(&(*step, *input)).map_or("–".to_owned(), |sample| sample.cell());
            let _ = write!(html, "<td>{cell}</td>");
        }
        html += "</tr>\n";
    }
    html + "</tbody>\n</table>\n"
}

impl Sample {
    fn cell(&self) -> String {
        let number = |(name, value): (&String, &Option<f64>)| {
            let value = value.map_or("–".to_owned(), |value| format!("{value:+.3}"));
            format!("{} {value}", escape(name))
        };
        let reward = self.reward.map_or("no reward".to_owned(), |reward| format!("<b>{reward:+.3}</b>"));
        let mut numbers = vec![reward];
        // A single term is the reward again.
        if self.terms.len() > 1 {
            numbers.extend(self.terms.iter().map(number));
        }
        numbers.extend(self.held_out.iter().map(number));
        format!(
            "{}<div class=\"dim\">{}</div>",
            marked(&self.user_input, &self.adapted_prompt),
            numbers.join(" · ")
        )
    }
}

/// The adapted prompt with its additions marked.
fn marked(user_input: &str, adapted_prompt: &str) -> String {
    let adapted = adapted_prompt.trim();
    if adapted.is_empty() {
        return "<em>empty</em>".to_owned();
    }
    let additions = Additions::of(user_input, adapted);
    if let Some(kept) = adapted.strip_suffix(&additions.text).filter(|_| !additions.text.is_empty()) {
        return format!("{}<mark>{}</mark>", escape(kept), escape(&additions.text));
    }
    let mut html = String::new();
    let mut rest = adapted;
    for phrase in &additions.phrases {
        if let Some((before, after)) = rest.split_once(&phrase.text) {
            let _ = write!(html, "{}<mark>{}</mark>", escape(before), escape(&phrase.text));
            rest = after;
        }
    }
    html + &escape(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_are_marked_wherever_they_stand() {
        for (input, output, expected) in [
            ("a cat", "a cat, 8k <b>", "a cat, <mark>8k &lt;b&gt;</mark>"),
            ("a cat", "a cat", "a cat"),
            ("a cat", " ", "<em>empty</em>"),
            (
                "a cat on a mat",
                "8k, the cat on a mat, art",
                "<mark>8k</mark>, the cat on a mat, <mark>art</mark>",
            ),
        ] {
            assert_eq!(marked(input, output), expected);
        }
    }

    fn sample(step: u64, user_input: &str, adapted_prompt: &str) -> Sample {
        Sample {
            step,
            user_input: user_input.to_owned(),
            adapted_prompt: adapted_prompt.to_owned(),
            reward: Some(0.5),
            terms: BTreeMap::new(),
            held_out: [("guard".to_owned(), None)].into(),
        }
    }

    #[test]
    fn columns_are_the_first_the_best_and_the_last_each_once() {
        let samples: Vec<Sample> = [0, 10, 20].map(|step| sample(step, "a cat", "a cat, 8k")).into();
        let html = table(&samples, Some(10));
        assert!(html.contains("before (round 0)") && html.contains("best (round 10)"), "{html}");
        assert!(html.contains("last (round 20)") && html.contains("guard –"), "{html}");
        assert!(table(&samples, Some(20)).contains("best and last (round 20)"));
        assert!(!table(&samples, Some(15)).contains("best"), "there are no samples of round 15");
        assert_eq!(table(&samples[..1], None).matches("<th>").count(), 2);
        assert_eq!(table(&[], None), "");
    }
}
