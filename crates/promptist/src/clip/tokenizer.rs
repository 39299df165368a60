//! CLIP's tokenizer: text to the 77 ids of a row. Lower-cased byte-level BPE with an end-of-word mark, from a
//! model folder's files, or from a crate that ships OpenAI's vocabulary where a folder has none.
//!
//! Ids equal those of transformers' `CLIPTokenizer`, special tokens that a user types included: to CLIP they
//! are special tokens, as in OpenAI's own code. (The prompter's tokenizer treats them as text.)

use std::path::Path;
use std::sync::LazyLock;

use instant_clip_tokenizer::Token;
use serde_json::Value;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence, replace::ReplacePattern};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    AddedToken, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer, SplitDelimiterBehavior,
};

use crate::error::{Error, Result};
use crate::model_source::ModelFiles;

/// What opens every row.
pub const START_OF_TEXT: &str = "<|startoftext|>";
/// What ends every text, and unless a folder says otherwise pads the row.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// Ids of a row: what CLIP's text towers were trained with.
pub const CONTEXT_LENGTH: usize = 77;

/// Longest text encoded, in bytes. The bundled BPE is quadratic in the length of a word: this keeps the worst
/// one at seconds.
pub const MAX_TEXT_BYTES: usize = 1 << 14;

/// Words, as `CLIPTokenizer` of transformers 5.23 finds them.
const WORDS: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// The words of [`WORDS`] that are not a run of one kind of character.
const FIXED_WORDS: [&str; 9] =
    ["<|startoftext|>", "<|endoftext|>", "'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];

/// OpenAI's vocabulary, unpacked once: that takes tens of milliseconds, and Stable Diffusion XL has it twice.
static OPENAI_BPE: LazyLock<instant_clip_tokenizer::Tokenizer> =
    LazyLock::new(instant_clip_tokenizer::Tokenizer::new);

/// CLIP's tokenizer.
pub struct ClipTokenizer {
    bpe: Bpe,
    start_id: u32,
    end_id: u32,
    pad_id: u32,
    context_length: usize,
}

/// A text's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClipIds {
    /// Start, text, end, padding: `context_length` ids.
    pub ids: Vec<u32>,
    /// Ids before truncation, start and end included. More than `ids.len()` if the text was cut.
    pub num_tokens: usize,
}

enum Bpe {
    /// A vocabulary from files.
    Files(Box<tokenizers::Tokenizer>),
    /// OpenAI's vocabulary, from its crate, between the same normaliser and word pattern.
    OpenAi(Box<OpenAi>),
}

struct OpenAi {
    normalizer: Sequence,
    words: Split,
    /// Tokens that are whole wherever they stand, and their ids.
    specials: Vec<(String, u32)>,
    bpe: &'static instant_clip_tokenizer::Tokenizer,
}

impl ClipTokenizer {
    /// OpenAI's tokenizer, for folders without tokenizer files. Padded with the end token.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the pattern of words does not compile.
    pub fn openai() -> Result<Self> {
        let bpe = &*OPENAI_BPE;
        let (start_id, end_id) = (bpe.start_of_text().to_u16().into(), bpe.end_of_text().to_u16().into());
        let specials = vec![(START_OF_TEXT.to_owned(), start_id), (END_OF_TEXT.to_owned(), end_id)];
        let openai = OpenAi { normalizer: normalizer()?, words: words()?, specials, bpe };
        Ok(Self::new(Bpe::OpenAi(Box::new(openai)), start_id, end_id))
    }

    /// The same where another token pads and is special thereby: OpenCLIP's towers in diffusers pad with `!`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] as [`ClipTokenizer::openai`], [`Error::File`] if the vocabulary lacks the token.
    pub fn openai_padded_with(pad_token: &str) -> Result<Self> {
        let mut tokenizer = Self::openai()?;
        tokenizer.pad_with(pad_token, Path::new("OpenAI's vocabulary"))?;
        Ok(tokenizer)
    }

    /// The tokenizer of a model folder: `tokenizer.json`, else `vocab.json` with `merges.txt`, else OpenAI's.
    /// What pads a row is read beside them.
    ///
    /// # Errors
    /// [`Error::File`] naming the file that is missing or no CLIP tokenizer.
    pub fn open(files: &ModelFiles) -> Result<Self> {
        let (has_vocab, has_merges) = (files.contains("vocab.json"), files.contains("merges.txt"));
        let mut tokenizer = if let Some(bytes) = files.read_optional("tokenizer.json")? {
            let path = files.path("tokenizer.json");
            let inner = tokenizers::Tokenizer::from_bytes(&bytes);
            Self::from_files(inner.map_err(|e| Error::file(&path, e.to_string()))?, &path)?
        } else if has_vocab && has_merges {
            Self::from_vocab_and_merges(&files.path("vocab.json"), &files.path("merges.txt"))?
        } else if has_vocab || has_merges {
            let (missing, found) =
                if has_vocab { ("merges.txt", "vocab.json") } else { ("vocab.json", "merges.txt") };
            return Err(Error::file(files.path(missing), format!("missing beside {found}")));
        } else {
            Self::openai()?
        };
        if let Some((pad_token, path)) = pad_token(files)? {
            tokenizer.pad_with(&pad_token, &path)?;
        }
        Ok(tokenizer)
    }

    /// Pads with another token, which thereby is special: Stable Diffusion 2 pads with `!`, and a `!` that is
    /// typed becomes that id too.
    fn pad_with(&mut self, pad_token: &str, path: &Path) -> Result<()> {
        let id = match &self.bpe {
            Bpe::Files(inner) => inner.token_to_id(pad_token),
            Bpe::OpenAi(openai) => openai.token_to_id(pad_token),
        };
        self.pad_id =
            id.ok_or_else(|| Error::file(path, format!("pad_token `{pad_token}` is not in the vocabulary")))?;
        match &mut self.bpe {
            Bpe::Files(inner) => {
                inner.add_special_tokens([AddedToken::from(pad_token, true)]).map_err(error)?;
            }
            Bpe::OpenAi(openai) => openai.specials.push((pad_token.to_owned(), self.pad_id)),
        }
        Ok(())
    }

    fn from_vocab_and_merges(vocab: &Path, merges: &Path) -> Result<Self> {
        let refuse = |e: tokenizers::Error| Error::file(vocab, e.to_string());
        let (Some(vocab_path), Some(merges_path)) = (vocab.to_str(), merges.to_str()) else {
            return Err(Error::file(vocab, "the path is not UTF-8"));
        };
        let bpe = BPE::from_file(vocab_path, merges_path)
            .end_of_word_suffix("</w>".to_owned())
            .unk_token(END_OF_TEXT.to_owned())
            .build()
            .map_err(refuse)?;
        let mut inner = tokenizers::Tokenizer::new(bpe);
        inner.with_normalizer(Some(normalizer()?)).map_err(error)?;
        let pre_tokenizers = vec![words()?.into(), ByteLevel::new(false, true, true).into()];
        inner.with_pre_tokenizer(Some(PreTokenizers::new(pre_tokenizers)));
        Self::from_files(inner, vocab)
    }

    fn from_files(mut inner: tokenizers::Tokenizer, path: &Path) -> Result<Self> {
        // Padding and truncation are ours to do; a file may ask for both.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(error)?;
        let mut ids = [0; 2];
        for (id, token) in ids.iter_mut().zip([START_OF_TEXT, END_OF_TEXT]) {
            *id = inner
                .token_to_id(token)
                .ok_or_else(|| Error::file(path, format!("not CLIP's vocabulary: it lacks {token}")))?;
            // Those that the file declares already keep their options.
            inner.add_special_tokens([AddedToken::from(token, true)]).map_err(error)?;
        }
        let [start_id, end_id] = ids;
        Ok(Self::new(Bpe::Files(Box::new(inner)), start_id, end_id))
    }

    fn new(bpe: Bpe, start_id: u32, end_id: u32) -> Self {
        Self { bpe, start_id, end_id, pad_id: end_id, context_length: CONTEXT_LENGTH }
    }

    /// The same with rows of another length, at least 2.
    pub fn with_context_length(self, context_length: usize) -> Self {
        Self { context_length: context_length.max(2), ..self }
    }

    /// A text's row, cut where it is too long as `CLIPTokenizer` does it: the end token stays.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if `text` is longer than [`MAX_TEXT_BYTES`].
    pub fn encode(&self, text: &str) -> Result<ClipIds> {
        let text_ids = self.text_ids(text)?;
        let mut ids = Vec::with_capacity(self.context_length);
        ids.push(self.start_id);
        ids.extend(text_ids.iter().take(self.context_length - 2));
        ids.push(self.end_id);
        ids.resize(self.context_length, self.pad_id);
        Ok(ClipIds { ids, num_tokens: text_ids.len() + 2 })
    }

    /// How many tokens a text has, start and end not counted, however many fit into a row.
    ///
    /// # Errors
    /// As [`ClipTokenizer::encode`].
    pub fn count(&self, text: &str) -> Result<usize> {
        Ok(self.text_ids(text)?.len())
    }

    fn text_ids(&self, text: &str) -> Result<Vec<u32>> {
        if text.len() > MAX_TEXT_BYTES {
            let found = text.len();
            return Err(Error::Tokenizer(format!("{found} bytes of text: the limit is {MAX_TEXT_BYTES}")));
        }
        match &self.bpe {
            Bpe::Files(inner) => Ok(inner.encode_fast(text, false).map_err(error)?.get_ids().to_vec()),
            Bpe::OpenAi(openai) => openai.encode(text),
        }
    }

    /// What was read from files; nothing for OpenAI's vocabulary.
    pub(crate) fn files(&self) -> Option<&tokenizers::Tokenizer> {
        match &self.bpe {
            Bpe::Files(inner) => Some(inner),
            Bpe::OpenAi(_) => None,
        }
    }

    /// The id of what fills a row up.
    pub fn pad_id(&self) -> u32 {
        self.pad_id
    }
}

impl OpenAi {
    /// The ids of a text without start and end. Special tokens are looked for before anything is normalised.
    fn encode(&self, mut text: &str) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        loop {
            let found = self.specials.iter().filter_map(|(token, id)| Some((text.find(token)?, token, *id)));
            let Some((at, token, id)) = found.min() else { break };
            self.encode_plain(&text[..at], &mut ids)?;
            ids.push(id);
            text = &text[at + token.len()..];
        }
        self.encode_plain(text, &mut ids)?;
        Ok(ids)
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        if let Some((_, id)) = self.specials.iter().find(|(special, _)| special == token) {
            return Some(*id);
        }
        // The vocabulary opens with the printable ASCII characters in their order.
        match token.as_bytes() {
            [byte @ b'!'..=b'~'] => Some(u32::from(byte - b'!')),
            _ => None,
        }
    }

    fn encode_plain(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        if text.is_ascii() {
            self.encode_ascii(text, ids);
            return Ok(());
        }
        self.encode_any(text, ids)
    }

    /// The same of what most prompts are, in a tenth of the time: no pattern, no alignment of offsets.
    fn encode_ascii(&self, text: &str, ids: &mut Vec<u32>) {
        let lower_case = text.to_ascii_lowercase();
        let mut tokens = Vec::new();
        for mut chunk in lower_case.split([' ', '\t', '\n', '\x0b', '\x0c', '\r']) {
            while !chunk.is_empty() {
                let (word, rest) = chunk.split_at(ascii_word_len(chunk));
                self.bpe.encode(word, &mut tokens);
                chunk = rest;
            }
        }
        ids.extend(tokens.into_iter().map(|token: Token| u32::from(token.to_u16())));
    }

    fn encode_any(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        let mut normalized = NormalizedString::from(text);
        self.normalizer.normalize(&mut normalized).map_err(error)?;
        let mut words = PreTokenizedString::from(normalized);
        self.words.pre_tokenize(&mut words).map_err(error)?;
        let mut tokens = Vec::new();
        for (word, _, _) in words.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
            // A word is one word to the crate's own pattern too, and lower case already.
            self.bpe.encode(word, &mut tokens);
        }
        ids.extend(tokens.into_iter().map(|token: Token| u32::from(token.to_u16())));
        Ok(())
    }
}

/// The length of the first of [`WORDS`] in ASCII without white space that is not empty.
fn ascii_word_len(text: &str) -> usize {
    if let Some(word) = FIXED_WORDS.into_iter().find(|word| text.starts_with(word)) {
        return word.len();
    }
    let bytes = text.as_bytes();
    let run = |inside: fn(&u8) -> bool| bytes.iter().take_while(|&byte| inside(byte)).count();
    match bytes.first() {
        Some(first) if first.is_ascii_alphabetic() => run(u8::is_ascii_alphabetic),
        Some(first) if first.is_ascii_digit() => 1,
        _ => run(|byte| !byte.is_ascii_alphanumeric()),
    }
}

fn normalizer() -> Result<Sequence> {
    let spaces = Replace::new(ReplacePattern::Regex(r"\s+".to_owned()), " ").map_err(error)?;
    Ok(Sequence::new(vec![NFC.into(), spaces.into(), Lowercase.into()]))
}

fn words() -> Result<Split> {
    let pattern = SplitPattern::Regex(WORDS.to_owned());
    Split::new(pattern, SplitDelimiterBehavior::Removed, true).map_err(error)
}

/// The token that pads, and the file that says so. Where both files have one, `special_tokens_map.json` wins,
/// unless `tokenizer_config.json` is of the newer kind that declares every added token.
///
/// Source: `PreTrainedTokenizerBase._from_pretrained`, transformers 5.23.
fn pad_token(files: &ModelFiles) -> Result<Option<(String, std::path::PathBuf)>> {
    let read = |name: &str| -> Result<Option<(Value, std::path::PathBuf)>> {
        let Some(bytes) = files.read_optional(name)? else { return Ok(None) };
        let path = files.path(name);
        let value: Value = serde_json::from_slice(&bytes).map_err(|e| Error::file(&path, e.to_string()))?;
        Ok(Some((value, path)))
    };
    let config = read("tokenizer_config.json")?;
    let declares_all = config.as_ref().is_some_and(|(value, _)| value.get("added_tokens_decoder").is_some());
    let map = if declares_all { None } else { read("special_tokens_map.json")? };
    for (value, path) in [map, config].into_iter().flatten() {
        let token = match value.get("pad_token") {
            Some(Value::String(token)) => Some(token),
            Some(Value::Object(token)) => match token.get("content") {
                Some(Value::String(token)) => Some(token),
                _ => None,
            },
            _ => None,
        };
        if let Some(token) = token {
            return Ok(Some((token.clone(), path)));
        }
    }
    Ok(None)
}

fn error(error: impl std::fmt::Display) -> Error {
    Error::Tokenizer(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    static OPENAI: LazyLock<ClipTokenizer> = LazyLock::new(|| ClipTokenizer::openai().expect("bundled"));
    static UNCUT: LazyLock<ClipTokenizer> =
        LazyLock::new(|| ClipTokenizer::openai().expect("bundled").with_context_length(2000));

    /// OpenAI's numbers, of its notebook and of the crate's documentation.
    #[test]
    fn known_texts_have_known_ids() {
        for (text, expected) in [
            ("Hi there", [49406, 1883, 997, 49407].as_slice()),
            ("", &[49406, 49407]),
            ("  HI\n\t there ", &[49406, 1883, 997, 49407]),
            ("hi<|endoftext|>there", &[49406, 1883, 49407, 997, 49407]),
        ] {
            let row = OPENAI.encode(text).expect("short");
            assert_eq!((&row.ids[..expected.len()], row.num_tokens), (expected, expected.len()), "{text:?}");
        }
    }

    #[test]
    fn a_pad_token_is_special_wherever_it_stands() {
        let mut tokenizer = ClipTokenizer::openai().expect("bundled");
        tokenizer.pad_with("!", Path::new("special_tokens_map.json")).expect("in the vocabulary");
        assert_eq!(
            tokenizer.encode("hi!!there").expect("short").ids[..7],
            [49406, 1883, 0, 0, 997, 49407, 0]
        );
        assert!(tokenizer.pad_with("<pad>", Path::new("special_tokens_map.json")).is_err());
    }

    proptest! {
        #[test]
        fn every_text_has_a_row_with_a_start_and_an_end(text in any::<String>()) {
            let ClipIds { ids, num_tokens } = OPENAI.encode(&text).expect("short");
            prop_assert_eq!(ids.len(), 77);
            prop_assert_eq!(ids[0], 49406);
            prop_assert!(num_tokens >= 2 && ids[num_tokens.min(77) - 1] == 49407);
            prop_assert!(ids[num_tokens.min(77)..].iter().all(|&id| id == 49407));
        }

        #[test]
        fn ascii_is_split_as_the_pattern_splits_it(
            text in r"([ -~]|[\x00-\x7f]|<\|(start|END)oftext\|>|'(s|T|re|VE|m|ll|d)| ){0,24}",
        ) {
            let Bpe::OpenAi(openai) = &OPENAI.bpe else { unreachable!("bundled") };
            let (mut quick, mut thorough) = (Vec::new(), Vec::new());
            openai.encode_ascii(&text, &mut quick);
            openai.encode_any(&text, &mut thorough).expect("short");
            prop_assert_eq!(quick, thorough);
        }

        #[test]
        fn a_cut_row_is_the_beginning_of_the_whole(words in prop::collection::vec("[a-z]{1,9}", 0..120)) {
            let text = words.join(" ");
            let (row, whole) = (OPENAI.encode(&text).expect("short"), UNCUT.encode(&text).expect("short"));
            prop_assert_eq!(&row.ids[..76.min(row.num_tokens - 1)], &whole.ids[..76.min(row.num_tokens - 1)]);
            prop_assert_eq!(row.num_tokens, whole.num_tokens);
        }
    }
}
