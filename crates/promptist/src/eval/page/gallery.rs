//! Single rows: where a system did most harm, where it did most good, and inputs that nobody picked.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use super::super::content::Loss;
use super::super::report::{Better, Measure};
use super::super::rows::{EvalRow, RewriteRow};
use super::{View, numbers};
use crate::error::Result;
use crate::html::escape;
use crate::reward::image::picture;

/// Rows of a system on either side.
const SHOWN: usize = 8;
/// Images of a prompt that are shown.
const MOST_IMAGES: usize = 2;

/// The rows of one input, by system.
type BySystem<'a> = HashMap<&'a str, &'a EvalRow>;

/// Losses, wins, samples.
pub(super) fn section(view: &View, images_root: Option<&Path>) -> Result<String> {
    let mut inputs: HashMap<(&str, usize), BySystem> = HashMap::new();
    for row in view.rows {
        inputs.entry((&row.set, row.index)).or_default().insert(&row.system, row);
    }
    let mut html = "<h2 id=\"gallery\">Losses and wins</h2>\n".to_owned();
    let report = view.report;
    if let Some(key) = view.key {
        let _ = writeln!(
            html,
            "<p class=\"dim\">Inputs by how much {} differs from that of {}, the worst first. One input is one draw: \
             such a number has no interval. <code>promptist eval replay RUN ROW</code> makes a row again.</p>",
            escape(&key.title),
            escape(&report.baseline)
        );
        for system in view.others() {
            let mut ranked = ranked(view, &inputs, key, &system.name);
            ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| place(a.1).cmp(&place(b.1))));
            let losses = ranked.iter().filter(|(gain, ..)| *gain < 0.0).take(SHOWN);
            let wins = ranked.iter().rev().filter(|(gain, ..)| *gain > 0.0).take(SHOWN);
            for (what, rows) in [("losses", losses.collect::<Vec<_>>()), ("wins", wins.collect())] {
                let name = escape(&system.name);
                let _ = writeln!(html, "<h3>{name}: {what}</h3>");
                if rows.is_empty() {
                    let _ = writeln!(html, "<p class=\"dim\">None.</p>");
                }
                for (_, row, against) in rows {
                    html += &pair(view, key, row, against, images_root)?;
                }
            }
        }
    }
    html += "<h2 id=\"samples\">Inputs that nobody picked</h2>\n";
    for input in &report.samples {
        let Some(rows) = inputs.get(&(input.set.as_str(), input.index)) else { continue };
        let mut rows: Vec<&EvalRow> = rows.values().copied().collect();
        rows.sort_by_key(|row| report.systems.iter().position(|system| system.name == row.system));
        html += &sample(&rows, input.set.as_str(), input.index);
    }
    Ok(html)
}

fn place(row: &EvalRow) -> (&str, usize) {
    (&row.set, row.index)
}

/// By how much the system is better than the baseline on each input that both have a value for; its row, and the
/// baseline's.
fn ranked<'a>(
    view: &View,
    inputs: &HashMap<(&str, usize), BySystem<'a>>,
    key: &Measure,
    system: &str,
) -> Vec<(f64, &'a EvalRow, &'a EvalRow)> {
    let gains = inputs.values().filter_map(|rows| {
        let (row, against) = (*rows.get(system)?, *rows.get(view.report.baseline.as_str())?);
        let difference = row.value(&key.key)? - against.value(&key.key)?;
        let gain = if key.better == Better::Lower { -difference } else { difference };
        gain.is_finite().then_some((gain, row, against))
    });
    gains.collect()
}

/// A row beside the baseline's.
fn pair(
    view: &View,
    key: &Measure,
    row: &EvalRow,
    against: &EvalRow,
    images_root: Option<&Path>,
) -> Result<String> {
    let number = |row: &EvalRow, measure: &Measure| {
        row.value(&measure.key)
            .map_or("no value".to_owned(), |value| numbers::value(value, measure.unit, false))
    };
    let mut html = format!("<article>\n<h4>{}</h4>\n<dl>\n", escape(&row.user_input));
    for row in [against, row] {
        for rewrite in row.rewrites.iter().take(1) {
            let _ = writeln!(
                html,
                "<dt>{}</dt><dd>{}</dd>",
                escape(&row.system),
                marked(&row.user_input, &rewrite.adapted_prompt)
            );
        }
    }
    let _ = writeln!(
        html,
        "<dt>{}</dt><dd>{} against {}</dd>",
        escape(&key.title),
        number(row, key),
        number(against, key)
    );
    if let Some(lost) = row.first().map(lost).filter(|lost| !lost.is_empty()) {
        let _ = writeln!(html, "<dt>lost</dt><dd class=\"worse\">{lost}</dd>");
    }
    let others: Vec<String> = view
        .report
        .measures
        .iter()
        .filter(|measure| measure.is_primary && measure.key != key.key && row.value(&measure.key).is_some())
        .map(|measure| {
            format!(
                "{} {} against {}",
                escape(&measure.title),
                number(row, measure),
                number(against, measure)
            )
        })
        .collect();
    if !others.is_empty() {
        let _ = writeln!(html, "<dt>also</dt><dd>{}</dd>", others.join("; "));
    }
    html += "</dl>\n";
    html += &pictures(row.first(), images_root)?;
    let _ = writeln!(html, "<code>{}</code>\n</article>", escape(&row.row_id));
    Ok(html)
}

/// Images of the user's input and of the rewrite, each pair of one seed.
fn pictures(rewrite: Option<&RewriteRow>, images_root: Option<&Path>) -> Result<String> {
    let Some((images, root)) = rewrite.and_then(|rewrite| rewrite.images.as_ref()).zip(images_root) else {
        return Ok(String::new());
    };
    let mut html = "<div class=\"pictures\">\n".to_owned();
    for (j, (of_x, of_y)) in images.user_input.iter().zip(&images.adapted).take(MOST_IMAGES).enumerate() {
        let seed = images.seeds.as_ref().and_then(|seeds| seeds.get(j));
        let seed = seed.map_or(String::new(), |seed| format!(", seed {seed}"));
        let number =
            |numbers: &[f32]| numbers.get(j).map_or("–".to_owned(), |number| format!("{number:.2}"));
        for (path, what, aesthetic) in
            [(of_x, "user input", &images.aesthetic_baseline), (of_y, "adapted", &images.aesthetic)]
        {
            let caption = format!("{what}{seed}, aesthetic {}", number(aesthetic));
            let picture = picture::embedded(&root.join(path), what)?;
            let _ = writeln!(html, "<figure>{picture}<figcaption>{caption}</figcaption></figure>");
        }
    }
    Ok(html + "</div>\n")
}

/// An input and what every system made of it.
fn sample(rows: &[&EvalRow], set: &str, index: usize) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let mut html = format!("<article>\n<h4>{}</h4>\n<dl>\n", escape(&first.user_input));
    for row in rows {
        match (&row.missing, row.first()) {
            (_, Some(rewrite)) => {
                let lost = lost(rewrite);
                let lost = match lost.is_empty() {
                    true => lost,
                    false => format!(" <span class=\"worse\">lost: {lost}</span>"),
                };
                let prompt = marked(&row.user_input, &rewrite.adapted_prompt);
                let _ = writeln!(html, "<dt>{}</dt><dd>{prompt}{lost}</dd>", escape(&row.system));
            }
            (reason, None) => {
                let reason = reason.as_deref().unwrap_or("nothing");
                let _ = writeln!(
                    html,
                    "<dt>{}</dt><dd class=\"dim\">{}</dd>",
                    escape(&row.system),
                    escape(reason)
                );
            }
        }
    }
    let _ = writeln!(html, "</dl>\n<code>{}:{index}</code>\n</article>", escape(set));
    html
}

/// What of the input is not kept, and what stands in its place.
fn lost(rewrite: &RewriteRow) -> String {
    let one = |loss: &Loss| match &loss.instead {
        Some(instead) => format!("{} (now {})", escape(&loss.what), escape(instead)),
        None => escape(&loss.what),
    };
    let kinds = rewrite.lost.iter().filter(|(_, lost)| !lost.is_empty());
    let kinds = kinds.map(|(kind, lost)| {
        format!("{}: {}", escape(kind), lost.iter().map(one).collect::<Vec<_>>().join(", "))
    });
    kinds.collect::<Vec<_>>().join("; ")
}

/// The adapted prompt, what was added behind the user's words marked.
fn marked(user_input: &str, adapted: &str) -> String {
    let (input, adapted) = (user_input.trim(), adapted.trim());
    match adapted.strip_prefix(input) {
        _ if adapted.is_empty() => "<em>empty</em>".to_owned(),
        Some("") => "<em>as it is</em>".to_owned(),
        Some(added) => format!("{}<mark>{}</mark>", escape(input), escape(added)),
        None => format!("<mark>{}</mark>", escape(adapted)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_are_marked_and_markup_is_text() {
        assert_eq!(marked("a cat", "a cat, 8k <b>"), "a cat<mark>, 8k &lt;b&gt;</mark>");
        assert_eq!(marked("a cat", "cats"), "<mark>cats</mark>");
        assert_eq!(marked("a cat ", "a cat"), "<em>as it is</em>");
        assert_eq!(marked("a cat", " "), "<em>empty</em>");
    }
}
