//! A report as one page, nothing loaded from elsewhere: readable on paper and on a phone.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use promptist::clip::image_file;
use promptist::html::escape;
use promptist::statistics::Interval;

use crate::report::results::NO_STRENGTHS;
use crate::report::text::{number, p_value, percent};
use crate::report::{PairResult, Report, Results, RowResult, RowSide};

/// The page, with places for what is filled in.
const PAGE: &str = include_str!("report.html");
/// Questions with pictures: more would make a page that no browser likes.
const MAX_PICTURED: usize = 200;
/// Of a picture, in pixels.
const MAX_SIDE: u32 = 192;
const JPEG_QUALITY: u8 = 80;

pub(crate) fn page(report: &Report) -> String {
    let mut body = String::new();
    head(&mut body, report);
    preferences(&mut body, &report.results);
    strengths(&mut body, &report.results);
    agreement(&mut body, &report.results);
    exclusions(&mut body, report);
    raters(&mut body, report);
    rows(&mut body, report);
    // What people typed is not searched for places again.
    let (head, foot) = PAGE.split_once("{{body}}").expect("the page has a place for its body");
    head.replace("{{title}}", &escape(&report.study.title)) + &body + foot
}

fn head(html: &mut String, report: &Report) {
    let (study, raters) = (&report.study, &report.raters);
    let _ = writeln!(html, "<p class=\"asked\">{}</p>\n<dl class=\"facts\">", escape(&study.question));
    let mut fact = |name: &str, value: String| {
        let _ = writeln!(html, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    };
    fact("answers", report.results.answers.to_string());
    fact("raters", report.results.raters.to_string());
    fact("systems", study.systems.len().to_string());
    fact("inputs", study.inputs.to_string());
    fact("questions", study.questions.to_string());
    fact("finished", format!("{} of {}", raters.finished, raters.began));
    fact("withdrew", raters.withdrew.to_string());
    fact("answers deleted", raters.answers_deleted.to_string());
    fact("excluded", raters.excluded.to_string());
    if study.inputs_dropped > 0 {
        fact("inputs left out", format!("{}, a system lacks them", study.inputs_dropped));
    }
    if study.pairs_the_same > 0 {
        fact("not asked", format!("{} pairs with the same images", study.pairs_the_same));
    }
    *html += "</dl>\n";
}

fn preferences(html: &mut String, results: &Results) {
    *html += "<h2>Who is preferred</h2>\n";
    if results.pairs.is_empty() {
        *html += "<p>No answers yet.</p>\n";
        return;
    }
    *html += "<div class=\"pairs\">\n";
    for pair in &results.pairs {
        bar(html, pair);
    }
    *html += "</div>\n";
    pair_table(html, &results.pairs);
    *html += "<p class=\"note\">Preferred: how often the first system won, a tie as half. The interval is the \
              95 % bootstrap interval over inputs (Wilson&rsquo;s over inputs where all say the same); Wilson&rsquo;s beside it takes answers to one input as \
              independent. p: random signs of the inputs&rsquo; means, corrected for the number of pairs \
              (Holm).</p>\n";
}

/// Wins, ties and losses as lengths, the numbers in words.
fn bar(html: &mut String, pair: &PairResult) {
    let total = (pair.wins + pair.ties + pair.losses).max(1) as f64;
    let _ = write!(
        html,
        "<figure><figcaption><b>{}</b><span>tie</span><b>{}</b></figcaption><div class=\"bar\" role=\"img\" \
         aria-label=\"{} wins, {} ties, {} losses\">",
        escape(&pair.first),
        escape(&pair.second),
        pair.wins,
        pair.ties,
        pair.losses
    );
    for (class, count) in [("win", pair.wins), ("tie", pair.ties), ("loss", pair.losses)] {
        if count > 0 {
            let width = 100.0 * count as f64 / total;
            let _ = write!(html, "<span class=\"{class}\" style=\"width:{width:.2}%\">{count}</span>");
        }
    }
    *html += "</div>";
    if let Some(preference) = &pair.preference {
        let _ = write!(
            html,
            "<p class=\"note\"><b>{}</b> preferred in {}, {} inputs</p>",
            escape(&pair.first),
            percent(preference),
            pair.inputs
        );
    }
    *html += "</figure>\n";
}

fn pair_table(html: &mut String, pairs: &[PairResult]) {
    let head = ["system", "against", "wins", "ties", "losses", "inputs", "preferred", "Wilson", "p (Holm)"];
    table(
        html,
        &head,
        pairs.iter().map(|pair| {
            let share = |share: &Option<Interval>| share.as_ref().map_or("-".to_owned(), percent);
            vec![
                escape(&pair.first),
                escape(&pair.second),
                pair.wins.to_string(),
                pair.ties.to_string(),
                pair.losses.to_string(),
                pair.inputs.to_string(),
                share(&pair.preference),
                share(&pair.preference_wilson),
                pair.p_adjusted.map_or("-".to_owned(), |p| escape(&p_value(p))),
            ]
        }),
    );
}

fn strengths(html: &mut String, results: &Results) {
    if results.pairs.is_empty() {
        return;
    }
    *html += "<h2>Bradley-Terry strengths</h2>\n";
    if results.strengths.is_empty() {
        let _ = writeln!(html, "<p>None: {NO_STRENGTHS}.</p>");
        return;
    }
    *html += &strengths_plot(results);
    table(
        html,
        &["system", "strength"],
        results.strengths.iter().map(|s| vec![escape(&s.system), number(&s.strength)]),
    );
    *html += "<p class=\"note\">Logarithmic, mean 0: a difference of 1 is odds of 2.7 to 1. 95 % bootstrap \
              intervals over inputs.</p>\n";
}

/// A line a system: its interval, and a point.
fn strengths_plot(results: &Results) -> String {
    const WIDTH: f64 = 440.0;
    const LEFT: f64 = 140.0;
    const LINE: f64 = 34.0;
    let strengths = &results.strengths;
    let ends = strengths.iter().flat_map(|s| [s.strength.low, s.strength.high, 0.0]);
    let (low, high) = ends.fold((f64::MAX, f64::MIN), |(low, high), end| (low.min(end), high.max(end)));
    let span = (high - low).max(1e-9);
    let x = |value: f64| LEFT + 10.0 + (value - low) / span * (WIDTH - LEFT - 30.0);
    let height = LINE * strengths.len() as f64 + 8.0;
    let mut svg = format!(
        "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Strengths with their \
         intervals; the table has the numbers\"><line class=\"zero\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"0\" \
         y2=\"{height}\"/>",
        x(0.0)
    );
    for (at, s) in strengths.iter().enumerate() {
        let y = LINE * (at as f64 + 0.5) + 4.0;
        let shown: String = s.system.chars().take(18).collect();
        let _ = write!(
            svg,
            "<text x=\"{LEFT}\" y=\"{:.1}\" text-anchor=\"end\">{}</text><line class=\"interval\" x1=\"{:.1}\" \
             x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"5\"/>",
            y + 5.0,
            escape(&shown),
            x(s.strength.low),
            x(s.strength.high),
            x(s.strength.mean)
        );
    }
    svg + "</svg>\n"
}

fn agreement(html: &mut String, results: &Results) {
    let agreement = &results.agreement;
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "not enough answers".to_owned());
    let of = |share: &Interval| format!("{} of {}", percent(share), share.n);
    *html += "<h2>Agreement</h2>\n";
    let kappa = agreement.self_kappa.map_or(String::new(), |kappa| format!(", kappa {kappa:.2}"));
    let questions = format!("{} questions with two raters or more", agreement.questions);
    let rows = [
        (
            "Krippendorff&rsquo;s alpha, nominal",
            or_none(agreement.alpha_nominal.as_ref().map(number)),
            questions,
        ),
        (
            "Krippendorff&rsquo;s alpha, ordinal",
            or_none(agreement.alpha_ordinal.as_ref().map(number)),
            "a tie lies between the two sides".to_owned(),
        ),
        (
            "Repeats answered as before",
            or_none(agreement.self_consistency.as_ref().map(of)) + &kappa,
            "sides changed".to_owned(),
        ),
        (
            "Share of side A",
            or_none(results.share_of_a.as_ref().map(of)),
            "a half if nobody prefers a side".to_owned(),
        ),
    ];
    table(
        html,
        &["measure", "value", "of"],
        rows.into_iter().map(|(name, value, note)| vec![name.to_owned(), value, note]),
    );
}

fn exclusions(html: &mut String, report: &Report) {
    let rules = &report.rules;
    let _ = writeln!(
        html,
        "<h2>Exclusions</h2>\n<p>Rules, set before the first answer: at least {} of the checks passed, at least \
         {} of the repeats answered as before, a median of at least {} s an answer.</p>",
        rules.min_checks_passed, rules.min_consistency, rules.min_median_secs
    );
    if report.were_rules_edited {
        *html += "<p>The rules in the study&rsquo;s config were edited since. What stood before the first answer holds.</p>\n";
    }
    if report.excluded.is_empty() {
        *html += "<p>Nobody is excluded.</p>\n";
        return;
    }
    *html += "<ul>\n";
    for excluded in &report.excluded {
        let _ = writeln!(html, "<li>Rater {}: {}</li>", excluded.rater, escape(&excluded.reasons.join("; ")));
    }
    let all = &report.results_with_excluded;
    let _ = writeln!(html, "</ul>\n<p>With them ({} answers of {} raters):</p>", all.answers, all.raters);
    pair_table(html, &all.pairs);
}

fn raters(html: &mut String, report: &Report) {
    *html += "<h2>Raters</h2>\n";
    let head = [
        "rater",
        "answered",
        "checks passed",
        "repeats the same",
        "median",
        "share of A",
        "p",
        "ties",
        "changed",
    ];
    table(
        html,
        &head,
        report.rater_quality.iter().map(|rater| {
            vec![
                rater.rater.to_string(),
                format!("{} of {}", rater.answered, rater.assigned),
                format!("{} of {}", rater.checks_passed, rater.checks),
                format!("{} of {}", rater.repeats_same, rater.repeats),
                rater.median_secs.map_or("-".to_owned(), |secs| format!("{secs:.1} s")),
                rater.share_of_a.as_ref().map_or("-".to_owned(), percent),
                rater.side_bias_p.map_or("-".to_owned(), |p| escape(&p_value(p))),
                rater.ties.to_string(),
                rater.changed.to_string(),
            ]
        }),
    );
    *html += "<h2>Sides</h2>\n";
    table(
        html,
        &["system", "against", "at A", "at B"],
        report.sides.iter().map(|side| {
            let [a, b] = [side.first_at_a, side.first_at_b].map(|count| count.to_string());
            vec![escape(&side.first), escape(&side.second), a, b]
        }),
    );
}

fn rows(html: &mut String, report: &Report) {
    *html += "<h2>Every question</h2>\n<p class=\"note\">Where raters were most of one mind, first. \
              <code>promptist study show STUDY NUMBER</code> prints a question with every answer.</p>\n";
    let mut order: Vec<&RowResult> = report.rows.iter().collect();
    order.sort_by_key(|row| std::cmp::Reverse(row.first_wins.abs_diff(row.second_wins)));
    for (at, row) in order.into_iter().enumerate() {
        let with_pictures = at < MAX_PICTURED;
        let _ = writeln!(
            html,
            "<article id=\"question-{0}\"><h3><a href=\"#question-{0}\">{0}</a> {1}</h3>",
            row.question,
            escape(&row.user_input)
        );
        side(html, &row.first, row.first_wins, with_pictures);
        let _ = writeln!(html, "<p class=\"ties\">{} ties</p>", row.ties);
        side(html, &row.second, row.second_wins, with_pictures);
        *html += "</article>\n";
    }
}

fn side(html: &mut String, side: &RowSide, wins: usize, with_pictures: bool) {
    let seeds: Vec<String> = side.seeds.iter().map(u64::to_string).collect();
    let _ = writeln!(
        html,
        "<div class=\"side\"><p><b>{wins}</b> for <b>{}</b> <code>{}</code></p><p class=\"prompt\">{}</p><p \
         class=\"from\">seeds {}; {}</p></div>",
        escape(&side.system),
        escape(&side.row_id),
        escape(&side.adapted_prompt),
        if seeds.is_empty() { "not known".to_owned() } else { seeds.join(", ") },
        escape(&side.images.join(", "))
    );
    if with_pictures {
        *html += "<p class=\"pictures\">";
        side.files.iter().filter_map(|file| picture(file)).for_each(|picture| *html += &picture);
        *html += "</p>\n";
    }
}

/// An image, made small; none if the study's copy is gone.
fn picture(file: &Path) -> Option<String> {
    let image = image_file::read_rgb(file).ok()?;
    let (width, height) = image.dimensions();
    let scale = (f64::from(MAX_SIDE) / f64::from(width.max(height))).min(1.0);
    let [width, height] = [width, height].map(|side| ((f64::from(side) * scale) as u32).max(1));
    let small = image::imageops::thumbnail(&image, width, height);
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY).encode_image(&small).ok()?;
    Some(format!(
        "<img alt=\"\" loading=\"lazy\" width=\"{width}\" height=\"{height}\" \
         src=\"data:image/jpeg;base64,{}\">",
        STANDARD.encode(jpeg)
    ))
}

/// A table that scrolls by itself where it is too wide. Cells are markup.
fn table(html: &mut String, head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    *html += "<div class=\"table\" tabindex=\"0\"><table><thead><tr>";
    head.iter().for_each(|name| *html += &format!("<th scope=\"col\">{name}</th>"));
    *html += "</tr></thead><tbody>\n";
    for row in rows {
        *html += "<tr>";
        row.iter().for_each(|cell| *html += &format!("<td>{cell}</td>"));
        *html += "</tr>\n";
    }
    *html += "</tbody></table></div>\n";
}
