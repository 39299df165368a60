//! Which tokens sampling draws from, and how likely each is.

use super::candidates::TopCandidates;
use super::log_softmax::{self, Normalizer};
use super::settings::DecodingSettings;

/// A token that may be drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Choice {
    pub(super) token_id: u32,
    /// After temperature.
    pub(super) logit: f32,
}

/// Temperature, top-k, top-p and min-p, in this order, which is transformers'.
#[derive(Debug, Clone)]
pub(super) struct Warpers {
    temperature: f32,
    top_k: usize,
    top_p: f64,
    min_p: f32,
}

impl Warpers {
    pub(super) fn new(settings: &DecodingSettings) -> Self {
        Self {
            temperature: settings.temperature as f32,
            top_k: settings.top_k,
            top_p: settings.top_p,
            min_p: settings.min_p as f32,
        }
    }

    /// Leaves in `choices` what may be drawn from the logits of a row, by token id.
    ///
    /// # Shapes
    /// - `logits`: `[V]`
    ///
    /// # Source
    /// `TemperatureLogitsWarper`, `TopKLogitsWarper`, `TopPLogitsWarper` and `MinPLogitsWarper` of
    /// transformers 5.23. Equal logits at the edge of top-k all stay; at the edge of top-p the lower
    /// ids stay (there: as the sort happens to leave them).
    pub(super) fn apply(&self, logits: &[f32], top: &mut TopCandidates, choices: &mut Vec<Choice>) {
        let edge = self.top_k_edge(logits, top) / self.temperature;
        choices.clear();
        for (token_id, &logit) in logits.iter().enumerate() {
            let logit = logit / self.temperature;
            if logit >= edge && logit > f32::NEG_INFINITY {
                choices.push(Choice { token_id: token_id as u32, logit });
            }
        }
        if self.top_p < 1.0 {
            self.keep_top_p(choices);
            choices.sort_unstable_by_key(|choice| choice.token_id);
        }
        if self.min_p > 0.0 {
            let probs = Softmax::of(choices);
            let least = self.min_p * probs.of_max();
            choices.retain(|choice| probs.prob(choice) >= least);
        }
    }

    /// The `top_k`-th largest logit; `-inf` if all may stay.
    fn top_k_edge(&self, logits: &[f32], top: &mut TopCandidates) -> f32 {
        if self.top_k == 0 || self.top_k >= logits.len() {
            return f32::NEG_INFINITY;
        }
        top.reset(self.top_k);
        top.offer_row(0, logits, Normalizer::IDENTITY, 0.0);
        let best = top.best_first();
        if best.len() < self.top_k { f32::NEG_INFINITY } else { best[self.top_k - 1].score }
    }

    /// From the least likely up, removes what together has no more than `1 - top_p`. One stays.
    fn keep_top_p(&self, choices: &mut Vec<Choice>) {
        let probs = Softmax::of(choices);
        choices.sort_unstable_by(|a, b| b.logit.total_cmp(&a.logit).then(a.token_id.cmp(&b.token_id)));
        let removable = (1.0 - self.top_p) as f32;
        let mut tail = 0.0;
        let mut len = choices.len();
        while len > 1 {
            // torch sums in f64 and rounds each partial sum to f32.
            tail += f64::from(probs.prob(&choices[len - 1]));
            if tail as f32 > removable {
                break;
            }
            len -= 1;
        }
        choices.truncate(len);
    }
}

/// Probabilities of choices, in f32.
#[derive(Debug, Clone, Copy)]
pub(super) struct Softmax {
    max: f32,
    sum: f32,
}

impl Softmax {
    pub(super) fn of(choices: &[Choice]) -> Self {
        let max = choices.iter().fold(f32::NEG_INFINITY, |max, choice| max.max(choice.logit));
        let sum: f64 = choices.iter().map(|choice| f64::from(log_softmax::exp(choice.logit - max))).sum();
        Self { max, sum: sum as f32 }
    }

    pub(super) fn prob(self, choice: &Choice) -> f32 {
        log_softmax::exp(choice.logit - self.max) / self.sum
    }

    fn of_max(self) -> f32 {
        1.0 / self.sum
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::super::RawDecodingSettings;
    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        temperature: Option<f64>,
        top_k: Option<usize>,
        top_p: Option<f64>,
        min_p: Option<f64>,
        logits: Vec<f32>,
        /// `null` where the token may not be drawn.
        log_probs: Vec<Option<f64>>,
    }

    /// Golden file of `tools/reference/sampling.py`; tolerance 1e-5 of a log-probability.
    #[test]
    fn warpers_equal_transformers_5_23() {
        let golden = include_str!("../../tests/golden/sampling.json");
        let golden: Golden = serde_json::from_str(golden).expect("golden file");
        let (mut top, mut choices) = (TopCandidates::default(), Vec::new());
        for case in &golden.cases {
            let raw = RawDecodingSettings {
                temperature: case.temperature,
                top_k: Some(case.top_k.unwrap_or(0)),
                top_p: case.top_p,
                min_p: case.min_p,
                ..Default::default()
            };
            let settings = raw.resolve().expect("possible settings");
            Warpers::new(&settings).apply(&case.logits, &mut top, &mut choices);
            let expected: Vec<_> =
                (0..).zip(&case.log_probs).filter_map(|(id, log_prob)| Some((id, (*log_prob)?))).collect();
            let ids = |choices: &[Choice]| choices.iter().map(|choice| choice.token_id).collect::<Vec<u32>>();
            assert_eq!(ids(&choices), expected.iter().map(|&(id, _)| id).collect::<Vec<_>>(), "{settings:?}");
            let probs = Softmax::of(&choices);
            for (choice, (_, log_prob)) in choices.iter().zip(expected) {
                let found = f64::from(probs.prob(choice)).ln();
                assert!((found - log_prob).abs() < 1e-5, "{found} for {log_prob}: {settings:?}");
            }
        }
        assert!(golden.cases.len() > 100, "the golden file has lost its cases");
    }
}
