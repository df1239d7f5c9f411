//! What is reported about the cache: entries, bytes, hits, tiers, age.
//!
//! Plain data for whoever prints it. It must not know HTTP.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::shared::SharedReport;
use super::{Inner, cached_score};

/// Entries of each model whose age is looked at.
const SAMPLE: usize = 1000;

/// The cache, as it is now.
#[derive(Clone, Debug)]
pub struct Report {
    /// Since the cache was made.
    pub uptime: Duration,
    /// Age after which a score is computed anew.
    pub ttl: Option<Duration>,
    /// How old the first tier's scores are; `None` when it holds none.
    pub age: Option<AgeReport>,
    /// The first tier, by model.
    pub models: Vec<ModelReport>,
    /// The snapshot, when there is one.
    pub snapshot: Option<SnapshotReport>,
    /// The second tier, when there is one.
    pub shared: Option<SharedReport>,
}

/// Ages of scores, by a sample of them: keys are hashes, so any of them are as good as others.
#[derive(Clone, Copy, Debug)]
pub struct AgeReport {
    /// Half of them are younger.
    pub median: Duration,
    /// None is older.
    pub oldest: Duration,
}

/// One model's part of the first tier.
#[derive(Clone, Debug)]
pub struct ModelReport {
    /// The model's id.
    pub model: String,
    /// Scores held.
    pub entries: u64,
    /// Estimated bytes that they take.
    pub bytes: u64,
    /// Bytes that they may take.
    pub budget: u64,
    /// Pairs answered from any tier since the start.
    pub hits: u64,
    /// Pairs that no tier held since the start.
    pub misses: u64,
}

/// The snapshot's state.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotReport {
    /// Entries taken over at the start.
    pub restored: u64,
    /// Entries of the last one written; 0 before the first.
    pub entries: u64,
    /// How long ago the last one was written.
    pub age: Option<Duration>,
    /// The last one that was due could not be written.
    pub failed: bool,
    /// Another process keeps the file, so this one does not write it.
    pub locked: bool,
}

/// What the snapshot writer did, in numbers that any thread may read.
#[derive(Debug)]
pub(super) struct SnapshotState {
    started: Instant,
    restored: AtomicU64,
    entries: AtomicU64,
    /// Milliseconds from `started` to the last writing, plus one; 0 before the first.
    written: AtomicU64,
    failed: AtomicBool,
    locked: AtomicBool,
}

impl Default for SnapshotState {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            started: Instant::now(),
            restored: zero(),
            entries: zero(),
            written: zero(),
            failed: AtomicBool::new(false),
            locked: AtomicBool::new(false),
        }
    }
}

impl SnapshotState {
    pub(super) fn restored(&self, entries: u64) {
        self.restored.store(entries, Ordering::Relaxed);
    }

    pub(super) fn written(&self, entries: u64) {
        let at = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.entries.store(entries, Ordering::Relaxed);
        self.written.store(at + 1, Ordering::Relaxed);
        self.failed.store(false, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    pub(super) fn set_locked(&self, locked: bool) {
        self.locked.store(locked, Ordering::Relaxed);
    }

    fn report(&self) -> SnapshotReport {
        let written = self.written.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_millis);
        SnapshotReport {
            restored: self.restored.load(Ordering::Relaxed),
            entries: self.entries.load(Ordering::Relaxed),
            age: written.map(|at| self.started.elapsed().saturating_sub(at)),
            failed: self.failed.load(Ordering::Relaxed),
            locked: self.locked.load(Ordering::Relaxed),
        }
    }
}

pub(super) fn of(inner: &Inner) -> Report {
    // What moka has put off is looked for here: who asks wants what is.
    inner.tiers.iter().for_each(super::tier::Tier::settle);
    let scopes = inner.scopes.load();
    let models = scopes.iter().zip(&inner.tiers).map(|(scope, tier)| {
        let (hits, misses) = tier.counted();
        let (entries, bytes, budget) = (tier.entries(), tier.bytes(), tier.budget());
        ModelReport { model: scope.model.clone(), entries, bytes, budget, hits, misses }
    });
    Report {
        uptime: inner.started.elapsed(),
        ttl: inner.ttl,
        age: age(inner),
        models: models.collect(),
        snapshot: snapshot(inner),
        shared: inner.shared.as_ref().map(super::shared::SharedTier::report),
    }
}

pub(super) fn snapshot(inner: &Inner) -> Option<SnapshotReport> {
    inner.snapshot_writer.get().map(|_| inner.snapshot.report())
}

fn age(inner: &Inner) -> Option<AgeReport> {
    let now = cached_score::now();
    let looks: Vec<_> = inner.tiers.iter().map(super::tier::Tier::look).collect();
    let sample = looks.iter().flat_map(|look| look.iter().take(SAMPLE));
    let mut ages: Vec<Duration> = sample.map(|(_, cached)| cached.age(now)).collect();
    ages.sort_unstable();
    Some(AgeReport { median: *ages.get(ages.len() / 2)?, oldest: *ages.last()? })
}
