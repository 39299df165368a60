//! Charts: the key measure by the input's length, two measures against each other, distributions.

use std::fmt::Write as _;

use super::super::report::{BreakdownBy, Measure, MeasureFamily, Unit};
use super::numbers::unit_name;
use super::{View, headed};
use crate::error::Result;
use crate::plot::{HALF, Line, LineChart, LineStyle, Scatter, ScatterPoint};

/// Inputs that a length needs to be drawn; the table has all.
const FEWEST: usize = 5;

/// The charts that there are numbers for.
pub(super) fn section(view: &View) -> Result<String> {
    let mut charts = String::new();
    for chart in [by_length(view)?, against(view)?] {
        charts += &framed(chart);
    }
    let distributed =
        view.report.measures.iter().filter(|measure| measure.is_primary || is_key(view, measure));
    for measure in distributed {
        charts += &framed(distribution(view, measure)?);
    }
    if charts.is_empty() {
        return Ok(String::new());
    }
    Ok(format!(
        "<h2 id=\"plots\">Plots</h2>\n<p class=\"dim\">Over {}. Bands and bars are 95 % intervals. The numbers are in \
         the tables below.</p>\n<div class=\"charts\">\n{charts}</div>\n",
        crate::html::escape(view.whole)
    ))
}

fn is_key(view: &View, measure: &Measure) -> bool {
    view.key.is_some_and(|key| key.key == measure.key)
}

fn framed(chart: Option<String>) -> String {
    let mut html = String::new();
    if let Some(svg) = chart {
        let _ = writeln!(html, "{}", svg.replacen("<svg ", "<svg class=\"chart\" role=\"img\" ", 1));
    }
    html
}

/// The key measure by the input's length, a line a system.
fn by_length(view: &View) -> Result<Option<String>> {
    let Some(key) = view.key else { return Ok(None) };
    let report = view.report;
    let Some(set) = report.sets.iter().find(|set| set.name == view.whole) else { return Ok(None) };
    let scale = scale(key);
    let lines = report.systems.iter().map(|system| {
        // A bucket stands at its lower end: "10-20" at 10, "40+" at 40. Of few inputs the interval would be all that is seen.
        let found = report.breakdowns.iter().filter(|found| {
            found.by == BreakdownBy::Length
                && found.set == set.name
                && found.measure == key.key
                && found.system == system.name
                && found.n >= FEWEST
        });
        let points: Vec<_> =
            found.filter_map(|found| Some((lower_end(&found.part)?, found.interval?))).collect();
        Line {
            name: system.name.clone(),
            points: points.iter().map(|(x, found)| (*x, scale * found.mean)).collect(),
            band: points.iter().map(|(x, found)| (*x, scale * found.low, scale * found.high)).collect(),
            style: LineStyle::Dotted,
        }
    });
    let title = format!("{} by the input's length", headed(&key.title));
    let x_label = "tokens of the input, from";
    LineChart { title: &title, x_label, size: HALF, lines: lines.collect() }.to_svg()
}

/// Shares are drawn in per cent.
fn scale(measure: &Measure) -> f64 {
    if measure.unit == Unit::Share { 100.0 } else { 1.0 }
}

fn lower_end(part: &str) -> Option<f64> {
    part.split(['-', '+', '–']).next()?.parse().ok()
}

/// Relevance against the aesthetic score through images; else what is kept against the key measure.
fn against(view: &View) -> Result<Option<String>> {
    let row_level = |family, unit| {
        view.of_family(family).find(|measure: &&Measure| measure.is_of_rows() && measure.unit == unit)
    };
    let through_images =
        row_level(MeasureFamily::Image, Unit::Cosine).zip(row_level(MeasureFamily::Image, Unit::Aesthetic));
    let kept = view.report.measures.iter().find(|measure| measure.key.starts_with("content_kept"));
    let Some((x, y)) = through_images.or(kept.zip(view.key)) else { return Ok(None) };
    if x.key == y.key {
        return Ok(None);
    }
    let points = view.report.systems.iter().filter_map(|system| {
        let interval = |measure: &Measure| view.report.cell(view.whole, &measure.key, &system.name)?.interval;
        let ends = |measure| {
            interval(measure).map(|found| [found.low, found.mean, found.high].map(|end| scale(measure) * end))
        };
        Some(ScatterPoint { name: system.name.clone(), x: ends(x)?, y: ends(y)? })
    });
    let title = format!("{} against {}", headed(&y.title), x.title);
    let label = |measure: &Measure| match measure.unit {
        Unit::Score => measure.title.clone(),
        unit if measure.title.contains(unit_name(unit)) => measure.title.clone(),
        unit => format!("{}, {}", measure.title, unit_name(unit)),
    };
    Scatter { title: &title, x_label: &label(x), y_label: &label(y), size: HALF, points: points.collect() }
        .to_svg()
}

/// How a measure's values are distributed over the inputs, a line a system.
fn distribution(view: &View, measure: &Measure) -> Result<Option<String>> {
    let lines: Vec<Line> = view
        .report
        .systems
        .iter()
        .filter_map(|system| {
            let cell = view.report.cell(view.whole, &measure.key, &system.name)?;
            let found = cell.distribution.as_ref()?;
            let [low, high] = [found.low, found.high].map(|end| scale(measure) * end);
            let width = (high - low) / found.counts.len().max(1) as f64;
            let n = found.counts.iter().sum::<usize>().max(1) as f64;
            // Steps: each part is as wide as it counts.
            let points = found.counts.iter().enumerate().flat_map(|(part, &count)| {
                let (from, share) = (low + part as f64 * width, 100.0 * count as f64 / n);
                [(from, share), (from + width, share)]
            });
            Some(Line {
                name: format!("{}, n {}", system.name, cell.n),
                points: points.collect(),
                band: Vec::new(),
                style: LineStyle::Main,
            })
        })
        .collect();
    let title = format!("{}: % of inputs", headed(&measure.title));
    LineChart { title: &title, x_label: unit_name(measure.unit), size: HALF, lines }.to_svg()
}
