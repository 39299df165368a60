//! Which tokens sampling draws from, and how likely each is.

use super::log_softmax;
use super::query::TokenLogit;
use super::settings::DecodingSettings;

/// How many tokens may equal the last of the `top_k` largest and stay with it.
///
/// A model's logits hardly ever tie; were more of them equal there, the lower ids would stay.
const TIES: usize = 16;

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

    /// How many of the largest logits decide what may be drawn; `None` if all do.
    ///
    /// The `top_k` largest and some more, for those that equal the last of them.
    pub(super) fn reach(&self) -> Option<usize> {
        (self.top_k > 0).then_some(self.top_k.saturating_add(TIES))
    }

    /// Leaves in `choices`, of the logits that may be drawn from, what will be: by token id, with logits
    /// after temperature.
    ///
    /// # Source
    /// `TemperatureLogitsWarper`, `TopKLogitsWarper`, `TopPLogitsWarper` and `MinPLogitsWarper` of
    /// transformers 5.23. Equal logits at the edge of top-k all stay, as far as [`reach`](Self::reach);
    /// at the edge of top-p the lower ids stay (there: as the sort happens to leave them).
    pub(super) fn apply(&self, choices: &mut Vec<TokenLogit>) {
        choices.retain(|choice| choice.logit > f32::NEG_INFINITY);
        let edge = self.top_k_edge(choices) / self.temperature;
        choices.retain_mut(|choice| {
            choice.logit /= self.temperature;
            choice.logit >= edge && choice.logit > f32::NEG_INFINITY
        });
        choices.sort_unstable_by_key(|choice| choice.token_id);
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
    fn top_k_edge(&self, choices: &mut [TokenLogit]) -> f32 {
        if self.top_k == 0 || self.top_k >= choices.len() {
            return f32::NEG_INFINITY;
        }
        let descending = |a: &TokenLogit, b: &TokenLogit| b.logit.total_cmp(&a.logit);
        choices.select_nth_unstable_by(self.top_k - 1, descending).1.logit
    }

    /// From the least likely up, removes what together has no more than `1 - top_p`. One stays.
    fn keep_top_p(&self, choices: &mut Vec<TokenLogit>) {
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
    pub(super) fn of(choices: &[TokenLogit]) -> Self {
        let max = choices.iter().fold(f32::NEG_INFINITY, |max, choice| max.max(choice.logit));
        let sum: f64 = choices.iter().map(|choice| f64::from(log_softmax::exp(choice.logit - max))).sum();
        Self { max, sum: sum as f32 }
    }

    pub(super) fn prob(self, choice: &TokenLogit) -> f32 {
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
        for case in &golden.cases {
            let raw = RawDecodingSettings {
                temperature: case.temperature,
                top_k: Some(case.top_k.unwrap_or(0)),
                top_p: case.top_p,
                min_p: case.min_p,
                ..Default::default()
            };
            let settings = raw.resolve().expect("possible settings");
            let logits = (0..).zip(&case.logits);
            let mut choices = logits.map(|(token_id, &logit)| TokenLogit { token_id, logit }).collect();
            Warpers::new(&settings).apply(&mut choices);
            let expected: Vec<_> =
                (0..).zip(&case.log_probs).filter_map(|(id, log_prob)| Some((id, (*log_prob)?))).collect();
            let ids =
                |choices: &[TokenLogit]| choices.iter().map(|choice| choice.token_id).collect::<Vec<u32>>();
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
