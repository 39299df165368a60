//! Writing files whole or not at all: to a temporary name in the same folder, flushed to the disk,
//! then renamed. Whoever kills the process or fills the disk leaves the old file, or none.
//!
//! Every file that the library writes and somebody may read later goes through [`write_atomic`].

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::error::{Error, Result};

/// Writes `path` through `write`, whole or not at all.
///
/// Returns what `write` returns. Nothing is left behind when `write` fails; after a `kill -9` a
/// file named `.{name}.….tmp` may remain, which no reader looks for. An [`Error`] that `write`
/// wraps in [`io::Error::other`] comes out as itself.
///
/// # Errors
/// [`Error::Io`] naming `path` if the folder is missing or read-only, or the disk is full.
pub fn write_atomic<T>(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<T>,
) -> Result<T> {
    let path = path.as_ref();
    replace(path, write).map_err(|source| match source.downcast::<Error>() {
        Ok(error) => error,
        Err(source) => Error::Io { path: path.to_owned(), source },
    })
}

/// Flushes a folder, so that a rename inside it survives a power cut. Nothing to do on Windows,
/// where folders cannot be opened for that.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

fn replace<T>(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<T>) -> io::Result<T> {
    let name =
        path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a file name"))?;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let prefix = format!(".{}.", name.to_string_lossy());
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".tmp");
    // Temporary files are private by default; this one becomes an ordinary file (less the umask).
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));

    let mut writer = BufWriter::with_capacity(1 << 16, builder.tempfile_in(folder)?);
    let value = write(&mut writer)?;
    let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)?;
    Ok(value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.json");
        write_atomic(&path, |w| w.write_all(b"old")).unwrap();
        let n = write_atomic(&path, |w| w.write_all(b"new").map(|()| 3)).unwrap();
        assert_eq!((n, fs::read(&path).unwrap().as_slice()), (3, b"new".as_slice()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_what_was_there_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.json");
        write_atomic(&path, |w| w.write_all(b"old")).unwrap();
        let error = write_atomic(&path, |w| {
            w.write_all(&[0; 100_000])?;
            Err::<(), _>(io::Error::new(io::ErrorKind::StorageFull, "no space left on device"))
        })
        .unwrap_err();
        assert!(error.to_string().contains("metrics.json: no space left"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_error_of_the_library_comes_out_as_itself() {
        let folder = tempfile::tempdir().unwrap();
        let error =
            write_atomic(folder.path().join("x"), |_| Err::<(), _>(io::Error::other(Error::EmptyPrompt)));
        assert!(matches!(error, Err(Error::EmptyPrompt)));
    }

    #[test]
    fn a_missing_folder_is_an_error_naming_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("absent/x.json");
        let error = write_atomic(&path, |w| w.write_all(b"x")).unwrap_err();
        assert!(matches!(&error, Error::Io { path: p, .. } if *p == path), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_readable_by_others_as_any_other() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        write_atomic(&ours, |w| w.write_all(b"x")).unwrap();
        fs::write(&plain, b"x").unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }
}
