//! How well each rater looked, and whom the study's rules leave out.

use promptist::statistics::{Interval, binomial_test, wilson_mean};
use serde::Serialize;

use crate::config::Exclude;
use crate::store::{Answer, Choice, Kind, Record};

/// A rater's answers, judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RaterQuality {
    pub(crate) rater: i64,
    /// Of the questions that they were given, checks and repeats included.
    pub(crate) answered: usize,
    pub(crate) assigned: i64,
    pub(crate) checks_passed: usize,
    pub(crate) checks: usize,
    /// Repeats that were answered as before.
    pub(crate) repeats_same: usize,
    pub(crate) repeats: usize,
    pub(crate) median_secs: Option<f64>,
    /// Answers of no difference, of the main questions.
    pub(crate) ties: usize,
    /// The share of A among the main answers that were A or B.
    pub(crate) share_of_a: Option<Interval>,
    /// How likely that share, or one farther from a half, is for who prefers no side.
    pub(crate) side_bias_p: Option<f64>,
    /// Answers that were changed before the next was given.
    pub(crate) changed: usize,
}

/// A rater that the rules leave out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Excluded {
    pub(crate) rater: i64,
    /// Each with the rater's number and the rule's.
    pub(crate) reasons: Vec<String>,
}

/// Every rater who answered.
pub(crate) fn of_raters(record: &Record) -> Vec<RaterQuality> {
    let judge = |rater: &crate::store::RaterRecord| {
        let answers = record.answers.iter().filter(|answer| answer.rater == rater.id);
        let answers: Vec<&Answer> = answers.collect();
        (!answers.is_empty()).then(|| RaterQuality::of(rater.id, rater.assigned, &answers))
    };
    record.raters.iter().filter_map(judge).collect()
}

impl RaterQuality {
    fn of(rater: i64, assigned: i64, answers: &[&Answer]) -> Self {
        let of_kind = |kind: Kind| answers.iter().filter(move |answer| answer.kind == kind);
        let was = |repeat: &&&Answer| {
            of_kind(Kind::Main).find(|main| main.question == repeat.question).map(|main| main.for_first())
        };
        let chose = |choice: Choice| of_kind(Kind::Main).filter(|answer| answer.choice == choice).count();
        let (a, b) = (chose(Choice::A), chose(Choice::B));
        Self {
            rater,
            answered: answers.len(),
            assigned,
            checks_passed: of_kind(Kind::Check).filter(|answer| answer.for_first() == 1).count(),
            checks: of_kind(Kind::Check).count(),
            repeats_same: of_kind(Kind::Repeat).filter(|r| was(r) == Some(r.for_first())).count(),
            repeats: of_kind(Kind::Repeat).count(),
            median_secs: median(answers.iter().map(|answer| answer.millis as f64 / 1000.0).collect()),
            ties: chose(Choice::Tie),
            share_of_a: wilson_mean(a as f64, a + b),
            side_bias_p: (a + b > 0).then(|| binomial_test(a, a + b, 0.5)),
            changed: answers.iter().filter(|answer| answer.changes > 0).count(),
        }
    }

    /// The rules that the rater breaks. A rule about what a rater was never asked is not broken.
    pub(crate) fn excluded_by(&self, rules: &Exclude) -> Option<Excluded> {
        let mut reasons = Vec::new();
        let mut share = |what: &str, good: usize, of: usize, least: f64| {
            if of > 0 && (good as f64) < least * of as f64 {
                reasons.push(format!("{what} {good} of {of}, rule: at least {least}"));
            }
        };
        share("checks passed", self.checks_passed, self.checks, rules.min_checks_passed);
        share("repeats answered the same", self.repeats_same, self.repeats, rules.min_consistency);
        if let Some(secs) = self.median_secs
            && secs < rules.min_median_secs
        {
            reasons.push(format!("median {secs:.1} s an answer, rule: at least {} s", rules.min_median_secs));
        }
        (!reasons.is_empty()).then_some(Excluded { rater: self.rater, reasons })
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(question: usize, kind: Kind, is_swapped: bool, choice: Choice) -> Answer {
        let (rater, place, changes, millis, voted_at) = (1, question as i64, 0, 2000, 0);
        Answer { rater, question, kind, place, is_swapped, choice, changes, millis, voted_at }
    }

    #[test]
    fn checks_repeats_and_sides_are_counted() {
        let answers = [
            answer(0, Kind::Main, false, Choice::A),
            answer(1, Kind::Main, true, Choice::A),
            answer(2, Kind::Main, false, Choice::Tie),
            // The same preference, for the sides are changed; then another.
            answer(0, Kind::Repeat, true, Choice::B),
            answer(1, Kind::Repeat, false, Choice::A),
            // The first side of a check is right: it stands at B.
            answer(3, Kind::Check, true, Choice::B),
            answer(4, Kind::Check, false, Choice::Tie),
        ];
        let quality = RaterQuality::of(1, 9, &answers.iter().collect::<Vec<_>>());
        assert_eq!((quality.checks_passed, quality.checks), (1, 2));
        assert_eq!((quality.repeats_same, quality.repeats), (1, 2));
        assert_eq!((quality.ties, quality.answered), (1, 7));
        let share = quality.share_of_a.expect("answers");
        assert_eq!((share.mean, share.n), (1.0, 2));
        assert_eq!(quality.median_secs, Some(2.0));
    }

    #[test]
    fn rules_are_broken_by_what_was_asked_alone() {
        let good = RaterQuality::of(1, 1, &[&answer(0, Kind::Main, false, Choice::A)]);
        let strict = Exclude { min_checks_passed: 1.0, min_consistency: 1.0, min_median_secs: 2.0 };
        assert_eq!(good.excluded_by(&strict), None);
        let failed = answer(1, Kind::Check, false, Choice::B);
        let bad = RaterQuality::of(1, 1, &[&failed]);
        let reasons = bad.excluded_by(&strict).expect("excluded").reasons;
        assert_eq!(reasons, ["checks passed 0 of 1, rule: at least 1"]);
        let slow = Exclude { min_median_secs: 2.5, min_checks_passed: 0.0, ..strict };
        let reasons = bad.excluded_by(&slow).expect("excluded").reasons;
        assert_eq!(reasons, ["median 2.0 s an answer, rule: at least 2.5 s"]);
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
