//! The first tier as a snapshot, and a snapshot in the first tier.
//!
//! Owns which entries belong here, and that what is forgotten while a file is read stays away. It must not know the
//! file's format, nor when it is read and written.

use std::path::Path;
use std::sync::Arc;

use rescored_process::files::Lock;

use super::ScoreCache;
use super::cached_score::{self, CachedScore};
use super::key::Key;
use super::restoring::RestoringScores;
use super::snapshot::{self, Record, Snapshot, SnapshotError};
use super::tier::{Look, Tier};

/// What became of a snapshot's entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Entries that are valid here.
    pub kept: u64,
    /// Entries of models, or of arithmetic, that are not served here: they could never be hit.
    pub foreign: u64,
    /// Entries past their age.
    pub expired: u64,
    /// Entries that claim to have been made in the future: they would outlive every age limit.
    pub future: u64,
    /// Entries beyond what the first tier has room for.
    pub surplus: u64,
}

impl ScoreCache {
    /// Writes the first tier to a file, atomically; says how many entries it holds.
    ///
    /// # Errors
    /// What the file system said.
    pub fn write_snapshot(&self, path: &Path) -> Result<u64, SnapshotError> {
        self.replace_snapshot(&snapshot::lock(path)?)
    }

    /// As [`ScoreCache::write_snapshot`], for whoever holds the file's lock already.
    ///
    /// # Errors
    /// What the file system said.
    pub fn replace_snapshot(&self, lock: &Lock) -> Result<u64, SnapshotError> {
        let scopes = self.inner.scopes.load_full();
        let identities: Vec<&str> = scopes.iter().map(|scope| scope.identity.as_str()).collect();
        let looks: Vec<Look> = self.inner.tiers.iter().map(Tier::look).collect();
        let entries = looks.iter().enumerate();
        let records =
            entries.flat_map(|(scope, look)| look.iter().map(move |(key, cached)| Record { scope, key, cached }));
        snapshot::replace(lock, &identities, records)
    }

    /// Takes over the entries of a snapshot that belong here and are not too old.
    ///
    /// # Errors
    /// When the file could not be read to its end; what was read until then is kept, for it is right.
    pub fn restore(&self, snapshot: Snapshot) -> Result<Restored, SnapshotError> {
        let restored = self.announce(snapshot);
        self.take_over();
        restored
    }

    /// Reads the entries of a snapshot that belong here and are not too old: from now on they are found, and
    /// [`ScoreCache::take_over`] has the first tier hold them.
    ///
    /// # Errors
    /// As [`ScoreCache::restore`].
    pub fn announce(&self, snapshot: Snapshot) -> Result<Restored, SnapshotError> {
        let identities = snapshot.identities().to_vec();
        self.announce_all(&identities, snapshot)
    }

    pub(super) fn announce_all(
        &self,
        identities: &[String],
        records: impl Iterator<Item = Result<Record, SnapshotError>>,
    ) -> Result<Restored, SnapshotError> {
        let before = self.forgotten().clone();
        let scopes = self.inner.scopes.load_full();
        let home = |identity: &String| scopes.iter().position(|scope| scope.identity == *identity);
        let homes: Vec<Option<usize>> = identities.iter().map(home).collect();
        let now = cached_score::now();
        let room = |home: usize| self.inner.tiers.get(home).map_or(0, Tier::room);
        let mut restored = Restored::default();
        let mut read: Vec<Vec<(Key, CachedScore)>> = self.inner.tiers.iter().map(|_| Vec::new()).collect();
        let mut failed = None;
        for record in records {
            let Record { scope, key, cached } = match record {
                Ok(record) => record,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            };
            let home = homes.get(scope).copied().flatten();
            match home.and_then(|home| read.get_mut(home)) {
                None => restored.foreign += 1,
                Some(_) if cached.is_from_the_future(now) => restored.future += 1,
                Some(_) if self.is_too_old(cached, now) => restored.expired += 1,
                // A file may be larger than memory.
                Some(entries) if entries.len() as u64 >= home.map_or(0, room) => restored.surplus += 1,
                Some(entries) => {
                    entries.push((key, cached));
                    restored.kept += 1;
                }
            }
        }
        let forgotten = self.forgotten();
        let since = forgotten.iter().zip(&before).zip(&mut read).filter(|((now, before), _)| now != before);
        since.for_each(|(_, entries)| {
            restored.kept -= entries.len() as u64;
            entries.clear();
        });
        self.inner.restoring.store(Some(Arc::new(RestoringScores::new(read))));
        failed.map_or(Ok(restored), Err)
    }

    /// Has the first tier hold what was announced.
    pub fn take_over(&self) {
        let _moving = self.moving();
        self.settle_arriving();
    }

    /// As [`ScoreCache::take_over`], for whoever holds the lock of those who move entries.
    pub(super) fn settle_arriving(&self) {
        let Some(restoring) = self.inner.restoring.load_full() else { return };
        let tier = |scope: usize| self.inner.tiers.get(scope);
        restoring.take_over(|scope, key, cached| tier(scope).map_or((), |tier| tier.insert(key, cached)));
        self.inner.tiers.iter().for_each(Tier::settle);
        self.inner.restoring.store(None);
    }
}
