//! What a rater will be asked, in which order, and what stands on which side: decided when they begin.
//!
//! A plan that is made once can be resumed at any place, knows its length, keeps repeats apart from what they
//! repeat, and balances sides exactly. Questions that few have been asked come first; who began and went away
//! does not count against that for long (see `store`).

use std::collections::BTreeMap;

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

/// The least number of questions between one and its repeat, where the plan is long enough.
const REPEAT_GAP: usize = 5;

/// A question, and how often it has been shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) question: i64,
    /// The two systems; none for a check.
    pub(crate) pair: Option<(String, String)>,
    /// How often the first side stood at A, and how often at B.
    pub(crate) shown: [i64; 2],
}

/// How much a rater is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amount {
    /// 0 is all.
    pub(crate) questions: usize,
    pub(crate) repeats: f64,
}

/// A question to a rater.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) question: i64,
    /// Whether the question's first side stands at B.
    pub(crate) is_swapped: bool,
    pub(crate) is_repeat: bool,
}

/// The questions of a rater, in order.
///
/// Of each pair of systems a rater sees each side as often as the other, or once more, where the study so far
/// has seen it less: so the study is never out of balance by more than one a pair. Which questions of the
/// pair are the changed ones follows their own history.
pub(crate) fn plan(loads: &[Load], amount: Amount, rng: &mut impl Rng) -> Vec<Planned> {
    let chosen = choose(loads, amount.questions, rng);
    let mut main = sides(loads, &chosen, rng);
    main.shuffle(rng);

    // Every entry has a place on a line; what is put in between has a random one.
    let count = main.len();
    let mut line: Vec<(f64, Planned)> =
        main.iter().enumerate().map(|(at, &planned)| (at as f64, planned)).collect();
    for at in repeated(count, amount.repeats, rng) {
        let Planned { question, is_swapped, .. } = main[at];
        let repeat = Planned { question, is_swapped: !is_swapped, is_repeat: true };
        line.push((between((at + REPEAT_GAP).min(count), count, rng), repeat));
    }
    for load in loads.iter().filter(|load| load.pair.is_none()) {
        let [a, b] = load.shown;
        let is_swapped = if a == b { rng.random() } else { a > b };
        let check = Planned { question: load.question, is_swapped, is_repeat: false };
        line.push((between(0, count, rng), check));
    }
    line.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    line.into_iter().map(|(_, planned)| planned).collect()
}

/// The questions that were asked least, by their places.
fn choose(loads: &[Load], most: usize, rng: &mut impl Rng) -> Vec<usize> {
    let mut chosen: Vec<usize> = (0..loads.len()).filter(|&idx| loads[idx].pair.is_some()).collect();
    chosen.shuffle(rng);
    // Stable: equals stay in their random order.
    chosen.sort_by_key(|&idx| loads[idx].shown.iter().sum::<i64>());
    chosen.truncate(if most == 0 { usize::MAX } else { most });
    chosen
}

fn sides(loads: &[Load], chosen: &[usize], rng: &mut impl Rng) -> Vec<Planned> {
    let mut ahead: BTreeMap<&(String, String), i64> = BTreeMap::new();
    for load in loads {
        if let Some(pair) = &load.pair {
            *ahead.entry(pair).or_default() += load.shown[0] - load.shown[1];
        }
    }
    let mut by_pair: BTreeMap<&(String, String), Vec<usize>> = BTreeMap::new();
    for &idx in chosen {
        if let Some(pair) = &loads[idx].pair {
            by_pair.entry(pair).or_default().push(idx);
        }
    }
    let mut planned = Vec::with_capacity(chosen.len());
    for (pair, mut places) in by_pair {
        let ahead = ahead.get(pair).copied().unwrap_or(0);
        let mut num_swapped = places.len() / 2;
        if places.len() % 2 == 1 && (ahead > 0 || (ahead == 0 && rng.random())) {
            num_swapped += 1;
        }
        places.shuffle(rng);
        places.sort_by_key(|&idx| loads[idx].shown[1] - loads[idx].shown[0]);
        for (at, idx) in places.into_iter().enumerate() {
            let (question, is_swapped) = (loads[idx].question, at < num_swapped);
            planned.push(Planned { question, is_swapped, is_repeat: false });
        }
    }
    planned
}

/// Which places are asked again: early ones, so that there is room after them.
fn repeated(count: usize, share: f64, rng: &mut impl Rng) -> Vec<usize> {
    let wanted = (share * count as f64).round() as usize;
    let mut places: Vec<usize> = (0..count.saturating_sub(REPEAT_GAP).max(wanted.min(count))).collect();
    places.shuffle(rng);
    places.truncate(wanted);
    places
}

/// A random place after `from` of the places before it, `to` at most.
fn between(from: usize, to: usize, rng: &mut impl Rng) -> f64 {
    from as f64 - 0.5 + rng.random::<f64>() * (to.saturating_sub(from) as f64 + 0.5)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// `count` questions on each of three pairs of systems, and two checks.
    fn loads(count: i64) -> Vec<Load> {
        let pairs = [("a", "b"), ("a", "c"), ("b", "c")];
        let of_pair = |(at, (x, y)): (usize, (&str, &str))| {
            let pair = Some((x.to_owned(), y.to_owned()));
            let load = move |i| Load { question: at as i64 * count + i, pair: pair.clone(), shown: [0, 0] };
            (0..count).map(load).collect::<Vec<_>>()
        };
        let mut loads: Vec<Load> = pairs.into_iter().enumerate().flat_map(of_pair).collect();
        loads.extend([-1, -2].map(|question| Load { question, pair: None, shown: [0, 0] }));
        loads
    }

    fn show(loads: &mut [Load], plan: &[Planned]) {
        for planned in plan.iter().filter(|planned| !planned.is_repeat) {
            let load = loads.iter_mut().find(|load| load.question == planned.question).expect("known");
            load.shown[usize::from(planned.is_swapped)] += 1;
        }
    }

    proptest! {
        #[test]
        fn sides_and_questions_stay_in_balance(seed: u64, raters in 1usize..12, questions in 0usize..25) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut loads = loads(6);
            let amount = Amount { questions, repeats: 0.2 };
            for _ in 0..raters {
                let plan = plan(&loads, amount, &mut rng);
                let of_pair = |pair: &Option<(String, String)>, is_swapped: bool| {
                    let is_of = |planned: &&Planned| {
                        let load = loads.iter().find(|load| load.question == planned.question);
                        load.is_some_and(|load| &load.pair == pair)
                    };
                    let main = plan.iter().filter(|planned| !planned.is_repeat).filter(is_of);
                    main.filter(|planned| planned.is_swapped == is_swapped).count()
                };
                for load in loads.iter().filter(|load| load.pair.is_some()) {
                    // In what one rater sees.
                    prop_assert!(of_pair(&load.pair, true).abs_diff(of_pair(&load.pair, false)) <= 1);
                }
                show(&mut loads, &plan);
                let mut totals: BTreeMap<&Option<(String, String)>, [i64; 2]> = BTreeMap::new();
                for load in &loads {
                    let total = totals.entry(&load.pair).or_default();
                    *total = [total[0] + load.shown[0], total[1] + load.shown[1]];
                }
                for (pair, [a, b]) in totals {
                    // In the study.
                    prop_assert!((a - b).abs() <= if pair.is_some() { 1 } else { 2 }, "{pair:?} {a} {b}");
                }
                let shown = loads.iter().filter(|load| load.pair.is_some()).map(|load| load.shown.iter().sum());
                let shown: Vec<i64> = shown.collect();
                let (least, most) = (shown.iter().min().expect("some"), shown.iter().max().expect("some"));
                prop_assert!(most - least <= 1, "questions were asked {least} to {most} times");
            }
        }

        #[test]
        fn repeats_change_sides_and_come_later(seed: u64, questions in 0usize..25, repeats in 0.0f64..=1.0) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let loads = loads(8);
            let plan = plan(&loads, Amount { questions, repeats }, &mut rng);
            let count = if questions == 0 { 24 } else { questions };
            let repeated: Vec<&Planned> = plan.iter().filter(|planned| planned.is_repeat).collect();
            prop_assert_eq!(repeated.len(), (repeats * count as f64).round() as usize);
            prop_assert_eq!(plan.len(), count + repeated.len() + 2);
            let asked: BTreeSet<_> = plan.iter().map(|planned| (planned.question, planned.is_repeat)).collect();
            prop_assert_eq!(asked.len(), plan.len());
            for repeat in repeated {
                let at = |is_repeat| {
                    let is_it = |planned: &Planned| {
                        planned.question == repeat.question && planned.is_repeat == is_repeat
                    };
                    plan.iter().position(is_it).expect("asked")
                };
                prop_assert!(at(true) > at(false));
                prop_assert_ne!(plan[at(true)].is_swapped, plan[at(false)].is_swapped);
                // Unless so much is repeated that there is no room.
                if repeats <= 0.5 && count >= 2 * REPEAT_GAP {
                    prop_assert!(at(true) - at(false) >= REPEAT_GAP, "{} {}", at(false), at(true));
                }
            }
        }
    }

    #[test]
    fn what_was_asked_least_comes_first() {
        let mut loads = loads(4);
        for load in loads.iter_mut().take(6) {
            load.shown = [1, 1];
        }
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let plan = plan(&loads, Amount { questions: 6, repeats: 0.0 }, &mut rng);
        assert!(plan.iter().filter(|planned| planned.question >= 0).all(|planned| planned.question >= 6));
    }
}
