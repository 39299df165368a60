//! A row made again: the same system, the same input, nothing else of the run.

use serde::Serialize;

use super::config::SystemKind;
use super::report::{EvalReport, ModelRun};
use super::rows::{EvalRow, RewriteRow};
use super::run::Findings;
use crate::error::{Error, Result};
use crate::prompter::{Difference, Output, Prompter, Record};

/// One rewrite of a row, as it was recorded and as it is now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replayed {
    /// Which of the system's models.
    pub model: Option<String>,
    /// What the run recorded.
    pub recorded: String,
    /// Whether it could be made again: prompters can be asked again here, and what is copied (the input, a human's
    /// prompt, a file's line) is its own proof.
    pub made_again: bool,
    /// What is not as it was recorded; nothing if it is the same.
    pub differences: Vec<Difference>,
}

impl Findings {
    /// A row by its id.
    ///
    /// # Errors
    /// [`Error::Config`] if there is none.
    pub fn row(&self, row_id: &str) -> Result<&EvalRow> {
        let found = self.rows.iter().find(|row| row.row_id == row_id);
        found.ok_or_else(|| {
            let example = self.rows.first().map_or("set:0:system", |row| row.row_id.as_str());
            Error::config("row_id", format!("no row `{row_id}`; rows are named like `{example}`"))
        })
    }
}

/// Makes the rewrites of a row again; `open_model` opens a model in the precision that was recorded.
///
/// # Errors
/// Whatever `open_model` returns, and what adapting runs into.
pub fn replay(
    report: &EvalReport,
    row: &EvalRow,
    open_model: &mut dyn FnMut(&ModelRun) -> Result<Prompter>,
) -> Result<Vec<Replayed>> {
    let system = report.systems.iter().find(|system| system.name == row.system);
    let models = system.map_or(&[][..], |system| &system.models);
    let is_prompter = system.is_some_and(|system| system.kind == SystemKind::Model);
    let mut replayed = Vec::new();
    for rewrite in &row.rewrites {
        let run = models.get(rewrite.model).filter(|_| is_prompter);
        let differences = match run {
            Some(run) => open_model(run)?.replay(&record(report, row, rewrite, run)?)?,
            None => Vec::new(),
        };
        replayed.push(Replayed {
            model: run.map(|run| run.identity.name.clone()),
            recorded: rewrite.adapted_prompt.clone(),
            made_again: run.is_some(),
            differences,
        });
    }
    Ok(replayed)
}

/// The rewrite as `adapt --json` would have written it.
fn record(report: &EvalReport, row: &EvalRow, rewrite: &RewriteRow, run: &ModelRun) -> Result<Record> {
    let decoded = rewrite.decoded.as_ref().ok_or_else(|| {
        Error::config("row_id", format!("`{}` does not say how it was decoded", row.row_id))
    })?;
    let output = Output {
        text: rewrite.adapted_prompt.clone(),
        score: decoded.score,
        token_ids: decoded.token_ids.clone(),
        finish: decoded.finish,
        filtered: decoded.filtered.clone(),
        seed: None,
        restored: decoded.restored.clone(),
        rules: None,
        phrases: Vec::new(),
    };
    Ok(Record {
        user_input: row.user_input.clone(),
        outputs: vec![output],
        asked: None,
        model: run.identity.clone(),
        settings: run.settings.clone(),
        seed: decoded.seed,
        receipt: run.receipt.clone(),
        version: report.version.clone(),
        elapsed_ms: 0.0,
    })
}
