//! What a stage learns from: token sequences with the part that counts, and the order they come in.
//!
//! The order is a pure function of the seed and the step, so a resumed run needs no other position.

use std::path::Path;

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::data::lines;
use crate::error::{Error, Result};
use crate::template::{self, Keep};
use crate::tokenizer::Tokenizer;

/// A sequence to learn from.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// T + 1 ids: T inputs, and each input's successor as its target.
    pub token_ids: Vec<u32>,
    /// Index of the first id that is a target; at least 1.
    pub loss_from: usize,
}

impl Example {
    /// Ids that the model reads.
    pub fn input_len(&self) -> usize {
        self.token_ids.len() - 1
    }

    /// Ids that the loss counts.
    pub fn num_targets(&self) -> usize {
        self.token_ids.len() - self.loss_from
    }

    /// `x Rephrase:` → ` y` and the end token. The loss counts the answer and its end; where the
    /// user's words are kept, what follows them in the answer.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the tokenizer has no end token; [`Error::Config`] if `keep` is exact
    /// and `y` does not open with the words of `x` and a comma.
    pub fn pair(tokenizer: &Tokenizer, x: &str, y: &str, keep: Keep) -> Result<Self> {
        let mut token_ids = tokenizer.encode(&template::prompt(x))?;
        let added = match keep {
            Keep::Free => y,
            Keep::Exact | Keep::Words => {
                let kept = format!("{},", template::kept_words(x));
                let Some(added) = y.strip_prefix(&kept) else {
                    return Err(Error::config(
                        "sft.keep",
                        format!("the answer does not open with {kept:?}: {y:?}"),
                    ));
                };
                // Encoded apart, as the prompter does it.
                token_ids.extend(tokenizer.encode(&template::answer(&kept))?);
                added
            }
        };
        let loss_from = token_ids.len();
        token_ids.extend(tokenizer.encode(&template::answer(added))?);
        token_ids.push(end_token(tokenizer)?);
        Ok(Self { token_ids, loss_from })
    }
}

/// Examples of pairs (`{"x", "y"}` a line), and how many were too long for `max_length`.
///
/// # Errors
/// [`Error::Line`] for what is not a pair, [`Error::File`] if nothing is left.
pub fn read_pairs(
    path: &Path,
    tokenizer: &Tokenizer,
    max_length: usize,
    keep: Keep,
) -> Result<(Vec<Example>, usize)> {
    #[derive(serde::Deserialize)]
    struct Pair {
        x: String,
        y: String,
    }
    let mut examples = Vec::new();
    let mut too_long = 0;
    for (number, line) in lines::read(path)?.iter().enumerate() {
        let pair: Pair =
            serde_json::from_str(line).map_err(|e| Error::line(path, number + 1, e.to_string()))?;
        let example = Example::pair(tokenizer, &pair.x, &pair.y, keep)
            .map_err(|e| Error::line(path, number + 1, e.to_string()))?;
        if example.token_ids.len() > max_length {
            too_long += 1;
        } else {
            examples.push(example);
        }
    }
    if examples.is_empty() {
        return Err(Error::file(path, format!("no pair of at most {max_length} tokens")));
    }
    Ok((examples, too_long))
}

/// Blocks of plain text: the texts in a seeded order, end to end, an end token after each, cut into
/// `block_size` inputs. The last, shorter block is kept. No texts give no blocks.
///
/// # Errors
/// [`Error::Tokenizer`] if the tokenizer has no end token.
pub fn text_blocks(
    texts: &[String],
    tokenizer: &Tokenizer,
    block_size: usize,
    seed: u64,
) -> Result<Vec<Example>> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let end = end_token(tokenizer)?;
    let mut stream = vec![end];
    for idx in order {
        stream.extend(tokenizer.encode(&template::answer(&texts[idx]))?);
        stream.push(end);
    }
    // Neighbouring blocks share one id: the last target of one is the first input of the next.
    let blocks = (0..stream.len().saturating_sub(1)).step_by(block_size).map(|start| Example {
        token_ids: stream[start..(start + block_size + 1).min(stream.len())].to_vec(),
        loss_from: 1,
    });
    Ok(blocks.collect())
}

fn end_token(tokenizer: &Tokenizer) -> Result<u32> {
    tokenizer.eos_token_id().ok_or_else(|| Error::Tokenizer("the vocabulary has no end token".into()))
}

/// Which examples each step learns from: every epoch a new seeded order, batches of like length.
#[derive(Debug, Clone)]
pub struct BatchPlan {
    lengths: Vec<usize>,
    batch_size: usize,
    seed: u64,
    epoch: Option<(u64, Vec<Vec<usize>>)>,
}

/// Batches are cut from pools of this many, sorted by length: little padding, still well mixed.
const POOL_BATCHES: usize = 32;

impl BatchPlan {
    /// A plan over `examples`. A batch is never larger than the examples there are.
    pub fn new(examples: &[Example], batch_size: usize, seed: u64) -> Self {
        let lengths: Vec<usize> = examples.iter().map(Example::input_len).collect();
        Self { batch_size: batch_size.clamp(1, lengths.len().max(1)), lengths, seed, epoch: None }
    }

    /// Steps in an epoch. Examples left over from whole batches wait for another epoch's order.
    pub fn steps_per_epoch(&self) -> u64 {
        (self.lengths.len() / self.batch_size).max(1) as u64
    }

    /// Indices of the examples of step `step`, from 0, shortest first.
    pub fn batch(&mut self, step: u64) -> &[usize] {
        let (epoch, idx) = (step / self.steps_per_epoch(), step % self.steps_per_epoch());
        if self.epoch.as_ref().is_none_or(|(current, _)| *current != epoch) {
            self.epoch = Some((epoch, self.batches(epoch)));
        }
        match &self.epoch {
            Some((_, batches)) => &batches[idx as usize],
            None => &[],
        }
    }

    fn batches(&self, epoch: u64) -> Vec<Vec<usize>> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(epoch);
        let mut order: Vec<usize> = (0..self.lengths.len()).collect();
        order.shuffle(&mut rng);
        order.truncate(self.steps_per_epoch() as usize * self.batch_size);
        let mut batches = Vec::new();
        for pool in order.chunks_mut(POOL_BATCHES * self.batch_size) {
            pool.sort_by_key(|&idx| (self.lengths[idx], idx));
            let first = batches.len();
            batches.extend(pool.chunks(self.batch_size).map(<[usize]>::to_vec));
            batches[first..].shuffle(&mut rng);
        }
        batches
    }
}

/// Cuts a batch into micro-batches of at most `max_tokens` tokens, padding included; an example
/// that is longer goes alone. Keeps the order.
pub fn micro_batches<'a>(batch: &[&'a Example], max_tokens: usize) -> Vec<Vec<&'a Example>> {
    let mut micro_batches: Vec<Vec<&Example>> = Vec::new();
    let mut longest = 0;
    for &example in batch {
        longest = longest.max(example.input_len());
        match micro_batches.last_mut() {
            Some(last) if (last.len() + 1) * longest <= max_tokens => last.push(example),
            _ => {
                longest = example.input_len();
                micro_batches.push(vec![example]);
            }
        }
    }
    micro_batches
}

/// A stage's own seed: stages of one run do not share their orders.
pub fn stage_seed(seed: u64, stage: &str) -> u64 {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stage.bytes().fold(1, |hash: u64, byte| hash.wrapping_mul(31) + u64::from(byte)));
    rng.next_u64()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn examples(lengths: &[usize]) -> Vec<Example> {
        lengths.iter().map(|&len| Example { token_ids: vec![0; len + 1], loss_from: 1 }).collect()
    }

    #[test]
    fn the_loss_counts_the_answer_and_its_end() {
        let tokenizer = Tokenizer::gpt2().expect("embedded");
        let example = Example::pair(&tokenizer, "a cat", "a cat, 8k", Keep::Free).expect("short");
        let answer = &example.token_ids[example.loss_from..];
        assert_eq!(tokenizer.decode(answer).expect("valid"), " a cat, 8k");
        assert_eq!(answer.last(), Some(&50256));
        assert_eq!(&example.token_ids[example.loss_from - 4..example.loss_from], [1432, 11840, 589, 25]);
    }

    #[test]
    fn kept_words_are_read_and_not_learned() {
        let tokenizer = Tokenizer::gpt2().expect("embedded");
        let example = Example::pair(&tokenizer, "a cat.", "a cat, 8k", Keep::Exact).expect("opens so");
        let (read, learned) = example.token_ids.split_at(example.loss_from);
        assert_eq!(tokenizer.decode(read).expect("valid"), "a cat. Rephrase: a cat,");
        assert_eq!(tokenizer.decode(learned).expect("valid"), " 8k");
        assert!(Example::pair(&tokenizer, "a cat", "the cat, 8k", Keep::Exact).is_err());
    }

    #[test]
    fn text_blocks_cover_every_token_once() {
        let tokenizer = Tokenizer::gpt2().expect("embedded");
        let texts = ["a cat", "a dog on a log", "eight kites"].map(String::from);
        let blocks = text_blocks(&texts, &tokenizer, 4, 7).expect("short");
        let targets: usize = blocks.iter().map(Example::num_targets).sum();
        let tokens: usize =
            texts.iter().map(|t| tokenizer.encode(&template::answer(t)).expect("short").len() + 1).sum();
        assert_eq!(targets, tokens);
    }

    proptest! {
        #[test]
        fn an_epoch_is_a_permutation(lengths in prop::collection::vec(1usize..40, 1..200), batch_size in 1usize..9, seed: u64) {
            let mut plan = BatchPlan::new(&examples(&lengths), batch_size, seed);
            let steps = plan.steps_per_epoch();
            for epoch in 0..2 {
                let mut seen: Vec<usize> = (0..steps).flat_map(|s| plan.batch(epoch * steps + s).to_vec()).collect();
                seen.sort_unstable();
                seen.dedup();
                prop_assert_eq!(seen.len(), steps as usize * batch_size.min(lengths.len()));
            }
        }

        #[test]
        fn micro_batches_keep_order_and_bound(lengths in prop::collection::vec(1usize..40, 1..60), max_tokens in 1usize..200) {
            let examples = examples(&lengths);
            let batch: Vec<&Example> = examples.iter().collect();
            let parts = micro_batches(&batch, max_tokens);
            prop_assert_eq!(parts.iter().flatten().map(|e| e.input_len()).collect::<Vec<_>>(), lengths);
            for part in parts {
                let longest = part.iter().map(|e| e.input_len()).max().unwrap_or(0);
                prop_assert!(part.len() == 1 || part.len() * longest <= max_tokens);
            }
        }
    }
}
