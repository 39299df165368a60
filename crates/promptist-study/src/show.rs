//! One question with everything that is known of it: from a line of a report to prompts, images and seeds.

use std::fmt::Write as _;

use crate::error::{Error, Result};
use crate::store::{Answer, Record};
use crate::study::Study;

/// Prints a question by its number, all questions of a row (`INPUT:SYSTEM`), or all of an input; `input:ID` where an
/// input's id is a number too.
///
/// # Errors
/// [`Error::NoQuestion`]; [`Error::Database`].
pub async fn show(study: &Study, id: &str) -> Result<String> {
    let record = study.record().await?;
    let is_of = |question: usize, id: &str| {
        record.questions[question].items.is_some_and(|(first, second)| {
            let is_it = |item: usize| record.items[item].input_id == id || record.items[item].row_id() == id;
            is_it(first) || is_it(second)
        })
    };
    let questions = 0..record.questions.len();
    let meant: Vec<usize> = match id.parse::<usize>() {
        Ok(number) if questions.contains(&number) => vec![number],
        _ => {
            let id = id.strip_prefix("input:").unwrap_or(id);
            questions.filter(|&question| is_of(question, id)).collect()
        }
    };
    if meant.is_empty() {
        return Err(Error::NoQuestion(id.to_owned()));
    }
    Ok(meant.into_iter().map(|question| text(&record, question)).collect::<Vec<_>>().join("\n"))
}

fn text(record: &Record, question: usize) -> String {
    let asked = &record.questions[question];
    let mut text = format!("question {question}: {}\n", asked.user_input);
    match (asked.items, &asked.check_note) {
        (Some((first, second)), _) => {
            for item in [first, second] {
                let item = &record.items[item];
                let seeds: Vec<String> = item.seeds.iter().map(u64::to_string).collect();
                let _ = writeln!(text, "  {}", item.row_id());
                let _ = writeln!(text, "    prompt  {}", item.adapted_prompt);
                let _ = writeln!(text, "    seeds   {}", seeds.join(", "));
                item.images.iter().for_each(|image| {
                    let _ = writeln!(text, "    image   {image}");
                });
            }
        }
        (None, note) => {
            let _ = writeln!(text, "  a check: {}", note.as_deref().unwrap_or_default());
        }
    }
    let answers = record.answers.iter().filter(|answer| answer.question == question);
    answers.for_each(|answer| {
        let _ = writeln!(text, "  {}", answer_line(record, answer));
    });
    text
}

fn answer_line(record: &Record, answer: &Answer) -> String {
    let preferred = match (record.questions[answer.question].items, answer.for_first()) {
        (_, 0) => "no difference".to_owned(),
        (Some((first, _)), 1) => record.items[first].system.clone(),
        (Some((_, second)), _) => record.items[second].system.clone(),
        (None, 1) => "passed".to_owned(),
        (None, _) => "failed".to_owned(),
    };
    let first_at = if answer.is_swapped { "B" } else { "A" };
    format!(
        "rater {}, {}: {preferred} (first at {first_at}, {:.1} s)",
        answer.rater,
        answer.kind.name(),
        answer.millis as f64 / 1000.0
    )
}
