//! Which inputs are reported together: each set, its source kinds, the sets of a domain, all.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{LENGTHS, Sample, length_of};
use crate::eval::config::{Domain, SetConfig};
use crate::eval::inputs::{self, Input};
use crate::eval::report::{Counted, SetKind, SetReport};
use crate::eval::rows::EvalRow;

/// A set of the config, read.
pub struct EvalSet {
    /// As the config names it.
    pub config: SetConfig,
    /// Its inputs.
    pub inputs: Vec<Input>,
    /// Their lengths in the target's tokens.
    pub tokens: Vec<usize>,
}

/// Inputs that are reported together, and what became of each.
pub struct View<'a> {
    /// What the report says of them.
    pub report: SetReport,
    /// By system, then by input; `None` where the system has nothing to say of the input's set.
    pub rows: Vec<Vec<Option<&'a EvalRow>>>,
    /// Of each input: inputs that were made of one human prompt have one.
    pub targets: Vec<usize>,
}

/// An input: its set's place and its own.
type Place = (usize, usize);

/// All views, in the report's order.
pub fn views<'a>(sets: &[EvalSet], systems: &[&str], rows: &'a [EvalRow]) -> Vec<View<'a>> {
    let found: HashMap<(&str, &str, usize), &EvalRow> =
        rows.iter().map(|row| ((row.system.as_str(), row.set.as_str(), row.index), row)).collect();
    let of_sets: Vec<Vec<usize>> = sets.iter().map(|set| inputs::targets(&set.inputs)).collect();
    // Numbers of one set's targets follow those of another's.
    let first: Vec<usize> =
        sets.iter().scan(0, |next, set| Some(std::mem::replace(next, *next + set.inputs.len()))).collect();
    let view = |report: SetReport, places: &[Place]| {
        let row = |system: &str, &(set, input): &Place| {
            found.get(&(system, sets[set].config.name.as_str(), input)).copied()
        };
        let rows = systems.iter().map(|system| places.iter().map(|place| row(system, place)).collect());
        let targets: Vec<usize> =
            places.iter().map(|&(set, input)| first[set] + of_sets[set][input]).collect();
        View { report: counted(report, sets, places, &targets), rows: rows.collect(), targets }
    };
    let mut views = Vec::new();
    for (idx, set) in sets.iter().enumerate() {
        let name = &set.config.name;
        let of_kind = |kind: Option<&str>| -> Vec<Place> {
            let is_of = |input: &Input| kind.is_none() || input.source_kind.as_deref() == kind;
            let inputs = set.inputs.iter().enumerate().filter(|(_, input)| is_of(input));
            inputs.map(|(input, _)| (idx, input)).collect()
        };
        let whole = SetReport {
            sha256: Some(inputs::sha256(&set.inputs)),
            ..named(name, SetKind::Set, vec![name.clone()], set.config.domain)
        };
        views.push(view(whole, &of_kind(None)));
        for kind in inputs::source_kinds(&set.inputs) {
            let part = SetReport {
                source_kind: Some(kind.to_owned()),
                ..named(&format!("{name}/{kind}"), SetKind::SourceKind, vec![name.clone()], set.config.domain)
            };
            views.push(view(part, &of_kind(Some(kind))));
        }
    }
    let pool = |name: &str, kind: SetKind, domain: Option<Domain>| {
        let is_in = |set: &EvalSet| domain.is_none() || set.config.domain == domain;
        let members: Vec<usize> = (0..sets.len()).filter(|&idx| is_in(&sets[idx])).collect();
        let places =
            members.iter().flat_map(|&idx| (0..sets[idx].inputs.len()).map(move |input| (idx, input)));
        let places: Vec<Place> = places.collect();
        let of: Vec<String> = members.iter().map(|&idx| sets[idx].config.name.clone()).collect();
        (of.len() > 1).then(|| view(named(name, kind, of, domain), &places))
    };
    views.extend(pool("in-domain", SetKind::Domain, Some(Domain::In)));
    views.extend(pool("out-of-domain", SetKind::Domain, Some(Domain::Out)));
    views.extend(pool("all", SetKind::All, None));
    views
}

fn named(name: &str, kind: SetKind, of: Vec<String>, domain: Option<Domain>) -> SetReport {
    SetReport {
        name: name.to_owned(),
        kind,
        of,
        source_kind: None,
        domain,
        n: 0,
        targets: 0,
        human_prompts: 0,
        sha256: None,
        lengths: Vec::new(),
        categories: Vec::new(),
    }
}

/// A report with the counts of its inputs.
fn counted(report: SetReport, sets: &[EvalSet], places: &[Place], targets: &[usize]) -> SetReport {
    let inputs = || places.iter().map(|&(set, input)| &sets[set].inputs[input]);
    let lengths = LENGTHS.iter().map(|&name| {
        let is_of = |&&(set, input): &&Place| length_of(sets[set].tokens[input]) == name;
        Counted { name: name.to_owned(), n: places.iter().filter(is_of).count() }
    });
    let mut categories: BTreeMap<&str, usize> = BTreeMap::new();
    for category in inputs().filter_map(|input| input.category.as_deref()) {
        *categories.entry(category).or_default() += 1;
    }
    let mut categories: Vec<Counted> =
        categories.into_iter().map(|(name, n)| Counted { name: name.to_owned(), n }).collect();
    // Stable: ties stay in the order of the alphabet.
    categories.sort_by_key(|category| std::cmp::Reverse(category.n));
    SetReport {
        n: places.len(),
        targets: targets.iter().collect::<HashSet<_>>().len(),
        human_prompts: inputs().filter(|input| input.human_prompt.is_some()).count(),
        lengths: lengths.collect(),
        categories,
        ..report
    }
}

impl<'a> View<'a> {
    /// Whether a system has something to say of every input. In a pool, a system that knows some of the sets would be
    /// set beside others that had other inputs.
    pub fn covers(&self, system: usize) -> bool {
        self.rows[system].iter().all(Option::is_some)
    }

    /// A system's rows with their targets, where it has one that is asked for.
    pub fn rows_of(
        &self,
        system: usize,
        is_asked: impl Fn(&EvalRow) -> bool,
    ) -> impl Iterator<Item = (&'a EvalRow, usize)> {
        let rows = self.rows[system].iter().zip(&self.targets);
        rows.filter_map(move |(row, &target)| Some((row.filter(|row| is_asked(row))?, target)))
    }

    /// The values of a measure.
    pub fn values(&self, system: usize, measure: &str, is_asked: impl Fn(&EvalRow) -> bool) -> Sample {
        self.rows_of(system, is_asked)
            .filter_map(|(row, target)| Some((row.value(measure)?, target)))
            .collect()
    }

    /// Values of two systems on the same inputs, where both have one: the first less the second.
    pub fn differences(
        &self,
        (system, against): (usize, usize),
        measure: &str,
        is_asked: impl Fn(&EvalRow) -> bool,
    ) -> Sample {
        let both = self.rows[system].iter().zip(&self.rows[against]).zip(&self.targets);
        both.filter_map(|((a, b), &target)| {
            let a = a.filter(|row| is_asked(row))?;
            Some((difference(a.value(measure)?, (*b)?.value(measure)?), target))
        })
        .collect()
    }
}

/// 0 where two values differ by no more than rounding: means over models of the same values may.
fn difference(a: f64, b: f64) -> f64 {
    const ROUNDING: f64 = 1e-12;
    let difference = a - b;
    if difference.abs() <= ROUNDING * a.abs().max(b.abs()) { 0.0 } else { difference }
}
