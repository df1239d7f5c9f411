//! The first tier: one scope's scores in this process, within a budget of bytes.
//!
//! Owns the only use of moka, and the weight of an entry. Memory comes back to the system when a whole table is dropped:
//! an entry is five small blocks, and dropping every second entry leaves every page of them half full. So what is given
//! up in bulk is given up by a new table. It must not know other tiers or scopes.

use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use moka::Expiry;
use moka::notification::RemovalCause;
use moka::sync::Cache;
use rescored_process::metrics::Metrics;

use super::cached_score::{self, CachedScore};
use super::key::{Key, KeyHasher};

/// Resident bytes of one entry: key and value are 28; the rest is what moka keeps beside them and what the allocator
/// rounds up to (the shared key, the shared value, the entry's facts, its nodes in the queues of access and of writing,
/// its place in the hash table, its share of the frequency sketch). Measured as resident bytes a process, over entries,
/// with mimalloc on Linux x86-64, by `make bench-cache PART=entries`: 262 to 281 from 500,000 entries on, 290 while a full
/// table takes new ones in for old. On top of that comes what does not grow: about 4 MiB a thread that fills the table,
/// where the system makes pages huge (four threads: 312 bytes each of 400,000 entries, 337 of 100,000).
const ENTRY_BYTES: u32 = 288;

/// The same with an age limit, for which moka keeps a node in its timer wheel (302 and 320 measured).
const TIMED_ENTRY_BYTES: u32 = 320;

/// How long a table that was replaced is kept for those who still look into it; then the last of them drops it.
const LAST_LOOKS: Duration = Duration::from_secs(1);

/// A table of scores.
type Table = Cache<Key, CachedScore, BuildHasherDefault<KeyHasher>>;

/// One scope's scores.
#[derive(Debug)]
pub(super) struct Tier {
    /// `None` when the budget is 0.
    table: Option<ArcSwap<Counted>>,
    making: Making,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// How tables are made.
#[derive(Debug)]
struct Making {
    bytes: u64,
    ttl: Option<Duration>,
    weight: u32,
    metrics: Arc<Metrics>,
    /// Bytes given up for good, of all tiers: not those whose place other entries took.
    freed: Arc<AtomicU64>,
}

/// A look at all entries of a moment.
#[derive(Debug)]
pub(super) struct Look(Option<Arc<Counted>>);

impl Look {
    /// Every entry, in no order. Takes memory for a part of the keys at a time.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, CachedScore)> {
        self.0.iter().flat_map(|counted| counted.table.iter().map(|(key, cached)| (*key, cached)))
    }
}

/// A table that was replaced. Dropping it takes as long as filling it.
#[derive(Debug)]
#[must_use = "dropping it gives its memory back, which takes a while"]
pub(super) struct Former(Option<Arc<Counted>>);

/// A table whose bytes are reported as freed once they are: whoever lets go of it last may be a snapshot that is being
/// written.
#[derive(Debug)]
pub(super) struct Counted {
    // Above what reports it: fields are dropped in this order.
    table: Table,
    freed: Freed,
}

/// Reports at its end how many bytes were given up.
#[derive(Debug)]
struct Freed {
    bytes: AtomicU64,
    all: Arc<AtomicU64>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.freed.bytes.store(self.table.weighted_size(), Ordering::Relaxed);
    }
}

impl Drop for Freed {
    fn drop(&mut self) {
        self.all.fetch_add(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

impl Former {
    pub(super) fn entries(&self) -> u64 {
        self.0.as_ref().map_or(0, |counted| counted.table.entry_count())
    }
}

impl Drop for Former {
    fn drop(&mut self) {
        let Some(table) = self.0.take() else { return };
        // A request that looks into it at this moment must not be the one that drops a million entries.
        let until = Instant::now() + LAST_LOOKS;
        while Arc::strong_count(&table) > 1 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// An entry's time is counted from when its score was made, not from when it came here.
struct Age {
    ttl: Duration,
}

impl Age {
    fn left(&self, cached: &CachedScore) -> Duration {
        self.ttl.saturating_sub(cached.age(cached_score::now()))
    }
}

impl Expiry<Key, CachedScore> for Age {
    fn expire_after_create(&self, _: &Key, cached: &CachedScore, _: Instant) -> Option<Duration> {
        Some(self.left(cached))
    }

    fn expire_after_update(&self, _: &Key, cached: &CachedScore, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(self.left(cached))
    }
}

impl Making {
    fn table(&self) -> Counted {
        let (evictions, freed) = (self.metrics.cache_evictions.clone(), Arc::clone(&self.freed));
        let weight = self.weight;
        let reported = move |_: Arc<Key>, _: CachedScore, cause: RemovalCause| {
            if matches!(cause, RemovalCause::Size | RemovalCause::Expired) {
                evictions.inc();
            }
            if cause == RemovalCause::Expired {
                freed.fetch_add(weight.into(), Ordering::Relaxed);
            }
        };
        let builder = Cache::builder()
            .name("scores")
            .max_capacity(self.bytes)
            .weigher(move |_, _| weight)
            .eviction_listener(reported);
        let builder = match self.ttl {
            Some(ttl) => builder.expire_after(Age { ttl }),
            None => builder,
        };
        let table = builder.build_with_hasher(BuildHasherDefault::default());
        Counted { table, freed: Freed { bytes: AtomicU64::new(0), all: Arc::clone(&self.freed) } }
    }
}

impl Tier {
    /// A tier of so many bytes, whose entries live for so long. What it gives up for good is added to `freed`.
    pub(super) fn new(bytes: u64, ttl: Option<Duration>, metrics: &Arc<Metrics>, freed: &Arc<AtomicU64>) -> Self {
        let weight = if ttl.is_some() { TIMED_ENTRY_BYTES } else { ENTRY_BYTES };
        let making = Making { bytes, ttl, weight, metrics: Arc::clone(metrics), freed: Arc::clone(freed) };
        let table = (bytes > 0).then(|| ArcSwap::from_pointee(making.table()));
        Self { table, making, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    pub(super) fn get(&self, key: Key) -> Option<CachedScore> {
        self.table.as_ref()?.load().table.get(&key)
    }

    pub(super) fn insert(&self, key: Key, cached: CachedScore) {
        if let Some(table) = &self.table {
            table.load().table.insert(key, cached);
        }
    }

    /// What it holds at this moment.
    pub(super) fn look(&self) -> Look {
        Look(self.table.as_ref().map(ArcSwap::load_full))
    }

    /// Begins anew, empty. The table before is the caller's to drop: its memory comes back then.
    pub(super) fn renew(&self) -> Former {
        self.settle();
        Former(self.table.as_ref().map(|table| table.swap(Arc::new(self.making.table()))))
    }

    /// Applies what was put off, so that counts are exact.
    pub(super) fn settle(&self) {
        if let Some(table) = &self.table {
            table.load().table.run_pending_tasks();
        }
    }

    pub(super) fn entries(&self) -> u64 {
        self.table.as_ref().map_or(0, |table| table.load().table.entry_count())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.table.as_ref().map_or(0, |table| table.load().table.weighted_size())
    }

    pub(super) const fn budget(&self) -> u64 {
        self.making.bytes
    }

    /// How many entries the budget has room for.
    pub(super) fn room(&self) -> u64 {
        self.budget() / u64::from(self.making.weight)
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
