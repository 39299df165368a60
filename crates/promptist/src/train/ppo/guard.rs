//! When to stop: a policy that still gains reward while a measure that it is not trained on falls is
//! learning to cheat.
//!
//! The rule (design section 8): the mean of a held-out measure is more than two paired standard
//! errors below its best at two consecutive evaluations, while the training reward is at its best. A
//! reward within one paired standard error of its best counts as at its best.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Evaluations in a row that must show a fall.
const CONSECUTIVE: u32 = 2;

/// What the evaluations so far have shown. It is part of a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    /// The best evaluation of the training reward.
    reward: Option<BestScores>,
    /// By held-out measure.
    held_out: BTreeMap<String, HeldOut>,
}

/// The scores of an evaluation, one for each validation prompt; none where a prompt could not be scored.
pub type Scores = Vec<Option<f64>>;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct BestScores {
    round: u64,
    mean: f64,
    scores: Scores,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct HeldOut {
    best: Option<BestScores>,
    /// Evaluations in a row that were significantly below the best.
    falls: u32,
}

/// Why a run was stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stop {
    /// After this round.
    pub step: u64,
    /// The held-out measure that fell.
    pub measure: String,
    /// From what to what, and how sure that is.
    pub reason: String,
    /// The round whose checkpoint is kept as the model.
    pub best_step: u64,
}

/// A fall that goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Fall {
    /// The measure.
    pub measure: String,
    /// From what to what, and how sure that is.
    pub reason: String,
}

impl Guard {
    /// Takes the evaluation after `round` in, and tells of a measure that has fallen long enough.
    pub fn observe(&mut self, round: u64, reward: &Scores, held_out: &[(String, Scores)]) -> Option<Fall> {
        let is_at_best = match &self.reward {
            Some(best) => {
                let below = Difference::of(&best.scores, reward);
                below.mean <= below.standard_error
            }
            None => true,
        };
        keep_best(&mut self.reward, round, reward);
        let mut fall = None;
        for (name, scores) in held_out {
            let measure = self.held_out.entry(name.clone()).or_default();
            if let Some(best) = &measure.best {
                let below = Difference::of(&best.scores, scores);
                let has_fallen = below.n > 0 && below.mean > 0.0 && below.mean > 2.0 * below.standard_error;
                measure.falls = if has_fallen && is_at_best { measure.falls + 1 } else { 0 };
                if measure.falls >= CONSECUTIVE && fall.is_none() {
                    let reason = format!(
                        "{:.4} below its best of {:.4} after round {} (paired standard error {:.4}, {} prompts), \
                         while the training reward is at its best",
                        below.mean, best.mean, best.round, below.standard_error, below.n
                    );
                    fall = Some(Fall { measure: name.clone(), reason });
                }
            }
            keep_best(&mut measure.best, round, scores);
        }
        fall
    }

    /// The round with the best mean of the measure `name`, or of the training reward without one.
    pub fn best_round(&self, name: Option<&str>) -> Option<u64> {
        let best = match name {
            Some(name) => self.held_out.get(name)?.best.as_ref(),
            None => self.reward.as_ref(),
        };
        best.map(|best| best.round)
    }
}

fn keep_best(best: &mut Option<BestScores>, round: u64, scores: &Scores) {
    let Some((mean, _)) = mean_and_error(scores) else { return };
    if best.as_ref().is_none_or(|best| mean > best.mean) {
        *best = Some(BestScores { round, mean, scores: scores.clone() });
    }
}

/// How far one evaluation's scores are below another's, over the prompts that both have.
struct Difference {
    n: usize,
    mean: f64,
    standard_error: f64,
}

impl Difference {
    fn of(higher: &Scores, lower: &Scores) -> Self {
        let pairs = higher.iter().zip(lower);
        let differences: Scores = pairs.map(|(higher, lower)| Some((*higher)? - (*lower)?)).collect();
        let n = differences.iter().flatten().count();
        let (mean, error) = mean_and_error(&differences).unwrap_or_default();
        Self { n, mean, standard_error: error.unwrap_or(f64::INFINITY) }
    }
}

/// The mean of the scores that are there and its standard error; no error for fewer than two, nothing for
/// none.
pub fn mean_and_error(scores: &Scores) -> Option<(f64, Option<f64>)> {
    let n = scores.iter().flatten().count();
    if n == 0 {
        return None;
    }
    let mean = scores.iter().flatten().sum::<f64>() / n as f64;
    let squares: f64 = scores.iter().flatten().map(|score| (score - mean).powi(2)).sum();
    let error = (n > 1).then(|| (squares / (n - 1) as f64 / n as f64).sqrt());
    Some((mean, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 50 prompts whose scores scatter around `mean`, differently in each evaluation.
    fn scores(mean: f64, evaluation: u64) -> Scores {
        let scatter = |n: u64| f64::from((n * 37 + evaluation * 11) as u32 % 17) / 17.0 - 0.47;
        (0..50).map(|n| Some(mean + 0.2 * scatter(n))).collect()
    }

    fn observe(guard: &mut Guard, round: u64, reward: f64, held_out: f64) -> Option<Fall> {
        let held_out = [("other".to_owned(), scores(held_out, round + 1))];
        guard.observe(round, &scores(reward, round), &held_out)
    }

    #[test]
    fn two_falls_in_a_row_under_a_rising_reward_stop() {
        let mut guard = Guard::default();
        assert_eq!(observe(&mut guard, 0, 0.0, 0.5), None);
        assert_eq!(observe(&mut guard, 10, 0.2, 0.6), None);
        assert_eq!(observe(&mut guard, 20, 0.4, 0.4), None);
        let fall = observe(&mut guard, 30, 0.6, 0.3).expect("a fall");
        assert_eq!(fall.measure, "other");
        assert!(fall.reason.contains("after round 10"), "{}", fall.reason);
        assert_eq!((guard.best_round(Some("other")), guard.best_round(None)), (Some(10), Some(30)));
    }

    #[test]
    fn one_fall_noise_or_a_falling_reward_do_not() {
        let mut guard = Guard::default();
        for (round, reward, held_out) in [
            (0, 0.0, 0.5),
            (10, 0.2, 0.4),  // A fall,
            (20, 0.3, 0.52), // made good.
            (30, 0.5, 0.51), // Within the noise.
            (40, 0.6, 0.505),
            (50, 0.3, 0.1), // Everything falls: no cheating.
            (60, 0.2, 0.0),
        ] {
            assert_eq!(observe(&mut guard, round, reward, held_out), None, "round {round}");
        }
    }

    #[test]
    fn prompts_without_a_score_are_left_out_of_the_comparison() {
        let mut guard = Guard::default();
        let held_out = |value: Option<f64>| vec![("other".to_owned(), vec![Some(1.0), Some(1.1), value])];
        let reward = vec![Some(1.0); 3];
        assert_eq!(guard.observe(0, &reward, &held_out(Some(9.0))), None);
        for round in [1, 2, 3] {
            assert_eq!(guard.observe(round, &reward, &held_out(None)), None);
        }
        assert_eq!(mean_and_error(&vec![None]), None);
        assert_eq!(mean_and_error(&vec![Some(2.0), None]), Some((2.0, None)));
    }
}
