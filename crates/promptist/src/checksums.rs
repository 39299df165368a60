//! SHA-256 of files, and the `SHA256SUMS` of a folder, in the format of the `sha256sum` command.
//!
//! A folder that people may edit is looked through by [`changed_files`]; one that must be exactly what
//! was written, a checkpoint, by [`verify`].

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::atomic::write_atomic;
use crate::error::{Error, Result};
use crate::weights::hex;

/// The file of a folder that lists the sums of the others.
pub const SHA256SUMS: &str = "SHA256SUMS";

/// The SHA-256 of a file, as 64 lower-case hexadecimal digits.
///
/// # Errors
/// [`Error::Io`].
pub fn sha256_of(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 17];
    loop {
        match file.read(&mut buffer).map_err(Error::io(path))? {
            0 => return Ok(hex(&hasher.finalize())),
            len => hasher.update(&buffer[..len]),
        }
    }
}

/// Writes the sums of every file in `folder`, sorted by name.
///
/// # Errors
/// [`Error::Io`].
pub fn write_sums(folder: &Path) -> Result<()> {
    let mut sums = String::new();
    for name in file_names(folder)? {
        sums += &format!("{}  {name}\n", sha256_of(&folder.join(&name))?);
    }
    write_atomic(folder.join(SHA256SUMS), |file| file.write_all(sums.as_bytes()))
}

/// Every file that is not what the folder's [`SHA256SUMS`] says: missing or changed. Nothing if
/// there is no such list.
///
/// # Errors
/// [`Error::Io`] if the list cannot be read, [`Error::Line`] if it is malformed.
pub fn changed_files(folder: &Path) -> Result<Vec<Error>> {
    let path = folder.join(SHA256SUMS);
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let mut changed = Vec::new();
    for (name, expected) in read_sums(&path)? {
        let file = folder.join(name);
        match sha256_of(&file) {
            Ok(found) if found == expected => {}
            Ok(found) => {
                changed.push(Error::file(&file, format!("expected SHA-256 {expected}, found {found}")))
            }
            Err(error) => changed.push(error),
        }
    }
    Ok(changed)
}

/// Checks that there is a list, that every sum has its file, every file its sum, and that they agree.
///
/// # Errors
/// The first that is missing or changed, as [`changed_files`] names it; [`Error::File`] for a file
/// without a sum; [`Error::Io`].
pub fn verify(folder: &Path) -> Result<()> {
    let sums = read_sums(&folder.join(SHA256SUMS))?;
    if let Some(changed) = changed_files(folder)?.into_iter().next() {
        return Err(changed);
    }
    match file_names(folder)?.iter().find(|name| !sums.contains_key(*name)) {
        Some(name) => Err(Error::file(folder.join(name), format!("has no SHA-256 sum in {SHA256SUMS}"))),
        None => Ok(()),
    }
}

/// Everything in `folder` but the sums, sorted.
fn file_names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        names.push(entry.map_err(Error::io(folder))?.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| name != SHA256SUMS);
    names.sort();
    Ok(names)
}

/// Sums by file name.
fn read_sums(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    let mut sums = BTreeMap::new();
    for (line, number) in text.lines().zip(1..) {
        let Some((sum, name)) = line.split_once("  ").filter(|(sum, _)| sum.len() == 64) else {
            return Err(Error::line(path, number, "expected a SHA-256, two spaces and a file name"));
        };
        sums.insert(name.to_owned(), sum.to_owned());
    }
    Ok(sums)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_or_missing_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        assert!(changed_files(folder.path()).unwrap().is_empty());
        fs::write(path("a"), "abc").unwrap();
        fs::write(path("b"), "").unwrap();
        write_sums(folder.path()).unwrap();
        let sums = fs::read_to_string(path(SHA256SUMS)).unwrap();
        // The sums of "abc" (FIPS 180-2, appendix B.1) and of nothing.
        assert_eq!(
            sums,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a\n\
             e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  b\n"
        );
        assert!(changed_files(folder.path()).unwrap().is_empty());
        verify(folder.path()).unwrap();
        fs::write(path("c"), "new").unwrap();
        assert!(verify(folder.path()).unwrap_err().to_string().contains("has no SHA-256"));
        fs::remove_file(path("c")).unwrap();

        fs::write(path("a"), "abd").unwrap();
        fs::remove_file(path("b")).unwrap();
        let changed: Vec<_> = changed_files(folder.path()).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(changed.len(), 2);
        assert!(changed[0].contains("expected SHA-256 ba78"), "{changed:?}");
        assert!(changed[1].contains('b'), "{changed:?}");
        assert_eq!(verify(folder.path()).unwrap_err().to_string(), changed[0]);

        fs::write(path(SHA256SUMS), "abc\n").unwrap();
        assert!(matches!(changed_files(folder.path()), Err(Error::Line { line: 1, .. })));
        fs::remove_file(path(SHA256SUMS)).unwrap();
        assert!(verify(folder.path()).is_err());
    }
}
