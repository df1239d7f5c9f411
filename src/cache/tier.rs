//! The first tier: one scope's scores in this process, within a budget of bytes.
//!
//! Owns the only use of moka, and the weight of an entry. It must not know other tiers or scopes.

use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::notification::RemovalCause;
use moka::sync::Cache;

use super::held::{self, Held};
use super::key::{Key, KeyHasher};
use crate::metrics::Metrics;

/// Bytes of one entry: key and value (28 bytes), what moka keeps beside them (hash table slot, the shared entry, its
/// nodes in the access and write queues, its share of the frequency sketch), and what the allocator rounds up to.
/// Measured as resident bytes an entry, over a million entries, by `make bench-cache` (268 on Linux x86-64).
const ENTRY_BYTES: u32 = 272;

/// The same with an age limit, for which moka keeps a node in its timer wheel (310 measured).
const TIMED_ENTRY_BYTES: u32 = 312;

/// One scope's scores.
#[derive(Debug)]
pub(super) struct Tier {
    /// `None` when the budget is 0.
    entries: Option<Cache<Key, Held, BuildHasherDefault<KeyHasher>>>,
    /// Bytes of an entry.
    weight: u32,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// An entry's time is counted from when its score was made, not from when it came here.
struct Age {
    ttl: Duration,
}

impl Age {
    fn left(&self, held: &Held) -> Duration {
        self.ttl.saturating_sub(held.age(held::now()))
    }
}

impl Expiry<Key, Held> for Age {
    fn expire_after_create(&self, _: &Key, held: &Held, _: Instant) -> Option<Duration> {
        Some(self.left(held))
    }

    fn expire_after_update(&self, _: &Key, held: &Held, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(self.left(held))
    }
}

impl Tier {
    /// A tier of so many bytes, whose entries live for so long.
    pub(super) fn new(bytes: u64, ttl: Option<Duration>, metrics: &Arc<Metrics>) -> Self {
        let evictions = metrics.cache_evictions.clone();
        let weight = if ttl.is_some() { TIMED_ENTRY_BYTES } else { ENTRY_BYTES };
        let entries = (bytes > 0).then(|| {
            let builder =
                Cache::builder().name("scores").max_capacity(bytes).weigher(move |_, _| weight).eviction_listener(
                    move |_, _, cause| {
                        if matches!(cause, RemovalCause::Size | RemovalCause::Expired) {
                            evictions.inc();
                        }
                    },
                );
            let builder = match ttl {
                Some(ttl) => builder.expire_after(Age { ttl }),
                None => builder,
            };
            builder.build_with_hasher(BuildHasherDefault::default())
        });
        Self { entries, weight, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    pub(super) fn get(&self, key: Key) -> Option<Held> {
        self.entries.as_ref()?.get(&key)
    }

    pub(super) fn insert(&self, key: Key, held: Held) {
        if let Some(entries) = &self.entries {
            entries.insert(key, held);
        }
    }

    /// Every entry, in no order. Takes memory for a part of the keys at a time.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, Held)> {
        self.entries.iter().flat_map(|entries| entries.iter().map(|(key, held)| (*key, held)))
    }

    /// Gives up all entries, at once for whoever asks; says how many there were.
    pub(super) fn forget(&self) -> u64 {
        self.settle();
        let held = self.entries();
        if let Some(entries) = &self.entries {
            entries.invalidate_all();
            entries.run_pending_tasks();
        }
        held
    }

    /// Gives up every second entry.
    pub(super) fn halve(&self) {
        let Some(entries) = &self.entries else { return };
        let every_second: Vec<Key> = entries.iter().step_by(2).map(|(key, _)| *key).collect();
        for key in every_second {
            entries.invalidate(&key);
        }
        entries.run_pending_tasks();
    }

    /// Applies what was put off, so that counts are exact.
    pub(super) fn settle(&self) {
        if let Some(entries) = &self.entries {
            entries.run_pending_tasks();
        }
    }

    pub(super) fn entries(&self) -> u64 {
        self.entries.as_ref().map_or(0, Cache::entry_count)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.entries.as_ref().map_or(0, Cache::weighted_size)
    }

    pub(super) fn budget(&self) -> u64 {
        self.entries.as_ref().and_then(|entries| entries.policy().max_capacity()).unwrap_or(0)
    }

    /// How many entries the budget has room for.
    pub(super) fn room(&self) -> u64 {
        self.budget() / u64::from(self.weight)
    }

    pub(super) fn count(&self, hits: u64, misses: u64) {
        self.hits.fetch_add(hits, Ordering::Relaxed);
        self.misses.fetch_add(misses, Ordering::Relaxed);
    }

    /// Hits and misses since the start.
    pub(super) fn counted(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }
}
