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
        return Err(Error::file(&path, "the run was started with another config"));
    }
    Ok(())
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
