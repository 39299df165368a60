//! Bits per byte of held-out engineered prompts: what people added to what they wanted to see.

use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::config::LikelihoodConfig;
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

impl Pair {
    /// What `y` adds to `x`, whose words it opens with.
    fn addition(&self) -> &str {
        let added = self.y.strip_prefix(template::kept_words(&self.x)).unwrap_or(&self.y);
        added.trim_matches([',', ' '])
    }
}

/// How the model is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// As a prompter: the input and the separator stand before the answer.
    Prompter,
    /// As plain text: the answer alone, as a language model reads it.
    Text,
}

/// How well a model foresees the targets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// The same over the targets that stand nowhere in the training text, word for word; `None` if
    /// that text is not known.
    pub unseen_bits_per_byte: Option<f64>,
    /// How many those are.
    pub unseen: Option<usize>,
}

/// What is to be foreseen: held-out pairs, and what of each `y` is predicted.
#[derive(Debug, Clone)]
pub struct Targets {
    pairs: Vec<Pair>,
    keep: Keep,
    /// Whether each target stands nowhere in the training text.
    is_unseen: Option<Vec<bool>>,
}

impl Targets {
    /// Predicts what `y` adds to `x` if `keep` is exact, else all of `y`. People reuse their lists of
    /// modifiers, so a target of a new subject may have been read in training all the same:
    /// `training_texts`, if there are any, tell which.
    pub fn new(pairs: Vec<Pair>, keep: Keep, training_texts: &[String]) -> Self {
        let all = training_texts.join("\n").to_lowercase();
        let is_unseen = |pair: &Pair| {
            let target = match keep {
                Keep::Exact | Keep::Words => {
                    pair.y.get(template::kept_words(&pair.x).len()..).unwrap_or(&pair.y)
                }
                Keep::Free => &pair.y,
            };
            !all.contains(target.trim_matches([',', ' ']).to_lowercase().as_str())
        };
        let is_unseen = (!training_texts.is_empty()).then(|| pairs.par_iter().map(is_unseen).collect());
        Self { pairs, keep, is_unseen }
    }
}

/// The text that the language model was trained on, as the config names it.
///
/// # Errors
/// As [`lines::read_texts`].
pub fn training_texts(config: &LikelihoodConfig) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for path in &config.ngram_text {
        texts.extend(lines::read_texts(path, "text")?);
    }
    Ok(texts)
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

/// Bits per byte under `prompter`'s model. What is predicted is the same in both layouts: the target,
/// then the end token.
///
/// # Errors
/// [`Error::Config`] if the user's words are kept and a target does not open with its input.
pub fn of_prompter(
    name: &str,
    prompter: &Prompter,
    targets: &Targets,
    layout: Layout,
) -> Result<LikelihoodMeasure> {
    let n_positions = prompter.config().n_positions;
    let examples = targets.examples(prompter.tokenizer(), layout)?;
    let fits: Vec<&Example> = examples.iter().filter(|e| e.input_len() <= n_positions).collect();
    let mut logprobs = logprobs(prompter, &fits)?.into_iter();
    let nats: Vec<Option<f64>> = examples
        .iter()
        .map(|e| if e.input_len() <= n_positions { logprobs.next().map(|p| -p) } else { None })
        .collect();
    targets.measure(name, layout, prompter.tokenizer(), &examples, &nats)
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
    targets: &Targets,
) -> Result<LikelihoodMeasure> {
    let examples = targets.examples(tokenizer, Layout::Text)?;
    let nats: Vec<Option<f64>> = examples
        .iter()
        .map(|example| {
            let ids = &example.token_ids;
            let logprob = |at| ngrams.probability(&ids[..at], ids[at]).ln();
            Some(-(example.loss_from..ids.len()).map(logprob).sum::<f64>())
        })
        .collect();
    targets.measure(name, Layout::Text, tokenizer, &examples, &nats)
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

impl Targets {
    /// Inputs with what people added to each; none if answers do not open with their inputs.
    pub fn additions(&self) -> Vec<(&str, &str)> {
        match self.keep {
            Keep::Exact | Keep::Words => {
                self.pairs.iter().map(|pair| (pair.x.as_str(), pair.addition())).collect()
            }
            Keep::Free => Vec::new(),
        }
    }

    fn examples(&self, tokenizer: &Tokenizer, layout: Layout) -> Result<Vec<Example>> {
        self.pairs.iter().map(|pair| example(tokenizer, pair, self.keep, layout)).collect()
    }

    /// Sums up; `nats` has −log p of each target, `None` where it is too long.
    fn measure(
        &self,
        name: &str,
        layout: Layout,
        tokenizer: &Tokenizer,
        examples: &[Example],
        nats: &[Option<f64>],
    ) -> Result<LikelihoodMeasure> {
        let (mut all, mut unseen) = (Sum::default(), Sum::default());
        for (idx, (example, nats)) in examples.iter().zip(nats).enumerate() {
            let Some(nats) = nats else { continue };
            let bytes = tokenizer.decode(&example.token_ids[example.loss_from..])?.len();
            all.add(*nats, bytes, example.num_targets());
            if self.is_unseen.as_ref().is_some_and(|is_unseen| is_unseen[idx]) {
                unseen.add(*nats, bytes, example.num_targets());
            }
        }
        Ok(LikelihoodMeasure {
            model: name.to_owned(),
            layout,
            bits_per_byte: all.bits_per_byte(),
            n: all.n,
            bytes: all.bytes,
            tokens: all.tokens,
            too_long: nats.len() - all.n,
            unseen_bits_per_byte: self.is_unseen.as_ref().map(|_| unseen.bits_per_byte()),
            unseen: self.is_unseen.as_ref().map(|_| unseen.n),
        })
    }
}

/// Some targets together.
#[derive(Default)]
struct Sum {
    n: usize,
    nats: f64,
    bytes: usize,
    tokens: usize,
}

impl Sum {
    fn add(&mut self, nats: f64, bytes: usize, tokens: usize) {
        self.n += 1;
        self.nats += nats;
        self.bytes += bytes;
        self.tokens += tokens;
    }

    fn bits_per_byte(&self) -> f64 {
        self.nats / std::f64::consts::LN_2 / self.bytes.max(1) as f64
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
        let targets = Targets::new(vec![pair()], Keep::Exact, &[]);
        let measure = of_ngrams("5-gram", &ngrams, &tokenizer, &targets).expect("a pair");
        assert_eq!((measure.unseen, measure.unseen_bits_per_byte), (None, None));
        assert_eq!((measure.n, measure.bytes), (1, " 8k, sharp".len()));
        let expected = measure.tokens as f64 * (50257_f64).log2() / measure.bytes as f64;
        assert!((measure.bits_per_byte - expected).abs() < 1e-9);
    }

    #[test]
    fn a_target_of_the_training_text_is_not_unseen() {
        let text = ["A dog, 8K, sharp, soft".to_owned()];
        let other = Pair { x: "a cat".into(), y: "a cat, 8k, moody".into() };
        let targets = Targets::new(vec![pair(), other], Keep::Exact, &text);
        assert_eq!(targets.is_unseen, Some(vec![false, true]));
        let targets = Targets::new(vec![pair()], Keep::Free, &text);
        assert_eq!(targets.is_unseen, Some(vec![true]));
    }
}
