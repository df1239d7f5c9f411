//! The bytes of a snapshot.
//!
//! The format, version 1, all numbers little-endian:
//!
//! ```text
//! "rescored"  version: u32  written: u64 (seconds since 1970)
//! scopes: u16, then for each: length: u16, identity (UTF-8)
//! entries, 30 bytes each: scope: u16  key: 16 bytes  logit: f32  tokens and cut: u32  born: u32
//! 0xffff: u16  number of entries: u64  BLAKE3 of everything before it: 32 bytes
//! ```
//!
//! Owns the format. It must not know where the file lies, nor who may write it.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cached_score::{self, CachedScore};
use crate::key::Key;

pub(super) const MAGIC: [u8; 8] = *b"rescored";
pub(super) const VERSION: u32 = 1;
/// Stands where an entry's scope would: the entries are over.
const END: u16 = u16::MAX;
pub(super) const ENTRY: usize = 2 + 16 + cached_score::BYTES;
pub(super) const TRAILER: usize = 2 + 8 + 32;
/// Longer identities are not ours.
const LONGEST_IDENTITY: usize = 4096;
/// More scopes are not ours: a model each, with a few generations of it.
const MOST_SCOPES: u16 = 4096;
pub(super) const BUFFER: usize = 256 << 10;

/// One entry of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record {
    /// Position of its scope in [`super::Snapshot::identities`].
    pub(crate) scope: usize,
    pub(crate) key: Key,
    pub(crate) cached: CachedScore,
}

impl Record {
    /// Position of its scope in [`super::Snapshot::identities`].
    pub const fn scope(&self) -> usize {
        self.scope
    }
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

pub(super) fn stream(file: &File, identities: &[&str], records: impl Iterator<Item = Record>) -> io::Result<u64> {
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

pub(super) fn read_entry(bytes: [u8; ENTRY]) -> Option<Record> {
    let (scope, rest) = bytes.split_first_chunk()?;
    let (key, rest) = rest.split_first_chunk()?;
    let cached = CachedScore::from_bytes(*rest.first_chunk()?)?;
    Some(Record { scope: u16::from_le_bytes(*scope).into(), key: Key::from_bytes(*key), cached })
}

/// What follows magic and version: when it was written, and the identities.
pub(super) fn header(file: &mut impl Read) -> io::Result<(u64, Vec<String>)> {
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
pub(super) fn check(file: &mut File) -> io::Result<Result<(u64, u64), &'static str>> {
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
