//! One text encoder of an image model, as far as lengths matter: how many tokens its tokenizer makes of a text.
//!
//! A folder's `tokenizer.json` is taken as it is, as transformers 4 does. transformers 5 builds T5's pipeline by
//! itself and splits words at U+0085 too, which the folders of the Hub do not.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{PoisonError, RwLock};

use serde_json::Value;
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use super::family::Kind;
use super::pieces;
use crate::clip::tokenizer::{ClipTokenizer, END_OF_TEXT, START_OF_TEXT};
use crate::error::{Error, Result};
use crate::model_source::ModelFiles;

/// Longest piece whose count is remembered, in bytes. Longer ones hardly come twice.
const MAX_REMEMBERED_BYTES: usize = 64;
/// Pieces remembered, some megabytes at most; then the memory starts anew.
const MAX_REMEMBERED: usize = 1 << 15;

/// The largest `model_max_length` that is a limit: transformers writes 1e30 for "none".
const MAX_PLAUSIBLE_LIMIT: u64 = 1 << 20;

/// A text encoder of a target.
pub struct Encoder {
    /// What it is called: `CLIP-L`, `OpenCLIP-bigG`, `T5`, `Qwen2.5`, or a pipeline's folder.
    pub name: String,
    /// Tokens of text that it reads by default, special tokens not counted, where that is known.
    pub limit: Option<usize>,
    /// Whether it reads the prompt word for word, and so is held to the budget. Flux's CLIP does not.
    pub reads: bool,
    tokens: Tokens,
    /// Whether a text's count is the sum of its [`pieces`]' counts.
    in_pieces: bool,
    remembered: RwLock<HashMap<String, usize>>,
}

/// A tokenizer and what its folder says about it.
pub(super) struct Loaded {
    tokens: Tokens,
    pub kind: Kind,
    /// `model_max_length` without the special tokens.
    pub limit: Option<usize>,
}

enum Tokens {
    Clip(Box<ClipTokenizer>),
    Files(Box<Tokenizer>),
}

impl Encoder {
    pub(super) fn new(name: &str, limit: Option<usize>, reads: bool, loaded: Loaded) -> Self {
        let Loaded { tokens, .. } = loaded;
        let in_pieces = match &tokens {
            Tokens::Clip(clip) => clip.files().is_none_or(pieces::count_apart),
            Tokens::Files(inner) => pieces::count_apart(inner),
        };
        Self { name: name.to_owned(), limit, reads, tokens, in_pieces, remembered: RwLock::default() }
    }

    /// How many tokens a text has, special tokens not counted.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the tokenizer refuses the text.
    pub fn count(&self, text: &str) -> Result<usize> {
        match &self.tokens {
            Tokens::Clip(clip) => clip.count(text),
            Tokens::Files(inner) => {
                Ok(inner.encode_fast(text, false).map_err(|e| Error::Tokenizer(e.to_string()))?.len())
            }
        }
    }

    /// Where the last piece of a text starts that stays as it is whatever follows, and the tokens before it.
    pub(super) fn settled(&self, text: &str) -> (usize, Option<usize>) {
        let mut settled = (0, Some(0));
        if self.in_pieces {
            for start in pieces::starts(text) {
                let count = self.remembered_count(&text[settled.0..start]);
                settled = (start, settled.1.zip(count).map(|(before, count)| before + count));
            }
        }
        settled
    }

    /// As [`Encoder::count`], from memory where the text is short and came before; nothing if it is refused.
    pub(super) fn remembered_count(&self, text: &str) -> Option<usize> {
        if text.is_empty() {
            return Some(0);
        }
        if text.len() > MAX_REMEMBERED_BYTES {
            return self.count(text).ok();
        }
        if let Some(count) = self.remembered.read().unwrap_or_else(PoisonError::into_inner).get(text) {
            return Some(*count);
        }
        let count = self.count(text).ok()?;
        let mut remembered = self.remembered.write().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(text.to_owned(), count);
        Some(count)
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, limit, reads, .. } = self;
        write!(f, "Encoder {{ name: {name:?}, limit: {limit:?}, reads: {reads} }}")
    }
}

impl Loaded {
    /// CLIP's tokenizer without any file.
    pub fn built_in(kind: Kind) -> Result<Self> {
        let clip = match kind {
            Kind::OpenClip => ClipTokenizer::openai_padded_with("!")?,
            _ => ClipTokenizer::openai()?,
        };
        Ok(Self { tokens: Tokens::Clip(Box::new(clip)), kind, limit: None })
    }

    /// The tokenizer in a folder: `tokenizer.json`, or `vocab.json` with `merges.txt` of CLIP or Qwen.
    pub fn open(folder: &Path) -> Result<Self> {
        let files = ModelFiles::folder(folder);
        let config = read_json(&files, "tokenizer_config.json")?.unwrap_or(Value::Null);
        let mut loaded = if let Some(bytes) = files.read_optional("tokenizer.json")? {
            let path = files.path("tokenizer.json");
            let inner = Tokenizer::from_bytes(&bytes).map_err(|e| Error::file(&path, e.to_string()))?;
            Self::from_tokenizer_json(inner, &files, &config)?
        } else if files.contains("vocab.json") && files.contains("merges.txt") {
            Self::from_vocab_and_merges(&files, &config)?
        } else if files.contains("spiece.model") {
            return Err(Error::file(
                files.path("tokenizer.json"),
                "missing: spiece.model alone is not read, transformers' `save_pretrained` writes both",
            ));
        } else {
            return Err(Error::file(
                folder,
                "expected a tokenizer: tokenizer.json, or vocab.json and merges.txt",
            ));
        };
        loaded.limit = loaded.limit_of(&config);
        Ok(loaded)
    }

    fn from_tokenizer_json(mut inner: Tokenizer, files: &ModelFiles, config: &Value) -> Result<Self> {
        let kind = match inner.get_model() {
            ModelWrapper::BPE(bpe) if bpe.end_of_word_suffix.as_deref() == Some("</w>") => Kind::Clip,
            ModelWrapper::Unigram(_) => Kind::T5,
            ModelWrapper::BPE(_) => Kind::Qwen,
            _ => Kind::Unknown,
        };
        if kind == Kind::Clip && inner.token_to_id(START_OF_TEXT).is_some() {
            let clip = ClipTokenizer::open(files)?;
            return Ok(Self { tokens: Tokens::Clip(Box::new(clip)), kind, limit: None });
        }
        // Padding and truncation are not ours to count; a file may ask for both.
        inner.with_padding(None);
        let path = files.path("tokenizer.json");
        inner.with_truncation(None).map_err(|e| Error::file(&path, e.to_string()))?;
        add_declared_tokens(&mut inner, files, config)?;
        Ok(Self { tokens: Tokens::Files(Box::new(inner)), kind, limit: None })
    }

    /// The two files say nothing about the words that they were learned from: `tokenizer_class` does.
    fn from_vocab_and_merges(files: &ModelFiles, config: &Value) -> Result<Self> {
        let class = config.get("tokenizer_class").and_then(Value::as_str).unwrap_or_default();
        match class.trim_end_matches("Fast") {
            "Qwen2Tokenizer" => {
                let mut inner = qwen(&files.path("vocab.json"), &files.path("merges.txt"))?;
                add_declared_tokens(&mut inner, files, config)?;
                Ok(Self { tokens: Tokens::Files(Box::new(inner)), kind: Kind::Qwen, limit: None })
            }
            // Refuses a vocabulary that is not CLIP's.
            "CLIPTokenizer" | "" => {
                let tokens = Tokens::Clip(Box::new(ClipTokenizer::open(files)?));
                Ok(Self { tokens, kind: Kind::Clip, limit: None })
            }
            other => Err(Error::file(
                files.path("tokenizer_config.json"),
                format!(
                    "tokenizer_class `{other}` without a tokenizer.json: only CLIP's and Qwen2's are read so"
                ),
            )),
        }
    }

    /// `model_max_length` less the special tokens around a text, where the file gives a true limit.
    fn limit_of(&self, config: &Value) -> Option<usize> {
        let most = config.get("model_max_length")?.as_u64().filter(|&most| most <= MAX_PLAUSIBLE_LIMIT)?;
        let specials = match &self.tokens {
            Tokens::Clip(_) => 2,
            Tokens::Files(inner) => inner.encode_fast("", true).map_or(0, |encoding| encoding.len()),
        };
        usize::try_from(most).ok()?.checked_sub(specials)
    }
}

/// Qwen2's pipeline around the two files.
///
/// Source: `Qwen2Tokenizer.__init__`, transformers 5.23.
fn qwen(vocab: &Path, merges: &Path) -> Result<Tokenizer> {
    let refuse = |e: tokenizers::Error| Error::file(vocab, e.to_string());
    let (Some(vocab_path), Some(merges_path)) = (vocab.to_str(), merges.to_str()) else {
        return Err(Error::file(vocab, "the path is not UTF-8"));
    };
    let mut inner = Tokenizer::new(BPE::from_file(vocab_path, merges_path).build().map_err(refuse)?);
    inner.with_normalizer(Some(NFC)).map_err(refuse)?;
    let pattern = SplitPattern::Regex(pieces::QWEN2_WORDS.to_owned());
    let words = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(refuse)?;
    let bytes = ByteLevel::new(false, true, false);
    inner.with_pre_tokenizer(Some(PreTokenizers::new(vec![words.into(), bytes.into()])));
    inner.add_special_tokens([AddedToken::from(END_OF_TEXT, true)]).map_err(refuse)?;
    Ok(inner)
}

/// Adds the tokens that the files beside the vocabulary declare, as transformers does. Their ids do not matter
/// to a count.
fn add_declared_tokens(inner: &mut Tokenizer, files: &ModelFiles, config: &Value) -> Result<()> {
    let mut tokens = Vec::new();
    if let Some(declared) = config.get("added_tokens_decoder").and_then(Value::as_object) {
        let path = files.path("tokenizer_config.json");
        for token in declared.values() {
            let token: AddedToken = serde_json::from_value(token.clone())
                .map_err(|e| Error::file(&path, format!("added_tokens_decoder: {e}")))?;
            tokens.push(token);
        }
    } else if let Some(Value::Object(declared)) = read_json(files, "added_tokens.json")? {
        tokens.extend(declared.keys().map(|token| AddedToken::from(token.as_str(), true)));
    }
    let known = inner.get_added_tokens_decoder();
    tokens.retain(|token| !known.values().any(|known| known.content == token.content));
    inner.add_tokens(tokens).map_err(|e| Error::Tokenizer(e.to_string()))?;
    Ok(())
}

pub(super) fn read_json(files: &ModelFiles, name: &str) -> Result<Option<Value>> {
    let Some(bytes) = files.read_optional(name)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| Error::file(files.path(name), e.to_string()))
}
