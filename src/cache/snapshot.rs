//! The first tier as a file.
//!
//! Owns the format and the atomic writing. The format, version 1, all numbers little-endian:
//!
//! ```text
//! "rescored"  version: u32  written: u64 (seconds since 1970)
//! scopes: u16, then for each: length: u16, identity (UTF-8)
//! entries, 30 bytes each: scope: u16  key: 16 bytes  logit: f32  tokens and cut: u32  born: u32
//! 0xffff: u16  number of entries: u64  BLAKE3 of everything before it: 32 bytes
//! ```
//!
//! A file is read twice, as a stream: once to check it whole, once for its entries. So one that is torn, foreign or of
//! another version is refused before any entry of it is believed, in memory that does not grow with it. An entry names
//! its scope's identity, and the identity is hashed into the key: an entry of another model or of another arithmetic
//! could not be hit even if it were taken over.
//!
//! What is read and replaced is a regular file, never what a link leads to; who writes holds the lock beside it (both are
//! [`rescored_process::files`]'s). It must not know when snapshots are taken, nor what holds the entries.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rescored_process::files::{self, Draft, Lock, LockError};

use super::cached_score::{self, CachedScore};
use super::key::Key;

const MAGIC: [u8; 8] = *b"rescored";
const VERSION: u32 = 1;
/// Stands where an entry's scope would: the entries are over.
const END: u16 = u16::MAX;
const ENTRY: usize = 2 + 16 + cached_score::BYTES;
const TRAILER: usize = 2 + 8 + 32;
/// Longer identities are not ours.
const LONGEST_IDENTITY: usize = 4096;
/// More scopes are not ours: a model each, with a few generations of it.
const MOST_SCOPES: u16 = 4096;
const BUFFER: usize = 256 << 10;

/// One entry of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record {
    /// Position of its scope in [`Snapshot::identities`].
    pub(super) scope: usize,
    pub(super) key: Key,
    pub(super) cached: CachedScore,
}

impl Record {
    /// Position of its scope in [`Snapshot::identities`].
    pub const fn scope(&self) -> usize {
        self.scope
    }
}

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

/// Hashes and counts what goes through it.
struct Hashing<W> {
    inner: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
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

fn stream(file: &File, identities: &[&str], records: impl Iterator<Item = Record>) -> io::Result<u64> {
    let mut out = Hashing { inner: BufWriter::with_capacity(BUFFER, file), hasher: blake3::Hasher::new() };
    let written = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    out.write_all(&MAGIC)?;
    out.write_all(&VERSION.to_le_bytes())?;
    out.write_all(&written.to_le_bytes())?;
    out.write_all(&short(identities.len())?.to_le_bytes())?;
    for identity in identities {
        out.write_all(&short(identity.len())?.to_le_bytes())?;
        out.write_all(identity.as_bytes())?;
    }
    let mut entries: u64 = 0;
    for record in records {
        out.write_all(&write_entry(&record)?)?;
        entries += 1;
    }
    out.write_all(&END.to_le_bytes())?;
    out.write_all(&entries.to_le_bytes())?;
    let hash = out.hasher.finalize();
    out.inner.write_all(hash.as_bytes())?;
    out.inner.flush()?;
    Ok(entries)
}

fn short(number: usize) -> io::Result<u16> {
    u16::try_from(number)
        .ok()
        .filter(|number| *number < END)
        .ok_or_else(|| io::Error::other("too many or too long identities"))
}

fn write_entry(record: &Record) -> io::Result<[u8; ENTRY]> {
    let mut bytes = [0; ENTRY];
    bytes[..2].copy_from_slice(&short(record.scope)?.to_le_bytes());
    bytes[2..18].copy_from_slice(&record.key.bytes());
    bytes[18..].copy_from_slice(&record.cached.bytes());
    Ok(bytes)
}

fn read_entry(bytes: [u8; ENTRY]) -> Option<Record> {
    let (scope, rest) = bytes.split_first_chunk()?;
    let (key, rest) = rest.split_first_chunk()?;
    let cached = CachedScore::from_bytes(*rest.first_chunk()?)?;
    Some(Record { scope: u16::from_le_bytes(*scope).into(), key: Key::from_bytes(*key), cached })
}

/// What follows magic and version: when it was written, and the identities.
fn header(file: &mut impl Read) -> io::Result<(u64, Vec<String>)> {
    let mut written = [0; 8];
    file.read_exact(&mut written)?;
    let mut count = [0; 2];
    file.read_exact(&mut count)?;
    let mut identities = Vec::new();
    let count = u16::from_le_bytes(count);
    if count > MOST_SCOPES {
        return Err(io::Error::other("too many scopes"));
    }
    for _ in 0..count {
        let mut length = [0; 2];
        file.read_exact(&mut length)?;
        let length = usize::from(u16::from_le_bytes(length));
        if length > LONGEST_IDENTITY {
            return Err(io::Error::other("an identity is too long"));
        }
        let mut identity = vec![0; length];
        file.read_exact(&mut identity)?;
        identities.push(String::from_utf8(identity).map_err(io::Error::other)?);
    }
    Ok((u64::from_le_bytes(written), identities))
}

/// Reads all of a file and holds it against its checksum: its length and its number of entries, or what does not fit.
fn check(file: &mut File) -> io::Result<Result<(u64, u64), &'static str>> {
    let length = file.metadata()?.len();
    let Some(body) = length.checked_sub(32).filter(|_| length >= TRAILER as u64) else {
        return Ok(Err("it is too short"));
    };
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; BUFFER];
    let mut left = body;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
        let Some(piece) = buffer.get_mut(..want) else { break };
        file.read_exact(piece)?;
        hasher.update(piece);
        left -= want as u64;
    }
    let mut stated = [0; 32];
    file.read_exact(&mut stated)?;
    if *hasher.finalize().as_bytes() != stated {
        return Ok(Err("its checksum does not fit"));
    }
    file.seek(SeekFrom::Start(length - TRAILER as u64))?;
    let (mut end, mut entries) = ([0; 2], [0; 8]);
    file.read_exact(&mut end)?;
    file.read_exact(&mut entries)?;
    if end != END.to_le_bytes() {
        return Ok(Err("its end is not marked"));
    }
    Ok(Ok((length, u64::from_le_bytes(entries))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::QueryKey;
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
