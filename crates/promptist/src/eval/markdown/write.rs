//! The pieces that Markdown is written of.

use std::fmt::Write;

use crate::eval::report::{Measure, Unit};
use crate::statistics::Interval;

pub fn section(out: &mut String, title: &str) {
    line(out, &format!("\n## {title}\n"));
}

pub fn table(out: &mut String, names: &[&str]) {
    row(out, names);
    line(out, &format!("|{}", "---|".repeat(names.len())));
}

pub fn row(out: &mut String, cells: &[&str]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    line(out, &format!("| {} |", cells.join(" | ")));
}

pub fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("writing to a string cannot fail");
}

/// Text as it is on one line, whatever marks are in it.
pub fn code(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') || text.is_empty() { " " } else { "" };
    format!("{fence}{pad}{}{pad}{fence}", text.replace(['\n', '\r'], " "))
}

/// A mean with its interval, in the measure's unit.
pub fn interval(interval: &Interval, measure: Option<&Measure>) -> String {
    let Interval { mean, low, high, .. } = *interval;
    let [mean, low, high] = [mean, low, high].map(|value| number(value, measure));
    format!("{mean} ({low} to {high})")
}

/// A number in the measure's unit. What rounds to nothing has no sign.
pub fn number(value: f64, measure: Option<&Measure>) -> String {
    let text = match measure.map(|measure| measure.unit) {
        Some(Unit::Share) => format!("{:.1} %", 100.0 * value),
        Some(Unit::Count | Unit::Tokens) => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    };
    match text.strip_prefix('-') {
        Some(size) if !size.contains(|c: char| ('1'..='9').contains(&c)) => size.to_owned(),
        _ => text,
    }
}

pub fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

pub fn p_value(p: f64) -> String {
    if p < 0.001 { "< 0.001".to_owned() } else { format!("{p:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_no_sign() {
        assert_eq!((number(-0.0004, None), number(-0.0006, None)), ("0.000".to_owned(), "-0.001".to_owned()));
    }

    #[test]
    fn a_bar_in_a_cell_does_not_end_it() {
        let mut out = String::new();
        table(&mut out, &["a", "b"]);
        row(&mut out, &["x|y", "z"]);
        assert_eq!(out, "| a | b |\n|---|---|\n| x\\|y | z |\n");
    }

    #[test]
    fn prompts_are_code_whatever_they_hold() {
        assert_eq!(code("a *cat*\n"), "`a *cat* `");
        assert_eq!(code("a `b`"), "`` a `b` ``");
        assert_eq!(code("a ``b c"), "```a ``b c```");
    }
}
