//! `card.md`: what a fitted reward is good for, and what not, for people.

use std::fmt::Write;

use super::FitReport;
use super::config::Half;
use crate::reward::text::{Calibration, Family, LIMIT};
use crate::statistics::Interval;

/// Below this correlation with human quality the card says so before anything else.
const WEAK: f64 = 0.2;

/// The card of a fit.
pub fn render(report: &FitReport, calibration: Calibration) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    line("# Text reward");
    line("");
    line(&first_words(report));
    line("");
    line(
        "It is a proxy: it reads prompts and never sees a picture. It says whether a person who knows image models would have written this for that input.",
    );
    line("");
    let family = match report.config.family {
        Family::Trunk => {
            "a small network on the hidden states and likelihoods of a frozen prompter, which lies in `model/trunk`"
        }
        Family::Ngrams => "a linear model on hashed words of the additions",
    };
    let half = match report.config.half {
        Half::A => "a",
        Half::B => "b",
    };
    line(&format!("- family: {family}"));
    line(&format!(
        "- fitted on half {half} of the targets, seed {}: {} targets, {} examples; calibrated on {} other targets, reported on {} yet others; {} left out as near-duplicates of evaluation sets",
        report.config.seed,
        report.targets[0],
        report.examples[0],
        report.targets[1],
        report.targets[2],
        report.excluded
    ));
    line(&format!("- prompter: `{}`, weights SHA-256 `{}`", report.model.name, report.model.sha256));
    if report.config.family == Family::Trunk {
        line("- the trunk has read the targets of both halves in its own training; the head has seen half a alone or half b alone".replace("half a alone or half b alone", &format!("half {half} alone")).as_str());
    }
    line(&format!(
        "- score: {LIMIT} · tanh(log-odds / {LIMIT}); log-odds = {:.4} · z + {:.4}",
        calibration.a, calibration.b
    ));
    line("");
    line("## Held-out targets");
    line("");
    line("| | held out | fitted on |");
    line("|---|---|---|");
    let both = |value: &dyn Fn(&super::Classification) -> f64| {
        let cell = |of: &Option<super::Classification>| {
            of.as_ref().map_or("".to_owned(), |of| format!("{:.3}", value(of)))
        };
        format!("{} | {}", cell(&report.held_out), cell(&report.fitted))
    };
    line(&format!("| accuracy | {} |", both(&|c| c.accuracy)));
    line(&format!("| AUC | {} |", both(&|c| c.auc)));
    line(&format!("| log loss (0.693 says nothing) | {} |", both(&|c| c.log_loss)));
    line(&format!("| expected calibration error | {} |", both(&|c| c.expected_calibration_error)));
    line("");
    line("| answers | mean score (95 % interval) | chance that a person's scores higher |");
    line("|---|---|---|");
    for kind in &report.kinds {
        let auc = kind.auc.map_or(String::new(), |auc| format!("{:.1} %", 100.0 * auc));
        line(&format!("| {} | {} | {auc} |", kind.kind.name(), interval(kind.score.as_ref())));
    }
    line("");
    line("## Calibration");
    line("");
    line("| probability given | came true | share | answers |");
    line("|---|---|---|---|");
    for bin in report.held_out.iter().flat_map(|held_out| &held_out.reliability) {
        line(&format!(
            "| {:.3} | {:.3} | {:.1} % | {} |",
            bin.predicted,
            bin.observed,
            100.0 * bin.share,
            bin.n
        ));
    }
    line("");
    line("## Stock phrases");
    line("");
    line("The commonest phrases of the fitted targets behind an input, mean score (95 % interval).");
    line("");
    line("| phrases | behind inputs of targets | behind plain text |");
    line("|---|---|---|");
    for row in &report.stuffing {
        let (inputs, plain) = (interval(row.inputs.as_ref()), interval(row.plain.as_ref()));
        line(&format!("| {} | {inputs} | {plain} |", row.phrases));
    }
    if let Some(ratings) = &report.ratings {
        line("");
        line("## Human ratings of pictures (AGIQA-3K)");
        line("");
        line(&format!(
            "Spearman's correlation with quality, {} pictures of {} prompts; resamples are of prompts.",
            ratings.pictures, ratings.prompts
        ));
        line("");
        line("| over | correlation (95 % interval) |");
        line("|---|---|");
        for (name, value) in [
            ("pictures", &ratings.overall),
            ("pictures, less their generator's mean", &ratings.within_generator),
            ("prompts, less the generators' means", &ratings.by_prompt),
            ("prompts with modifiers, the same", &ratings.by_prompt_with_modifiers),
            ("pictures of one text", &ratings.within_text),
        ] {
            line(&format!("| {name} | {} |", interval(value.as_ref())));
        }
        if ratings.within_text.is_none() {
            line("");
            line(
                "Within one text nothing can be said: every text of the file was rated with one set of modifiers, so a score of texts is constant there.",
            );
        }
    }
    out
}

/// What a reader must know before anything else.
fn first_words(report: &FitReport) -> String {
    let Some(ratings) = &report.ratings else {
        return "**How it goes with what people think of pictures was not measured.**".to_owned();
    };
    let mut words = String::new();
    match &ratings.overall {
        Some(overall) if overall.mean < WEAK => {
            let _ = write!(
                words,
                "**It hardly goes with what people think of pictures: Spearman's correlation with human quality is {}, below {WEAK}.** ",
                interval(Some(overall))
            );
        }
        overall => {
            let _ =
                write!(words, "Spearman's correlation with human quality: {}. ", interval(overall.as_ref()));
        }
    }
    words.push_str(match ratings.within_text {
        Some(_) => "See below for the correlation within one text.",
        None => "Within one text it is not defined on these ratings.",
    });
    words
}

fn interval(interval: Option<&Interval>) -> String {
    match interval {
        Some(i) => format!("{:.3} ({:.3} to {:.3})", i.mean, i.low, i.high),
        None => "not defined".to_owned(),
    }
}
