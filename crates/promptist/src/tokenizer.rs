//! One small face over the BPE crates: GPT-2's vocabulary without any file, a model folder's own
//! `tokenizer.json` or `vocab.json` + `merges.txt`, and training a vocabulary on text.
//!
//! Every string is text here: `<|endoftext|>` typed by a user becomes its characters' tokens, never
//! the end token, whichever tokenizer encodes it (transformers would let it through).

use std::path::Path;

use tiktoken_rs::CoreBPE;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, TokenizerBuilder};

use crate::error::{Error, Result};

/// GPT-2's end token, as text.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// Longest text encoded, in bytes: far over any context, short enough that the worst word costs
/// seconds and not hours.
pub const MAX_TEXT_BYTES: usize = 1 << 20;

/// A byte-level BPE tokenizer: text to token ids and back, exactly.
#[derive(Clone)]
pub struct Tokenizer {
    bpe: Bpe,
    vocab_size: usize,
    eos_token_id: Option<u32>,
}

#[derive(Clone)]
enum Bpe {
    /// GPT-2's own vocabulary, from its crate.
    Gpt2(Box<CoreBPE>),
    /// A vocabulary from files.
    Files(Box<tokenizers::Tokenizer>),
}

impl Tokenizer {
    /// GPT-2's tokenizer, for checkpoints that come without tokenizer files.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the crate's embedded vocabulary does not parse.
    pub fn gpt2() -> Result<Self> {
        let bpe = tiktoken_rs::r50k_base().map_err(error)?;
        Ok(Self { bpe: Bpe::Gpt2(Box::new(bpe)), vocab_size: 50257, eos_token_id: Some(50256) })
    }

    /// The tokenizer of a model folder: `tokenizer.json`, else `vocab.json` with `merges.txt`, else
    /// GPT-2's.
    ///
    /// # Errors
    /// [`Error::File`] if a file is there and is no byte-level BPE tokenizer.
    pub fn open(folder: &Path) -> Result<Self> {
        let json = folder.join("tokenizer.json");
        if json.is_file() {
            let bytes = std::fs::read(&json).map_err(Error::io(&json))?;
            return Self::from_json(&bytes).map_err(|e| Error::file(&json, e.to_string()));
        }
        let (vocab, merges) = (folder.join("vocab.json"), folder.join("merges.txt"));
        if vocab.is_file() && merges.is_file() {
            return Self::from_vocab_and_merges(&vocab, &merges);
        }
        match (vocab.is_file(), merges.is_file()) {
            (true, _) => Err(Error::file(merges, "missing beside vocab.json")),
            (_, true) => Err(Error::file(vocab, "missing beside merges.txt")),
            _ => Self::gpt2(),
        }
    }

    /// Reads the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        Self::from_files(tokenizers::Tokenizer::from_bytes(bytes).map_err(error)?)
    }

    fn from_vocab_and_merges(vocab: &Path, merges: &Path) -> Result<Self> {
        let refuse = |e: tokenizers::Error| Error::file(vocab, e.to_string());
        let (vocab_path, merges_path) = match (vocab.to_str(), merges.to_str()) {
            (Some(vocab), Some(merges)) => (vocab, merges),
            _ => return Err(Error::file(vocab, "the path is not UTF-8")),
        };
        let bpe = BPE::from_file(vocab_path, merges_path).build().map_err(refuse)?;
        Self::from_files(byte_level(bpe)?)
    }

    fn from_files(mut inner: tokenizers::Tokenizer) -> Result<Self> {
        if inner.token_to_id(END_OF_TEXT).is_some() {
            inner.add_special_tokens([AddedToken::from(END_OF_TEXT, true)]).map_err(error)?;
        }
        inner.set_encode_special_tokens(true);
        // Padding and truncation are ours to do; a file may ask for both.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(error)?;
        let vocab_size = inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        let eos_token_id = inner.token_to_id(END_OF_TEXT);
        Ok(Self { bpe: Bpe::Files(Box::new(inner)), vocab_size, eos_token_id })
    }

    /// Learns a byte-level BPE vocabulary of `vocab_size` entries, the end token first, and returns
    /// the text of its `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Config`] if `vocab_size` cannot hold every byte and the end token.
    pub fn train<'a>(texts: impl Iterator<Item = &'a str> + Send, vocab_size: usize) -> Result<String> {
        const BYTES_AND_END: usize = 257;
        if vocab_size < BYTES_AND_END {
            return Err(Error::config("vocab_size", format!("must be at least {BYTES_AND_END}")));
        }
        let trainer = BpeTrainer::builder()
            .vocab_size(vocab_size)
            .min_frequency(2)
            .show_progress(false)
            .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let mut inner = byte_level(BPE::default())?;
        inner.train(&mut TrainerWrapper::from(trainer), texts.map(str::to_owned)).map_err(error)?;
        inner.to_string(false).map_err(error)
    }

    /// Token ids of `text`, without any special token.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if `text` is longer than [`MAX_TEXT_BYTES`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(Error::Tokenizer(format!(
                "a text of {} bytes is over the limit of {MAX_TEXT_BYTES}",
                text.len()
            )));
        }
        match &self.bpe {
            Bpe::Gpt2(bpe) => Ok(bpe.encode_ordinary(text)),
            Bpe::Files(inner) => Ok(inner.encode_fast(text, false).map_err(error)?.get_ids().to_vec()),
        }
    }

    /// Text of token ids. Special tokens are left out; bytes that are not UTF-8, as in the middle
    /// of a character, become U+FFFD.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if an id is not in the vocabulary.
    pub fn decode(&self, token_ids: &[u32]) -> Result<String> {
        if let Some(id) = token_ids.iter().find(|&&id| id as usize >= self.vocab_size) {
            return Err(Error::Tokenizer(format!(
                "token id {id} is not below the vocabulary's {}",
                self.vocab_size
            )));
        }
        match &self.bpe {
            Bpe::Gpt2(bpe) => {
                let text_ids: Vec<u32> =
                    token_ids.iter().copied().filter(|&id| Some(id) != self.eos_token_id).collect();
                let bytes = bpe.decode_bytes(&text_ids).map_err(error)?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            Bpe::Files(inner) => inner.decode(token_ids, true).map_err(error),
        }
    }

    /// What every token spells, so that a rule on text can be kept token by token.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the vocabulary is not byte-level.
    pub fn token_bytes(&self) -> Result<TokenBytes> {
        let mut tokens = TokenBytes { bytes: Vec::new(), ends: Vec::with_capacity(self.vocab_size) };
        for id in 0..self.vocab_size as u32 {
            match &self.bpe {
                Bpe::Gpt2(_) if Some(id) == self.eos_token_id => {}
                Bpe::Gpt2(bpe) => tokens.bytes.extend(bpe.decode_bytes(&[id]).map_err(error)?),
                Bpe::Files(inner) if is_special(inner, id) => {}
                Bpe::Files(inner) => {
                    let spelled = inner.id_to_token(id).unwrap_or_default();
                    for c in spelled.chars() {
                        let Some(byte) = byte_of(c) else {
                            return Err(error(format!("token {id}, {spelled:?}, is not spelled in bytes")));
                        };
                        tokens.bytes.push(byte);
                    }
                }
            }
            tokens.ends.push(tokens.bytes.len());
        }
        Ok(tokens)
    }

    /// One more than the highest id.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The id of [`END_OF_TEXT`], if the vocabulary has it.
    pub fn eos_token_id(&self) -> Option<u32> {
        self.eos_token_id
    }
}

/// What each token of a vocabulary spells. A token may end inside a character.
#[derive(Debug, Clone)]
pub struct TokenBytes {
    bytes: Vec<u8>,
    /// Where each token's bytes end.
    ends: Vec<usize>,
}

impl TokenBytes {
    /// The bytes of a token; none of a special one, nor of an id that is none.
    #[inline]
    pub fn get(&self, token_id: u32) -> &[u8] {
        let token_id = token_id as usize;
        let Some(&end) = self.ends.get(token_id) else { return &[] };
        let start = token_id.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..end]
    }
}

/// The byte that a character of a byte-level vocabulary stands for: printable ones for themselves, the
/// others, in order, for the characters from U+0100 on.
///
/// Source: `bytes_to_unicode` of GPT-2's `encoder.py`.
fn byte_of(c: char) -> Option<u8> {
    let is_printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match u32::from(c) {
        code @ 0..=0xff => Some(code as u8).filter(|&byte| is_printable(byte)),
        code => (0..=u8::MAX).filter(|&byte| !is_printable(byte)).nth(code as usize - 0x100),
    }
}

fn is_special(inner: &tokenizers::Tokenizer, id: u32) -> bool {
    inner.get_added_tokens_decoder().get(&id).is_some_and(|token| token.special)
}

/// GPT-2's pipeline around a BPE model: no normaliser, byte-level words without a prefix space.
fn byte_level(bpe: BPE) -> Result<tokenizers::Tokenizer> {
    let byte_level = ByteLevel::new(false, false, true);
    let inner = TokenizerBuilder::<
        tokenizers::ModelWrapper,
        tokenizers::NormalizerWrapper,
        tokenizers::PreTokenizerWrapper,
        tokenizers::PostProcessorWrapper,
        tokenizers::DecoderWrapper,
    >::new()
    .with_model(bpe.into())
    .with_pre_tokenizer(Some(byte_level.into()))
    .with_post_processor(Some(byte_level.into()))
    .with_decoder(Some(byte_level.into()))
    .build()
    .map_err(error)?;
    Ok(tokenizers::Tokenizer::from(inner))
}

fn error(error: impl std::fmt::Display) -> Error {
    Error::Tokenizer(error.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trained() -> Tokenizer {
        let texts = ["a cat, highly detailed, 8k", "a dog, digital painting, artstation, 8k"];
        let json = Tokenizer::train(texts.iter().copied().cycle().take(40), 300).expect("trains");
        Tokenizer::from_json(json.as_bytes()).expect("reads what it wrote")
    }

    #[test]
    fn gpt2_ids_are_the_published_ones() {
        let tokenizer = Tokenizer::gpt2().expect("embedded");
        let ids = tokenizer.encode("Cats dancing in a space club Rephrase:").expect("short");
        assert_eq!(ids, [34, 1381, 15360, 287, 257, 2272, 3430, 1432, 11840, 589, 25]);
    }

    #[test]
    fn a_typed_end_token_is_text() {
        for tokenizer in [Tokenizer::gpt2().expect("embedded"), trained()] {
            let ids = tokenizer.encode("a<|endoftext|>b").expect("short");
            let eos = tokenizer.eos_token_id().expect("present");
            assert!(!ids.contains(&eos));
            assert_eq!(tokenizer.decode(&ids).expect("valid"), "a<|endoftext|>b");
            assert_eq!(tokenizer.decode(&[eos]).expect("valid"), "");
        }
    }

    #[test]
    fn hostile_strings_come_back_exactly() {
        let every_char: String = (0..=0x2fff).filter_map(char::from_u32).collect();
        let cases = [
            "",
            " ",
            "      leading and trailing   ",
            "\0\u{1}\u{7f}\r\n\t\u{85}\u{a0}\u{2028}",
            "👩‍👩‍👧‍👦 🏳️‍🌈 e\u{301}\u{301}\u{301} \u{feff}",
            "'s 't 're 've 'm 'll 'd 'S",
            "(word:1.2), ((word)), [a|b], <lora:x:0.8>, __wild__, {a|b}, --ar 16:9",
            &"a".repeat(5000),
            &" ".repeat(5000),
            &"漢字".repeat(700),
            &every_char,
        ];
        for tokenizer in [Tokenizer::gpt2().expect("embedded"), trained()] {
            for case in cases {
                let ids = tokenizer.encode(case).expect("encodes");
                assert_eq!(tokenizer.decode(&ids).expect("decodes"), case);
            }
        }
    }

    #[test]
    fn the_bytes_of_its_tokens_are_the_text() {
        for tokenizer in [Tokenizer::gpt2().expect("embedded"), trained()] {
            let bytes = tokenizer.token_bytes().expect("byte-level");
            for text in ["a cat, 8k", "  é 漢字 👩‍👩‍👧\n\t\u{a0}\u{ad}\0", "<|endoftext|>"] {
                let ids = tokenizer.encode(text).expect("short");
                let spelled: Vec<u8> = ids.iter().flat_map(|&id| bytes.get(id)).copied().collect();
                assert_eq!(spelled, text.as_bytes());
            }
            assert!(bytes.get(tokenizer.eos_token_id().expect("present")).is_empty());
            assert!(bytes.get(u32::MAX).is_empty());
        }
    }

    #[test]
    fn unknown_ids_and_endless_texts_are_errors() {
        for tokenizer in [Tokenizer::gpt2().expect("embedded"), trained()] {
            let beyond = tokenizer.vocab_size() as u32;
            assert!(matches!(tokenizer.decode(&[beyond]), Err(Error::Tokenizer(_))));
            let long = "x".repeat(MAX_TEXT_BYTES + 1);
            assert!(matches!(tokenizer.encode(&long), Err(Error::Tokenizer(_))));
        }
        assert!(matches!(Tokenizer::from_json(b"{}"), Err(Error::Tokenizer(_))));
        assert!(matches!(Tokenizer::train(std::iter::empty(), 10), Err(Error::Config { .. })));
    }

    proptest! {
        #[test]
        fn decode_of_encode_is_the_input(text in any::<String>()) {
            let tokenizer = trained();
            let ids = tokenizer.encode(&text).expect("short");
            prop_assert_eq!(tokenizer.decode(&ids).expect("valid"), text);
        }
    }
}
