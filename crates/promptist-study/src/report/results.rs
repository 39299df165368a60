//! Who is preferred: wins, strengths and agreement, with intervals.

use std::collections::{BTreeMap, BTreeSet};

use promptist::statistics::{
    Comparison, Interval, Level, bootstrap, bradley_terry, bradley_terry_intervals, cohen_kappa, holm,
    krippendorff_alpha_interval, sign_flip_test, wilson_mean,
};
use serde::Serialize;

use crate::store::{Answer, Choice, Kind, Record};

/// Resamples of every bootstrap, and signs drawn for every test.
const RESAMPLES: usize = 2000;
/// How much strengths are held together, so that they have bounds in resamples in which a system always wins. It moves those
/// of all answers, which have bounds of their own, in the third digit.
const REGULARISATION: f64 = 0.01;

/// Why there are no strengths where there are answers.
pub(crate) const NO_STRENGTHS: &str =
    "a system won or lost everything, or some were never compared, so that strengths have no bounds";

/// What a set of raters says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Results {
    pub(crate) raters: usize,
    /// Answers to main questions: repeats and checks are not counted as preferences.
    pub(crate) answers: usize,
    pub(crate) pairs: Vec<PairResult>,
    /// Strongest first, of the systems that were compared; none if there are none with bounds.
    pub(crate) strengths: Vec<Strength>,
    pub(crate) agreement: Agreement,
    /// The share of A among answers of A or B: a half if nobody prefers a side.
    pub(crate) share_of_a: Option<Interval>,
}

/// One system against another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct PairResult {
    pub(crate) first: String,
    pub(crate) second: String,
    /// Of the first.
    pub(crate) wins: usize,
    pub(crate) ties: usize,
    pub(crate) losses: usize,
    pub(crate) inputs: usize,
    /// How often the first is preferred, a tie as half: the interval is the bootstrap's over inputs, or Wilson's over inputs
    /// where all say the same, which resamples say too.
    pub(crate) preference: Option<Interval>,
    /// The same with Wilson's interval, which takes answers to one input as independent.
    pub(crate) preference_wilson: Option<Interval>,
    /// Of no preference, by random signs of the inputs' means.
    pub(crate) p: Option<f64>,
    /// Holm's correction for the number of pairs.
    pub(crate) p_adjusted: Option<f64>,
}

/// A system's Bradley-Terry strength: a difference of 1 is odds of e.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Strength {
    pub(crate) system: String,
    /// Logarithmic, mean 0 over systems; the interval is the bootstrap's over inputs.
    pub(crate) strength: Interval,
}

/// How far raters agree with each other, and with themselves.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Agreement {
    /// Questions that two raters or more answered.
    pub(crate) questions: usize,
    /// Krippendorff's alpha, every difference alike; the interval is the bootstrap's over questions.
    pub(crate) alpha_nominal: Option<Interval>,
    /// Krippendorff's alpha, a tie between the two sides.
    pub(crate) alpha_ordinal: Option<Interval>,
    /// Repeats that were answered as before, of all raters.
    pub(crate) self_consistency: Option<Interval>,
    /// Cohen's kappa of first answers and repeats.
    pub(crate) self_kappa: Option<f64>,
}

impl Results {
    pub(crate) fn of(record: &Record, is_kept: impl Fn(i64) -> bool, seed: u64) -> Self {
        let kept: Vec<&Answer> = record.answers.iter().filter(|answer| is_kept(answer.rater)).collect();
        let main: Vec<&Answer> = kept.iter().copied().filter(|answer| answer.kind == Kind::Main).collect();
        let mut raters: Vec<i64> = main.iter().map(|answer| answer.rater).collect();
        raters.dedup();
        let chose = |choice: Choice| main.iter().filter(|answer| answer.choice == choice).count();
        let (a, b) = (chose(Choice::A), chose(Choice::B));
        Self {
            raters: raters.len(),
            answers: main.len(),
            pairs: pairs(record, &main, seed),
            strengths: strengths(record, &main, seed),
            agreement: agreement(&kept, &raters, seed),
            share_of_a: wilson_mean(a as f64, a + b),
        }
    }
}

fn pairs(record: &Record, main: &[&Answer], seed: u64) -> Vec<PairResult> {
    // Pair of systems by their places -> input -> verdicts on the first.
    let mut verdicts: BTreeMap<(usize, usize), BTreeMap<&str, Vec<i8>>> = BTreeMap::new();
    for answer in main {
        let Some((first, second)) = record.questions[answer.question].items else { continue };
        let pair = (system(record, first), system(record, second));
        let input = record.items[first].input_id.as_str();
        verdicts.entry(pair).or_default().entry(input).or_default().push(answer.for_first());
    }
    let mut pairs: Vec<PairResult> = Vec::new();
    for ((first, second), by_input) in verdicts {
        let all: Vec<i8> = by_input.values().flatten().copied().collect();
        let count = |wanted: i8| all.iter().filter(|&&verdict| verdict == wanted).count();
        let (wins, ties, losses) = (count(1), count(0), count(-1));
        let points = |verdicts: &[i8]| verdicts.iter().map(|&v| (f64::from(v) + 1.0) / 2.0).sum::<f64>();
        // Points and answers of each input.
        let inputs: Vec<(f64, f64)> =
            by_input.values().map(|verdicts| (points(verdicts), verdicts.len() as f64)).collect();
        let differences: Vec<f64> = inputs.iter().map(|(sum, of)| 2.0 * sum / of - 1.0).collect();
        pairs.push(PairResult {
            first: record.systems[first].clone(),
            second: record.systems[second].clone(),
            wins,
            ties,
            losses,
            inputs: inputs.len(),
            preference: preference(&inputs, seed),
            preference_wilson: wilson_mean(points(&all), all.len()),
            p: sign_flip_test(&differences, RESAMPLES, seed),
            p_adjusted: None,
        });
    }
    // Every pair with answers has a p.
    let adjusted = holm(&pairs.iter().filter_map(|pair| pair.p).collect::<Vec<_>>());
    for (pair, p) in pairs.iter_mut().filter(|pair| pair.p.is_some()).zip(adjusted) {
        pair.p_adjusted = Some(p);
    }
    pairs
}

/// Of points and answers by input.
fn preference(inputs: &[(f64, f64)], seed: u64) -> Option<Interval> {
    let means: Vec<f64> = inputs.iter().map(|(points, answers)| points / answers).collect();
    if means.iter().all(|mean| *mean == means[0]) {
        return wilson_mean(means.iter().sum(), means.len());
    }
    bootstrap(inputs.len(), RESAMPLES, seed, |drawn| {
        let add = |(sum, of): (f64, f64), &idx: &usize| (sum + inputs[idx].0, of + inputs[idx].1);
        let (sum, of) = drawn.iter().fold((0.0, 0.0), add);
        Some(sum / of)
    })
}

fn strengths(record: &Record, main: &[&Answer], seed: u64) -> Vec<Strength> {
    let (mut comparisons, mut units, mut compared) = (Vec::new(), Vec::new(), BTreeSet::new());
    let mut inputs: BTreeMap<&str, usize> = BTreeMap::new();
    for answer in main {
        let Some((first, second)) = record.questions[answer.question].items else { continue };
        let (mut winner, mut loser) = (system(record, first), system(record, second));
        if answer.for_first() < 0 {
            std::mem::swap(&mut winner, &mut loser);
        }
        compared.extend([winner, loser]);
        comparisons.push((winner, loser, answer.for_first() == 0));
        let count = inputs.len();
        units.push(*inputs.entry(record.items[first].input_id.as_str()).or_insert(count));
    }
    // Systems that nobody compared have no strength, not one of 0.
    let compared: Vec<usize> = compared.into_iter().collect();
    let place = |system: usize| compared.binary_search(&system).unwrap_or(0);
    let comparisons: Vec<Comparison> = comparisons
        .into_iter()
        .map(|(winner, loser, is_tie)| Comparison { winner: place(winner), loser: place(loser), is_tie })
        .collect();
    // Without bounds of their own they would be what holds them together.
    if bradley_terry(compared.len(), &comparisons, 0.0).is_none() {
        return Vec::new();
    }
    let found =
        bradley_terry_intervals(compared.len(), &comparisons, &units, REGULARISATION, RESAMPLES, seed);
    let named = compared.iter().map(|&system| &record.systems[system]).zip(found.unwrap_or_default());
    let mut strengths: Vec<Strength> =
        named.map(|(system, strength)| Strength { system: system.clone(), strength }).collect();
    strengths.sort_by(|a, b| b.strength.mean.total_cmp(&a.strength.mean));
    strengths
}

fn agreement(kept: &[&Answer], raters: &[i64], seed: u64) -> Agreement {
    let mut by_question: BTreeMap<usize, Vec<Option<f64>>> = BTreeMap::new();
    for answer in kept.iter().filter(|answer| answer.kind == Kind::Main) {
        let Ok(at) = raters.binary_search(&answer.rater) else { continue };
        let ratings = by_question.entry(answer.question).or_insert_with(|| vec![None; raters.len()]);
        ratings[at] = Some(f64::from(answer.for_first()));
    }
    let is_shared = |ratings: &Vec<Option<f64>>| ratings.iter().flatten().count() > 1;
    let ratings: Vec<Vec<Option<f64>>> = by_question.into_values().filter(is_shared).collect();
    let alpha = |level| krippendorff_alpha_interval(&ratings, level, RESAMPLES, seed);
    let (alpha_nominal, alpha_ordinal) = (alpha(Level::Nominal), alpha(Level::Ordinal));

    let (mut before, mut again) = (Vec::new(), Vec::new());
    for repeat in kept.iter().filter(|answer| answer.kind == Kind::Repeat) {
        let is_it = |main: &&&Answer| {
            main.kind == Kind::Main && main.rater == repeat.rater && main.question == repeat.question
        };
        if let Some(main) = kept.iter().find(is_it) {
            before.push((main.for_first() + 1) as usize);
            again.push((repeat.for_first() + 1) as usize);
        }
    }
    let same = before.iter().zip(&again).filter(|(before, again)| before == again).count();
    Agreement {
        questions: ratings.len(),
        alpha_nominal,
        alpha_ordinal,
        self_consistency: wilson_mean(same as f64, before.len()),
        self_kappa: if before.is_empty() { None } else { cohen_kappa(&before, &again) },
    }
}

/// The place of an item's system.
fn system(record: &Record, item: usize) -> usize {
    let name = &record.items[item].system;
    // The tables refuse an item of an unknown system.
    record.systems.iter().position(|system| system == name).unwrap_or(0)
}
