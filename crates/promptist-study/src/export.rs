//! Answers for other programs: every one of them, or as preference pairs.

use serde_json::{Value, json};

use crate::error::Result;
use crate::report::{Report, RowResult};
use crate::store::{Answer, Record};
use crate::study::Study;

/// What an export looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Answers, a line each, with a line of names.
    Csv,
    /// Answers, an object each.
    Jsonl,
    /// A preference pair for each question with a majority, as TRL's `DPOTrainer` reads them: "prompt", "chosen"
    /// and "rejected" as text. Of raters that the study's rules do not exclude.
    Dpo,
}

/// A study's answers in a format. Raters are numbers; links are not exported.
///
/// # Errors
/// [`crate::Error::Database`].
pub async fn export(study: &Study, format: Format) -> Result<String> {
    Ok(match format {
        Format::Csv => csv(&study.record().await?),
        Format::Jsonl => {
            let record = study.record().await?;
            record.answers.iter().map(|answer| object(&record, answer).to_string() + "\n").collect()
        }
        Format::Dpo => {
            let report: Report = crate::report::report(study).await?;
            report.rows.iter().filter_map(preference).map(|pair| pair.to_string() + "\n").collect()
        }
    })
}

/// The columns of a CSV file, which are the fields of an object.
const COLUMNS: [&str; 14] = [
    "rater",
    "place",
    "question",
    "kind",
    "input_id",
    "user_input",
    "a",
    "b",
    "choice",
    "preferred",
    "secs",
    "changes",
    "voted_at",
    "check",
];

/// An answer. `a` and `b` are rows, `preferred` the row that was chosen.
fn object(record: &Record, answer: &Answer) -> Value {
    let question = &record.questions[answer.question];
    let ids = question.items.map(|(first, second)| [first, second].map(|item| record.items[item].row_id()));
    let sides = ids.clone().map(|[first, second]| match answer.is_swapped {
        false => [first, second],
        true => [second, first],
    });
    let preferred = ids.and_then(|[first, second]| match answer.for_first() {
        1 => Some(first),
        -1 => Some(second),
        _ => None,
    });
    let input_id = question.items.map(|(first, _)| record.items[first].input_id.clone());
    let check = question.check_note.as_ref().map(|_| match answer.for_first() {
        1 => "passed",
        _ => "failed",
    });
    json!({
        "rater": answer.rater,
        "place": answer.place,
        "question": answer.question,
        "kind": answer.kind.name(),
        "input_id": input_id,
        "user_input": question.user_input,
        "a": sides.as_ref().map(|[a, _]| a),
        "b": sides.as_ref().map(|[_, b]| b),
        "choice": answer.choice.name(),
        "preferred": preferred,
        "secs": answer.millis as f64 / 1000.0,
        "changes": answer.changes,
        "voted_at": answer.voted_at,
        "check": check,
    })
}

/// RFC 4180: a cell with a comma, a quote or a line's end stands in quotes.
fn csv(record: &Record) -> String {
    let cell = |value: &Value| {
        let text = match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match text.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text,
        }
    };
    let mut csv = COLUMNS.join(",") + "\r\n";
    for answer in &record.answers {
        let object = object(record, answer);
        let cells: Vec<String> = COLUMNS.iter().map(|&column| cell(&object[column])).collect();
        csv += &(cells.join(",") + "\r\n");
    }
    csv
}

/// The pair of a question that has a majority between two different prompts. What stands before `chosen` and
/// `rejected` is what the prompter is trained to continue.
fn preference(row: &RowResult) -> Option<Value> {
    let (chosen, rejected, majority, minority) = match row.first_wins.cmp(&row.second_wins) {
        std::cmp::Ordering::Greater => (&row.first, &row.second, row.first_wins, row.second_wins),
        std::cmp::Ordering::Less => (&row.second, &row.first, row.second_wins, row.first_wins),
        std::cmp::Ordering::Equal => return None,
    };
    let [chosen_text, rejected_text] =
        [chosen, rejected].map(|side| promptist::template::answer(&side.adapted_prompt));
    if chosen_text == rejected_text {
        return None;
    }
    let answers = majority + minority + row.ties;
    Some(json!({
        "prompt": promptist::template::prompt(&row.user_input),
        "chosen": chosen_text,
        "rejected": rejected_text,
        "majority": majority,
        "minority": minority,
        "ties": row.ties,
        "margin": (majority - minority) as f64 / answers as f64,
        "chosen_row": chosen.row_id,
        "rejected_row": rejected.row_id,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::RowSide;

    fn row(first_wins: usize, ties: usize, second_wins: usize) -> RowResult {
        let side = |system: &str| RowSide {
            row_id: format!("1:{system}"),
            system: system.to_owned(),
            adapted_prompt: format!("a cat, {system} "),
            seeds: vec![],
            images: vec![],
            files: vec![],
        };
        RowResult {
            question: 0,
            input_id: "1".to_owned(),
            user_input: "a cat".to_owned(),
            first: side("sft"),
            second: side("ppo"),
            first_wins,
            ties,
            second_wins,
        }
    }

    #[test]
    fn a_majority_makes_a_pair() {
        let pair = preference(&row(1, 1, 3)).expect("a majority");
        assert_eq!(pair["prompt"], "a cat Rephrase:");
        assert_eq!(pair["chosen"], " a cat, ppo");
        assert_eq!(pair["rejected"], " a cat, sft");
        assert_eq!((&pair["majority"], &pair["minority"]), (&json!(3), &json!(1)));
        assert_eq!(pair["margin"], 0.4);
        assert_eq!(preference(&row(2, 0, 2)), None);
        let mut same = row(2, 0, 1);
        same.second.adapted_prompt = same.first.adapted_prompt.clone();
        assert_eq!(preference(&same), None);
    }
}
