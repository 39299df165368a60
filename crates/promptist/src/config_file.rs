//! Config files: TOML, every key known, checked before anything starts.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Where the committed configs look for data that is not part of the repository.
const DATA_FOLDER: &str = "../shared/data";

/// Puts `folder` in the place of `../shared/data` where a path begins with it.
pub fn move_to_data_folder<'a>(paths: impl IntoIterator<Item = &'a mut PathBuf>, folder: &Path) {
    for path in paths {
        if let Ok(inside) = path.strip_prefix(DATA_FOLDER) {
            *path = folder.join(inside);
        }
    }
}

/// What a stage is told, as a TOML file.
///
/// Implementors deny unknown fields, so that a misspelt key is an error and not a default.
pub trait ConfigFile: Serialize + DeserializeOwned {
    /// Whether the values are possible, alone and together.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key and the rule.
    fn check(&self) -> Result<()>;

    /// Reads and checks a file. Paths in it are relative to the working directory.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::File`] naming the key, the line and the rule.
    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        Self::from_toml(&text).map_err(|e| Error::file(path, e.to_string()))
    }

    /// Parses and checks the text of a file.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key and the rule.
    fn from_toml(text: &str) -> Result<Self> {
        let config: Self = toml::from_str(text).map_err(|e| Error::config("config", e.to_string()))?;
        config.check()?;
        Ok(config)
    }

    /// The config as TOML, every default written out.
    ///
    /// # Errors
    /// [`Error::Config`] if a value has no TOML form.
    fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::config("config", e.to_string()))
    }
}
