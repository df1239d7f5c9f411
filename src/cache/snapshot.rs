//! The first tier as a file.
//!
//! - `format`: the bytes.
//!
//! Owns the checks and the atomic writing.
//!
//! A file is read twice, as a stream: once to check it whole, once for its entries. So one that is torn, foreign or of
//! another version is refused before any entry of it is believed, in memory that does not grow with it. An entry names
//! its scope's identity, and the identity is hashed into the key: an entry of another model or of another arithmetic
//! could not be hit even if it were taken over.
//!
//! What is read and replaced is a regular file, never what a link leads to; who writes holds the lock beside it (both are
//! [`rescored_process::files`]'s). It must not know when snapshots are taken, nor what holds the entries.

mod format;

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rescored_process::files::{self, Draft, Lock, LockError};

pub use format::Record;

use format::{BUFFER, ENTRY, MAGIC, TRAILER, VERSION, check, header, read_entry, stream};

/// A snapshot that was found whole; iterating reads its entries.
#[derive(Debug)]
pub struct Snapshot {
    file: BufReader<File>,
    identities: Vec<String>,
    written: u64,
    entries: u64,
    left: u64,
}

/// Why a snapshot is not read or not written.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file system.
    #[error("snapshot: `{}` cannot be read or written", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another kind of file.
    #[error("snapshot: `{}` is no snapshot of scores", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Written by another version of this program.
    #[error("snapshot: `{}` has format {found}, this program reads {VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Not as it was written.
    #[error("snapshot: `{}` is torn ({what})", path.display())]
    Torn {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: &'static str,
    },
    /// Another process keeps it.
    #[error("snapshot: `{}` is kept by another process, which holds `{}.lock`; give each process its own file", path.display(), path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
}

impl Snapshot {
    /// Opens a snapshot and checks all of it.
    ///
    /// # Errors
    /// [`SnapshotError`]; nothing of the file is believed then.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        let failed = |source| SnapshotError::File { path: path.to_owned(), source };
        let mut file = files::open(path).map_err(failed)?;
        let whole = check(&mut file);
        file.rewind().map_err(failed)?;
        let mut file = BufReader::with_capacity(BUFFER, file);
        // Before the checksum: a file of another kind or version has none that we know.
        let mut start = [0; 12];
        let foreign = || SnapshotError::Foreign { path: path.to_owned() };
        file.read_exact(&mut start).map_err(|_| foreign())?;
        let (magic, version) = start.split_at(8);
        if magic != MAGIC {
            return Err(foreign());
        }
        let found = u32::from_le_bytes(version.try_into().unwrap_or_default());
        if found != VERSION {
            return Err(SnapshotError::Version { path: path.to_owned(), found });
        }
        let torn = |what| SnapshotError::Torn { path: path.to_owned(), what };
        let (length, entries) = match whole.map_err(failed)? {
            Ok(whole) => whole,
            Err(what) => return Err(torn(what)),
        };
        let header = header(&mut file).map_err(|_| torn("its header ends early"))?;
        let begins = file.stream_position().map_err(failed)?;
        let expected = entries.checked_mul(ENTRY as u64).and_then(|bytes| bytes.checked_add(begins + TRAILER as u64));
        if expected != Some(length) {
            return Err(torn("its length does not fit its number of entries"));
        }
        Ok(Self { file, identities: header.1, written: header.0, entries, left: entries })
    }

    /// Whose scores the entries are.
    pub fn identities(&self) -> &[String] {
        &self.identities
    }

    /// How many entries it holds.
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// How long ago it was written.
    pub fn age(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.saturating_sub(Duration::from_secs(self.written))
    }

    fn record(&mut self) -> Result<Record, SnapshotError> {
        // A file that changed after it was checked; the path is not at hand any more.
        let torn = |what| SnapshotError::Torn { path: PathBuf::new(), what };
        let mut bytes = [0; ENTRY];
        self.file.read_exact(&mut bytes).map_err(|_| torn("it ended while it was read"))?;
        read_entry(bytes).ok_or_else(|| torn("an entry's logit is not a finite number"))
    }
}

impl Iterator for Snapshot {
    type Item = Result<Record, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let record = self.record();
        if record.is_err() {
            self.left = 0;
        }
        Some(record)
    }
}

/// Takes the right to write the snapshot at a path, which one process has at a time.
///
/// # Errors
/// [`SnapshotError::Locked`] when another process has it; [`SnapshotError::File`].
pub fn lock(path: &Path) -> Result<Lock, SnapshotError> {
    Lock::take(path).map_err(|error| match error {
        LockError::Held => SnapshotError::Locked { path: path.to_owned() },
        LockError::File(source) => SnapshotError::File { path: path.to_owned(), source },
    })
}

/// Writes a snapshot under a lock of this call's own; see [`replace`].
///
/// # Errors
/// [`SnapshotError`]; the old one is still there then.
pub fn write(path: &Path, identities: &[&str], records: impl Iterator<Item = Record>) -> Result<u64, SnapshotError> {
    replace(&lock(path)?, identities, records)
}

/// Writes a snapshot: to a temporary file beside it, to the disk, then in place of the old one. Whoever reads the path
/// sees the old one or the new one. Says how many entries it holds.
///
/// # Errors
/// [`SnapshotError`]; the old one is still there then.
pub fn replace(lock: &Lock, identities: &[&str], records: impl Iterator<Item = Record>) -> Result<u64, SnapshotError> {
    let path = lock.target();
    let failed = |source| SnapshotError::File { path: path.to_owned(), source };
    let draft = Draft::create(path).map_err(failed)?;
    let entries = stream(draft.file(), identities, records).map_err(failed)?;
    draft.publish().map_err(failed)?;
    Ok(entries)
}

/// Adds to the snapshot at a path what an earlier one held of scopes that it does not name. Says how many entries it holds
/// then.
///
/// # Errors
/// [`SnapshotError`]; the snapshot at the path is as it was then.
pub fn keep_foreign(earlier: Snapshot, path: &Path) -> Result<u64, SnapshotError> {
    let present = Snapshot::open(path)?;
    let mut identities = present.identities().to_vec();
    // By position in the earlier one: the position in the new one.
    let places: Vec<Option<usize>> = earlier
        .identities()
        .iter()
        .map(|identity| {
            (!present.identities().contains(identity)).then(|| {
                identities.push(identity.clone());
                identities.len() - 1
            })
        })
        .collect();
    if places.iter().all(Option::is_none) {
        return Ok(present.entries());
    }
    let moved = earlier.filter_map(|record| match record {
        Ok(record) => places.get(record.scope).copied().flatten().map(|scope| Ok(Record { scope, ..record })),
        Err(error) => Some(Err(error)),
    });
    let names: Vec<&str> = identities.iter().map(String::as_str).collect();
    let mut torn = None;
    let records = present.chain(moved).map_while(|record| record.map_err(|error| torn = Some(error)).ok());
    let records: Vec<Record> = records.collect();
    torn.map_or_else(|| write(path, &names, records.into_iter()), Err)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::QueryKey;
    use crate::cached_score::CachedScore;
    use rescored_core::domain::{Logit, Scored, Truncation};

    fn records(count: u16) -> Vec<Record> {
        let keys = QueryKey::new("m", &Truncation::MODEL, "q");
        let record = |n: u16| {
            let scored = Scored { logit: Logit::new(f32::from(n) / 7.0).unwrap(), tokens: n.into(), cut: n % 2 == 1 };
            Record {
                scope: usize::from(n % 2),
                key: keys.document(&n.to_string()),
                cached: CachedScore::new(scored, n.into()),
            }
        };
        (0..count).map(record).collect()
    }

    fn written(count: u16) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores");
        assert_eq!(write(&path, &["one", "two"], records(count).into_iter()).unwrap(), u64::from(count));
        (folder, path)
    }

    #[test]
    fn what_was_written_is_read_back_and_nothing_else_is_left() {
        for count in [0, 1, 1000] {
            let (folder, path) = written(count);
            let snapshot = Snapshot::open(&path).unwrap();
            assert_eq!(
                (snapshot.identities(), snapshot.entries()),
                (&["one".to_owned(), "two".to_owned()][..], count.into())
            );
            let read: Vec<Record> = snapshot.map(Result::unwrap).collect();
            assert_eq!(read, records(count));
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "the temporary file is gone");
        }
    }

    #[test]
    fn foreign_files_and_other_versions_are_refused_by_name() {
        let (_folder, path) = written(3);
        let whole = std::fs::read(&path).unwrap();
        let sentence = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Snapshot::open(&path).unwrap_err().to_string()
        };
        for foreign in [&b""[..], b"short", b"a text that is longer than any header"] {
            assert!(sentence(foreign).contains("no snapshot"), "{}", sentence(foreign));
        }
        let mut newer = whole.clone();
        newer[8] = 2;
        assert!(sentence(&newer).contains("format 2, this program reads 1"), "{}", sentence(&newer));
    }

    #[test]
    fn what_another_model_left_is_kept() {
        let (folder, path) = written(10);
        let earlier = Snapshot::open(&path).unwrap();
        let newer = Record { scope: 0, ..records(30)[21] };
        write(&path, &["two"], [newer].into_iter()).unwrap();
        assert_eq!(keep_foreign(earlier, &path).unwrap(), 6, "five of `one`, and the new one of `two`");
        let merged = Snapshot::open(&path).unwrap();
        assert_eq!(merged.identities(), ["two", "one"]);
        let read: Vec<Record> = merged.map(Result::unwrap).collect();
        let old =
            records(10).into_iter().filter(|record| record.scope == 0).map(|record| Record { scope: 1, ..record });
        assert_eq!(read, [newer].into_iter().chain(old).collect::<Vec<_>>());
        assert_eq!(keep_foreign(Snapshot::open(&path).unwrap(), &path).unwrap(), 6, "nothing twice");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    // Case C6.
    fn a_snapshot_that_another_process_keeps_is_left_alone() {
        let (folder, path) = written(3);
        let cached = lock(&path).unwrap();
        assert!(matches!(write(&path, &[], std::iter::empty()), Err(SnapshotError::Locked { .. })));
        assert_eq!(Snapshot::open(&path).unwrap().entries(), 3);
        drop(cached);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no lock file is left");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Any cut and any changed byte: the file is refused.
        #[test]
        fn a_torn_file_is_refused(cut in any::<prop::sample::Index>(), changed in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let (_folder, path) = written(20);
            let whole = std::fs::read(&path).unwrap();
            std::fs::write(&path, &whole[..cut.index(whole.len())]).unwrap();
            prop_assert!(Snapshot::open(&path).is_err());
            let mut wrong = whole.clone();
            wrong[changed.index(whole.len())] ^= 1 << bit;
            std::fs::write(&path, &wrong).unwrap();
            prop_assert!(Snapshot::open(&path).is_err());
        }
    }
}
