//! Numbers as people read them: with their interval and their n, never without.

use std::fmt::Write as _;

use super::super::report::{Comparison, Counts, Unit, Verdict};
use crate::statistics::Interval;

/// A value in its unit; `is_difference` writes the sign.
pub(super) fn value(value: f64, unit: Unit, is_difference: bool) -> String {
    let suffix = match unit {
        Unit::Share if is_difference => " points",
        Unit::Share => " %",
        _ => "",
    };
    bare(value, unit, is_difference) + suffix
}

/// The same without its unit. What rounds to nothing has no sign.
fn bare(value: f64, unit: Unit, is_difference: bool) -> String {
    let (value, digits) = match unit {
        Unit::Share => (100.0 * value, 1),
        Unit::Count | Unit::Tokens | Unit::Aesthetic => (value, 2),
        Unit::BitsPerByte | Unit::NatsPerToken | Unit::Cosine | Unit::Score => (value, 3),
    };
    let size = format!("{:.digits$}", value.abs());
    match size.chars().all(|c| c == '0' || c == '.') {
        true => size,
        false if value < 0.0 => format!("−{size}"),
        false if is_difference => format!("+{size}"),
        false => size,
    }
}

/// What the unit is called in a heading; nothing for numbers that need no unit.
pub(super) fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Share => "%",
        Unit::Count => "count",
        Unit::Tokens => "tokens",
        Unit::BitsPerByte => "bits a byte",
        Unit::NatsPerToken => "nats a token",
        Unit::Cosine => "cosine",
        Unit::Aesthetic => "aesthetic score",
        Unit::Score => "score",
    }
}

/// A mean, its interval and its n, for a table's cell.
pub(super) fn mean(interval: Option<&Interval>, unit: Unit, is_difference: bool) -> String {
    let Some(interval) = interval else { return "<span class=\"dim\">no values, n 0</span>".to_owned() };
    let (mean, range, n) = parts(interval, unit, is_difference);
    format!("{mean}<span class=\"range\">{range}</span><span class=\"n\">{n}</span>")
}

/// The same in running text.
pub(super) fn mean_in_words(interval: &Interval, unit: Unit, is_difference: bool) -> String {
    let (mean, range, n) = parts(interval, unit, is_difference);
    format!("{mean} ({range}, {n})")
}

/// A mean, from where to where, of how many: each is printed with the others or not at all.
fn parts(interval: &Interval, unit: Unit, is_difference: bool) -> (String, String, String) {
    let [low, high] = [interval.low, interval.high].map(|end| bare(end, unit, is_difference));
    (value(interval.mean, unit, is_difference), format!("{low} to {high}"), format!("n {}", interval.n))
}

/// A p-value, corrected, with what it was before.
pub(super) fn p(comparison: &Comparison) -> String {
    let short = |p: f64| if p < 0.001 { "&lt; 0.001".to_owned() } else { format!("{p:.3}") };
    match (comparison.p, comparison.p_adjusted) {
        (Some(p), Some(adjusted)) => {
            format!("{}<span class=\"n\">before {}</span>", short(adjusted), short(p))
        }
        (Some(p), None) => format!("{}<span class=\"n\">not corrected</span>", short(p)),
        _ => "<span class=\"dim\">no test</span>".to_owned(),
    }
}

/// Wins, ties and losses; `n` stands in the difference beside them.
pub(super) fn counts(counts: Option<Counts>) -> String {
    match counts {
        Some(Counts { wins, ties, losses }) => format!("{wins} / {ties} / {losses}"),
        None => "–".to_owned(),
    }
}

/// What a difference amounts to: the class of its cell, and a word.
pub(super) fn verdict(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Better => ("better", "better"),
        Verdict::Worse => ("worse", "worse"),
        Verdict::Different => ("", "different"),
        Verdict::Unclear => ("dim", "unclear"),
    }
}

/// An interval drawn: a line from low to high, a dot at the mean, a dashed line at 0. `extent` is what the width
/// stands for, the same for all that are to be compared by eye.
pub(super) fn drawn(interval: Option<&Interval>, extent: (f64, f64), class: &str) -> String {
    const WIDTH: f64 = 144.0;
    let Some(interval) = interval else { return String::new() };
    let (low, high) = extent;
    let at = |number: f64| match high > low {
        true => WIDTH * ((number - low) / (high - low)).clamp(0.0, 1.0),
        false => WIDTH / 2.0,
    };
    let mut svg = format!("<svg class=\"interval {class}\" viewBox=\"0 0 {WIDTH} 16\" aria-hidden=\"true\">");
    if low <= 0.0 && high >= 0.0 {
        let _ = write!(svg, "<line class=\"axis\" x1=\"{0:.1}\" y1=\"0\" x2=\"{0:.1}\" y2=\"16\"/>", at(0.0));
    }
    let _ = write!(
        svg,
        "<line class=\"bar\" x1=\"{:.1}\" y1=\"8\" x2=\"{:.1}\" y2=\"8\"/><circle cx=\"{:.1}\" cy=\"8\" r=\"4\"/></svg>",
        at(interval.low),
        at(interval.high),
        at(interval.mean)
    );
    svg
}

/// What holds all `intervals` and 0.
pub(super) fn extent<'a>(intervals: impl Iterator<Item = &'a Interval>) -> (f64, f64) {
    intervals.fold((0.0, 0.0), |(low, high), interval| (low.min(interval.low), high.max(interval.high)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Interval = Interval { n: 40, mean: 0.25, low: -0.0004, high: 0.5 };

    #[test]
    fn numbers_have_units_signs_and_company() {
        for (number, unit, is_difference, expected) in [
            (0.1234, Unit::Share, false, "12.3 %"),
            (-0.1234, Unit::Share, true, "−12.3 points"),
            (1.5, Unit::Tokens, true, "+1.50"),
            (-0.00001, Unit::Score, true, "0.000"),
            (-0.1, Unit::Score, false, "−0.100"),
            (5.4321, Unit::Aesthetic, false, "5.43"),
        ] {
            assert_eq!(value(number, unit, is_difference), expected);
        }
        let cell = mean(Some(&INTERVAL), Unit::Score, false);
        assert_eq!(cell, "0.250<span class=\"range\">0.000 to 0.500</span><span class=\"n\">n 40</span>");
        assert!(mean(None, Unit::Score, false).contains("n 0"));
        assert_eq!(mean_in_words(&INTERVAL, Unit::Share, true), "+25.0 points (0.0 to +50.0, n 40)");
    }

    #[test]
    fn intervals_are_drawn_to_scale() {
        let other = Interval { n: 1, mean: -0.75, low: -1.0, high: -0.5 };
        let extent = extent([INTERVAL, other].iter());
        assert_eq!(extent, (-1.0, 0.5));
        let svg = drawn(Some(&other), extent, "worse");
        // 144 for 1.5: -1 is at 0, -0.75 at 24, 0 at 96.
        assert!(svg.contains("x1=\"96.0\"") && svg.contains("cx=\"24.0\""), "{svg}");
        assert!(svg.contains("x1=\"0.0\"") && svg.contains("x2=\"48.0\""), "{svg}");
        assert_eq!(drawn(None, extent, ""), "");
        assert!(!drawn(Some(&INTERVAL), (0.0, 0.0), "").contains("NaN"));
    }
}
