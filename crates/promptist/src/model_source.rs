//! What `--model` means: `mini`, a folder, or a model on the Hub; and the files behind it, which
//! are read the same way wherever they lie.

use std::borrow::Cow;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::hub::{self, HubConfig, HubId, RepoKind};
use crate::progress::Progress;
use crate::weights::Weights;

/// The name of the model inside the binary.
pub const MINI: &str = "mini";

/// The largest file beside the weights that is read. The largest known `tokenizer.json` has 35 MB.
const MAX_SIDE_FILE_BYTES: u64 = 256_000_000;

/// Where a model is to be had.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelSource {
    /// The model inside the binary.
    Mini,
    /// A model folder.
    Folder(PathBuf),
    /// A model on the Hub.
    Hub(HubId),
}

/// A model inside the binary: its files by name, as they would lie in a model folder.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedModel {
    /// What it is called in errors and results.
    pub name: &'static str,
    /// File name and content.
    pub files: &'static [(&'static str, &'static [u8])],
}

/// The files of a model.
#[derive(Debug, Clone)]
pub enum ModelFiles {
    /// Inside the binary.
    Embedded(&'static EmbeddedModel),
    /// In a folder.
    Folder {
        /// What the user called it: the folder, or the Hub id.
        name: String,
        /// The folder.
        path: PathBuf,
    },
}

impl ModelSource {
    /// Reads `mini`, the path of a folder, or a Hub id (`owner/name`, `owner/name@revision`), in
    /// this order: a folder that exists wins over a model of that name on the Hub. A path that
    /// starts with `.`, `/` or `~` is never taken for a Hub id.
    ///
    /// # Errors
    /// [`Error::Config`] for `model` if it is none of the three.
    pub fn parse(text: &str) -> Result<Self> {
        if text == MINI {
            return Ok(Self::Mini);
        }
        let path = Path::new(text);
        if path.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        if path.is_file() {
            return Err(Error::config(
                "model",
                format!("`{text}` is a file: expected the folder that holds the model"),
            ));
        }
        HubId::parse(text).map(Self::Hub).ok_or_else(|| {
            Error::config(
                "model",
                format!("`{text}` is neither `{MINI}`, nor a folder that exists, nor a Hub id (owner/name, owner/name@revision)"),
            )
        })
    }

    /// The model's files, fetched from the Hub if need be. `mini` is what the binary embeds.
    ///
    /// # Errors
    /// [`Error::Config`] if `mini` is asked for and not embedded; otherwise as [`hub::snapshot`],
    /// the reason saying that no folder of that name was found either.
    pub fn resolve(
        &self,
        mini: Option<&'static EmbeddedModel>,
        hub: &HubConfig,
        progress: &dyn Progress,
    ) -> Result<ModelFiles> {
        match self {
            Self::Mini => mini.map(ModelFiles::Embedded).ok_or_else(|| {
                Error::config(
                    "model",
                    format!("`{MINI}` is not in this program: it was built without `embedded-model`"),
                )
            }),
            Self::Folder(path) => Ok(ModelFiles::folder(path)),
            Self::Hub(id) => match hub::snapshot(hub, id, RepoKind::Model, progress) {
                Ok(path) => Ok(ModelFiles::Folder { name: id.to_string(), path }),
                Err(Error::Hub { url, reason }) => {
                    Err(Error::Hub { url, reason: format!("{reason} (there is no folder `{id}` either)") })
                }
                Err(error) => Err(error),
            },
        }
    }
}

impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mini => f.write_str(MINI),
            Self::Folder(path) => path.display().fmt(f),
            Self::Hub(id) => id.fmt(f),
        }
    }
}

impl ModelFiles {
    /// The files of a model folder.
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self::Folder { name: path.display().to_string(), path }
    }

    /// What the user called the model.
    pub fn name(&self) -> &str {
        match self {
            Self::Embedded(model) => model.name,
            Self::Folder { name, .. } => name,
        }
    }

    /// The path of one of its files, for errors and for whoever needs a path; inside the binary it
    /// is only a name.
    pub fn path(&self, file: &str) -> PathBuf {
        match self {
            Self::Embedded(model) => Path::new(model.name).join(file),
            Self::Folder { path, .. } => path.join(file),
        }
    }

    /// Whether there is a file of that name.
    pub fn contains(&self, file: &str) -> bool {
        match self {
            Self::Embedded(_) => self.embedded(file).is_some(),
            Self::Folder { path, .. } => path.join(file).is_file(),
        }
    }

    /// The content of a file that must be there, such as `config.json`.
    ///
    /// # Errors
    /// [`Error::File`] if it is missing or beyond all proportion, [`Error::Io`] if it cannot be read.
    pub fn read(&self, file: &str) -> Result<Cow<'static, [u8]>> {
        self.read_optional(file)?.ok_or_else(|| {
            Error::file(self.path(file), "expected this file in the model folder, found nothing")
        })
    }

    /// The content of a file that may be there, such as `generation_config.json`.
    ///
    /// # Errors
    /// [`Error::File`] if it is beyond all proportion, [`Error::Io`] if it cannot be read.
    pub fn read_optional(&self, file: &str) -> Result<Option<Cow<'static, [u8]>>> {
        match self {
            Self::Embedded(_) => Ok(self.embedded(file).map(Cow::Borrowed)),
            Self::Folder { path, .. } => Ok(read_bounded(&path.join(file))?.map(Cow::Owned)),
        }
    }

    /// The weights.
    ///
    /// # Errors
    /// As [`Weights::open`].
    pub fn weights(&self) -> Result<Weights> {
        match self {
            Self::Embedded(model) => match self.embedded("model.safetensors") {
                Some(bytes) => Weights::from_static(&format!("{}/model.safetensors", model.name), bytes),
                None => Err(Error::file(model.name, "the embedded model has no model.safetensors")),
            },
            Self::Folder { path, .. } => Weights::open(path),
        }
    }

    fn embedded(&self, file: &str) -> Option<&'static [u8]> {
        match self {
            Self::Embedded(model) => {
                model.files.iter().find(|(name, _)| *name == file).map(|&(_, bytes)| bytes)
            }
            Self::Folder { .. } => None,
        }
    }
}

/// A whole file, if it is there.
fn read_bounded(path: &Path) -> Result<Option<Vec<u8>>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(Error::Io { path: path.to_owned(), source });
        }
    };
    let mut bytes = Vec::new();
    file.take(MAX_SIDE_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io(path))?;
    if bytes.len() as u64 > MAX_SIDE_FILE_BYTES {
        return Err(Error::file(path, format!("expected at most {MAX_SIDE_FILE_BYTES} bytes")));
    }
    Ok(Some(bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::progress::NoProgress;

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        let error = ModelSource::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_name_is_mini_a_folder_or_a_hub_id_in_this_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        assert_eq!(ModelSource::parse("mini").unwrap(), ModelSource::Mini);
        assert_eq!(ModelSource::parse(path).unwrap(), ModelSource::Folder(folder.path().to_owned()));
        // The crate's own folder is where tests run, and `src` is in it.
        assert_eq!(ModelSource::parse("src").unwrap(), ModelSource::Folder("src".into()));
        for text in ["microsoft/Promptist", "microsoft/Promptist@refs/pr/1", "gpt2", "a/b@v1.0"] {
            let source = ModelSource::parse(text).unwrap();
            assert!(matches!(source, ModelSource::Hub(_)), "{text}");
            assert_eq!(source.to_string(), text);
        }
    }

    #[test]
    fn what_is_none_of_the_three_is_refused_with_all_three_named() {
        for text in [
            "",
            "./absent",
            "/absent/model",
            "../x",
            "a/b/c",
            "a b",
            "a/..",
            "a/b@",
            "a/b@../x",
            "~/model",
            "a//b",
        ] {
            check_refused(text, "is neither `mini`, nor a folder that exists, nor a Hub id");
        }
        check_refused("src/lib.rs", "is a file");
    }

    #[test]
    fn an_unreachable_model_says_that_the_folder_was_looked_for_too() {
        let cache = tempfile::tempdir().unwrap();
        let hub = HubConfig { offline: true, ..HubConfig::new(cache.path()) };
        let source = ModelSource::parse("nobody/absent").unwrap();
        let error = source.resolve(None, &hub, &NoProgress).unwrap_err().to_string();
        assert!(error.starts_with("https://huggingface.co/nobody/absent: offline"), "{error}");
        assert!(error.contains("no folder `nobody/absent`"), "{error}");
    }

    #[test]
    fn embedded_files_read_like_those_of_a_folder() {
        static MODEL: EmbeddedModel = EmbeddedModel { name: "mini", files: &[("config.json", b"{}")] };
        let hub = HubConfig::new("unused");
        let files = ModelSource::Mini.resolve(Some(&MODEL), &hub, &NoProgress).unwrap();
        assert_eq!(files.read("config.json").unwrap(), b"{}".as_slice());
        assert!(files.read_optional("merges.txt").unwrap().is_none());
        let error = files.read("merges.txt").unwrap_err().to_string();
        assert!(error.contains("merges.txt: expected this file"), "{error}");
        assert!(files.weights().is_err());

        let error = ModelSource::Mini.resolve(None, &hub, &NoProgress).unwrap_err().to_string();
        assert!(error.contains("embedded-model"), "{error}");
    }

    #[test]
    fn a_folder_without_the_file_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.json"), "{}").unwrap();
        let files = ModelFiles::folder(folder.path());
        assert_eq!(files.read("config.json").unwrap(), b"{}".as_slice());
        let error = files.read("tokenizer.json").unwrap_err().to_string();
        assert!(error.contains("tokenizer.json: expected this file"), "{error}");
        let error = files.weights().unwrap_err().to_string();
        assert!(error.contains("no weights found: expected one of model.safetensors"), "{error}");
    }
}
