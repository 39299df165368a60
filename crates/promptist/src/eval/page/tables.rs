//! Tables: the claim by set and system, every measure, breakdowns, what was added.

use std::fmt::Write as _;

use super::super::report::{
    BreakdownBy, Cell, Comparison, Level, Measure, MeasureFamily, SetKind, SetReport,
};
use super::{View, family_title, headed, numbers, set_title};
use crate::html::escape;
use crate::statistics::Interval;

const FAMILIES: [MeasureFamily; 4] =
    [MeasureFamily::Image, MeasureFamily::Text, MeasureFamily::Proxy, MeasureFamily::Judge];

/// The reward of the paper by set, for user input, human prompts, the SFT and the RL model; gains over the user input
/// in the second table. As a secondary source prints them: rows with a mark have unreliable columns there.
const OF_THE_PAPER: [(&str, [&str; 4], [&str; 2]); 6] = [
    ("Lexica, main content", ["−0.32", "−0.02", "0.03", "0.14"], ["0.36", "0.47"]),
    ("Lexica, main content and modifiers *", ["−0.30", "0.07", "0.06", "0.17"], ["0.16", "0.17"]),
    ("Lexica, rephrased main content *", ["−0.35", "−0.06", "0.44", "0.63"], ["0.44", "0.63"]),
    ("Lexica, rephrased target prompt *", ["−0.35", "0.06", "0.11", "0.25"], ["0.11", "0.25"]),
    ("DiffusionDB", ["−0.30", "−0.21", "−0.01", "0.06"], ["0.29", "0.36"]),
    ("COCO *", ["−0.38", "none", "−0.10", "0.48 (a gain)"], ["0.28", "0.48"]),
];

/// The paper's table: the key measure, sets down, systems across.
pub(super) fn claim(view: &View) -> String {
    let Some(key) = view.key else { return String::new() };
    let report = view.report;
    let mut html = format!(
        "<h2 id=\"claim\">{}, by set and system</h2>\n<p class=\"dim\">{} {}</p>\n<div class=\"scroll\"><table><thead>\
         <tr><th>set</th>",
        escape(&headed(&key.title)),
        escape(&key.description),
        better(key)
    );
    for system in &report.systems {
        let _ = write!(html, "<th>{}</th>", escape(&system.name));
    }
    html += "</tr></thead><tbody>\n";
    for set in &report.sets {
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>", set_title(set));
        for system in &report.systems {
            let cell = report.cell(&set.name, &key.key, &system.name);
            let against = report.comparison(&set.name, &key.key, &system.name, &report.baseline);
            let class = against.map_or("", |found| numbers::verdict(found.verdict).0);
            let class = if class == "dim" { "" } else { class };
            let interval = cell.and_then(|cell| cell.interval.as_ref());
            let _ = write!(
                html,
                "<td class=\"number {class}\">{}</td>",
                numbers::mean(interval, key.unit, false)
            );
        }
        html += "</tr>\n";
    }
    html += "</tbody></table></div>\n";
    let _ = writeln!(
        html,
        "<p class=\"dim\">In colour and bold: differs from {} after correction for the number of comparisons.</p>",
        escape(&report.baseline)
    );
    html += &gains(view, key);
    if key.family == MeasureFamily::Image {
        html += &of_the_paper();
    }
    html
}

/// Differences to the baseline, drawn.
fn gains(view: &View, key: &Measure) -> String {
    let report = view.report;
    let found: Vec<&Comparison> = report
        .comparisons
        .iter()
        .filter(|found| found.measure == key.key && found.against == report.baseline)
        .collect();
    let extent = numbers::extent(found.iter().filter_map(|found| found.difference.as_ref()));
    let mut html = format!(
        "<h3>Gain over {}</h3>\n<div class=\"scroll\"><table><thead><tr><th>set</th><th>system</th><th>difference</th>\
         <th class=\"spread\"></th><th>wins / ties / losses</th><th>corrected p</th><th></th></tr></thead><tbody>\n",
        escape(&report.baseline)
    );
    for set in &report.sets {
        for comparison in found.iter().filter(|found| found.set == set.name) {
            let _ = writeln!(
                html,
                "<tr><td>{}</td><td>{}</td>{}</tr>",
                escape(&set.name),
                escape(&comparison.system),
                difference_cells(comparison, key, extent)
            );
        }
    }
    html + "</tbody></table></div>\n"
}

/// Difference, drawn, counts, p, verdict: five cells.
fn difference_cells(comparison: &Comparison, measure: &Measure, extent: (f64, f64)) -> String {
    let (class, word) = numbers::verdict(comparison.verdict);
    let difference = comparison.difference.as_ref();
    format!(
        "<td class=\"number\">{}</td><td class=\"spread {class}\">{}</td><td class=\"number\">{}</td>\
         <td class=\"number\">{}</td><td class=\"{class}\">{word}</td>",
        numbers::mean(difference, measure.unit, true),
        numbers::drawn(difference, extent, class),
        numbers::counts(comparison.counts),
        numbers::p(comparison)
    )
}

/// What the paper reports, for the eye; other prompts, another generator.
fn of_the_paper() -> String {
    let mut html = "<details><summary>The paper's own figures</summary>\n<p class=\"dim\">Promptist with GPT-2 and Stable \
                    Diffusion 1.4, 256 prompts a set, as a secondary source prints them: no intervals, no seeds; \
                    columns are unreliable in rows with *. Other prompts and images than here.</p>\n\
                    <div class=\"scroll\"><table><thead><tr><th>set</th><th>user input</th><th>human</th><th>SFT</th>\
                    <th>RL</th><th>gain of SFT</th><th>gain of RL</th></tr></thead><tbody>\n"
        .to_owned();
    for (set, rewards, gains) in OF_THE_PAPER {
        let _ = write!(html, "<tr><td>{set}</td>");
        for number in rewards.iter().chain(&gains) {
            let _ = write!(html, "<td>{number}</td>");
        }
        html += "</tr>\n";
    }
    html + "</tbody></table></div></details>\n"
}

/// Every measure of every set.
pub(super) fn all_measures(view: &View) -> String {
    let mut html = "<h2 id=\"measures\">All measures</h2>\n".to_owned();
    for set in &view.report.sets {
        let open = if set.name == view.whole { " open" } else { "" };
        let _ = writeln!(html, "<details{open}><summary>{}</summary>", set_title(set));
        for family in FAMILIES {
            html += &family_table(view, set, family);
        }
        html += "</details>\n";
    }
    html
}

fn family_table(view: &View, set: &SetReport, family: MeasureFamily) -> String {
    let report = view.report;
    let mut rows = String::new();
    for measure in view.of_family(family) {
        let cells: Vec<&Cell> = report
            .cells
            .iter()
            .filter(|cell| cell.set == set.name && cell.measure == measure.key && cell.n + cell.missing > 0)
            .collect();
        if cells.is_empty() {
            continue;
        }
        let against = |system: &str| report.comparison(&set.name, &measure.key, system, &report.baseline);
        let differences: Vec<&Interval> =
            cells.iter().filter_map(|cell| against(&cell.system)?.difference.as_ref()).collect();
        let extent = numbers::extent(differences.into_iter());
        let _ = writeln!(
            rows,
            "<tr class=\"measure\"><th colspan=\"7\">{}{}<span class=\"dim\">{} {}</span></th></tr>",
            escape(&headed(&measure.title)),
            if measure.is_primary { " (primary)" } else { "" },
            escape(&measure.description),
            better(measure)
        );
        for cell in cells {
            let _ = writeln!(
                rows,
                "<tr><td>{}</td><td class=\"number\">{}{}</td>{}</tr>",
                escape(&cell.system),
                numbers::mean(cell.interval.as_ref(), measure.unit, false),
                left_out(cell),
                match against(&cell.system) {
                    Some(found) => difference_cells(found, measure, extent),
                    None if cell.system == report.baseline =>
                        "<td colspan=\"5\" class=\"dim\">the baseline</td>".to_owned(),
                    None => "<td colspan=\"5\"></td>".to_owned(),
                }
            );
        }
    }
    if rows.is_empty() {
        return rows;
    }
    format!(
        "<h3>{}</h3>\n<div class=\"scroll\"><table><thead><tr><th>system</th><th>mean</th><th>difference to {}</th>\
         <th class=\"spread\"></th><th>wins / ties / losses</th><th>corrected p</th><th></th></tr></thead><tbody>\n\
         {rows}</tbody></table></div>\n",
        family_title(family),
        escape(&report.baseline)
    )
}

/// Inputs that are not in the mean.
fn left_out(cell: &Cell) -> String {
    let mut html = String::new();
    for (count, what) in [(cell.missing, "missing"), (cell.undefined, "undefined")] {
        if count > 0 {
            let _ = write!(html, "<span class=\"n\">{count} {what}</span>");
        }
    }
    html
}

fn better(measure: &Measure) -> &'static str {
    use super::super::report::Better;
    match (measure.better, measure.level) {
        (Better::Higher, Level::Row) => "More is better.",
        (Better::Lower, Level::Row) => "Less is better.",
        (Better::Neither, Level::Row) => "Neither way is better.",
        (Better::Higher, Level::Set) => "More is better. Of the set as a whole: jackknife interval, no test.",
        (Better::Lower, Level::Set) => "Less is better. Of the set as a whole: jackknife interval, no test.",
        (Better::Neither, Level::Set) => "Of the set as a whole: jackknife interval, no test.",
    }
}

/// The key measure and all primary ones by length and category of the input, on the whole and on each set.
pub(super) fn breakdowns(view: &View) -> String {
    let report = view.report;
    let mut html = String::new();
    for set in report.sets.iter().filter(|set| set.kind != SetKind::SourceKind) {
        for (by, title) in [(BreakdownBy::Length, "tokens"), (BreakdownBy::Category, "category")] {
            html += &breakdown(view, set, by, title);
        }
    }
    match html.is_empty() {
        true => html,
        false => format!(
            "<h2 id=\"breakdowns\">By length and category</h2>\n<p class=\"dim\">To look at, not to decide \
                          by: nothing here is tested.</p>\n{html}"
        ),
    }
}

fn breakdown(view: &View, set: &SetReport, by: BreakdownBy, title: &str) -> String {
    let report = view.report;
    let mut rows = String::new();
    for measure in
        report.measures.iter().filter(|m| m.is_primary || view.key.is_some_and(|key| key.key == m.key))
    {
        let found: Vec<_> = report
            .breakdowns
            .iter()
            .filter(|found| {
                found.set == set.name && found.by == by && found.measure == measure.key && found.n > 0
            })
            .collect();
        for (place, found) in found.iter().enumerate() {
            if place == 0 {
                let _ = writeln!(
                    rows,
                    "<tr class=\"measure\"><th colspan=\"4\">{}</th></tr>",
                    escape(&measure.title)
                );
            }
            let difference = match found.system == report.baseline {
                true => "<span class=\"dim\">the baseline</span>".to_owned(),
                false => numbers::mean(found.difference.as_ref(), measure.unit, true),
            };
            let _ = writeln!(
                rows,
                "<tr><td>{}</td><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{difference}</td></tr>",
                escape(&found.part),
                escape(&found.system),
                numbers::mean(found.interval.as_ref(), measure.unit, false)
            );
        }
    }
    if rows.is_empty() {
        return rows;
    }
    format!(
        "<details><summary>{}, by {title}</summary><div class=\"scroll\"><table><thead><tr><th>{title}</th><th>system\
         </th><th>mean</th><th>difference to {}</th></tr></thead><tbody>\n{rows}</tbody></table></div></details>\n",
        escape(&set.name),
        escape(&report.baseline)
    )
}

/// The commonest additions of each system, on the whole.
pub(super) fn additions(view: &View) -> String {
    let mut html = String::new();
    for found in view.report.additions.iter().filter(|found| found.set == view.whole) {
        if found.commonest_phrases.is_empty() {
            continue;
        }
        let list = |commons: &[super::super::report::Common]| -> String {
            let items = commons
                .iter()
                .map(|common| format!("{} ({} of {})", escape(&common.text), common.count, found.rewrites));
            items.collect::<Vec<_>>().join(" · ")
        };
        let _ =
            writeln!(html, "<h3>{}</h3>\n<p>{}</p>", escape(&found.system), list(&found.commonest_phrases));
        if !found.commonest_artists.is_empty() {
            let _ = writeln!(html, "<p>Artists: {}</p>", list(&found.commonest_artists));
        }
        if !found.flaws.is_empty() {
            let flaws: Vec<String> = found
                .flaws
                .iter()
                .map(|(flaw, count)| format!("{} ({count} of {})", escape(flaw), found.rewrites))
                .collect();
            let _ = writeln!(html, "<p>Broken: {}</p>", flaws.join(" · "));
        }
    }
    match html.is_empty() {
        true => html,
        false => format!("<h2 id=\"additions\">What is added most often</h2>\n{html}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paper_s_table_is_whole() {
        let html = of_the_paper();
        assert_eq!(html.matches("<tr>").count(), 1 + OF_THE_PAPER.len());
        assert_eq!(html.matches("<td>").count(), 7 * OF_THE_PAPER.len());
    }
}
