//! How surprising what was added is to people's n-grams.

use std::path::PathBuf;

use crate::data::lines;
use crate::data::normalize::normalize;
use crate::error::Result;
use crate::eval::likelihood::train_ngrams;
use crate::eval::ngram::NgramModel;
use crate::template;
use crate::tokenizer::Tokenizer;
use crate::train::reward::config::Half;
use crate::train::reward::examples::half_of;

/// Order of the n-gram model.
const ORDER: usize = 4;

/// An n-gram model of engineered prompts that people wrote, over GPT-2's tokens whoever is judged.
pub struct NgramJudge {
    ngrams: NgramModel,
    tokenizer: Tokenizer,
    texts: usize,
}

impl NgramJudge {
    /// Reads `files`, of which `half` counts; `None` if they hold no text.
    ///
    /// # Errors
    /// Naming the file that is missing or wrong.
    pub fn read(files: &[PathBuf], half: Option<Half>) -> Result<Option<Self>> {
        let mut texts = Vec::new();
        for path in files {
            let read = lines::read_texts(path, "text")?;
            texts.extend(read.iter().filter_map(|text| normalize(text).ok()));
        }
        texts.retain(|text| half.is_none_or(|half| half_of(text) == half));
        match texts.is_empty() {
            true => Ok(None),
            false => Self::train(&texts).map(Some),
        }
    }

    /// Learns from `texts`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`](crate::Error::Tokenizer).
    pub fn train(texts: &[String]) -> Result<Self> {
        let tokenizer = Tokenizer::gpt2()?;
        Ok(Self { ngrams: train_ngrams(texts, &tokenizer, ORDER)?, tokenizer, texts: texts.len() })
    }

    /// Texts that it has read.
    pub fn texts(&self) -> usize {
        self.texts
    }

    /// −log2 p a byte of what was added, read after the user's words; `None` if nothing was.
    ///
    /// # Errors
    /// [`Error::Tokenizer`](crate::Error::Tokenizer).
    pub fn bits_per_byte(&self, user_input: &str, added_text: &str) -> Result<Option<f64>> {
        let added = added_text.trim();
        if added.is_empty() {
            return Ok(None);
        }
        let end = self.tokenizer.eos_token_id().into_iter().collect::<Vec<_>>();
        let kept = format!("{},", template::kept_words(user_input));
        let mut ids = [end, self.tokenizer.encode(&template::answer(&kept))?].concat();
        let from = ids.len();
        let added = template::answer(added);
        ids.extend(self.tokenizer.encode(&added)?);
        let bits = (from..ids.len()).map(|at| -self.ngrams.probability(&ids[..at], ids[at]).log2());
        Ok(Some(bits.sum::<f64>() / added.len() as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_takes_fewer_bits() {
        let texts: Vec<String> = (0..30).map(|i| format!("subject {i}, sharp focus, 8k")).collect();
        let judge = NgramJudge::train(&texts).expect("texts");
        let bits = |added: &str| judge.bits_per_byte("a cat", added).expect("a text");
        assert!(bits("sharp focus, 8k") < bits("xylophone, 8k"));
        assert_eq!((bits(" "), judge.texts()), (None, 30));
    }
}
