//! `report.md`: the tables of a report for people, and for a model card.

use std::fmt::Write;

use super::likelihood::Layout;
use super::old_report::{Bound, Report, SetReport};
use super::run::Findings;
use super::text::{Common, Row};

/// What a table says of a set.
type Cell = fn(&SetReport) -> String;

/// The report of an evaluation as Markdown.
pub fn render(findings: &Findings) -> String {
    let report = &findings.report;
    let mut out = String::new();
    head(&mut out, report);
    checks(&mut out, report);
    measures(&mut out, report);
    commonest(&mut out, report);
    fit_and_diversity(&mut out, report);
    categories(&mut out, report);
    likelihood(&mut out, report);
    samples(&mut out, &findings.samples(report.config.samples, report.config.seed));
    out
}

fn head(out: &mut String, report: &Report) {
    let decoding = &report.settings.decoding;
    line(out, "# Evaluation");
    line(out, "");
    line(out, &format!("Model `{}`, weights SHA-256 `{}`.", report.model.name, report.model.sha256));
    line(
        out,
        &format!(
            "promptist {}, seed {}; {} beams, length penalty {}, at most {} new tokens, sampling {}, user's words kept: {:?}.",
            report.version,
            report.config.seed,
            decoding.num_beams,
            decoding.length_penalty,
            decoding.max_new_tokens,
            if decoding.do_sample { "on" } else { "off" },
            report.settings.keep,
        ),
    );
    let counts: Vec<String> = report.sets.iter().map(|set| format!("{} {}", set.name, set.text.n)).collect();
    line(out, &format!("Inputs: {}.", counts.join(", ")));
    for set in report.sets.iter().filter(|set| !set.failed.is_empty()) {
        line(out, &format!("{}: {} inputs could not be adapted.", set.name, set.failed.len()));
    }
}

fn checks(out: &mut String, report: &Report) {
    section(out, "What is asked, and what is measured");
    table(out, &["measure", "set", "asked", "measured", ""]);
    for check in &report.checks {
        let number = |value: f64| match check.measure.starts_with("nats") {
            true => format!("{value:.3}"),
            false => percent(value),
        };
        let asked = match check.bound {
            Bound::AtLeast(bound) => format!("≥ {}", number(bound)),
            Bound::AtMost(bound) => format!("≤ {}", number(bound)),
        };
        let verdict = if check.passes { "pass" } else { "**fail**" };
        row(out, &[check.measure, &check.set, &asked, &number(check.value), verdict]);
    }
}

fn measures(out: &mut String, report: &Report) {
    section(out, "Outputs");
    let rows: [(&str, Cell); 17] = [
        ("outputs", |set| set.text.n.to_string()),
        ("content words kept, mean", |set| percent(set.text.content_kept)),
        ("outputs keeping all of them", |set| percent(set.text.all_content_kept)),
        ("outputs adding ≥ 3 style modifiers", |set| percent(set.text.three_modifiers)),
        ("degenerate by the model's doing", |set| percent(set.text.degenerate)),
        ("how", |set| {
            let flaws: Vec<String> =
                set.text.flaws.iter().map(|(flaw, count)| format!("{flaw} {count}")).collect();
            flaws.join(", ")
        }),
        ("degenerate, inputs' own flaws included", |set| percent(set.text.degenerate_with_inputs_flaws)),
        ("adding a word the training text never has", |set| optional(set.text.unknown_words)),
        ("refused: unsafe inputs, nothing added", |set| set.text.refused.to_string()),
        ("adding an artist of the file", |set| optional(set.text.artists)),
        ("adding an artist of the embedded list", |set| percent(set.text.listed_artists)),
        ("added phrases, mean", |set| format!("{:.2}", set.text.added_phrases)),
        ("added tokens, mean", |set| format!("{:.1}", set.text.added_tokens)),
        ("distinct words / words added", |set| format!("{:.3}", set.text.distinct_1)),
        ("distinct pairs / pairs of words added", |set| format!("{:.3}", set.text.distinct_2)),
        ("distinct / added phrases", |set| format!("{:.3}", set.text.distinct_phrases)),
        ("inputs that failed", |set| set.failed.len().to_string()),
    ];
    set_table(out, report, "measure", &rows);
    let unknown = &report.all.text.unknown_word_examples;
    if !unknown.is_empty() {
        line(out, "");
        line(out, &format!("Words that the training text never has: {}.", unknown.join(", ")));
    }
}

fn commonest(out: &mut String, report: &Report) {
    section(out, "Commonest added phrases");
    let columns: Vec<&[Common]> = sets(report).map(|set| set.text.commonest_phrases.as_slice()).collect();
    let names: Vec<&str> = sets(report).map(|set| set.name.as_str()).collect();
    common_table(out, &names, &columns, 10);
    let artists = &report.all.text.commonest_artists;
    if !artists.is_empty() {
        let named: Vec<String> =
            artists.iter().map(|artist| format!("{} {}", artist.text, artist.count)).collect();
        line(out, "");
        line(out, &format!("Commonest artists added: {}.", named.join(", ")));
    }
}

fn fit_and_diversity(out: &mut String, report: &Report) {
    if report.all.fit.is_some() {
        section(out, "Fit: additions after their own input and after a random other of the set");
        let rows: [(&str, Cell); 4] = [
            ("outputs", |set| set.fit.as_ref().map_or_else(none, |fit| fit.gain.n.to_string())),
            ("gain, nats a token (95 % interval)", |set| {
                set.fit.as_ref().map_or_else(none, |fit| {
                    let gain = fit.gain;
                    format!("{:.3} ({:.3} to {:.3})", gain.mean, gain.low, gain.high)
                })
            }),
            ("log-probability a token: own, other", |set| {
                set.fit.as_ref().map_or_else(none, |fit| format!("{:.3}, {:.3}", fit.own, fit.other))
            }),
            ("likelier after the own input", |set| optional(set.fit.as_ref().map(|fit| fit.own_is_likelier))),
        ];
        set_table(out, report, "measure", &rows);
    }
    if let Some(fit) = &report.target_fit {
        let gain = fit.gain;
        line(
            out,
            &format!(
                "\nFor comparison, what people added to the {} held-out inputs, under the same model: {:.3} ({:.3} to {:.3}).",
                gain.n, gain.mean, gain.low, gain.high
            ),
        );
    }
    if let (Some(_), Some(diversity)) = (&report.all.diversity, &report.config.diversity) {
        section(
            out,
            &format!(
                "Diversity: {} groups, diversity penalty {}",
                diversity.groups, diversity.diversity_penalty
            ),
        );
        let rows: [(&str, Cell); 4] = [
            ("inputs", |set| set.diversity.as_ref().map_or_else(none, |d| d.n.to_string())),
            ("with ≥ 4 candidates two added phrases from the first", |set| {
                optional(set.diversity.as_ref().map(|d| d.diverse))
            }),
            ("such candidates, mean", |set| {
                set.diversity.as_ref().map_or_else(none, |d| format!("{:.2}", d.different_candidates))
            }),
            ("distinct sets of added phrases, mean", |set| {
                set.diversity.as_ref().map_or_else(none, |d| format!("{:.2}", d.distinct_candidates))
            }),
        ];
        set_table(out, report, "measure", &rows);
    }
}

fn categories(out: &mut String, report: &Report) {
    let Some(categories) = &report.categories else {
        return;
    };
    section(
        out,
        &format!(
            "Commonest additions to {} landscapes and {} portraits",
            categories.landscapes, categories.portraits
        ),
    );
    let columns = [categories.landscape.as_slice(), &categories.portrait];
    common_table(out, &["landscape", "portrait"], &columns, usize::MAX);
    line(out, "");
    line(out, &format!("Shared, {}: {}.", percent(categories.overlap), categories.shared.join(", ")));
}

fn likelihood(out: &mut String, report: &Report) {
    if report.likelihood.is_empty() {
        return;
    }
    section(out, "Bits per byte of held-out engineered prompts");
    line(
        out,
        "Of what each adds to its input, the end included. Unseen: the added text stands nowhere in the training text.\n",
    );
    table(out, &["model", "asked", "bits per byte", "targets", "tokens", "bits per byte, unseen", "unseen"]);
    for measure in &report.likelihood {
        let asked = match measure.layout {
            Layout::Prompter => "as a prompter",
            Layout::Text => "as text",
        };
        row(
            out,
            &[
                &measure.model,
                asked,
                &format!("{:.4}", measure.bits_per_byte),
                &measure.n.to_string(),
                &measure.tokens.to_string(),
                &measure.unseen_bits_per_byte.map_or_else(none, |bits| format!("{bits:.4}")),
                &measure.unseen.map_or_else(none, |n| n.to_string()),
            ],
        );
    }
    let too_long = report.likelihood.iter().map(|measure| measure.too_long).max();
    if let Some(too_long @ 1..) = too_long {
        line(out, &format!("\n{too_long} pairs are too long for the model and not counted."));
    }
}

fn samples(out: &mut String, samples: &[&Row]) {
    section(out, &format!("{} outputs, not picked", samples.len()));
    for (number, sample) in (1..).zip(samples) {
        let input = code(&sample.user_input);
        let output = code(&sample.output);
        line(out, &format!("{number}. {} · {input}<br>{output}", sample.set));
    }
}

/// The sets, then all together.
fn sets(report: &Report) -> impl Iterator<Item = &SetReport> {
    report.sets.iter().chain([&report.all])
}

/// A column a set.
fn set_table(out: &mut String, report: &Report, corner: &str, rows: &[(&str, Cell)]) {
    let names: Vec<&str> = [corner].into_iter().chain(sets(report).map(|set| set.name.as_str())).collect();
    table(out, &names);
    for (name, cell) in rows {
        let cells: Vec<String> = sets(report).map(cell).collect();
        let cells: Vec<&str> = [*name].into_iter().chain(cells.iter().map(String::as_str)).collect();
        row(out, &cells);
    }
}

/// Lists side by side.
fn common_table(out: &mut String, names: &[&str], columns: &[&[Common]], most: usize) {
    table(out, names);
    let longest = columns.iter().map(|column| column.len()).max().unwrap_or(0);
    for rank in 0..longest.min(most) {
        let cells: Vec<String> = columns
            .iter()
            .map(|column| match column.get(rank) {
                Some(common) => format!("{} {}", common.text, percent(common.share)),
                None => String::new(),
            })
            .collect();
        row(out, &cells.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

fn section(out: &mut String, title: &str) {
    line(out, &format!("\n## {title}\n"));
}

fn table(out: &mut String, names: &[&str]) {
    row(out, names);
    line(out, &format!("|{}", "---|".repeat(names.len())));
}

fn row(out: &mut String, cells: &[&str]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    line(out, &format!("| {} |", cells.join(" | ")));
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("writing to a string cannot fail");
}

/// Text as it is, whatever marks are in it.
fn code(text: &str) -> String {
    let text = text.replace(['\n', '\r'], " ");
    match text.contains('`') {
        true => format!("`` {text} ``"),
        false => format!("`{text}`"),
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn optional(share: Option<f64>) -> String {
    share.map_or_else(none, percent)
}

fn none() -> String {
    "not measured".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_in_a_cell_does_not_end_it() {
        let mut out = String::new();
        table(&mut out, &["a", "b"]);
        row(&mut out, &["x|y", "z"]);
        assert_eq!(out, "| a | b |\n|---|---|\n| x\\|y | z |\n");
    }

    #[test]
    fn code_holds_any_text_on_one_line() {
        assert_eq!(code("a *cat*\n"), "`a *cat* `");
        assert_eq!(code("a `cat`"), "`` a `cat` ``");
    }
}
