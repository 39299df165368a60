//! A study's folder, opened: `promptist study serve|invite|report|export|show` begin here.
//!
//! ```text
//! study.json     the study's id
//! config.toml    what was decided before the first answer, every default written out
//! images/        pixels and nothing else, by their SHA-256
//! study.db       answers, if they are not in PostgreSQL
//! ```

use std::path::{Path, PathBuf};

use promptist::atomic::write_atomic;
use promptist::config_file::ConfigFile;
use serde::{Deserialize, Serialize};

use crate::config::StudyConfig;
use crate::error::{Error, Result};
use crate::store::{Place, Record, Store};

pub(crate) const STUDY: &str = "study.json";
pub(crate) const CONFIG: &str = "config.toml";
pub(crate) const IMAGES: &str = "images";
const DATABASE: &str = "study.db";

/// A study.
#[derive(Debug, Clone)]
pub struct Study {
    pub(crate) folder: PathBuf,
    pub(crate) config: StudyConfig,
    pub(crate) about: About,
    pub(crate) store: Store,
}

/// What names a study.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct About {
    /// 32 hexadecimal digits.
    pub(crate) id: String,
}

impl About {
    /// The PostgreSQL schema of its tables.
    pub(crate) fn schema(&self) -> String {
        format!("promptist_study_{}", self.id)
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let json = serde_json::json!({"id": self.id}).to_string();
        Ok(write_atomic(path, |file| file.write_all(json.as_bytes()))?)
    }

    fn read(folder: &Path) -> Result<Self> {
        let refuse = |reason: String| Error::NoStudy { path: folder.to_owned(), reason };
        let text =
            std::fs::read_to_string(folder.join(STUDY)).map_err(|e| refuse(format!("{STUDY}: {e}")))?;
        let about: Self = serde_json::from_str(&text).map_err(|e| refuse(format!("{STUDY}: {e}")))?;
        // It becomes part of a statement.
        let is_id = about.id.len() == 32 && about.id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_id { Ok(about) } else { Err(refuse(format!("{STUDY}: `{}` is no id", about.id))) }
    }
}

impl Study {
    /// Opens a study's folder and its database.
    ///
    /// # Errors
    /// [`Error::NoStudy`]; [`Error::Library`] for its config; [`Error::Database`].
    pub async fn open(folder: &Path) -> Result<Self> {
        let about = About::read(folder)?;
        let config = StudyConfig::read(&folder.join(CONFIG))?;
        let store = Store::open(&database(&config, folder, &about)).await?;
        Ok(Self { folder: folder.to_owned(), config, about, store })
    }

    /// What was decided before the first answer.
    pub fn config(&self) -> &StudyConfig {
        &self.config
    }

    /// Tokens of new raters: a link is the page's address with `?rater=` and a token.
    ///
    /// # Errors
    /// [`Error::Full`]; [`Error::Database`].
    pub async fn invite(&self, count: usize) -> Result<Vec<String>> {
        self.store.invite(count, self.config.raters.max).await
    }

    /// Finishes what is under way and lets go of the database.
    pub async fn close(&self) {
        self.store.close().await;
    }

    pub(crate) async fn record(&self) -> Result<Record> {
        self.store.record().await
    }
}

/// Where a study's tables are.
pub(crate) fn database(config: &StudyConfig, folder: &Path, about: &About) -> Place {
    match &config.database {
        Some(url) => Place::Postgres { url: url.clone(), schema: about.schema() },
        None => Place::Sqlite(folder.join(DATABASE)),
    }
}
