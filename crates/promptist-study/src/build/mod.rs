//! From rewrites and images to a study: `promptist study new`.

pub(crate) mod cached;
pub(crate) mod pictures;
pub(crate) mod questions;
pub(crate) mod rows;

use std::path::Path;

use promptist::atomic::{sync_folder, write_atomic};
use promptist::config_file::ConfigFile;

use crate::build::cached::{Cached, no_images};
use crate::build::pictures::Pictures;
use crate::build::questions::{Asks, NewStudy};
use crate::build::rows::Row;
use crate::config::StudyConfig;
use crate::error::{Error, Result};
use crate::store::{Store, random_id};
use crate::study::{About, CONFIG, IMAGES, STUDY, database};

/// What a new study consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The systems, in the order in which they were first named.
    pub systems: Vec<String>,
    /// Inputs that are asked about.
    pub inputs: usize,
    /// Questions, checks apart.
    pub questions: usize,
    /// Checks.
    pub checks: usize,
    /// Inputs that were left out because a system lacks them.
    pub dropped: usize,
    /// Pairs that are not asked, for both sides have the same images.
    pub the_same: usize,
}

/// Makes a study in `folder`, which must not be there: it is there whole when this returns, or not at all.
///
/// # Errors
/// What [`Error`] names: no two systems, unequal inputs, missing or unequal images, an unreachable database.
pub async fn create(config: &StudyConfig, folder: &Path) -> Result<Summary> {
    config.check()?;
    if folder.exists() {
        return Err(Error::Exists(folder.to_owned()));
    }
    let parent = match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let io = |error| Error::Library(promptist::Error::io(folder)(error));
    std::fs::create_dir_all(parent).map_err(io)?;
    let unfinished = tempfile::Builder::new().prefix(".study.").tempdir_in(parent).map_err(io)?;

    let study = gather(config, unfinished.path())?;
    let about = About { id: random_id() };
    let place = database(config, unfinished.path(), &about);
    let made = match Store::create(&place, &study).await {
        Ok(store) => {
            store.close().await;
            about.write(&unfinished.path().join(STUDY)).and_then(|()| {
                let text = config.to_toml()?;
                write_atomic(unfinished.path().join(CONFIG), |file| file.write_all(text.as_bytes()))?;
                std::fs::rename(unfinished.path(), folder).and_then(|()| sync_folder(parent)).map_err(io)
            })
        }
        Err(error) => Err(error),
    };
    if let Err(error) = made {
        // The folder goes by itself; a database elsewhere has to be told.
        let _ = Store::remove(&place).await;
        return Err(error);
    }
    Ok(summary(&study))
}

/// Reads rows and images; these are taken over into `folder`.
fn gather(config: &StudyConfig, folder: &Path) -> Result<NewStudy> {
    let rows = config.input.iter().map(rows::read).collect::<Result<Vec<_>>>()?.concat();
    let rows = rows::group(rows, config.user_input_as.as_deref(), config.incomplete)?;
    let cached = config.cache.as_deref().map(Cached::open).transpose()?;
    let mut pictures = Pictures::create(folder.join(IMAGES))?;
    let find = |row: &Row| match (&cached, row.images.is_empty()) {
        (_, false) => Ok(row.images.clone()),
        (Some(cached), true) => cached.images(row),
        (None, true) => Err(no_images(row)),
    };
    questions::build(rows, config, &mut pictures, find)
}

fn summary(study: &NewStudy) -> Summary {
    let is_check = |asks: &Asks| matches!(asks, Asks::Check { .. });
    let checks = study.questions.iter().filter(|question| is_check(&question.asks)).count();
    Summary {
        systems: study.systems.clone(),
        inputs: study.items.len() / study.systems.len().max(1),
        questions: study.questions.len() - checks,
        checks,
        dropped: study.dropped,
        the_same: study.the_same,
    }
}
