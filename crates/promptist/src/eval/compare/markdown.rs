//! `report.md` of a comparison: tables for people, and for a model card.

use std::fmt::Write;

use super::{CompareReport, MeasureComparison, SetComparison};
use crate::statistics::Interval;

/// The report of a comparison as Markdown.
pub fn render(report: &CompareReport) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line("# Before and after".to_owned());
    line(String::new());
    line(match report.fallen.is_empty() {
        true => "No judge of another family found it worse.".to_owned(),
        false => format!("**Judges of another family found it worse: {}.**", report.fallen.join("; ")),
    });
    line(String::new());
    line(format!("- before: `{}`, weights SHA-256 `{}`", report.before.name, report.before.sha256));
    for after in &report.after {
        line(format!("- after: `{}`, weights SHA-256 `{}`", after.name, after.sha256));
    }
    line(format!(
        "- seed {}, {} resamples; means with 95 % intervals over inputs; a value after is the mean over the models after",
        report.config.seed, report.config.resamples
    ));
    if report.ngram_texts > 0 {
        line(format!("- the n-gram model has read {} prompts that people wrote", report.ngram_texts));
    }
    if let Some(quality) = &report.quality {
        line(format!(
            "- quality is foretold from {} words, fitted on {} rated prompts; its own rank correlation with people, on prompts left out of its fit: {}",
            quality.words,
            quality.prompts,
            quality.cross_validated.as_ref().map_or("not defined".to_owned(), interval),
        ));
    }
    line("- rewards of the text kind are proxies: they read prompts and never see a picture".to_owned());
    for set in report.sets.iter().chain([&report.all]) {
        line(String::new());
        line(format!("## {}, {} inputs", set.name, set.n));
        line(String::new());
        line("| measure | before | after | by model | difference | |".to_owned());
        line("|---|---|---|---|---|---|".to_owned());
        for measure in &set.measures {
            line(row(measure));
        }
        line(distinct(set));
    }
    line(String::new());
    line(format!("## {} inputs, not picked", report.samples.len()));
    for sample in &report.samples {
        line(String::new());
        line(format!("- {}: {}", sample.set, inline(&sample.user_input)));
        line(format!("  - before: {}", inline(&sample.before)));
        for after in &sample.after {
            line(format!("  - after: {}", inline(after)));
        }
    }
    out
}

fn row(measure: &MeasureComparison) -> String {
    let verdict = match (measure.is_better(), measure.is_worse()) {
        (true, _) => "better",
        (_, true) => "**worse**",
        _ => "",
    };
    let mut each = String::new();
    for (idx, mean) in measure.after_each.iter().enumerate() {
        let _ = write!(each, "{}{mean:.3}", if idx == 0 { "" } else { ", " });
    }
    format!(
        "| {} | {} | {} | {each} | {} | {verdict} |",
        measure.name,
        interval(&measure.before),
        interval(&measure.after),
        interval(&measure.difference)
    )
}

fn distinct(set: &SetComparison) -> String {
    let each: Vec<String> = set.distinct_after.iter().map(usize::to_string).collect();
    let mean = set.distinct_after.iter().sum::<usize>() as f64 / set.distinct_after.len().max(1) as f64;
    format!(
        "| distinct phrases added, all inputs together | {} | {mean:.0} | {} | | |",
        set.distinct_before,
        each.join(", ")
    )
}

fn interval(interval: &Interval) -> String {
    format!("{:.3} ({:.3} to {:.3})", interval.mean, interval.low, interval.high)
}

/// A prompt in a line of Markdown: as code, so that nothing in it is markup.
fn inline(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') || text.is_empty() { " " } else { "" };
    format!("{fence}{pad}{}{pad}{fence}", text.replace(['\n', '\r'], " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_code_whatever_they_hold() {
        assert_eq!(inline("a cat, 8k"), "`a cat, 8k`");
        assert_eq!(inline("a `b`"), "`` a `b` ``");
        assert_eq!(inline("a\nb"), "`a b`");
    }
}
