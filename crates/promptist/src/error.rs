//! The library's one error type. Variants carry facts (path, line, tensor, expected and found),
//! never advice that only one caller could act on.

use std::path::{Path, PathBuf};

/// `Result` with the library's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in the library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading, writing, renaming or creating `path` failed.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file is not what its name or place promises: wrong format, truncated, hostile.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        reason: String,
    },
    /// One line of a text or JSON Lines file is unusable.
    #[error("{path}:{line}: {reason}", path = path.display())]
    Line {
        /// The file, or `<stdin>`.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor of a checkpoint has the wrong shape or dtype, is missing, or is one too many.
    #[error("{path}: tensor `{tensor}`: expected {expected}, found {found}", path = path.display())]
    Tensor {
        /// The file that holds it, or should.
        path: PathBuf,
        /// Its full name in the checkpoint.
        tensor: String,
        /// Shape or dtype expected.
        expected: String,
        /// Shape or dtype found; `nothing` if it is missing.
        found: String,
    },
    /// Shapes of arguments do not agree.
    #[error("shape: {0}")]
    Shape(String),
    /// A setting is unknown or impossible, alone or with another.
    #[error("`{key}`: {reason}")]
    Config {
        /// The setting, as it is spelled in files and flags.
        key: String,
        /// The rule that it breaks.
        reason: String,
    },
    /// A computation gave NaN or infinity where a number must be.
    #[error("not finite: {0}")]
    NotFinite(String),
    /// The user's input is empty or whitespace.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// The prompt leaves no room for the answer in the model's context. Nothing is cut silently.
    #[error(
        "the prompt has {prompt_tokens} tokens and the answer may have {max_new_tokens}, \
         but the model's context holds {n_positions}"
    )]
    PromptTooLong {
        /// Tokens of the prompt, template included.
        prompt_tokens: usize,
        /// Tokens asked for.
        max_new_tokens: usize,
        /// The model's context.
        n_positions: usize,
    },
    /// Text could not be turned into token ids, or back.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// Decoding the batch that a row was in failed.
    #[error("decoding: {0}")]
    Decoding(String),
    /// No answer to a row keeps to the rules that were asked for.
    #[error("no answer keeps to the rules: {0}")]
    Rules(String),
    /// The Hugging Face Hub could not be reached or refused.
    #[error("{url}: {reason}")]
    Hub {
        /// What was asked for.
        url: String,
        /// What came back.
        reason: String,
    },
    /// A server that the user named could not be reached, refused or answered nonsense.
    #[error("{url}: {reason}")]
    Http {
        /// What was asked.
        url: String,
        /// What came back.
        reason: String,
    },
    /// No server made an image, though it was tried as often as the settings allow. Others may still be made.
    #[error("no server made the image: {}", each(.failures))]
    ImageFailed {
        /// The last failure of every server that was tried.
        failures: Vec<ServerFailure>,
    },
    /// The image servers are gone: none has worked for as long as the settings allow.
    #[error("no image server works (waited {:.0?}): {}", .waited, each(.failures))]
    ImageServersGone {
        /// How long one was waited for.
        waited: std::time::Duration,
        /// The last failure of every server.
        failures: Vec<ServerFailure>,
    },
    /// The work was interrupted on request, after everything was saved.
    #[error("interrupted")]
    Interrupted,
}

/// What went wrong with one of several servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFailure {
    /// Kind and URL.
    pub server: String,
    /// What came back, or did not.
    pub reason: String,
}

fn each(failures: &[ServerFailure]) -> String {
    let lines: Vec<String> =
        failures.iter().map(|failure| format!("{}: {}", failure.server, failure.reason)).collect();
    lines.join("; ")
}

impl Error {
    /// For `map_err` on operations on `path`.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { path, source }
    }

    /// A [`Error::File`].
    pub fn file(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::File { path: path.as_ref().to_owned(), reason: reason.into() }
    }

    /// A [`Error::Line`].
    pub fn line(path: impl AsRef<Path>, line: usize, reason: impl Into<String>) -> Self {
        Self::Line { path: path.as_ref().to_owned(), line, reason: reason.into() }
    }

    /// A [`Error::Config`].
    pub fn config(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Config { key: key.into(), reason: reason.into() }
    }
}
