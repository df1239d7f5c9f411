//! The score cache: a pair that was scored once is not scored again while its score is valid.
//!
//! Owns keys and their hashing, and the only use of moka. A cached score is bit-equal to the fresh one. It must not
//! know how scores are made, nor HTTP.

pub mod options;

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use moka::notification::RemovalCause;
use moka::sync::Cache;

use crate::domain::{Cut, CutSide, LongDocuments, Scored};
use crate::metrics::Metrics;

pub use options::Options;

/// Estimated bytes of one entry: key and value (28 bytes) and what moka keeps beside them (hash table slot, the shared
/// entry, its nodes in the access and write queues, and its share of the frequency sketch). Measured as resident bytes
/// an entry by `cargo bench --bench cache`.
const ENTRY_BYTES: u32 = 320;

/// Identity of a pair's score: 128 bits of BLAKE3 over the model's fingerprint, the way of cutting, the query and the
/// document. Every part is fixed in length or ends its hash, so no two different pairs share an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(u128);

impl Key {
    /// Another key, for a variant of the same pair that must not be mixed up with it.
    #[must_use]
    pub const fn variant(self) -> Self {
        Self(!self.0)
    }

    /// A number that spreads keys evenly: any of its bits will do.
    #[expect(clippy::cast_possible_truncation, reason = "the lower half of a hash is a hash")]
    pub const fn spread(self) -> u64 {
        self.0 as u64
    }
}

/// Makes the keys of one query's documents: the model, the cut and the query are hashed once.
#[derive(Clone, Debug)]
pub struct QueryKey([u8; 32]);

impl QueryKey {
    /// The keys of `query`'s documents under a model with this fingerprint and this way of cutting.
    pub fn new(fingerprint: &str, cut: &Cut, query: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("rescored 2026-11 pair score");
        for part in [fingerprint.as_bytes(), &cut_bytes(cut), query.as_bytes()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// The key of one document: a hash of the document alone, keyed by all the rest.
    pub fn document(&self, document: &str) -> Key {
        let hash = blake3::keyed_hash(&self.0, document.as_bytes());
        let mut half = [0; 16];
        half.copy_from_slice(&hash.as_bytes()[..16]);
        Key(u128::from_le_bytes(half))
    }
}

/// Every field of a cut in a fixed place.
fn cut_bytes(cut: &Cut) -> [u8; 12] {
    let Cut { max_length, max_document, side, long_documents } = *cut;
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&max_length.unwrap_or(u32::MAX).to_le_bytes());
    bytes[4..8].copy_from_slice(&max_document.unwrap_or(u32::MAX).to_le_bytes());
    bytes[8] = match side {
        CutSide::Right => 0,
        CutSide::Left => 1,
    };
    let (kind, windows) = match long_documents {
        LongDocuments::Truncate => (0, 0),
        LongDocuments::MaxPassage { windows } => (1, windows),
    };
    bytes[9] = kind;
    bytes[10..].copy_from_slice(&windows.to_le_bytes());
    bytes
}

/// Scores by key, within a budget of bytes.
#[derive(Clone, Debug)]
pub struct ScoreCache {
    /// `None` when the budget is 0.
    entries: Option<Cache<Key, Scored, BuildHasherDefault<KeyHasher>>>,
    metrics: Arc<Metrics>,
}

impl ScoreCache {
    /// An empty cache.
    pub fn new(options: &Options, metrics: Arc<Metrics>) -> Self {
        let evictions = metrics.cache_evictions.clone();
        let entries = (options.bytes > 0).then(|| {
            let builder = Cache::builder()
                .name("scores")
                .max_capacity(options.bytes)
                .weigher(|_, _| ENTRY_BYTES)
                .eviction_listener(move |_, _, cause| {
                    if matches!(cause, RemovalCause::Size | RemovalCause::Expired) {
                        evictions.inc();
                    }
                });
            let builder = match options.ttl {
                Some(ttl) => builder.time_to_live(ttl),
                None => builder,
            };
            builder.build_with_hasher(BuildHasherDefault::default())
        });
        Self { entries, metrics }
    }

    /// The score of a pair, if it is held and not too old.
    pub fn get(&self, key: Key) -> Option<Scored> {
        self.entries.as_ref()?.get(&key)
    }

    /// Keeps a score.
    pub fn insert(&self, key: Key, scored: Scored) {
        if let Some(entries) = &self.entries {
            entries.insert(key, scored);
        }
    }

    /// Brings the gauges up to date.
    pub fn show(&self) {
        if let Some(entries) = &self.entries {
            let level = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            self.metrics.cache_entries.set(level(entries.entry_count()));
            self.metrics.cache_bytes.set(level(entries.weighted_size()));
        }
    }
}

/// Keys are hashes already: their own bits are the table's hash.
#[derive(Clone, Copy, Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = self.0.rotate_left(31) ^ u64::from_le_bytes(word);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "both halves of the key are hashes")]
    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64 ^ (key >> 64) as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::Logit;

    fn key(fingerprint: &str, cut: &Cut, query: &str, document: &str) -> Key {
        QueryKey::new(fingerprint, cut, query).document(document)
    }

    proptest! {
        #[test]
        fn moving_text_between_query_and_document_changes_the_key(text in "[ab]{2,12}", at in 0usize..12, other in 0usize..12) {
            let (at, other) = (at % text.len(), other % text.len());
            let of = |at: usize| { let (query, document) = text.split_at(at); key("m", &Cut::MODEL, query, document) };
            prop_assert_eq!(of(at) == of(other), at == other);
        }
    }

    #[test]
    fn every_field_of_a_cut_enters_the_key() {
        let cuts = [
            Cut::MODEL,
            Cut { max_length: Some(128), ..Cut::MODEL },
            Cut { max_document: Some(128), ..Cut::MODEL },
            Cut { side: CutSide::Left, ..Cut::MODEL },
            Cut { long_documents: LongDocuments::MaxPassage { windows: 1 }, ..Cut::MODEL },
            Cut { long_documents: LongDocuments::MaxPassage { windows: 2 }, ..Cut::MODEL },
        ];
        let keys: HashSet<Key> = cuts.iter().map(|cut| key("m", cut, "q", "d")).collect();
        assert_eq!(keys.len(), cuts.len());
        assert_ne!(key("m", &Cut::MODEL, "q", "d"), key("n", &Cut::MODEL, "q", "d"));
    }

    #[test]
    fn a_kept_score_comes_back_bit_for_bit_and_no_budget_keeps_none() {
        let scored = Scored { logit: Logit::new(-0.123_456_79).unwrap(), tokens: 17, cut: true };
        let at = key("m", &Cut::MODEL, "q", "d");
        for (bytes, expected) in [(1 << 20, Some(scored)), (0, None)] {
            let cache = ScoreCache::new(&Options { bytes, ttl: None }, Arc::default());
            assert_eq!(cache.get(at), None, "a fresh cache of {bytes} bytes");
            cache.insert(at, scored);
            assert_eq!(cache.get(at), expected, "a budget of {bytes} bytes");
        }
    }
}
