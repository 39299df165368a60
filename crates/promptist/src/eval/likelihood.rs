//! Bits per byte of held-out engineered prompts: what people added to what they wanted to see.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::fit::logprobs;
use super::ngram::NgramModel;
use crate::data::lines;
use crate::error::{Error, Result};
use crate::prompter::Prompter;
use crate::template::{self, Keep};
use crate::tokenizer::Tokenizer;
use crate::train::examples::Example;

/// A held-out pair, as `promptist data pairs` writes it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Pair {
    /// What a user might have typed.
    pub x: String,
    /// The engineered prompt.
    pub y: String,
}

/// How the model is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// As a prompter: the input and the separator stand before the answer.
    Prompter,
    /// As plain text: the answer alone, as a language model reads it.
    Text,
}

/// How well a model foresees the targets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LikelihoodMeasure {
    /// Which model.
    pub model: String,
    /// How it was asked.
    pub layout: Layout,
    /// −log2 p of the targets and their ends, over their bytes.
    pub bits_per_byte: f64,
    /// Targets.
    pub n: usize,
    /// Bytes of the targets, ends not counted.
    pub bytes: usize,
    /// Tokens of the targets, ends counted.
    pub tokens: usize,
    /// Pairs too long for the model's context, not counted above.
    pub too_long: usize,
}

/// Reads the pairs of a `.jsonl`.
///
/// # Errors
/// [`Error::Line`] for what is not a pair.
pub fn read_pairs(path: &Path) -> Result<Vec<Pair>> {
    let parse = |(number, line): (usize, &String)| {
        serde_json::from_str(line).map_err(|e| Error::line(path, number, e.to_string()))
    };
    (1..).zip(&lines::read(path)?).map(parse).collect()
}

/// Bits per byte under `prompter`'s model. What is predicted is the same in both layouts: with
/// `keep` exact what `y` adds to `x`, else all of `y`; then the end token.
///
/// # Errors
/// [`Error::Config`] if `keep` is exact and a target does not open with its input.
pub fn of_prompter(
    name: &str,
    prompter: &Prompter,
    pairs: &[Pair],
    keep: Keep,
    layout: Layout,
) -> Result<LikelihoodMeasure> {
    let tokenizer = prompter.tokenizer();
    let n_positions = prompter.model().config().n_positions;
    let mut examples = Vec::new();
    let mut tally = Tally::default();
    for pair in pairs {
        let example = example(tokenizer, pair, keep, layout)?;
        match example.input_len() <= n_positions {
            true => {
                tally.add(tokenizer, &example)?;
                examples.push(example);
            }
            false => tally.too_long += 1,
        }
    }
    let nats = -logprobs(prompter.model(), &examples)?.into_iter().sum::<f64>();
    Ok(tally.measure(name, layout, nats))
}

/// Bits per byte of the same targets under an n-gram model over the tokens of `tokenizer`, after the
/// same words of the same text.
///
/// # Errors
/// As [`of_prompter`].
pub fn of_ngrams(
    name: &str,
    ngrams: &NgramModel,
    tokenizer: &Tokenizer,
    pairs: &[Pair],
    keep: Keep,
) -> Result<LikelihoodMeasure> {
    let mut tally = Tally::default();
    let mut nats = 0.0;
    for pair in pairs {
        let example = example(tokenizer, pair, keep, Layout::Text)?;
        for at in example.loss_from..example.token_ids.len() {
            nats -= ngrams.probability(&example.token_ids[..at], example.token_ids[at]).ln();
        }
        tally.add(tokenizer, &example)?;
    }
    Ok(tally.measure(name, Layout::Text, nats))
}

/// An n-gram model of `texts`, read as the language-model stage of training reads them.
///
/// # Errors
/// [`Error::Tokenizer`] if the vocabulary has no end token.
pub fn train_ngrams(texts: &[String], tokenizer: &Tokenizer, order: usize) -> Result<NgramModel> {
    let ids =
        texts.iter().map(|text| tokenizer.encode(&template::answer(text))).collect::<Result<Vec<_>>>()?;
    let end = end_token(tokenizer)?;
    Ok(NgramModel::train(ids.into_iter(), order, tokenizer.vocab_size(), end))
}

fn example(tokenizer: &Tokenizer, pair: &Pair, keep: Keep, layout: Layout) -> Result<Example> {
    let mut example = Example::pair(tokenizer, &pair.x, &pair.y, keep)?;
    if layout == Layout::Text {
        let asked = tokenizer.encode(&template::prompt(&pair.x))?.len();
        example.token_ids.splice(..asked, [end_token(tokenizer)?]);
        example.loss_from = example.loss_from + 1 - asked;
    }
    Ok(example)
}

fn end_token(tokenizer: &Tokenizer) -> Result<u32> {
    tokenizer.eos_token_id().ok_or_else(|| Error::Tokenizer("the vocabulary has no end token".into()))
}

/// What was predicted.
#[derive(Default)]
struct Tally {
    n: usize,
    bytes: usize,
    tokens: usize,
    too_long: usize,
}

impl Tally {
    fn add(&mut self, tokenizer: &Tokenizer, example: &Example) -> Result<()> {
        self.n += 1;
        self.bytes += tokenizer.decode(&example.token_ids[example.loss_from..])?.len();
        self.tokens += example.num_targets();
        Ok(())
    }

    fn measure(self, name: &str, layout: Layout, nats: f64) -> LikelihoodMeasure {
        LikelihoodMeasure {
            model: name.to_owned(),
            layout,
            bits_per_byte: nats / std::f64::consts::LN_2 / self.bytes.max(1) as f64,
            n: self.n,
            bytes: self.bytes,
            tokens: self.tokens,
            too_long: self.too_long,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> Pair {
        Pair { x: "a cat.".into(), y: "a cat, 8k, sharp".into() }
    }

    #[test]
    fn both_layouts_predict_the_same_tokens() {
        let tokenizer = Tokenizer::gpt2().expect("embedded");
        for (keep, context) in [(Keep::Exact, " a cat,"), (Keep::Free, "")] {
            let asked = example(&tokenizer, &pair(), keep, Layout::Prompter).expect("a pair");
            let plain = example(&tokenizer, &pair(), keep, Layout::Text).expect("a pair");
            let targets = |e: &Example| e.token_ids[e.loss_from..].to_vec();
            assert_eq!(targets(&asked), targets(&plain));
            assert_eq!(plain.token_ids[0], 50256);
            let read = &plain.token_ids[1..plain.loss_from];
            assert_eq!(tokenizer.decode(read).expect("valid"), context);
        }
    }

    #[test]
    fn bits_per_byte_of_a_model_that_knows_nothing_is_the_tokens_share() {
        let tokenizer = Tokenizer::gpt2().expect("embedded");
        let ngrams = train_ngrams(&[], &tokenizer, 5).expect("nothing to read");
        let measure = of_ngrams("5-gram", &ngrams, &tokenizer, &[pair()], Keep::Exact).expect("a pair");
        assert_eq!((measure.n, measure.bytes), (1, " 8k, sharp".len()));
        let expected = measure.tokens as f64 * (50257_f64).log2() / measure.bytes as f64;
        assert!((measure.bits_per_byte - expected).abs() < 1e-9);
    }
}
