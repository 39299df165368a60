//! Images of a prompt in the cache that `promptist score` and `promptist eval` leave, found by what the files
//! themselves say of how they were made.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use promptist::generator::png::{self, Provenance};

use crate::build::rows::Row;
use crate::error::{Error, Result};

/// Which files show which prompt from which seed.
pub(crate) struct Cached {
    folder: PathBuf,
    /// By trimmed prompt and seed: several, if several generators or settings made one.
    files: HashMap<(String, u64), Vec<(PathBuf, Provenance)>>,
}

impl Cached {
    /// Reads what every image of a cache says of itself.
    ///
    /// # Errors
    /// [`promptist::Error::Io`] if it cannot be read.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let mut cached = Self { folder: folder.to_owned(), files: HashMap::new() };
        for shard in entries(&folder.join("images"))? {
            if shard.is_dir() {
                entries(&shard)?.into_iter().for_each(|path| cached.add(path));
            }
        }
        Ok(cached)
    }

    fn add(&mut self, path: PathBuf) {
        // A file that says nothing, or is damaged, is none of ours.
        let Ok(Some(provenance)) = png::read_provenance(&path) else { return };
        let Some(seed) = provenance.seed else { return };
        let key = (provenance.prompt.trim().to_owned(), seed);
        self.files.entry(key).or_default().push((path, provenance));
    }

    /// The images of a row, in the order of its seeds.
    ///
    /// # Errors
    /// [`Error::NotCached`]; [`Error::NoImages`] without seeds; [`promptist::Error::File`] if there are two
    /// images of one prompt and seed, by two generators or settings: nobody can tell which one is meant.
    pub(crate) fn images(&self, row: &Row) -> Result<Vec<PathBuf>> {
        if row.seeds.is_empty() {
            return Err(no_images(row));
        }
        // An empty rewrite is drawn as the user's input, which is what `score` does.
        let prompt = match row.adapted_prompt.trim() {
            "" => row.user_input.trim(),
            adapted_prompt => adapted_prompt,
        };
        row.seeds.iter().map(|&seed| self.image(prompt, seed, row.generator.as_deref())).collect()
    }

    fn image(&self, prompt: &str, seed: u64, generator: Option<&str>) -> Result<PathBuf> {
        let all = self.files.get(&(prompt.to_owned(), seed)).map_or([].as_slice(), Vec::as_slice);
        let is_meant = |made: &Provenance| generator.is_none_or(|name| made.generator.name == name);
        let mut meant = all.iter().filter(|(_, made)| is_meant(made));
        let Some((path, made)) = meant.next() else {
            return Err(Error::NotCached { cache: self.folder.clone(), prompt: prompt.to_owned(), seed });
        };
        let is_another =
            |other: &Provenance| other.generator != made.generator || other.settings != made.settings;
        match meant.find(|(_, other)| is_another(other)) {
            None => Ok(path.clone()),
            Some((other, _)) => {
                let reason = format!(
                    "shows `{prompt}` from seed {seed}, and so does {}, by another generator or with other \
                     settings: give the study a cache that has one of them",
                    other.display()
                );
                Err(promptist::Error::file(path, reason).into())
            }
        }
    }
}

/// The error for a row without images.
pub(crate) fn no_images(row: &Row) -> Error {
    Error::NoImages { input_id: row.input_id.clone(), system: row.system.clone() }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(promptist::Error::io(folder))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}
