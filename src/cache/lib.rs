//! The score cache: a pair that was scored once is not scored again while its score is valid.
//!
//! - `key`: the identity of a pair's score.
//! - `tier`: the first tier, in this process, weighed in bytes.
//! - `snapshot`: the first tier as a file; `snapshot_writer`: the thread that reads and writes it.
//! - `restore`: from a snapshot into the first tier and back; `restoring`: a snapshot's entries while the first tier
//!   takes them over.
//! - `shrink`: giving scores up so that their memory comes back to the system.
//! - `exchange`: a snapshot as lines of JSON.
//! - `shared`: the second tier, a Valkey or Redis that sidecars share.
//! - `report`: what is reported about all of them.
//!
//! Owns moka, the client of the second tier, and the bytes of entries. A cached score is bit-equal to the fresh one: an entry is tied to its
//! [`Scope`], which is hashed into its key. It must not know how scores are made, nor HTTP.

pub mod exchange;
pub mod options;
pub mod report;
pub mod snapshot;
pub mod snapshot_writer;

mod cached_score;
mod key;
mod restore;
mod restoring;
mod shared;
mod shrink;
mod tier;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use rescored_core::domain::Scored;
use rescored_process::budget::Budget;
use rescored_process::metrics::Metrics;
use rescored_process::sync::lock;

pub use key::{Key, QueryKey};
pub use options::{Options, SharedOptions, SnapshotOptions};
pub use report::{Report, SnapshotReport};
pub use restore::Restored;

use cached_score::CachedScore;
use restoring::RestoringScores;
use shared::SharedTier;
use snapshot_writer::Order;
use tier::Tier;

/// Whose scores are kept together: a model, and everything beside the texts that decides its scores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The model's id, for people.
    pub model: String,
    /// Everything that decides a score: two scopes with the same identity give bit-equal scores.
    pub identity: String,
}

/// What became of the wish to forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// Scores that the first tier held.
    pub entries: u64,
    /// Whether the second tier, where there is one, was there to be asked; it forgets in the background.
    pub shared: Option<bool>,
}

/// Scores by scope and key. Cheap to clone; all clones are one cache.
#[derive(Clone, Debug)]
pub struct ScoreCache {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    scopes: ArcSwap<Vec<Scope>>,
    tiers: Vec<Tier>,
    /// What a snapshot brings, until the tiers have it.
    restoring: ArcSwapOption<RestoringScores>,
    /// Held by whoever moves many entries into the tiers.
    moving: Mutex<()>,
    /// Bytes given up for good, which the allocator may have back.
    freed: Arc<AtomicU64>,
    /// How often each scope was forgotten. Held while one is, and while what a snapshot brings begins to be found, so that
    /// what was forgotten while the file was read stays away.
    forgotten: Mutex<Vec<u64>>,
    shared: Option<SharedTier>,
    ttl: Option<Duration>,
    started: Instant,
    /// Scores kept or given up since the start; a snapshot is written only when it moved.
    changes: AtomicU64,
    /// Wakes the snapshot writer, when there is one.
    snapshot_writer: OnceLock<Sender<Order>>,
    snapshot: report::SnapshotState,
    metrics: Arc<Metrics>,
}

impl ScoreCache {
    /// An empty cache for these scopes, which share its budget by weight, without a second tier.
    pub fn new(options: &Options, scopes: Vec<Scope>, metrics: Arc<Metrics>) -> Self {
        Self::over(options, scopes, None, metrics)
    }

    /// As [`ScoreCache::new`], with a second tier where one is named. The tier that cannot be reached is no error: it is asked again later.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn sharing(
        options: &Options,
        scopes: Vec<Scope>,
        shared: &SharedOptions,
        budget: &Budget,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let start = |url: &String| SharedTier::start(url, shared.timeout, &scopes, options.ttl, budget, &metrics);
        let tier = shared.url.as_ref().map(start).transpose()?;
        Ok(Self::over(options, scopes, tier, metrics))
    }

    fn over(options: &Options, scopes: Vec<Scope>, shared: Option<SharedTier>, metrics: Arc<Metrics>) -> Self {
        for (id, _) in options.weights.iter().filter(|(id, _)| scopes.iter().all(|scope| scope.model != *id)) {
            tracing::warn!(model.id = id, "a weight in the score cache is of no model that is served");
        }
        let weights = scopes.iter().map(|scope| options.weight(&scope.model));
        let all: u128 = weights.clone().map(u128::from).sum::<u128>().max(1);
        let share = |weight: u32| u64::try_from(u128::from(options.bytes) * u128::from(weight) / all).unwrap_or(0);
        let freed = Arc::default();
        let tier = |weight: u32| Tier::new(share(weight), options.ttl, &metrics, &freed);
        let tiers: Vec<Tier> = weights.map(tier).collect();
        let inner = Inner {
            forgotten: Mutex::new(vec![0; tiers.len()]),
            scopes: ArcSwap::from_pointee(scopes),
            tiers,
            restoring: ArcSwapOption::empty(),
            moving: Mutex::new(()),
            freed,
            shared,
            ttl: options.ttl,
            started: Instant::now(),
            changes: AtomicU64::new(0),
            snapshot_writer: OnceLock::new(),
            snapshot: report::SnapshotState::default(),
            metrics,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The score of a pair, if the first tier holds it and it is not too old.
    pub fn get(&self, scope: usize, key: Key) -> Option<Scored> {
        // Looked at first: what leaves it meanwhile is in the tier.
        let restoring = self.inner.restoring.load();
        let cached = self.inner.tiers.get(scope)?.get(key);
        let on_its_way = || {
            let cached = restoring.as_ref()?.get(scope, key)?;
            (!self.is_too_old(cached, cached_score::now())).then_some(cached)
        };
        cached.or_else(on_its_way).map(CachedScore::scored)
    }

    /// Keeps a score in every tier.
    pub fn insert(&self, scope: usize, key: Key, scored: Scored) {
        let cached = CachedScore::new(scored, cached_score::now());
        self.keep(scope, key, cached);
        if let Some(shared) = &self.inner.shared {
            shared.write(scope, key, cached);
        }
    }

    fn keep(&self, scope: usize, key: Key, cached: CachedScore) {
        if let Some(tier) = self.inner.tiers.get(scope) {
            tier.insert(key, cached);
            self.inner.changes.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_too_old(&self, cached: CachedScore, now: u32) -> bool {
        self.inner.ttl.is_some_and(|ttl| cached.age(now) >= ttl)
    }

    /// Whether there is a second tier to ask.
    pub fn is_shared(&self) -> bool {
        self.inner.shared.is_some()
    }

    /// Asks the second tier, in one round trip and within its time bound, and keeps what it holds in the first. A tier
    /// that is late or down holds nothing.
    pub async fn fetch(&self, scope: usize, keys: &[Key]) -> Vec<Option<Scored>> {
        let Some(shared) = &self.inner.shared else { return vec![None; keys.len()] };
        let found = shared.fetch(scope, keys).await;
        for (&key, cached) in keys.iter().zip(&found) {
            if let Some(cached) = *cached {
                self.keep(scope, key, cached);
            }
        }
        found.into_iter().map(|cached| cached.map(CachedScore::scored)).collect()
    }

    /// Counts pairs of one request by what the cache had of them.
    pub fn count(&self, scope: usize, hits: usize, misses: usize) {
        self.inner.metrics.cache_hits.inc_by(hits as u64);
        self.inner.metrics.cache_misses.inc_by(misses as u64);
        if let Some(tier) = self.inner.tiers.get(scope) {
            tier.count(hits as u64, misses as u64);
        }
    }

    /// Gives up every score, or those of one scope, in all tiers and in the snapshot.
    pub fn forget(&self, scope: Option<usize>) -> Forgotten {
        let chosen = |position: &usize| scope.is_none_or(|scope| scope == *position);
        let mut forgotten = Forgotten { entries: 0, shared: self.inner.shared.as_ref().map(|_| true) };
        for position in (0..self.inner.tiers.len()).filter(chosen) {
            forgotten.entries += self.give_up(position);
            if let Some(shared) = &self.inner.shared {
                let asked = shared.forget(position);
                forgotten.shared = forgotten.shared.map(|before| before && asked);
            }
        }
        self.inner.changes.fetch_add(1, Ordering::Relaxed);
        if let Some(snapshot_writer) = self.inner.snapshot_writer.get() {
            // A snapshot writer that is gone has written its last snapshot, and the process is going with it.
            let _ = snapshot_writer.send(Order::Write);
        }
        forgotten
    }

    /// A scope is another identity's from now on: its model changed. Scores of the one before are given up here; their
    /// keys hold its identity, so none is ever taken for the new one's, whoever keeps it when.
    pub fn assign(&self, scope: usize, identity: &str) {
        let known = |scopes: &Vec<Scope>| scopes.get(scope).is_none_or(|known| known.identity == identity);
        if known(&self.inner.scopes.load()) {
            return;
        }
        self.inner.scopes.rcu(|scopes| {
            let mut scopes = Vec::clone(scopes);
            if let Some(known) = scopes.get_mut(scope) {
                identity.clone_into(&mut known.identity);
            }
            scopes
        });
        if let Some(shared) = &self.inner.shared {
            shared.assign(scope, identity);
        }
        self.give_up(scope);
        self.inner.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives up what this process holds of a scope, or is about to hold; says how much that was.
    fn give_up(&self, scope: usize) -> u64 {
        let mut forgotten = self.forgotten();
        forgotten.iter_mut().skip(scope).take(1).for_each(|times| *times += 1);
        let restoring = self.inner.restoring.load();
        let on_their_way = restoring.as_ref().map_or(0, |restoring| restoring.forget(scope));
        let Some(tier) = self.inner.tiers.get(scope) else { return on_their_way };
        let former = tier.renew();
        on_their_way + shrink::drop_apart(former)
    }

    fn moving(&self) -> MutexGuard<'_, ()> {
        lock(&self.inner.moving)
    }

    fn forgotten(&self) -> MutexGuard<'_, Vec<u64>> {
        lock(&self.inner.forgotten)
    }

    /// Brings the gauges up to date.
    pub fn show(&self) {
        let level = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let (entries, bytes) = self
            .inner
            .tiers
            .iter()
            .fold((0, 0), |(entries, bytes), tier| (entries + tier.entries(), bytes + tier.bytes()));
        self.inner.metrics.cache_entries.set(level(entries));
        self.inner.metrics.cache_bytes.set(level(bytes));
    }

    /// The snapshot's state, when one is kept.
    pub fn snapshot(&self) -> Option<SnapshotReport> {
        report::snapshot(&self.inner)
    }

    /// What there is to report.
    pub fn report(&self) -> Report {
        report::of(&self.inner)
    }
}

#[cfg(test)]
mod tests;
