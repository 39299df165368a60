//! `--input`, the same for every verb: a file, or `-` for stdin.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use promptist::data::lines;

/// The lines of `input`, and what it is called in errors.
pub fn read_lines(input: &Path) -> Result<(PathBuf, Vec<String>)> {
    if input.as_os_str() != "-" {
        return Ok((input.to_owned(), lines::read(input)?));
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).context("reading stdin")?;
    let name = PathBuf::from("<stdin>");
    let lines = lines::parse(&name, &bytes)?;
    Ok((name, lines))
}
