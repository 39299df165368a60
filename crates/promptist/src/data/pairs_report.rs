//! What the data stage kept, what it dropped and why, as JSON and as a table to read.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::artists;
use super::main_content::Split;
use super::pairs::Part;
use super::sources::{Origin, Pair, SourceKind};

/// Examples shown of each reason.
const EXAMPLES: usize = 3;

/// Modifiers listed by [`Report`]'s table.
const COMMONEST: usize = 30;

/// An account of one run. Maps are sorted, so equal runs give equal bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Lines read.
    pub read: usize,
    /// Targets kept.
    pub kept: usize,
    /// Why the others were dropped.
    pub dropped: BTreeMap<String, Dropped>,
    /// Targets by part.
    pub targets: BTreeMap<String, usize>,
    /// Pairs by part.
    pub pairs: BTreeMap<String, usize>,
    /// Pairs by kind.
    pub kinds: BTreeMap<SourceKind, usize>,
    /// Pairs by who wrote the source.
    pub origins: BTreeMap<Origin, usize>,
    /// Targets by their number of modifiers.
    pub modifiers_per_target: BTreeMap<usize, usize>,
    /// Targets that credited artists before any credit was removed.
    pub crediting_artists: usize,
    /// Kept targets that name an artist anywhere.
    pub naming_artists: usize,
    /// How many targets hold a modifier, lower case; those in at least two.
    pub modifiers: BTreeMap<String, usize>,
}

/// The lines dropped for one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// How many.
    pub count: usize,
    /// The first of them; none for unsafe lines.
    pub examples: Vec<String>,
}

impl Report {
    /// Counts a line that is not used; an empty `example` is not shown.
    pub(crate) fn drop(&mut self, reason: &str, example: &str) {
        let dropped = self.dropped.entry(reason.to_owned()).or_default();
        dropped.count += 1;
        if dropped.examples.len() < EXAMPLES && !example.is_empty() {
            dropped.examples.push(example.chars().take(160).collect());
        }
    }

    /// Counts a target and its pairs.
    pub(crate) fn keep(&mut self, split: &Split, pairs: &[Pair], part: Part) {
        self.kept += 1;
        let part = part.file_name().trim_end_matches(".jsonl").to_owned();
        *self.targets.entry(part.clone()).or_default() += 1;
        *self.pairs.entry(part).or_default() += pairs.len();
        for pair in pairs {
            *self.kinds.entry(pair.kind).or_default() += 1;
            *self.origins.entry(pair.source).or_default() += 1;
        }
        *self.modifiers_per_target.entry(split.modifiers.len()).or_default() += 1;
        self.naming_artists += usize::from(pairs.first().is_some_and(|pair| artists::names_artist(&pair.y)));
        for modifier in &split.modifiers {
            *self.modifiers.entry(modifier.to_lowercase()).or_default() += 1;
        }
    }

    /// The reasons of dropped lines with their counts, on one line.
    pub(crate) fn reasons(&self) -> String {
        let reasons: Vec<String> =
            self.dropped.iter().map(|(reason, dropped)| format!("{} {reason}", dropped.count)).collect();
        reasons.join(", ")
    }

    /// The commonest modifiers and the number of targets that hold each, commonest first.
    pub fn commonest_modifiers(&self, most: usize) -> Vec<(&str, usize)> {
        let mut modifiers: Vec<(&str, usize)> =
            self.modifiers.iter().map(|(modifier, &count)| (modifier.as_str(), count)).collect();
        modifiers.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        modifiers.truncate(most);
        modifiers
    }

    /// Modifiers of an average target.
    pub fn mean_modifiers(&self) -> f64 {
        let all: usize =
            self.modifiers_per_target.iter().map(|(modifiers, targets)| modifiers * targets).sum();
        all as f64 / self.kept.max(1) as f64
    }
}

/// The report as a table for people.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |count: usize, of: usize| 100.0 * count as f64 / of.max(1) as f64;
        writeln!(f, "{:<34}{:>9}{:>9}", "targets", "lines", "share")?;
        writeln!(f, "  {:<32}{:>9}", "read", self.read)?;
        writeln!(f, "  {:<32}{:>9}{:>8.1}%", "kept", self.kept, share(self.kept, self.read))?;
        for (reason, dropped) in &self.dropped {
            writeln!(
                f,
                "  {:<32}{:>9}{:>8.1}%",
                format!("dropped, {reason}"),
                dropped.count,
                share(dropped.count, self.read)
            )?;
        }
        writeln!(f, "\n{:<34}{:>9}{:>9}", "written", "targets", "pairs")?;
        for (part, targets) in &self.targets {
            writeln!(f, "  {part:<32}{targets:>9}{:>9}", self.pairs.get(part).copied().unwrap_or(0))?;
        }
        let pairs: usize = self.kinds.values().sum();
        writeln!(f, "\n{:<34}{:>9}{:>9}", "pairs by kind", "pairs", "share")?;
        for (kind, count) in &self.kinds {
            writeln!(
                f,
                "  {:<32}{count:>9}{:>8.1}%",
                format!("{kind:?}").to_uppercase(),
                share(*count, pairs)
            )?;
        }
        writeln!(f, "\nmodifiers per target: {:.1} on average", self.mean_modifiers())?;
        writeln!(
            f,
            "credited artists: {} lines; named in {} kept targets",
            self.crediting_artists, self.naming_artists
        )?;
        writeln!(f, "\n{:<34}{:>9}{:>9}", "commonest modifiers", "targets", "share")?;
        for (modifier, count) in self.commonest_modifiers(COMMONEST) {
            writeln!(f, "  {:<32}{count:>9}{:>8.1}%", shortened(modifier), share(count, self.kept))?;
        }
        writeln!(f, "\nexamples of what was dropped")?;
        for (reason, dropped) in self.dropped.iter().filter(|(_, dropped)| !dropped.examples.is_empty()) {
            writeln!(f, "  {reason}")?;
            for example in &dropped.examples {
                writeln!(f, "    {example:?}")?;
            }
        }
        Ok(())
    }
}

fn shortened(modifier: &str) -> String {
    modifier.chars().take(32).collect()
}
