//! Puts files into place whole or not at all.
//!
//! Owns temporary names, flushing and renaming. It must not know where bytes come from.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rescored_runtime::checksum::{Hashing, Sha256};

use super::FetchError;

/// Attaches the path to an error of the file system.
pub(super) fn disk(path: &Path) -> impl FnOnce(io::Error) -> FetchError {
    let path = path.to_owned();
    move |source| {
        if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            FetchError::Full { path, source }
        } else {
            FetchError::Disk { path, source }
        }
    }
}

/// Creates a folder and those above it.
pub(super) fn folder(path: &Path) -> Result<(), FetchError> {
    fs::create_dir_all(path).map_err(disk(path))
}

/// Writes what `content` yields to `path` under a temporary name, and renames it when it is whole and, where a
/// checksum is `expected`, when it has that one.
pub(super) fn write(
    path: &Path,
    content: &mut impl Read,
    expected: Option<Sha256>,
) -> Result<(Sha256, u64), FetchError> {
    folder(path.parent().unwrap_or(Path::new(".")))?;
    sweep(path);
    let temporary = temporary(path);
    let written = copy(content, &temporary).map_err(disk(&temporary)).and_then(|(found, bytes)| {
        check(path, expected, found)?;
        rename(&temporary, path)?;
        Ok((found, bytes))
    });
    if written.is_err() {
        // What is left of a failed write is of no use; the first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Renames within one folder, and makes the rename itself last.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), FetchError> {
    fs::rename(from, to).map_err(disk(to))?;
    let folder = to.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(disk(folder))
}

/// Compares checksums.
pub(super) fn check(path: &Path, expected: Option<Sha256>, found: Sha256) -> Result<(), FetchError> {
    match expected {
        Some(expected) if expected != found => Err(FetchError::WrongHash { path: path.to_owned(), expected, found }),
        Some(_) | None => Ok(()),
    }
}

/// The checksum and length of a file; `None` where there is none.
pub(super) fn digest(path: &Path) -> Result<Option<(Sha256, u64)>, FetchError> {
    match Sha256::of_file(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FetchError::Disk { path: path.to_owned(), source }),
    }
}

/// Removes a file that may not exist.
pub(super) fn remove(path: &Path) -> Result<(), FetchError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FetchError::Disk { path: path.to_owned(), source: error })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn copy(content: &mut impl Read, temporary: &Path) -> io::Result<(Sha256, u64)> {
    let mut hashing = Hashing::new(File::create(temporary)?);
    io::copy(content, &mut hashing)?;
    hashing.flush()?;
    // Renaming before the bytes are on the disk could leave an empty file after a power cut.
    hashing.get_ref().sync_all()?;
    Ok(hashing.finish())
}

/// Removes what earlier writes of `path` left when they were killed. Best effort: it only saves space.
fn sweep(path: &Path) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let left =
        |file: &str| file.strip_prefix(&format!(".{name}.")).is_some_and(|rest| rest.split('.').nth(1) == Some("tmp"));
    let entries = path.parent().and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten();
    for entry in entries.filter_map(Result::ok).filter(|entry| left(&entry.file_name().to_string_lossy())) {
        let _ = fs::remove_file(entry.path());
    }
}

/// A hidden neighbour of `path`, so that the rename stays on one file system. The process id keeps two apart that
/// share a folder in which locks do not work.
fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_wrong_checksum_leaves_what_was_there_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write(&path, &mut &b"good"[..], Some(Sha256::of(b"good"))).unwrap();
        let fault = write(&path, &mut &b"bad"[..], Some(Sha256::of(b"good"))).unwrap_err();
        assert!(matches!(fault, FetchError::WrongHash { .. }), "{fault}");
        assert_eq!((fs::read(&path).unwrap(), names(dir.path())), (b"good".to_vec(), vec!["file".to_owned()]));
    }

    // Case D8.
    #[test]
    fn a_full_disk_is_reported_as_such() {
        let full = |kind: io::ErrorKind| disk(Path::new("m/model.onnx"))(kind.into()).to_string();
        assert!(full(io::ErrorKind::StorageFull).contains("`m/model.onnx`: the disk is full; make room"));
        assert!(full(io::ErrorKind::PermissionDenied).contains("cannot be written or read"));
    }

    #[test]
    fn what_a_killed_write_left_is_swept_away() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".file.123.tmp"), "half").unwrap();
        fs::write(dir.path().join(".other.123.tmp"), "half").unwrap();
        write(&dir.path().join("file"), &mut &b"good"[..], None).unwrap();
        assert_eq!(names(dir.path()), [".other.123.tmp", "file"]);
    }

    #[test]
    fn a_source_that_breaks_off_leaves_nothing() {
        struct Broken(bool);
        impl Read for Broken {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                if std::mem::replace(&mut self.0, true) {
                    return Err(io::Error::other("gone"));
                }
                buffer[0] = 1;
                Ok(1)
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let fault = write(&dir.path().join("file"), &mut Broken(false), None).unwrap_err();
        assert!(matches!(fault, FetchError::Disk { .. }), "{fault}");
        assert!(names(dir.path()).is_empty());
    }
}
