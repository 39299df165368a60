//! How a policy does on prompts that no round has, adapted as users get it.

use serde_json::{Map, Value, json};

use super::config::EvaluationConfig;
use super::experience::logprobs;
use super::guard::{Scores, mean_and_error};
use super::kl;
use super::rollout::Explorer;
use super::text_statistics::TextStatistics;
use crate::error::Result;
use crate::generator::Cancel;
use crate::gpt2::Gpt2;
use crate::prompter::AdaptRequest;
use crate::reward::{Pair, TermScores, WeightedSum};
use crate::train::examples::Example;

/// Prompts adapted between two looks at the cancel flag.
const BATCH: usize = 32;

/// An evaluation.
pub struct Evaluation {
    pairs: Vec<Pair>,
    rewards: Vec<Result<TermScores, String>>,
    /// Names of the reward's terms.
    term_names: Vec<String>,
    /// Held-out measures by name.
    pub held_out: Vec<(String, Scores)>,
    /// `Σ (log π − log π_ref)` of each answer.
    kl: Vec<f64>,
    /// Tokens of each answer, the end token included.
    lengths: Vec<usize>,
}

/// What answers are judged by.
pub struct Judges<'a> {
    /// The training reward.
    pub reward: &'a WeightedSum,
    /// What is not trained on; weights do not matter.
    pub held_out: Option<&'a WeightedSum>,
}

impl Evaluation {
    /// Adapts `prompts` with the explorer's weights, which are `policy`'s, and judges the answers.
    ///
    /// # Errors
    /// [`Error::Interrupted`](crate::Error::Interrupted) if `cancel` was raised; those of decoding and judging.
    pub fn run(
        explorer: &Explorer,
        (policy, reference): (&Gpt2, &Gpt2),
        prompts: &[String],
        judges: &Judges,
        config: &EvaluationConfig,
        micro_batch_tokens: usize,
        cancel: &Cancel,
    ) -> Result<Self> {
        let settings = explorer.prompter().settings(&AdaptRequest {
            decoding: config.decoding.clone(),
            keep: Some(explorer.keep()),
            guidance_scale: config.guidance_scale,
            filter: true,
            ..AdaptRequest::default()
        })?;
        let (mut pairs, mut examples): (Vec<Pair>, Vec<Example>) = (Vec::new(), Vec::new());
        for batch in prompts.chunks(BATCH) {
            cancel.check()?;
            for adapted in explorer.prompter().adapt(batch, &settings, 0) {
                let adapted = adapted?;
                let Some(output) = adapted.outputs.into_iter().next() else { continue };
                examples.push(explorer.example(&adapted.user_input, &output.token_ids)?);
                pairs.push(Pair { user_input: adapted.user_input, adapted_prompt: output.text });
            }
        }
        let own = logprobs(policy, policy.wte(), &examples, micro_batch_tokens)?;
        let reference = logprobs(reference, reference.wte(), &examples, micro_batch_tokens)?;
        let rewards = judges.reward.score(&pairs, cancel)?;
        let held_out = match judges.held_out {
            Some(held_out) => {
                let by_term = held_out.score_each(&pairs, cancel)?.into_iter();
                by_term.map(|(name, scores)| (name, scores.into_iter().map(Result::ok).collect())).collect()
            }
            None => Vec::new(),
        };
        Ok(Self {
            rewards,
            held_out,
            term_names: judges.reward.names().map(str::to_owned).collect(),
            kl: own.iter().zip(&reference).map(|(own, other)| kl::of_response(own, other)).collect(),
            lengths: examples.iter().map(Example::num_targets).collect(),
            pairs,
        })
    }

    /// The training reward of each prompt.
    pub fn reward(&self) -> Scores {
        self.rewards.iter().map(|scores| scores.as_ref().ok().map(|scores| scores.total)).collect()
    }

    /// Adds means and standard errors to a row of metrics.
    pub fn add_to(&self, row: &mut Map<String, Value>) {
        let mut add = |name: &str, scores: &Scores| {
            if let Some((mean, error)) = mean_and_error(scores) {
                row.insert(name.to_owned(), json!(mean));
                if let Some(error) = error {
                    row.insert(format!("{name}_standard_error"), json!(error));
                }
            }
        };
        add("validation/reward", &self.reward());
        for (idx, name) in self.term_names.iter().enumerate() {
            let of_term = self.rewards.iter().map(|scores| scores.as_ref().ok().map(|s| s.terms[idx]));
            add(&format!("validation/{name}"), &of_term.collect());
        }
        for (name, scores) in &self.held_out {
            add(&format!("held_out/{name}"), scores);
        }
        let n = self.pairs.len().max(1) as f64;
        let failed = self.rewards.iter().filter(|scores| scores.is_err()).count();
        let texts = TextStatistics::of(self.pairs.iter());
        for (name, value) in [
            ("kl", self.kl.iter().sum::<f64>() / n),
            ("length", self.lengths.iter().sum::<usize>() as f64 / n),
            ("distinct_1", texts.distinct_1),
            ("distinct_2", texts.distinct_2),
            ("artist_share", texts.artist_share),
            ("kept", texts.kept),
            ("degenerate", texts.degenerate),
            ("dropped", failed as f64),
        ] {
            row.insert(format!("validation/{name}"), json!(value));
        }
        row.insert("validation/top_phrases".to_owned(), json!(texts.top_phrases));
    }

    /// A row of `samples.jsonl` for each prompt.
    pub fn samples(&self, step: u64) -> Vec<Map<String, Value>> {
        let sample = |(idx, pair): (usize, &Pair)| {
            let mut row = Map::new();
            row.insert("step".to_owned(), json!(step));
            row.insert("user_input".to_owned(), json!(pair.user_input));
            row.insert("adapted_prompt".to_owned(), json!(pair.adapted_prompt));
            match &self.rewards[idx] {
                Ok(scores) => {
                    row.insert("reward".to_owned(), json!(scores.total));
                    let terms: Map<String, Value> = self
                        .term_names
                        .iter()
                        .cloned()
                        .zip(scores.terms.iter().map(|score| json!(score)))
                        .collect();
                    row.insert("terms".to_owned(), Value::Object(terms));
                }
                Err(reason) => drop(row.insert("error".to_owned(), json!(reason))),
            }
            let held_out: Map<String, Value> =
                self.held_out.iter().map(|(name, scores)| (name.clone(), json!(scores[idx]))).collect();
            row.insert("held_out".to_owned(), Value::Object(held_out));
            row
        };
        self.pairs.iter().enumerate().map(sample).collect()
    }
}
