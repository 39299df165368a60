//! `report.html`: what an evaluation found, as one page that needs no other file.
//!
//! The claim first (the paper's table), then plots, then the rows behind them, losses before wins, then every number.
//! A mean stands with its interval and its n. Measures through images and proxies that read text share no table.
//!
//! `numbers` writes numbers, `tables` sets, systems and measures, `plots` the charts, `gallery` single rows.

mod gallery;
mod numbers;
mod plots;
mod tables;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use super::report::{
    EvalReport, LeakageReport, Measure, MeasureFamily, SetKind, SetLeakage, SetReport, SystemReport, Verdict,
};
use super::rows::EvalRow;
use crate::error::Result;
use crate::html::escape;

/// The page, with a place for what is filled in.
const PAGE: &str = include_str!("page.html");

/// The page of a report and its rows. `images_root` is where the rows' image paths begin; without it, and where a
/// file is missing, prompts are shown without pictures.
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) if a chart cannot be drawn, [`Error::Shape`](crate::Error::Shape) if a
/// picture cannot be encoded.
pub fn render(report: &EvalReport, rows: &[EvalRow], images_root: Option<&Path>) -> Result<String> {
    let view = View::new(report, rows);
    let mut body = header(&view);
    body += &findings(&view);
    body += &tables::claim(&view);
    body += &plots::section(&view)?;
    body += &gallery::section(&view, images_root)?;
    body += &tables::all_measures(&view);
    body += &tables::breakdowns(&view);
    body += &tables::additions(&view);
    body += &trust(&view);
    body += &conditions(&view)?;
    // What people typed comes last, and is not searched for places again.
    Ok(PAGE.replacen("{{body}}", &body, 1))
}

/// A report, and what every part of the page asks of it.
struct View<'a> {
    report: &'a EvalReport,
    rows: &'a [EvalRow],
    /// The measure that the claim is judged by: the reward through images if there are images, else a proxy, else
    /// the first primary measure.
    key: Option<&'a Measure>,
    /// The largest pool, or the only set.
    whole: &'a str,
}

impl<'a> View<'a> {
    fn new(report: &'a EvalReport, rows: &'a [EvalRow]) -> Self {
        let of_rows = || report.measures.iter().filter(|measure| measure.is_of_rows());
        let key = of_rows()
            .find(|measure| measure.is_primary && measure.family == MeasureFamily::Image)
            .or_else(|| of_rows().find(|measure| measure.family == MeasureFamily::Proxy))
            .or_else(|| of_rows().find(|measure| measure.is_primary))
            .or_else(|| of_rows().next());
        let whole = report.sets.iter().find(|set| set.kind == SetKind::All).or(report.sets.first());
        Self { report, rows, key, whole: whole.map_or("", |set| set.name.as_str()) }
    }

    /// Systems that are held against the baseline.
    fn others(&self) -> impl Iterator<Item = &'a SystemReport> {
        self.report.systems.iter().filter(|system| system.name != self.report.baseline)
    }

    /// The measures of a family, in order.
    fn of_family(&self, family: MeasureFamily) -> impl Iterator<Item = &'a Measure> {
        self.report.measures.iter().filter(move |measure| measure.family == family)
    }
}

/// What a family is called above its table.
fn family_title(family: MeasureFamily) -> &'static str {
    match family {
        MeasureFamily::Image => "Seen in images",
        MeasureFamily::Text => "Counted in the text",
        MeasureFamily::Proxy => "Proxies: rewards that read the text and see no picture",
        MeasureFamily::Judge => "Judges that no reward is made of",
    }
}

/// A title at the beginning of a line.
fn headed(title: &str) -> String {
    let mut letters = title.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// What a set is called, and what it is.
fn set_title(set: &SetReport) -> String {
    let domain = match set.domain {
        Some(super::config::Domain::In) => ", in domain",
        Some(super::config::Domain::Out) => ", out of domain",
        None => "",
    };
    let n = match set.targets == set.n {
        true => format!("{} inputs", set.n),
        false => format!("{} inputs of {} targets", set.n, set.targets),
    };
    match set.kind {
        SetKind::Set | SetKind::SourceKind => format!("{} ({n}{domain})", escape(&set.name)),
        SetKind::Domain | SetKind::All => {
            format!("{}: {} ({n})", escape(&set.name), escape(&set.of.join(" + ")))
        }
    }
}

fn header(view: &View) -> String {
    let report = view.report;
    let systems: Vec<String> = report
        .systems
        .iter()
        .map(|system| match system.name == report.baseline {
            true => format!("{} (baseline)", escape(&system.name)),
            false => escape(&system.name),
        })
        .collect();
    let inputs: usize = report.sets.iter().filter(|set| set.kind == SetKind::Set).map(|set| set.n).sum();
    format!(
        "<header>\n<h1>Evaluation of {}</h1>\n<p class=\"dim\">{inputs} inputs, {} rows. Promptist {}. Means with \
         95 % intervals; differences are paired by input. An input counts once, however many \
         models a system has.</p>\n<p class=\"dim on-paper\">On paper is what was open on the screen.</p>\n\
         </header>\n<nav><a href=\"#claim\">Result</a><a href=\"#plots\">Plots</a>\
         <a href=\"#gallery\">Losses and wins</a><a href=\"#measures\">All measures</a>\
         <a href=\"#trust\">How far to trust it</a><a href=\"#conditions\">Conditions</a></nav>\n",
        systems.join(", "),
        view.rows.len(),
        escape(&report.version)
    )
}

/// The verdicts in words, and what speaks against them.
fn findings(view: &View) -> String {
    let report = view.report;
    let mut html = String::new();
    let Some(key) = view.key else { return html };
    html += "<ul>\n";
    for system in view.others() {
        let Some(found) = report.comparison(view.whole, &key.key, &system.name, &report.baseline) else {
            continue;
        };
        let Some(difference) = &found.difference else { continue };
        let verdict = match found.verdict {
            Verdict::Better => "<span class=\"better\">better</span> than",
            Verdict::Worse => "<span class=\"worse\">worse</span> than",
            Verdict::Different => "different from",
            Verdict::Unclear => "not told apart from",
        };
        let _ = writeln!(
            html,
            "<li>{} is {verdict} {} by {}: {}</li>",
            escape(&system.name),
            escape(&report.baseline),
            escape(&key.title),
            numbers::mean_in_words(difference, key.unit, true)
        );
    }
    html += "</ul>\n";
    if key.family != MeasureFamily::Image {
        let said = match key.family {
            MeasureFamily::Proxy => "is a proxy that reads the text and sees no picture",
            _ => "is counted in the text",
        };
        let _ = writeln!(
            html,
            "<p class=\"note\">No image was made for this report. {} {said}: it says what changed, not whether the \
             pictures are better.</p>",
            escape(&headed(&key.title))
        );
    }
    for fallen in &report.fallen {
        let measure = report.measure(&fallen.measure);
        let (title, unit) =
            measure.map_or((fallen.measure.as_str(), super::report::Unit::Score), |m| (&m.title, m.unit));
        let _ = writeln!(
            html,
            "<p class=\"note alarm\">{} is worse than {} by a judge that no reward is made of: {}, {}.</p>",
            escape(&fallen.system),
            escape(&report.baseline),
            escape(title),
            numbers::mean_in_words(&fallen.difference, unit, true)
        );
    }
    html
}

/// Leakage, failures, and what was corrected for.
fn trust(view: &View) -> String {
    let report = view.report;
    let mut html = "<h2 id=\"trust\">How far to trust it</h2>\n".to_owned();
    if let Some(leakage) = &report.leakage {
        html += &leaked(leakage);
    }
    html += "<h3>Comparisons corrected for together</h3>\n<p>Two-sided p of a mean difference of 0, by random signs. \
             A difference counts as found where the corrected p is below 0.05. Breakdowns by length and category are \
             not tested.</p>\n<ul>\n";
    for family in &report.families {
        let _ = writeln!(
            html,
            "<li>{}: {} comparisons, {}</li>",
            escape(&family.title),
            family.comparisons,
            escape(&family.method)
        );
    }
    html += "</ul>\n";
    let failures = &report.failures;
    let rows: BTreeSet<&str> = failures.iter().map(|failure| failure.row_id.as_str()).collect();
    let _ = writeln!(
        html,
        "<h3>Rows that lack something</h3>\n<p>{} of {} rows. They are in no mean of what they lack, and are never a \
         0.</p>",
        rows.len(),
        view.rows.len()
    );
    if !failures.is_empty() {
        html += "<details><summary>Which</summary><ul>\n";
        for failure in failures.iter().take(200) {
            let _ = writeln!(
                html,
                "<li><code>{}</code>: {}</li>",
                escape(&failure.row_id),
                escape(&failure.reason)
            );
        }
        html += "</ul></details>\n";
    }
    html
}

/// What of the sets stands in the training text.
fn leaked(leakage: &LeakageReport) -> String {
    const SHOWN: usize = 10;
    let mut html = format!(
        "<h3>Inputs that stand in the training text</h3>\n<p class=\"dim\">{} texts of {}. An input counts once, as the \
         worst that it is.</p>\n<div class=\"scroll\"><table><thead><tr><th>set</th><th>n</th><th>is a training text</th>\
         <th>nearly is one</th><th>most of its n-grams</th><th>mean share of n-grams</th></tr></thead><tbody>",
        leakage.training_texts,
        escape(&leakage.training.join(", "))
    );
    for SetLeakage { set, found } in &leakage.sets {
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.1} % (n {})</td></tr>",
            escape(set),
            found.n,
            found.exact,
            found.near,
            found.overlapping,
            100.0 * found.mean_overlap,
            found.n - found.too_short
        );
    }
    html += "</tbody></table></div>\n";
    for SetLeakage { set, found } in leakage.sets.iter().filter(|set| !set.found.examples.is_empty()) {
        let _ = writeln!(html, "<details><summary>{}: the worst</summary><ul>", escape(set));
        for example in found.examples.iter().take(SHOWN) {
            let _ = writeln!(
                html,
                "<li>{} <span class=\"dim\">in training:</span> {}</li>",
                escape(&example.user_input),
                escape(&example.training_text)
            );
        }
        html += "</ul></details>\n";
    }
    html
}

/// Who, on what, how: what it takes to do it again.
fn conditions(view: &View) -> Result<String> {
    let report = view.report;
    let mut html = "<h2 id=\"conditions\">Conditions</h2>\n<ul>\n".to_owned();
    for system in &report.systems {
        let _ = write!(html, "<li>{}: ", escape(&system.name));
        let models: Vec<String> = system
            .models
            .iter()
            .map(|run| format!("{} <code>{}</code>", escape(&run.identity.name), short(&run.identity.sha256)))
            .collect();
        let _ = match (&system.file, &system.openai) {
            (Some(file), _) => write!(
                html,
                "{}, {} rewrites <code>{}</code>",
                escape(&file.path),
                file.rewrites,
                short(&file.sha256)
            ),
            (_, Some(openai)) => write!(html, "{} at {}", escape(&openai.model), escape(&openai.url)),
            _ if models.is_empty() => write!(html, "no model"),
            _ => write!(html, "{}", models.join(", ")),
        };
        html += "</li>\n";
    }
    html += "</ul>\n";
    if let Some(images) = &report.images {
        let settings = &images.settings;
        let pairing = match images.takes_seeds {
            true => "the same noise for both prompts",
            false => "no seeds: images are not paired",
        };
        let _ = writeln!(
            html,
            "<p>Images: {} <code>{}</code>, {}x{}, {} steps, guidance {}; {} an input and prompt, {pairing}. CLIP {} \
             <code>{}</code>, aesthetic head {} <code>{}</code>.</p>",
            escape(&images.generator),
            escape(&short(&images.generator_model)),
            settings.width,
            settings.height,
            settings.num_inference_steps,
            settings.guidance_scale,
            images.seeds.len(),
            escape(&images.clip.name),
            short(&images.clip.sha256),
            escape(&images.aesthetic.name),
            short(&images.aesthetic.sha256)
        );
    }
    use crate::config_file::ConfigFile as _;
    let config = report.config.to_toml()?;
    let _ = writeln!(html, "<details><summary>The config</summary><pre>{}</pre></details>", escape(&config));
    Ok(html)
}

/// The beginning of a hash.
fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}
