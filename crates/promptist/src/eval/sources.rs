//! What a run was started on, so that one that is resumed cannot mix two things: inputs, models, rewards, images' makers.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::config::EvalConfig;
use super::images::EvalImages;
use super::report::{ImagesReport, SystemReport};
use super::summary::EvalSet;
use super::systems::System;
use crate::atomic::write_atomic;
use crate::error::{Error, Result};
use crate::reward::TermConfig;

/// The file in a run's folder.
const SOURCES: &str = "sources.json";

/// What rows depend on beside the config.
#[derive(Serialize)]
pub struct Sources {
    /// Of the program.
    version: &'static str,
    systems: Vec<SystemReport>,
    sets: Vec<SetSource>,
    rewards: Vec<RewardSource>,
    images: Option<ImagesReport>,
}

#[derive(Serialize)]
struct RewardSource {
    name: String,
    /// Of what the reward is opened from; none of a function, and of a server.
    sha256: Option<String>,
}

#[derive(Serialize)]
struct SetSource {
    name: String,
    sha256: String,
}

impl Sources {
    /// Of what is opened.
    ///
    /// # Errors
    /// [`Error::Io`] for a reward that is gone.
    pub fn of(
        config: &EvalConfig,
        systems: &[System],
        sets: &[EvalSet],
        images: Option<&EvalImages>,
    ) -> Result<Self> {
        let set = |set: &EvalSet| SetSource {
            name: set.config.name.clone(),
            sha256: super::inputs::sha256(&set.inputs),
        };
        let reward = |term: &TermConfig| Ok(RewardSource { name: term.name.clone(), sha256: term.sha256()? });
        Ok(Self {
            version: env!("CARGO_PKG_VERSION"),
            systems: systems.iter().map(System::report).collect(),
            sets: sets.iter().map(set).collect(),
            rewards: config.reward.iter().map(reward).collect::<Result<_>>()?,
            images: images.map(EvalImages::report),
        })
    }

    /// Writes them down in a run's folder, or compares them with what is written there.
    ///
    /// # Errors
    /// [`Error::File`] naming the first thing that has changed; [`Error::Io`].
    pub fn check(&self, run: &Path) -> Result<()> {
        let path = run.join(SOURCES);
        let now = serde_json::to_value(self).map_err(|error| Error::file(&path, error.to_string()))?;
        match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                write_atomic(&path, |file| file.write_all(format!("{now:#}\n").as_bytes()))
            }
            Err(error) => Err(Error::io(&path)(error)),
            Ok(bytes) => {
                let was: Value =
                    serde_json::from_slice(&bytes).map_err(|error| Error::file(&path, error.to_string()))?;
                match difference("", &was, &now) {
                    None => Ok(()),
                    Some((key, was, now)) => {
                        let reason =
                            format!("the run was started on something else: `{key}` was {was}, is {now}");
                        Err(Error::file(&path, reason))
                    }
                }
            }
        }
    }
}

/// The first key under which two values differ, and both.
fn difference(key: &str, a: &Value, b: &Value) -> Option<(String, Value, Value)> {
    let inside = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
            names.sort_unstable();
            names.dedup();
            let value =
                |of: &serde_json::Map<String, Value>, name| of.get(name).cloned().unwrap_or(Value::Null);
            names.into_iter().find_map(|name| difference(&inside(name), &value(a, name), &value(b, name)))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let mut places = (0..).zip(a.iter().zip(b));
            places.find_map(|(place, (a, b)): (usize, _)| difference(&format!("{key}[{place}]"), a, b))
        }
        _ => (a != b).then(|| (key.to_owned(), a.clone(), b.clone())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        let was = json!({"sets": [{"name": "a", "sha256": "1"}], "version": "1"});
        let is = json!({"sets": [{"name": "a", "sha256": "2"}], "version": "2"});
        assert_eq!(difference("", &was, &is), Some(("sets[0].sha256".to_owned(), json!("1"), json!("2"))));
        assert_eq!(difference("", &was, &was), None);
    }
}
