//! How answers are shown: JSON Lines, a line a prompt, tables on a terminal.

use std::io::{IsTerminal, Write, stdout};
use std::path::Path;

use anyhow::Result;
use promptist::prompter::{AdaptSettings, Adapted, Output as Answer, Prompter};
use promptist::syntax::{Protect, parse};
use promptist::target::Style;
use promptist::template::Keep;
use serde_json::json;

use super::Row;

/// What is worth saying of a target: what a prompter writes does not depend on it.
pub fn style_note(settings: &AdaptSettings) {
    if let Some((target, Style::Prose)) = settings.target_style() {
        eprintln!(
            "note: {target} answers best to prose; additions are what the model was trained on, for mini short phrases"
        );
    }
}

/// What is worth saying beside an answer.
pub fn notes(place: &str, adapted: &Adapted, settings: &AdaptSettings) {
    let input = adapted.user_input.trim();
    // Settings that were used compile.
    let protect = Protect::new(&settings.protect).unwrap_or_default();
    let closing = &input[parse(input, &protect).closing()..];
    let is_behind = adapted.outputs.iter().any(|output| output.text.len() > input.len());
    if settings.keep == Keep::Exact && !closing.trim().is_empty() && is_behind {
        eprintln!(
            "{place}: `{}` stands before what is added; --keep words leaves it at the end",
            closing.trim()
        );
    }
    if let Some(asked) = adapted.asked {
        let found = adapted.outputs.len();
        match settings.min_distance {
            Some(_) => eprintln!(
                "{place}: {found} of {asked} answers are that far apart; a smaller --min-distance finds more"
            ),
            None => eprintln!("{place}: {found} of {asked} answers were found"),
        }
    }
    for output in &adapted.outputs {
        if let Some(piece) = output.restored.first() {
            eprintln!("{place}: the model's answer lost `{piece}`: your text is kept, and what it added");
        }
    }
    let rules = adapted.outputs.first().and_then(|output| output.rules.as_ref());
    if let Some(banned) = rules.map(|rules| &rules.banned_in_input).filter(|banned| !banned.is_empty()) {
        eprintln!("{place}: your own text has what is banned, and keeps it: {}", banned.join(", "));
    }
}

pub fn json_line(
    row: &Row,
    answer: promptist::Result<Adapted>,
    prompter: &Prompter,
    settings: &AdaptSettings,
) -> Result<String> {
    let line = match answer {
        Err(error) => json!({"user_input": row.user_input, "error": error.to_string()}).to_string(),
        Ok(adapted) => serde_json::to_string(&prompter.record(adapted, settings))?,
    };
    Ok(format!("{line}\n"))
}

/// A line an answer; on a terminal, with several inputs or answers, under what it answers.
pub fn plain_lines(
    row: &Row,
    answer: &promptist::Result<Adapted>,
    num_rows: usize,
    is_terminal: bool,
) -> String {
    // A line for a line: an input that failed leaves an empty one, so that files stay aligned.
    let Ok(adapted) = answer else { return "\n".into() };
    if !is_terminal {
        let line = |output: &Answer| format!("{}\n{}", one_line(&output.text), explanation(output));
        return adapted.outputs.iter().map(line).collect();
    }
    let (dim, bold, reset) = ("\x1b[2m", "\x1b[1m", "\x1b[0m");
    let mut text = String::new();
    if num_rows > 1 {
        text += &format!("{dim}{}{reset}\n", row.user_input.trim());
    }
    let several = adapted.outputs.len() > 1;
    for output in &adapted.outputs {
        if several {
            text += &format!("{dim}{:>8.3}{reset}  ", output.score);
        }
        // The user's own words stand out from what was added.
        match output.text.strip_prefix(row.user_input.trim()) {
            Some(addition) => text += &format!("{bold}{}{reset}{addition}\n", row.user_input.trim()),
            None => text += &format!("{}\n", output.text),
        }
        text += &explanation(output);
    }
    if num_rows > 1 {
        text.push('\n');
    }
    text
}

/// A table of the added phrases; nothing unless it was asked for.
fn explanation(output: &Answer) -> String {
    let Some(width) = output.phrases.iter().map(|phrase| phrase.phrase.chars().count()).max() else {
        return String::new();
    };
    let mut table = format!("  {:width$}  {:15}  {:>8}  {:>8}\n", "added", "category", "effect", "without");
    for phrase in &output.phrases {
        table += &format!(
            "  {:width$}  {:15}  {:>+8.3}  {:>8.3}\n",
            phrase.phrase, phrase.category, phrase.effect, phrase.score_without
        );
    }
    table
}

/// Answers are lines; a model may still write a line break.
fn one_line(text: &str) -> String {
    text.split(['\n', '\r']).collect::<Vec<_>>().join(" ")
}

/// stdout as the answers come, or a file written at the end.
pub struct Output<'a> {
    file: Option<(&'a Path, String)>,
}

impl<'a> Output<'a> {
    pub fn new(path: Option<&'a Path>) -> Self {
        Self { file: path.map(|path| (path, String::new())) }
    }

    pub fn is_terminal(&self) -> bool {
        self.file.is_none() && stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
    }

    pub fn write(&mut self, text: &str) -> Result<()> {
        match &mut self.file {
            Some((_, content)) => content.push_str(text),
            None => {
                let mut stdout = stdout().lock();
                stdout.write_all(text.as_bytes())?;
                stdout.flush()?;
            }
        }
        Ok(())
    }

    pub fn finish(self) -> Result<()> {
        if let Some((path, content)) = self.file {
            promptist::atomic::write_atomic(path, |file| file.write_all(content.as_bytes()))?;
        }
        Ok(())
    }
}
