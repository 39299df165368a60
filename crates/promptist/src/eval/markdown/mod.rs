//! `report.md`: an evaluation for people. The claim first, then tables, then what to read oneself.
//!
//! [`tables`] is the part that is printed; [`render`] is all. No mean stands without its interval, no interval without
//! its n.

mod card;
mod write;

use self::write::{code, interval, line, number, p_value, percent, row, section, table};
use super::report::{
    Better, Cell, Comparison, EvalReport, Measure, MeasureFamily, SetKind, SetLeakage, SetReport,
    SystemReport, Verdict,
};
use super::rows::EvalRow;
use super::run::Findings;
use crate::statistics::Interval;

/// The whole report.
pub fn render(findings: &Findings) -> String {
    let report = &findings.report;
    let mut out = tables(report);
    breakdowns(&mut out, report);
    additions(&mut out, report);
    report.cards.iter().for_each(|card| card::write(&mut out, card));
    leakage(&mut out, report);
    failures(&mut out, report);
    samples(&mut out, findings);
    out
}

/// What was measured, the claim, and a table for each family of measures and set.
pub fn tables(report: &EvalReport) -> String {
    let mut out = String::new();
    head(&mut out, report);
    claim(&mut out, report);
    for (family, title) in [
        (MeasureFamily::Image, "Images"),
        (MeasureFamily::Text, "Texts"),
        (MeasureFamily::Proxy, "Proxies: rewards that read text and see no picture"),
        (MeasureFamily::Judge, "Judges that no reward is made of"),
    ] {
        let measures: Vec<&Measure> = report.measures.iter().filter(|of| of.family == family).collect();
        if !measures.is_empty() {
            section(&mut out, title);
            report.sets.iter().for_each(|set| measures_of(&mut out, report, set, &measures));
        }
    }
    out
}

fn head(out: &mut String, report: &EvalReport) {
    line(out, "# Evaluation");
    line(out, "");
    for system in &report.systems {
        let is_baseline = if system.name == report.baseline { ", the baseline" } else { "" };
        line(out, &format!("- `{}`: {}{is_baseline}", system.name, describe(system)));
    }
    let sets = report.sets.iter().filter(|set| set.kind == SetKind::Set);
    let counts: Vec<String> = sets.map(|set| format!("{} {}", set.name, set.n)).collect();
    line(out, &format!("- inputs: {}", counts.join(", ")));
    if let Some(images) = &report.images {
        let noise = if images.takes_seeds { "image j of every prompt has the same seed" } else { "no seeds" };
        line(
            out,
            &format!(
                "- images by `{}`: {} of each prompt, {} steps, guidance {}; {noise}",
                images.generator,
                images.seeds.len(),
                images.settings.num_inference_steps,
                images.settings.guidance_scale,
            ),
        );
    }
    line(
        out,
        &format!(
            "- promptist {}, seed {}; 95 % intervals (means by {} bootstrap resamples, shares by Wilson and by Agresti and Min, what is of a whole set by the jackknife); p by at least {} random signs of the inputs' differences, two-sided, corrected by Holm's method",
            report.version, report.config.seed, report.config.resamples, report.config.permutations,
        ),
    );
}

fn describe(system: &SystemReport) -> String {
    use super::config::SystemKind::{File, Human, Input, Model, OpenAi};
    match system.kind {
        Input => "the user's text as it is".to_owned(),
        Human => "the prompt that a person engineered, where the set has one".to_owned(),
        Model => {
            let model = |run: &super::report::ModelRun| {
                format!("`{}` (weights SHA-256 `{}`)", run.identity.name, run.identity.sha256)
            };
            let models: Vec<String> = system.models.iter().map(model).collect();
            let mean = if models.len() > 1 { "; an input's value is the mean over them" } else { "" };
            format!("{}{mean}", models.join(", "))
        }
        File => {
            let file = system.file.as_ref();
            file.map_or_else(String::new, |file| format!("{} rewrites of `{}`", file.rewrites, file.path))
        }
        OpenAi => {
            let chat = system.openai.as_ref();
            chat.map_or_else(String::new, |chat| format!("`{}` at {}", chat.model, chat.url))
        }
    }
}

/// Primary measures against the baseline, and judges that say otherwise.
fn claim(out: &mut String, report: &EvalReport) {
    let primary: Vec<&Comparison> =
        report.comparisons.iter().filter(|of| of.family.as_deref() == Some("primary")).collect();
    if !primary.is_empty() {
        section(out, &format!("Primary measures, against `{}`", report.baseline));
        if let Some(family) = report.families.iter().find(|family| family.name == "primary") {
            line(out, &format!("{} comparisons, corrected together.\n", family.comparisons));
        }
        table(out, &["set", "measure", "system", "n", "difference", "wins", "ties", "losses", "p", ""]);
        primary.iter().for_each(|comparison| compared(out, report, comparison));
    }
    for fallen in &report.fallen {
        let title = report.measure(&fallen.measure).map_or(fallen.measure.as_str(), |of| of.title.as_str());
        let difference = interval(&fallen.difference, report.measure(&fallen.measure));
        line(
            out,
            &format!(
                "\n**A judge found `{}` worse: {title}, {difference}, {} inputs.**",
                fallen.system, fallen.difference.n
            ),
        );
    }
}

fn compared(out: &mut String, report: &EvalReport, comparison: &Comparison) {
    let measure = report.measure(&comparison.measure);
    let title = measure.map_or(comparison.measure.as_str(), |measure| measure.title.as_str());
    let counts = comparison.counts.unwrap_or_default();
    row(
        out,
        &[
            &comparison.set,
            title,
            &comparison.system,
            &comparison.n.to_string(),
            &comparison.difference.map_or_else(none, |difference| interval(&difference, measure)),
            &counts.wins.to_string(),
            &counts.ties.to_string(),
            &counts.losses.to_string(),
            &comparison.p_adjusted.map_or_else(none, p_value),
            verdict(comparison.verdict),
        ],
    );
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "**worse**",
        Verdict::Different => "different",
        Verdict::Unclear => "",
    }
}

/// A column a system. A cell says its n where it is not that of the set, and how it stands to the baseline.
fn measures_of(out: &mut String, report: &EvalReport, set: &SetReport, measures: &[&Measure]) {
    let systems: Vec<&SystemReport> = report
        .systems
        .iter()
        .filter(|system| report.cells.iter().any(|of| of.set == set.name && of.system == system.name))
        .collect();
    if systems.is_empty() {
        return;
    }
    line(out, &format!("\n### {}, {} inputs\n", set.name, set.n));
    let names: Vec<&str> = ["measure"].into_iter().chain(systems.iter().map(|of| of.name.as_str())).collect();
    table(out, &names);
    for measure in measures {
        let cell = |system: &&SystemReport| match report.cell(&set.name, &measure.key, &system.name) {
            Some(cell) => cell_text(report, set, measure, cell),
            None => String::new(),
        };
        let cells: Vec<String> = systems.iter().map(cell).collect();
        let is_empty = |system: &&SystemReport| {
            report.cell(&set.name, &measure.key, &system.name).is_none_or(|cell| cell.interval.is_none())
        };
        if systems.iter().all(is_empty) {
            continue;
        }
        let arrow = match measure.better {
            Better::Higher => " ↑",
            Better::Lower => " ↓",
            Better::Neither => "",
        };
        let title = format!("{}{arrow}", measure.title);
        let row_of: Vec<&str> =
            [title.as_str()].into_iter().chain(cells.iter().map(String::as_str)).collect();
        row(out, &row_of);
    }
}

fn cell_text(report: &EvalReport, set: &SetReport, measure: &Measure, cell: &Cell) -> String {
    let Some(found) = &cell.interval else { return "–".to_owned() };
    let mut text = interval(found, Some(measure));
    if cell.n != set.n {
        text += &format!(", n {}", cell.n);
    }
    if !cell.by_model.is_empty() {
        let each: Vec<String> = cell.by_model.iter().map(|mean| number(*mean, Some(measure))).collect();
        text += &format!(", by model {}", each.join(" "));
    }
    let comparison = report.comparison(&set.name, &measure.key, &cell.system, &report.baseline);
    match comparison.map(|comparison| comparison.verdict) {
        Some(found @ (Verdict::Better | Verdict::Worse)) => format!("{text} {}", verdict(found)),
        _ => text,
    }
}

fn breakdowns(out: &mut String, report: &EvalReport) {
    let headline = report.headline_set();
    let found: Vec<_> = report.breakdowns.iter().filter(|of| Some(of.set.as_str()) == headline).collect();
    let is_primary = |key: &str| report.measure(key).is_some_and(|measure| measure.is_primary);
    if !found.iter().any(|of| is_primary(&of.measure)) {
        return;
    }
    section(out, "By the input's length and category");
    table(out, &["measure", "inputs", "system", "n", "mean", "difference to the baseline"]);
    for of in found.into_iter().filter(|of| is_primary(&of.measure)) {
        let measure = report.measure(&of.measure);
        let text = |of: &Option<Interval>| of.as_ref().map_or_else(none, |of| interval(of, measure));
        row(
            out,
            &[
                measure.map_or(of.measure.as_str(), |measure| measure.title.as_str()),
                &of.part,
                &of.system,
                &of.n.to_string(),
                &text(&of.interval),
                &text(&of.difference),
            ],
        );
    }
}

fn additions(out: &mut String, report: &EvalReport) {
    let headline = report.headline_set();
    for of in report.additions.iter().filter(|of| Some(of.set.as_str()) == headline) {
        if of.commonest_phrases.is_empty() {
            continue;
        }
        section(out, &format!("What `{}` adds, {} rewrites of {}", of.system, of.rewrites, of.set));
        let distinct: Vec<String> = of.distinct_phrases.iter().map(usize::to_string).collect();
        line(out, &format!("Distinct phrases: {}.", distinct.join(", ")));
        let listed = |common: &[super::report::Common]| -> String {
            let texts = common.iter().map(|of| format!("{} {}", of.text, of.count));
            texts.collect::<Vec<_>>().join(", ")
        };
        line(out, &format!("\nCommonest phrases: {}.", listed(&of.commonest_phrases)));
        if !of.commonest_artists.is_empty() {
            line(out, &format!("\nCommonest artists: {}.", listed(&of.commonest_artists)));
        }
        if !of.flaws.is_empty() {
            let flaws: Vec<String> = of.flaws.iter().map(|(flaw, count)| format!("{flaw} {count}")).collect();
            line(out, &format!("\nBroken: {}.", flaws.join(", ")));
        }
        if !of.unknown_words.is_empty() {
            let words = of.unknown_words.join(", ");
            line(out, &format!("\nWords that the training text never has: {words}."));
        }
    }
}

fn leakage(out: &mut String, report: &EvalReport) {
    let Some(leakage) = &report.leakage else { return };
    section(out, &format!("Inputs in {} training texts", leakage.training_texts));
    table(
        out,
        &["set", "inputs", "the same", "nearly the same", "mostly read", "mean share of n-grams read"],
    );
    for SetLeakage { set, found } in &leakage.sets {
        row(
            out,
            &[
                set,
                &found.n.to_string(),
                &found.exact.to_string(),
                &found.near.to_string(),
                &found.overlapping.to_string(),
                &format!("{} of {} inputs", percent(found.mean_overlap), found.n - found.too_short),
            ],
        );
    }
}

fn failures(out: &mut String, report: &EvalReport) {
    const MOST: usize = 20;
    if report.failures.is_empty() {
        return;
    }
    section(out, &format!("{} failures", report.failures.len()));
    for failure in report.failures.iter().take(MOST) {
        line(out, &format!("- {}: {}", code(&failure.row_id), code(&failure.reason)));
    }
    if report.failures.len() > MOST {
        line(out, "- the others are in report.json");
    }
}

fn samples(out: &mut String, findings: &Findings) {
    section(out, &format!("{} inputs, not picked", findings.report.samples.len()));
    for sample in &findings.report.samples {
        let is_of = |row: &&EvalRow| row.set == sample.set && row.index == sample.index;
        for (place, row) in findings.rows.iter().filter(is_of).enumerate() {
            if place == 0 {
                line(out, &format!("- {}: {}", sample.set, code(&row.user_input)));
            }
            for rewrite in &row.rewrites {
                line(out, &format!("  - {}: {}", row.system, code(&rewrite.adapted_prompt)));
            }
        }
    }
}

fn none() -> String {
    "–".to_owned()
}
