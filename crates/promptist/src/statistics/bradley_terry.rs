//! The Bradley-Terry model: strengths of systems that explain who was preferred to whom.
//!
//! P(i beats j) is the logistic function of the difference of their log-strengths. A tie counts as half a win of each.

use std::collections::BTreeMap;

use super::bootstrap::intervals;
use super::interval::Interval;

/// Newton steps allowed; a dozen are enough unless strengths run away.
const MAX_STEPS: usize = 200;

/// Convergence: the gradient's largest entry, of the number of comparisons.
const GRADIENT: f64 = 1e-13;

/// Most of the resamples in which a system may win everything, where there is no regularisation.
const MOST_INFINITE: f64 = 0.05;

/// One answer: two systems and who won.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// The preferred system; either one, if it is a tie.
    pub winner: usize,
    /// The other.
    pub loser: usize,
    /// Whether neither was preferred.
    pub is_tie: bool,
}

/// Log-strengths with mean 0, of greatest likelihood less `regularisation` times the sum of their squares.
///
/// Without regularisation they exist only if everyone can be reached from everyone along wins (or ties): a system that
/// always wins is infinitely strong, and groups never compared have no common scale. Then the answer is `None`; any
/// `regularisation` above 0 makes it finite, and draws strengths together. `None` too without systems, for a system
/// compared with itself or not among `num_systems`, or a `regularisation` that is negative or not finite.
///
/// # Source
/// Bradley and Terry 1952; `choix.opt_pairwise`, whose `alpha` is `regularisation`, with ties as half wins; without
/// regularisation `choix.ilsr_pairwise` finds the same.
pub fn bradley_terry(
    num_systems: usize,
    comparisons: &[Comparison],
    regularisation: f64,
) -> Option<Vec<f64>> {
    let wins = Wins::count(num_systems, comparisons)?;
    if num_systems == 0 || !regularisation.is_finite() || regularisation < 0.0 {
        return None;
    }
    if regularisation == 0.0 && !wins.all_reach_all() {
        return None;
    }
    wins.maximise(regularisation)
}

/// Log-strengths as [`bradley_terry`] finds them, each with its interval by
/// [`bootstrap_each`](super::bootstrap_each) over units.
///
/// `units` names the unit of each comparison: what would be drawn anew in another study, as the prompt, or the rater.
/// Comparisons of one unit are drawn together, for they resemble each other. `n` is the number of units.
///
/// `None` where strengths have none, or if more than one resample in twenty has none: an end would be infinite.
pub fn bradley_terry_intervals(
    num_systems: usize,
    comparisons: &[Comparison],
    units: &[usize],
    regularisation: f64,
    resamples: usize,
    seed: u64,
) -> Option<Vec<Interval>> {
    if units.len() != comparisons.len() {
        return None;
    }
    let mut by_unit: BTreeMap<usize, Vec<Comparison>> = BTreeMap::new();
    for (&unit, &comparison) in units.iter().zip(comparisons) {
        by_unit.entry(unit).or_default().push(comparison);
    }
    let by_unit: Vec<Vec<Comparison>> = by_unit.into_values().collect();
    intervals(by_unit.len(), resamples, seed, MOST_INFINITE, |chosen| {
        let comparisons: Vec<Comparison> =
            chosen.iter().flat_map(|&unit| by_unit[unit].iter().copied()).collect();
        bradley_terry(num_systems, &comparisons, regularisation)
    })
}

/// How often each system beat each other: `[winner][loser]`, half a win for either in a tie.
struct Wins(Vec<Vec<f64>>);

impl Wins {
    fn count(num_systems: usize, comparisons: &[Comparison]) -> Option<Self> {
        let mut wins = vec![vec![0.0; num_systems]; num_systems];
        for &Comparison { winner, loser, is_tie } in comparisons {
            if winner == loser || winner.max(loser) >= num_systems {
                return None;
            }
            wins[winner][loser] += if is_tie { 0.5 } else { 1.0 };
            wins[loser][winner] += if is_tie { 0.5 } else { 0.0 };
        }
        Some(Self(wins))
    }

    /// Whether a chain of wins leads from everyone to everyone (Ford 1957).
    fn all_reach_all(&self) -> bool {
        let reaches_all = |has_won: &dyn Fn(usize, usize) -> bool| {
            let mut reached = vec![false; self.0.len()];
            let mut next = vec![0];
            reached[0] = true;
            while let Some(from) = next.pop() {
                for (to, reached) in reached.iter_mut().enumerate() {
                    if !*reached && has_won(from, to) {
                        *reached = true;
                        next.push(to);
                    }
                }
            }
            reached.into_iter().all(|reached| reached)
        };
        reaches_all(&|from, to| self.0[from][to] > 0.0) && reaches_all(&|from, to| self.0[to][from] > 0.0)
    }

    /// Newton's method with halved steps; the objective is concave.
    fn maximise(&self, regularisation: f64) -> Option<Vec<f64>> {
        let n = self.0.len();
        let total: f64 = self.0.iter().flatten().sum::<f64>().max(1.0);
        let mut strengths = vec![0.0; n];
        let mut objective = self.objective(&strengths, regularisation);
        for _ in 0..MAX_STEPS {
            let (gradient, curvature) = self.derivatives(&strengths, regularisation);
            if gradient.iter().all(|entry| entry.abs() <= GRADIENT * total) {
                break;
            }
            let step = solve(curvature, gradient)?;
            let mut share = 1.0;
            let better = loop {
                let tried: Vec<f64> = strengths.iter().zip(&step).map(|(s, step)| s + share * step).collect();
                let found = self.objective(&tried, regularisation);
                if found > objective {
                    break Some((tried, found));
                }
                share /= 2.0;
                if share < 1e-6 {
                    break None;
                }
            };
            match better {
                Some(better) => (strengths, objective) = better,
                None => {
                    // What is left to gain drowns in rounding; the full step is the best guess of where the top is.
                    strengths.iter_mut().zip(&step).for_each(|(s, step)| *s += step);
                    break;
                }
            }
        }
        let mean = strengths.iter().sum::<f64>() / n as f64;
        strengths.iter_mut().for_each(|strength| *strength -= mean);
        strengths.iter().all(|strength| strength.is_finite()).then_some(strengths)
    }

    fn objective(&self, strengths: &[f64], regularisation: f64) -> f64 {
        let mut sum = -regularisation * strengths.iter().map(|s| s * s).sum::<f64>();
        for (winner, row) in self.0.iter().enumerate() {
            for (loser, &wins) in row.iter().enumerate().filter(|(_, wins)| **wins > 0.0) {
                // −ln(1 + e^−d), without overflow.
                let lead = strengths[winner] - strengths[loser];
                sum += wins * (lead.min(0.0) - (-lead.abs()).exp().ln_1p());
            }
        }
        sum
    }

    /// The objective's gradient and its negated Hessian.
    fn derivatives(&self, strengths: &[f64], regularisation: f64) -> (Vec<f64>, Vec<Vec<f64>>) {
        let n = strengths.len();
        let mut gradient: Vec<f64> = strengths.iter().map(|s| -2.0 * regularisation * s).collect();
        // The likelihood knows differences only. This constant makes the matrix regular without moving the solution,
        // for the gradient of the likelihood has no part along it, and strengths start with mean 0.
        let mut curvature = vec![vec![1.0 / n as f64; n]; n];
        for a in 0..n {
            curvature[a][a] += 2.0 * regularisation;
            for b in 0..a {
                let (wins, losses) = (self.0[a][b], self.0[b][a]);
                let chance = 1.0 / (1.0 + (strengths[b] - strengths[a]).exp());
                let surprise = wins * (1.0 - chance) - losses * chance;
                gradient[a] += surprise;
                gradient[b] -= surprise;
                let weight = (wins + losses) * chance * (1.0 - chance);
                curvature[a][a] += weight;
                curvature[b][b] += weight;
                curvature[a][b] -= weight;
                curvature[b][a] -= weight;
            }
        }
        (gradient, curvature)
    }
}

/// The x with `matrix` · x = `right`, of a symmetric positive definite matrix, by elimination without pivots; `None` if
/// it is not positive definite as far as floats can tell.
fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Option<Vec<f64>> {
    let n = right.len();
    for pivot in 0..n {
        let (above, below) = matrix.split_at_mut(pivot + 1);
        let row = &above[pivot];
        if row[pivot].is_nan() || row[pivot] <= 0.0 {
            return None;
        }
        for (other, entries) in (pivot + 1..).zip(below) {
            let factor = entries[pivot] / row[pivot];
            entries.iter_mut().zip(row).skip(pivot).for_each(|(entry, top)| *entry -= factor * top);
            right[other] -= factor * right[pivot];
        }
    }
    for pivot in (0..n).rev() {
        let known: f64 = (pivot + 1..n).map(|other| matrix[pivot][other] * right[other]).sum();
        right[pivot] = (right[pivot] - known) / matrix[pivot][pivot];
    }
    Some(right)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn win(winner: usize, loser: usize) -> Comparison {
        Comparison { winner, loser, is_tie: false }
    }

    fn tie(a: usize, b: usize) -> Comparison {
        Comparison { winner: a, loser: b, is_tie: true }
    }

    #[test]
    fn two_systems_by_hand() {
        // 3 of 4: the odds are 3.
        let comparisons = [win(0, 1), win(0, 1), win(0, 1), win(1, 0)];
        let found = bradley_terry(2, &comparisons, 0.0).expect("both have won");
        assert!((found[0] - 3.0_f64.ln() / 2.0).abs() < 1e-12 && found[0] == -found[1], "{found:?}");
        // Two ties are a win and a loss.
        let with_ties = [win(0, 1), win(0, 1), tie(1, 0), tie(0, 1)];
        let same = bradley_terry(2, &with_ties, 0.0).expect("a tie is half a win");
        assert!((found[0] - same[0]).abs() < 1e-12);
    }

    #[test]
    fn strengths_that_no_data_bounds() {
        let always_wins = [win(0, 1), win(0, 2), win(1, 2), win(2, 1)];
        assert_eq!(bradley_terry(3, &always_wins, 0.0), None);
        let found = bradley_terry(3, &always_wins, 0.01).expect("regularised");
        assert!(found[0] > 2.0 && (found[1] - found[2]).abs() < 1e-12, "{found:?}");
        let never_compared = [win(0, 1), win(1, 0), win(2, 3), win(3, 2)];
        assert_eq!(bradley_terry(4, &never_compared, 0.0), None);
        assert!(bradley_terry(4, &never_compared, 0.1).is_some());
        assert_eq!(bradley_terry(2, &[], 0.0), None);
        assert_eq!(bradley_terry(2, &[], 0.1), Some(vec![0.0, 0.0]));
        assert_eq!(bradley_terry(1, &[], 0.0), Some(vec![0.0]));
        assert_eq!(bradley_terry(2, &[tie(0, 1)], 0.0), Some(vec![0.0, 0.0]));
    }

    #[test]
    fn no_sense_no_strengths() {
        assert_eq!(bradley_terry(0, &[], 0.1), None);
        assert_eq!(bradley_terry(2, &[win(0, 2)], 0.1), None);
        assert_eq!(bradley_terry(2, &[win(1, 1)], 0.1), None);
        assert_eq!(bradley_terry(2, &[win(0, 1)], -0.1), None);
        assert_eq!(bradley_terry(2, &[win(0, 1)], f64::NAN), None);
        assert_eq!(bradley_terry_intervals(2, &[win(0, 1)], &[], 0.1, 100, 1), None);
    }

    #[test]
    fn an_end_that_may_be_infinite_is_none() {
        let comparisons: Vec<Comparison> =
            (0..12).map(|i| if i < 11 { win(0, 1) } else { win(1, 0) }).collect();
        let units: Vec<usize> = (0..12).collect();
        // The one loss is in two resamples of three.
        assert_eq!(bradley_terry_intervals(2, &comparisons, &units, 0.0, 500, 3), None);
        assert!(bradley_terry_intervals(2, &comparisons, &units, 0.01, 500, 3).is_some());
    }

    #[test]
    fn intervals_are_of_units() {
        // Ten raters who each gave five answers, all the same: ten observations, not fifty.
        let comparisons: Vec<Comparison> =
            (0..50).map(|i| if i / 5 < 7 { win(0, 1) } else { win(1, 0) }).collect();
        let raters: Vec<usize> = (0..50).map(|i| i / 5).collect();
        let answers: Vec<usize> = (0..50).collect();
        let by = |units| bradley_terry_intervals(2, &comparisons, units, 0.01, 500, 3).expect("defined");
        let (by_rater, by_answer) = (by(&raters), by(&answers));
        assert_eq!((by_rater[0].n, by_answer[0].n), (10, 50));
        assert_eq!(by_rater[0].mean, by_answer[0].mean);
        let width = |found: &[Interval]| found[0].high - found[0].low;
        assert!(width(&by_rater) > 1.5 * width(&by_answer), "{by_rater:?} {by_answer:?}");
    }

    proptest! {
        #[test]
        fn the_gradient_vanishes_and_names_do_not_matter(
            answers in prop::collection::vec((0_usize..4, 1_usize..4, any::<bool>()), 0..60),
            regularisation in 0.001_f64..2.0,
        ) {
            let comparisons: Vec<Comparison> = answers
                .iter()
                .map(|&(winner, by, is_tie)| Comparison { winner, loser: (winner + by) % 4, is_tie })
                .collect();
            let found = bradley_terry(4, &comparisons, regularisation).expect("regularised");
            prop_assert!(found.iter().sum::<f64>().abs() < 1e-9);
            let wins = Wins::count(4, &comparisons).expect("in range");
            let (gradient, _) = wins.derivatives(&found, regularisation);
            prop_assert!(gradient.iter().all(|entry| entry.abs() < 1e-8), "{:?}", gradient);
            let turned: Vec<Comparison> = comparisons
                .iter()
                .map(|c| Comparison { winner: 3 - c.winner, loser: 3 - c.loser, is_tie: c.is_tie })
                .collect();
            let other = bradley_terry(4, &turned, regularisation).expect("regularised");
            prop_assert!(found.iter().zip(other.iter().rev()).all(|(a, b)| (a - b).abs() < 1e-8));
        }
    }
}
