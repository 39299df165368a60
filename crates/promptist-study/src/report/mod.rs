//! What raters answered, and how far that can be trusted.
//!
//! `quality` judges raters by rules that were there before the first answer; `results` counts what is left, with
//! intervals over inputs, for answers to one input are not independent; `text` and `html` print both with and
//! without the raters that the rules exclude.

mod html;
mod quality;
mod results;
mod text;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::Exclude;
use crate::error::Result;
use crate::store::{Kind, Record};
use crate::study::{IMAGES, Study};

pub(crate) use quality::{Excluded, RaterQuality};
pub(crate) use results::{PairResult, Results};

/// All that a report says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub(crate) study: AboutStudy,
    pub(crate) raters: RaterCounts,
    /// The rules, as they were when the study was made.
    pub(crate) rules: Exclude,
    /// Whether the config in the study's folder has other rules by now. They change nothing.
    pub(crate) were_rules_edited: bool,
    pub(crate) excluded: Vec<Excluded>,
    /// Of the raters that the rules leave.
    pub(crate) results: Results,
    /// Of all raters who have not withdrawn.
    pub(crate) results_with_excluded: Results,
    pub(crate) rater_quality: Vec<RaterQuality>,
    pub(crate) sides: Vec<SideBalance>,
    pub(crate) rows: Vec<RowResult>,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct AboutStudy {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) question: String,
    pub(crate) systems: Vec<String>,
    pub(crate) inputs: usize,
    pub(crate) questions: usize,
    pub(crate) checks: usize,
    /// Inputs that were left out because a system lacks them.
    pub(crate) inputs_dropped: i64,
    /// Pairs that were not asked, for both sides have the same images.
    pub(crate) pairs_the_same: i64,
}

/// Who came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct RaterCounts {
    pub(crate) invited: usize,
    pub(crate) began: usize,
    pub(crate) finished: usize,
    pub(crate) withdrew: usize,
    /// How many answers were deleted with those who withdrew.
    pub(crate) answers_deleted: i64,
    pub(crate) excluded: usize,
}

/// How often each of a pair of systems stood where, in answers that count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct SideBalance {
    pub(crate) first: String,
    pub(crate) second: String,
    pub(crate) first_at_a: usize,
    pub(crate) first_at_b: usize,
}

/// The answers to a question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RowResult {
    /// What `promptist study show` takes.
    pub(crate) question: usize,
    pub(crate) input_id: String,
    pub(crate) user_input: String,
    pub(crate) first: RowSide,
    pub(crate) second: RowSide,
    pub(crate) first_wins: usize,
    pub(crate) ties: usize,
    pub(crate) second_wins: usize,
}

/// A row of a question: enough to find it in an evaluation, and to make its images again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RowSide {
    pub(crate) row_id: String,
    pub(crate) system: String,
    pub(crate) adapted_prompt: String,
    pub(crate) seeds: Vec<u64>,
    /// Where its images came from.
    pub(crate) images: Vec<String>,
    /// The study's copies of them.
    pub(crate) files: Vec<PathBuf>,
}

/// How a report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportFormat {
    /// Tables for a terminal.
    Text,
    /// One object with every number.
    Json,
    /// One page, nothing loaded from elsewhere.
    Html,
}

/// The report of a study as it stands.
///
/// # Errors
/// [`crate::Error::Database`].
pub async fn report(study: &Study) -> Result<Report> {
    let record = study.record().await?;
    Ok(Report::of(&record, study))
}

impl Report {
    fn of(record: &Record, study: &Study) -> Self {
        let config = &study.config;
        let rater_quality = quality::of_raters(record);
        let excluded: Vec<Excluded> =
            rater_quality.iter().filter_map(|rater| rater.excluded_by(&record.exclude)).collect();
        let is_kept = |rater: i64| excluded.iter().all(|excluded| excluded.rater != rater);
        let checks = record.questions.iter().filter(|question| question.items.is_none()).count();
        let inputs = record.items.len() / record.systems.len().max(1);
        Self {
            study: AboutStudy {
                id: study.about.id.clone(),
                title: config.title.clone(),
                question: config.question.clone(),
                systems: record.systems.clone(),
                inputs,
                questions: record.questions.len() - checks,
                checks,
                inputs_dropped: record.dropped,
                pairs_the_same: record.the_same,
            },
            raters: rater_counts(record, excluded.len()),
            rules: record.exclude.clone(),
            were_rules_edited: config.exclude != record.exclude,
            results: Results::of(record, is_kept, config.seed),
            results_with_excluded: Results::of(record, |_| true, config.seed),
            sides: sides(record, is_kept),
            rows: rows(record, &study.folder.join(IMAGES), is_kept),
            excluded,
            rater_quality,
        }
    }

    /// The report as text, JSON or a page.
    pub fn print(&self, format: ReportFormat) -> String {
        match format {
            ReportFormat::Text => text::print(self),
            ReportFormat::Json => serde_json::json!(self).to_string() + "\n",
            ReportFormat::Html => html::page(self),
        }
    }
}

fn rater_counts(record: &Record, excluded: usize) -> RaterCounts {
    let answered = |id: i64| record.answers.iter().filter(|answer| answer.rater == id).count() as i64;
    let raters = &record.raters;
    RaterCounts {
        invited: raters.len(),
        began: raters.iter().filter(|rater| rater.has_consented).count(),
        finished: raters.iter().filter(|r| r.assigned > 0 && answered(r.id) == r.assigned).count(),
        withdrew: raters.iter().filter(|rater| rater.withdrawn.is_some()).count(),
        answers_deleted: raters.iter().filter_map(|rater| rater.withdrawn).sum(),
        excluded,
    }
}

fn sides(record: &Record, is_kept: impl Fn(i64) -> bool) -> Vec<SideBalance> {
    let mut sides: Vec<SideBalance> = Vec::new();
    for answer in record.answers.iter().filter(|answer| answer.kind == Kind::Main && is_kept(answer.rater)) {
        let Some((first, second)) = record.questions[answer.question].items else { continue };
        let [first, second] = [first, second].map(|item| record.items[item].system.clone());
        let known = sides.iter().position(|side| side.first == first && side.second == second);
        let at = known.unwrap_or_else(|| {
            sides.push(SideBalance { first, second, first_at_a: 0, first_at_b: 0 });
            sides.len() - 1
        });
        match answer.is_swapped {
            false => sides[at].first_at_a += 1,
            true => sides[at].first_at_b += 1,
        }
    }
    sides.sort_by(|a, b| (&a.first, &a.second).cmp(&(&b.first, &b.second)));
    sides
}

fn rows(record: &Record, folder: &Path, is_kept: impl Fn(i64) -> bool) -> Vec<RowResult> {
    let mut rows = Vec::new();
    for (question, asked) in record.questions.iter().enumerate() {
        let Some((first, second)) = asked.items else { continue };
        let side = |item: usize, files: &[String]| {
            let item = &record.items[item];
            RowSide {
                row_id: item.row_id(),
                system: item.system.clone(),
                adapted_prompt: item.adapted_prompt.clone(),
                seeds: item.seeds.clone(),
                images: item.images.clone(),
                files: files.iter().map(|file| folder.join(file)).collect(),
            }
        };
        let answers = record.answers.iter().filter(|answer| {
            answer.question == question && answer.kind == Kind::Main && is_kept(answer.rater)
        });
        let verdicts: Vec<i8> = answers.map(|answer| answer.for_first()).collect();
        let count = |wanted: i8| verdicts.iter().filter(|&&verdict| verdict == wanted).count();
        rows.push(RowResult {
            question,
            input_id: record.items[first].input_id.clone(),
            user_input: asked.user_input.clone(),
            first: side(first, &asked.files[0]),
            second: side(second, &asked.files[1]),
            first_wins: count(1),
            ties: count(0),
            second_wins: count(-1),
        });
    }
    rows
}
