//! A model's card as Markdown.

use super::write::{interval, line, number, percent, row, section, table};
use crate::eval::card::{Bound, Card};
use crate::eval::likelihood::Layout;
use crate::eval::text::Common;

/// Everything that a card says.
pub fn write(out: &mut String, card: &Card) {
    checks(out, card);
    categories(out, card);
    if let Some(fit) = &card.target_fit {
        section(out, "Fit of what people added to held-out inputs");
        let (gain, n) = (interval(&fit.gain, None), fit.gain.n);
        line(out, &format!("Nats a token, to `{}`: {gain}, {n} inputs.", card.system));
    }
    likelihood(out, card);
}

fn checks(out: &mut String, card: &Card) {
    section(out, &format!("What is asked of the default model, and what `{}` has", card.system));
    table(out, &["measure", "set", "n", "asked", "measured", ""]);
    for check in &card.checks {
        let shown = |value: f64| match check.measure.starts_with("nats") {
            true => number(value, None),
            false => percent(value),
        };
        let asked = match check.bound {
            Bound::AtLeast(bound) => format!("≥ {}", shown(bound)),
            Bound::AtMost(bound) => format!("≤ {}", shown(bound)),
        };
        let verdict = if check.passes { "pass" } else { "**fail**" };
        let n = check.n.to_string();
        row(out, &[&check.measure, &check.set, &n, &asked, &shown(check.value), verdict]);
    }
}

fn categories(out: &mut String, card: &Card) {
    let Some(found) = &card.categories else { return };
    let title =
        format!("Commonest additions to {} landscapes and {} portraits", found.landscapes, found.portraits);
    section(out, &title);
    table(out, &["landscape", "portrait"]);
    let cell = |of: Option<&Common>| {
        of.map_or_else(String::new, |common| format!("{} {}", common.text, percent(common.share)))
    };
    for rank in 0..found.landscape.len().max(found.portrait.len()) {
        row(out, &[&cell(found.landscape.get(rank)), &cell(found.portrait.get(rank))]);
    }
    line(out, &format!("\nShared, {}: {}.", percent(found.overlap), found.shared.join(", ")));
}

fn likelihood(out: &mut String, card: &Card) {
    if card.likelihood.is_empty() {
        return;
    }
    section(out, "Bits per byte of held-out engineered prompts");
    line(
        out,
        "Of what each adds to its input, the end included. Unseen: the added text stands nowhere in the training text.\n",
    );
    table(out, &["model", "asked", "bits per byte", "targets", "tokens", "bits per byte, unseen", "unseen"]);
    for measure in &card.likelihood {
        let asked = match measure.layout {
            Layout::Prompter => "as a prompter",
            Layout::Text => "as text",
        };
        let none = || "not measured".to_owned();
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
    let too_long = card.likelihood.iter().map(|measure| measure.too_long).max();
    if let Some(too_long @ 1..) = too_long {
        line(out, &format!("\n{too_long} pairs are too long for the model and not counted."));
    }
}
