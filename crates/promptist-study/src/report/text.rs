//! A report for a terminal.

use std::fmt::Write as _;

use promptist::statistics::Interval;

use crate::report::results::NO_STRENGTHS;
use crate::report::{Report, Results};

pub(crate) fn print(report: &Report) -> String {
    let mut text = String::new();
    head(&mut text, report);
    results(&mut text, &report.results);
    excluded(&mut text, report);
    raters(&mut text, report);
    let _ = writeln!(text, "\nAll numbers, and every question with its prompts, images and seeds: --json");
    text
}

fn head(text: &mut String, report: &Report) {
    let (study, raters) = (&report.study, &report.raters);
    let _ = writeln!(text, "{}", study.title);
    let _ = writeln!(text, "asked: {}", study.question);
    let _ = writeln!(
        text,
        "{} systems, {} inputs, {} questions, {} checks",
        study.systems.len(),
        study.inputs,
        study.questions,
        study.checks
    );
    if study.inputs_dropped > 0 {
        let _ = writeln!(text, "{} inputs left out: a system lacks them", study.inputs_dropped);
    }
    if study.pairs_the_same > 0 {
        let _ = writeln!(text, "{} pairs not asked: both sides have the same images", study.pairs_the_same);
    }
    let _ = writeln!(
        text,
        "raters: {} invited, {} began, {} finished, {} withdrew (answers deleted: {}), {} excluded",
        raters.invited,
        raters.began,
        raters.finished,
        raters.withdrew,
        raters.answers_deleted,
        raters.excluded
    );
}

fn results(text: &mut String, results: &Results) {
    let _ = writeln!(text, "\nPreference ({} answers of {} raters)", results.answers, results.raters);
    if results.pairs.is_empty() {
        let _ = writeln!(text, "  no answers");
        return;
    }
    let mut rows =
        vec![row(["system", "against", "wins", "ties", "losses", "inputs", "preferred", "p (Holm)"])];
    for pair in &results.pairs {
        rows.push(vec![
            pair.first.clone(),
            pair.second.clone(),
            pair.wins.to_string(),
            pair.ties.to_string(),
            pair.losses.to_string(),
            pair.inputs.to_string(),
            pair.preference.map_or("-".to_owned(), |share| percent(&share)),
            pair.p_adjusted.map_or("-".to_owned(), p_value),
        ]);
    }
    table(text, &rows);
    let _ = writeln!(text, "  preferred: wins and half the ties; 95 % interval over inputs");

    let _ = writeln!(text, "\nBradley-Terry strength (a difference of 1: odds of 2.7 to 1)");
    match results.strengths.is_empty() {
        true => _ = writeln!(text, "  none: {NO_STRENGTHS}"),
        false => {
            let mut rows = vec![row(["system", "strength"])];
            rows.extend(results.strengths.iter().map(|s| vec![s.system.clone(), number(&s.strength)]));
            table(text, &rows);
        }
    }

    let agreement = &results.agreement;
    let _ = writeln!(text, "\nAgreement");
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "not enough answers".to_owned());
    let questions = agreement.questions;
    let nominal = or_none(agreement.alpha_nominal.as_ref().map(number));
    let _ =
        writeln!(text, "  Krippendorff's alpha, nominal  {nominal}  ({questions} questions with two raters)");
    let _ = writeln!(
        text,
        "  Krippendorff's alpha, ordinal  {}",
        or_none(agreement.alpha_ordinal.as_ref().map(number))
    );
    let same = or_none(agreement.self_consistency.as_ref().map(|s| format!("{} of {}", percent(s), s.n)));
    let kappa = agreement.self_kappa.map_or(String::new(), |kappa| format!(", kappa {kappa:.2}"));
    let _ = writeln!(text, "  repeats answered as before     {same}{kappa}");
    let side = or_none(results.share_of_a.as_ref().map(|s| format!("{} of {}", percent(s), s.n)));
    let _ = writeln!(text, "  share of side A                {side}");
}

fn excluded(text: &mut String, report: &Report) {
    let rules = &report.rules;
    let _ = writeln!(
        text,
        "\nExcluded raters (rules of the study's config: checks passed {}, repeats the same {}, median {} s)",
        rules.min_checks_passed, rules.min_consistency, rules.min_median_secs
    );
    if report.were_rules_edited {
        let _ = writeln!(text, "  (the config was edited since: what stood before the first answer holds)");
    }
    if report.excluded.is_empty() {
        let _ = writeln!(text, "  none");
        return;
    }
    for excluded in &report.excluded {
        let _ = writeln!(text, "  rater {}: {}", excluded.rater, excluded.reasons.join("; "));
    }
    let all = &report.results_with_excluded;
    let _ = writeln!(text, "  with them ({} answers of {} raters):", all.answers, all.raters);
    let mut rows = vec![row(["system", "against", "wins", "ties", "losses", "preferred"])];
    for pair in &all.pairs {
        rows.push(vec![
            pair.first.clone(),
            pair.second.clone(),
            pair.wins.to_string(),
            pair.ties.to_string(),
            pair.losses.to_string(),
            pair.preference.map_or("-".to_owned(), |share| percent(&share)),
        ]);
    }
    table(text, &rows);
}

fn raters(text: &mut String, report: &Report) {
    let _ = writeln!(text, "\nRaters");
    let mut rows =
        vec![row(["rater", "answered", "checks", "repeats same", "median", "share of A", "ties", "changed"])];
    for rater in &report.rater_quality {
        rows.push(vec![
            rater.rater.to_string(),
            format!("{}/{}", rater.answered, rater.assigned),
            format!("{}/{}", rater.checks_passed, rater.checks),
            format!("{}/{}", rater.repeats_same, rater.repeats),
            rater.median_secs.map_or("-".to_owned(), |secs| format!("{secs:.1} s")),
            rater.share_of_a.map_or("-".to_owned(), |share| percent(&share)),
            rater.ties.to_string(),
            rater.changed.to_string(),
        ]);
    }
    table(text, &rows);
    let _ = writeln!(text, "\nSides");
    let mut rows = vec![row(["system", "against", "at A", "at B"])];
    for side in &report.sides {
        let [at_a, at_b] = [side.first_at_a, side.first_at_b].map(|count| count.to_string());
        rows.push(vec![side.first.clone(), side.second.clone(), at_a, at_b]);
    }
    table(text, &rows);
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// Columns as wide as their widest cell.
fn table(text: &mut String, rows: &[Vec<String>]) {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(text, "  {}", line.trim_end());
    }
}

/// `62.0 % [55.1, 68.4]`.
pub(crate) fn percent(share: &Interval) -> String {
    format!("{:.1} % [{:.1}, {:.1}]", 100.0 * share.mean, 100.0 * share.low, 100.0 * share.high)
}

/// `0.49 [0.21, 0.78]`.
pub(crate) fn number(value: &Interval) -> String {
    format!("{:.2} [{:.2}, {:.2}]", value.mean, value.low, value.high)
}

/// Three digits; what is smaller is not told apart.
pub(crate) fn p_value(p: f64) -> String {
    if p < 0.001 { "< 0.001".to_owned() } else { format!("{p:.3}") }
}
