//! Snapshots as lines of JSON, for people and their tools: to look into, to merge, to carry elsewhere.
//!
//! Owns that form: `{"scope", "key", "logit", "bits", "tokens", "cut", "born"}`. `bits` is the logit bit for bit and is what
//! is read back; `logit` is for the eye. It must not know where lines come from or go to.

use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::path::Path;

use rescored_core::domain::{Logit, Scored};
use serde::{Deserialize, Serialize};

use super::cached_score::{self, CachedScore};
use super::key::Key;
use super::snapshot::{self, Record, Snapshot, SnapshotError};

/// Why lines are not written or not read.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The lines' file.
    #[error("lines cannot be read or written")]
    Lines(#[from] io::Error),
    /// A line's score claims to have been made in the future: it would outlive every age limit.
    #[error("line {line}: born in the future, by this machine's clock; correct `born` or the clock")]
    Future {
        /// Its number, from 1.
        line: usize,
    },
    /// A line is not one of ours.
    #[error("line {line}: no entry of a snapshot; export writes what import reads")]
    Line {
        /// Its number, from 1.
        line: usize,
    },
}

#[derive(Serialize, Deserialize)]
struct Entry<'a> {
    scope: std::borrow::Cow<'a, str>,
    key: String,
    logit: f32,
    bits: u32,
    tokens: u32,
    cut: bool,
    born: u32,
}

/// Writes a snapshot's entries as lines; says how many.
///
/// # Errors
/// [`ExchangeError`].
pub fn export(snapshot: Snapshot, out: &mut impl Write) -> Result<u64, ExchangeError> {
    let identities = snapshot.identities().to_vec();
    let mut entries = 0;
    for record in snapshot {
        let Record { scope, key, cached } = record?;
        let Scored { logit, tokens, cut } = cached.scored();
        let entry = Entry {
            scope: identities.get(scope).map_or("", String::as_str).into(),
            key: format!("{:032x}", u128::from_be_bytes(key.bytes())),
            logit: logit.get(),
            bits: logit.get().to_bits(),
            tokens,
            cut,
            born: cached.born(),
        };
        serde_json::to_writer(&mut *out, &entry).map_err(io::Error::from)?;
        out.write_all(b"\n")?;
        entries += 1;
    }
    Ok(entries)
}

/// Reads lines and writes a snapshot of them; of entries that come more than once, the youngest. Holds all entries in
/// memory meanwhile. Says how many there are.
///
/// # Errors
/// [`ExchangeError`]; no snapshot is written then.
pub fn import(lines: impl BufRead, path: &Path) -> Result<u64, ExchangeError> {
    // Before the lines are read: a file that cannot be written is reported at once.
    let lock = snapshot::lock(path)?;
    let now = cached_score::now();
    let mut identities: Vec<String> = Vec::new();
    let mut entries: HashMap<(usize, Key), CachedScore> = HashMap::new();
    for (number, line) in lines.lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let (identity, key, cached) = read(&line).ok_or(ExchangeError::Line { line: number + 1 })?;
        if cached.is_from_the_future(now) {
            return Err(ExchangeError::Future { line: number + 1 });
        }
        let scope = identities.iter().position(|known| *known == identity).unwrap_or_else(|| {
            identities.push(identity);
            identities.len() - 1
        });
        let kept = entries.entry((scope, key)).or_insert(cached);
        if cached.born() > kept.born() {
            *kept = cached;
        }
    }
    let identities: Vec<&str> = identities.iter().map(String::as_str).collect();
    let records = entries.into_iter().map(|((scope, key), cached)| Record { scope, key, cached });
    Ok(snapshot::replace(&lock, &identities, records)?)
}

fn read(line: &str) -> Option<(String, Key, CachedScore)> {
    let entry: Entry<'_> = serde_json::from_str(line).ok()?;
    let key = Key::from_bytes(u128::from_str_radix(&entry.key, 16).ok()?.to_be_bytes());
    let scored = Scored { logit: Logit::new(f32::from_bits(entry.bits))?, tokens: entry.tokens, cut: entry.cut };
    Some((entry.scope.into_owned(), key, CachedScore::new(scored, entry.born)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::QueryKey;
    use rescored_core::domain::Truncation;

    #[test]
    fn a_snapshot_survives_the_way_through_lines_and_merges() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        let keys = QueryKey::new("m", &Truncation::MODEL, "q");
        let record = |scope: usize, name: &str, logit: f32, born: u32| {
            let scored = Scored { logit: Logit::new(logit).unwrap(), tokens: 5, cut: scope == 1 };
            Record { scope, key: keys.document(name), cached: CachedScore::new(scored, born) }
        };
        let records = [record(0, "a", 0.1, 10), record(1, "a", -1e-30, cached_score::now()), record(0, "b", 3e38, 1)];
        snapshot::write(&one, &["first", "second"], records.into_iter()).unwrap();
        let mut lines = Vec::new();
        assert_eq!(export(Snapshot::open(&one).unwrap(), &mut lines).unwrap(), 3);
        let younger = String::from_utf8(lines.clone()).unwrap().replace("\"born\":10", "\"born\":11");
        let merged = [lines, younger.into_bytes()].concat();
        assert_eq!(import(&merged[..], &two).unwrap(), 3, "those that came twice are one");
        let mut back: Vec<(String, Key, CachedScore)> = Vec::new();
        let snapshot = Snapshot::open(&two).unwrap();
        let identities = snapshot.identities().to_vec();
        for record in snapshot {
            let Record { scope, key, cached } = record.unwrap();
            back.push((identities[scope].clone(), key, cached));
        }
        for (scope, name, logit, born) in [("first", "a", 0.1, 11), ("first", "b", 3e38, 1)] {
            let expected = (scope.to_owned(), keys.document(name), record(0, name, logit, born).cached);
            assert!(back.contains(&expected), "{expected:?} in {back:?}");
        }
        assert!(matches!(import(&b"\n{}\n"[..], &two), Err(ExchangeError::Line { line: 2 })));
        // Case C6.
        let tomorrow = String::from_utf8(merged)
            .unwrap()
            .replace("\"born\":10", &format!("\"born\":{}", cached_score::now() + 86_400));
        assert!(matches!(import(tomorrow.as_bytes(), &two), Err(ExchangeError::Future { line: 1 })));
    }
}
