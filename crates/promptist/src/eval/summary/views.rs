//! Which inputs are reported together: each set, its source kinds, the sets of a domain, all.

use std::collections::{BTreeMap, HashMap};

use super::{LENGTHS, length_of};
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
}

/// An input: its set's place and its own.
type Place = (usize, usize);

/// All views, in the report's order.
pub fn views<'a>(sets: &[EvalSet], systems: &[&str], rows: &'a [EvalRow]) -> Vec<View<'a>> {
    let found: HashMap<(&str, &str, usize), &EvalRow> =
        rows.iter().map(|row| ((row.system.as_str(), row.set.as_str(), row.index), row)).collect();
    let view = |report: SetReport, places: &[Place]| {
        let row = |system: &str, &(set, input): &Place| {
            found.get(&(system, sets[set].config.name.as_str(), input)).copied()
        };
        let rows = systems.iter().map(|system| places.iter().map(|place| row(system, place)).collect());
        View { report: counted(report, sets, places), rows: rows.collect() }
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
        human_prompts: 0,
        sha256: None,
        lengths: Vec::new(),
        categories: Vec::new(),
    }
}

/// A report with the counts of its inputs.
fn counted(report: SetReport, sets: &[EvalSet], places: &[Place]) -> SetReport {
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
        human_prompts: inputs().filter(|input| input.human_prompt.is_some()).count(),
        lengths: lengths.collect(),
        categories,
        ..report
    }
}

impl View<'_> {
    /// Whether a system has something to say of every input. In a pool, a system that knows some of the sets would be
    /// set beside others that had other inputs.
    pub fn covers(&self, system: usize) -> bool {
        self.rows[system].iter().all(Option::is_some)
    }

    /// The values of a measure by input.
    pub fn values(&self, system: usize, measure: &str) -> Vec<Option<f64>> {
        self.rows[system].iter().map(|row| row.and_then(|row| row.value(measure))).collect()
    }
}

/// Values of two systems on the same inputs, where both have one: the first less the second.
pub fn differences(of: &[Option<f64>], against: &[Option<f64>]) -> Vec<f64> {
    of.iter().zip(against).filter_map(|(a, b)| Some((*a)? - (*b)?)).collect()
}
