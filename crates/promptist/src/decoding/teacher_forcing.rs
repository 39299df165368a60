//! Teacher forcing: what a model would have said at each token of texts that are given.
//!
//! Likelihoods of texts, and how far two models agree. It goes through [`LanguageModel`] as the
//! searches do, so it judges exactly what they decode with.

use super::{Allowed, Answers, LanguageModel, Queries, Query};
use crate::error::{Error, Result};

/// Texts read together. Changes speed and memory, not the result.
const ROWS: usize = 64;

/// A text, of which the model reads a beginning and is asked about the rest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ForcedText<'a> {
    /// All of it.
    pub token_ids: &'a [u32],
    /// The first token that the model is asked about; at least 1.
    pub from: usize,
}

/// What a model thought of one token of a text, before it was told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// log p of the token, in nats.
    pub logprob: f32,
    /// The likeliest token.
    pub top: u32,
    /// By how many nats that one was likelier than the next.
    pub margin: f32,
}

/// Observes every token from [`ForcedText::from`] on, text by text.
///
/// # Errors
/// [`Error::Shape`] if a text has no token before `from` or none after it; [`Error::PromptTooLong`];
/// [`Error::NotFinite`] if the model's logits are not numbers.
pub fn observe<M: LanguageModel>(model: &M, texts: &[ForcedText]) -> Result<Vec<Vec<Observation>>> {
    let n_positions = model.n_positions();
    for text in texts {
        if text.from == 0 || text.from >= text.token_ids.len() {
            let reason = format!("a text of {} tokens, asked about from {}", text.token_ids.len(), text.from);
            return Err(Error::Shape(reason));
        }
        if text.token_ids.len() - 1 > n_positions {
            let prompt_tokens = text.token_ids.len() - 1;
            return Err(Error::PromptTooLong { prompt_tokens, max_new_tokens: 0, n_positions });
        }
    }
    let mut observations: Vec<Vec<Observation>> = vec![Vec::new(); texts.len()];
    // Like lengths together, so that rows end at about the same time.
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&idx| texts[idx].token_ids.len() - texts[idx].from);
    for rows in order.chunks(ROWS) {
        observe_rows(model, texts, rows.to_vec(), &mut observations)?;
    }
    Ok(observations)
}

/// Reads the texts of `rows` side by side, each from its own beginning to its own end.
fn observe_rows<M: LanguageModel>(
    model: &M,
    texts: &[ForcedText],
    mut rows: Vec<usize>,
    observations: &mut [Vec<Observation>],
) -> Result<()> {
    let (mut queries, mut answers) = (Queries::default(), Answers::default());
    let mut cache = model.new_cache();
    let mut is_first = true;
    while !rows.is_empty() {
        queries.clear();
        let mut read = Vec::with_capacity(rows.len());
        for &idx in &rows {
            let ForcedText { token_ids, from } = texts[idx];
            let next = from + observations[idx].len();
            read.push(&token_ids[if is_first { 0 } else { next - 1 }..next]);
            queries.push(Query::Top { count: 2, allowed: Allowed::ALL, token_ids: &token_ids[next..=next] });
        }
        model.append(&mut cache, &read, &queries, &mut answers)?;
        is_first = false;

        for (row, &idx) in rows.iter().enumerate() {
            let answer = answers.row(row);
            let normalizer = answer.normalizer.checked()?;
            let (Some(&logit), Some(best)) = (answer.asked.first(), answer.top.first()) else {
                return Err(Error::Shape("a model that leaves a query unanswered".to_owned()));
            };
            let second = answer.top.get(1).map_or(f32::NEG_INFINITY, |second| second.logit);
            observations[idx].push(Observation {
                logprob: normalizer.log_prob(logit),
                top: best.token_id,
                margin: best.logit - second,
            });
        }
        let goes_on = |idx: usize| texts[idx].from + observations[idx].len() < texts[idx].token_ids.len();
        let kept: Vec<usize> = (0..rows.len()).filter(|&row| goes_on(rows[row])).collect();
        if kept.len() < rows.len() {
            model.reorder(&mut cache, &kept)?;
            rows = kept.into_iter().map(|row| rows[row]).collect();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Int, Tensor, TensorData, activation};

    use super::*;
    use crate::gpt2::{Gpt2, Gpt2Config};
    use crate::nn::values;

    const V: usize = 300;

    fn model() -> Gpt2 {
        let config = Gpt2Config {
            vocab_size: V,
            n_positions: 32,
            n_embd: 16,
            n_layer: 2,
            n_head: 2,
            bos_token_id: None,
            eos_token_id: None,
            ..Gpt2Config::default()
        };
        Gpt2::random(&config, 3, &Device::flex()).expect("possible")
    }

    #[test]
    fn each_text_of_a_batch_is_observed_as_a_whole_pass_sees_it() {
        let model = model();
        let ids = |len: u32| (0..len).map(|i| (i * 37 + len) % V as u32).collect::<Vec<u32>>();
        let ids = [ids(20), ids(3), ids(33), ids(9)];
        let texts = [(0, 4), (1, 1), (2, 30), (3, 8)]
            .map(|(idx, from): (usize, usize)| ForcedText { token_ids: &ids[idx], from });
        let observations = observe(&model, &texts).expect("short");
        for (text, observations) in texts.iter().zip(observations) {
            let t = text.token_ids.len() - 1;
            let inputs: Vec<i64> = text.token_ids[..t].iter().map(|&id| i64::from(id)).collect();
            let inputs = Tensor::<2, Int>::from_data(TensorData::new(inputs, [1, t]), &model.device());
            let logits = model.head(model.forward(inputs).reshape([t, 16]));
            let logprobs = values(activation::log_softmax(logits, 1)).expect("on a CPU");
            assert_eq!(observations.len(), t + 1 - text.from);
            for (at, found) in (text.from..).zip(observations) {
                let row = &logprobs[(at - 1) * V..][..V];
                let mut sorted = row.to_vec();
                sorted.sort_unstable_by(|a, b| b.total_cmp(a));
                assert!((found.logprob - row[text.token_ids[at] as usize]).abs() < 1e-4);
                assert_eq!(row[found.top as usize], sorted[0]);
                assert!((found.margin - (sorted[0] - sorted[1])).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn texts_without_a_beginning_or_an_end_are_refused() {
        let ids = [1; 40];
        for (len, from) in [(5, 0), (5, 5), (0, 1), (34, 1)] {
            assert!(
                observe(&model(), &[ForcedText { token_ids: &ids[..len], from }]).is_err(),
                "{len} {from}"
            );
        }
    }
}
