//! A run's folder: made, or found to be the one to go on with.

use std::fs;
use std::path::Path;

use crate::atomic::write_atomic;
use crate::config_file::ConfigFile;
use crate::error::{Error, Result};

/// Makes the run folder with its `config.toml`, or checks that it is one to resume and of the same config.
///
/// # Errors
/// [`Error::File`] if the folder is no run, is one already and not to be resumed, or has another config.
pub fn open<C: ConfigFile + PartialEq>(run: &Path, config: &C, resume: bool) -> Result<()> {
    let path = run.join("config.toml");
    let resolved = config.to_toml()?;
    if !fs::exists(&path).map_err(Error::io(&path))? {
        if run.is_dir() && is_occupied(run)? {
            return Err(Error::file(run, "exists and is not a run"));
        }
        fs::create_dir_all(run).map_err(Error::io(run))?;
        return write_atomic(&path, |file| file.write_all(resolved.as_bytes()));
    }
    if !resume {
        return Err(Error::file(run, "is a run already; resume it with --resume or choose another"));
    }
    if C::read(&path)? != *config {
        let started = fs::read_to_string(&path).map_err(Error::io(&path))?;
        let found = difference(&started, &resolved).unwrap_or_default();
        return Err(Error::file(&path, format!("the run was started with another config{found}")));
    }
    Ok(())
}

/// Holds a run for one process, for as long as what is returned is kept; a process that dies lets go.
///
/// # Errors
/// [`Error::File`] if another process works on it; [`Error::Io`].
pub fn lock(run: &Path) -> Result<fs::File> {
    let path = run.join("lock");
    let file = fs::File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(Error::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(Error::file(run, "another process works on this run")),
        // Some file systems have no locks; one process is the rule there too.
        Err(fs::TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => Ok(file),
        Err(fs::TryLockError::Error(error)) => Err(Error::io(&path)(error)),
    }
}

/// What the first key that differs was and is.
fn difference(started: &str, now: &str) -> Option<String> {
    let (started, now): (toml::Table, toml::Table) = (started.parse().ok()?, now.parse().ok()?);
    let (key, was, is) = first_difference("", &toml::Value::Table(started), &toml::Value::Table(now))?;
    let shown = |value: Option<toml::Value>| value.map_or("absent".to_owned(), |value| value.to_string());
    Some(format!(": `{key}` was {}, is {}", shown(was), shown(is)))
}

/// The first key under which two values differ, and both; tables and lists are looked into.
fn first_difference(
    key: &str,
    a: &toml::Value,
    b: &toml::Value,
) -> Option<(String, Option<toml::Value>, Option<toml::Value>)> {
    use toml::Value::{Array, Table};
    let inside = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
    match (a, b) {
        (Table(a), Table(b)) => {
            let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
            names.sort_unstable();
            names.dedup();
            names.into_iter().find_map(|name| match (a.get(name), b.get(name)) {
                (Some(a), Some(b)) => first_difference(&inside(name), a, b),
                (a, b) => Some((inside(name), a.cloned(), b.cloned())),
            })
        }
        (Array(a), Array(b)) if a.len() == b.len() => {
            let mut places = (0..).zip(a.iter().zip(b));
            places.find_map(|(place, (a, b))| first_difference(&format!("{key}[{place}]"), a, b))
        }
        _ => (a != b).then(|| (key.to_owned(), Some(a.clone()), Some(b.clone()))),
    }
}

/// Whether a folder holds anything but what a process that died while it wrote `config.toml` left.
fn is_occupied(folder: &Path) -> Result<bool> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let name = entry.map_err(Error::io(folder))?.file_name();
        let name = name.to_string_lossy();
        if !(name.starts_with(".config.toml.") && name.ends_with(".tmp")) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().expect("writable");
        let held = lock(folder.path()).expect("free");
        let error = lock(folder.path()).expect_err("held");
        assert!(error.to_string().contains("another process"), "{error}");
        drop(held);
        lock(folder.path()).expect("free again");
    }

    #[test]
    fn the_first_key_that_differs_is_named() {
        let found = |a: &str, b: &str| difference(a, b).expect("they differ");
        assert_eq!(found("a = 1\nb = 2", "a = 1\nb = 3"), ": `b` was 2, is 3");
        assert_eq!(found("a = 1", "a = 1\n[c]\nd = 'x'"), ": `c` was absent, is { d = \"x\" }");
        assert_eq!(
            found("[[c]]\nd = 1\n[[c]]\nd = 2", "[[c]]\nd = 1\n[[c]]\nd = 5"),
            ": `c[1].d` was 2, is 5"
        );
        assert_eq!(difference("a = 1", "a = 1"), None);
    }
}
